"""Making MCUboot images: header, protected TLVs, hash, signature, padding, byte for byte as imgtool makes them.

`draft_image` settles everything that is hashed; `finish_image` adds the TLVs that follow from a signature and pads.
`sign_image` does both with a signer at hand, `attach_signature` with a signature from elsewhere.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from bootwright.errors import FormatError, TrustError
from bootwright.formats.keys import KeyType, NeedsMessageError, PublicKey, Signer
from bootwright.formats.mcuboot_image import (
    HEADER_SIZE,
    MAGIC,
    TLV_INFO_MAGIC,
    TLV_PROT_INFO_MAGIC,
    Endian,
    ImageFlags,
    ImageVersion,
    Tlv,
    TlvType,
    make_header,
    pack_area,
)
from bootwright.formats.mcuboot_trailer import (
    ESPRESSIF_MAX_SECTORS,
    TrailerGeometry,
    UpgradeMode,
    align_up,
    boot_magic,
)

if TYPE_CHECKING:  # encrypted images are rare, and their code is imported with the first
    from bootwright.formats.mcuboot_encrypt import Encryption

Part = bytes | memoryview

SIGNATURE_TLVS = {
    KeyType.RSA_2048: TlvType.RSA2048,
    KeyType.RSA_3072: TlvType.RSA3072,
    KeyType.ECDSA_P256: TlvType.ECDSASIG,
    KeyType.ECDSA_P384: TlvType.ECDSASIG,
    KeyType.ED25519: TlvType.ED25519,
}
#: hashes that imgtool lets go with a key, its default first (image.py ALLOWED_KEY_SHA)
KEY_HASHES = {
    KeyType.RSA_2048: ("sha256",),
    KeyType.RSA_3072: ("sha256",),
    KeyType.ECDSA_P256: ("sha256",),
    KeyType.ECDSA_P384: ("sha384",),
    KeyType.ED25519: ("sha256", "sha512"),
}
HASH_TYPES = {"sha256": TlvType.SHA256, "sha384": TlvType.SHA384, "sha512": TlvType.SHA512}
PADDED_SIGNATURE = {KeyType.ECDSA_P256: 72, KeyType.ECDSA_P384: 103}  # imgtool keys/ecdsa.py sig_len


@dataclass(frozen=True, slots=True)
class Dependency:
    """The image needs another image to have at least this version."""

    image: int
    version: ImageVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class SignOptions:
    """How to make the image. The defaults suit the Espressif port; imgtool's own are align 1 and 128 sectors."""

    version: ImageVersion
    header_size: int = HEADER_SIZE
    pad_header: bool = False  #: put a header before the input; else the input starts with that many zeros
    slot_size: int = 0  #: 0: no limit, and no padding
    align: int = 4  #: write alignment of the flash, which is the size of a swap status entry
    max_align: int | None = None  #: BOOT_MAX_ALIGN of the bootloader; None: the larger of 8 and `align`
    max_sectors: int = ESPRESSIF_MAX_SECTORS
    mode: UpgradeMode = UpgradeMode.SWAP_SCRATCH  #: how the bootloader installs updates: decides what fits
    sector_size: int = 4096
    reserve: int | None = None  #: bytes of the slot's end to leave free; None: what the bootloader's build asks for
    pad: bool = False  #: fill the slot and end with the magic: the image is an upgrade to be tested
    confirm: bool = False  #: also set image_ok: the upgrade is permanent
    erased_val: int = 0xFF
    endian: Endian = "<"
    load_addr: int = 0
    rom_fixed: int = 0
    non_bootable: bool = False
    security_counter: int | None = None
    dependencies: tuple[Dependency, ...] = ()
    boot_record: str | None = None  #: the software type of a measured-boot record
    vid: bytes | None = None  #: vendor UUID
    cid: bytes | None = None  #: image class UUID
    custom_tlvs: tuple[Tlv, ...] = ()  #: protected
    full_public_key: bool = False  #: PUBKEY instead of KEYHASH, for bootloaders whose key is in hardware
    hash_name: str | None = None  #: None: what goes with the key
    pure: bool = False  #: sign the image itself, not its hash (Ed25519 only)
    pad_sig: bool = False  #: zeros to ECDSA's longest DER, for MCUboot before 1.5
    encryption: Encryption | None = None
    save_enctlv: bool = False  #: the bootloader saves the encrypted key TLV in the trailer, not the key
    extra_flags: int = 0  #: further `ImageFlags`
    compression_tlvs: tuple[Tlv, ...] = ()  #: protected; see `bootwright.formats.mcuboot_compress`

    def geometry(self) -> TrailerGeometry:
        """The trailer that these options ask for."""
        offset = self.mode is UpgradeMode.SWAP_OFFSET
        return TrailerGeometry(
            slot_size=self.slot_size,
            max_align=self.trailer_align,
            write_size=self.align,
            max_sectors=self.max_sectors,
            states=2 if offset else 3,
            tlv_sizes_saved=offset,
            key_size=self._saved_key_size(),
        )

    def _saved_key_size(self) -> int:
        if self.encryption is None:
            return 0
        from bootwright.formats.mcuboot_encrypt import tlv_size

        saved = tlv_size(self.encryption) if self.save_enctlv else len(self.encryption.key)
        return align_up(saved, self.trailer_align)

    @property
    def trailer_align(self) -> int:
        """BOOT_MAX_ALIGN of the trailer."""
        return self.max_align or max(8, self.align)

    @property
    def max_image_size(self) -> int:
        """Bytes that header, payload and TLVs may take in the slot."""
        if self.reserve is not None:
            return max(self.slot_size - self.reserve, 0)
        return self.geometry().max_image_size(self.mode, sector_size=self.sector_size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """An image up to its signature: all that is hashed, and the hash."""

    options: SignOptions
    head: bytes  #: the header, up to ih_hdr_size
    payload: Part
    protected: bytes  #: the protected TLV area, empty if there is none
    hash_name: str
    digest: bytes

    @property
    def message(self) -> bytes:
        """The bytes that hash and signature cover."""
        return b"".join((self.head, self.payload, self.protected))


def sign_image(payload: bytes, options: SignOptions, signer: Signer | None) -> bytes:
    """Make an image; without a signer it carries its hash only.

    Raises:
        FormatError: the key cannot sign for MCUboot, the image and its trailer do not fit the slot, or options
            contradict each other.
        TrustError: the signer's signature does not verify with the signer's own public key.
    """
    public = None if signer is None else signer.public
    draft = draft_image(payload, options, public)
    if signer is None:
        return finish_image(draft, None, None)
    return finish_image(draft, signer.public, sign_draft(draft, signer))


def sign_draft(draft: Draft, signer: Signer) -> bytes:
    """The signature of a draft, exactly as MCUboot will check it."""
    if draft.options.pure:
        return signer.sign(draft.message)
    try:
        return signer.sign_digest(draft.digest)
    except NeedsMessageError:
        return signer.sign(draft.message, digest=draft.digest)


def attach_signature(payload: bytes, options: SignOptions, public: PublicKey, signature: bytes) -> bytes:
    """Make an image with a signature that was made elsewhere over the draft of the same input and options.

    Raises:
        TrustError: the signature is not this key's over this draft.
    """
    draft = draft_image(payload, options, public)
    if not accepts(draft, public, signature):
        raise TrustError(
            f"the signature of {len(signature)} bytes is not the {public.key_type} key's over this image",
            "sign the very bytes that `--vector-to-sign` gave, with the same input, version and options",
        )
    return finish_image(draft, public, signature)


def accepts(draft: Draft, public: PublicKey, signature: bytes) -> bool:
    """Say whether a signature is the key's over a draft."""
    if draft.options.pure:
        return public.verify(signature, draft.message)
    return public.verify_digest(signature, draft.digest)


def draft_image(
    payload: bytes, options: SignOptions, public: PublicKey | None, *, hash_name: str | None = None
) -> Draft:
    """Settle everything that is hashed. The public key decides the hash, unless `hash_name` does, and the signer id.

    Raises:
        FormatError: options that contradict each other, the key or the input.
    """
    hash_name = hash_name or image_hash(options, public)
    body = _body(payload, options)
    if options.encryption is not None:
        from bootwright.formats.mcuboot_encrypt import filling

        body = b"".join((body, filling(options.header_size, len(body))))
    protected = _protected_area(options, hash_name, public)
    header = make_header(
        options.version,
        options.endian,
        magic=MAGIC,
        load_addr=options.rom_fixed or options.load_addr,
        hdr_size=options.header_size,
        protect_tlv_size=len(protected),
        img_size=len(body),
        flags=_flags(options),
    ).pack()
    blank = options.erased_val if options.pad_header else 0
    head = header + bytes([blank]) * (options.header_size - len(header))
    digest = hashlib.new(hash_name)
    for part in (head, body, protected):
        digest.update(part)
    return Draft(
        options=options, head=head, payload=body, protected=protected, hash_name=hash_name, digest=digest.digest()
    )


def finish_image(draft: Draft, public: PublicKey | None, signature: bytes | None) -> bytes:
    """Add the TLVs and the padding.

    Raises:
        FormatError: the image and its trailer do not fit the slot.
    """
    parts = image_parts(draft, public, signature)
    size = sum(len(part) for part in parts)
    _check_fits(size, draft.options)
    if draft.options.pad or draft.options.confirm:
        parts = (*parts, padding(size, draft.options))
    return b"".join(parts)


def image_parts(draft: Draft, public: PublicKey | None, signature: bytes | None) -> tuple[Part, ...]:
    """The image without padding, in pieces that need no copying."""
    area = pack_area(TLV_INFO_MAGIC, _unprotected(draft, public, signature), draft.options.endian)
    payload, encryption = draft.payload, draft.options.encryption
    if encryption is not None and not encryption.clear:
        from bootwright.formats.mcuboot_encrypt import apply_keystream

        payload = apply_keystream(encryption.key, payload)
    return draft.head, payload, draft.protected, area


def image_hash(options: SignOptions, public: PublicKey | None) -> str:
    """The hash that goes with the key, or the one that was asked for."""
    if public is None:
        return options.hash_name or "sha256"
    allowed = KEY_HASHES.get(public.key_type)
    if allowed is None:
        raise FormatError(
            f"the key: found {public.key_type}, expected one of {', '.join(KEY_HASHES)}",
            "MCUboot verifies no signature of that kind of key",
        )
    if options.pure:
        if public.key_type is not KeyType.ED25519:
            raise FormatError(f"a pure signature: found a {public.key_type} key, expected ed25519")
        return "sha512"
    if options.hash_name is not None and options.hash_name not in allowed:
        raise FormatError(
            f"the hash of an image signed with {public.key_type}: found {options.hash_name}, "
            f"expected {' or '.join(allowed)}",
            "leave the hash out: the one that goes with the key is taken",
        )
    return options.hash_name or allowed[0]


def padding(size: int, options: SignOptions) -> bytes:
    """What fills the slot behind an image of `size` bytes: erased bytes, image_ok if confirmed, the magic."""
    magic = boot_magic(options.trailer_align, big_endian=options.endian == ">")
    fill = bytearray([options.erased_val]) * (options.slot_size - size - len(magic))
    if options.confirm and options.mode is not UpgradeMode.OVERWRITE_ONLY:
        fill[options.geometry().image_ok - size] = 1
    return bytes(fill) + magic


def _body(payload: bytes, options: SignOptions) -> Part:
    if options.header_size < HEADER_SIZE:
        raise FormatError(f"header size: found {options.header_size}, expected at least {HEADER_SIZE}")
    if options.load_addr and options.rom_fixed:
        raise FormatError("found both a load address and a fixed flash address, expected one", "leave one out")
    if options.pad_header:
        return payload
    if len(payload) < options.header_size:
        raise FormatError(
            f"the input: found {len(payload)} bytes, expected room for a header of {options.header_size} at its start",
            "pass --pad-header to put a header in front of the input",
        )
    if payload.count(0, 0, options.header_size) != options.header_size:
        raise FormatError(
            f"the input: found data in its first {options.header_size} bytes, expected zeros as room for the header",
            "pass --pad-header to put a header in front of the input",
        )
    return memoryview(payload)[options.header_size :]


def _flags(options: SignOptions) -> int:
    flags = ImageFlags(options.extra_flags)
    if options.encryption is not None:
        flags |= options.encryption.flag
    if options.load_addr:
        flags |= ImageFlags.RAM_LOAD
    if options.rom_fixed:
        flags |= ImageFlags.ROM_FIXED
    if options.non_bootable:
        flags |= ImageFlags.NON_BOOTABLE
    return int(flags)


def _protected_area(options: SignOptions, hash_name: str, public: PublicKey | None) -> bytes:
    tlvs: list[Tlv] = []
    order: Literal["little", "big"] = "little" if options.endian == "<" else "big"
    if options.security_counter is not None:
        if not 0 <= options.security_counter < 1 << 32:
            raise FormatError(f"security counter: found {options.security_counter}, expected 0..{(1 << 32) - 1}")
        tlvs.append(own_tlv(TlvType.SEC_CNT, options.security_counter.to_bytes(4, order)))
    if options.boot_record is not None:
        tlvs.append(own_tlv(TlvType.BOOT_RECORD, boot_record(options, hash_name, public)))
    for dependency in options.dependencies:
        if not 0 <= dependency.image <= 0xFF:
            raise FormatError(f"dependency: found image {dependency.image}, expected 0..255")
        version = make_header(dependency.version, options.endian, img_size=0).ver.pack()
        tlvs.append(own_tlv(TlvType.DEPENDENCY, dependency.image.to_bytes(1, order) + bytes(3) + version))
    tlvs += options.compression_tlvs
    if options.vid is not None:
        tlvs.append(own_tlv(TlvType.UUID_VID, options.vid))
    if options.cid is not None:
        tlvs.append(own_tlv(TlvType.UUID_CID, options.cid))
    tlvs += options.custom_tlvs
    return pack_area(TLV_PROT_INFO_MAGIC, tuple(tlvs), options.endian) if tlvs else b""


def own_tlv(type_: TlvType, data: bytes) -> Tlv:
    """One of MCUboot's own TLVs, written as imgtool writes it in either byte order."""
    return Tlv(type_, data, byte_first=True)


def boot_record(options: SignOptions, hash_name: str, public: PublicKey | None) -> bytes:
    """A measured-boot record in CBOR: the bootloader fills in the measurement, which is why it comes last.

    The keys are those of Arm's PSA attestation API 1.0 (imgtool boot_record.py).
    """
    import cbor2

    software = options.boot_record or ""
    if len(software) > 12:
        raise FormatError(f"boot record: found a software type of {len(software)} characters, expected at most 12")
    version = options.version
    return cbor2.dumps(
        {
            1: software,
            4: f"{version.major}.{version.minor}.{version.revision}",
            5: public.key_hash(hash_name) if public is not None else bytes(32),
            6: hash_name.upper(),
            2: bytes(hashlib.new(hash_name).digest_size),
        }
    )


def _unprotected(draft: Draft, public: PublicKey | None, signature: bytes | None) -> tuple[Tlv, ...]:
    options = draft.options
    tlvs = [own_tlv(HASH_TYPES[draft.hash_name], draft.digest)]
    if options.pure:
        tlvs.append(own_tlv(TlvType.SIG_PURE, b"\x01"))
    if public is not None and signature is not None:
        if options.full_public_key:
            tlvs.append(own_tlv(TlvType.PUBKEY, public.der))
        else:
            tlvs.append(own_tlv(TlvType.KEYHASH, public.key_hash(draft.hash_name)))
        if options.pad_sig:
            signature = signature.ljust(PADDED_SIGNATURE.get(public.key_type, 0), b"\x00")
        tlvs.append(own_tlv(SIGNATURE_TLVS[public.key_type], signature))
    if options.encryption is not None and not options.encryption.keyless:
        from bootwright.formats.mcuboot_encrypt import wrap

        tlvs.append(wrap(options.encryption))
    return tuple(tlvs)


def _check_fits(size: int, options: SignOptions) -> None:
    if options.slot_size <= 0:
        if options.pad or options.confirm:
            raise FormatError("padding: found no slot size, expected one to pad to", "give the slot's size")
        return
    if size > options.max_image_size:
        lost = options.slot_size - options.max_image_size
        raise FormatError(
            f"image: found {size:#x} bytes, expected at most {options.max_image_size:#x}: the slot's "
            f"{options.slot_size:#x} less {lost:#x} for the trailer ({options.mode}, {options.max_sectors} sectors, "
            f"alignment {options.align})",
            "make the image smaller or the slots larger; the trailer follows from the bootloader's build",
        )
