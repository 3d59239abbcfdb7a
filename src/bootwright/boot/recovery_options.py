"""What of serial recovery is compiled in: the native Espressif port has none of the options, Zephyr's has them all.

Names: `MCUBOOT_*` options that boot/boot_serial/src/boot_serial.c asks for (MCUboot 2d4bacc3), with the Kconfig that
sets them in boot/zephyr/Kconfig.serial_recovery.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveryOptions:
    """One build of serial recovery."""

    receive_size: int = 512  #: MCUBOOT_SERIAL_MAX_RECEIVE_SIZE (BOOT_SERIAL_MAX_RECEIVE_SIZE)
    line_limit: int = 513  #: bytes of a line with its LF: in_buf, or BOOT_MAX_LINE_INPUT_LEN
    line_buffers: int = 0  #: BOOT_LINE_BUFS: lines kept while a command is in work; 0: none but the UART's FIFO
    echo: bool = False  #: MCUBOOT_BOOT_MGMT_ECHO
    params: bool = False  #: MCUBOOT_BOOT_MGMT_MCUMGR_PARAMS
    image_hash: bool = False  #: MCUBOOT_SERIAL_IMG_GRP_HASH
    image_state: bool = False  #: MCUBOOT_SERIAL_IMG_GRP_IMAGE_STATE
    slot_info: bool = False  #: MCUBOOT_SERIAL_IMG_GRP_SLOT_INFO
    direct_upload: bool = False  #: MCUBOOT_SERIAL_DIRECT_IMAGE_UPLOAD: image numbers 1, 2, … name slots


#: boot/espressif: serial_adapter.c reads a polled UART with a FIFO of 128 bytes
ESPRESSIF = RecoveryOptions()
#: boot/zephyr with its defaults and the groups that a product switches on
ZEPHYR = RecoveryOptions(
    receive_size=1024,
    line_limit=128,
    line_buffers=8,
    echo=True,
    params=True,
    image_hash=True,
    image_state=True,
    slot_info=True,
)
