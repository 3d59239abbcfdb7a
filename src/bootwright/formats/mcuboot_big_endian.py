"""The image header as a big-endian MCUboot reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bootwright.formats.mcuboot_image import Endian, ImageHeader, ImageVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class BigEndianImageVersion(ImageVersion):
    """`ImageVersion`, most significant byte first."""

    BYTE_ORDER: ClassVar[Endian] = ">"


@dataclass(frozen=True, slots=True, kw_only=True)
class BigEndianImageHeader(ImageHeader):
    """`ImageHeader`, most significant byte first."""

    BYTE_ORDER: ClassVar[Endian] = ">"
    ver: BigEndianImageVersion
