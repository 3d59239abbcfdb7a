"""The legitimate steps: keys, signatures, flashing, the first boot, usual boots, updates, and a power cut."""

from __future__ import annotations

from bootwright.finding import Verdict, failed, passed
from bootwright.flash import Write
from bootwright.formats.bootloader_conf import Region, UpgradeMode
from bootwright.formats.esp_secure_boot import key_digest_v2, sign_v2, verify_v2
from bootwright.formats.mcuboot_verify import verify_image
from bootwright.host.bench import Bench, picture
from bootwright.host.firmware import Payload
from bootwright.host.flash_key import plan_host_key
from bootwright.host.rehearsal import Event, Kind
from bootwright.host.rehearse_world import (
    Act,
    Notes,
    World,
    bumped,
    counter_of,
    expect_running,
    failures,
    how_it_ended,
    runs,
    sign,
    sized,
    version_in,
)
from bootwright.sim.board import Outcome
from bootwright.sim.machine import BootReport, Cut, CutKind


def keys(world: World, notes: Notes) -> None:
    """Load or draw every key; a host's flash-encryption key is burned right away, as its manual says."""
    inputs = world.inputs
    sources = {
        "signing key": (inputs.signing.key_type, inputs.given_signing, inputs.signing.public.key_hash()),
        "Secure Boot key": (
            inputs.secure_boot.key_type,
            inputs.given_secure_boot,
            key_digest_v2(inputs.secure_boot.public),
        ),
    }
    for name, (key_type, given, digest) in sources.items():
        origin = "read from its file" if given else "drawn for the rehearsal"
        notes.findings.append(passed("key.ready", name, f"{key_type}, {origin}, SHA-256 {digest.hex()[:16]}…"))
    if inputs.flash_key is None:
        because = "the device draws it at its first boot; nobody outside will ever know it"
    else:
        because = f"{8 * len(inputs.flash_key)} bits by the host, burned and read-protected before the first boot"
        _burn_flash_key(world, notes, inputs.flash_key)
    notes.findings.append(passed("key.ready", "flash-encryption key", because))


def _burn_flash_key(world: World, notes: Notes, key: bytes) -> None:
    machine = world.bench.machine
    plan = plan_host_key(machine.efuses, key, key_digest_v2(world.inputs.secure_boot.public))
    for step in plan.steps:
        what = f"block {step.block}: {', '.join(change.name for change in step.changes)}"
        notes.events.append(Event("efuse", what, step.bits.bit_count()))
    machine.efuses = plan.after
    notes.tell("The host burns its flash-encryption key and protects it from being read and written.")


def sign_app(world: World, notes: Notes) -> None:
    """Sign the application and both updates, and verify them as the bootloader will."""
    inputs, project = world.inputs, world.inputs.project
    counter = counter_of(world, project.app.security_counter, 1)
    next_counter = counter_of(world, project.update.security_counter, 2)
    later = None if next_counter is None else next_counter + 1
    second = bumped(project.update.version)
    app, update = str(project.app.file or "application"), str(project.update.file or "update")
    world.app = sign(world, inputs.app, project.app.version, counter, signer=inputs.signing, subject=app)
    world.update = sign(
        world, inputs.update, project.update.version, next_counter, signer=inputs.signing, subject=update
    )
    world.second_update = sign(world, inputs.update, second, later, signer=inputs.signing, subject=update)
    notes.findings += inputs.app.findings
    images = {"application": world.app, "update": world.update, "second update": world.second_update}
    if inputs.second is not None:
        images["image 1"] = world.second = _signed_second(world, inputs.second)
        notes.findings += inputs.second.findings
    for name, image in images.items():
        notes.tell(f"{name.capitalize()} {version_in(image)}: {sized(image)} with header, TLVs and signature.")
        found = verify_image(image, [inputs.signing.public], subject=f"{name} {version_in(image)}")
        flashed = name in ("application", "image 1")
        notes.findings += found if flashed else [f for f in found if f.verdict is not Verdict.PASS]
    limit = world.inputs.image_limit
    fits = f"{sized(world.app)} of at most {limit:,}, the slot less the trailer that 512 sectors need"
    notes.findings.append(passed("image.slot.fits", "application", fits))


def _signed_second(world: World, payload: Payload) -> bytes:
    """Image 1, which the updates leave as it is."""
    second = world.inputs.project.second
    counter = counter_of(world, second.security_counter, 1)
    subject = str(second.file or "image 1")
    return sign(world, payload, second.version, counter, signer=world.inputs.signing, subject=subject)


def sign_bootloader(world: World, notes: Notes) -> None:
    """Pad the bootloader to whole sectors, append its signature sector, and verify it as the ROM will."""
    inputs = world.inputs
    world.bootloader = sign_v2(inputs.bootloader.data, [inputs.secure_boot])
    padded = len(world.bootloader) - 0x1000
    notes.tell(
        f"{sized(inputs.bootloader.data)} padded to {padded:#x}, then a signature sector: "
        f"{len(world.bootloader):#x} of the {world.bench.conf.bootloader.size:#x} that are reserved."
    )
    notes.findings += inputs.bootloader.findings
    digest = key_digest_v2(inputs.secure_boot.public)
    notes.findings += verify_v2(world.bootloader, [digest], subject="bootloader")


def flash(world: World, notes: Notes) -> None:
    """Write bootloader and applications in plaintext into an erased flash."""
    bench = world.bench
    bootloader = bench.conf.bootloader
    pieces = [(bootloader, world.bootloader), (world.primary, world.app)]
    if world.second:
        pieces.append((bench.conf.primary(1), world.second))
    for region, data in pieces:
        bench.flash_raw(region.address, data)
        sectors = -(-len(data) // 4096)
        notes.events.append(Event("flash", f"sectors of {region.name} written", sectors))
        notes.findings.append(passed("flash.written", region.name, f"{sized(data)} at {region.address:#x}, plaintext"))
    world.running = world.app
    world.plain_flash = bench.raw
    world.before = picture(bench, "As flashed")
    world.fresh = bench.copy()
    notes.tell("Secondary slot and scratch area are erased, as the port wants them before the first boot.")


def first_boot(world: World, notes: Notes) -> None:
    """Let the bootloader close the chip, and look whether it did."""
    bench = world.bench
    report = notes.heard(bench.boot())
    closed = expect_running(world, notes, report, world.app, "boot.first")
    for program in report.efuse_programs:
        if program.fields:
            name = bench.machine.chip.block(program.block).name
            notes.findings.append(passed("efuse.burned", name, f"burned {', '.join(program.fields)}"))
    if not closed:
        return
    efuses, chip = bench.efuses, bench.machine.chip
    for name, field in (
        ("Secure Boot", chip.secure_boot.enable_field),
        ("flash encryption", chip.flash_encryption.counter_field),
    ):
        value = efuses.true_number(field)
        enabled = value.bit_count() % 2 == 1
        say = passed if enabled else failed
        notes.findings.append(say("boot.first.closed", name, f"{field} reads {value}: {'on' if enabled else 'off'}"))
    wrong = [region.name for region in bench.conf.regions() if not _encrypted(world, region.name)]
    if wrong:
        notes.findings.append(failed("boot.first.plaintext", wrong[0], f"{', '.join(wrong)} still hold plaintext"))
    else:
        because = "bootloader, slots and scratch were encrypted in place: each reads back the same through the chip"
        notes.findings.append(passed("boot.first.encrypted", "flash", because))
    notes.tell(
        f"{len(report.efuse_programs)} eFuse programs, {len(report.flash_ops):,} flash operations, "
        f"{report.reboots} reset; then {how_it_ended(report)}."
    )


def _encrypted(world: World, name: str) -> bool:
    region = next(region for region in world.bench.conf.regions() if region.name == name)
    plain = world.plain_flash[region.address : region.end]
    raw = world.bench.machine.flash.read(region.address, region.size)
    return name == "virtual eFuses" or (world.bench.read(region) == plain and raw != plain)


def boot(world: World, notes: Notes) -> None:
    """A usual boot, twice: nothing is written, the application starts."""
    before = world.bench.efuses
    for _ in range(2):
        report = notes.heard(world.bench.boot())
        if not expect_running(world, notes, report, world.app, "boot.usual"):
            return
    notes.findings += [f for f in report.findings if f.verdict is Verdict.PASS]
    changed = report.flash_ops or world.bench.efuses != before
    say = failed if changed else passed
    notes.findings.append(
        say("boot.usual.quiet", "chip", "flash and eFuses " + ("changed" if changed else "stay as they are"))
    )


def install(world: World, notes: Notes, image: bytes, *, permanent: bool) -> None:
    """What an application does with an update: write it to the secondary slot, ask for it."""
    bench = world.bench
    bench.fill(world.secondary, image)
    notes.events.append(Event("flash", "sectors of the update written", -(-len(image) // 4096)))
    code = bench.request(permanent=permanent)
    how = "for good" if permanent else "to be tested"
    notes.tell(f"The application writes {version_in(image)} to the secondary slot and marks it {how}.")
    if code:
        notes.findings.append(failed("update.request", "secondary", f"boot_set_pending answers {code}, expected 0"))


def update_confirm(world: World, notes: Notes) -> None:
    """An update that is tested, confirmed and stays."""
    install(world, notes, world.update, permanent=False)
    report = notes.heard(world.bench.boot())
    if not expect_running(world, notes, report, world.update, "update.swapped"):
        return
    notes.tell(f"The bootloader swaps: {len(report.flash_ops):,} flash operations.")
    code = world.bench.confirm()
    if code:
        notes.findings.append(failed("update.confirm", "primary", f"boot_set_confirmed answers {code}, expected 0"))
        return
    notes.tell("It confirms itself.")
    expect_running(world, notes, notes.heard(world.bench.boot()), world.update, "update.stays")
    world.running = world.update


def update_revert(world: World, notes: Notes) -> None:
    """An update that is tested, not confirmed, and goes back."""
    install(world, notes, world.second_update, permanent=False)
    report = notes.heard(world.bench.boot())
    if not expect_running(world, notes, report, world.second_update, "update.swapped"):
        return
    notes.tell("It never confirms itself.")
    report = notes.heard(world.bench.boot())
    if world.bench.conf.mode is UpgradeMode.OVERWRITE and runs(world, world.bench, report, world.second_update):
        because = (
            f"version {version_in(world.second_update)}, never confirmed, stays: overwrite mode keeps no old image"
        )
        notes.findings.append(failed("update.no_revert", "upgrade mode", because, "use swap-scratch or swap-move"))
        return
    expect_running(world, notes, report, world.running, "update.reverted")


def power_cut(world: World, notes: Notes) -> None:
    """Lose power in the middle of a swap; the next boot must finish it."""
    install(world, notes, world.second_update, permanent=True)
    rehearsed = world.bench.copy()
    trial = rehearsed.boot()
    if not runs(world, rehearsed, trial, world.second_update):
        expect_running(world, notes, trial, world.second_update, "power.uncut")
        return
    for region in (world.secondary, world.primary):
        middle = _middle(trial, region, len(world.second_update))
        if middle is not None:
            rehearsed = _cut(world, notes, middle, len(trial.flash_ops), region.name)
    world.bench = rehearsed
    world.running = world.second_update
    expect_running(world, notes, notes.heard(world.bench.boot()), world.running, "power.stays")


def _middle(report: BootReport, region: Region, size: int) -> int | None:
    """The operation at which half of what is written to the image's place in a slot has been written."""
    inside = range(region.address, region.address + size)
    writes = [at for at, op in enumerate(report.flash_ops) if isinstance(op, Write) and op.address in inside]
    return writes[len(writes) // 2] if writes else None


def _cut(world: World, notes: Notes, at: int, of: int, where: str) -> Bench:
    """Cut one boot of a copy before operation `at`; the next must run the update."""
    bench = world.bench.copy()
    cut = notes.heard(bench.boot(cut=Cut(CutKind.FLASH, at)))
    report = notes.heard(bench.boot())
    if cut.outcome is not Outcome.POWER_CUT:
        notes.findings.append(failed("power.cut", "swap", f"power could not be cut: {how_it_ended(cut)}"))
        return bench
    notes.tell(f"Power goes away before flash operation {at + 1:,} of {of:,}, with the {where} half written.")
    if runs(world, bench, report, world.second_update):
        because = f"the next boot goes on from there with {len(report.flash_ops):,} operations and runs the update"
        notes.findings.append(passed("power.resumed", where, because))
        return bench
    why = next(iter(reversed(failures(report))), None)
    because = f"after the cut {how_it_ended(report)}" + (f": {why.because}" if why else "")
    notes.findings.append(failed(why.code if why else "power.resumed.wrong", where, because))
    return bench


CHAIN = (
    Act("keys", "Make or load the keys", Kind.CHAIN, keys),
    Act("sign-app", "Sign the application for MCUboot", Kind.CHAIN, sign_app),
    Act("sign-bootloader", "Sign the bootloader for Secure Boot V2", Kind.CHAIN, sign_bootloader),
    Act("flash", "Flash both in plaintext", Kind.CHAIN, flash),
    Act("first-boot", "First boot: burn eFuses, encrypt the flash", Kind.CHAIN, first_boot),
    Act("boot", "Usual boots", Kind.CHAIN, boot),
    Act("update-confirm", "Update, swap, confirm", Kind.CHAIN, update_confirm),
    Act("update-revert", "Update that is not confirmed goes back", Kind.CHAIN, update_revert),
)
POWER_CUT = Act("power-cut", "Power cut in the middle of a swap", Kind.CHAIN, power_cut)
