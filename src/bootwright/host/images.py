"""Looking at MCUboot images: what is in them, whether they fit a bootloader's slots, what must not be signed again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bootwright.errors import FormatError, RefusedError
from bootwright.finding import Finding, Verdict, failed, passed, warned
from bootwright.formats.keys import KeyType, PrivateKey, PublicKey
from bootwright.formats.mcuboot_image import (
    COMPRESSED,
    ENCRYPTED,
    HASH_TLVS,
    Image,
    ImageFlags,
    TlvType,
    endian_of,
    parse_header,
)
from bootwright.formats.mcuboot_sign import SIGNATURE_TLVS
from bootwright.formats.mcuboot_trailer import (
    ESPRESSIF_MAX_SECTORS,
    MAGIC_SIZE,
    TrailerGeometry,
    UpgradeMode,
    align_of_magic,
    espressif_geometry,
)
from bootwright.formats.mcuboot_verify import BootRules, verify_image
from bootwright.host.files import read_bytes, read_text
from bootwright.host.keys import is_file, load_private, load_public, shown

if TYPE_CHECKING:
    from bootwright.formats.mcuboot_encrypt import WrappingKey

SECTOR_SIZE = 4096
SIGNATURE_BLOCK_MAGIC = 0xE7  # esp_secure_boot_signatures.h ETS_SECURE_BOOT_V2_SIGNATURE_MAGIC; looked at before more
_OVERSIZED = {
    UpgradeMode.SWAP_SCRATCH: "in the primary slot it crashes the bootloader before any check",
    UpgradeMode.SWAP_MOVE: "in the primary slot it leaves the device without a bootable image",
    UpgradeMode.SWAP_OFFSET: "in the primary slot it leaves the device without a bootable image",
    UpgradeMode.OVERWRITE_ONLY: "in the primary slot it leaves the device without a bootable image",
}


_NOT_CIPHERTEXT = ("flash.plaintext", "flash.erased", "flash.unknown", "flash.ciphertext.esp32")


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """What of a bootloader's build decides whether an image fits: the Espressif port's figures."""

    slot_size: int
    mode: UpgradeMode = UpgradeMode.SWAP_SCRATCH
    flash_encryption: bool = False  #: CONFIG_SECURE_FLASH_ENC_ENABLED
    loads: bool = False  #: the Espressif port's loader follows: the image needs its load header
    signature: str | None = None  #: the key type that it verifies; empty: none, the hash alone; None: not known
    security_counter: bool = False  #: updates are refused unless their security counter suffices

    @classmethod
    def from_conf(cls, paths: Sequence[Path]) -> Build:
        """The build that `bootloader.conf` files describe; later files override earlier ones.

        Raises:
            FormatError: a file is missing or says nothing about slots, or the mode has no update slot.
        """
        from bootwright.formats.bootloader_conf import BootloaderConf

        conf = BootloaderConf.parse(read_text(paths[0], what="bootloader.conf"), where=str(paths[0]))
        for path in paths[1:]:
            conf = conf.then(read_text(path, what="bootloader.conf"), where=str(path))
        if conf.mode.value not in {mode.value for mode in UpgradeMode}:
            raise FormatError(
                f"{paths[-1]}: found the mode {conf.mode}, expected scratch, move, offset or overwrite",
                "the port does not support that mode; `bootwright config lint` says more",
            )
        primary, _ = conf.slots()
        return cls(
            slot_size=primary.size,
            mode=UpgradeMode(conf.mode.value),
            flash_encryption=conf.flash_encryption,
            loads=True,
            signature=conf.signature or "",
            security_counter=conf.defined("CONFIG_ESP_DOWNGRADE_PREVENTION")
            and conf.defined("CONFIG_ESP_DOWNGRADE_PREVENTION_SECURITY_COUNTER"),
        )

    @property
    def geometry(self) -> TrailerGeometry:
        """The trailer once the encryption fuse is burned, which is the larger one."""
        plain = espressif_geometry(self.slot_size, flash_encryption=self.flash_encryption)
        offset = self.mode is UpgradeMode.SWAP_OFFSET
        return replace(plain, states=2, tlv_sizes_saved=True) if offset else plain

    @property
    def max_image_size(self) -> int:
        """Bytes that header, payload and all TLVs may take."""
        return self.geometry.max_image_size(self.mode)


def load_image(path: Path) -> bytes:
    """The bytes of an image file, binary or, by its extension, Intel HEX.

    Raises:
        FormatError: missing, empty, or no Intel HEX.
    """
    data = read_bytes(path, what="image")
    if path.suffix.lower() != ".hex":
        return data
    from bootwright.formats.hexfile import flatten, parse_hex

    return flatten(parse_hex(data, where=str(path)), where=str(path))


def image_size(data: bytes, *, where: str) -> int:
    """Bytes from the header to the end of the TLVs.

    Raises:
        FormatError: no whole image.
    """
    image = Image.parse(data, where=where)
    return len(data) - len(image.rest)


def fits(size: int, build: Build, *, subject: str) -> tuple[Finding, ...]:
    """Say whether an image of `size` bytes fits the build's slots, to the byte."""
    sectors = -(-build.slot_size // SECTOR_SIZE)
    if sectors > ESPRESSIF_MAX_SECTORS:
        return (
            failed(
                "image.slot.too_many_sectors",
                subject,
                f"the slots of {build.slot_size:#x} bytes take {sectors} sectors, "
                f"expected at most {ESPRESSIF_MAX_SECTORS}: more overrun an array of the port before any check",
                f"make the slots at most {ESPRESSIF_MAX_SECTORS * SECTOR_SIZE:#x} bytes",
            ),
        )
    limit, how = build.max_image_size, _how(build)
    if size > limit:
        return (
            failed(
                "image.slot.too_large",
                subject,
                f"it takes {size} bytes with its TLVs, expected at most {limit} ({how}); {_OVERSIZED[build.mode]}",
                "make the image smaller or the slots larger",
            ),
        )
    return (passed("image.slot.fits", subject, f"{size} bytes with its TLVs, {limit - size} are left ({how})"),)


def _how(build: Build) -> str:
    encryption = ", flash encryption" if build.flash_encryption else ""
    return f"slot of {build.slot_size:#x}, {build.mode}{encryption}, {ESPRESSIF_MAX_SECTORS} sectors"


def check_trailer(data: bytes, build: Build, *, subject: str) -> tuple[Finding, ...]:
    """Say whether a padded image asks for its update in a way that the build will see."""
    image = Image.parse(data, where=subject)
    found = align_of_magic(image.rest[-MAGIC_SIZE:])
    if found is None:
        return ()
    if len(data) != build.slot_size:
        return (
            failed(
                "image.trailer.misplaced",
                subject,
                f"it is padded to {len(data):#x} bytes, expected the slot's {build.slot_size:#x}: "
                "the trailer would not lie at the slot's end",
                "sign again with the slot's size",
            ),
        )
    align = build.geometry.max_align
    if found != align:
        return (
            failed(
                "image.trailer.alignment",
                subject,
                f"its trailer is made for an alignment of {found}, expected {align}: "
                "this build reads the magic as BAD and never starts the update",
                f"sign again with --align {32 if align == 32 else 4}",
            ),
        )
    return (passed("image.trailer.good", subject, f"the trailer's magic is the one for an alignment of {align}"),)


def check_image(
    data: bytes,
    keys: Sequence[PublicKey],
    *,
    build: Build | None = None,
    rules: BootRules | None = None,
    subject: str = "image",
    digests: Mapping[str, bytes] | None = None,
) -> tuple[Finding, ...]:
    """Everything that speaks for or against an image: MCUboot's checks, then the fit and the trailer.

    `digests` as for `verify_image`.
    """
    rules = rules or BootRules()
    if build is not None:
        rules = replace(rules, slot_size=build.slot_size)
    findings = verify_image(data, keys, rules=rules, subject=subject, digests=digests)
    if build is None:
        return findings
    try:
        size = image_size(data, where=subject)
    except FormatError:
        return findings
    fit, trailer = fits(size, build, subject=subject), check_trailer(data, build, subject=subject)
    return (
        *findings,
        *check_trust(Image.parse(data), keys, build, subject=subject),
        *fit,
        *trailer,
        *check_load_header(data, build, subject=subject),
    )


def check_trust(image: Image, keys: Sequence[PublicKey], build: Build, *, subject: str) -> tuple[Finding, ...]:
    """Whether the build asks for what the image carries; good news is left out."""
    found: list[Finding] = []
    if build.signature == "":
        because = "the bootloader is built without CONFIG_ESP_SIGN_…: it runs any image whose hash is right"
        found.append(warned("image.build.unsigned", subject, because, "choose a signature in the bootloader.conf"))
    elif build.signature is not None:
        wanted = KeyType(build.signature)
        others = sorted({str(key.key_type) for key in keys})
        if keys and wanted not in others:
            because = f"the bootloader verifies {wanted} signatures only, the key given is {' and '.join(others)}"
            found.append(failed("image.build.key_type", subject, because, "sign with a key of the bootloader's type"))
        elif not image.find(SIGNATURE_TLVS[wanted]):
            because = f"found no {wanted} signature, expected one: the bootloader verifies it"
            found.append(failed("image.build.signature", subject, because, f"sign with the {wanted} key"))
    if build.security_counter and build.mode is not UpgradeMode.OVERWRITE_ONLY and not image.find(TlvType.SEC_CNT):
        because = "found no security counter: as an update it is refused once the running image has one"
        found.append(warned("image.build.security_counter", subject, because, "sign with --security-counter"))
    return tuple(found)


def check_load_header(data: bytes, build: Build, *, subject: str) -> tuple[Finding, ...]:
    """What the port's loader will make of the application once MCUboot has accepted it; good news is left out."""
    if not build.loads:
        return ()
    from bootwright.formats.load_header import verify_load_header

    header = parse_header(data, where=subject)
    found = verify_load_header(data.ljust(build.slot_size, b"\xff"), header.hdr_size, subject=subject)
    return tuple(finding for finding in found if finding.verdict is not Verdict.PASS)


def check_plain_input(data: bytes, *, subject: str, flash_key: bytes | None = None, address: int = 0) -> None:
    """Refuse to sign what is already signed or encrypted: by its structure, or by what a flash key makes of it.

    Raises:
        RefusedError: it is an MCUboot image, an encrypted one, carries a Secure Boot signature, or opens with the
            flash-encryption key.
    """
    hint = "sign the plain application; --again insists"
    if endian_of(data) is not None:
        header = parse_header(data, where=subject)
        encrypted = " and encrypted" if ImageFlags(header.flags) & ENCRYPTED else ""
        raise RefusedError(
            f"{subject}: found an MCUboot image of version {header.ver}, signed{encrypted} already, "
            "expected an application that is not",
            hint,
        )
    if (signatures := _secure_boot_signatures(data)) > 0:
        raise RefusedError(
            f"{subject}: found {signatures} Secure Boot signature block{'s' * (signatures > 1)} at its end, "
            "expected an application that is not signed: MCUboot checks its own signature of the application",
            hint,
        )
    if flash_key is not None and (story := ciphertext_story(data, flash_key, address)):
        raise RefusedError(f"{subject}: {story}; expected plaintext", "sign first, encrypt last; --again insists")


def _secure_boot_signatures(data: bytes) -> int:
    """How many valid signature blocks of the ROM's Secure Boot lie in the last sector."""
    if len(data) <= SECTOR_SIZE or len(data) % SECTOR_SIZE or data[-SECTOR_SIZE] != SIGNATURE_BLOCK_MAGIC:
        return 0
    from bootwright.formats.esp_secure_boot import find_signature_blocks

    return len(find_signature_blocks(data))


def ciphertext_story(data: bytes, flash_key: bytes, address: int) -> str:
    """How the data came to be ciphertext of a flash-encryption key; empty if they are not its ciphertext."""
    from bootwright.formats.esp_flash_detect import Key, detect

    first = detect(data, [Key("the given key", flash_key)], address=address)[0]
    return "" if first.code in _NOT_CIPHERTEXT else first.because


def any_build(data: bytes) -> BootRules:
    """Rules of the build that the image was made for, by its own TLVs."""
    rules = BootRules(encrypted=True, compressed=True)
    try:
        image = Image.parse(data)
    except FormatError:
        return rules
    hashes = [HASH_TLVS[TlvType(tlv.type)] for tlv in image.unprotected if tlv.type in HASH_TLVS]
    return replace(
        rules,
        pure=bool(image.find(TlvType.SIG_PURE)),
        hardware_key=bool(image.find(TlvType.PUBKEY)),
        hash_name=hashes[0] if hashes else None,
    )


def signers(data: bytes, keys: Sequence[tuple[str, PublicKey]], *, subject: str) -> tuple[Finding, ...]:
    """For each key whether it signed the image: a finding a key, pass or fail."""
    found: list[Finding] = []
    rules = any_build(data)
    for name, key in keys:
        last = verify_image(data, [key], subject=subject, rules=rules)[-1]
        words = f"{shown(name)} ({key.key_type} {key.key_hash().hex()[:16]}…)"
        if last.code == "image.signature.valid":
            found.append(passed("image.signed_by", subject, f"signed by {words}"))
        else:
            found.append(warned("image.not_signed_by", subject, f"not by {words}: {last.because}"))
    if not any(finding.code == "image.signed_by" for finding in found):
        found.append(failed("image.signed_by_none", subject, f"none of {len(keys)} keys signed it", "try other keys"))
    return tuple(found)


def load_decryption_key(path: str) -> PrivateKey | WrappingKey:
    """A private key, or for AES-KW the wrapping key, from a file."""
    from bootwright.formats.mcuboot_encrypt import WrappingKey

    if not is_file(path):
        return load_private(path)
    data = read_bytes(Path(path), what="key file", limit=64 << 10)
    return load_private(path) if _is_key_pair(data) else WrappingKey.load(data, where=path)


def load_recipient(path: str) -> PublicKey | WrappingKey:
    """Whom to encrypt for: a public key, or for AES-KW the wrapping key, from a file."""
    from bootwright.formats.mcuboot_encrypt import WrappingKey

    if not is_file(path):
        return load_public(path)
    data = read_bytes(Path(path), what="key file", limit=64 << 10)
    return load_public(path) if _is_key_pair(data) else WrappingKey.load(data, where=path)


def _is_key_pair(data: bytes) -> bool:
    return b"-----BEGIN " in data or (data[:1] == b"\x30" and len(data) > 40)


def decrypted(data: bytes, key: PrivateKey | WrappingKey, *, where: str) -> Image:
    """An encrypted image with its payload in plain, its hash checked."""
    from bootwright.formats.mcuboot_encrypt import decrypt_image

    return decrypt_image(Image.parse(data, where=where), key)


def application(image: Image) -> bytes:
    """The payload of a decrypted image, decompressed if it is compressed.

    Raises:
        FormatError: the compressed stream is damaged.
    """
    if not ImageFlags(image.header.flags) & COMPRESSED:
        return image.payload
    from bootwright.formats.mcuboot_compress import decompress_payload

    return decompress_payload(image)
