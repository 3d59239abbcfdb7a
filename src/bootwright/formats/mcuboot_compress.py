"""Compressed MCUboot images: the payload as raw LZMA2, with the hash of what it decompresses to in protected TLVs.

Parameters and layout are imgtool's (main.py `sign`, `create_lzma2_header`); MCUboot boot/bootutil/src/decompress.
The Espressif port is built without decompression and refuses such images.
"""

from __future__ import annotations

import lzma
from dataclasses import dataclass, replace
from typing import Literal

from bootwright.errors import FormatError
from bootwright.formats.mcuboot_image import COMPRESSED, Image, ImageFlags, Tlv, TlvType
from bootwright.formats.mcuboot_sign import Draft, SignOptions, own_tlv

DICT_SIZE, LC, LP, PB, PRESET = 128 << 10, 3, 1, 2, 9


@dataclass(frozen=True, slots=True)
class CompressedInput:
    """What to sign instead of the plain input."""

    payload: bytes
    options: SignOptions
    plain_size: int  #: bytes of the payload before
    stream_size: int  #: bytes of the LZMA2 stream, without its 2-byte header
    smaller: bool  #: it is worth it, its own TLVs counted


def plain_options(options: SignOptions) -> SignOptions:
    """The options of the image that the bootloader will have decompressed: what DECOMP_SHA is the hash of."""
    if options.encryption is None:
        return options
    return replace(options, encryption=None, extra_flags=options.extra_flags | options.encryption.flag)


def compress_input(plain: Draft, options: SignOptions, signature: bytes | None, *, arm_thumb: bool) -> CompressedInput:
    """Compress a drafted payload; `plain` was drafted with `plain_options`, `signature` is its own if it has one."""
    payload = bytes(plain.payload)
    stream = lzma.compress(payload, format=lzma.FORMAT_RAW, filters=_filters(arm_thumb))
    order: Literal["little", "big"] = "little" if options.endian == "<" else "big"
    tlvs = [
        own_tlv(TlvType.DECOMP_SIZE, len(payload).to_bytes(4, order)),
        own_tlv(TlvType.DECOMP_SHA, plain.digest),
    ]
    if signature is not None:
        tlvs.append(own_tlv(TlvType.DECOMP_SIGNATURE, signature))
    smaller = len(stream) + sum(len(tlv.data) for tlv in tlvs) < len(payload)
    body = _stream_header() + stream
    if options.encryption is not None:
        tlvs.append(own_tlv(TlvType.COMP_DEC_SIZE, len(body).to_bytes(4, order)))
    flags = ImageFlags.COMPRESSED_LZMA2 | (ImageFlags.COMPRESSED_ARM_THUMB if arm_thumb else ImageFlags(0))
    room = b"" if options.pad_header else bytes(options.header_size)
    return CompressedInput(
        payload=room + body,
        options=replace(options, extra_flags=options.extra_flags | flags, compression_tlvs=tuple(tlvs)),
        plain_size=len(payload),
        stream_size=len(stream),
        smaller=smaller,
    )


def decompress_payload(image: Image) -> bytes:
    """The payload of a compressed image, decompressed; an encrypted one is decrypted first.

    Raises:
        FormatError: it is not compressed in this way, or the stream is damaged.
    """
    flags = ImageFlags(image.header.flags)
    if flags & COMPRESSED != ImageFlags.COMPRESSED_LZMA2:
        raise FormatError("image: found no COMPRESSED_LZMA2 flag, expected a compressed image")
    body = image.payload
    if sizes := image.find(TlvType.COMP_DEC_SIZE):
        body = body[: _number(sizes[0], image)]
    try:
        decoder = lzma.LZMADecompressor(
            lzma.FORMAT_RAW, filters=_filters(bool(flags & ImageFlags.COMPRESSED_ARM_THUMB))
        )
        sizes = image.find(TlvType.DECOMP_SIZE)
        plain = decoder.decompress(body[2:], _number(sizes[0], image) if sizes else -1)
    except (lzma.LZMAError, EOFError) as error:
        raise FormatError(f"image: found a damaged LZMA2 stream ({error}), expected one that ends well") from None
    return plain


def _number(tlv: Tlv, image: Image) -> int:
    return int.from_bytes(tlv.data, "little" if image.endian == "<" else "big")


def _filters(arm_thumb: bool) -> list[dict[str, int]]:
    lzma2 = {"id": lzma.FILTER_LZMA2, "preset": PRESET, "dict_size": DICT_SIZE, "lp": LP, "lc": LC}
    return [{"id": lzma.FILTER_ARMTHUMB}, lzma2] if arm_thumb else [lzma2]


def _stream_header() -> bytes:
    """Two bytes before the stream: the dictionary's size as LZMA2 codes it, and lc, lp, pb as LZMA does."""
    code = next(code for code in range(40) if (2 | code & 1) << (code // 2 + 11) >= DICT_SIZE)
    return bytes((code, (PB * 5 + LP) * 9 + LC))
