"""From a slot that MCUboot chose to an application that runs: the port's loader.

Source: MCUboot 2d4bacc3, boot/espressif/port/esp_loader.c and main.c (`do_boot`).
"""

from __future__ import annotations

from bootwright.boot.outcome import Booted
from bootwright.errors import FormatError
from bootwright.finding import passed
from bootwright.formats.load_header import LoadHeader, parse_load_header
from bootwright.sim.run import HaltedError, Run, halted

#: LP_RTC_PREFIX of esp_loader.c: what the console calls the memory that survives deep sleep
_RTC_NAMES = dict.fromkeys(("esp32", "esp32s2", "esp32s3", "esp32c3"), "RTC")
#: sysflash.h: flash area of [image][slot]
_AREA_IDS = ((1, 2), (4, 5))


def start_application(run: Run, booted: Booted) -> None:
    """Load image 0 and jump; with two processors image 1 is started first, always from its primary slot.

    Raises:
        HaltedError: the load header is not one that the loader takes.
    """
    if run.has("CONFIG_ESP_MULTI_PROCESSOR_BOOT"):
        primary = run.conf.slots(1)[0]
        header_size = int.from_bytes(run.board.flash.read(primary.address + 8, 2), "little")
        run.say("INF", f"Image offset = {primary.address:#x}")
        run.say("INF", f"Image header size = {header_size:#x}")
        _load(run, primary.address, header_size, 1, 0)
        run.say("INF", "[app_cpu_start] Starting APPCPU")
        run.say("INF", "[app_cpu_start] APPCPU start sequence complete")
    run.say("INF", f"br_image_off = {booted.image_offset:#x}")
    run.say("INF", f"ih_hdr_size = {booted.header.hdr_size:#x}")
    slots = run.conf.slots(0)
    number = 0 if booted.image_offset == slots[0].address else 1
    _load(run, slots[number].address, booted.header.hdr_size, 0, number)


def _load(run: Run, slot: int, header_size: int, image: int, number: int) -> None:
    """`esp_app_image_load`: the end address counts as inside too, and flash offsets are not checked at all."""
    subject = f"image {image}"
    run.say("INF", f"Loading image {image} - slot {number} from flash, area id: {_AREA_IDS[image][number]}")
    try:
        header = parse_load_header(run.board.flash.read(slot + header_size, LoadHeader.size()), 0, where=subject)
    except FormatError as error:
        run.say("ERR", "Load header magic verification failed. Aborting")
        raise halted("port.load_header.magic", subject, error.message, error.hint) from None
    memory, rtc = run.board.chip.memory, _RTC_NAMES.get(run.board.chip.name, "LP")
    rtc_ram = f"{rtc}_RAM region in load header is not valid. Aborting {header.lp_rtc_dram_dest_addr:#x}"
    parts = (
        ("IRAM", header.iram_dest_addr, header.iram_size, memory.iram, ""),
        ("DRAM", header.dram_dest_addr, header.dram_size, memory.dram, ""),
        (
            "RTC IRAM",
            header.lp_rtc_iram_dest_addr,
            header.lp_rtc_iram_size,
            memory.rtc_iram,
            f"{rtc}_IRAM region in load header is not valid. Aborting",
        ),
        ("RTC DRAM", header.lp_rtc_dram_dest_addr, header.lp_rtc_dram_size, memory.rtc_dram, rtc_ram),
    )
    for name, start, size, limits, line in parts:
        optional = name.startswith("RTC")
        if limits and (size or not optional) and not (_inside(start, limits) and _inside(start + size, limits)):
            run.say("ERR", line or f"{name} region in load header is not valid. Aborting")
            raise _wrong(name, f"{start:#x} to {start + size:#x}", subject, limits)
    if not _inside(header.entry_addr, memory.iram):
        run.say("ERR", f"Application entry point ({header.entry_addr:#x}) is not in IRAM. Aborting")
        raise _wrong("entry", f"{header.entry_addr:#x}", subject, memory.iram)
    _tell_segments(run, slot, header, rtc)
    run.say("INF", f"start={header.entry_addr:#x}")
    run.findings.append(passed("port.load_header", subject, f"the loader takes it, entry {header.entry_addr:#x}"))


def _tell_segments(run: Run, slot: int, header: LoadHeader, rtc: str) -> None:
    """The segments in the order in which they are loaded; those of the RTC memory only where there is some."""
    for name, at, size, to in (
        ("DRAM", header.dram_flash_offset, header.dram_size, header.dram_dest_addr),
        ("IRAM", header.iram_flash_offset, header.iram_size, header.iram_dest_addr),
    ):
        run.say("INF", f"{name} segment: start={slot + at:#x}, size={size:#x}, vaddr={to:#x}")
    memory = run.board.chip.memory
    if not memory.rtc_iram and not memory.rtc_dram:
        return
    for name, at, size, to in (
        ("RAM", header.lp_rtc_dram_flash_offset, header.lp_rtc_dram_size, header.lp_rtc_dram_dest_addr),
        ("IRAM", header.lp_rtc_iram_flash_offset, header.lp_rtc_iram_size, header.lp_rtc_iram_dest_addr),
    ):
        if size:
            place = f"paddr={slot + at:08x}h, vaddr={to:08x}h, size={size:05x}h ({size:6}) load"
            run.say("INF", f"{rtc}_{name} segment: {place}")


def _inside(address: int, limits: tuple[int, ...]) -> bool:
    return limits[0] <= address < limits[1]


def _wrong(name: str, found: str, subject: str, limits: tuple[int, ...]) -> HaltedError:
    return halted(
        f"port.load_header.{name.lower().replace(' ', '_')}",
        subject,
        f"the load header names {found} as {name}, the loader takes {limits[0]:#x} to {limits[1]:#x}",
        "link the application for this chip's MCUboot loader",
    )
