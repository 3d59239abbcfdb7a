"""`bootwright image sign`."""

from __future__ import annotations

import base64
import binascii
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bootwright.cli.image import FILE, NUMBER, build_options, read_build
from bootwright.cli.show import json_option, show

if TYPE_CHECKING:
    from bootwright.formats.keys import PublicKey, Signer
    from bootwright.formats.mcuboot_encrypt import Encryption
    from bootwright.formats.mcuboot_image import Tlv
    from bootwright.formats.mcuboot_sign import Dependency, SignOptions
    from bootwright.host.images import Build


#: section of the help → its options
SECTIONS = {
    "Who signs (one of them)": ("key", "unsigned", "to_sign", "signature", "public_key"),
    "The bootloader's build": ("conf", "slot_size", "mode", "flash_encryption"),
    "The image": (
        *("version", "header", "header_size", "pad", "security_counter", "depends_on"),
        *("tlv", "boot_record", "vid", "cid"),
    ),
    "The input": ("flash_key", "flash_address", "again"),
    "Other ports of MCUboot, not Espressif's": (
        *("encrypt_for", "key_bits", "hmac_name", "clear", "compress", "pure", "full_public_key"),
        *("load_addr", "rom_fixed", "non_bootable", "big_endian"),
    ),
}


class _Sectioned(click.Command):
    """Shows its options by what they are about."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        options = [param for param in self.get_params(ctx) if isinstance(param, click.Option)]
        records = {option.name: option.get_help_record(ctx) for option in options}
        for title, names in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([record for name in names if (record := records.pop(name)) is not None])
        with formatter.section("More"):
            formatter.write_dl([record for record in records.values() if record is not None])


@click.command(cls=_Sectioned)
@click.argument("source", metavar="INPUT", type=FILE)
@click.argument("output", type=FILE)
@click.option("-v", "--version", required=True, help="major[.minor[.revision[+build]]]")
@click.option("-k", "--key", metavar="KEY", help="Sign with: a key file, pkcs11:… or exec:…")
@click.option("--unsigned", is_flag=True, help="No signature, the hash only.")
@click.option("--signature", type=FILE, help="Attach this signature, raw or in base64, made elsewhere.")
@click.option("--public-key", metavar="KEY", help="The public key of that signature, or of the one to come.")
@click.option("--to-sign", type=click.Choice(["payload", "digest"]), help="Write what is to be signed elsewhere.")
@build_options
@click.option("--header-size", type=NUMBER, default=0x20, show_default=True, metavar="BYTES", help="The port wants 32.")
@click.option(
    "--header",
    type=click.Choice(["auto", "add", "inside"]),
    default="auto",
    show_default=True,
    help="Put it in front, or into zeros at INPUT's start.",
)
@click.option("--pad", type=click.Choice(["test", "confirm"]), help="Fill the slot and ask for the update.")
@click.option("--security-counter", metavar="N|auto", help="A number, or auto for the version's.")
@click.option("--depends-on", multiple=True, metavar="IMAGE:VERSION", help="Needs another image, at least so new.")
@click.option("--tlv", multiple=True, metavar="TYPE=VALUE", help="A protected TLV: 0x… in hex, @file, or text.")
@click.option("--boot-record", metavar="NAME", help="A measured-boot record for software of this type.")
@click.option("--vid", metavar="VENDOR", help="Vendor: a UUID, or a domain to derive one from.")
@click.option("--cid", metavar="CLASS", help="Image class: a UUID, or a name of the vendor's to derive one from.")
@click.option("--load-addr", type=NUMBER, default=0, metavar="ADDRESS", help="Where in RAM it is to be loaded.")
@click.option("--rom-fixed", type=NUMBER, default=0, metavar="ADDRESS", help="Where in flash it must lie.")
@click.option("--non-bootable", is_flag=True, help="Flag it as never to be booted.")
@click.option("--big-endian", is_flag=True, help="For a big-endian MCUboot.")
@click.option("--pure", is_flag=True, help="Sign the image instead of its hash (Ed25519).")
@click.option("--full-public-key", is_flag=True, help="Put the whole public key into the image.")
@click.option("--encrypt-for", metavar="KEY", help="Encrypt for this public key, or with a wrapping key (AES-KW).")
@click.option(
    "--key-bits",
    type=click.Choice(["128", "256"]),
    default="128",
    show_default=True,
    help="Bits of the AES key that encrypts.",
)
@click.option(
    "--hmac",
    "hmac_name",
    type=click.Choice(["sha256", "sha512"]),
    default="sha256",
    show_default=True,
    help="Hash that wraps the AES key, for X25519.",
)
@click.option("--clear", is_flag=True, help="Add the encrypted key, leave the payload plain.")
@click.option("--compress", type=click.Choice(["lzma2", "lzma2-arm-thumb"]), help="Compress the payload if that helps.")
@click.option("--flash-key", type=FILE, help="Make sure that INPUT is not encrypted with this key.")
@click.option("--flash-address", type=NUMBER, default=0, metavar="ADDRESS", help="Where INPUT would lie.")
@click.option("--again", is_flag=True, help="Sign even what is signed or encrypted already.")
@json_option
def sign(source: Path, output: Path, as_json: bool, **given: Any) -> int:
    """Make an MCUboot image of INPUT; files named *.hex are Intel HEX.

    The trailer's size follows from the bootloader: give its bootloader.conf, or the slot's size, the mode and whether
    it was built with flash encryption. The finished image is verified before it is written.
    """
    from bootwright.finding import Answer
    from bootwright.host.files import write_file
    from bootwright.host.image_sign import SignJob, make_image

    build = read_build(given["conf"], given["slot_size"], given["mode"], given["flash_encryption"])
    payload, address = _input(source, given)
    options = _options(payload, build, given)
    job = SignJob(
        payload=payload,
        options=options,
        signer=_signer(given),
        public=_public(given),
        signature=_signature(given["signature"]),
        compress=given["compress"],
        to_sign=given["to_sign"],
    )
    made = make_image(job, build, subject=str(output))
    start = address - options.header_size if options.pad_header and address else address
    write_file(output, made.as_hex(start) if output.suffix.lower() == ".hex" else made.data)
    details: dict[str, object] = {"input": str(source), "output": str(output), "size": len(made.data), **made.details}
    return show(Answer(command="image sign", findings=made.findings, details=details), as_json=as_json)


def _input(source: Path, given: dict[str, Any]) -> tuple[bytes, int]:
    from bootwright.host.files import read_bytes
    from bootwright.host.images import check_plain_input

    data, address = read_bytes(source, what="application"), 0
    if source.suffix.lower() == ".hex":
        from bootwright.formats.hexfile import flatten, parse_hex

        segments = parse_hex(data, where=str(source))
        data, address = flatten(segments, where=str(source)), segments[0][0] if segments else 0
    if not given["again"]:
        flash_key = read_bytes(given["flash_key"], what="flash-encryption key") if given["flash_key"] else None
        check_plain_input(data, subject=str(source), flash_key=flash_key, address=given["flash_address"])
    return data, address


def _options(payload: bytes, build: Build | None, given: dict[str, Any]) -> SignOptions:
    from bootwright.formats.mcuboot_image import ImageVersion
    from bootwright.formats.mcuboot_sign import SignOptions
    from bootwright.formats.mcuboot_trailer import UpgradeMode

    if given["pad"] and build is None:
        raise click.UsageError("--pad needs --conf or --slot-size: the trailer lies at the slot's end")
    if given["pure"] and given["to_sign"] == "digest":
        raise click.UsageError("a pure signature is over the payload: use --to-sign payload")
    if given["clear"] and not given["encrypt_for"]:
        raise click.UsageError("--clear needs --encrypt-for")
    version = ImageVersion.from_text(given["version"])
    room = given["header_size"]
    inside = given["header"] == "inside" or (given["header"] == "auto" and not any(payload[:room]))
    geometry = build.geometry if build else None
    vid, cid = _vendor_and_class(given["vid"], given["cid"])
    return SignOptions(
        version=version,
        header_size=room,
        pad_header=not (inside and len(payload) >= room),
        slot_size=build.slot_size if build else 0,
        mode=build.mode if build else UpgradeMode.SWAP_SCRATCH,
        align=geometry.write_size if geometry else 4,
        max_align=geometry.max_align if geometry else None,
        pad=bool(given["pad"]),
        confirm=given["pad"] == "confirm",
        endian=">" if given["big_endian"] else "<",
        load_addr=given["load_addr"],
        rom_fixed=given["rom_fixed"],
        non_bootable=given["non_bootable"],
        security_counter=_counter(given["security_counter"], version.major, version.minor, version.revision),
        dependencies=tuple(_dependency(text) for text in given["depends_on"]),
        boot_record=given["boot_record"],
        vid=vid,
        cid=cid,
        custom_tlvs=tuple(_tlv(text) for text in given["tlv"]),
        full_public_key=given["full_public_key"],
        pure=given["pure"],
        encryption=_encryption(given),
    )


def _signer(given: dict[str, Any]) -> Signer | None:
    from bootwright.host.keys import load_signer

    ways = [bool(given["key"]), given["unsigned"], bool(given["signature"]), bool(given["to_sign"])]
    if sum(ways) != 1:
        raise click.UsageError("give one of --key, --signature, --to-sign and --unsigned")
    return load_signer(given["key"]) if given["key"] else None


def _public(given: dict[str, Any]) -> PublicKey | None:
    from bootwright.host.keys import load_public

    if given["public_key"]:
        if given["key"] or given["unsigned"]:
            raise click.UsageError("--public-key goes with --signature and --to-sign")
        return load_public(given["public_key"])
    if given["signature"] or given["to_sign"]:
        raise click.UsageError("--signature and --to-sign need --public-key: it decides the hash")
    return None


def _signature(path: Path | None) -> bytes | None:
    from bootwright.host.files import read_bytes

    if path is None:
        return None
    data = read_bytes(path, what="signature", limit=64 << 10)
    try:
        return base64.b64decode(b"".join(data.split()), validate=True)
    except binascii.Error:
        return data


def _counter(text: str | None, major: int, minor: int, revision: int) -> int | None:
    if text is None:
        return None
    if text == "auto":
        return (major << 24) + (minor << 16) + revision
    try:
        return int(text, 0)
    except ValueError:
        raise click.UsageError(f"--security-counter: found {text!r}, expected a number or auto") from None


def _dependency(text: str) -> Dependency:
    from bootwright.formats.mcuboot_image import ImageVersion
    from bootwright.formats.mcuboot_sign import Dependency

    image, colon, version = text.partition(":")
    if not colon or not image.isdecimal():
        raise click.UsageError(f"--depends-on: found {text!r}, expected IMAGE:VERSION such as 1:2.0.0")
    return Dependency(int(image), ImageVersion.from_text(version))


def _vendor_and_class(vendor: str | None, name: str | None) -> tuple[bytes | None, bytes | None]:
    """The UUIDs of vendor and image class, derived as imgtool derives them."""
    if vendor is None and name is None:
        return None, None
    from uuid import NAMESPACE_DNS, UUID, uuid5

    def uuid_of(text: str, namespace: UUID | None) -> UUID:
        try:
            return UUID(text)
        except ValueError:
            pass
        if namespace is None:
            raise click.UsageError(f"--cid: found the name {text!r}, expected a UUID, or a --vid that it belongs to")
        return uuid5(namespace, text)

    vid = None if vendor is None else uuid_of(vendor, NAMESPACE_DNS)
    cid = None if name is None else uuid_of(name, vid)
    return (None if vid is None else vid.bytes), (None if cid is None else cid.bytes)


def _tlv(text: str) -> Tlv:
    from bootwright.formats.mcuboot_image import VENDOR_TLV_MAX, VENDOR_TLV_MIN, Tlv
    from bootwright.host.files import read_bytes

    name, equals, value = text.partition("=")
    try:
        type_ = int(name, 0) if equals else -1
    except ValueError:
        type_ = -1
    if not VENDOR_TLV_MIN <= type_ <= VENDOR_TLV_MAX:
        raise click.UsageError(
            f"--tlv: found {text!r}, expected TYPE=VALUE with a type of {VENDOR_TLV_MIN:#x} to {VENDOR_TLV_MAX:#x}"
        )
    if value.startswith("@"):
        return Tlv(type_, read_bytes(Path(value[1:]), what="TLV value", limit=0xFFFF))
    if not value.startswith("0x"):
        return Tlv(type_, value.encode())
    if not re.fullmatch(r"0x([0-9a-fA-F]{2})*", value):
        raise click.UsageError(f"--tlv: found {value!r}, expected an even number of hexadecimal digits after 0x")
    return Tlv(type_, bytes.fromhex(value[2:]))


def _encryption(given: dict[str, Any]) -> Encryption | None:
    if not given["encrypt_for"]:
        return None
    from bootwright.formats.mcuboot_encrypt import new_encryption
    from bootwright.host.images import load_recipient

    return new_encryption(
        load_recipient(given["encrypt_for"]),
        bits=int(given["key_bits"]),
        hmac_name=given["hmac_name"],
        clear=given["clear"],
        random=os.urandom,
    )
