"""espsecure's verifying commands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from bootwright.cli.dropin.espsecure import Fatal, Sentence, say
from bootwright.cli.dropin.espsecure_files import ELSEWHERE, file_name, key_name, public_key, read
from bootwright.cli.dropin.espsecure_key_words import any_v1, any_v2

if TYPE_CHECKING:
    from bootwright.formats.esp_secure_boot import SignatureBlock
    from bootwright.formats.keys import PublicKey

SECTOR_SIZE = 4096
BLOCK_SIZE = 1216
NOT_WHOLE = "Invalid datafile. Data size should be non-zero & a multiple of 4096."


@click.command("verify-signature")
@click.option("--version", "-v", type=click.Choice(["1", "2"]), required=True, help="Of Secure Boot.")
@click.option("--hsm", is_flag=True, help="The key is in a token.")
@click.option("--hsm-config", callback=file_name, help="Which token and key.")
@click.option("--keyfile", "-k", callback=key_name, help="The key, public or private.")
@click.option("--skip-padding", is_flag=True, help="The data were signed without filling up whole sectors.")
@click.argument("datafile", callback=file_name)
def verify_signature(
    version: str, hsm: bool, hsm_config: str | None, keyfile: str | None, skip_padding: bool, datafile: str
) -> None:
    """Verify the signature of an image."""
    if version == "1":
        _verify_v1(_named(keyfile), datafile)
        return
    if hsm:
        from bootwright.cli.dropin.espsecure_hsm import open_hsm

        public = open_hsm(hsm_config, purpose="extract public key from").public
    else:
        public = public_key(_named(keyfile), any_v2)
    _verify_v2(public, read(datafile), skip_padding=skip_padding)


@click.command("signature-info-v2")
@click.argument("datafile", callback=file_name)
def signature_info(datafile: str) -> None:
    """Show the signature blocks of an image."""
    from bootwright.formats.esp_secure_boot import MAX_BLOCKS
    from bootwright.formats.esp_signature_block import block_key_digest, image_digest

    data = read(datafile)
    _check_size(data)
    for number in range(MAX_BLOCKS):
        block = _block(data, number)
        if block is None:
            say(f"Signature block {number} absent/invalid. Skipping checking next blocks...")
            return
        if block.image_digest != image_digest(data[:-SECTOR_SIZE], block.HASH):
            raise Fatal(f"Digest in signature block {number} doesn't match the image digest.")
        say(f"Public key digest for block {number}: {block_key_digest(block).hex(' ')}")


def blocks_of(data: bytes) -> Sequence[SignatureBlock]:
    """The valid blocks of the last sector, up to the first that is not."""
    from bootwright.formats.esp_secure_boot import MAX_BLOCKS

    found: list[SignatureBlock] = []
    while len(data) >= SECTOR_SIZE and len(found) < MAX_BLOCKS and (block := _block(data, len(found))):
        found.append(block)
    return found


def _block(data: bytes, number: int) -> SignatureBlock | None:
    from bootwright.errors import FormatError
    from bootwright.formats.esp_signature_block import RsaSignatureBlock, block_crc, parse_block

    try:
        block = parse_block(data, len(data) - SECTOR_SIZE + number * BLOCK_SIZE)
    except FormatError:
        return None
    if block_crc(block) != block.block_crc:
        return None
    say(f"Signature block {number} is valid ({'RSA' if isinstance(block, RsaSignatureBlock) else 'ECDSA'}).")
    return block


def _check_size(data: bytes) -> None:
    if len(data) < SECTOR_SIZE or len(data) % SECTOR_SIZE:
        raise Fatal(NOT_WHOLE)


def _verify_v1(keyfile: str, datafile: str) -> None:
    from bootwright.finding import Verdict
    from bootwright.formats.esp_secure_boot_v1 import SignatureV1, verify_v1

    public = _v1_key(keyfile)
    data = read(datafile)
    if len(data) < SignatureV1.size():
        raise Sentence(f"{datafile} has {len(data)} bytes, a signature of version 1 takes {SignatureV1.size()}.")
    block = SignatureV1.parse(data, len(data) - SignatureV1.size(), where=datafile)
    if block.version != 0:
        raise Fatal(f"Signature block has version {block.version}. This version of espsecure only supports version 0.")
    say(f"Verifying {len(data) - SignatureV1.size()} bytes of data...")
    if verify_v1(data, public)[-1].verdict is not Verdict.PASS:
        raise Fatal("Signature is not valid.")
    say("Signature is valid.")


def _v1_key(keyfile: str) -> PublicKey:
    from bootwright.errors import FormatError
    from bootwright.formats.esp_secure_boot_v1 import public_key_from_raw

    raw = b"" if keyfile.startswith(ELSEWHERE) or keyfile == "-" else read(keyfile)
    if len(raw) != 64:
        return public_key(keyfile, any_v1)
    try:
        return public_key_from_raw(raw)
    except FormatError as error:
        raise Sentence(error.message) from None


def _verify_v2(public: PublicKey, data: bytes, *, skip_padding: bool) -> None:
    from bootwright.formats.esp_secure_boot import MAX_BLOCKS
    from bootwright.formats.esp_signature_block import block_signature, image_digest, key_digest_v2

    key_digest_v2(public)  # refuses the kinds of key that Secure Boot V2 does not know
    if not skip_padding:
        _check_size(data)
    elif len(data) < SECTOR_SIZE:
        raise Fatal("Invalid datafile. File too small (must be at least 4096 bytes).")
    kind = "RSA" if public.key_type.is_rsa else "ECDSA"
    valid = False
    for number in range(MAX_BLOCKS):
        block = _block(data, number)
        if block is None:
            say(f"Signature block {number} invalid. Skipping.")
            continue
        digest = image_digest(data[:-SECTOR_SIZE], block.HASH)
        if block.image_digest != digest:
            raise Fatal(
                "Signature block image digest does not match "
                f"the actual image digest {digest!r}. Expected {block.image_digest!r}."
            )
        _require_kind(public, block, number)
        if public.verify_digest(block_signature(block), digest):
            say(f"Signature block {number} verification successful using the supplied key ({kind}).")
            valid = True
        else:
            say(f"Signature block {number} is not signed by the supplied key. Checking the next block...")
    if not valid:
        raise Fatal("Checked all blocks. Signature could not be verified with the provided key.")


def _require_kind(public: PublicKey, block: SignatureBlock, number: int) -> None:
    """Where espsecure ends in a traceback: an ECDSA key for an RSA block, an RSA key for a block with SHA-384."""
    from bootwright.formats.esp_signature_block import RsaSignatureBlock

    is_rsa = isinstance(block, RsaSignatureBlock)
    if is_rsa != public.key_type.is_rsa and (is_rsa or block.HASH != "sha256"):
        kind = "RSA" if is_rsa else "ECDSA"
        raise Sentence(f"Signature block {number} is {kind}, the supplied key is {public.key_type}.")


def _named(keyfile: str | None) -> str:
    if keyfile is None:
        raise Sentence("No key to verify with: give one with --keyfile.")
    return keyfile
