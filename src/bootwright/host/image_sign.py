"""Signing an MCUboot image from wishes to a verified result."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from bootwright.errors import FormatError, TrustError
from bootwright.finding import Finding, Verdict, overall, passed
from bootwright.formats.keys import PublicKey, Signer
from bootwright.formats.mcuboot_image import Image
from bootwright.formats.mcuboot_sign import Draft, SignOptions, accepts, draft_image, finish_image, sign_draft
from bootwright.formats.mcuboot_verify import BootRules, strip_padding
from bootwright.host.images import Build, check_image, check_load_header


@dataclass(frozen=True, slots=True, kw_only=True)
class SignJob:
    """What to make of which input. At most one of `signer`, `signature` and `to_sign` is given."""

    payload: bytes
    options: SignOptions
    signer: Signer | None = None
    public: PublicKey | None = None  #: of a signature made elsewhere, or to be made
    signature: bytes | None = None
    compress: str | None = None  #: lzma2 or lzma2-arm-thumb
    to_sign: str | None = None  #: payload or digest: give that instead of an image


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """The result: an image, or the bytes that somebody else is to sign."""

    data: bytes
    findings: tuple[Finding, ...]
    details: dict[str, object] = field(default_factory=dict)

    def as_hex(self, address: int) -> bytes:
        """The bytes as Intel HEX from an address on.

        Raises:
            FormatError: the header would lie in front of address 0.
        """
        if address < 0:
            raise FormatError(
                f"the header: found no room for it in front of the input at {address:#x}, expected an address from 0",
                "move the input, or leave room for the header inside it",
            )
        from bootwright.formats.hexfile import pack_hex

        return pack_hex([(address, self.data)])


def make_image(job: SignJob, build: Build | None, *, subject: str) -> Made:
    """Make the image, and verify it as the bootloader would before anybody sees it.

    Raises:
        FormatError: the input, the options and the key do not go together, or it does not fit the slot.
        TrustError: the signature is not the key's over this image.
    """
    public = job.signer.public if job.signer is not None else job.public
    payload, options, compression = _compressed(job, public)
    draft = draft_image(payload, options, public)
    if job.to_sign is not None:
        return _to_sign(job, draft, subject)
    signature = _signature_over(draft, job, public)
    data = finish_image(draft, public, signature)
    findings = (*compression, *_checked(data, draft, public, build, subject))
    details: dict[str, object] = {"version": str(draft.options.version), "digest": draft.digest.hex()}
    if public is not None:
        details["key"] = {"type": public.key_type.value, "hash": public.key_hash().hex()}
    return Made(data=data, findings=findings, details=details)


def _signature_over(draft: Draft, job: SignJob, public: PublicKey | None) -> bytes | None:
    if job.signer is not None:
        return sign_draft(draft, job.signer)
    if job.signature is None or public is None:
        return None
    signature = strip_padding(job.signature) if public.key_type.is_ecdsa else job.signature
    if not accepts(draft, public, signature):
        raise TrustError(
            f"the signature of {len(job.signature)} bytes is not the {public.key_type} key's "
            f"{public.key_hash().hex()[:16]}… over this image",
            "sign the very bytes that --to-sign gave, with the same input, version and options; "
            "RSA wants PSS with a salt of 32 bytes, ECDSA wants DER",
        )
    return job.signature


def _to_sign(job: SignJob, draft: Draft, subject: str) -> Made:
    data = draft.message if job.to_sign == "payload" else draft.digest
    what = (
        f"{draft.hash_name} of header, payload and protected TLVs" if job.to_sign == "digest" else "the bytes to sign"
    )
    finding = passed("image.to_sign", subject, f"{len(data)} bytes: {what}")
    return Made(data=data, findings=(finding,), details={"digest": draft.digest.hex(), "hash": draft.hash_name})


def _compressed(job: SignJob, public: PublicKey | None) -> tuple[bytes, SignOptions, tuple[Finding, ...]]:
    if job.compress is None:
        return job.payload, job.options, ()
    if job.to_sign is not None or job.signature is not None:
        raise FormatError(
            "compression: found a signature from elsewhere, expected a key: the plain image is signed, too",
            "sign with --key, or without --compress",
        )
    from bootwright.formats.mcuboot_compress import compress_input, plain_options

    plain = draft_image(job.payload, plain_options(job.options), public)
    signature = sign_draft(plain, job.signer) if job.signer is not None else None
    packed = compress_input(plain, job.options, signature, arm_thumb=job.compress == "lzma2-arm-thumb")
    figures = f"{packed.plain_size} bytes, compressed {packed.stream_size}"
    if not packed.smaller:
        because = f"{figures}: that saves nothing, the payload stays plain"
        return job.payload, job.options, (passed("image.compression.useless", "payload", because),)
    return packed.payload, packed.options, (passed("image.compression.used", "payload", figures),)


def _checked(
    data: bytes, draft: Draft, public: PublicKey | None, build: Build | None, subject: str
) -> tuple[Finding, ...]:
    """The bootloader's verdict on what was made; an image that fails its own check is never given out."""
    options = draft.options
    if options.endian == ">" or options.non_bootable:
        return (passed("image.made", subject, f"version {options.version}, {len(data)} bytes"),)
    plain = data
    if options.encryption is not None and not options.encryption.clear:
        parsed = Image.parse(data, where=subject)
        plain = replace(parsed, payload=bytes(draft.payload)).pack()
    rules = BootRules(
        encrypted=True,
        compressed=True,
        pure=options.pure,
        hardware_key=options.full_public_key,
        hash_name=draft.hash_name,
    )
    judged = build and replace(build, loads=False)
    findings = check_image(
        plain, [public] if public else [], build=judged, rules=rules, subject=subject, digests=_digests(plain, draft)
    )
    if overall(findings) is Verdict.FAIL:
        wrong = next(finding for finding in findings if finding.verdict is Verdict.FAIL)
        raise FormatError(f"{subject}: {wrong.because}", wrong.next)
    if build is None or options.compression_tlvs:
        return findings
    loading = check_load_header(plain, build, subject=subject)
    return (*findings, *(replace(finding, verdict=Verdict.WARN) for finding in loading))


def _digests(data: bytes, draft: Draft) -> dict[str, bytes]:
    """The draft's hash, if it is one of these very bytes: comparing is much faster than hashing again."""
    at = 0
    for part in (draft.head, draft.payload, draft.protected):
        if not data.startswith(part, at):
            return {}
        at += len(part)
    return {draft.hash_name: draft.digest}
