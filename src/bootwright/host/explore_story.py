"""A counter-example, told operation by operation, and as a trace that anyone can play."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from bootwright.boot.config import BootConfig
from bootwright.boot.layout import Place, layout_of
from bootwright.boot.loader import boot_go, set_confirmed
from bootwright.boot.outcome import Booted, BootOutcome, NoImage, Panic
from bootwright.boot.probe import UNWATCHED
from bootwright.boot.runs import Runs
from bootwright.boot.sectors import Sectors
from bootwright.boot.trace_record import Recorder
from bootwright.flash import Erase, FlashOp
from bootwright.host.explore_graph import Cut, Cuts, apply_some_bits

Way = tuple[tuple[str, Cut | None], ...]

#: trailer fields behind the swap status, as they lie, and the bytes that they take
_FIELDS = (("swap_size", 4), ("swap_info", 1), ("copy_done", 1), ("image_ok", 1), ("magic", 16))


@dataclass(frozen=True, slots=True)
class Story:
    """What happens on the way to a violated property."""

    lines: tuple[str, ...]
    trace: dict[str, Any]


def tell(config: BootConfig, flash: Sectors, way: Way, *, name: str) -> Story:
    """Go a way from the flash of the scene, and write down what happens."""
    raw = flash.raw()
    recorder = Recorder(config, raw, name=name)
    lines: list[str] = []
    for number, (program, cut) in enumerate(way, 1):
        if program == "confirm":
            lines.append(f"{number}. The application confirms the running image.")
            if cut is None:
                recorder.set_confirmed()
            else:
                _cut_confirm(config, recorder, cut)
                lines.append(f"   Power is lost {_where(cut)}.")
            continue
        ops, outcome = _rehearse(config, recorder.flash.copy(), cut)
        if cut is None and number < len(way):
            recorder.boot()
            lines.append(f"{number}. The chip boots, {len(ops)} operations without a cut: {describe_outcome(outcome)}")
            continue
        lines.append(f"{number}. The chip boots.")
        lines += [f"   {line}" for line in describe_ops(config, ops[: cut.after] if cut else ops)]
        if cut is None:
            recorder.boot()
            lines.append(f"   {describe_outcome(outcome)}")
        else:
            lost = describe_op(config, ops[cut.after])
            lines.append(f"   Power is lost {_where(cut)}: {lost}.")
            _record_cut(config, recorder, cut, ops[cut.after])
    return Story(tuple(lines), recorder.document())


def _rehearse(config: BootConfig, flash: Sectors, cut: Cut | None) -> tuple[list[FlashOp], BootOutcome | None]:
    """The operations of a boot, up to and with the one that power is lost at."""
    ops: list[FlashOp] = []
    program = boot_go(flash, config, probe=UNWATCHED)
    try:
        while cut is None or len(ops) <= cut.after:
            op = next(program)
            ops.append(op)
            flash.apply(op)
    except StopIteration as end:
        outcome: BootOutcome = end.value
        return ops, outcome
    return ops, None


def _record_cut(config: BootConfig, recorder: Recorder, cut: Cut, op: FlashOp) -> None:
    """A trace knows clean and torn cuts; what drawn bits leave behind is put there."""
    if cut.kind is not Cuts.BITS:
        recorder.boot(stop_before=cut.after + 1, cut=cut.kind.value)
        return
    recorder.boot(stop_before=cut.after + 1)
    after = recorder.flash.copy()
    apply_some_bits(Runs(config, after), op, seed=cut.lot)
    _put_differences(recorder, after)


def _cut_confirm(config: BootConfig, recorder: Recorder, cut: Cut) -> None:
    """A trace has no cut inside set_confirmed; the sectors that it leaves behind are put there."""
    after = recorder.flash.copy()
    for image in range(len(config.images)):
        for number, op in enumerate(set_confirmed(recorder.flash.copy(), config, image=image)):
            if number == cut.after:
                if cut.kind is Cuts.TORN:
                    after.apply_torn(op)
                break
            after.apply(op)
    _put_differences(recorder, after)


def _put_differences(recorder: Recorder, after: Sectors) -> None:
    size = after.sector_size
    for index in range(after.size // size):
        if after.number(index) != recorder.flash.number(index):
            recorder.flash_put(index * size, after.raw_at(index * size, size))


def _where(cut: Cut) -> str:
    number = cut.after + 1
    return {
        Cuts.CLEAN: f"before operation {number}",
        Cuts.TORN: f"half-way through operation {number}",
        Cuts.BITS: f"inside operation {number}, some of its bits done",
    }[cut.kind]


def describe_ops(config: BootConfig, ops: list[FlashOp]) -> Iterator[str]:
    """Operations in words, one line for each stretch that does the same."""
    at = 1
    for why, group in groupby(ops, key=lambda op: op.why):
        run = list(group)
        numbers = f"operation {at}" if len(run) == 1 else f"operations {at} to {at + len(run) - 1}"
        first, last = place_of_op(config, run[0]), place_of_op(config, run[-1])
        yield f"{numbers}: {why} ({first})" if first == last else f"{numbers}: {why} ({first} to {last})"
        at += len(run)


def describe_op(config: BootConfig, op: FlashOp) -> str:
    """One operation with its place."""
    if isinstance(op, Erase):
        return f"{op.why or 'erase'} (erase {place_of_op(config, op)})"
    what = f", value {op.data[0]:#04x}" if op.why in ("write status", "write swap_info") and not op.encrypted else ""
    return f"{op.why or 'write'} (write {len(op.data)} bytes to {place_of_op(config, op)}{what})"


def describe_outcome(outcome: BootOutcome | None) -> str:
    """How a boot ended, in a sentence."""
    if isinstance(outcome, Booted):
        return f"{outcome.version} runs."
    if isinstance(outcome, NoImage | Panic):
        reason = outcome.why[0].because if outcome.why else "no reason known"
        return f"{'Nothing boots' if isinstance(outcome, NoImage) else 'The bootloader stops'}: {reason}."
    return "The chip waits in serial recovery."


def place_of_op(config: BootConfig, op: FlashOp) -> str:
    """The place of an operation, with every trailer field that it erases or writes."""
    return place_of(config, op.address, op.length if isinstance(op, Erase) else len(op.data))


def place_of(config: BootConfig, address: int, length: int = 1) -> str:
    """The name of a range: the area and sector that it begins in, and the trailer fields in it."""
    layout = layout_of(config)
    places = [place for pair in layout.slots for place in pair]
    if layout.scratch is not None:
        places.append(layout.scratch)
    for place in places:
        if place.area.address <= address < place.area.end:
            offset = address - place.area.address
            fields = _fields(place, offset, offset + length)
            name = f"{place.area.name} sector {offset // layout.sector_size}"
            return f"{name}, {' … '.join(fields)}" if fields else name
    return f"{address:#x}"


def _fields(place: Place, begin: int, end: int) -> list[str]:
    """The trailer field between two offsets; of several the first and the last."""
    found = ["swap status"] if begin < place.swap_size and end > place.status else []
    for name, size in _FIELDS:
        start = getattr(place, "magic_write" if name == "magic" else name)
        if start < end and begin < getattr(place, name) + size:
            found.append(name)
    return [found[0], found[-1]] if len(found) > 1 else found
