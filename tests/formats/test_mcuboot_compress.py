from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.keys import key_of

from bootwright.errors import FormatError
from bootwright.formats.keys import KeyType
from bootwright.formats.mcuboot_compress import compress_input, decompress_payload, plain_options
from bootwright.formats.mcuboot_encrypt import new_encryption
from bootwright.formats.mcuboot_image import Image, ImageFlags, ImageVersion, TlvType
from bootwright.formats.mcuboot_sign import SignOptions, draft_image, sign_draft, sign_image

KEY = key_of(KeyType.ED25519)
OPTIONS = SignOptions(version=ImageVersion(major=1), pad_header=True)
TEXT = b"compressible " * 100


def compressed(payload: bytes, options: SignOptions, *, arm_thumb: bool) -> Image:
    plain = draft_image(payload, plain_options(options), KEY.public)
    packed = compress_input(plain, options, sign_draft(plain, KEY), arm_thumb=arm_thumb)
    return Image.parse(sign_image(packed.payload, packed.options, KEY))


@given(st.binary(max_size=500), st.booleans())
def test_decompressing_gives_the_payload(payload: bytes, arm_thumb: bool) -> None:
    assert decompress_payload(compressed(payload, OPTIONS, arm_thumb=arm_thumb)) == payload


def test_the_plain_images_hash_and_signature_are_protected() -> None:
    image = compressed(TEXT, OPTIONS, arm_thumb=True)
    plain = Image.parse(sign_image(TEXT, OPTIONS, KEY))
    assert image.header.flags == ImageFlags.COMPRESSED_LZMA2 | ImageFlags.COMPRESSED_ARM_THUMB
    assert [tlv.name for tlv in image.protected or ()] == ["DECOMP_SIZE", "DECOMP_SHA", "DECOMP_SIGNATURE"]
    assert image.find(TlvType.DECOMP_SHA)[0].data == plain.find(TlvType.SHA256)[0].data
    assert KEY.public.verify_digest(image.find(TlvType.DECOMP_SIGNATURE)[0].data, plain.find(TlvType.SHA256)[0].data)


def test_an_encrypted_one_says_how_long_its_stream_is() -> None:
    from bootwright.formats.mcuboot_encrypt import decrypt_image

    recipient = key_of(KeyType.X25519)
    options = replace(OPTIONS, encryption=new_encryption(recipient.public, random=lambda size: bytes(size)))
    image = compressed(TEXT, options, arm_thumb=False)
    assert image.find(TlvType.COMP_DEC_SIZE)
    assert decompress_payload(decrypt_image(image, recipient)) == TEXT


def test_what_does_not_shrink_is_not_worth_it() -> None:
    plain = draft_image(b"short", OPTIONS, KEY.public)
    assert not compress_input(plain, OPTIONS, None, arm_thumb=False).smaller
    assert compress_input(draft_image(TEXT, OPTIONS, None), OPTIONS, None, arm_thumb=False).smaller


def test_a_payload_that_is_not_compressed_or_damaged_is_refused() -> None:
    with pytest.raises(FormatError, match="found no COMPRESSED_LZMA2 flag"):
        decompress_payload(Image.parse(sign_image(TEXT, OPTIONS, KEY)))
    image = compressed(TEXT, OPTIONS, arm_thumb=False)
    with pytest.raises(FormatError, match="found a damaged LZMA2 stream"):
        decompress_payload(replace(image, payload=image.payload[:2] + b"\xff" * 20))
