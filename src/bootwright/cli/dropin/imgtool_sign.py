"""imgtool's sign command: each step, and what it refuses, in imgtool's order."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from bootwright.cli.dropin.imgtool import Failure, Usage, is_hex, say, warn
from bootwright.cli.dropin.imgtool_load import is_provider, load_key, public_of
from bootwright.cli.dropin.imgtool_output import check_trailer, output, size_of
from bootwright.formats.keys import KeyType, PrivateKey, PublicKey, Signer
from bootwright.formats.mcuboot_image import (
    VENDOR_TLV_MAX,
    VENDOR_TLV_MIN,
    ImageVersion,
    Tlv,
    endian_of,
)
from bootwright.formats.mcuboot_sign import (
    PADDED_SIGNATURE,
    Draft,
    Part,
    SignOptions,
    accepts,
    draft_image,
    image_parts,
    sign_draft,
)
from bootwright.formats.mcuboot_trailer import IMGTOOL_MAX_SECTORS, UpgradeMode

if TYPE_CHECKING:
    pass

#: hashes that imgtool lets go with a key, its default first (image.py ALLOWED_KEY_SHA)
_HASHES = {
    KeyType.RSA_2048: ("sha256",),
    KeyType.RSA_3072: ("sha256",),
    KeyType.ECDSA_P256: ("sha256",),
    KeyType.ECDSA_P384: ("sha384",),
    KeyType.ED25519: ("sha256", "sha512"),
    KeyType.X25519: ("sha256", "sha512"),
}
#: imgtool's words for a kind of key (keys/*.py sig_type)
_SIGNATURES = {
    KeyType.RSA_2048: "PKCS1_PSS_RSA2048_SHA256",
    KeyType.RSA_3072: "PKCS1_PSS_RSA3072_SHA256",
    KeyType.ECDSA_P256: "ECDSA256_SHA256",
    KeyType.ECDSA_P384: "ECDSA384_SHA384",
    KeyType.ED25519: "ED25519",
    KeyType.X25519: "X25519",
}
_UNPADDED = (KeyType.ED25519, KeyType.X25519)  #: imgtool hands these the digest, and every other kind the payload


@dataclass(frozen=True, slots=True)
class _Input:
    payload: bytes
    address: int | None  #: of the payload with its header, where the file tells


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """Who signs, or whose signature it is, and for whom it is encrypted."""

    signer: Signer | None
    recipient: PublicKey | None
    custom: tuple[Tlv, ...]
    fixed: bytes | None
    fixed_key: PrivateKey | PublicKey | None
    hash_name: str | None  #: the one that was asked for

    @property
    def public(self) -> PublicKey | None:
        """The key that decides the hash."""
        if self.signer is not None:
            return self.signer.public
        return None if self.fixed_key is None else public_of(self.fixed_key)


@dataclass(frozen=True, slots=True)
class _Made:
    parts: tuple[Part, ...]
    signature: bytes | None


def sign(given: dict[str, Any]) -> None:
    """Make the image that the options ask for, and write it."""
    if given["load_addr"] and given["rom_fixed"]:
        raise Usage("Can not set rom_fixed and load_addr at the same time")
    source = _read_input(given["infile"], given)
    job = _job(given)
    if given["pure"] and job.hash_name:
        raise Usage("Pure signatures, currently, enforces preferred hash algorithm, and forbids sha selection by user.")
    made, options = _make(source.payload, job, given)
    parts = output(given["outfile"], made.parts, source.address, options, given)
    if given["sig_out"] and made.signature is None:
        raise Failure("there is no signature to write to --sig-out: the image was not signed")
    from pathlib import Path

    from bootwright.host.files import check_place, write_file

    if given["sig_out"]:
        check_place(Path(given["sig_out"]))
    write_file(Path(given["outfile"]), *parts)
    if given["sig_out"] and made.signature is not None:
        write_file(Path(given["sig_out"]), base64.b64encode(made.signature))


def _read_input(infile: str, given: dict[str, Any]) -> _Input:
    address = None
    try:
        with open(infile, "rb") as file:
            data = file.read()
    except FileNotFoundError:
        raise Usage("Input file not found") from None
    header_size = given["header_size"]
    if is_hex(infile):
        from bootwright.formats.hexfile import flatten, parse_hex

        segments = parse_hex(data, where=infile)
        data, address = flatten(segments, where=infile), segments[0][0] if segments else None
        if address and given["pad_header"]:
            address -= header_size
    if not given["pad_header"] and any(data[:header_size]):
        raise Usage("Header padding was not requested and image does not start with zeros")
    if given["pad_header"] and endian_of(data) is not None:
        warn(f"{infile} is an MCUboot image already: the result has a header inside its payload")
    return _Input(data, address)


def _job(given: dict[str, Any]) -> _Job:
    signer = _signer(given["key"]) if given["key"] else None
    recipient = _recipient(given["encrypt"], signer) if given["encrypt"] else None
    custom: tuple[Tlv, ...] = ()
    if given["custom_tlv"] or given["custom_tlv_file"]:
        from bootwright.cli.dropin.imgtool_tlvs import custom_tlvs

        custom = custom_tlvs(given)
    fixed, fixed_key = _fixed(given)
    hash_name = None if given["user_sha"] == "auto" else f"sha{given['user_sha']}"
    return _Job(
        signer=signer, recipient=recipient, custom=custom, fixed=fixed, fixed_key=fixed_key, hash_name=hash_name
    )


def _signer(source: str) -> Signer:
    if is_provider(source):
        from bootwright.host.keys import load_signer

        return load_signer(source)
    key = load_key(source)
    if isinstance(key, PublicKey):
        raise Usage("Cannot sign with a public-only PEM; signing requires the private key.")
    return key


def _recipient(path: str, signer: Signer | None) -> PublicKey:
    recipient = public_of(load_key(path))
    if signer is not None and signer.key_type not in _UNPADDED:
        same = recipient.key_type is signer.key_type or (recipient.key_type.is_rsa and signer.key_type.is_rsa)
        if not same:
            raise Usage("Signing and encryption must use the same type of key")
    return recipient


def _fixed(given: dict[str, Any]) -> tuple[bytes | None, PrivateKey | PublicKey | None]:
    if not given["fix_sig"]:
        if given["fix_sig_pubkey"]:
            warn("--fix-sig-pubkey has no effect without --fix-sig: the hash is the default one")
        return None, None
    with open(given["fix_sig"], "rb") as file:
        text = file.read()
    try:
        fixed = base64.b64decode(text)
    except binascii.Error:
        raise Failure(f"{given['fix_sig']}: found {len(text)} bytes, expected a signature in base64") from None
    if given["fix_sig_pubkey"] is None:
        raise Usage("public key of the fixed signature is not specified")
    return fixed, load_key(given["fix_sig_pubkey"])


def _make(payload: bytes, job: _Job, given: dict[str, Any]) -> tuple[_Made, SignOptions]:
    hash_name = _begin(job, given)
    options = _options(job, given)
    if given["compression"] == "disabled":
        options = _encrypted(options, job, given)
        return _create(payload, options, job, given, hash_name), options
    from bootwright.formats.mcuboot_compress import compress_input, plain_options

    wanted = _encrypted(options, job, given)
    inner = plain_options(wanted)
    plain = _create(payload, inner, job, given, hash_name)
    draft = draft_image(payload, inner, job.public, hash_name=hash_name)
    packed = compress_input(
        draft,
        replace(wanted, non_bootable=False),  # imgtool drops the flag here
        plain.signature,
        arm_thumb=given["compression"] == "lzma2armthumb",
    )
    say(f"compressed image size: {packed.stream_size} bytes")
    say(f"original image size: {packed.plain_size} bytes")
    if not packed.smaller:
        if job.recipient is not None:
            warn("compressing saves nothing, and imgtool leaves such an image flagged as encrypted, plain and keyless")
        return plain, inner
    _begin(job, given)
    return _create(packed.payload, packed.options, job, given, hash_name), packed.options


def _begin(job: _Job, given: dict[str, Any]) -> str:
    """What `Image.create` looks at first; the hash."""
    hash_name = _hash(job, given)
    fixed = job.fixed_key if job.signer is None else None
    if isinstance(fixed, PrivateKey) and fixed.key_type not in _UNPADDED:
        say("image.py: sign the payload")
    if given["boot_record"] is not None and len(given["boot_record"]) > 12:
        raise Usage(
            f"'{given['boot_record']}' is too long ({len(given['boot_record'])} characters) for sw_type. "
            "Its maximum allowed length is 12 characters."
        )
    return hash_name


def _hash(job: _Job, given: dict[str, Any]) -> str:
    public = job.public
    if public is None:
        return job.hash_name or "sha256"
    allowed = _HASHES.get(public.key_type, ())
    from_private = job.signer is not None or isinstance(job.fixed_key, PrivateKey)
    if not from_private and public.key_type is KeyType.ECDSA_P256:
        allowed = ("sha256", "sha512")
    if given["pure"]:
        allowed = ("sha512",) if from_private and public.key_type is KeyType.ED25519 else ()
    elif not from_private and public.key_type is KeyType.X25519:
        allowed = ()
    if not allowed:
        half = "" if from_private else "the public half of "
        raise Usage(
            f"Could not find allowed hash algorithms for {half}{public.key_type}{' with --pure' * given['pure']}"
        )
    if job.hash_name is not None and job.hash_name not in allowed:
        raise Usage(
            f"Key {_SIGNATURES[public.key_type]} can not be used with --sha {given['user_sha']}; "
            f"allowed sha are one of {[name.removeprefix('sha') for name in allowed]}"
        )
    return job.hash_name or allowed[0]


def _options(job: _Job, given: dict[str, Any]) -> SignOptions:
    version: ImageVersion = given["version"]
    counter = given["security_counter"]
    if counter == "auto":
        counter = (version.major << 24) + (version.minor << 16) + version.revision
    vid = cid = None
    if given["vid"] is not None or given["cid"] is not None:
        from bootwright.cli.dropin.imgtool_tlvs import image_class, vendor

        vid = vendor(given["vid"])
        cid = image_class(vid, given["cid"])
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
        dependencies=given["dependencies"] or (),
        boot_record=given["boot_record"],
        vid=vid,
        cid=cid,
        custom_tlvs=job.custom,
        full_public_key=given["public_key_format"] == "full",
        hash_name=job.hash_name,
        pure=given["pure"],
        pad_sig=given["pad_sig"] and job.signer is not None,
        save_enctlv=given["save_enctlv"],
    )


def _encrypted(options: SignOptions, job: _Job, given: dict[str, Any]) -> SignOptions:
    if job.recipient is None:
        return options
    from bootwright.cli.dropin.imgtool_encrypt import encryption_for

    return replace(options, encryption=encryption_for(job.recipient, given))


def _create(payload: bytes, options: SignOptions, job: _Job, given: dict[str, Any], hash_name: str) -> _Made:
    draft = _draft(payload, options, job.public, hash_name)
    if given["vector_to_sign"] is not None:
        say(f"image.py: export {given['vector_to_sign']}")
        return _Made((draft.message if given["vector_to_sign"] == "payload" else draft.digest,), None)
    signature = job.fixed
    if job.signer is not None:
        if job.fixed is not None:
            raise Usage("Can not sign using key and provide fixed-signature at the same time")
        signature = _signature(draft, job.signer, options)
    elif signature is not None and job.public is not None:
        _check_fixed(draft, job.public, signature)
    if options.encryption is not None:
        from bootwright.cli.dropin.imgtool_encrypt import check_hmac

        check_hmac(options.encryption, given)
    parts = image_parts(draft, job.public, signature)
    check_trailer(size_of(parts), options, given)
    return _Made(parts, signature)


def _draft(payload: bytes, options: SignOptions, public: PublicKey | None, hash_name: str) -> Draft:
    """Custom TLVs of types that are no vendor's are refused when everything else is known to fit."""
    if all(VENDOR_TLV_MIN <= tlv.type <= VENDOR_TLV_MAX for tlv in options.custom_tlvs):
        return draft_image(payload, options, public, hash_name=hash_name)
    from bootwright.cli.dropin.imgtool_tlvs import check_vendor_types

    allowed = tuple(replace(tlv, type=VENDOR_TLV_MIN) for tlv in options.custom_tlvs)
    draft = draft_image(payload, replace(options, custom_tlvs=allowed), public, hash_name=hash_name)
    check_vendor_types(options.custom_tlvs)
    return draft


def _signature(draft: Draft, signer: Signer, options: SignOptions) -> bytes:
    say(f"image.py: sign the {'digest' if signer.key_type in _UNPADDED else 'payload'}")
    signature = sign_draft(draft, signer)
    return signature.ljust(PADDED_SIGNATURE.get(signer.key_type, 0), b"\x00") if options.pad_sig else signature


def _check_fixed(draft: Draft, public: PublicKey, signature: bytes) -> None:
    from bootwright.formats.mcuboot_verify import strip_padding

    if public.key_type is KeyType.X25519:
        raise Failure("the fixed signature: found an x25519 key for it, expected one that signs")
    if not accepts(draft, public, strip_padding(signature) if public.key_type.is_ecdsa else signature):
        warn(f"the fixed signature is not the {public.key_type} key's over this image: no bootloader will accept it")
