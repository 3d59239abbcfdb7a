"""espsecure's flash-encryption commands."""

from __future__ import annotations

import secrets
from collections.abc import Callable

import click

from bootwright.cli.dropin.espsecure import Fatal, Sentence, any_int, say, warn
from bootwright.cli.dropin.espsecure_files import (
    file_name,
    read,
    refuse_overwriting,
    write_or_print,
    write_or_print_secret,
)

_Crypt = Callable[..., bytes]


def _options(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option("--aes-xts", "-x", is_flag=True, help="For every chip but the ESP32."),
        click.option(
            "--flash-crypt-conf", callback=any_int, default="0xf", help="FLASH_CRYPT_CONFIG of the ESP32 (0xf)."
        ),
        click.option("--address", "-a", callback=any_int, required=True, help="Where in flash the data lie."),
        click.option("--output", "-o", type=click.Path(), required=True, help="File to write."),
        click.option("--keyfile", "-k", callback=file_name, required=True, help="The flash-encryption key."),
    ):
        command = option(command)
    return command


@click.command("generate-flash-encryption-key")
@click.option("--keylen", "-l", type=int, default=256, help="Bits of the key (256).")
@click.argument("key-file", type=click.Path())
def generate_key(keylen: int, key_file: str) -> None:
    """Make a flash-encryption key."""
    say(f'Writing {keylen} random bits to key file "{key_file}".')
    if keylen < 0:
        raise Sentence(f"A key of {keylen} bits cannot be made.")
    if keylen not in (128, 192, 256, 512):
        warn(f"no chip takes a key of {keylen} bits; 128, 192, 256 and 512 are of use")
    write_or_print_secret(key_file, secrets.token_bytes(keylen // 8))


@click.command("encrypt-flash-data")
@_options
@click.argument("plaintext-file", callback=file_name)
def encrypt(keyfile: str, output: str, address: int, flash_crypt_conf: int, aes_xts: bool, plaintext_file: str) -> None:
    """Encrypt what will be written to an encrypted flash."""
    from bootwright.formats.esp_flash_carry import encrypt_esp32_carrying
    from bootwright.formats.esp_flash_encryption import encrypt_esp32, encrypt_xts

    refuse_overwriting(output, keyfile, plaintext_file)
    data = read(plaintext_file)
    if aes_xts:
        write_or_print(output, _xts(encrypt_xts, data, _key(keyfile, (16, 32, 64)), address))
        return
    key = _key(keyfile, (24, 32))
    _check_esp32(address, flash_crypt_conf)
    missing = -len(data) % 16
    if missing:
        say(f"Note: Padding with {missing} bytes of random data (encrypted data must be multiple of 16 bytes long).")
    write_or_print(
        output,
        _esp32(
            encrypt_esp32, encrypt_esp32_carrying, data + secrets.token_bytes(missing), key, address, flash_crypt_conf
        ),
    )


@click.command("decrypt-flash-data")
@_options
@click.argument("encrypted-file", callback=file_name)
def decrypt(keyfile: str, output: str, address: int, flash_crypt_conf: int, aes_xts: bool, encrypted_file: str) -> None:
    """Decrypt what was read from an encrypted flash."""
    from bootwright.formats.esp_flash_carry import decrypt_esp32_carrying
    from bootwright.formats.esp_flash_encryption import decrypt_esp32, decrypt_xts

    refuse_overwriting(output, keyfile, encrypted_file)
    data = read(encrypted_file)
    if aes_xts:
        write_or_print(output, _xts(decrypt_xts, data, _key(keyfile, (16, 32, 64)), address))
        return
    key = _key(keyfile, (24, 32))
    _check_esp32(address, flash_crypt_conf)
    if len(data) % 16:
        raise Fatal("Data length is not a multiple of 16 bytes.")
    write_or_print(output, _esp32(decrypt_esp32, decrypt_esp32_carrying, data, key, address, flash_crypt_conf))


def _key(path: str, sizes: tuple[int, ...]) -> bytes:
    key = read(path)
    if len(key) not in (16, 24, 32, 64):
        raise Fatal(f"Key file contains wrong length ({len(key)} bytes), 16, 24, 32 or 64 expected.")
    if len(key) not in sizes:
        bits = f"Provided key is {len(key) * 8} bits."
        if sizes == (16, 32, 64):
            raise Fatal(f"AES_XTS supports only 128, 256, and 512-bit keys. {bits}")
        raise Fatal(f"ESP32 supports only 192 and 256-bit keys. {bits} Use --aes_xts for other chips.")
    say(f"Using {len(key) * 8}-bit key{' (extended)' if len(key) in (16, 24) else ''}.")
    return key


def _check_address(address: int) -> None:
    if address % 16:
        raise Fatal(f"Starting flash address {address:#x} must be a multiple of 16.")


def _check_esp32(address: int, crypt_config: int) -> None:
    _check_address(address)
    if crypt_config == 0:
        warn("Setting FLASH_CRYPT_CONF to zero is not recommended.")
    elif crypt_config != crypt_config & 0xF:
        warn(f"FLASH_CRYPT_CONFIG has four bits; of {crypt_config:#x} only {crypt_config & 0xF:#x} counts")


def _xts(crypt: _Crypt, data: bytes, key: bytes, address: int) -> bytes:
    _check_address(address)
    if len(data) % 16:
        raise Fatal(f"Input data length ({len(data)}) must be a multiple of 16.")
    if not data:
        raise Fatal("Input data must be longer than 0.")
    if not 0 <= address <= (1 << 32) - len(data):
        raise Sentence(f"{len(data):#x} bytes at {address:#x} leave the 32 bits of a flash address.")
    if len(key) > 16 and key[: len(key) // 2] == key[len(key) // 2 :]:
        raise Sentence("Both halves of the key are the same, which XTS does not allow.")
    return crypt(data, key, address)


def _esp32(chip: _Crypt, carrying: _Crypt, data: bytes, key: bytes, address: int, crypt_config: int) -> bytes:
    if 0 <= address <= (1 << 24) - len(data):
        return chip(data, key, address, crypt_config & 0xF)
    warn("an ESP32 tells only addresses below 16 MiB apart; no chip decrypts this")
    return carrying(data, key, address, crypt_config)
