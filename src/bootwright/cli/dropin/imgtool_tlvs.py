"""The TLVs that a command line of imgtool's sign asks for by name: custom ones, vendor and image class."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from bootwright.cli.dropin.imgtool import Failure, Usage
from bootwright.formats.mcuboot_image import VENDOR_TLV_MAX, VENDOR_TLV_MIN, Tlv, TlvType

if TYPE_CHECKING:
    from uuid import UUID


def custom_tlvs(given: dict[str, Any]) -> tuple[Tlv, ...]:
    """The custom TLVs, those of files last. Whether a vendor may have their types is looked at later."""
    tlvs: dict[int, bytes] = {}
    for field in ("custom_tlv", "custom_tlv_file"):
        for tag, value in given[field]:
            type_ = _tag(tag)
            if type_ in tlvs:
                raise Usage(f"Custom TLV {hex(type_)} already exists.")
            if type_ in TlvType.__members__.values() and type_ != TlvType.ECDSA224:
                raise Usage(f"Custom TLV {hex(type_)} conflicts with predefined TLV.")
            tlvs[type_] = _content(value) if field == "custom_tlv_file" else _tlv_value(value)
    return tuple(Tlv(type_, data) for type_, data in tlvs.items())


def check_vendor_types(tlvs: tuple[Tlv, ...]) -> None:
    """Refuse custom TLVs of types that are MCUboot's own."""
    for tlv in tlvs:
        if not VENDOR_TLV_MIN <= tlv.type <= VENDOR_TLV_MAX:
            raise Usage(
                f"Invalid custom TLV type value '0x{tlv.type:04x}', allowed value should be between "
                f"0x{VENDOR_TLV_MIN:04x} and 0x{VENDOR_TLV_MAX:04x}"
            )


def _content(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _tag(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise Failure(f"the tag of a custom TLV: found {text!r}, expected a number such as 0xa0") from None


def _tlv_value(text: str) -> bytes:
    if not text.startswith("0x"):
        return text.encode()
    if len(text) % 2:
        raise Usage("Custom TLV length is odd.")
    try:
        return bytes.fromhex(text[2:])
    except ValueError:
        raise Failure(f"the value of a custom TLV: found {text!r}, expected hexadecimal digits after 0x") from None


def vendor(text: str | None) -> bytes | None:
    """The UUID of a vendor, given as one or as a domain."""
    if text is None:
        return None
    from uuid import NAMESPACE_DNS

    return _uuid(NAMESPACE_DNS, text)


def image_class(vendor: bytes | None, text: str | None) -> bytes | None:
    """The UUID of an image class, given as one or as a name of the vendor's."""
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
