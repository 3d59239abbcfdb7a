"""Every byte of a signed bootloader and of a signed application is covered by a named check, or listed with why not."""

from collections.abc import Iterator

import pytest

from bootwright.chips.chip import load_chip
from bootwright.finding import Finding, Verdict
from bootwright.formats.esp_image import EspImage, make_bootloader_image, verify_esp_image
from bootwright.formats.esp_secure_boot import key_digest_v2, sign_v2, verify_v2
from bootwright.formats.keys import KeyType, PublicKey, generate_key
from bootwright.formats.mcuboot_image import Image, ImageVersion
from bootwright.formats.mcuboot_sign import SignOptions, sign_image
from bootwright.formats.mcuboot_verify import verify_image
from bootwright.host.firmware import make_application

CHIP = load_chip("esp32c3")
FLIPS = (0x01, 0xFF)

Ranges = dict[tuple[int, int], str]  #: [from, to) → why no check covers it


def failing_check(findings: tuple[Finding, ...]) -> str | None:
    return next((finding.code for finding in findings if finding.verdict is Verdict.FAIL), None)


def uncovered(data: bytes, flip: int, checks: Iterator[str | None]) -> list[int]:
    return [at for at, check in enumerate(checks) if check is None]


def each_flip(data: bytes, flip: int) -> Iterator[bytes]:
    changed = bytearray(data)
    for at in range(len(data)):
        changed[at] ^= flip
        yield bytes(changed)
        changed[at] ^= flip


def positions(ranges: Ranges) -> list[int]:
    return [at for start, end in ranges for at in range(start, end)]


@pytest.mark.parametrize("key_type", [KeyType.RSA_3072, KeyType.ECDSA_P256])
@pytest.mark.parametrize("flip", FLIPS)
def test_every_byte_of_a_signed_bootloader_is_covered_or_listed(key_type: KeyType, flip: int) -> None:
    key = generate_key(key_type)
    image = make_bootloader_image(CHIP.chip_id, size=0x400)
    signed = sign_v2(image, [key])
    digests = [key_digest_v2(key.public)]
    sector = len(signed) - 4096

    def rom_refuses(data: bytes) -> str | None:
        try:
            found = verify_esp_image(data[:sector], chip_id=CHIP.chip_id, revision=CHIP.default_revision)
        except Exception as error:
            raise AssertionError(f"no finding but {error!r}") from error
        return failing_check(found) or failing_check(verify_v2(data, digests))

    assert rom_refuses(signed) is None
    listed: Ranges = {
        (sector + 1200, sector + 1216): "the last 16 bytes of a block are zero by convention; no check reads them",
        (sector + 1216, sector + 4096): "fill of the signature sector behind the last block; what is no valid block "
        "there is passed over",
    }
    bad_second_block = signed[: sector + 1216] + b"\xe7" + signed[sector + 1217 :]
    assert rom_refuses(bad_second_block) is None
    found = uncovered(signed, flip, (rom_refuses(data) for data in each_flip(signed, flip)))
    assert found == positions(listed)


@pytest.mark.parametrize("key_type", [KeyType.ED25519, KeyType.ECDSA_P256, KeyType.RSA_2048, KeyType.RSA_3072])
@pytest.mark.parametrize("flip", FLIPS)
def test_every_byte_of_a_signed_application_is_covered(key_type: KeyType, flip: int) -> None:
    key = generate_key(key_type)
    payload = make_application(CHIP, size=0x200)
    options = SignOptions(version=ImageVersion.from_text("1.2.3+4"), pad_header=True, security_counter=7)
    signed = sign_image(payload, options, key)
    public: tuple[PublicKey, ...] = (key.public,)

    def mcuboot_refuses(data: bytes) -> str | None:
        return failing_check(verify_image(data, public))

    assert mcuboot_refuses(signed) is None
    assert uncovered(signed, flip, (mcuboot_refuses(data) for data in each_flip(signed, flip))) == []


def test_the_parts_add_up_to_the_whole() -> None:
    key = generate_key(KeyType.ED25519)
    options = SignOptions(version=ImageVersion.from_text("1.0.0"), pad_header=True)
    signed = sign_image(make_application(CHIP, size=0x200), options, key)
    assert Image.parse(signed).pack() == signed
    image = make_bootloader_image(CHIP.chip_id, size=0x400)
    assert EspImage.parse(image).length == len(image)
