"""imgtool's sign command."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from bootwright.cli.dropin.imgtool import Failure, is_hex, warn
from bootwright.cli.dropin.imgtool_keys import load_key, public_of
from bootwright.cli.dropin.imgtool_options import sign_options, with_options
from bootwright.formats.hexfile import Segment, flatten, pack_hex, parse_hex
from bootwright.formats.keys import KeyType, PrivateKey, PublicKey, Signer
from bootwright.formats.mcuboot_image import endian_of
from bootwright.formats.mcuboot_sign import (
    KEY_HASHES,
    PADDED_SIGNATURE,
    Draft,
    Part,
    SignOptions,
    accepts,
    draft_image,
    image_parts,
    sign_draft,
)
from bootwright.formats.mcuboot_trailer import (
    ESPRESSIF_MAX_SECTORS,
    TrailerGeometry,
    UpgradeMode,
    align_up,
    boot_magic,
)
from bootwright.host.files import write_file


@dataclass(frozen=True, slots=True)
class _Input:
    payload: bytes
    address: int | None  #: of the payload with its header, where the file tells


@click.command()
@with_options
def sign(infile: str, outfile: str, **given: Any) -> None:
    """Make an image of INFILE, signed or not; files named *.hex are Intel HEX."""
    if given["load_addr"] and given["rom_fixed"]:
        raise click.UsageError("Can not set rom_fixed and load_addr at the same time")
    source = _read_input(infile, given)
    signing = _signing(given)
    options = sign_options(given, signing.public)
    made = _make(source.payload, options, signing, given)
    write_file(Path(outfile), *_output(outfile, made.parts, source.address, options, given))
    if given["sig_out"]:
        if made.signature is None:
            raise Failure("there is no signature to write to --sig-out: the image was not signed")
        write_file(Path(given["sig_out"]), base64.b64encode(made.signature))


@dataclass(frozen=True, slots=True)
class _Signing:
    """Who signs, or whose signature it is."""

    signer: Signer | None
    public: PublicKey | None
    fixed: bytes | None
    pubkey_is_private: bool = False


@dataclass(frozen=True, slots=True)
class _Made:
    parts: tuple[Part, ...]
    signature: bytes | None


def _read_input(infile: str, given: dict[str, Any]) -> _Input:
    try:
        data, address = Path(infile).read_bytes(), None
    except FileNotFoundError:
        raise click.UsageError("Input file not found") from None
    header_size = given["header_size"]
    if is_hex(infile):
        segments = parse_hex(data, where=infile)
        data, address = flatten(segments, where=infile), segments[0][0] if segments else None
        if address and given["pad_header"]:
            address -= header_size
    if not given["pad_header"] and any(data[:header_size]):
        raise click.UsageError("Header padding was not requested and image does not start with zeros")
    if given["pad_header"] and endian_of(data) is not None:
        warn(f"{infile} is an MCUboot image already: the result has a header inside its payload")
    return _Input(data, address)


def _signing(given: dict[str, Any]) -> _Signing:
    signer = _signer(given["key"]) if given["key"] else None
    if not given["fix_sig"]:
        if given["fix_sig_pubkey"]:
            warn("--fix-sig-pubkey has no effect without --fix-sig: the hash is the default one")
        return _Signing(signer, None if signer is None else signer.public, None)
    fixed = base64.b64decode(Path(given["fix_sig"]).read_bytes())
    if given["fix_sig_pubkey"] is None:
        raise click.UsageError("public key of the fixed signature is not specified")
    if signer is not None:
        raise click.UsageError("Can not sign using key and provide fixed-signature at the same time")
    key = load_key(given["fix_sig_pubkey"])
    if key.key_type not in KEY_HASHES and isinstance(key, PublicKey):
        raise click.UsageError(f"Could not find allowed hash algorithms for {key.key_type}")
    return _Signing(None, public_of(key), fixed, isinstance(key, PrivateKey))


def _signer(source: str) -> Signer:
    if re.match(r"(file|pkcs11|exec):", source) and not Path(source).exists():
        from bootwright.host.keys import load_signer

        return load_signer(source)
    key = load_key(source)
    if isinstance(key, PublicKey):
        raise click.UsageError("Cannot sign with a public-only PEM; signing requires the private key.")
    return key


def _make(payload: bytes, options: SignOptions, signing: _Signing, given: dict[str, Any]) -> _Made:
    if given["compression"] == "disabled":
        return _create(payload, options, signing, given)
    from bootwright.formats.mcuboot_compress import compress_input, plain_options

    inner = plain_options(options)
    plain = _create(payload, inner, signing, given)
    draft = draft_image(payload, inner, _hash_key(signing.public, inner))
    packed = compress_input(
        draft,
        replace(options, non_bootable=False),  # imgtool drops the flag here
        plain.signature,
        arm_thumb=given["compression"] == "lzma2armthumb",
    )
    click.echo(f"compressed image size: {packed.stream_size} bytes")
    click.echo(f"original image size: {packed.plain_size} bytes")
    if packed.smaller:
        return _create(packed.payload, packed.options, signing, given)
    return plain if options.encryption is None else _create(payload, options, signing, given)


def _create(payload: bytes, options: SignOptions, signing: _Signing, given: dict[str, Any]) -> _Made:
    public = signing.public
    if signing.pubkey_is_private and public is not None and public.key_type is not KeyType.ED25519:
        click.echo("image.py: sign the payload")
    draft = draft_image(payload, options, _hash_key(public, options))
    if given["vector_to_sign"] is not None:
        click.echo(f"image.py: export {given['vector_to_sign']}")
        return _Made((draft.message if given["vector_to_sign"] == "payload" else draft.digest,), None)
    signature = signing.fixed
    if signing.signer is not None:
        what = "digest" if signing.signer.key_type is KeyType.ED25519 else "payload"
        click.echo(f"image.py: sign the {what}")
        signature = _padded(sign_draft(draft, signing.signer), options, signing.signer.key_type)
    elif signature is not None and public is not None:
        _check_fixed(draft, public, signature)
    parts = image_parts(draft, public, signature)
    _check_trailer(_size(parts), options, given)
    return _Made(parts, signature)


def _hash_key(public: PublicKey | None, options: SignOptions) -> PublicKey | None:
    """The key that decides the hash; imgtool also lets SHA-512 go with the public half of a P-256 key."""
    by_hand = public is not None and public.key_type is KeyType.ECDSA_P256 and options.hash_name == "sha512"
    return None if by_hand else public


def _padded(signature: bytes, options: SignOptions, key_type: KeyType) -> bytes:
    return signature.ljust(PADDED_SIGNATURE.get(key_type, 0), b"\x00") if options.pad_sig else signature


def _check_fixed(draft: Draft, public: PublicKey, signature: bytes) -> None:
    from bootwright.formats.mcuboot_verify import strip_padding

    if not accepts(draft, public, strip_padding(signature) if public.key_type.is_ecdsa else signature):
        warn(f"the fixed signature is not the {public.key_type} key's over this image: no bootloader will accept it")


def _trailer_size(options: SignOptions, given: dict[str, Any]) -> int:
    """imgtool's estimate (image.py `_trailer_size`): a saved key takes 16 bytes, even when it is AES-256."""
    align, encryption = options.trailer_align, options.encryption
    if options.mode is UpgradeMode.OVERWRITE_ONLY:
        return align * 2 + align_up(16, align)
    keys = 0
    if encryption is not None:
        from bootwright.formats.mcuboot_encrypt import tlv_size

        keys = 2 * align_up(tlv_size(encryption) if options.save_enctlv else 16, align)
    elif given["encrypt"] and not options.save_enctlv:
        keys = 2 * align_up(16, align)
    return options.max_sectors * 3 * options.align + keys + align * 4 + align_up(16, align)


def _check_trailer(size: int, options: SignOptions, given: dict[str, Any]) -> None:
    slot, trailer = given["slot_size"], _trailer_size(options, given)
    if slot <= 0:
        return
    if size + trailer > slot:
        raise click.UsageError(f"Image size (0x{size:x}) + trailer (0x{trailer:x}) exceeds requested size 0x{slot:x}")
    port = TrailerGeometry(slot_size=slot, max_align=options.trailer_align, write_size=max(options.align, 4))
    limit = port.max_image_size(options.mode)
    if size > limit and given["max_sectors"] is None:
        warn(
            f"the Espressif port allows {ESPRESSIF_MAX_SECTORS} sectors, and then an image of {limit:#x} bytes at most "
            f"fits the slot; this one has {size:#x} (pass -M {ESPRESSIF_MAX_SECTORS} to have it checked)"
        )


def _size(parts: tuple[Part, ...]) -> int:
    return sum(len(part) for part in parts)


def _output(
    outfile: str, parts: tuple[Part, ...], address: int | None, options: SignOptions, given: dict[str, Any]
) -> tuple[Part, ...]:
    pad = given["pad"] or given["confirm"] or given["test"]
    if not is_hex(outfile):
        return (*parts, _padding(_size(parts), options, given)) if pad else parts
    base = address if given["hex_addr"] is None else given["hex_addr"]
    if base is None:
        raise click.UsageError("No address exists in input file neither was it provided by user")
    if base < 0:
        raise Failure(f"the header would lie at address {base}: the input starts below --header-size")
    segments: list[Segment] = [(base, b"".join(parts))]
    if pad:
        end, magic = base + given["slot_size"], _magic(options)
        if (given["test"] or given["confirm"]) and options.mode is not UpgradeMode.OVERWRITE_ONLY:
            flag = bytes([options.erased_val]) * options.trailer_align
            segments.append((end + _image_ok(options), b"\x01" + flag[1:] if given["confirm"] else flag))
        segments.append((end - len(magic), magic))
    return (pack_hex(segments),)


def _padding(size: int, options: SignOptions, given: dict[str, Any]) -> bytes:
    """Without a slot size imgtool pads by the trailer alone."""
    trailer, magic = _trailer_size(options, given), _magic(options)
    length = max(given["slot_size"] - size, trailer)
    fill = bytearray([options.erased_val]) * (length - len(magic)) + magic
    if given["confirm"] and options.mode is not UpgradeMode.OVERWRITE_ONLY:
        fill[_image_ok(options)] = 1
    return bytes(fill)


def _magic(options: SignOptions) -> bytes:
    return boot_magic(options.trailer_align, big_endian=options.endian == ">")


def _image_ok(options: SignOptions) -> int:
    """Counted from the slot's end."""
    return -(align_up(16, options.trailer_align) + options.trailer_align)
