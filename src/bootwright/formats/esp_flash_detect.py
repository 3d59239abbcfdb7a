"""What are these bytes of flash? Plaintext, ciphertext, and if ciphertext: of which key, address and mistake?

Nothing is guessed from statistics. Plaintext is known by its structure; ciphertext by the structure that appears when
a key is tried under one hypothesis after the other, the simplest first. Only the ESP32's scheme leaves a trace of its
own: its two blocks in 32 bytes share a key, so that equal plaintext blocks give equal ciphertext blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from bootwright.errors import BootwrightError
from bootwright.finding import Finding, failed, passed, warned
from bootwright.formats.esp_flash_encryption import (
    BLOCK_SIZE,
    DEFAULT_CRYPT_CONFIG,
    ESP32_ADDRESS_SPACE,
    ESP32_KEY_SIZES,
    XTS_KEY_SIZES,
    efuse_key,
)
from bootwright.formats.esp_flash_scheme import Algorithm, FlashScheme
from bootwright.formats.esp_flash_structure import structure_of, structure_of_head

HEAD_SIZE = 128  #: bytes that the quick look at a hypothesis decrypts
SECTOR_SIZE = 0x1000


@dataclass(frozen=True, slots=True)
class Key:
    """A key to try, and what to call it."""

    name: str
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A story of how the bytes came to be, and the way back."""

    code: str  #: the finding's code, if it fits
    story: str  #: completes "the data are …"
    advice: str
    undo: Callable[[bytes], bytes] = field(repr=False)  #: works on any prefix of whole blocks


def detect(
    data: bytes,
    keys: Sequence[Key] = (),
    *,
    address: int | None = None,
    algorithm: Algorithm | None = None,
    subject: str = "data",
) -> tuple[Finding, ...]:
    """Say what the bytes are: the first hypothesis under which a known structure appears.

    `address` is where the data lie in flash; without it, all sectors of 16 MiB are tried. `algorithm` is the chip's;
    without it either will do. The verdict is pass for plaintext and for ciphertext that a chip with one of the keys
    reads at `address`, else fail.
    """
    plain = structure_of(data)
    if plain is not None:
        return (
            passed("flash.plaintext", subject, f"the data are plaintext: {plain}"),
            *_signed_too_late(data, subject),
        )
    if not data.strip(b"\xff"):
        return (passed("flash.erased", subject, f"all {len(data):#x} bytes are erased"),)
    whole = data[: len(data) - len(data) % BLOCK_SIZE]
    for hypothesis in _hypotheses(keys, address, algorithm):
        try:
            if structure_of_head(hypothesis.undo(whole[:HEAD_SIZE])) is None:
                continue
            found = structure_of(hypothesis.undo(whole))
        except BootwrightError:
            continue  # an address or a length that this scheme cannot have
        if found is not None:
            why = f"the data are {hypothesis.story}: decrypting gives {found}"
            say = passed if not hypothesis.advice else None
            first = (
                say(hypothesis.code, subject, why) if say else failed(hypothesis.code, subject, why, hypothesis.advice)
            )
            return (first, *_signed_too_late(data, subject))
    return (_unknown(data, keys, subject), *_signed_too_late(data, subject))


def reads_as(data: bytes, scheme: FlashScheme, address: int) -> str | None:
    """What a chip with this key would read at `address` if the data were written as they are; `None` if nothing known.

    Raises:
        SiliconError: the address is not a multiple of 16.
    """
    whole = data[: len(data) - len(data) % BLOCK_SIZE]
    if structure_of(data) is not None or structure_of_head(scheme.decrypt(whole[:HEAD_SIZE], address)) is None:
        return None
    return structure_of(scheme.decrypt(whole, address))


def _verdict(hypothesis: Hypothesis, subject: str, why: str) -> Finding:
    if hypothesis.advice:
        return failed(hypothesis.code, subject, why, hypothesis.advice)
    return passed(hypothesis.code, subject, why)


def _hypotheses(keys: Sequence[Key], address: int | None, algorithm: Algorithm | None) -> Iterator[Hypothesis]:
    """Simplest first: as it should be, then one mistake, then two."""
    ciphers = [(key, cipher) for key in keys for cipher in _ciphers(key.key)]
    if address is not None:
        for key, cipher in ciphers:
            name = f"{_scheme(cipher)} with {key.name}"
            yield _ciphertext(name, cipher, address, algorithm)
        for key, cipher in ciphers:
            yield from _same_address(f"{_scheme(cipher)} with {key.name}", cipher, address)
        for key in keys:
            yield from _other_key_forms(key, address)
    for key, cipher in ciphers:
        yield from _other_addresses(f"{_scheme(cipher)} with {key.name}", cipher, address)


def _ciphers(key: bytes) -> Iterator[FlashScheme]:
    """The schemes that a key of this length can serve."""
    if len(key) in XTS_KEY_SIZES:
        yield FlashScheme(Algorithm.XTS, key)
    if len(key) in ESP32_KEY_SIZES:
        yield FlashScheme(Algorithm.ESP32, key)


def _scheme(cipher: FlashScheme) -> str:
    if cipher.algorithm is Algorithm.ESP32:
        config = "" if cipher.crypt_config == DEFAULT_CRYPT_CONFIG else f", FLASH_CRYPT_CONFIG {cipher.crypt_config:#x}"
        return f"ESP32 AES{config}"
    return f"XTS-AES-{'256' if len(cipher.key) == 64 else '128'}"


def _ciphertext(name: str, cipher: FlashScheme, address: int, algorithm: Algorithm | None) -> Hypothesis:
    story = f"ciphertext for address {address:#x}, {name}"
    undo = partial(cipher.decrypt, address=address)
    if algorithm in (None, cipher.algorithm):
        return Hypothesis("flash.ciphertext", story, "", undo)
    advice = "encrypt with --aes-xts for every chip but the ESP32, and without it for the ESP32"
    return Hypothesis("flash.wrong_algorithm", f"{story}, which is not this chip's algorithm", advice, undo)


def _same_address(name: str, cipher: FlashScheme, address: int) -> Iterator[Hypothesis]:
    yield Hypothesis(
        "flash.encrypted_twice",
        f"encrypted twice for address {address:#x}, {name}",
        "write plaintext where the device encrypts (an OTA update, `write-flash --encrypt`), ciphertext elsewhere",
        lambda data: cipher.decrypt(cipher.decrypt(data, address), address),
    )
    yield Hypothesis(
        "flash.decrypted_plaintext",
        f"plaintext that was decrypted instead of encrypted, for address {address:#x}, {name}",
        "encrypt it; decrypting is for data that were read from flash",
        partial(cipher.encrypt, address=address),
    )
    if cipher.algorithm is Algorithm.ESP32:
        for crypt_config in range(DEFAULT_CRYPT_CONFIG):
            other = FlashScheme(Algorithm.ESP32, cipher.key, crypt_config)
            yield Hypothesis(
                "flash.crypt_config",
                f"ciphertext for address {address:#x}, {name}, but for FLASH_CRYPT_CONFIG {crypt_config:#x}",
                "burn FLASH_CRYPT_CONFIG 0xf and encrypt for it, or encrypt for what the chip has",
                partial(other.decrypt, address=address),
            )


def _other_key_forms(key: Key, address: int) -> Iterator[Hypothesis]:
    """Keys as they are read back, or joined the wrong way round."""
    forms = {"reversed, as eFuse blocks hold it": efuse_key(key.key), "reversed as a whole": key.key[::-1]}
    if len(key.key) == 64:
        forms["with its halves swapped"] = key.key[32:] + key.key[:32]
    for how, form in forms.items():
        if form == key.key:
            continue
        for cipher in _ciphers(form):
            yield Hypothesis(
                "flash.key_form",
                f"ciphertext for address {address:#x}, {_scheme(cipher)} with {key.name} {how}",
                "burn the key file as it is: espefuse reverses it on the way into the block",
                partial(cipher.decrypt, address=address),
            )


def _other_addresses(name: str, cipher: FlashScheme, address: int | None) -> Iterator[Hypothesis]:
    for other in range(0, ESP32_ADDRESS_SPACE, SECTOR_SIZE):
        if other == address:
            continue
        advice = "" if address is None else f"encrypt for {address:#x}, or write it to {other:#x}"
        yield Hypothesis(
            "flash.ciphertext" if address is None else "flash.other_address",
            f"ciphertext for address {other:#x}, {name}",
            advice,
            partial(cipher.decrypt, address=other),
        )


def _unknown(data: bytes, keys: Sequence[Key], subject: str) -> Finding:
    if _has_equal_halves(data):
        why = "the data have no known structure, but pairs of equal blocks: ciphertext of the ESP32's scheme"
        return failed("flash.ciphertext.esp32", subject, why, "give its key, and the address if you know it")
    if keys:
        names = ", ".join(key.name for key in keys)
        why = f"no known structure appears, neither in the data nor when {names} is tried under any hypothesis"
        return failed("flash.unknown", subject, why, "another key, or data that have no header")
    why = "the data have no known structure: ciphertext, or a kind of data without a header"
    return failed("flash.unknown", subject, why, "give the key to find out")


def _has_equal_halves(data: bytes) -> bool:
    """Many units of 32 bytes whose two blocks are equal, and units that differ: fill under the ESP32's scheme."""
    units = [data[at : at + 32] for at in range(0, len(data) - 31, 32)]
    paired = {unit for unit in units if unit[:16] == unit[16:]}
    return len(paired) >= 8 and len(paired) * 20 >= len(units)


def _signed_too_late(data: bytes, subject: str) -> Iterator[Finding]:
    """A plaintext signature behind what is no plaintext: signed after encryption."""
    from bootwright.formats.esp_secure_boot import find_signature_blocks
    from bootwright.formats.esp_secure_boot_v1 import SignatureV1

    at = len(data) - SignatureV1.size()
    behind = "sector" if find_signature_blocks(data) else ""
    if at > 0 and at % BLOCK_SIZE == 0 and SignatureV1.parse(data, at).version == 0 and any(data[at:]):
        behind = behind or "of version 1"
    if behind:
        why = f"a plaintext signature {behind} follows ciphertext: the data were encrypted first and signed then"
        yield warned("flash.signed_after_encryption", subject, why, "sign the plaintext, then encrypt all of it")
