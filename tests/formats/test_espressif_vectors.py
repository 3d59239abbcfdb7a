"""What Espressif's own tools once answered; see tests/vectors/espressif/README.md."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from bootwright.finding import Verdict
from bootwright.formats.esp_flash_encryption import decrypt_esp32, decrypt_xts, encrypt_esp32, encrypt_xts
from bootwright.formats.esp_nvs_keys import derive_nvs_keys, pack_nvs_keys, parse_nvs_keys
from bootwright.formats.esp_partition_csv import format_csv, parse_csv
from bootwright.formats.esp_partitions import BINARY_SIZE, PartitionTable
from bootwright.formats.esp_secure_boot import pad_to_sector, signature_sector, verify_v2
from bootwright.formats.esp_secure_boot_v1 import (
    bootloader_with_digest,
    digest_v1,
    public_key_from_raw,
    raw_public_key,
    verify_v1,
)
from bootwright.formats.esp_signature_block import (
    block_public_key,
    block_signature,
    key_digest_v2,
    make_block,
    parse_block,
)
from bootwright.formats.keys import load_public_key

VECTORS = Path(__file__).parents[1] / "vectors" / "espressif"


def vectors(name: str) -> list[Any]:
    found: list[Any] = json.loads((VECTORS / f"{name}.json").read_text())["vectors"]
    return found


def raw(vector: dict[str, Any], name: str) -> bytes:
    return bytes.fromhex(vector[name])


@pytest.mark.parametrize("vector", vectors("flash_encryption"))
def test_flash_encryption(vector: dict[str, Any]) -> None:
    key, plaintext, ciphertext = (raw(vector, name) for name in ("key", "plaintext", "ciphertext"))
    if vector["scheme"] == "xts":
        assert encrypt_xts(plaintext, key, vector["address"]) == ciphertext
        assert decrypt_xts(ciphertext, key, vector["address"]) == plaintext
    else:
        assert encrypt_esp32(plaintext, key, vector["address"], vector["crypt_config"]) == ciphertext
        assert decrypt_esp32(ciphertext, key, vector["address"], vector["crypt_config"]) == plaintext


@pytest.mark.parametrize("vector", vectors("secure_boot_v2"))
def test_secure_boot_v2(vector: dict[str, Any]) -> None:
    content = pad_to_sector(raw(vector, "image"))
    blocks = [parse_block(bytes.fromhex(block)) for block in vector["blocks"]]
    for block, key in zip(blocks, vector["keys"], strict=True):
        public = load_public_key(key["public"].encode())
        assert block_public_key(block) == public
        assert key_digest_v2(public).hex() == key["digest"]
        assert make_block(content, public, block_signature(block)) == block
    sector = signature_sector(blocks)
    assert hashlib.sha256(sector).hexdigest() == vector["sector_sha256"]
    digests = [bytes.fromhex(key["digest"]) for key in vector["keys"]]
    assert {finding.verdict for finding in verify_v2(content + sector, digests)} == {Verdict.PASS}


@pytest.mark.parametrize("vector", [one for one in vectors("secure_boot_v1") if "iv" in one])
def test_secure_boot_v1_digests(vector: dict[str, Any]) -> None:
    bootloader, key, iv = (raw(vector, name) for name in ("bootloader", "key", "iv"))
    assert digest_v1(bootloader, key, iv).digest == raw(vector, "digest")
    assert hashlib.sha256(bootloader_with_digest(bootloader, key, iv)).hexdigest() == vector["file_sha256"]


@pytest.mark.parametrize("vector", [one for one in vectors("secure_boot_v1") if "data" in one])
def test_secure_boot_v1_signatures(vector: dict[str, Any]) -> None:
    public = public_key_from_raw(raw(vector, "public"))
    assert raw_public_key(public) == raw(vector, "public")
    assert verify_v1(raw(vector, "data") + raw(vector, "signature_block"), public)[0].verdict is Verdict.PASS


@pytest.mark.parametrize("vector", vectors("partitions"), ids=lambda vector: str(vector["name"]))
def test_partition_tables(vector: dict[str, Any]) -> None:
    binary = raw(vector, "binary_without_fill").ljust(BINARY_SIZE, b"\xff")
    table = parse_csv(vector["csv"])
    assert table.pack() == binary
    assert PartitionTable.parse(binary) == table
    assert format_csv(table) == vector["csv_of_binary"]


@pytest.mark.parametrize("vector", vectors("nvs_keys"))
def test_nvs_keys(vector: dict[str, Any]) -> None:
    partition = raw(vector, "partition_without_fill").ljust(4096, b"\xff")
    keys = parse_nvs_keys(partition)
    assert pack_nvs_keys(keys) == partition
    if "hmac_key" in vector:
        assert derive_nvs_keys(raw(vector, "hmac_key")) == keys
