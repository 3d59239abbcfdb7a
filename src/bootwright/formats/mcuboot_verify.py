"""Judging an MCUboot image as the bootloader does, check by check, in the bootloader's order.

The order is that of MCUboot boot/bootutil/src/bootutil_loader.c `boot_check_header_valid`, tlv.c
`bootutil_tlv_iter_*` and image_validate.c `bootutil_img_validate`; like there, the first check that fails ends it.
The bytes are walked as they are, so that an image which `Image.parse` refuses still gets its finding.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bootwright.errors import FormatError
from bootwright.finding import Finding, Verdict, failed, overall, passed, warned
from bootwright.formats.keys import KeyType, PublicKey
from bootwright.formats.mcuboot_image import (
    COMPRESSED,
    ENCRYPTED,
    HASH_TLVS,
    HEADER_SIZE,
    MAGIC,
    ImageFlags,
    ImageHeader,
    TlvType,
    tlv_name,
)
from bootwright.formats.mcuboot_tlv_walk import TlvAt, tlv_bounds, walk_tlvs

#: the only types that the unprotected area may hold (image_validate.c allowed_unprot_tlvs)
ALLOWED_UNPROTECTED = frozenset(
    {
        TlvType.KEYHASH,
        TlvType.PUBKEY,
        TlvType.SHA256,
        TlvType.SHA384,
        TlvType.SHA512,
        TlvType.RSA2048,
        TlvType.ECDSA224,
        TlvType.ECDSASIG,
        TlvType.RSA3072,
        TlvType.ED25519,
        TlvType.ENCRSA2048,
        TlvType.ENCKW,
        TlvType.ENCEC256,
        TlvType.ENCX25519,
    }
)
SIGNATURE_KEYS = {
    TlvType.RSA2048: frozenset({KeyType.RSA_2048}),
    TlvType.RSA3072: frozenset({KeyType.RSA_3072}),
    TlvType.ECDSASIG: frozenset({KeyType.ECDSA_P256, KeyType.ECDSA_P384}),
    TlvType.ED25519: frozenset({KeyType.ED25519}),
}
SIGNATURE_SIZES = {TlvType.RSA2048: 256, TlvType.RSA3072: 384, TlvType.ED25519: 64}
_ECDSA_SIZES = {KeyType.ECDSA_P256: 32, KeyType.ECDSA_P384: 48}
ECDSA_BUFFER = 128  # image_validate.c SIG_BUF_SIZE for EC


@dataclass(frozen=True, slots=True, kw_only=True)
class BootRules:
    """What the bootloader that shall run the image was built for. The defaults are the Espressif port's."""

    slot_size: int | None = None  #: bytes of the slot; None: not judged
    max_size: int | None = None  #: bytes that header, payload and TLVs may take; None: not judged
    encrypted: bool = False  #: MCUBOOT_ENC_IMAGES; the payload given is then the decrypted one
    compressed: bool = False  #: MCUBOOT_DECOMPRESS_IMAGES
    pure: bool = False  #: MCUBOOT_SIGN_PURE
    hardware_key: bool = False  #: MCUBOOT_HW_KEY: the image carries its whole public key
    hash_name: str | None = None  #: MCUBOOT_SHA512 is sha512; None: what goes with the keys, without keys any


def verify_image(
    data: bytes | memoryview,
    keys: Sequence[PublicKey],
    *,
    rules: BootRules | None = None,
    subject: str = "image",
    digests: Mapping[str, bytes] | None = None,
) -> tuple[Finding, ...]:
    """Say whether MCUboot with these keys would run the image; without keys only its integrity is judged.

    One finding a check that was passed, and at most one failure: the check at which the bootloader stops. `digests`
    are hashes of header, payload and protected TLVs that the caller has computed of these very bytes.
    """
    found: list[Finding] = []
    if len(data) < HEADER_SIZE:
        because = f"found {len(data)} bytes, expected a header of {HEADER_SIZE}"
        return (failed("image.header.short", subject, because, _SIGN_IT),)
    header = ImageHeader.parse(data, where=subject)
    case = _Case(memoryview(data), header, tuple(keys), rules or BootRules(), subject, dict(digests or {}))
    for check in (_check_header, _check_areas, _check_tlvs):
        found += check(case)
        if overall(found) is Verdict.FAIL:
            break
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Case:
    data: memoryview
    header: ImageHeader
    keys: tuple[PublicKey, ...]
    rules: BootRules
    subject: str
    digests: dict[str, bytes]  #: hash name → hash, as far as they are known

    def fail(self, code: str, because: str, advice: str = "") -> list[Finding]:
        return [failed(code, self.subject, because, advice)]


def _check_header(case: _Case) -> list[Finding]:
    header, rules = case.header, case.rules
    if header.magic == 0xFFFFFFFF:
        return case.fail("image.header.erased", "found erased bytes instead of a header: there is no image", _SIGN_IT)
    if header.magic != MAGIC:
        return case.fail("image.header.magic", _magic_because(case.data, header), _SIGN_IT)
    room = len(case.data) if rules.slot_size is None else rules.slot_size
    if header.hashed_size >= 1 << 32 or header.hashed_size >= room:
        return case.fail(
            "image.header.size",
            f"header, payload and protected TLVs take {header.hashed_size} bytes by the header, "
            f"expected less than the {room} there are",
            "the image is truncated, its header is damaged, or it is too large for the slot",
        )
    if header.hdr_size < HEADER_SIZE:
        return case.fail("image.header.hdr_size", f"found ih_hdr_size {header.hdr_size}, expected at least 32")
    return _check_flags(case, ImageFlags(header.flags)) or [
        passed("image.header.valid", case.subject, f"version {header.ver}, {header.img_size} bytes of payload")
    ]


def _check_flags(case: _Case, flags: ImageFlags) -> list[Finding]:
    if flags & ImageFlags.NON_BOOTABLE:
        return case.fail("image.header.non_bootable", "the header is flagged NON_BOOTABLE: it is never booted")
    if flags & ENCRYPTED and not case.rules.encrypted:
        return case.fail(
            "image.header.encrypted",
            "the payload is flagged as encrypted, and the bootloader was built without MCUBOOT_ENC_IMAGES",
            "the Espressif port never has it: sign the plain image, the chip's flash encryption protects it",
        )
    if flags & ENCRYPTED == ENCRYPTED:
        return case.fail("image.header.flags", "both AES-128 and AES-256 are flagged, expected one")
    if flags & COMPRESSED and not case.rules.compressed:
        return case.fail(
            "image.header.compressed",
            "the payload is flagged as compressed, and the bootloader was built without MCUBOOT_DECOMPRESS_IMAGES",
            "sign without compression",
        )
    if flags & COMPRESSED == COMPRESSED:
        return case.fail("image.header.flags", "both LZMA1 and LZMA2 are flagged, expected one")
    return []


def _check_areas(case: _Case) -> list[Finding]:
    try:
        _, end = tlv_bounds(case.data, case.header)
    except FormatError as error:
        return case.fail("image.tlv.area", error.message, "the image is damaged or was never signed")
    limit = case.rules.max_size
    if limit is not None and end > limit:
        return case.fail(
            "image.slot.too_large",
            f"the image takes {end} bytes with its TLVs, expected at most {limit}: the trailer needs the rest",
            "make the image smaller or the slots larger",
        )
    return []


def _check_tlvs(case: _Case) -> list[Finding]:
    """The walk of `bootutil_img_validate`: the last signature that a known key was named for is what counts."""
    if case.rules.pure and not _is_pure(case):
        because = "found no SIG_PURE TLV with the value 1, expected one: the bootloader takes only pure signatures"
        return case.fail("image.signature.not_pure", because, "sign with --pure")
    walk = _Walk(case)
    try:
        for tlv in walk_tlvs(case.data, case.header):
            if trouble := walk.take(tlv):
                return trouble
    except FormatError as error:
        return case.fail("image.tlv.overrun", error.message, "the TLV area is damaged")
    return walk.conclude()


class _Walk:
    """What is known while the TLVs go by."""

    def __init__(self, case: _Case) -> None:
        self.case = case
        self.pure = case.rules.pure
        self.hash_name = case.rules.hash_name or ("sha512" if self.pure else _expected_hash(case.keys))
        self.signature_types = frozenset(
            type_ for type_, key_types in SIGNATURE_KEYS.items() if any(key.key_type in key_types for key in case.keys)
        )
        self.allowed = ALLOWED_UNPROTECTED | _also_allowed(case.rules)
        self.hash_seen = ""
        self.key: PublicKey | None = None
        self.unknown_key = b""
        self.signature: tuple[PublicKey, bool] | None = None

    def take(self, tlv: TlvAt) -> list[Finding]:
        """Look at one TLV; a failure ends the walk."""
        if not tlv.protected and tlv.type not in self.allowed:
            return self.case.fail(
                "image.tlv.not_allowed",
                f"found a TLV of type {tlv.type:#06x} ({tlv_name(tlv.type)}) in the unprotected area, "
                "expected only hash, key, signature and encryption",
                _NOT_ALLOWED.get(tlv.type, "put it into the protected area, where the signature covers it"),
            )
        if tlv.type in HASH_TLVS:
            return self._hash(tlv)
        if tlv.type == (TlvType.PUBKEY if self.case.rules.hardware_key else TlvType.KEYHASH):
            return self._key(tlv)
        if tlv.type in self.signature_types:
            return self._signature(TlvType(tlv.type), tlv)
        return []

    def conclude(self) -> list[Finding]:
        """The verdict once all TLVs went by."""
        case = self.case
        if not self.hash_seen and not self.pure:
            return self._no_hash()
        found: list[Finding] = []
        if self.hash_seen:
            digest = self._digest(self.hash_seen).hex()
            found.append(passed("image.hash.match", case.subject, f"{self.hash_seen} {digest} covers the image"))
        if not case.keys:
            because = "no key was given: the image is whole, who made it is unknown"
            found.append(warned("image.signature.unchecked", case.subject, because, "give the public key"))
            return found
        return found + self._verdict()

    def _no_hash(self) -> list[Finding]:
        case = self.case
        others = [HASH_TLVS[TlvType(tlv.type)] for tlv in _quietly(case) if tlv.type in HASH_TLVS]
        if not others:
            return case.fail("image.hash.missing", f"found no {self.hash_name or 'hash'} TLV, expected one", "sign it")
        return case.fail(
            "image.hash.missing",
            f"found a TLV of {others[0]}, expected {self.hash_name}: the bootloader computes only that",
            f"sign with {self.hash_name}, or say that the bootloader was built for {others[0]}",
        )

    def _verdict(self) -> list[Finding]:
        case = self.case
        if self.signature is not None:
            key, valid = self.signature
            if valid:
                what = f"the {key.key_type} key {key.key_hash().hex()[:16]}… signed it"
                return [passed("image.signature.valid", case.subject, what)]
            return case.fail(
                "image.signature.invalid",
                f"the signature is not the {key.key_type} key's {key.key_hash().hex()[:16]}… over this image",
                "the image was changed after signing, or the signature is another image's",
            )
        if self.unknown_key:
            names = ", ".join(f"{key.key_type} {key.key_hash().hex()[:16]}…" for key in case.keys)
            return case.fail(
                "image.key.unknown",
                f"the image names the key {self.unknown_key.hex()[:16]}…, expected one of: {names}",
                "sign with the key that is compiled into the bootloader",
            )
        return case.fail("image.signature.missing", "found no signature by a given key, expected one", "sign the image")

    def _hash(self, tlv: TlvAt) -> list[Finding]:
        name = HASH_TLVS[TlvType(tlv.type)]
        if self.pure or name != (self.hash_name or name):
            return []
        stored = bytes(self.case.data[tlv.offset : tlv.offset + tlv.length])
        expected = hashlib.new(name).digest_size
        if tlv.length != expected:
            return self.case.fail("image.hash.length", f"found a {name} TLV of {tlv.length} bytes, expected {expected}")
        if stored != self._digest(name):
            return self.case.fail(
                "image.hash.mismatch",
                f"the {name} of header, payload and protected TLVs is {self._digest(name).hex()[:16]}…, "
                f"expected {stored.hex()[:16]}… by the TLV",
                "the image was changed after signing; sign or transfer it again",
            )
        self.hash_seen = name
        return []

    def _key(self, tlv: TlvAt) -> list[Finding]:
        """The key that the next signature is checked with; one that is not known is no failure by itself."""
        stored = bytes(self.case.data[tlv.offset : tlv.offset + tlv.length])
        if self.case.rules.hardware_key:
            self.key = next((key for key in self.case.keys if key.der == stored), None)
            stored = hashlib.sha256(stored).digest()
        elif self.case.keys:
            if tlv.length > (longest := len(self._key_hash(self.case.keys[0]))):
                because = f"found a KEYHASH of {tlv.length} bytes, expected at most {longest} of {self.hash_name}"
                return self.case.fail("image.key.length", because, "sign with the hash that the bootloader computes")
            self.key = next((key for key in self.case.keys if self._key_hash(key).startswith(stored)), None)
        if self.key is None:
            self.unknown_key = stored
        return []

    def _signature(self, type_: TlvType, tlv: TlvAt) -> list[Finding]:
        key, self.key = self.key, None
        if key is None or key.key_type not in SIGNATURE_KEYS[type_]:
            return []
        size = SIGNATURE_SIZES.get(type_)
        if tlv.length > ECDSA_BUFFER if size is None else tlv.length != size:
            return self.case.fail(
                "image.signature.length",
                f"found a {type_.name} signature of {tlv.length} bytes, expected {size or f'at most {ECDSA_BUFFER}'}",
            )
        signature = bytes(self.case.data[tlv.offset : tlv.offset + tlv.length])
        self.signature = (key, self._accepts(key, signature))
        return []

    def _accepts(self, key: PublicKey, signature: bytes) -> bool:
        if key.key_type.is_ecdsa:
            from bootwright.formats.mcuboot_ecdsa import strict_signature

            try:
                signature = strict_signature(signature, _ECDSA_SIZES[key.key_type])
            except FormatError:
                return False
        if self.pure:
            return key.verify(signature, bytes(self.case.data[: self.case.header.hashed_size]))
        name = self.hash_name or self.hash_seen or key.key_type.hash_name
        return key.verify_digest(signature, self._digest(name))

    def _key_hash(self, key: PublicKey) -> bytes:
        return key.key_hash(self.hash_name or self.hash_seen or key.key_type.hash_name)

    def _digest(self, name: str) -> bytes:
        digests = self.case.digests
        if name not in digests:
            digests[name] = hashlib.new(name, self.case.data[: self.case.header.hashed_size]).digest()
        return digests[name]


def strip_padding(signature: bytes) -> bytes:
    """A DER signature without the zeros that `--pad-sig` appends; MCUboot's parsers stop at the end of the DER."""
    if len(signature) < 2 or signature[1] >= 0x80:
        return signature
    end = signature[1] + 2
    return signature[:end] if not any(signature[end:]) else signature


def _also_allowed(rules: BootRules) -> frozenset[TlvType]:
    pure = {TlvType.SIG_PURE} if rules.pure else set()
    return frozenset(pure | ({TlvType.ENCX25519_SHA512} if rules.encrypted else set()))


def _expected_hash(keys: Sequence[PublicKey]) -> str:
    """The hash that a build with these keys computes; empty where they do not tell: the one that the image carries."""
    names = {key.key_type.hash_name for key in keys}
    return names.pop() if len(names) == 1 else ""


def _is_pure(case: _Case) -> bool:
    """`bootutil_check_for_pure`: the first such TLV decides."""
    marks = (case.data[tlv.offset : tlv.offset + tlv.length] for tlv in _quietly(case) if tlv.type == TlvType.SIG_PURE)
    return next(marks, b"") == b"\x01"


def _quietly(case: _Case) -> Iterator[TlvAt]:
    try:
        yield from walk_tlvs(case.data, case.header)
    except FormatError:
        return


def _magic_because(data: memoryview, header: ImageHeader) -> str:
    expected = f"expected {MAGIC:#010x}"
    if header.magic == int.from_bytes(MAGIC.to_bytes(4, "little"), "big"):
        return f"found a big-endian image, {expected} in little-endian"
    if data[0] == 0xE9:
        return f"found an ESP image (0xE9), {expected}: it was not signed for MCUboot"
    return f"found magic {header.magic:#010x} at offset 0, {expected}"


_SIGN_IT = "sign it with `bootwright image sign`; if it was, check the offset and whether it is encrypted flash"
_NOT_ALLOWED: dict[int, str] = {
    TlvType.SIG_PURE: "the bootloader was built without MCUBOOT_SIGN_PURE; sign without --pure",
}
