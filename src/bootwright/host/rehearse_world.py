"""What the steps of a rehearsal share, and how they say what came of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from bootwright.errors import FormatError
from bootwright.finding import Finding, Verdict, failed, passed
from bootwright.formats.bootloader_conf import Region
from bootwright.formats.keys import Signer
from bootwright.formats.load_header import HDR_SIZE
from bootwright.formats.mcuboot_image import Image, ImageVersion
from bootwright.formats.mcuboot_sign import SignOptions, sign_image
from bootwright.host.bench import Bench, events_of
from bootwright.host.firmware import Payload, size_text
from bootwright.host.rehearsal import Event, FlashPicture, Kind, Step
from bootwright.host.rehearse_inputs import Inputs
from bootwright.sim.board import Outcome
from bootwright.sim.machine import BootReport

COUNTER = "CONFIG_ESP_DOWNGRADE_PREVENTION_SECURITY_COUNTER"


@dataclass(slots=True)
class World:
    """The state of the rehearsal; each step leaves its part for those that follow."""

    inputs: Inputs
    bench: Bench
    app: bytes = b""  #: signed
    update: bytes = b""
    second_update: bytes = b""
    second: bytes = b""  #: image 1, signed; empty in a build for one image
    bootloader: bytes = b""  #: padded and signed
    running: bytes = b""  #: the image that legitimately runs
    before: FlashPicture | None = None
    plain_flash: bytes = b""  #: as flashed
    fresh: Bench | None = None  #: the chip before its first boot
    last_boot: BootReport | None = None  #: the last usual boot that started an application

    @property
    def primary(self) -> Region:
        """The slot that runs."""
        return self.bench.conf.slots()[0]

    @property
    def secondary(self) -> Region:
        """The slot for updates."""
        return self.bench.conf.slots()[1]


@dataclass(slots=True)
class Notes:
    """What a step collects while it runs."""

    findings: list[Finding] = field(default_factory=list)
    story: list[str] = field(default_factory=list)
    console: list[str] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    def tell(self, sentence: str) -> None:
        """Add a sentence to the story."""
        self.story.append(sentence)

    def heard(self, report: BootReport) -> BootReport:
        """Keep what a boot printed and did; the report goes through."""
        self.console += [str(line) for line in report.console]
        self.events += events_of(report)
        return report


Play = Callable[[World, Notes], None]


@dataclass(frozen=True, slots=True)
class Act:
    """A step before it is played."""

    id: str
    title: str
    kind: Kind
    play: Play

    def perform(self, world: World) -> Step:
        """Play it."""
        notes = Notes()
        self.play(world, notes)
        return Step(
            id=self.id,
            title=self.title,
            kind=self.kind,
            findings=tuple(notes.findings),
            story=tuple(notes.story),
            console=tuple(notes.console),
            events=tuple(notes.events),
        )

    def skipped(self, because: str) -> Step:
        """The step when one that it builds on failed."""
        finding = failed("rehearse.step.not_played", self.id, f"not played, because {because} failed")
        return Step(id=self.id, title=self.title, kind=self.kind, findings=(finding,), played=False)


def sign(
    world: World, payload: Payload, version: str, counter: int | None, *, signer: Signer | None, subject: str
) -> bytes:
    """A signed image as the project's bootloader wants it.

    Raises:
        FormatError: it does not fit its slot.
    """
    options = SignOptions(
        version=ImageVersion.from_text(version),
        header_size=HDR_SIZE,
        pad_header=True,
        align=32,
        max_align=32,
        security_counter=counter,
    )
    image = sign_image(payload.data, options, signer)
    limit = world.inputs.image_limit
    if len(image) > limit:
        slot = world.primary.size
        raise FormatError(
            f"{subject}: found {len(image):#x} bytes signed, expected at most {limit:#x}: the slot of {slot:#x} less "
            f"the {slot - limit:#x} that the port keeps for a trailer of 512 sectors under flash encryption",
            "make the application smaller, or the slots larger",
        )
    return image


def counter_of(world: World, given: int | None, default: int) -> int | None:
    """The security counter to sign with: as given, or a default where the bootloader asks for one."""
    if given is None and world.bench.conf.defined(COUNTER):
        return default
    return given


def bumped(version: str) -> str:
    """The next revision, or the next minor or major version where that field is full."""
    parsed = ImageVersion.from_text(version)
    if parsed.revision < 0xFFFF:
        return f"{parsed.major}.{parsed.minor}.{parsed.revision + 1}"
    return f"{parsed.major}.{parsed.minor + 1}.0" if parsed.minor < 0xFF else f"{min(parsed.major + 1, 0xFF)}.0.0"


def lowered(version: str) -> str | None:
    """A version just below, None below 0.0.0."""
    parsed = ImageVersion.from_text(version)
    if parsed.revision:
        return f"{parsed.major}.{parsed.minor}.{parsed.revision - 1}"
    if parsed.minor:
        return f"{parsed.major}.{parsed.minor - 1}.0"
    return f"{parsed.major - 1}.0.0" if parsed.major else None


def version_in(image: bytes) -> str:
    """The version in an image's header, `1.2.3` without a build number of 0."""
    ver = Image.parse(image).header.ver
    return f"{ver.major}.{ver.minor}.{ver.revision}" + (f"+{ver.build}" if ver.build else "")


def runs(world: World, bench: Bench, report: BootReport, image: bytes) -> bool:
    """Whether the boot started exactly this image."""
    return report.booted and bench.read(world.primary, len(image)) == image


_STOPPED: Mapping[Outcome, str] = MappingProxyType(
    {
        Outcome.PANIC: "the bootloader stops",
        Outcome.ROM_REFUSED: "the ROM does not start the bootloader",
        Outcome.POWER_CUT: "power was lost",
        Outcome.DOWNLOAD: "the ROM loader waits",
        Outcome.RECOVERY: "serial recovery waits",
        Outcome.RESET: "the chip resets for ever",
    }
)


def how_it_ended(report: BootReport) -> str:
    """A boot's end in words."""
    return f"version {report.version.removesuffix('+0')} runs" if report.booted else _STOPPED[report.outcome]


def expect_running(world: World, notes: Notes, report: BootReport, image: bytes, code: str) -> bool:
    """A finding that says whether the boot started the image it should have."""
    version = version_in(image)
    if runs(world, world.bench, report, image):
        notes.findings.append(passed(code, "boot", f"version {version} runs from {world.primary.address:#x}"))
        world.last_boot = report
        return True
    why = next(iter(reversed(failures(report))), None)
    because = f"expected version {version} to run, but {how_it_ended(report)}"
    if why is not None:
        notes.findings.append(failed(why.code, why.subject, f"{because}: {why.because}", why.next))
    else:
        notes.findings.append(failed(f"{code}.wrong", "boot", because, "see the console of this step"))
    return False


def failures(report: BootReport) -> tuple[Finding, ...]:
    """Every check that said no; in a boot that goes on, those that refused an update."""
    verdict = Verdict.WARN if report.booted else Verdict.FAIL
    return tuple(dict.fromkeys(finding for finding in report.findings if finding.verdict is verdict))


def sized(data: bytes) -> str:
    """The size of some bytes, in words."""
    return size_text(len(data))
