"""imgtool's commands that look at images: verify, dumpinfo, version."""

from __future__ import annotations

import hashlib
import struct
import sys
from dataclasses import dataclass
from pathlib import Path

import click

from bootwright.cli.dropin.imgtool import FOLLOWS, Failure, is_hex, warn
from bootwright.cli.dropin.imgtool_load import load_key, public_of
from bootwright.formats.hexfile import flatten, parse_hex
from bootwright.formats.keys import KeyType, PrivateKey, PublicKey
from bootwright.formats.mcuboot_image import (
    HASH_TLVS,
    MAGIC,
    TLV_INFO_MAGIC,
    TLV_PROT_INFO_MAGIC,
    TlvType,
)
from bootwright.formats.mcuboot_sign import SIGNATURE_TLVS
from bootwright.formats.mcuboot_verify import strip_padding

MAGIC_MISSING = "Invalid image magic; is this an MCUboot image?"
INFO_MISSING = "Invalid TLV info magic; is this an MCUboot image?"
HASH_WRONG = "Image has an invalid hash"
SIGNATURE_MISSING = "No signature found for the given key"
KEY_MISMATCH = "Key type does not match TLV record"


def read_image(path: str, missing: str) -> bytes:
    """A file's bytes; Intel HEX by extension."""
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise click.UsageError(missing) from None
    return flatten(parse_hex(data, where=path), where=path) if is_hex(path) else data


@click.command()
def version() -> None:
    """Show the version of imgtool whose behaviour this follows."""
    click.echo(FOLLOWS)


@dataclass(frozen=True, slots=True)
class _Verified:
    version: tuple[int, int, int, int]
    digest: bytes | None = None
    signature: bytes | None = None


class _Refused(Exception):  # noqa: N818 - an answer, no error
    pass


@click.command()
@click.argument("imgfile")
@click.option("-k", "--key", metavar="filename", help="The public or private key.")
def verify(key: str | None, imgfile: str) -> int:
    """Check an image's hash, and with a key that one of its signatures is the key's."""
    loaded = load_key(key) if key else None
    data = read_image(imgfile, f"Image file {imgfile} not found")
    try:
        found = _verify(data, loaded)
    except _Refused as reason:
        click.echo(str(reason))
        return 1
    except struct.error:
        raise Failure(f"{imgfile} is truncated: an MCUboot image ends with its TLV area") from None
    click.echo("Image was correctly validated")
    click.echo("Image version: {}.{}.{}+{}".format(*found.version))
    if found.digest is not None:
        click.echo(f"Image digest: {found.digest.hex()}")
    elif found.signature is not None:
        click.echo(f"Image signature over image: {found.signature.hex()}")
    return 0


def _verify(data: bytes, key: PrivateKey | PublicKey | None) -> _Verified:
    """imgtool's own rules: KEYHASH is not looked at, the first good signature of the key's type decides."""
    magic, _, hdr_size, _, img_size = struct.unpack_from("<IIHHI", data)
    version = struct.unpack_from("<BBHI", data, 20)
    if magic != MAGIC:
        raise _Refused(MAGIC_MISSING)
    at = hdr_size + img_size
    magic, total = struct.unpack_from("<HH", data, at)
    if magic == TLV_PROT_INFO_MAGIC:
        at += total
        magic, total = struct.unpack_from("<HH", data, at)
    if magic != TLV_INFO_MAGIC:
        raise _Refused(INFO_MISSING)
    entries = _entries(data, at + 4, at + total)
    covered = memoryview(data)[:at]
    pure = any(type_ == TlvType.SIG_PURE for type_, _ in entries)
    digest: bytes | None = None
    for type_, value in entries:
        if type_ in HASH_TLVS:
            name = HASH_TLVS[TlvType(type_)]
            if key is not None and name not in _hashes(key):
                raise _Refused(KEY_MISMATCH)
            digest = hashlib.new(name, covered).digest()
            if digest != value:
                raise _Refused(HASH_WRONG)
            if key is None:
                return _Verified(version, digest)
        elif key is not None and pure:
            if type_ == TlvType.ED25519 and public_of(key).verify(value, covered):
                return _Verified(version, None, value)
        elif key is not None and type_ == SIGNATURE_TLVS.get(key.key_type):
            if type_ == TlvType.ECDSASIG:
                value = strip_padding(value)
            if _signed(public_of(key), value, covered, digest):
                return _Verified(version, digest)
    raise _Refused(SIGNATURE_MISSING)


def _signed(key: PublicKey, signature: bytes, covered: memoryview, digest: bytes | None) -> bool:
    if key.key_type is KeyType.ED25519:
        return digest is not None and key.verify_digest(signature, digest)
    return key.verify(signature, covered)


def _hashes(key: PrivateKey | PublicKey) -> tuple[str, ...]:
    """The hashes that imgtool lets go with a key (image.py ALLOWED_KEY_SHA)."""
    if key.key_type in (KeyType.ED25519, KeyType.X25519):
        return "sha256", "sha512"
    if key.key_type is KeyType.ECDSA_P256 and isinstance(key, PublicKey):
        return "sha256", "sha512"
    return (key.key_type.hash_name,)


def _entries(data: bytes, at: int, end: int) -> list[tuple[int, bytes]]:
    entries: list[tuple[int, bytes]] = []
    while at < end:
        type_, length = struct.unpack_from("<HH", data, at)
        entries.append((type_, data[at + 4 : at + 4 + length]))
        at += 4 + length
    return entries


@click.command()
@click.argument("imgfile")
@click.option("-o", "--outfile", metavar="filename", help="Write there instead of to stdout.")
@click.option(
    "-f",
    "--format",
    "shape",
    type=click.Choice(["human", "yaml", "json"]),
    help="human (the default on stdout), yaml (the default for a file) or json.",
)
@click.option("-s", "--silent", is_flag=True, help="Has no effect, as in imgtool.")
def dumpinfo(imgfile: str, outfile: str | None, shape: str | None, silent: bool) -> None:
    """Show header, TLVs and trailer of an image."""
    from bootwright.cli.dropin.imgtool_dump import WRITERS, read_info

    del silent
    data = read_image(imgfile, f"Image file not found ({imgfile})")
    try:
        info, trailer_known = read_info(Path(imgfile).name, data)
    except (struct.error, IndexError):
        raise Failure(f"{imgfile} is no whole MCUboot image: its header and TLVs lead beyond its end") from None
    if not trailer_known:
        click.echo("Warning: the trailer magic value is invalid!")
    if data[:4] != MAGIC.to_bytes(4, "little"):
        warn(f"{imgfile} does not start with the MCUboot magic {MAGIC:#x}")
    text = WRITERS[shape or ("yaml" if outfile else "human")](info)
    if outfile:
        from bootwright.host.files import write_file

        write_file(Path(outfile), text.encode())
        return
    sys.stdout.write(text if text.endswith("\n") else text + "\n")
