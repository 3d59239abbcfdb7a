"""Serial recovery: what the bootloader answers on its console, byte for byte, and what it does to the flash.

It erases and writes the primary slot of an image, checks nothing of what it writes, and leaves only by a reset.
Sources: boot/boot_serial/src/boot_serial.c, zcbor_bulk.c, boot/espressif/port/serial_adapter.c (MCUboot 2d4bacc3);
the native Espressif port has none of the options; those of other ports are in `RecoveryOptions`.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from bootwright.boot.config import BootConfig, Mode, SerialErase
from bootwright.boot.header import HEADER_SIZE, IMAGE_MAGIC, Header, parse_header
from bootwright.boot.layout import PRIMARY, SECONDARY, Place
from bootwright.boot.loader import set_pending
from bootwright.boot.loader_state import Loader
from bootwright.boot.outcome import HaltError
from bootwright.boot.probe import UNWATCHED, Probe
from bootwright.boot.recovery_cbor import CborError, locate_map
from bootwright.boot.recovery_encryption import decrypt_in_place
from bootwright.boot.recovery_groups import (
    ENOENT,
    SetStateError,
    echo,
    image_hash,
    params,
    slot_info,
    state_flags,
    wanted_state,
)
from bootwright.boot.recovery_lines import PACKET_CONTINUED, PACKET_START, decode_base64, framed, whole_packet
from bootwright.boot.recovery_options import ESPRESSIF, RecoveryOptions
from bootwright.boot.slot_check import max_image_size
from bootwright.boot.swap_type import SwapType
from bootwright.boot.validate import validate_image
from bootwright.flash import Flash, Program
from bootwright.formats.keys import PrivateKey
from bootwright.smp.cbor import encode_indefinite

OP_READ, OP_WRITE = 0, 2
SIZE_MAX = 2**64 - 1  #: of the native build that wrote the traces
BODY_OFFSET = 10  #: of the CBOR in dec_buf: behind the length and the header
GROUP_OS, GROUP_IMAGE = 0, 1
UPLOAD = (GROUP_IMAGE, 1)
STATE = (GROUP_IMAGE, 0)
EUNKNOWN, EINVAL, ENOTSUP = 1, 3, 8

_UPLOAD_KEYS = {"image": "uint", "data": "bytes", "len": "size", "off": "size"}


class RecoveryState(StrEnum):
    """What recovery does next."""

    WAITING = "waiting"
    RESET = "reset"
    PANIC = "panic"  #: an assertion failed


@dataclass(slots=True)
class _Upload:
    """The static variables of bs_upload; they live until the reset."""

    image: int = 0
    size: int = 0
    offset: int = 0
    not_yet_erased: int = 0
    status_sector: int = 0
    fresh: bool = False  #: nothing has looked at the image since its last chunk


class SerialRecovery:
    """One stay in serial recovery. Feed it what the host sends; it yields flash operations and returns what it says."""

    def __init__(
        self,
        flash: Flash,
        config: BootConfig,
        *,
        options: RecoveryOptions = ESPRESSIF,
        decryption: PrivateKey | None = None,
        probe: Probe = UNWATCHED,
    ) -> None:
        self.state = RecoveryState.WAITING
        self._options = options
        self._decryption = decryption  #: MCUBOOT_ENC_IMAGES: what images for this bootloader are encrypted for
        self._input_size = options.receive_size + 1  #: in_buf and dec_buf
        self._flash = flash
        self._config = config
        self._probe = probe
        self._line = b""
        self._packet = bytearray()
        self._upload = _Upload()
        self._uploads = Loader(flash, config, probe)  #: of chunks: it only knows where slots are
        self._commands: dict[tuple[int, int], Callable[[int, bytes], bytes]] = {
            (GROUP_OS, 1): lambda operation, body: _rc(0),  # console echo: no effect
            (GROUP_OS, 5): self._reset,
            STATE: self._image_state,
        }
        if options.echo:
            self._commands[GROUP_OS, 0] = lambda operation, body: encode_indefinite(echo(body))
        if options.params:
            self._commands[GROUP_OS, 6] = lambda operation, body: encode_indefinite(params(options))
        if options.slot_info:
            self._commands[GROUP_IMAGE, 6] = self._slot_info

    def receive(self, data: bytes) -> Program[bytes]:
        """Take bytes from the wire; returns the bytes sent back."""
        answer = b""
        at = 0
        while at < len(data) and self.state is RecoveryState.WAITING:
            packet = None if self._line else whole_packet(data, at, self._input_size)
            if packet is not None:
                self._packet, at = packet
                complete = self._is_complete()
            else:
                stop = min(len(data), at + self._options.line_limit - len(self._line))
                end = data.find(b"\n", at, stop) + 1 or stop
                line = self._line + data[at:end]
                at = end
                ends = line[-1:] == b"\n"
                self._line = b"" if ends or len(line) == self._options.line_limit else line
                complete = ends and self._completes(line)
            if complete:
                answer += yield from self._take_packet()
                yield from self._decrypt_what_is_complete()
        return answer

    def _decrypt_what_is_complete(self) -> Program[None]:
        """bs_upload, behind its answer: an image in the first primary slot is decrypted; what fails shows in a list."""
        upload = self._upload
        if self._decryption is None or not upload.fresh or upload.offset != upload.size:
            return
        upload.fresh = False
        if self._uploads.image == 0 and self._target(self._uploads, upload.image) == self._uploads.place(PRIMARY):
            yield from decrypt_in_place(self._uploads, self._uploads.place(PRIMARY), self._decryption)

    def _completes(self, line: bytes) -> bool:
        """boot_serial_read_console: an empty line hands the packet in the buffer over once more."""
        marker, packet = line[:2], self._packet
        if marker == PACKET_START:
            packet.clear()
        elif marker != PACKET_CONTINUED:
            return len(line) == 1
        decoded = decode_base64(line[2:], self._input_size - len(packet))
        if decoded is None:
            return False
        packet += decoded
        return self._is_complete()

    def _is_complete(self) -> bool:
        """boot_serial_in_dec: whether the packet is complete and its checksum right."""
        packet = self._packet
        length = len(packet) - 2
        if length <= 2 or (packet[0] << 8 | packet[1]) != length or binascii.crc_hqx(packet[2:], 0):
            return False
        del packet[-2:]
        return True

    def _take_packet(self) -> Program[bytes]:
        """boot_serial_input: dispatch by group and command; other operations get no answer."""
        packet = bytes(self._packet[2:])
        if len(packet) < 8:
            return b""
        operation, length = packet[0] & 7, int.from_bytes(packet[2:4], "big")
        if operation not in (OP_READ, OP_WRITE) or length < len(packet) - 8:
            return b""
        name = int.from_bytes(packet[4:6], "big"), packet[7]
        try:
            if name == UPLOAD:
                body = yield from self._image_upload(packet[8:])
            elif name == STATE and operation == OP_WRITE and self._options.image_state:
                body = yield from self._set_state(packet[8:])
            else:
                body = self._commands[name](operation, packet[8:]) if name in self._commands else _rc(ENOTSUP)
        except HaltError:
            self.state = RecoveryState.PANIC
            return b""
        header = bytes([packet[0] + 1, 0]) + len(body).to_bytes(2, "big") + packet[4:8]
        self._packet[2:10] = header
        return framed(header + body)

    def _reset(self, operation: int, body: bytes) -> bytes:
        self.state = RecoveryState.RESET
        return _rc(0)

    def _slot_info(self, operation: int, body: bytes) -> bytes:
        loader = Loader(self._flash, self._config, self._probe)
        limit = max_image_size(loader, PRIMARY)
        count, direct = len(self._config.images), self._options.direct_upload
        return encode_indefinite(slot_info(loader, images=count, max_size=limit, direct=direct))

    def _image_state(self, operation: int, body: bytes) -> bytes:
        """bs_list: the slots that hold a valid image."""
        return encode_indefinite({"images": self._images()}) if operation == OP_READ else _rc(ENOTSUP)

    def _set_state(self, body: bytes) -> Program[bytes]:
        """bs_set: request an image by its hash, whichever of its slots has it."""
        try:
            image, permanent = self._wanted_image(body)
        except SetStateError as error:
            return _rc(error.rc)
        rc = yield from set_pending(self._flash, self._config, image=image, permanent=permanent)
        return _rc(rc) if rc else encode_indefinite({"images": self._images()})

    def _images(self) -> list[dict[str, object]]:
        """The entries of bs_list: image number only where there are several, state and hash where compiled in."""
        loader = Loader(self._flash, self._config, self._probe)
        listed: list[dict[str, object]] = []
        for image in range(len(self._config.images)):
            loader.image = image
            for slot in (PRIMARY, SECONDARY):
                header = self._valid_header(loader, slot)
                if header is None:
                    continue
                entry: dict[str, object] = {"image": image} if len(self._config.images) > 1 else {}
                if self._options.image_state:
                    entry |= state_flags(loader.requested_swap(), slot, header)
                entry["slot"] = slot
                digest = image_hash(loader, slot, header) if self._options.image_hash else None
                if digest is not None:
                    entry["hash"] = digest
                entry["version"] = header.version.removesuffix("+0").replace("+", ".")
                listed.append(entry)
        return listed

    def _wanted_image(self, body: bytes) -> tuple[int, bool]:
        """The number of the image that bs_set is asked for, and whether for good.

        Raises:
            SetStateError: no valid slot has that hash, or the request is none.
        """
        count = len(self._config.images)
        digest, permanent = wanted_state(body, images=count, with_hash=self._options.image_hash)
        if not digest:
            return 0, permanent
        loader = Loader(self._flash, self._config, self._probe)
        for image in range(count):
            loader.image = image
            for slot in (PRIMARY, SECONDARY):
                header = self._valid_header(loader, slot)
                if header is not None and image_hash(loader, slot, header) == digest:
                    return image, permanent
        raise SetStateError(ENOENT)

    def _valid_header(self, loader: Loader, slot: int) -> Header | None:
        start = 0
        if loader.config.mode is Mode.OFFSET and slot == SECONDARY:
            start = 0 if loader.requested_swap() is SwapType.REVERT else loader.layout.sector_size
            loader.secondary_offset[loader.image] = start
        data = loader.esp.read(loader.place(slot).area, start, HEADER_SIZE)
        if data is None:
            return None
        header = parse_header(data)
        if header.magic != IMAGE_MAGIC:
            return None
        loader.headers[loader.image][slot] = header
        limit = max_image_size(loader, slot)
        return header if validate_image(loader, slot, max_size=limit) is None else None

    def _image_upload(self, body: bytes) -> Program[bytes]:
        """bs_upload: the answer to one chunk."""
        try:
            wanted, ends = locate_map(body, _UPLOAD_KEYS)
        except CborError:
            return _rc(EINVAL)
        offset, chunk = wanted.get("off"), wanted.get("data")
        if not isinstance(offset, int) or offset == SIZE_MAX or not isinstance(chunk, bytes):
            return _rc(EINVAL)
        upload = self._upload
        image, size = wanted.get("image", 0), wanted.get("len")
        if offset == 0 and isinstance(image, int):
            upload.image = image
        loader = self._uploads
        place = self._target(loader, upload.image)
        if place is None:
            return _rc(EINVAL)
        if offset == 0:
            begun = yield from self._begin(loader, place, size if isinstance(size, int) else None)
            if not begun:
                return _rc(EINVAL)
        elif offset != upload.offset:
            return _rc(0, upload.offset)
        elif upload.offset + len(chunk) > upload.size:
            return _rc(EINVAL)
        aligned = (BODY_OFFSET + ends["data"] - len(chunk)) % 4 == 0
        rc = yield from self._store(loader, place, chunk, aligned=aligned)
        return _rc(rc, upload.offset)

    def _target(self, loader: Loader, number: int) -> Place | None:
        """Where an upload with this image number goes: a primary slot, or with direct upload the slot it names."""
        image, slot = divmod(max(number - 1, 0), 2) if self._options.direct_upload else (number, PRIMARY)
        if image >= len(self._config.images):
            return None
        loader.image = image
        return loader.place(slot)

    def _begin(self, loader: Loader, place: Place, size: int | None) -> Program[bool]:
        """The first chunk: room is made, for the whole slot or step by step."""
        upload, step = self._upload, loader.layout.sector_size
        upload.offset = 0
        if self._config.serial is SerialErase.PROGRESSIVE:
            upload.status_sector = place.status_offset // step * step
        if size is None or size > place.area.size:
            return False
        if self._config.serial is SerialErase.PROGRESSIVE:
            upload.not_yet_erased = 0
        else:
            done = yield from loader.erase_region(place, 0, place.area.size, "erase slot for upload")
            if not done:
                return False
        upload.size = size
        return True

    def _store(self, loader: Loader, place: Place, chunk: bytes, *, aligned: bool) -> Program[int]:
        """Write a chunk; what does not fill a flash word is left for the next one, except at the end."""
        upload, align = self._upload, loader.layout.write_size
        if self._config.serial is SerialErase.PROGRESSIVE:
            upload.not_yet_erased = yield from _erase_range(
                loader, place, upload.not_yet_erased, upload.offset + len(chunk) - 1
            )
            if upload.not_yet_erased < 0:
                return EINVAL
        rest = len(chunk) % align
        whole = len(chunk) - rest
        if upload.offset + len(chunk) < upload.size:
            rest = 0
        written = yield from _written(loader, place, upload.offset, chunk[:whole], aligned=aligned)
        if written and rest:
            tail = chunk[whole : whole + rest] + b"\xff" * (align - rest)
            written = yield from _written(loader, place, upload.offset + whole, tail, aligned=True)
        if not written:
            return EINVAL
        upload.offset += whole + rest
        upload.fresh = True
        if upload.offset == upload.size and self._config.serial is SerialErase.PROGRESSIVE:
            end = yield from _erase_range(loader, place, upload.status_sector, upload.status_sector)
            if end < 0:
                return EUNKNOWN
        return 0


def _written(loader: Loader, place: Place, offset: int, data: bytes, *, aligned: bool) -> Program[bool]:
    """Write; nothing at all still reaches the flash driver as a write of 0 bytes, unless its buffer is unaligned."""
    if data or aligned:
        ops = loader.esp.write(place.area, offset, data, "write upload")
        if ops is None:
            return False
        yield from ops
        return True
    return offset <= place.area.size


def _erase_range(loader: Loader, place: Place, start: int, end: int) -> Program[int]:
    """erase_range: sectors from `start` to the one that holds `end`; where to go on, negative where it fails."""
    if end >= place.area.size:
        return -EINVAL
    if end < start:
        return start
    step = loader.layout.sector_size
    size = end // step * step + step - start
    if start < 0:
        return -EINVAL
    done = yield from loader.erase_region(place, start, size, "erase ahead of upload")
    return start + size if done else -EINVAL


def _rc(code: int, offset: int | None = None) -> bytes:
    tail = _key("off") + _uint(offset) if code == 0 and offset is not None else b""
    return b"\xbf" + _key("rc") + _uint(code) + tail + b"\xff"


def _key(text: str) -> bytes:
    return _head(0x60, len(text)) + text.encode()


def _uint(value: int) -> bytes:
    return _head(0, value)


def _head(major: int, value: int) -> bytes:
    if value < 24:
        return bytes([major | value])
    size = 1 if value < 1 << 8 else 2 if value < 1 << 16 else 4
    return bytes([major | {1: 24, 2: 25, 4: 26}[size]]) + value.to_bytes(size, "big")
