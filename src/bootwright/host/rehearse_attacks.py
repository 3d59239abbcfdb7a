"""The attacks: each plays on a copy of the finished chip, and must end in a refusal that names its check."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from bootwright.finding import Finding, failed, passed
from bootwright.formats.esp_image import EspImage, make_image
from bootwright.formats.keys import Signer
from bootwright.formats.mcuboot_image import Image, ImageVersion, tlv_name
from bootwright.formats.mcuboot_tlv_walk import walk_tlvs
from bootwright.host.bench import Bench
from bootwright.host.firmware import Payload
from bootwright.host.readout import read_through_loader
from bootwright.host.rehearsal import Event, Kind
from bootwright.host.rehearse_world import (
    Act,
    Notes,
    World,
    bumped,
    counter_of,
    failures,
    how_it_ended,
    lowered,
    runs,
    sign,
    version_in,
)
from bootwright.sim.machine import BootReport

_LOADER_BYTES = 1024  #: asked of the slow loader at each region
_READOUT_STEP = 64  #: bytes; a window of plaintext this long anywhere in a dump is a leak


def strike(world: World, notes: Notes, what: str, change: Callable[[Bench], None]) -> None:
    """Change a copy of the chip, boot it, and judge: nothing but the legitimate image may run, and a check says why."""
    bench = world.bench.copy()
    change(bench)
    notes.tell(what)
    judge(world, notes, bench, notes.heard(bench.boot()))


def judge(world: World, notes: Notes, bench: Bench, report: BootReport) -> None:
    """Turn the end of a boot into the findings of an attack."""
    legitimate = runs(world, bench, report, world.running)
    if report.booted and not legitimate:
        because = f"the attack got through: {how_it_ended(report)}, and it is not the legitimate image"
        notes.findings.append(failed("attack.got_through", "boot", because, _advice(world)))
        return
    why = failures(report)
    if not why:
        because = f"{how_it_ended(report)}, but no check said why"
        notes.findings.append(failed("attack.unexplained", "boot", because, "see the console of this step"))
        return
    after = f"version {version_in(world.running)} keeps running" if legitimate else how_it_ended(report)
    notes.findings += [_refusal(finding) for finding in why]
    notes.tell(f"Refused: {after}.")


def _refusal(finding: Finding) -> Finding:
    """A failing check, seen from the defender's side."""
    return passed(finding.code, finding.subject, finding.because)


def _advice(world: World) -> str:
    if not world.bench.conf.defined("CONFIG_ESP_DOWNGRADE_PREVENTION"):
        return "switch on CONFIG_ESP_DOWNGRADE_PREVENTION"
    return "do not ship this configuration"


def _offer(world: World, image: bytes) -> Callable[[Bench], None]:
    """An update that somebody hands to the application: into the secondary slot, for good."""

    def change(bench: Bench) -> None:
        bench.fill(world.secondary, image)
        bench.request(permanent=True)

    return change


def bit_app(world: World, notes: Notes) -> None:
    """One bit of the application: where it lies in flash, and in an update on its way."""
    address = world.primary.address + len(world.running) // 2
    strike(
        world, notes, f"One bit of the flash at {address:#x}, in the application.", lambda bench: bench.flip(address)
    )
    if world.second:
        other = world.bench.conf.primary(1).address + len(world.second) // 2
        strike(world, notes, f"One bit of the flash at {other:#x}, in image 1.", lambda bench: bench.flip(other))
    tampered = bytearray(world.second_update)
    tampered[len(tampered) // 2] ^= 1
    what = f"An update with one bit of its payload changed, at {len(tampered) // 2:#x}."
    strike(world, notes, what, _offer(world, bytes(tampered)))


def bit_bootloader(world: World, notes: Notes) -> None:
    """One bit of the bootloader: in its code by somebody careful, and by somebody who only has the flash."""
    bootloader = world.bench.conf.bootloader
    start = bootloader.address
    careful = _changed_with_care(world.inputs.bootloader.data, world.bootloader)
    what = "One bit of the bootloader's code, with checksum and appended hash corrected, encrypted as it should be."
    strike(world, notes, what, lambda bench: bench.fill(bootloader, careful))
    signature = len(world.bootloader) - 0x1000
    for place, at in (("code", len(world.inputs.bootloader.data) // 2), ("signature block", signature + 0x400)):
        what = f"One bit of the flash at {start + at:#x}, in the bootloader's {place}."
        strike(world, notes, what, partial(Bench.flip, address=start + at))


def _changed_with_care(image: bytes, signed: bytes) -> bytes:
    """The signed bootloader with one bit of its first segment changed, and everything but the signature made to fit."""
    parsed = EspImage.parse(image)
    first, *others = parsed.segments
    data = bytearray(first.data)
    data[len(data) // 2] ^= 1
    changed = make_image(parsed.header, [replace(first, data=bytes(data)), *others]).pack()
    return changed + signed[len(changed) :]


def bit_tlv(world: World, notes: Notes) -> None:
    """One bit in each TLV of an update."""
    image = world.second_update
    for tlv in walk_tlvs(image, Image.parse(image).header):
        tampered = bytearray(image)
        tampered[tlv.offset] ^= 1
        what = f"An update with one bit changed in its {tlv_name(tlv.type)} TLV."
        strike(world, notes, what, _offer(world, bytes(tampered)))


def unsigned(world: World, notes: Notes) -> None:
    """A newer image with a right hash and no signature."""
    image = _newer(world, None)
    strike(world, notes, f"Version {version_in(image)} without a signature, as an update.", _offer(world, image))
    strike(world, notes, "The same, in the primary slot.", lambda bench: bench.fill(world.primary, image))


def wrong_key(world: World, notes: Notes) -> None:
    """A newer image signed with somebody else's key."""
    image = _newer(world, world.inputs.strange)
    what = f"Version {version_in(image)} signed by another {world.inputs.key_type} key, as an update."
    strike(world, notes, what, _offer(world, image))
    strike(world, notes, "The same, in the primary slot.", lambda bench: bench.fill(world.primary, image))


def _newer(world: World, signer: Signer | None) -> bytes:
    payload = Payload(world.inputs.update.data, ())
    version = bumped(version_in(world.second_update))
    return sign(world, payload, version, counter_of(world, None, 9), signer=signer, subject="attack")


def downgrade(world: World, notes: Notes) -> None:
    """An older image with a good signature."""
    running = version_in(world.running)
    older, counter = world.app, counter_of(world, world.inputs.project.app.security_counter, 1)
    if not ImageVersion.from_text(version_in(older)).precedes(ImageVersion.from_text(running)):
        version = lowered(running)
        if version is None:
            notes.findings.append(failed("attack.downgrade.lowest", "version", f"nothing is older than {running}"))
            return
        older = sign(world, world.inputs.app, version, counter, signer=world.inputs.signing, subject="downgrade")
    what = f"Version {version_in(older)}, rightly signed, as an update of {running}."
    strike(world, notes, what, _offer(world, older))


def plaintext_over_encrypted(world: World, notes: Notes) -> None:
    """Plaintext written past the encryption unit, over the application and over the bootloader."""
    for region, data in ((world.primary, world.running), (world.bench.conf.bootloader, world.bootloader)):
        what = f"The rightly signed plaintext of the {region.name} written raw to {region.address:#x}."
        strike(world, notes, what, partial(Bench.flash_raw, address=region.address, data=data))
    notes.tell("Through the decryption unit plaintext reads as noise.")


def moved_slot(world: World, notes: Notes) -> None:
    """Ciphertext of one slot copied to another offset."""
    bench = world.bench.copy()
    bench.fill(world.secondary, world.second_update)
    moved = bench.machine.flash.read(world.secondary.address, world.secondary.size)
    what = (
        f"The ciphertext of version {version_in(world.second_update)}, rightly signed, moved from the secondary slot "
        f"to {world.primary.address:#x}."
    )
    strike(world, notes, what, lambda copy: copy.flash_raw(world.primary.address, moved))
    notes.tell("The address goes into the cipher: elsewhere the same bytes read as noise.")


def readout(world: World, notes: Notes) -> None:
    """The whole flash read out, and the keys asked for."""
    bench = world.bench
    dump = bench.raw
    notes.tell(f"All {len(dump):,} bytes are read past the encryption unit, as a programmer would.")
    secrets = {"bootloader": world.bootloader, "application": world.running, "old application": world.app}
    windows = {
        data[at : at + _READOUT_STEP]
        for data in secrets.values()
        for at in range(0, len(data) - _READOUT_STEP, _READOUT_STEP)
        if len(set(data[at : at + _READOUT_STEP])) > 8
    }
    blocks = {dump[at : at + _READOUT_STEP] for at in range(0, len(dump), _READOUT_STEP)}
    leaked = len(windows & blocks)
    notes.events.append(Event("flash", "sectors read out", len(dump) // 4096))
    if leaked:
        because = f"{leaked} of {len(windows)} pieces of firmware lie in the dump as plaintext"
        notes.findings.append(failed("flash_encryption.plaintext", "flash dump", because))
    else:
        because = (
            f"none of {len(windows):,} pieces of firmware, {_READOUT_STEP} bytes each, lies in it: ciphertext only"
        )
        notes.findings.append(passed("flash_encryption.ciphertext", "flash dump", because))
    _ask_for_key(world, notes)
    _knock(world, notes)


def _ask_for_key(world: World, notes: Notes) -> None:
    efuses = world.bench.efuses
    purposes = [purpose.name for purpose in efuses.chip.purposes if purpose.is_flash_key]
    for number in sorted({number for purpose in purposes for number in efuses.find_keys(purpose)}):
        name = efuses.chip.block(number).name
        if any(efuses.readable_block(number)):
            notes.findings.append(failed("efuse.key.readable", name, "the flash-encryption key can be read"))
        else:
            because = "reads as zeros: RD_DIS hides the flash-encryption key from every reader"
            notes.findings.append(passed("efuse.key.read_protected", name, because))


def _knock(world: World, notes: Notes) -> None:
    """Ask the loader in ROM for the beginning of every region."""
    bench = world.bench
    starts = tuple(region.address for region in bench.conf.regions())
    taken = read_through_loader(bench, starts, _LOADER_BYTES)
    if taken.refusal:
        notes.findings.append(passed("download.closed", "ROM loader", taken.refusal))
        return
    amount = sum(len(data) for _, data in taken.pieces)
    if all(bench.machine.flash.read(address, len(data)) == data for address, data in taken.pieces):
        because = f"download mode is open: it gives {amount:,} bytes, the same ciphertext that lies in the flash"
        notes.findings.append(passed("download.open", "ROM loader", because))
    else:
        because = (
            f"download mode is open, and some of the {amount:,} bytes that it gives are not what lies in the flash"
        )
        notes.findings.append(failed("download.decrypts", "ROM loader", because))


ATTACKS = (
    Act("attack-bit-app", "A flipped bit in the application", Kind.ATTACK, bit_app),
    Act("attack-bit-bootloader", "A flipped bit in the bootloader", Kind.ATTACK, bit_bootloader),
    Act("attack-bit-tlv", "A flipped bit in the TLVs", Kind.ATTACK, bit_tlv),
    Act("attack-unsigned", "An unsigned image", Kind.ATTACK, unsigned),
    Act("attack-wrong-key", "An image signed by another key", Kind.ATTACK, wrong_key),
    Act("attack-downgrade", "A downgrade", Kind.ATTACK, downgrade),
    Act("attack-plaintext-over-encrypted", "Plaintext over encrypted flash", Kind.ATTACK, plaintext_over_encrypted),
    Act("attack-moved-slot", "An encrypted slot moved", Kind.ATTACK, moved_slot),
    Act("attack-readout", "The flash read out", Kind.ATTACK, readout),
)
