"""The options of imgtool's sign command, and what they ask of the image."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bootwright.cli.dropin.imgtool import Failure, warn
from bootwright.cli.dropin.imgtool_keys import load_key, public_of
from bootwright.errors import FormatError
from bootwright.formats.keys import KeyType, PublicKey
from bootwright.formats.mcuboot_image import (
    HEADER_SIZE,
    VENDOR_TLV_MAX,
    VENDOR_TLV_MIN,
    ImageVersion,
    Tlv,
    TlvType,
)
from bootwright.formats.mcuboot_sign import KEY_HASHES, Dependency, SignOptions
from bootwright.formats.mcuboot_trailer import IMGTOOL_MAX_SECTORS, UpgradeMode

if TYPE_CHECKING:
    from uuid import UUID

    from bootwright.formats.mcuboot_encrypt import Encryption

VERSION_SHAPE = "Invalid version number, should be maj.min.rev+build with later parts optional"


class _Number(click.ParamType[int]):
    """An integer with an optional 0x, 0o or 0b."""

    name = "integer"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return int(value, 0)
        except (TypeError, ValueError):
            self.fail(f"{value} is not a valid integer. {_LITERALS}", param, ctx)


_LITERALS = "Please use code literals prefixed with 0b/0B, 0o/0O, or 0x/0X as necessary."
NUMBER = _Number()


def _version(text: str) -> ImageVersion:
    try:
        return ImageVersion.from_text(text)
    except FormatError as error:
        if "without leading zeros" in error.message:
            raise click.BadParameter(VERSION_SHAPE) from None
        raise


def _check_version(ctx: click.Context, param: click.Parameter, value: str) -> ImageVersion:
    return _version(value)


def _check_counter(ctx: click.Context, param: click.Parameter, value: str | None) -> int | str | None:
    if value is None or value.lower() == "auto":
        return value and "auto"
    try:
        return int(value, 0)
    except ValueError:
        raise click.BadParameter(f"{value} is not a valid integer. {_LITERALS}") from None


def _check_header_size(ctx: click.Context, param: click.Parameter, value: int) -> int:
    if value < HEADER_SIZE:
        raise click.BadParameter(f"Minimum value for -H/--header-size is {HEADER_SIZE}")
    return value


def _check_dependencies(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[Dependency, ...]:
    """As lenient as imgtool: image ids and versions are looked for independently."""
    if value is None:
        return ()
    images = re.findall(r"\((\d+)", value)
    if not images:
        raise click.BadParameter(f"Image dependency format is invalid: {value}")
    versions = re.findall(r",\s*([0-9.+]+)\)", value)
    if len(images) != len(versions):
        raise click.BadParameter(f"There's a mismatch between the number of dependency images and versions in: {value}")
    return tuple(Dependency(int(image), _version(version)) for image, version in zip(images, versions, strict=True))


_OPTIONS: list[Callable[[Callable[..., Any]], Callable[..., Any]]] = [
    click.argument("infile"),
    click.argument("outfile"),
    click.option("-k", "--key", metavar="filename", help="Sign with this private key: a file or a provider string."),
    click.option("-v", "--version", required=True, callback=_check_version, help="major[.minor[.revision[+build]]]"),
    click.option("-H", "--header-size", required=True, type=NUMBER, callback=_check_header_size),
    click.option("-S", "--slot-size", required=True, type=NUMBER, help="Bytes of the slot, the smaller of the two."),
    click.option("--align", type=click.Choice(["1", "2", "4", "8", "16", "32"]), default="1", show_default=True),
    click.option("--max-align", type=click.Choice(["8", "16", "32"]), help="BOOT_MAX_ALIGN, if larger than --align."),
    click.option("-M", "--max-sectors", type=int, help="Sectors that the bootloader allows; 128 unless given."),
    click.option("--pad-header", is_flag=True, help="Put a header in front of the input."),
    click.option("--pad", is_flag=True, help="Fill the slot and end with the trailer's magic."),
    click.option("--confirm", is_flag=True, help="Pad, and set image_ok."),
    click.option("--test", is_flag=True, help="Pad, and leave image_ok erased."),
    click.option("--overwrite-only", is_flag=True, help="The bootloader overwrites instead of swapping."),
    click.option("--pad-sig", is_flag=True, help="Zeros behind an ECDSA signature, for MCUboot before 1.5."),
    click.option("-e", "--endian", type=click.Choice(["little", "big"]), default="little", show_default=True),
    click.option("-R", "--erased-val", type=click.Choice(["0", "0xff"]), help="What erased flash reads as."),
    click.option("-L", "--load-addr", type=NUMBER, help="Where in RAM the bootloader loads it."),
    click.option("-F", "--rom-fixed", type=NUMBER, help="Where in flash it must lie."),
    click.option("-x", "--hex-addr", type=NUMBER, help="The address in Intel HEX output."),
    click.option("-s", "--security-counter", callback=_check_counter, help="A number, or auto for the version's."),
    click.option("-d", "--dependencies", callback=_check_dependencies, help='"(image, version), …"'),
    click.option("--boot-record", metavar="sw_type", help="Add a measured-boot record of this software type."),
    click.option("--custom-tlv", nargs=2, multiple=True, metavar="[tag] [value]", help="Text, or bytes as 0x…"),
    click.option("--custom-tlv-file", nargs=2, multiple=True, metavar="[tag] [filename]", help="The bytes of a file."),
    click.option("--vid", help="Vendor: a UUID, or a domain to derive one from."),
    click.option("--cid", help="Image class: a UUID, or a name to derive one from."),
    click.option("--non-bootable", is_flag=True, help="Flag the image as never to be booted."),
    click.option("--public-key-format", type=click.Choice(["hash", "full"]), default="hash", show_default=True),
    click.option("--sha", "user_sha", type=click.Choice(["auto", "256", "384", "512"]), default="auto"),
    click.option("--pure", is_flag=True, help="Sign the image instead of its hash (Ed25519)."),
    click.option("--vector-to-sign", type=click.Choice(["payload", "digest"]), help="Write what is to be signed."),
    click.option("--fix-sig", metavar="filename", help="Take this signature, in base64, instead of making one."),
    click.option("--fix-sig-pubkey", metavar="filename", help="The public key of that signature."),
    click.option("--sig-out", metavar="filename", help="Write the signature there, in base64."),
    click.option("-E", "--encrypt", metavar="filename", help="Encrypt for this public key."),
    click.option("--encrypt-keylen", type=click.Choice(["128", "256"]), default="128", show_default=True),
    click.option("--hmac-sha", type=click.Choice(["auto", "256", "512"]), default="auto"),
    click.option("--save-enctlv", is_flag=True, help="The bootloader saves the key TLV instead of the key."),
    click.option("-c", "--clear", is_flag=True, help="Add the encrypted key, leave the payload plain."),
    click.option("--compression", type=click.Choice(["disabled", "lzma2", "lzma2armthumb"]), default="disabled"),
]


def with_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a function all options of `imgtool sign`."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def sign_options(given: dict[str, Any], public: PublicKey | None) -> SignOptions:
    """What the command line asks for, refused with imgtool's words where imgtool refuses."""
    hash_name = None if given["user_sha"] == "auto" else f"sha{given['user_sha']}"
    encryption = _encryption(given, public)
    custom = _custom_tlvs(given)
    if given["pure"] and hash_name:
        raise click.UsageError(
            "Pure signatures, currently, enforces preferred hash algorithm, and forbids sha selection by user."
        )
    _check_hash(hash_name, public, given)
    if given["boot_record"] is not None and len(given["boot_record"]) > 12:
        raise click.UsageError(
            f"'{given['boot_record']}' is too long ({len(given['boot_record'])} characters) for sw_type. "
            "Its maximum allowed length is 12 characters."
        )
    version: ImageVersion = given["version"]
    counter = given["security_counter"]
    if counter == "auto":
        counter = (version.major << 24) + (version.minor << 16) + version.revision
    vid = _vendor(given["vid"])
    return SignOptions(
        version=version,
        header_size=given["header_size"],
        pad_header=given["pad_header"],
        align=int(given["align"]),
        max_align=given["max_align"] and int(given["max_align"]),
        max_sectors=IMGTOOL_MAX_SECTORS if given["max_sectors"] is None else given["max_sectors"],
        mode=UpgradeMode.OVERWRITE_ONLY if given["overwrite_only"] else UpgradeMode.SWAP_SCRATCH,
        erased_val=int(given["erased_val"] or "0xff", 0),
        endian="<" if given["endian"] == "little" else ">",
        load_addr=given["load_addr"] or 0,
        rom_fixed=given["rom_fixed"] or 0,
        non_bootable=given["non_bootable"],
        security_counter=counter,
        dependencies=given["dependencies"],
        boot_record=given["boot_record"],
        vid=vid,
        cid=_image_class(vid, given["cid"]),
        custom_tlvs=custom,
        full_public_key=given["public_key_format"] == "full",
        hash_name=hash_name,
        pure=given["pure"],
        pad_sig=given["pad_sig"],
        encryption=encryption,
        save_enctlv=given["save_enctlv"],
    )


def _encryption(given: dict[str, Any], public: PublicKey | None) -> Encryption | None:
    if not given["encrypt"]:
        return None
    from bootwright.formats.mcuboot_encrypt import new_encryption

    recipient = public_of(load_key(given["encrypt"]))
    if given["key"] and public is not None and public.key_type not in (KeyType.ED25519, KeyType.X25519):
        same = recipient.key_type is public.key_type or (recipient.key_type.is_rsa and public.key_type.is_rsa)
        if not same:
            raise click.UsageError("Signing and encryption must use the same type of key")
    hmac_name = "sha512" if given["hmac_sha"] == "512" and not recipient.key_type.is_rsa else "sha256"
    if hmac_name == "sha512" and recipient.key_type is not KeyType.X25519:
        raise click.UsageError("Currently only ECIES-X25519 supports HMAC-SHA512")
    if recipient.key_type is KeyType.RSA_3072:
        warn("MCUboot decrypts with rsa-2048 only, the image is encrypted for an rsa-3072 key")
    return new_encryption(
        recipient,
        bits=int(given["encrypt_keylen"]),
        hmac_name=hmac_name,
        clear=given["clear"],
        random=os.urandom,
    )


def _check_hash(hash_name: str | None, public: PublicKey | None, given: dict[str, Any]) -> None:
    if public is None:
        return
    allowed = KEY_HASHES.get(public.key_type, ("sha256", "sha512"))
    if given["pure"] and public.key_type is not KeyType.ED25519:
        raise click.UsageError(f"Could not find allowed hash algorithms for pure {public.key_type}")
    if hash_name is not None and hash_name not in allowed:
        names = [name.removeprefix("sha") for name in allowed]
        raise click.UsageError(
            f"Key {public.key_type} can not be used with --sha {hash_name.removeprefix('sha')}; "
            f"allowed sha are one of {names}"
        )


def _custom_tlvs(given: dict[str, Any]) -> tuple[Tlv, ...]:
    tlvs: dict[int, bytes] = {}
    from_files = [(tag, Path(name)) for tag, name in given["custom_tlv_file"]]
    for tag, value in [*given["custom_tlv"], *from_files]:
        type_ = _tag(tag)
        if type_ in tlvs:
            raise click.UsageError(f"Custom TLV {hex(type_)} already exists.")
        if type_ in TlvType.__members__.values() and type_ != TlvType.ECDSA224:
            raise click.UsageError(f"Custom TLV {hex(type_)} conflicts with predefined TLV.")
        tlvs[type_] = value.read_bytes() if isinstance(value, Path) else _tlv_value(value)
        if not VENDOR_TLV_MIN <= type_ <= VENDOR_TLV_MAX:
            raise click.UsageError(
                f"Invalid custom TLV type value '0x{type_:04x}', allowed value should be between "
                f"0x{VENDOR_TLV_MIN:04x} and 0x{VENDOR_TLV_MAX:04x}"
            )
    return tuple(Tlv(type_, data) for type_, data in tlvs.items())


def _tag(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise Failure(f"the tag of a custom TLV: found {text!r}, expected a number such as 0xa0") from None


def _tlv_value(text: str) -> bytes:
    if not text.startswith("0x"):
        return text.encode()
    if len(text) % 2:
        raise click.UsageError("Custom TLV length is odd.")
    try:
        return bytes.fromhex(text[2:])
    except ValueError:
        raise Failure(f"the value of a custom TLV: found {text!r}, expected hexadecimal digits after 0x") from None


def _vendor(text: str | None) -> bytes | None:
    if text is None:
        return None
    from uuid import NAMESPACE_DNS

    return _uuid(NAMESPACE_DNS, text)


def _image_class(vendor: bytes | None, text: str | None) -> bytes | None:
    if text is None:
        return None
    from uuid import UUID

    return _uuid(None if vendor is None else UUID(bytes=vendor), text)


def _uuid(namespace: UUID | None, text: str) -> bytes:
    from uuid import uuid5

    if re.fullmatch(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|[0-9a-fA-F]{32}", text):
        return bytes.fromhex(text.replace("-", ""))
    if not text.isprintable():
        raise Failure(f"Unknown UUID format: {text!r}")
    if namespace is None:
        raise Failure(f"Unknown namespace for UUID: {text}; a class by name needs --vid")
    return uuid5(namespace, text).bytes
