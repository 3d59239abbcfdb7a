"""First boots of the real bootloader, played again on the virtual chip and compared.

A trace holds no bootloader. A stand-in of the same length takes its place, signed with keys of ours; the digests of
these keys replace those of the trace wherever they occur. The flash-encryption key that the real code drew comes from
the trace, since no model can draw it.

Format: docs/reference/firstboot-traces.md.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from bootwright.chips.chip import Chip, load_chip
from bootwright.chips.efuses import Efuses
from bootwright.errors import BootwrightError, FormatError
from bootwright.flash import Area, Erase, FlashOp, NorFlash, Write
from bootwright.formats.bootloader_conf import BootloaderConf
from bootwright.formats.esp_image import EspImageHeader, Segment, make_bootloader_image, make_image
from bootwright.formats.esp_secure_boot import sign_v2
from bootwright.formats.esp_signature_block import key_digest_v2
from bootwright.formats.keys import KeyType, PrivateKey, generate_key
from bootwright.sim.encrypted_flash import EncryptedFlash, is_encryption_on
from bootwright.sim.first_boot import McubootPort
from bootwright.sim.machine import BootReport, Cut, CutKind, Machine

SCHEMA = 1
_SEE = "see docs/reference/firstboot-traces.md"

_SEGMENT = re.compile(r"segment \d+: paddr=[0-9a-f]+ vaddr=([0-9a-f]+) size=([0-9a-f]+)h")
_RANGE = re.compile(r"\[(0x[0-9a-f]+),(0x[0-9a-f]+)\)")


def replay(document: Mapping[str, Any]) -> tuple[str, ...]:
    """Play a trace; every difference is a sentence, and none is what one hopes for.

    Raises:
        FormatError: another schema, or a part that is missing or malformed.
    """
    if document.get("schema") != SCHEMA or "boots" not in document:
        raise FormatError(
            f"first-boot trace: found schema {document.get('schema')!r}, expected {SCHEMA} with boots",
            _SEE,
        )
    try:
        return tuple(_play(_Scene.read(document), document))
    except BootwrightError:
        raise
    except KeyError as error:
        raise FormatError(f"first-boot trace: found no {error}, which it must have", _SEE) from None
    except (TypeError, ValueError, AttributeError, IndexError, StopIteration, zlib.error) as error:
        raise FormatError(f"first-boot trace: malformed: {error}", _SEE) from None


@dataclass(frozen=True, slots=True)
class _Scene:
    """Everything that a trace begins with, with our keys in it."""

    machine: Machine
    bootloader: McubootPort
    initial: bytes  #: the flash, to be written again when a host does so
    ours: Mapping[str, str]  #: hex digest of the trace → of our key
    layout: Mapping[str, tuple[int, int]]  #: region → address and end

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> _Scene:
        chip = load_chip(document["chip"])
        regions = document["initial"]["flash_regions"]
        stand_in = next(region for region in regions if "unsigned_image_len" in region)
        theirs = stand_in.get("public_key_digests") or ()
        signer_of = {digest: _signer(chip, index) for index, digest in enumerate(dict.fromkeys(theirs))}
        length = chip.secure_boot.digest_length
        ours = {
            digest[: 2 * length]: key_digest_v2(signer.public)[:length].hex() for digest, signer in signer_of.items()
        }
        flash = NorFlash(document["initial"]["flash_size"])
        for region in regions:
            content = zlib.decompress(b64decode(region["zlib_b64"])) if "zlib_b64" in region else b""
            if region is stand_in:
                content = _stand_in(chip, region, document["boots"][0]["console"], [signer_of[d] for d in theirs])
            flash.load(region["addr"], content)
        if "damaged_byte" in stand_in:
            at = stand_in["damaged_byte"]
            flash.load(at, bytes([flash.read(at, 1)[0] ^ 1]))
        blocks = {int(n): bytes.fromhex(_substitute(h, ours)) for n, h in document["initial"]["efuse_blocks"].items()}
        efuses = Efuses.holding(chip, blocks)
        if is_encryption_on(efuses) and document["boots"][0]["outcome"] != "rom-refused":
            _encrypt(flash, efuses, Area("bootloader", stand_in["addr"], stand_in["length"]))
        lines = "\n".join(f"{name}={value}" for name, value in document["config"].items())
        key = document.get("mcuboot_pubkey_der_hex")
        return cls(
            machine=Machine(chip, flash=flash, efuses=efuses),
            bootloader=McubootPort(
                conf=BootloaderConf.parse(lines, where="trace"), keys=(bytes.fromhex(key),) if key else ()
            ),
            initial=flash.snapshot(),
            ours=ours,
            layout={name: (start, start + size) for name, (start, size) in document["layout"].items()},
        )


def _signer(chip: Chip, index: int) -> PrivateKey:
    rsa = "rsa-3072" in chip.secure_boot.schemes
    return _stand_in_key(KeyType.RSA_3072 if rsa else KeyType.ECDSA_P256, index)


@cache
def _stand_in_key(key_type: KeyType, index: int) -> PrivateKey:
    """One key for each place, made once a process: RSA keys are slow to make. `index` keeps them apart."""
    return generate_key(key_type)


def _stand_in(chip: Chip, region: Mapping[str, Any], console: Sequence[str], signers: Sequence[PrivateKey]) -> bytes:
    """A bootloader with the segments that the real one showed on its console, or any of that length."""
    size = region["unsigned_image_len"]
    image = _with_segments(chip, [match for line in console if (match := _SEGMENT.search(line))])
    if image is None or len(image) != size:
        image = make_bootloader_image(chip.chip_id, size=size)
    if not signers:
        return image
    return sign_v2(image.ljust(region["sig_block_addr"] - region["addr"], b"\xff"), signers)


def _encrypt(flash: NorFlash, efuses: Efuses, area: Area) -> None:
    """A bootloader that ran on a chip whose encryption was on before must have been ciphertext."""
    plain = flash.read(area.address, area.size)
    flash.load(area.address, b"\xff" * area.size)
    EncryptedFlash.at_reset(flash, efuses).apply(Write(area.address, plain, encrypted=True))


def _with_segments(chip: Chip, found: list[re.Match[str]]) -> bytes | None:
    segments: list[Segment] = []
    for match in found:
        address, length = int(match[1], 16), int(match[2], 16)
        if any(one.load_addr == address for one in segments):
            break  # the image was verified twice, so its segments are listed twice
        segments.append(Segment(address, hashlib.shake_128(match[0].encode()).digest(length)))
    if not segments:
        return None
    header = EspImageHeader(segment_count=len(segments), entry_addr=segments[-1].load_addr, chip_id=chip.chip_id)
    return make_image(header, segments).pack()


def _substitute(text: str, ours: Mapping[str, str]) -> str:
    for digest, replacement in ours.items():
        text = text.replace(digest, replacement)
    return text


def _play(scene: _Scene, document: Mapping[str, Any]) -> Iterator[str]:
    cut = document.get("cut")
    outcomes = [boot["outcome"] for boot in document["boots"]]
    cut_at = outcomes.index("power-cut") if "power-cut" in outcomes else 0
    for index, boot in enumerate(document["boots"]):
        where = f"boot {index}"
        yield from (f"{where}: {line}" for line in _host_acts(scene, boot.get("before_this_boot")))
        scene.machine.entropy = _drawn(boot, document, scene.ours)
        report = scene.machine.boot_once(scene.bootloader, cut=_cut(cut) if index == cut_at and cut else None)
        yield from (f"{where}: {line}" for line in _compare(scene, boot, report))


def _cut(cut: Mapping[str, Any]) -> Cut:
    if cut["kind"] == "efuse":
        return Cut(CutKind.EFUSE, cut["before_program"])
    return Cut(CutKind.FLASH_TORN if cut["mode"] == "torn" else CutKind.FLASH, cut["op"])


def _host_acts(scene: _Scene, what: str | None) -> Iterator[str]:
    """What a host did between two boots: it only ever writes the initial plaintext again."""
    if not what:
        return
    ranges = [(int(start, 16), int(end, 16)) for start, end in _RANGE.findall(what)]
    if not ranges or "initial plaintext" not in what:
        yield f"before_this_boot is not understood: {what}"
    for start, end in ranges:
        scene.machine.flash.load(start, scene.initial[start:end])


def _drawn(boot: Mapping[str, Any], document: Mapping[str, Any], ours: Mapping[str, str]) -> Any:
    """The random bytes of this boot, one key block after the other, in the order in which they are drawn."""
    known = set(ours)
    keys = [p["data_hex"] for p in boot["efuse_programs"] if p["block"] and p["data_hex"] not in known]
    keys.reverse()  # key blocks are burned from the highest down, keys are drawn for the lowest first
    if not keys and "device_key" in document:
        keys = [document["device_key"]["efuse_hex"]]
    supply = iter([bytes.fromhex(key) for key in keys])
    return lambda length: next(supply, bytes(range(1, 33)))[:length]


def _compare(scene: _Scene, boot: Mapping[str, Any], report: BootReport) -> Iterator[str]:
    if report.outcome != boot["outcome"]:
        why = "" if report.failure is None else f" ({report.failure.because})"
        yield f"outcome is {report.outcome}{why}, the trace has {boot['outcome']}"
    yield from _compare_programs(scene, boot["efuse_programs"], report)
    yield from _compare_ops(boot, report)
    for number, text in boot["final_efuse_blocks"].items():
        wanted = _substitute(text, scene.ours)
        found = scene.machine.efuses.block(int(number)).hex()
        if found != wanted:
            yield f"eFuse block {number} ends otherwise than in the trace"
    yield from _compare_flash(scene, boot)


def _compare_flash(scene: _Scene, boot: Mapping[str, Any]) -> Iterator[str]:
    """Everything but the bootloader, whose signature is salted; on a difference, which regions differ."""
    flash = scene.machine.flash.snapshot()
    start, end = scene.layout["bootloader"]
    if hashlib.sha256(flash[:start] + flash[end:]).hexdigest() == boot["final_flash_sha256_excl_bootloader"]:
        return
    wanted = boot.get("final_region_sha256", {})
    others = [
        name
        for name, (start, end) in scene.layout.items()
        if name in wanted and hashlib.sha256(flash[start:end]).hexdigest() != wanted[name]
    ]
    yield f"the flash ends otherwise than in the trace, in {', '.join(others) or 'the gaps between regions'}"


def _compare_programs(scene: _Scene, wanted: Sequence[Mapping[str, Any]], report: BootReport) -> Iterator[str]:
    if len(wanted) != len(report.efuse_programs):
        order = [program["block"] for program in wanted]
        yield f"eFuse blocks burned: {[p.block for p in report.efuse_programs]}, in the trace {order}"
    for theirs, mine in zip(wanted, report.efuse_programs, strict=False):
        where = f"eFuse program {mine.order}"
        if mine.block != theirs["block"]:
            yield f"{where} burns block {mine.block}, in the trace {theirs['block']}"
        if mine.data.hex() != _substitute(theirs["data_hex"], scene.ours):
            yield f"{where} asks for other bits of block {mine.block} than in the trace"
        if sorted(mine.fields) != sorted(theirs["fields"]):
            yield f"{where} changes {list(mine.fields)}, in the trace {theirs['fields']}"
        if list(mine.new_bits) != theirs.get("new_bits", list(mine.new_bits)):
            yield f"{where} sets bits {list(mine.new_bits)}, in the trace {theirs['new_bits']}"


def _compare_ops(boot: Mapping[str, Any], report: BootReport) -> Iterator[str]:
    if len(report.flash_ops) != boot.get("flash_op_count", len(report.flash_ops)):
        yield f"{len(report.flash_ops)} flash operations, in the trace {boot['flash_op_count']}"
    mine = merge_ops(report.flash_ops, torn=report.torn)
    wanted = [tuple(op) for op in boot["flash_ops"]]
    if mine != wanted:
        yield f"flash operations {mine[:6]}, in the trace {wanted[:6]}"


def merge_ops(ops: Sequence[FlashOp], *, torn: bool = False) -> list[tuple[str, int, int]]:
    """Operations as traces write them: (kind, start, length), neighbours of a kind merged.

    `E` erases, `W` writes, `WE` writes encrypted, `E+WE` does both for each sector in turn.
    """
    merged: list[tuple[str, int, int]] = []
    for index, op in enumerate(ops):
        length = op.length if isinstance(op, Erase) else len(op.data)
        kind = "E" if isinstance(op, Erase) else "WE" if op.encrypted else "W"
        if torn and index == len(ops) - 1 and kind != "E":
            merged.append((f"{kind}-torn-half", op.address, length))
        elif kind == "WE" and merged and merged[-1] == ("E", op.address, length):
            merged.pop()
            _append(merged, "E+WE", op.address, length)
        else:
            _append(merged, kind, op.address, length)
    return merged


def _append(merged: list[tuple[str, int, int]], kind: str, start: int, length: int) -> None:
    if merged and merged[-1][0] == kind and merged[-1][1] + merged[-1][2] == start:
        merged[-1] = (kind, merged[-1][1], merged[-1][2] + length)
    else:
        merged.append((kind, start, length))
