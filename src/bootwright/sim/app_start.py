"""From a slot that MCUboot chose to an application that runs: the port's loader.

Source: MCUboot 2d4bacc3, boot/espressif/port/esp_loader.c and main.c (`do_boot`).
"""

from __future__ import annotations

from bootwright.boot.outcome import Booted
from bootwright.errors import FormatError
from bootwright.finding import passed
from bootwright.formats.load_header import LoadHeader, parse_load_header
from bootwright.sim.run import HaltedError, Run, halted


def start_application(run: Run, booted: Booted) -> None:
    """Load image 0 and jump; with two processors image 1 is started first, always from its primary slot.

    Raises:
        HaltedError: the load header is not one that the loader takes.
    """
    if run.has("CONFIG_ESP_MULTI_PROCESSOR_BOOT"):
        primary = run.conf.slots(1)[0]
        header_size = int.from_bytes(run.board.flash.read(primary.address + 8, 2), "little")
        _load(run, primary.address, header_size, "image 1")
    run.say("INF", f"br_image_off = {booted.image_offset:#x}")
    run.say("INF", f"ih_hdr_size = {booted.header.hdr_size:#x}")
    primary, secondary = run.conf.slots(0)
    slot = primary if booted.image_offset == primary.address else secondary
    _load(run, slot.address, booted.header.hdr_size, "image 0")


def _load(run: Run, slot: int, header_size: int, subject: str) -> None:
    """`esp_app_image_load`: the end address counts as inside too, and flash offsets are not checked at all."""
    try:
        header = parse_load_header(run.board.flash.read(slot + header_size, LoadHeader.size()), 0, where=subject)
    except FormatError as error:
        run.say("ERR", "Load header magic verification failed. Aborting")
        raise halted("port.load_header.magic", subject, error.message, error.hint) from None
    memory = run.board.chip.memory
    parts = (
        ("IRAM", header.iram_dest_addr, header.iram_size, memory.iram),
        ("DRAM", header.dram_dest_addr, header.dram_size, memory.dram),
        ("RTC IRAM", header.lp_rtc_iram_dest_addr, header.lp_rtc_iram_size, memory.rtc_iram),
        ("RTC DRAM", header.lp_rtc_dram_dest_addr, header.lp_rtc_dram_size, memory.rtc_dram),
    )
    for name, start, size, limits in parts:
        optional = name.startswith("RTC")
        if limits and (size or not optional) and not (_inside(start, limits) and _inside(start + size, limits)):
            run.say("ERR", f"{name} region in load header is not valid. Aborting")
            raise _wrong(name, f"{start:#x} to {start + size:#x}", subject, limits)
    if not _inside(header.entry_addr, memory.iram):
        run.say("ERR", f"Application entry point ({header.entry_addr:#x}) is not in IRAM. Aborting")
        raise _wrong("entry", f"{header.entry_addr:#x}", subject, memory.iram)
    run.say("INF", f"start={header.entry_addr:#x}")
    run.findings.append(passed("port.load_header", subject, f"the loader takes it, entry {header.entry_addr:#x}"))


def _inside(address: int, limits: tuple[int, ...]) -> bool:
    return limits[0] <= address < limits[1]


def _wrong(name: str, found: str, subject: str, limits: tuple[int, ...]) -> HaltedError:
    return halted(
        f"port.load_header.{name.lower().replace(' ', '_')}",
        subject,
        f"the load header names {found} as {name}, the loader takes {limits[0]:#x} to {limits[1]:#x}",
        "link the application for this chip's MCUboot loader",
    )
