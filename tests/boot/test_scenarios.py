"""Random scenarios: whatever happens to a flash, some things always hold."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.scenes import build, scene, signed

from bootwright.boot.config import BootConfig, Mode
from bootwright.boot.header import parse_header
from bootwright.boot.loader import boot_go, set_confirmed, set_pending
from bootwright.boot.outcome import Booted, BootOutcome, NoImage
from bootwright.boot.sectors import Sectors
from bootwright.flash import Erase, FlashOp, Write, drive
from bootwright.formats.mcuboot_image import MAGIC, ImageFlags, ImageHeader, ImageVersion
from bootwright.host.explore_scene import Action

ACTIONS = st.one_of(
    st.tuples(st.just("cut"), st.integers(1, 120), st.sampled_from(["clean", "torn"])),
    st.tuples(st.just("boot"), st.just(0), st.just("")),
    st.tuples(st.just("pending"), st.integers(0, 1), st.just("")),
    st.tuples(st.just("confirm"), st.just(0), st.just("")),
    st.tuples(st.just("damage"), st.integers(0, 0x1FFFF), st.just("")),
)
MODES = st.sampled_from([mode for mode in Mode if mode.swaps or mode.overwrites])


def signed_part(image: bytes) -> bytes:
    """What the signature covers: header and payload."""
    header = parse_header(image)
    return image[: header.hdr_size + header.img_size + header.protect_tlv_size]


class Device:
    """A flash that is booted, cut and damaged; it keeps what was done to it."""

    def __init__(self, mode: Mode) -> None:
        self.config: BootConfig = build(mode)
        self.flash: Sectors = scene(mode, Action.TEST).flash()
        self.ops: list[FlashOp] = []

    def perform(self, op: FlashOp) -> None:
        self.ops.append(op)
        self.flash.apply(op)

    def boot(self, cut: int = 0, kind: str = "") -> BootOutcome | None:
        program = boot_go(self.flash, self.config)
        done = 0
        try:
            while True:
                op = next(program)
                done += 1
                if done == cut:
                    if kind == "torn":
                        self.flash.apply_torn(op)
                    return None
                self.perform(op)
        except StopIteration as end:
            outcome: BootOutcome = end.value
            return outcome

    def do(self, action: tuple[str, int, str]) -> BootOutcome | None:
        what, number, kind = action
        if what == "cut":
            return self.boot(number, kind)
        if what == "boot":
            return self.boot()
        if what == "pending":
            drive(set_pending(self.flash, self.config, permanent=bool(number)), self.perform)
        elif what == "confirm":
            drive(set_confirmed(self.flash, self.config), self.perform)
        else:
            address = 0x10000 + number
            self.flash.load(address, bytes([self.flash.raw_at(address, 1)[0] ^ 0x10]))
        return None


@given(MODES, st.lists(ACTIONS, max_size=8))
def test_whatever_happens_only_an_authentic_image_ever_runs(mode: Mode, actions: list[tuple[str, int, str]]) -> None:
    device = Device(mode)
    known = {hashlib.sha256(signed_part(signed(version, 20000))).digest() for version in (1, 2)}
    for action in [*actions, ("boot", 0, "")]:
        outcome = device.do(action)
        if isinstance(outcome, Booted):
            found = device.flash.read(outcome.image_offset, 20000)
            assert hashlib.sha256(signed_part(found)).digest() in known


@given(MODES, st.lists(ACTIONS, max_size=8))
def test_nothing_outside_of_the_slots_and_scratch_is_ever_changed(
    mode: Mode, actions: list[tuple[str, int, str]]
) -> None:
    device = Device(mode)
    for action in actions:
        device.do(action)
    for op in device.ops:
        end = op.address + (op.length if isinstance(op, Erase) else len(op.data))
        assert any(area.address <= op.address and end <= area.end for area in device.config.areas)


@given(MODES, st.lists(ACTIONS, max_size=6))
def test_a_boot_is_a_function_of_the_flash(mode: Mode, actions: list[tuple[str, int, str]]) -> None:
    device = Device(mode)
    for action in actions:
        device.do(action)
    again = device.flash.copy()
    first = device.boot()
    ops: list[FlashOp] = []

    def perform(op: FlashOp) -> None:
        ops.append(op)
        again.apply(op)

    assert drive(boot_go(again, device.config), perform) == first
    assert again.raw() == device.flash.raw()


@given(st.sampled_from([Mode.SCRATCH, Mode.MOVE, Mode.OFFSET]), st.lists(st.integers(1, 110), max_size=6))
def test_an_unconfirmed_update_that_is_cut_cleanly_any_number_of_times_runs_in_the_end(
    mode: Mode, cuts: list[int]
) -> None:
    device = Device(mode)
    for cut in cuts:
        outcome = device.boot(cut, "clean")
        if outcome is not None:
            break
    else:
        outcome = device.boot()
    assert isinstance(outcome, Booted)
    assert outcome.version == "2.0.0+0"


@pytest.mark.parametrize(
    ("magic", "words"), [(0x12345678, "no image header: the magic there is 0x12345678"), (MAGIC, "")]
)
def test_noise_that_looks_marked_as_not_bootable_is_called_noise(magic: int, words: str) -> None:
    """boot_validate_slot looks at the flags first; whoever reads its answer wants to know that nothing decrypted."""
    device = Device(Mode.SCRATCH)
    primary, secondary = device.config.images[0].primary, device.config.images[0].secondary
    for slot in (primary, secondary):
        device.perform(Erase(slot.address, slot.size, "make room"))
    header = ImageHeader(magic=magic, img_size=4, ver=ImageVersion.from_text("1.0.0"), flags=ImageFlags.NON_BOOTABLE)
    device.perform(Write(primary.address, header.pack(), "noise"))
    outcome = device.boot()
    assert isinstance(outcome, NoImage)
    (finding,) = outcome.why
    assert finding.code == "mcuboot.image.none"
    assert finding.because.startswith("primary is marked as not bootable")
    assert words in finding.because
    assert ("expected 0x96f3b83d" in finding.because) == bool(words)
