"""Uploading an image with care: judged before the first byte, resumed where it stopped, looked for when it is there."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bootwright.errors import FormatError, TrustError, WireError
from bootwright.finding import Finding, Verdict, failed, overall, passed, warned
from bootwright.formats.bootloader_conf import BootloaderConf
from bootwright.formats.bootloader_conf import UpgradeMode as ConfMode
from bootwright.formats.keys import PrivateKey, PublicKey
from bootwright.formats.mcuboot_image import ENCRYPTED, Image, TlvType
from bootwright.formats.mcuboot_trailer import MagicState, UpgradeMode, decode_magic, espressif_geometry
from bootwright.formats.mcuboot_verify import BootRules, verify_image
from bootwright.host.files import read_text
from bootwright.host.smp import Session, is_recovery, translated
from bootwright.smp.errors import RefusedByDeviceError, SmpError, UploadError
from bootwright.smp.messages import ImageEntry, image_list, slot_info
from bootwright.smp.upload import Upload

if TYPE_CHECKING:
    from bootwright.smp.client import Talk

HASH_TYPES = (TlvType.SHA256, TlvType.SHA384, TlvType.SHA512)
#: the same modes by their names in bootloader.conf and in the trailer's geometry
MODES = {
    ConfMode.SCRATCH: UpgradeMode.SWAP_SCRATCH,
    ConfMode.MOVE: UpgradeMode.SWAP_MOVE,
    ConfMode.OFFSET: UpgradeMode.SWAP_OFFSET,
    ConfMode.OVERWRITE: UpgradeMode.OVERWRITE_ONLY,
}
JOURNAL_MAX_AGE_S = 24 * 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotRules:
    """What is known of the slot that the image goes to; nothing need be."""

    slot_size: int | None = None
    max_size: int | None = None
    max_align: int | None = None
    keys: tuple[PublicKey, ...] = ()
    decryption: PrivateKey | None = None  #: what the bootloader decrypts images with, if it does


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """A file to be uploaded, and what it says of itself."""

    name: str
    data: bytes
    version: str
    image_hash: bytes | None

    @property
    def sha256(self) -> bytes:
        """The digest of the whole file, by which applications know an upload again."""
        return hashlib.sha256(self.data).digest()


def rules_of_conf(path: Path, keys: tuple[PublicKey, ...]) -> SlotRules:
    """What a bootloader.conf says of its slots."""
    conf = BootloaderConf.parse(read_text(path), where=str(path))
    primary, _ = conf.slots()
    geometry = espressif_geometry(primary.size, flash_encryption=conf.flash_encryption)
    return SlotRules(
        slot_size=primary.size,
        max_size=geometry.max_image_size(MODES[conf.mode]) if conf.mode in MODES else None,
        max_align=conf.max_align,
        keys=keys,
    )


def judge(name: str, data: bytes, rules: SlotRules) -> tuple[Payload, tuple[Finding, ...]]:
    """Read an image and say what the bootloader would.

    Raises:
        FormatError: it is no MCUboot image, does not fit, or has a trailer for another build.
        TrustError: the bootloader would refuse it.
    """
    image = Image.parse(data, where=name)
    plain = data if rules.decryption is None else _decrypted(data, image, rules.decryption)
    build = BootRules(slot_size=rules.slot_size, max_size=rules.max_size, encrypted=rules.decryption is not None)
    findings = verify_image(plain, rules.keys, rules=build, subject=name)
    if overall(findings) is Verdict.FAIL:
        bad = next(finding for finding in findings if finding.verdict is Verdict.FAIL)
        raise TrustError(f"the bootloader would refuse {name}: {bad.because}", bad.next or "sign the image again")
    _check_padding(name, data, rules)
    hashes = [tlv.data for kind in HASH_TYPES for tlv in image.find(kind)]
    return _payload(name, data, image, hashes), findings


def _decrypted(data: bytes, image: Image, key: PrivateKey) -> bytes:
    """The file as the bootloader has it once it has decrypted the image; a plain one is that already."""
    from bootwright.formats.mcuboot_encrypt import decrypt_image

    if not image.header.flags & ENCRYPTED:
        return data
    return decrypt_image(image, key).pack()


def _payload(name: str, data: bytes, image: Image, hashes: Sequence[bytes]) -> Payload:
    version = image.header.ver
    text = f"{version.major}.{version.minor}.{version.revision}"
    return Payload(
        name=name,
        data=data,
        version=f"{text}.{version.build}" if version.build else text,
        image_hash=hashes[0] if hashes else None,
    )


def _check_padding(name: str, data: bytes, rules: SlotRules) -> None:
    """A padded image ends in the trailer's magic, which has to be where and what the bootloader reads."""
    if rules.slot_size is not None and len(data) > rules.slot_size:
        raise FormatError(
            f"{name} has {len(data)} bytes, the slot {rules.slot_size}", "use a smaller image, or a larger slot"
        )
    aligned = [align for align in (8, 16, 32) if decode_magic(data[-16:], align) is MagicState.GOOD]
    if not aligned:
        return
    if rules.slot_size is not None and len(data) != rules.slot_size:
        raise FormatError(
            f"{name} was padded to {len(data)} bytes, the slot has {rules.slot_size}: its trailer would lie elsewhere",
            f"sign it with -S {rules.slot_size:#x}, or without --pad",
        )
    if rules.max_align is not None and rules.max_align not in aligned:
        raise FormatError(
            f"{name} was padded for --max-align {aligned[0]}, the bootloader was built with {rules.max_align}:"
            " it would take the trailer's magic for damage",
            f"sign it with --max-align {rules.max_align}, or without --pad",
        )


class Journal:
    """Remembers per port which file is being uploaded, so that a restarted client can go on where it stopped."""

    def __init__(self, path: Path | None = None) -> None:
        state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
        self.path = path or Path(state) / "bootwright" / "smp-uploads.json"

    def knows(self, address: str, payload: Payload, image: int) -> bool:
        """Whether the last upload begun on this port was of this file, for this image, and not long ago."""
        entry = self._read().get(address)
        return (
            isinstance(entry, dict)
            and entry.get("sha256") == payload.sha256.hex()
            and entry.get("image") == image
            and 0 <= time.time() - float(entry.get("begun", 0)) < JOURNAL_MAX_AGE_S
        )

    def begin(self, address: str, payload: Payload, image: int) -> None:
        """An upload begins."""
        entries = self._read()
        entries[address] = {"sha256": payload.sha256.hex(), "image": image, "begun": int(time.time())}
        self._write(entries)

    def end(self, address: str) -> None:
        """It is complete, or no longer to be trusted."""
        entries = self._read()
        if entries.pop(address, None) is not None:
            self._write(entries)

    def _read(self) -> dict[str, object]:
        try:
            entries = json.loads(self.path.read_text())
        except (OSError, ValueError):
            return {}
        return entries if isinstance(entries, dict) else {}

    def _write(self, entries: dict[str, object]) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            beside = self.path.with_suffix(".new")
            beside.write_text(json.dumps(entries))
            beside.replace(self.path)
        except OSError:
            return  # without a journal a broken upload starts over: slower, never wrong


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """How an upload went."""

    size: int
    seconds: float
    chunk: int
    losses: int
    resumed_at: int
    recovery: bool  #: MCUboot took it, not an application
    findings: tuple[Finding, ...]

    @property
    def rate(self) -> float:
        """Bytes a second that this run sent."""
        return (self.size - self.resumed_at) / self.seconds if self.seconds else 0.0

    def as_dict(self) -> dict[str, object]:
        """For `--json`."""
        return {
            "size": self.size,
            "seconds": round(self.seconds, 3),
            "bytes_per_second": round(self.rate),
            "chunk": self.chunk,
            "losses": self.losses,
            "resumed_at": self.resumed_at,
            "server": "mcuboot" if self.recovery else "application",
        }


def warn_of_overwriting(session: Session, image: int) -> tuple[bool, tuple[Finding, ...]]:
    """Whether MCUboot's recovery answers, and what the upload would destroy there."""
    recovery = session.run(is_recovery(session.link))
    if not recovery:
        return False, ()
    there = [entry for entry in images(session) if (entry.image, entry.slot) == (image, 0)]
    if not there:
        return True, ()
    found = warned(
        "smp.upload.overwrites_primary",
        f"image {image} primary",
        f"recovery writes into the primary slot, which holds version {there[0].version} and boots: until the upload"
        " is complete nothing boots from it, and an interrupted one leaves a device without an image",
        "keep the device powered; an interrupted upload can be resumed",
    )
    return True, (found,)


def images(session: Session) -> list[ImageEntry]:
    """The device's images; none where it does not list them."""
    try:
        return session.drive(image_list(session.link))
    except RefusedByDeviceError:
        return []
    except SmpError as error:
        raise translated(error, session.transport.address) from None


def told_rules(session: Session, image: int, rules: SlotRules) -> SlotRules:
    """What the device tells of the slot that an upload for `image` goes to, where nobody has said it."""
    if rules.slot_size is not None:
        return rules
    try:
        slots = session.drive(slot_info(session.link))
    except SmpError:
        return rules
    told = [slot for slot in slots if slot.upload_image_id == image and slot.size]
    return replace(rules, slot_size=told[0].size, max_size=told[0].max_image_size) if told else rules


def send(
    session: Session,
    payload: Payload,
    *,
    image: int = 0,
    upgrade: bool = False,
    recovery: bool = False,
    journal: Journal | None = None,
    progress: Callable[[int], object] | None = None,
) -> Sent:
    """Upload and look whether the device has it; a resumed upload that does not hold is sent again from the start.

    Raises:
        WireError: it did not get through; the message has the last good offset.
    """
    journal = journal or Journal()
    address = session.transport.address
    resume = journal.knows(address, payload, image)
    journal.begin(address, payload, image)
    sent = _send_once(session, payload, image, upgrade, recovery, progress, resume=resume)
    if sent.resumed_at and overall(sent.findings) is Verdict.FAIL:
        sent = _send_once(session, payload, image, upgrade, recovery, progress, resume=False)
    journal.end(address)
    return sent


def _send_once(
    session: Session,
    payload: Payload,
    image: int,
    upgrade: bool,
    recovery: bool,
    progress: Callable[[int], object] | None,
    *,
    resume: bool,
) -> Sent:
    data = payload.data

    def read_into(offset: int, view: memoryview) -> None:
        view[:] = data[offset : offset + len(view)]

    def arrived() -> Talk[bool]:
        """An application forgets an upload when it is complete; its list remembers."""
        listed = yield from image_list(session.link)
        return payload.image_hash is not None and any(
            (entry.image, entry.slot, entry.hash) == (image, 1, payload.image_hash) for entry in listed
        )

    upload = Upload(
        session.link,
        read_into,
        len(data),
        image=image,
        sha=None if recovery else payload.sha256,
        upgrade=upgrade,
        resume=resume,
        progress=progress,
        arrived=arrived,
    )
    start = time.monotonic()
    try:
        session.drive(upload.run())
    except UploadError as error:
        raise WireError(f"{session.transport.address}: {error.message}", error.hint) from None
    except WireError as error:
        raise WireError(
            f"{error.message}; {upload.acknowledged} of {len(data)} bytes had arrived",
            "if the device was not reset, the same command resumes there",
        ) from None
    except SmpError as error:
        raise WireError(f"{session.transport.address}: {error.message}", error.hint) from None
    seconds = time.monotonic() - start
    return Sent(
        size=len(data),
        seconds=seconds,
        chunk=upload.chunk,
        losses=upload.losses,
        resumed_at=upload.resumed_at,
        recovery=recovery,
        findings=(arrival(session, payload, image, recovery=recovery),),
    )


def arrival(session: Session, payload: Payload, image: int, *, recovery: bool) -> Finding:
    """Whether the device lists what was sent: recovery lists only images that validate."""
    subject = f"image {image} {'primary' if recovery else 'secondary'}"
    try:
        listed = session.drive(image_list(session.link))
    except RefusedByDeviceError:
        return warned("smp.upload.unseen", subject, "the device has all bytes, and does not list its images")
    except SmpError as error:
        return failed("smp.upload.unseen", subject, f"the device has all bytes, then: {error.message}", error.hint)
    slot = 0 if recovery else 1
    there = [entry for entry in listed if (entry.image, entry.slot) == (image, slot)]
    if not there and not payload.version:
        return warned("smp.upload.unseen", subject, "the device has all bytes and does not list them as an image")
    if not there:
        return failed(
            "smp.upload.invalid",
            subject,
            "the device has all bytes and does not list the image: its hash or signature does not hold there",
            "is it signed with the key that this bootloader has? read the bootloader's log",
        )
    entry = there[0]
    if entry.hash is not None and payload.image_hash is not None and entry.hash[:32] != payload.image_hash[:32]:
        because = f"the slot holds another image, of hash {entry.hash.hex()}"
        return failed("smp.upload.other", subject, because, "upload again")
    if payload.version and entry.version != payload.version:
        return failed(
            "smp.upload.other",
            subject,
            f"the slot holds version {entry.version}, sent was {payload.version}",
            "upload again",
        )
    judged = "and validates" if recovery else "in the list"
    return passed("smp.upload.arrived", subject, f"version {entry.version} is there {judged}")
