"""Whatever the order of burns and resets: no bit is ever lost, and protections hold."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from bootwright.chips.chip import CHIP_NAMES, load_chip
from bootwright.chips.efuses import Efuses, diff
from bootwright.chips.snapshots import read_state, snapshot
from bootwright.errors import SiliconError


class Burning(RuleBasedStateMachine):
    """A chip in the hands of someone careless."""

    @initialize(name=st.sampled_from(CHIP_NAMES))
    def begin(self, name: str) -> None:
        self.chip = load_chip(name)
        self.before = self.now = Efuses.blank(self.chip)

    def burn(self, after: Efuses) -> None:
        self.before, self.now = self.now, after

    @rule(data=st.data())
    def program_a_block(self, data: st.DataObject) -> None:
        block = data.draw(st.sampled_from(self.chip.blocks))
        self.burn(self.now.program(block.number, data.draw(st.binary(max_size=block.size))))

    @rule(data=st.data())
    def cut_power_while_programming(self, data: st.DataObject) -> None:
        block = data.draw(st.sampled_from(self.chip.blocks))
        content, landed = data.draw(st.binary(max_size=block.size)), data.draw(st.integers(0, (1 << 352) - 1))
        torn = self.now.program_torn(block.number, content, landed=landed)
        assert torn.program(block.number, content) == self.now.program(block.number, content)
        self.burn(torn)

    @rule(data=st.data())
    def ask_for_a_block(self, data: st.DataObject) -> None:
        block = data.draw(st.sampled_from(self.chip.blocks))
        content = data.draw(st.binary(max_size=block.size))
        try:
            after = self.now.burn_block(block.number, content)
        except SiliconError:
            return
        wanted = int.from_bytes(content, "little")
        assert after.bits[block.number] == self.now.bits[block.number] | wanted
        assert after.spoiled(block.number) == self.now.spoiled(block.number)
        self.burn(after)

    @rule(data=st.data())
    def protect_something(self, data: st.DataObject) -> None:
        names = [f.name for f in self.chip.fields_at(self.now.revision) if f.name.startswith(("WR_DIS.", "RD_DIS."))]
        self.burn(self.now.program_fields({data.draw(st.sampled_from(names)): 1}))

    @rule()
    def reset(self) -> None:
        self.burn(self.now.latched())

    @rule()
    def save_and_load(self) -> None:
        assert read_state(snapshot(self.now).encode()) == self.now

    @invariant()
    def no_bit_is_lost(self) -> None:
        for old, new in zip(self.before.bits, self.now.bits, strict=True):
            assert old & ~new == 0

    @invariant()
    def what_was_frozen_did_not_change(self) -> None:
        for field in self.chip.fields_at(self.now.revision):
            if self.before.write_protected(field.name):
                assert self.before.true_number(field.name) == self.now.true_number(field.name), field.name

    @invariant()
    def what_is_hidden_reads_as_zeros(self) -> None:
        for block in self.chip.blocks:
            seen = int.from_bytes(self.now.readable_block(block.number), "little")
            assert seen == self.now.bits[block.number] & ~self.now.hidden_bits(block.number)

    @invariant()
    def a_frozen_field_stays_frozen_and_a_hidden_block_hidden(self) -> None:
        for block in self.chip.blocks:
            assert self.before.hidden_bits(block.number) & ~self.now.hidden_bits(block.number) == 0
        assert self.before.latch & ~self.now.latch == 0

    @invariant()
    def the_difference_names_every_changed_field(self) -> None:
        named = {row.name for row in diff(self.before, self.now)}
        for field in self.chip.fields_at(self.now.revision):
            whole = field.name in ("WR_DIS", "RD_DIS") or field.block != 0
            if not whole and self.before.true_number(field.name) != self.now.true_number(field.name):
                assert named & {f.name for f in self.chip.fields if f.block == field.block and f.mask & field.mask}


TestBurning = Burning.TestCase
TestBurning.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
