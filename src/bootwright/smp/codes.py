"""What the return codes mean; imported only when one has to be explained.

SMP-wide codes and those of the groups: Zephyr, include/zephyr/mgmt/mcumgr, mgmt_defines.h and the groups' headers.
"""

SMP = (
    "no error",
    "unknown error",
    "not enough memory",
    "invalid value",
    "timeout",
    "no such entry",
    "wrong state",
    "response too large",
    "not supported",
    "corrupt data",
    "busy",
    "access denied",
    "protocol version too old",
    "protocol version too new",
)

GROUPS = {
    1: (
        "no error",
        "unknown error",
        "flash configuration cannot be read",
        "no image in the slot",
        "image without TLVs",
        "image with an invalid TLV",
        "image with several hashes",
        "TLV of invalid size",
        "no image with this hash",
        "no free slot",
        "flash cannot be opened",
        "flash cannot be read",
        "flash cannot be written",
        "flash cannot be erased",
        "invalid slot",
        "not enough memory",
        "flash context already set",
        "flash context not set",
        "no flash device",
        "invalid page offset",
        "missing offset",
        "missing length",
        "image header too short",
        "no MCUboot image (wrong magic)",
        "hash of invalid size",
        "image linked for another address",
        "version cannot be read",
        "installed version is newer",
        "an image is already pending",
        "invalid vector table",
        "image too large for the slot",
        "more data than announced",
        "confirmation denied",
        "the active slot cannot be set to test",
    ),
    2: ("no error", "unknown error", "no such group", "no such name", "invalid size", "aborted"),
    3: (
        "no error",
        "unknown error",
        "key too long",
        "no such key",
        "reading not supported",
        "no such root key",
        "writing not supported",
        "deleting not supported",
    ),
    8: (
        "no error",
        "unknown error",
        "invalid file name",
        "no such file",
        "is a directory",
        "cannot be opened",
        "cannot seek",
        "cannot be read",
        "cannot be truncated",
        "cannot be deleted",
        "cannot be written",
        "invalid offset",
        "offset beyond the end",
        "no such hash",
        "no such mount point",
        "read-only",
        "empty",
    ),
}


def explain(group, rc):
    """A code in words: `group` -1 is SMP's own table."""
    table = SMP if group < 0 else GROUPS.get(group, ())
    if 0 <= rc < len(table):
        return table[rc]
    return "user-defined error" if rc >= 256 else "unlisted error"
