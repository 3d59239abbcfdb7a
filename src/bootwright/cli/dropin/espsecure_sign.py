"""espsecure's signing commands."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bootwright.cli.dropin.espsecure import EatAll, Fatal, Sentence, say, warn
from bootwright.cli.dropin.espsecure_files import (
    file_name,
    key_name,
    public_key,
    read,
    refuse_overwriting,
    signer,
    write,
)
from bootwright.cli.dropin.espsecure_key_words import any_v2, private_v1, private_v2, public_v1

if TYPE_CHECKING:
    from bootwright.formats.esp_secure_boot import SignatureBlock
    from bootwright.formats.keys import PublicKey, Signer

SECTOR_SIZE = 4096
MOST = "Up to 3 signature blocks are supported (For ESP32-ECO3 only 1 signature block is supported)."
NOT_ALIGNED = (
    "Secure Boot V2 requires the signature block to start from a 4KB aligned sector "
    "but the datafile supplied is not sector aligned."
)


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be signed, and with what."""

    keyfile: tuple[str, ...]
    output: str | None
    append_signatures: bool
    hsm: bool
    hsm_config: str | None
    pub_key: tuple[str, ...]
    signature: tuple[str, ...]
    skip_padding: bool
    datafile: str


@click.command("sign-data", cls=EatAll)
@click.option("--version", "-v", type=click.Choice(["1", "2"]), required=True, help="Of Secure Boot.")
@click.option("--keyfile", "-k", callback=key_name, multiple=True, help="The signing keys.")
@click.option("--output", "-o", type=click.Path(), help="File to write; without it the data file is signed in place.")
@click.option("--append-signatures", "-a", is_flag=True, help="Keep the signature blocks that there are.")
@click.option("--hsm", is_flag=True, help="Sign in a token, over PKCS#11.")
@click.option("--hsm-config", callback=file_name, help="Which token and key.")
@click.option("--pub-key", callback=key_name, multiple=True, help="The keys of ready-made signatures.")
@click.option("--signature", callback=file_name, multiple=True, help="Ready-made signatures.")
@click.option("--skip-padding", is_flag=True, help="Do not fill the data up to whole sectors.")
@click.argument("datafile", callback=file_name)
def sign_data(
    version: str,
    keyfile: tuple[str, ...],
    output: str | None,
    append_signatures: bool,
    hsm: bool,
    hsm_config: str | None,
    pub_key: tuple[str, ...],
    signature: tuple[str, ...],
    skip_padding: bool,
    datafile: str,
) -> None:
    """Sign an image."""
    refuse_overwriting(output, *keyfile, datafile)
    request = Request(keyfile, output, append_signatures, hsm, hsm_config, pub_key, signature, skip_padding, datafile)
    {"1": _sign_v1, "2": _sign_v2}[version](request)


@click.command("digest-secure-bootloader")
@click.option("--keyfile", "-k", callback=file_name, required=True, help="The key of BLOCK2.")
@click.option("--output", "-o", type=click.Path(), help="File to write.")
@click.option("--iv", callback=file_name, help="An IV instead of a random one; for tests.")
@click.argument("image", callback=file_name)
def digest_bootloader(keyfile: str, output: str | None, iv: str | None, image: str) -> None:
    """Digest a bootloader for Secure Boot V1: a file for flash address 0."""
    from bootwright.formats.esp_secure_boot_v1 import BOOTLOADER_OFFSET, IV_SIZE, engine_digest

    refuse_overwriting(output, keyfile, image, iv)
    if iv is not None:
        warn("--iv argument is for TESTING PURPOSES ONLY")
    start = secrets.token_bytes(IV_SIZE) if iv is None else read(iv)[:IV_SIZE]
    blocks = _engine_reads(image)
    key = _engine_key(read(keyfile))
    read_by_engine = start + blocks
    # espsecure takes an IV that is too short, and leaves the last part of a block out of the digest.
    digest = engine_digest(read_by_engine[: len(read_by_engine) // 16 * 16], key)
    made = (start + digest).ljust(BOOTLOADER_OFFSET, b"\xff") + blocks
    output = output or f"{Path(image).with_suffix('')}-digest-0x0000.bin"
    write(output, made)
    say(f'Digest + image written to "{output}"')


def _engine_reads(path: str) -> bytes:
    """What the engine reads of an image that espsecure takes for one: no segments or half a hash do not matter."""
    from bootwright.errors import FormatError
    from bootwright.formats.esp_image import EspImageHeader, SegmentHeader
    from bootwright.formats.esp_secure_boot_v1 import engine_blocks, with_hash_cut_off

    data = read(path)
    if len(data) >= 8 and data[0] != EspImageHeader.MAGIC:
        raise Fatal(f"Invalid firmware image magic={data[0]:#x}")
    try:
        header, at = EspImageHeader.parse(data, where=path), EspImageHeader.size()
        for number in range(header.segment_count):
            segment = SegmentHeader.parse(data, at, where=f"{path}, header of segment {number}")
            at += SegmentHeader.size()
            if (there := len(data) - at) < segment.data_len:
                length = f"length {segment.data_len} (actual length {there})"
                raise Fatal(f"End of file reading segment {segment.load_addr:#x}, {length}")
            at += segment.data_len
    except FormatError as error:
        raise Sentence(error.message) from None
    if at | 15 >= len(data):
        raise Sentence(f"{path} ends before the checksum of its image.")
    return with_hash_cut_off(data) if header.hash_appended else engine_blocks(data)


def _engine_key(key: bytes) -> bytes:
    """The key of BLOCK2; 16 bytes are stretched, as espsecure does for no chip."""
    from bootwright.formats.esp_flash_encryption import xts_key

    if len(key) not in (16, 24, 32, 64):
        raise Fatal(f"Key file contains wrong length ({len(key)} bytes), 16, 24, 32 or 64 expected.")
    say(f"Using {len(key) * 8}-bit key{' (extended)' if len(key) < 32 else ''}.")
    if len(key) == 64:
        raise Sentence("BLOCK2 holds a key of 24 or 32 bytes, this one has 64.")
    return xts_key(key) if len(key) == 16 else key


def _sign_v1(request: Request) -> None:
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    from bootwright.errors import TrustError
    from bootwright.formats.esp_secure_boot_v1 import attach_v1, sign_v1

    if request.hsm:
        raise Fatal("Secure Boot V1 does not support signing using an external Hardware Security Module (HSM)")
    if request.signature:
        say("Pre-calculated signatures found...")
    keys = request.pub_key if request.signature else request.keyfile
    if len(keys) > 1:
        raise Fatal("Secure Boot V1 only supports one signing key.")
    if not keys:
        raise Sentence("No signing key: give one with --keyfile.")
    data = read(request.datafile)
    if request.signature:
        public = public_key(keys[0], public_v1)
        raw = read(request.signature[0])
        pair = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
        try:
            signed = attach_v1(data, public, pair)
        except TrustError as error:
            raise Sentence(error.message) from None
    else:
        signed = sign_v1(data, signer(keys[0], private_v1))
    write(request.output or request.datafile, signed)
    say(f'Signed {len(data)} bytes of data from "{request.datafile}".')


def _sign_v2(request: Request) -> None:
    from bootwright.formats.esp_secure_boot import signature_sector

    content, blocks = _content(request)
    added = list(_blocks(request, content, room=3 - len(blocks)))
    sector = signature_sector([*blocks, *added])
    write(request.output or request.datafile, content + sector)
    total = len(blocks) + len(added)
    say(
        f'Signed {len(content)} bytes of data from "{request.datafile}". '
        f"Signature sector now has {total} signature blocks."
    )


def _content(request: Request) -> tuple[bytes, Sequence[SignatureBlock]]:
    """What is signed, and the blocks that stay."""
    data = read(request.datafile)
    missing = -len(data) % SECTOR_SIZE
    if missing and request.signature:
        raise Fatal(NOT_ALIGNED)
    if missing and request.skip_padding:
        say("Skipping sector padding. Data contents are not sector aligned.")
        return data, ()
    if missing:
        say(f"Padding data contents by {missing} bytes so signature sector aligns at sector boundary.")
        return data + b"\xff" * missing, ()
    return _without_old_sector(data, request.datafile) if request.append_signatures else (data, ())


def _without_old_sector(data: bytes, where: str) -> tuple[bytes, Sequence[SignatureBlock]]:
    from bootwright.cli.dropin.espsecure_verify import blocks_of

    if not data:
        raise Sentence(f"{where} is empty: there is no signature to append to.")
    blocks = blocks_of(data)
    if not blocks:
        say("No valid signature blocks found. Discarding --append-signature and proceeding to sign the image afresh.")
        return data, ()
    say(f"{len(blocks)} valid signature block(s) already present in the signature sector.")
    if len(blocks) == 3:
        raise Fatal(MOST)
    return data[:-SECTOR_SIZE], blocks


def _blocks(request: Request, content: bytes, *, room: int) -> Iterator[SignatureBlock]:
    from bootwright.formats.esp_signature_block import make_block

    if request.signature:
        say("Pre-calculated signatures found...")
        if len(request.signature) != len(request.pub_key):
            raise Fatal(
                f"Number of public keys ({len(request.pub_key)}) not equal to "
                f"the number of signatures ({len(request.signature)})."
            )
        _check_room(len(request.signature), room)
        for key, name in zip(request.pub_key, request.signature, strict=True):
            yield _verified(content, public_key(key, any_v2), read(name))
        return
    for one in _signers(request, room):
        yield make_block(content, one.public, one.sign(content))


def _signers(request: Request, room: int) -> Iterator[Signer]:
    if request.hsm:
        from bootwright.cli.dropin.espsecure_hsm import open_hsm

        token = open_hsm(request.hsm_config)
        _check_room(1, room)
        yield token
        return
    _check_room(len(request.keyfile), room)
    for name in request.keyfile:
        yield signer(name, private_v2)


def _check_room(count: int, room: int) -> None:
    if count > room:
        raise Fatal(f"Number of keys ({count}) more than the empty signature blocks ({room}).")
    say(f"{count} signing key(s) found.")
    if count == 0:
        raise Fatal("Signature Block generation failed.")


def _verified(content: bytes, public: PublicKey, signature: bytes) -> SignatureBlock:
    from bootwright.errors import TrustError
    from bootwright.formats.esp_signature_block import make_block

    try:
        return make_block(content, public, signature)
    except TrustError:
        raise Fatal(
            "Signature verification failed: Invalid Signature\n"
            "The pre-calculated signature has not been signed using the given public key."
        ) from None
