"""Whatever lies in the flash, a boot ends with a verdict."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support import chip_scene, idf_scene

from bootwright.sim.board import Outcome

PLACES = [0, 0x18, idf_scene.TABLE, idf_scene.TABLE + 0x20, idf_scene.OTADATA, idf_scene.FACTORY, idf_scene.OTA_0]
OPTIONS = [{}, idf_scene.ROLLBACK, idf_scene.ANTI_ROLLBACK, idf_scene.ENCRYPTION, idf_scene.V2]
damage = st.dictionaries(st.sampled_from(PLACES), st.binary(min_size=1, max_size=64), max_size=4)
offsets = st.dictionaries(st.integers(0, 0x1300), st.integers(0, 255), max_size=6)


@settings(deadline=None, max_examples=60)
@given(damage=damage, nudged=offsets, option=st.sampled_from(OPTIONS), where=st.sampled_from(PLACES))
def test_esp_idf_s_bootloader_always_ends(
    damage: dict[int, bytes], nudged: dict[int, int], option: dict[str, str], where: int
) -> None:
    it = idf_scene.scene(option, signed="v2")
    for address, data in damage.items():
        it.machine.flash.load(address, data)
    for offset, value in nudged.items():
        it.machine.flash.load(where + offset, bytes([value]))
    report = it.boot()
    assert report.booted or report.failure is not None


@settings(deadline=None, max_examples=60)
@given(
    nudged=st.dictionaries(st.integers(0, 0x8000), st.integers(0, 255), max_size=8),
    where=st.sampled_from([0, 0x6000, chip_scene.PRIMARY, chip_scene.SECONDARY - 0x1000]),
    signed=st.booleans(),
)
def test_the_port_always_ends(nudged: dict[int, int], where: int, signed: bool) -> None:
    it = chip_scene.scene(chip_scene.SECURE_BOOT if signed else {})
    for offset, value in nudged.items():
        it.machine.flash.load(where + offset, bytes([value]))
    report = it.machine.boot(it.port)
    assert report.booted or report.failure is not None
    assert report.outcome is not Outcome.APP or report.version
