"""How a build of MCUboot decrypts images: one kind of key TLV, one key, one length, all fixed when it is compiled.

Sources: boot/bootutil/include/bootutil/enc_key_public.h, boot/bootutil/src/encrypted.c (MCUboot 2d4bacc3).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from bootwright.errors import BootwrightError, FormatError
from bootwright.formats.keys import KeyType, PrivateKey
from bootwright.formats.mcuboot_encrypt import WrappingKey, unwrap
from bootwright.formats.mcuboot_image import Tlv


class KeyTlv(IntEnum):
    """BOOT_ENC_TLV: how the image key is wrapped."""

    RSA_2048 = 0x30  #: MCUBOOT_ENCRYPT_RSA
    KW = 0x31  #: MCUBOOT_ENCRYPT_KW
    EC256 = 0x32  #: MCUBOOT_ENCRYPT_EC256
    X25519 = 0x33  #: MCUBOOT_ENCRYPT_X25519
    X25519_SHA512 = 0x34  #: with MCUBOOT_HMAC_SHA512


_OVERHEAD = {KeyTlv.KW: 8, KeyTlv.EC256: 65 + 32, KeyTlv.X25519: 32 + 32, KeyTlv.X25519_SHA512: 32 + 64}
_KEY_TYPES = {
    KeyTlv.RSA_2048: KeyType.RSA_2048,
    KeyTlv.EC256: KeyType.ECDSA_P256,
    KeyTlv.X25519: KeyType.X25519,
    KeyTlv.X25519_SHA512: KeyType.X25519,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageEncryption:
    """MCUBOOT_ENC_IMAGES: what the build opens image keys with."""

    tlv: KeyTlv
    key: PrivateKey | WrappingKey = field(repr=False)  #: bootutil_enc_key
    key_size: int = 16  #: BOOT_ENC_KEY_SIZE: 32 with MCUBOOT_AES_256
    saves_tlv: bool = False  #: MCUBOOT_SWAP_SAVE_ENCTLV: the trailer of a swap keeps the TLV and not the plain key

    def __post_init__(self) -> None:
        if self.key_size not in (16, 32):
            raise FormatError(f"found an image key of {self.key_size} bytes, expected 16 or 32", "see MCUBOOT_AES_256")
        found = "a wrapping key" if isinstance(self.key, WrappingKey) else str(self.key.key_type)
        wanted = _KEY_TYPES.get(self.tlv)
        fits = isinstance(self.key, WrappingKey) if wanted is None else found == str(wanted)
        if not fits:
            raise FormatError(f"found {found} for {self.tlv.name} TLVs, expected {wanted or 'a wrapping key'}")

    @classmethod
    def for_key(cls, key: PrivateKey | WrappingKey) -> ImageEncryption:
        """The build that opens images for this key, with AES-128 and SHA-256 as MCUboot's defaults are.

        Raises:
            FormatError: a key that MCUboot decrypts no images with.
        """
        if isinstance(key, WrappingKey):
            return cls(tlv=KeyTlv.KW, key=key, key_size=len(key.key))
        kind = next((tlv for tlv, key_type in _KEY_TYPES.items() if key_type is key.key_type), None)
        if kind is None:
            raise FormatError(
                f"decryption key: found {key.key_type}, expected rsa-2048, ecdsa-p256 or x25519",
                "MCUboot decrypts with those only",
            )
        return cls(tlv=kind, key=key)

    @property
    def tlv_size(self) -> int:
        """BOOT_ENC_TLV_SIZE."""
        return 256 if self.tlv is KeyTlv.RSA_2048 else _OVERHEAD[self.tlv] + self.key_size

    def stored_size(self, max_align: int) -> int:
        """BOOT_ENC_KEY_ALIGN_SIZE or BOOT_ENC_TLV_ALIGN_SIZE: bytes that the trailer has for each slot's key."""
        size = self.tlv_size if self.saves_tlv else self.key_size
        return -(-size // max_align) * max_align

    def open(self, data: bytes) -> bytes | None:
        """boot_decrypt_key: the image key out of the data of its TLV, None where it does not open."""
        try:
            key = unwrap(Tlv(self.tlv, data), self.key)
        except BootwrightError:
            return None
        return key.ljust(self.key_size, b"\xff") if len(key) <= self.key_size else None
