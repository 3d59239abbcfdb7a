"""The options of imgtool's sign command: one table, from which a plain command line is read, and click's is made."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Any, NamedTuple

from bootwright.formats.mcuboot_image import HEADER_SIZE, VERSION_TEXT, ImageVersion
from bootwright.formats.mcuboot_sign import Dependency

VERSION_SHAPE = "Invalid version number, should be maj.min.rev+build with later parts optional"


class Kind(Enum):
    """What an option takes."""

    TEXT = auto()
    FLAG = auto()
    NUMBER = auto()  #: an integer with an optional 0x, 0o or 0b
    INTEGER = auto()  #: a decimal one
    CHOICE = auto()
    PAIRS = auto()  #: two words, and again


class Option(NamedTuple):
    """One option: a row of the table."""

    names: tuple[str, ...]
    field: str
    help: str
    kind: Kind = Kind.TEXT
    choices: tuple[str, ...] = ()
    default: str | None = None
    metavar: str | None = None
    required: bool = False
    check: Callable[[Any], Any] | None = None  #: reads the value further; ValueError says what is wrong with it


def number(text: str) -> int:
    """An integer with an optional 0x, 0o or 0b.

    Raises:
        ValueError: it is none; with imgtool's words.
    """
    try:
        return int(text, 0)
    except (TypeError, ValueError):
        raise ValueError(
            f"{text} is not a valid integer. "
            "Please use code literals prefixed with 0b/0B, 0o/0O, or 0x/0X as necessary."
        ) from None


def _version(text: str) -> ImageVersion:
    """The shape is refused here, parts that do not fit their field when the header is made: as imgtool does."""
    match = VERSION_TEXT.fullmatch(text.removesuffix("\n"))
    if match is None:
        raise ValueError(VERSION_SHAPE)
    major, minor, revision, build = (int(part or 0) for part in match.groups())
    return ImageVersion(major=major, minor=minor, revision=revision, build=build)


def _counter(text: str) -> int | str:
    return "auto" if text.lower() == "auto" else number(text)


def _header_size(size: int) -> int:
    if size < HEADER_SIZE:
        raise ValueError(f"Minimum value for -H/--header-size is {HEADER_SIZE}")
    return size


def _dependencies(text: str) -> tuple[Dependency, ...]:
    """As lenient as imgtool: image ids and versions are looked for independently."""
    images = re.findall(r"\((\d+)", text)
    if not images:
        raise ValueError(f"Image dependency format is invalid: {text}")
    versions = re.findall(r",\s*([0-9.+]+)\)", text)
    if len(images) != len(versions):
        raise ValueError(f"There's a mismatch between the number of dependency images and versions in: {text}")
    return tuple(Dependency(int(image), _version(version)) for image, version in zip(images, versions, strict=True))


def _choice(*names: str, of: str, help: str, default: str | None = None, field: str = "") -> Option:  # noqa: A002
    return Option(names, field or _field(names), help, Kind.CHOICE, tuple(of.split()), default)


def _flag(*names: str, help: str) -> Option:  # noqa: A002
    return Option(names, _field(names), help, Kind.FLAG)


def _text(*names: str, help: str, **more: Any) -> Option:  # noqa: A002
    return Option(names, _field(names), help, **more)


def _field(names: tuple[str, ...]) -> str:
    return names[-1].removeprefix("--").replace("-", "_")


OPTIONS = (
    _text("-k", "--key", metavar="filename", help="Sign with this private key: a file or a provider string."),
    _text("-v", "--version", required=True, check=_version, help="major[.minor[.revision[+build]]]"),
    _text("-H", "--header-size", required=True, kind=Kind.NUMBER, check=_header_size, help="Bytes of the header."),
    _text("-S", "--slot-size", required=True, kind=Kind.NUMBER, help="Bytes of the slot, the smaller of the two."),
    _choice("--align", of="1 2 4 8 16 32", default="1", help="Write alignment of the flash."),
    _choice("--max-align", of="8 16 32", help="BOOT_MAX_ALIGN, if larger than --align."),
    _text("-M", "--max-sectors", kind=Kind.INTEGER, help="Sectors that the bootloader allows; 128 unless given."),
    _flag("--pad-header", help="Put a header in front of the input."),
    _flag("--pad", help="Fill the slot and end with the trailer's magic."),
    _flag("--confirm", help="Pad, and set image_ok."),
    _flag("--test", help="Pad, and leave image_ok erased."),
    _flag("--overwrite-only", help="The bootloader overwrites instead of swapping."),
    _flag("--pad-sig", help="Zeros behind an ECDSA signature, for MCUboot before 1.5."),
    _choice("-e", "--endian", of="little big", default="little", help="The byte order of header and TLVs."),
    _choice("-R", "--erased-val", of="0 0xff", help="What erased flash reads as."),
    _text("-L", "--load-addr", kind=Kind.NUMBER, help="Where in RAM the bootloader loads it."),
    _text("-F", "--rom-fixed", kind=Kind.NUMBER, help="Where in flash it must lie."),
    _text("-x", "--hex-addr", kind=Kind.NUMBER, help="The address in Intel HEX output."),
    _text("-s", "--security-counter", check=_counter, help="A number, or auto for the version's."),
    _text("-d", "--dependencies", check=_dependencies, help='"(image, version), …"'),
    _text("--boot-record", metavar="sw_type", help="Add a measured-boot record of this software type."),
    _text("--custom-tlv", kind=Kind.PAIRS, metavar="[tag] [value]", help="Text, or bytes as 0x…"),
    _text("--custom-tlv-file", kind=Kind.PAIRS, metavar="[tag] [filename]", help="The bytes of a file."),
    _text("--vid", help="Vendor: a UUID, or a domain to derive one from."),
    _text("--cid", help="Image class: a UUID, or a name to derive one from."),
    _flag("--non-bootable", help="Flag the image as never to be booted."),
    _choice("--public-key-format", of="hash full", default="hash", help="What names the key in the image."),
    _choice("--sha", field="user_sha", of="auto 256 384 512", default="auto", help="The hash; by the key's type."),
    _flag("--pure", help="Sign the image instead of its hash (Ed25519)."),
    _choice("--vector-to-sign", of="payload digest", help="Write what is to be signed."),
    _text("--fix-sig", metavar="filename", help="Take this signature, in base64, instead of making one."),
    _text("--fix-sig-pubkey", metavar="filename", help="The public key of that signature."),
    _text("--sig-out", metavar="filename", help="Write the signature there, in base64."),
    _text("-E", "--encrypt", metavar="filename", help="Encrypt for this public key."),
    _choice("--encrypt-keylen", of="128 256", default="128", help="Bits of the AES key."),
    _choice("--hmac-sha", of="auto 256 512", default="auto", help="The hash of ECIES; 512 with x25519 only."),
    _flag("--save-enctlv", help="The bootloader saves the key TLV instead of the key."),
    _flag("-c", "--clear", help="Add the encrypted key, leave the payload plain."),
    _choice("--compression", of="disabled lzma2 lzma2armthumb", default="disabled", help="Compress if that helps."),
)
_BY_NAME = {name: option for option in OPTIONS for name in option.names}


def read_line(words: Sequence[str]) -> dict[str, Any] | None:
    """The options of a plain command line by their field; None where click has to look, or to say what is wrong."""
    found: dict[str, Any] = {}
    files: list[str] = []
    rest = list(reversed(words))
    while rest:
        word = rest.pop()
        if not word.startswith("-") or word == "-":
            files.append(word)
            continue
        name, equals, value = word.partition("=") if word.startswith("--") else (word, "", "")
        option = _BY_NAME.get(name)
        if option is None or (equals and option.kind in (Kind.FLAG, Kind.PAIRS)):
            return None
        if equals:
            rest.append(value)
        if not _take(option, rest, found):
            return None
    if len(files) != 2 or any(option.required and option.field not in found for option in OPTIONS):
        return None
    try:
        given = {option.field: _value(option, found.get(option.field)) for option in OPTIONS}
    except ValueError:
        return None
    return {"infile": files[0], "outfile": files[1], **given}


def _take(option: Option, rest: list[str], found: dict[str, Any]) -> bool:
    """Take an option's words; False where there are too few."""
    if option.kind is Kind.FLAG:
        found[option.field] = True
    elif option.kind is Kind.PAIRS:
        if len(rest) < 2:
            return False
        found[option.field] = (*found.get(option.field, ()), (rest.pop(), rest.pop()))
    else:
        if not rest:
            return False
        found[option.field] = rest.pop()
    return True


def _value(option: Option, raw: Any) -> Any:
    if option.kind is Kind.FLAG:
        return bool(raw)
    if option.kind is Kind.PAIRS:
        return raw or ()
    if raw is None:
        return option.default
    if option.kind is Kind.CHOICE and raw not in option.choices:
        raise ValueError(raw)
    if option.kind is Kind.NUMBER:
        raw = number(raw)
    elif option.kind is Kind.INTEGER:
        raw = int(raw)
    return raw if option.check is None else option.check(raw)
