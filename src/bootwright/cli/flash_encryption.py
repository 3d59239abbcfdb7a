"""`bootwright flash-encryption`: keys, encrypting, decrypting, moving and recognising what a flash holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from bootwright.cli.noun import Noun
from bootwright.cli.show import json_option, show
from bootwright.cli.words import FILE, number, output_option
from bootwright.finding import Answer

if TYPE_CHECKING:
    from bootwright.formats.esp_flash_scheme import FlashScheme

F = TypeVar("F", bound=Callable[..., None])

chip_option = click.option("--chip", "chip_name", metavar="CHIP", help="The chip, which decides the algorithm.")
algorithm_option = click.option(
    "--algorithm", type=click.Choice(["xts", "esp32"]), help="Instead of --chip: xts for every chip but the ESP32."
)
crypt_config_option = click.option(
    "--crypt-config", default="0xf", callback=number, help="FLASH_CRYPT_CONFIG of the ESP32 (0xf)."
)
key_option = click.option("--key", "-k", "key_file", type=FILE, required=True, help="The key file.")
address_option = click.option(
    "--address", "-a", callback=number, required=True, help="Where in flash the data lie, or will lie."
)


def _scheme_options(command: F) -> F:
    for option in (crypt_config_option, algorithm_option, chip_option, address_option, key_option):
        command = option(command)
    return command


@click.group("flash-encryption", cls=Noun)
def flash_encryption() -> None:
    """Encrypt and decrypt as the chips do, and say what bytes of a flash are."""


@flash_encryption.command("keygen")
@click.argument("file", type=FILE)
@click.option("--chip", "chip_name", metavar="CHIP", help="The longest key that this chip takes.")
@click.option("--bits", type=click.Choice(["128", "192", "256", "512"]), help="Bits of the key file (256).")
@json_option
@click.pass_context
def keygen_command(context: click.Context, file: Path, chip_name: str | None, bits: str | None, as_json: bool) -> None:
    """Make a flash-encryption key.

    It is written to FILE, for its owner's eyes only, and burned as it is.
    """
    import secrets

    from bootwright.chips.chip import load_chip
    from bootwright.errors import RefusedError
    from bootwright.host.encrypting import key_sizes
    from bootwright.host.files import write_secret

    if file.exists():
        raise RefusedError(f"{file} exists already: a key that is overwritten is lost", "give another name")
    size = int(bits) // 8 if bits else 32
    if chip_name:
        taken = key_sizes(load_chip(chip_name))
        size = max(taken) if bits is None else size
        if size not in taken:
            raise RefusedError(
                f"found --bits {bits}, the {load_chip(chip_name).title} takes "
                f"{' or '.join(str(8 * one) for one in taken)}",
                "leave --bits out",
            )
    write_secret(file, secrets.token_bytes(size))
    answer = Answer(command="flash-encryption keygen", details={"file": str(file), "bits": 8 * size})
    context.exit(show(answer, as_json=as_json, text=f"{file}: a key of {8 * size} bits"))


@flash_encryption.command("encrypt")
@_scheme_options
@click.option("--fill", is_flag=True, help="Fill the data up to whole blocks of 16 with 0xFF.")
@click.option("--force", is_flag=True, help="Encrypt even what is ciphertext of this key already.")
@output_option
@click.argument("file", type=FILE)
@json_option
@click.pass_context
def encrypt_command(
    context: click.Context,
    key_file: Path,
    address: int,
    chip_name: str | None,
    algorithm: str | None,
    crypt_config: int,
    fill: bool,
    force: bool,
    output: Path,
    file: Path,
    as_json: bool,
) -> None:
    """Encrypt FILE for its address in flash."""
    from bootwright.host.encrypting import encrypt_once, fill_up
    from bootwright.host.files import read_bytes, spare_keys, write_file

    spare_keys(output, key_file)
    scheme = _scheme(key_file, chip_name, algorithm, crypt_config)
    data = read_bytes(file, what="file to encrypt")
    data = fill_up(data) if fill else data
    write_file(output, scheme.encrypt(data, address) if force else encrypt_once(data, scheme, address))
    _done(context, "encrypt", file, output, address, len(data), as_json=as_json)


@flash_encryption.command("decrypt")
@_scheme_options
@output_option
@click.argument("file", type=FILE)
@json_option
@click.pass_context
def decrypt_command(
    context: click.Context,
    key_file: Path,
    address: int,
    chip_name: str | None,
    algorithm: str | None,
    crypt_config: int,
    output: Path,
    file: Path,
    as_json: bool,
) -> None:
    """Decrypt FILE, which was read from flash.

    There is no integrity tag: a wrong key or address gives garbage.
    """
    from bootwright.host.files import read_bytes, spare_keys, write_file

    spare_keys(output, key_file)
    scheme = _scheme(key_file, chip_name, algorithm, crypt_config)
    data = read_bytes(file, what="file to decrypt")
    write_file(output, scheme.decrypt(data, address))
    _done(context, "decrypt", file, output, address, len(data), as_json=as_json)


@flash_encryption.command("reencrypt")
@_scheme_options
@click.option("--new-key", "new_key_file", type=FILE, help="The other key; otherwise the same.")
@click.option("--new-address", callback=number, help="The other address; otherwise the same.")
@output_option
@click.argument("file", type=FILE)
@json_option
@click.pass_context
def reencrypt_command(
    context: click.Context,
    key_file: Path,
    address: int,
    chip_name: str | None,
    algorithm: str | None,
    crypt_config: int,
    new_key_file: Path | None,
    new_address: int | None,
    output: Path,
    file: Path,
    as_json: bool,
) -> None:
    """Turn FILE into ciphertext of another key or address.

    No plaintext is written.
    """
    from bootwright.formats.esp_flash_scheme import reencrypt
    from bootwright.host.files import read_bytes, spare_keys, write_file

    spare_keys(output, key_file, new_key_file)
    source = _scheme(key_file, chip_name, algorithm, crypt_config)
    target = _scheme(new_key_file or key_file, chip_name, algorithm, crypt_config)
    data = read_bytes(file, what="ciphertext")
    there = address if new_address is None else new_address
    write_file(output, reencrypt(data, source, address, target, there))
    _done(context, "reencrypt", file, output, there, len(data), as_json=as_json)


@flash_encryption.command("detect")
@click.option("--key", "-k", "key_files", type=FILE, multiple=True, help="A key to try; may be given several times.")
@click.option("--address", "-a", callback=number, help="Where in flash the data lie; otherwise all sectors are tried.")
@chip_option
@click.argument("file", type=FILE)
@json_option
@click.pass_context
def detect_command(
    context: click.Context,
    key_files: tuple[Path, ...],
    address: int | None,
    chip_name: str | None,
    file: Path,
    as_json: bool,
) -> None:
    """Say what the bytes of FILE are.

    Plaintext, ciphertext, and of which key, for which address, by which mistake.
    """
    from bootwright.chips.chip import load_chip
    from bootwright.formats.esp_flash_detect import Key
    from bootwright.host.encrypting import what_is
    from bootwright.host.files import read_bytes

    keys = [Key(path.name, read_bytes(path, what="key file", limit=64)) for path in key_files]
    chip = load_chip(chip_name) if chip_name else None
    findings = what_is(read_bytes(file), keys, address=address, chip=chip, subject=str(file))
    context.exit(show(Answer(command="flash-encryption detect", findings=findings), as_json=as_json))


@flash_encryption.command("map")
@click.option("--key", "-k", "key_file", type=FILE, help="The flash-encryption key, with --chip or --algorithm.")
@click.option("--base", default="0", callback=number, help="The flash address at which the dump starts (0).")
@crypt_config_option
@algorithm_option
@chip_option
@click.argument("file", type=FILE)
@json_option
@click.pass_context
def map_command(
    context: click.Context,
    key_file: Path | None,
    base: int,
    crypt_config: int,
    algorithm: str | None,
    chip_name: str | None,
    file: Path,
    as_json: bool,
) -> None:
    """Show what lies where in a dump of a flash.

    Sector by sector: plaintext, ciphertext of the key, erased; and which structure begins there.
    """
    from bootwright.formats.esp_flash_map import map_flash
    from bootwright.host.files import read_bytes

    scheme = _scheme(key_file, chip_name, algorithm, crypt_config) if key_file else None
    stretches = map_flash(read_bytes(file, what="dump of a flash"), scheme, base=base)
    rows = [{"start": one.start, "end": one.end, "content": str(one.content), "what": one.what} for one in stretches]
    text = "\n".join(f"{one.start:#10x} {one.end:#10x}  {one.content:24} {one.what}".rstrip() for one in stretches)
    answer = Answer(command="flash-encryption map", details={"stretches": rows})
    context.exit(show(answer, as_json=as_json, text=text))


def _scheme(key_file: Path, chip_name: str | None, algorithm: str | None, crypt_config: int) -> FlashScheme:
    from bootwright.chips.chip import load_chip
    from bootwright.formats.esp_flash_scheme import Algorithm
    from bootwright.host.encrypting import scheme_for
    from bootwright.host.files import read_bytes

    return scheme_for(
        read_bytes(key_file, what="key file", limit=64),
        chip=load_chip(chip_name) if chip_name else None,
        algorithm=Algorithm(algorithm) if algorithm else None,
        crypt_config=crypt_config,
    )


def _done(
    context: click.Context, verb: str, file: Path, output: Path, address: int, size: int, *, as_json: bool
) -> None:
    details = {"input": str(file), "output": str(output), "address": address, "bytes": size}
    text = f"{output}: {size:#x} bytes for flash address {address:#x}"
    context.exit(show(Answer(command=f"flash-encryption {verb}", details=details), as_json=as_json, text=text))
