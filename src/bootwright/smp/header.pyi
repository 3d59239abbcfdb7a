from typing import NamedTuple

SIZE: int
LAYOUT: str
READ: int
READ_RSP: int
WRITE: int
WRITE_RSP: int
V1: int
V2: int
OS: int
IMAGE: int
STAT: int
SETTINGS: int
LOG: int
CRASH: int
FS: int
SHELL: int
ENUM: int
TRANSPORT: int
ZEPHYR: int
OS_ECHO: int
OS_CONSOLE_ECHO: int
OS_TASKSTAT: int
OS_MPSTAT: int
OS_DATETIME: int
OS_RESET: int
OS_PARAMS: int
OS_INFO: int
OS_BOOTLOADER: int
IMAGE_STATE: int
IMAGE_UPLOAD: int
IMAGE_ERASE: int
IMAGE_SLOT_INFO: int
STAT_DATA: int
STAT_LIST: int
SETTINGS_VALUE: int
SETTINGS_DELETE: int
SETTINGS_COMMIT: int
SETTINGS_STORE: int
FS_FILE: int
FS_STATUS: int
FS_HASH: int
FS_TYPES: int
FS_CLOSE: int
SHELL_EXEC: int
ENUM_COUNT: int
ENUM_LIST: int
ENUM_SINGLE: int
ENUM_DETAILS: int
ZEPHYR_ERASE_STORAGE: int

class Header(NamedTuple):
    op: int
    version: int
    flags: int
    length: int
    group: int
    sequence: int
    command: int

def pack_into(
    buffer: bytearray | memoryview,
    at: int,
    op: int,
    version: int,
    length: int,
    group: int,
    sequence: int,
    command: int,
) -> None: ...
def pack(header: Header) -> bytes: ...
def parse(data: bytes | bytearray | memoryview, at: int = 0) -> Header: ...
