"""The commands of the groups, as programs over a link, and their answers as named tuples.

Wire names are kept. What a device answers beyond these fields is dropped; what it leaves out has the protocol's default
(Zephyr, doc/services/device_mgmt/smp_groups).
"""

from collections import namedtuple

from . import header as h
from .client import read, write
from .errors import NonsenseError, RefusedByDeviceError

Params = namedtuple("Params", ("buf_size", "buf_count"))
ImageEntry = namedtuple(
    "ImageEntry",
    ("image", "slot", "version", "hash", "bootable", "pending", "confirmed", "active", "permanent"),
)
SlotInfo = namedtuple("SlotInfo", ("image", "slot", "size", "upload_image_id", "max_image_size"))
BootloaderMode = namedtuple("BootloaderMode", ("bootloader", "mode", "no_downgrade"))

NOT_SUPPORTED = 8
ERASE_TIMEOUT_MS = 40000
IMAGE_TIMEOUT_MS = 10000  #: MCUboot validates every slot, signature included, to answer


def echo(link, text):
    """Program: have the device say `text`."""
    return _field((yield from write(link, h.OS, h.OS_ECHO, {"d": text})), "r", str, "an echo")


def params(link):
    """Program: the device's buffer size and count."""
    found = yield from read(link, h.OS, h.OS_PARAMS)
    return Params(_field(found, "buf_size", int, "parameters"), _field(found, "buf_count", int, "parameters"))


def reset(link, force=False, boot_mode=None):
    """Program: restart the device; `boot_mode` 1 makes an application that supports it restart into the bootloader."""
    body = {}
    if force:
        body["force"] = 1
    if boot_mode is not None:
        body["boot_mode"] = boot_mode
    yield from write(link, h.OS, h.OS_RESET, body)


def taskstat(link):
    """Program: tasks by name."""
    found = yield from read(link, h.OS, h.OS_TASKSTAT)
    return _field(found, "tasks", dict, "task statistics")


def mpstat(link):
    """Program: memory pools by name."""
    return (yield from read(link, h.OS, h.OS_MPSTAT))


def datetime(link):
    """Program: the device's clock, as it writes it."""
    return _field((yield from read(link, h.OS, h.OS_DATETIME)), "datetime", str, "the time")


def set_datetime(link, text):
    """Program: set the device's clock, `yyyy-MM-dd'T'HH:mm:ss`."""
    yield from write(link, h.OS, h.OS_DATETIME, {"datetime": text})


def os_info(link, fields="a"):
    """Program: what `uname` would say; `fields` is Zephyr's format string."""
    return _field((yield from read(link, h.OS, h.OS_INFO, {"format": fields})), "output", str, "OS information")


def bootloader(link):
    """Program: which bootloader started the application, and MCUboot's mode (-1: it does not say)."""
    name = _field((yield from read(link, h.OS, h.OS_BOOTLOADER)), "bootloader", str, "bootloader information")
    try:
        found = yield from read(link, h.OS, h.OS_BOOTLOADER, {"query": "mode"})
    except RefusedByDeviceError:
        found = {}
    return BootloaderMode(name, found.get("mode", -1), bool(found.get("no-downgrade", False)))


def image_list(link):
    """Program: the images in the device's slots. MCUboot's recovery leaves out slots whose image is not valid."""
    found = yield from read(link, h.IMAGE, h.IMAGE_STATE, timeout_ms=IMAGE_TIMEOUT_MS, tries=2)
    return _images(found)


def set_image_state(link, image_hash, confirm):
    """Program: request a swap to the image of this hash, to test it or for good; None confirms the running one."""
    body = {"confirm": confirm}
    if image_hash is not None:
        body["hash"] = image_hash
    return _images((yield from write(link, h.IMAGE, h.IMAGE_STATE, body, timeout_ms=IMAGE_TIMEOUT_MS)))


def erase(link, slot=None):
    """Program: erase a slot, the secondary one of image 0 if none is named."""
    body = {} if slot is None else {"slot": slot}
    yield from write(link, h.IMAGE, h.IMAGE_ERASE, body, timeout_ms=ERASE_TIMEOUT_MS, tries=1)


def slot_info(link):
    """Program: the slots, their sizes and where an upload for them goes."""
    found = yield from read(link, h.IMAGE, h.IMAGE_SLOT_INFO)
    rows = []
    for image in _field(found, "images", list, "slot information"):
        number = _field(image, "image", int, "slot information")
        for slot in _field(image, "slots", list, "slot information"):
            rows.append(
                SlotInfo(
                    number,
                    _field(slot, "slot", int, "slot information"),
                    slot.get("size", 0),
                    slot.get("upload_image_id"),
                    image.get("max_image_size"),
                )
            )
    return rows


def stat_list(link):
    """Program: the names of the statistics groups."""
    return _field((yield from read(link, h.STAT, h.STAT_LIST)), "stat_list", list, "statistics")


def stat_data(link, name):
    """Program: one statistics group."""
    return _field((yield from read(link, h.STAT, h.STAT_DATA, {"name": name})), "fields", dict, "statistics")


def setting(link, name, max_size=None):
    """Program: a setting's value."""
    body = {"name": name}
    if max_size is not None:
        body["max_size"] = max_size
    return _field((yield from read(link, h.SETTINGS, h.SETTINGS_VALUE, body)), "val", bytes, "a setting")


def set_setting(link, name, value):
    """Program: change a setting."""
    yield from write(link, h.SETTINGS, h.SETTINGS_VALUE, {"name": name, "val": value})


def delete_setting(link, name):
    """Program: delete a setting."""
    yield from write(link, h.SETTINGS, h.SETTINGS_DELETE, {"name": name})


def file_status(link, name):
    """Program: a file's size."""
    return _field((yield from read(link, h.FS, h.FS_STATUS, {"name": name})), "len", int, "a file's status")


def file_hash(link, name, kind="sha256"):
    """Program: a file's hash or checksum, as the device computes it."""
    found = yield from read(link, h.FS, h.FS_HASH, {"name": name, "type": kind}, timeout_ms=IMAGE_TIMEOUT_MS)
    return found.get("output")


def download_file(link, name, progress=None):
    """Program: a file's content."""
    content = bytearray()
    length = -1
    while length < 0 or len(content) < length:
        found = yield from read(link, h.FS, h.FS_FILE, {"off": len(content), "name": name})
        if length < 0:
            length = _field(found, "len", int, "a file")
        piece = _field(found, "data", bytes, "a file")
        if not piece and len(content) < length:
            raise NonsenseError("the device sent nothing of %s at offset %d" % (name, len(content)), "try again")
        content.extend(piece)
        if progress:
            progress(len(content), length)
    return bytes(content)


def upload_file(link, name, content, progress=None):
    """Program: write a file, chunk by chunk, where the device says."""
    at = 0
    room = max(link.largest - 48 - len(name), 16)
    while True:
        body = {"off": at, "data": content[at : at + room], "name": name}
        if at == 0:
            body["len"] = len(content)
        found = yield from write(link, h.FS, h.FS_FILE, body, timeout_ms=IMAGE_TIMEOUT_MS)
        before = at
        at = _field(found, "off", int, "a file upload")
        if progress:
            progress(at, len(content))
        if at >= len(content):
            return at
        if at <= before:
            raise NonsenseError("the upload of %s does not get past offset %d" % (name, at), "is there room left?")


def shell(link, argv):
    """Program: run a shell command; what it printed and what it returned."""
    found = yield from write(link, h.SHELL, h.SHELL_EXEC, {"argv": argv}, timeout_ms=IMAGE_TIMEOUT_MS, tries=1)
    return _field(found, "o", str, "a shell command"), found.get("ret", 0)


def erase_storage(link):
    """Program: erase the storage partition (Zephyr's basic group)."""
    yield from write(link, h.ZEPHYR, h.ZEPHYR_ERASE_STORAGE, timeout_ms=ERASE_TIMEOUT_MS, tries=1)


def _images(found):
    return [_image(entry) for entry in _field(found, "images", list, "the image list")]


def _image(entry):
    if not isinstance(entry, dict):
        raise NonsenseError("an entry of the image list is no map", "check the device's firmware")
    return ImageEntry(
        entry.get("image", 0),
        _field(entry, "slot", int, "the image list"),
        _field(entry, "version", str, "the image list"),
        entry.get("hash"),
        entry.get("bootable"),
        entry.get("pending"),
        entry.get("confirmed"),
        entry.get("active"),
        entry.get("permanent"),
    )


def _field(found, key, kind, what):
    value = found.get(key) if isinstance(found, dict) else None
    if not isinstance(value, kind):
        raise NonsenseError(
            "the device's answer for %s has no usable %r" % (what, key),
            "check the device's firmware, or that nothing else talks on this line",
        )
    return value
