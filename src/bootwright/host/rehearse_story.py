"""From the finished world to the pictures of the report: which eFuses changed, and who trusts whom because of what."""

from __future__ import annotations

import re
from collections.abc import Iterable

from bootwright.chips.chip import meanings
from bootwright.chips.efuses import Efuses, FieldChange, diff
from bootwright.finding import Finding, Verdict
from bootwright.formats.esp_secure_boot import key_digest_v2, verify_v2
from bootwright.formats.mcuboot_verify import verify_image
from bootwright.host.rehearsal import FuseChange, Link
from bootwright.host.rehearse_world import World, version_in


def fuse_changes(world: World) -> tuple[FuseChange, ...]:
    """Every eFuse field that differs from a new chip's: switches first, then keys, then protections."""
    after = world.bench.efuses
    before = Efuses.blank(world.bench.machine.chip, revision=after.revision)
    rows = [_row(before, after, change) for change in diff(before, after)]
    return tuple(sorted(rows, key=lambda row: (row.name.startswith(("WR_DIS", "RD_DIS")), row.block != "BLOCK0")))


def _row(before: Efuses, after: Efuses, change: FieldChange) -> FuseChange:
    block = after.chip.blocks[change.block]
    return FuseChange(
        name=change.name,
        block=f"BLOCK{block.number}",
        bit=change.bit,
        width=change.width,
        before=_value(change.before) if change.before is not None or any(before.block(change.block)) else "zeros",
        after=_value(change.after),
        meaning=_meaning(after, change),
        reversible=change.reversible,
        way_back=_way_back(after, change.name),
    )


def _way_back(after: Efuses, name: str) -> str:
    """An odd count of the counter's bits means on: a bit that is left makes it even."""
    if name != after.chip.flash_encryption.counter_field or after.write_protected(name):
        return ""
    left = after.chip.field(name, revision=after.revision).width - after.true_number(name).bit_count()
    times = (left + 1) // 2
    if not times:
        return ""
    return "one more bit switches it off, " + ("once" if times == 1 else f"{times} times in all")


def _value(value: int | bytes | None) -> str:
    if value is None:
        return "hidden"
    if isinstance(value, bytes):
        return "zeros" if not any(value) else f"{value.hex()[:16]}…"
    return str(value)


def _meaning(after: Efuses, change: FieldChange) -> str:
    """What the new value does, in a phrase."""
    name = change.name
    kind, _, subject = name.partition(".")
    if kind == "WR_DIS":
        return f"{subject} is frozen" + (", with its whole group" if "BLOCK" not in subject else "")
    if kind == "RD_DIS":
        return f"{subject} is hidden from software and tools"
    if name.startswith("KEY_PURPOSE_"):
        purposes = {purpose.value: purpose.name for purpose in after.chip.purposes}
        return f"the key block's purpose: {purposes.get(after.true_number(name), 'unknown')}"
    if change.block in after.chip.keys.blocks:
        return "flash-encryption key" if change.after is None else "digest of the Secure Boot key"
    return meanings().get(name, "")


def chain_links(world: World) -> tuple[Link, ...]:
    """The chain of trust as the last usual boot found it."""
    report = world.last_boot
    if report is None:
        return ()
    efuses, bootloader = world.bench.efuses, world.bench.conf.bootloader
    digest = key_digest_v2(world.inputs.secure_boot.public)
    number = _digest_block(efuses)
    block = "none" if number is None else efuses.chip.block(number).name
    sector = bootloader.address + len(world.bootloader) - 0x1000
    rom = [finding for finding in report.findings if finding.code.startswith("rom.")]
    image = world.bench.read(world.primary, len(world.running))
    trusted = [] if number is None else [efuses.readable_block(number)]
    signed = verify_v2(world.bench.read(bootloader, len(world.bootloader)), trusted, subject="bootloader")
    mcuboot = verify_image(image, [world.inputs.signing.public], subject="application")
    loader = [finding for finding in report.findings if finding.code.startswith("port.load")]
    protections = []
    if number is not None:
        protections.append("write-protected" if efuses.block_write_protected(number) else "open to writes")
        protections.append("hidden" if efuses.read_protected(number) else "readable, as the ROM needs it")
    return (
        Link("Key digest", f"eFuse {block}", f"{digest.hex()[:16]}…", "burned at the first boot", tuple(protections)),
        Link(
            "Signature block",
            f"flash, {sector:#x}",
            world.inputs.secure_boot.key_type.value.upper(),
            "the ROM checks",
            _passed(signed, "secure_boot.block", "secure_boot.key"),
        ),
        Link(
            "Bootloader",
            f"flash, {bootloader.address:#x}",
            f"{len(world.bootloader):,} bytes signed",
            "the ROM checks",
            _passed((*signed, *rom), "secure_boot.digest", "secure_boot.signature", "rom.image"),
        ),
        Link(
            "Application",
            f"primary slot, {world.primary.address:#x}",
            f"version {version_in(world.running)}",
            "MCUboot checks (model)",
            _passed(mcuboot, "image."),
        ),
        Link("Running code", "RAM", "the application", "the port's loader checks (model)", _passed(loader, "port.")),
    )


def _digest_block(efuses: Efuses) -> int | None:
    """Where the digest of the Secure Boot key lies."""
    purposes = [purpose.name for purpose in efuses.chip.purposes if purpose.is_digest]
    return next((number for name in sorted(purposes) if (number := efuses.find_key(name)) is not None), None)


def _passed(findings: Iterable[Finding], *prefixes: str) -> tuple[str, ...]:
    """What the checks said that passed, shortened to fit a picture."""
    said = [f.because for f in findings if f.code.startswith(prefixes) and f.verdict is Verdict.PASS]
    short = [re.sub(r"\b([0-9a-f]{12})[0-9a-f]{8,}", r"\1…", text) for text in said]
    return tuple(text if len(text) <= 90 else text[:88].rsplit(" ", 1)[0] + " …" for text in dict.fromkeys(short))
