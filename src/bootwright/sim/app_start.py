"""From a slot that MCUboot chose to an application that runs: the port's loader.

Source: MCUboot 2d4bacc3, boot/espressif/port/esp_loader.c and main.c (`do_boot`).
"""

from __future__ import annotations

from bootwright.boot.outcome import Booted
from bootwright.finding import passed
from bootwright.sim.run import Run, halted

LOAD_HEADER_MAGIC = 0xACE637D3  #: ESP_LOAD_HEADER_MAGIC
LOAD_HEADER_SIZE = 96


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
    words = run.board.flash.read(slot + header_size, LOAD_HEADER_SIZE)
    magic, entry = int.from_bytes(words[:4], "little"), int.from_bytes(words[4:8], "little")
    if magic != LOAD_HEADER_MAGIC:
        run.say("ERR", "Load header magic verification failed. Aborting")
        raise halted(
            "port.load_header.magic",
            subject,
            f"behind the MCUboot header of {subject} lies {magic:#010x}, the loader expects {LOAD_HEADER_MAGIC:#010x}",
            "build the application for the Espressif port; sign with the header size that it reserves",
        )
    run.say("INF", f"start={entry:#x}")
    run.findings.append(passed("port.load_header", subject, f"the load header is valid, entry {entry:#x}"))
