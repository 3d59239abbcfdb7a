"""The 8 bytes before every SMP message, and the numbers that go into them.

`struct nmgr_hdr`, big endian: reserved 3 bits, version 2, op 3 | flags | length u16 | group u16 | sequence | command
(MCUboot 2d4bacc3, boot/boot_serial/src/boot_serial_priv.h).
"""

import struct
from collections import namedtuple

SIZE = 8
LAYOUT = ">BBHHBB"

READ = 0
READ_RSP = 1
WRITE = 2
WRITE_RSP = 3

V1 = 0  #: errors are `rc`
V2 = 1  #: errors of a group are `err: {group, rc}`; MCUboot answers `rc` all the same

OS = 0
IMAGE = 1
STAT = 2
SETTINGS = 3
LOG = 4
CRASH = 7
FS = 8
SHELL = 9
ENUM = 10
TRANSPORT = 11
ZEPHYR = 63

OS_ECHO = 0
OS_CONSOLE_ECHO = 1
OS_TASKSTAT = 2
OS_MPSTAT = 3
OS_DATETIME = 4
OS_RESET = 5
OS_PARAMS = 6
OS_INFO = 7
OS_BOOTLOADER = 8

IMAGE_STATE = 0
IMAGE_UPLOAD = 1
IMAGE_ERASE = 5
IMAGE_SLOT_INFO = 6

STAT_DATA = 0
STAT_LIST = 1

SETTINGS_VALUE = 0
SETTINGS_DELETE = 1
SETTINGS_COMMIT = 2
SETTINGS_STORE = 3

FS_FILE = 0
FS_STATUS = 1
FS_HASH = 2
FS_TYPES = 3
FS_CLOSE = 4

SHELL_EXEC = 0
ENUM_COUNT = 0
ENUM_LIST = 1
ENUM_SINGLE = 2
ENUM_DETAILS = 3
ZEPHYR_ERASE_STORAGE = 0

Header = namedtuple("Header", ("op", "version", "flags", "length", "group", "sequence", "command"))


def pack_into(buffer, at, op, version, length, group, sequence, command):
    """Write a header into `buffer` at `at`."""
    struct.pack_into(LAYOUT, buffer, at, version << 3 | op, 0, length, group, sequence, command)


def pack(header):
    """The 8 bytes of a header."""
    first = header.version << 3 | header.op
    return struct.pack(LAYOUT, first, header.flags, header.length, header.group, header.sequence, header.command)


def parse(data, at=0):
    """The header at `at`; the caller makes sure that 8 bytes are there."""
    first, flags, length, group, sequence, command = struct.unpack_from(LAYOUT, data, at)
    return Header(first & 7, first >> 3 & 3, flags, length, group, sequence, command)
