"""`bootwright secure-boot` from the outside."""

import hashlib
from pathlib import Path

import pytest
from tests.support.here import answer, bootwright, complaint

from bootwright.formats.esp_image import make_bootloader_image
from bootwright.formats.esp_secure_boot import pad_to_sector
from bootwright.formats.keys import KeyType, generate_key, load_private_key

IMAGE = make_bootloader_image(5, size=0x1230)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("keys")
    for name, key_type in {"rsa": KeyType.RSA_3072, "p256": KeyType.ECDSA_P256, "p384": KeyType.ECDSA_P384}.items():
        key = generate_key(key_type)
        (place / f"{name}.pem").write_bytes(key.pem())
        (place / f"{name}.pub").write_bytes(key.public.pem)
    return place


@pytest.fixture
def place(tmp_path: Path, keys: Path) -> Path:
    for key in keys.iterdir():
        (tmp_path / key.name).write_bytes(key.read_bytes())
    (tmp_path / "image").write_bytes(IMAGE)
    return tmp_path


def test_a_bootloader_is_signed_and_accepted_by_a_chip_that_trusts_the_key(place: Path) -> None:
    said = answer(place, "secure-boot sign --chip esp32c3 -k rsa.pem -o signed image")
    assert said["bytes"] == 0x3000
    assert [block["key_type"] for block in said["blocks"]] == ["rsa-3072"]
    digest = answer(place, "secure-boot digest --chip esp32c3 rsa.pub -o digest")["digest"]
    assert said["blocks"][0]["key_digest"] == digest == (place / "digest").read_bytes().hex()
    for trust in ("-k rsa.pub", f"--digest {digest}", "--digest digest", ""):
        checked = answer(place, f"secure-boot verify --chip esp32c3 --bootloader {trust} signed")
        assert checked["verdict"] == "pass"
        assert "bootloader.size" in [finding["code"] for finding in checked["findings"]]
    assert answer(place, "secure-boot info signed")["blocks"][0]["image_digest_fits"] is True


def test_p384_beside_another_kind_of_key_is_warned_of(place: Path) -> None:
    mixed = answer(place, "secure-boot sign --chip esp32p4 -k p384.pem -k p256.pem -o mixed image")
    assert "secure_boot.keys.mixed" in [one["code"] for one in mixed["findings"]]
    for keys in ("-k p384.pem -k p384.pem", "-k rsa.pem -k p256.pem"):
        same = answer(place, f"secure-boot sign --chip esp32p4 {keys} -o same image")
        assert "secure_boot.keys.mixed" not in [one["code"] for one in same["findings"]]


@pytest.mark.parametrize(
    "line",
    [
        "secure-boot sign -k p256.pem -k rsa.pem -o rsa.pem image",
        "secure-boot sign -k file:rsa.pem -o ./rsa.pem image",
        "secure-boot sign --chip esp32c3 --fe-key rsa.pem -k p256.pem -o rsa.pem image",
        "secure-boot digest rsa.pem -o rsa.pem",
        "secure-boot public-key rsa.pem -o rsa.pem",
        "secure-boot v1 sign -k rsa.pem -o rsa.pem image",
        "secure-boot v1 digest -k rsa.pem -o rsa.pem image",
        "secure-boot v1 reflash-key rsa.pem -o rsa.pem",
        "secure-boot v1 public-key rsa.pem -o rsa.pem",
        "flash-encryption encrypt --chip esp32c3 -k rsa.pem -a 0 -o rsa.pem image",
        "flash-encryption decrypt --chip esp32c3 -k rsa.pem -a 0 -o rsa.pem image",
        "flash-encryption reencrypt --chip esp32c3 -k p256.pem --new-key rsa.pem -a 0 -o rsa.pem image",
    ],
)
def test_no_command_writes_over_its_own_key(line: str, place: Path) -> None:
    before = (place / "rsa.pem").read_bytes()
    assert "found the key file itself" in complaint(place, line, code=7)
    assert (place / "rsa.pem").read_bytes() == before


def test_refusals_name_the_check(place: Path) -> None:
    answer(place, "secure-boot sign -k p256.pem -o signed image")
    answer(place, "secure-boot verify -k p384.pub signed", code=1)
    wrong = answer(place, "secure-boot verify --chip esp32c3 signed", code=1)
    assert [f["code"] for f in wrong["findings"] if f["verdict"] == "fail"] == ["secure_boot.scheme"]
    data = bytearray((place / "signed").read_bytes())
    data[0x800] ^= 1
    (place / "signed").write_bytes(data)
    ran = bootwright(place, *["secure-boot", "verify", "-k", "p256.pub", "signed"])
    assert ran.code == 1
    assert "[secure_boot.digest.mismatch]" in ran.out
    assert "[esp.image.hash]" in ran.out


def test_a_signed_image_is_not_signed_again_by_accident(place: Path) -> None:
    answer(place, "secure-boot sign -k p256.pem -o one image")
    assert "found a signature sector behind 0x2000 bytes" in complaint(
        place, "secure-boot sign -k p256.pem -o two one", code=7
    )
    assert len(answer(place, "secure-boot sign --append -k p384.pem -o two one")["blocks"]) == 2
    assert len(answer(place, "secure-boot sign --again -k p384.pem -o three two")["blocks"]) == 1
    assert len((place / "three").read_bytes()) == 0x3000
    complaint(place, "secure-boot sign --append -k p384.pem -o four image", code=3)


def test_what_the_chip_cannot_verify_is_not_signed(place: Path) -> None:
    said = complaint(place, "secure-boot sign --chip esp32c3 -k p256.pem -o out image", code=5)
    assert "found key type ecdsa-p256, the ESP32-C3 verifies rsa-3072" in said
    said = complaint(place, "secure-boot sign --chip esp32 -k rsa.pem -k rsa.pem -o out image", code=5)
    assert "found 2 signatures, the ESP32 has 1 digest slot" in said
    assert not (place / "out").exists()


def test_a_bootloader_too_large_for_the_rom_is_found(place: Path) -> None:
    for size, code in ((0xC000, 0), (0xC010, 1)):
        (place / "large").write_bytes(make_bootloader_image(0, size=size))
        answer(place, "secure-boot sign -k rsa.pem -o signed large")
        said = answer(place, "secure-boot verify --chip esp32 --bootloader signed", code=code)
        assert ("bootloader.too_large" in [finding["code"] for finding in said["findings"]]) == bool(code)


def test_a_bootloader_too_large_for_the_rom_is_not_signed(place: Path) -> None:
    (place / "large").write_bytes(make_bootloader_image(0, size=0xC010))
    said = complaint(place, "secure-boot sign --chip esp32 --bootloader -k rsa.pem -o out large", code=5)
    assert "the bootloader has 0xd000 bytes without its signature sector, the ROM takes 0xc000" in said
    assert bootwright(place, *["secure-boot", "sign", "--bootloader", "-k", "rsa.pem", "-o", "out", "large"]).code == 2


def test_ciphertext_is_not_signed_where_the_key_shows_it_and_warned_of_where_it_cannot(place: Path) -> None:
    (place / "fe").write_bytes(bytes(range(32)))
    answer(place, "flash-encryption encrypt --chip esp32c3 -k fe -a 0 -o cipher image")
    said = complaint(place, "secure-boot sign --chip esp32c3 --fe-key fe -k rsa.pem -o out cipher", code=7)
    assert "refused to sign ciphertext: the data are an ESP image for chip id 5" in said
    assert "sign the plaintext, then encrypt" in said
    assert not (place / "out").exists()
    warned = answer(place, "secure-boot sign -k p256.pem -o out cipher")["findings"][0]
    assert (warned["code"], warned["verdict"]) == ("secure_boot.content.unknown", "warn")
    answer(place, "secure-boot sign --chip esp32c3 --fe-key fe --address 0 -k rsa.pem -o out image")


@pytest.mark.parametrize("mended", [True, False])
def test_a_header_that_was_patched_after_signing_is_recognised(place: Path, mended: bool) -> None:
    answer(place, "secure-boot sign -k p256.pem -o signed image")
    data = bytearray((place / "signed").read_bytes())
    data[2:4] = b"\x00\x4f"
    if mended:
        data[len(IMAGE) - 32 : len(IMAGE)] = hashlib.sha256(data[: len(IMAGE) - 32]).digest()
    (place / "patched").write_bytes(data)
    found = answer(place, "secure-boot verify patched", code=1)["findings"]
    because = next(one["because"] for one in found if one["code"] == "secure_boot.header.patched")
    assert "found 00 4f, signed with 02 20" in because


def test_the_c2_keeps_half_a_digest(place: Path) -> None:
    answer(place, "secure-boot digest --chip esp32c2 p256.pem -o half")
    assert (place / "half").stat().st_size == 16
    answer(place, "secure-boot sign --chip esp32c2 -k p256.pem -o signed image")
    answer(place, "secure-boot verify --digest half signed")


@pytest.mark.parametrize("name", ["rsa", "p256", "p384"])
def test_a_signer_elsewhere_gets_the_bytes_and_gives_the_signature(place: Path, name: str) -> None:
    said = answer(place, "secure-boot prepare -o tosign image")
    assert (place / "tosign").read_bytes() == pad_to_sector(IMAGE)
    key = load_private_key((place / f"{name}.pem").read_bytes())
    digest = bytes.fromhex(said["sha384" if name == "p384" else "sha256"])
    (place / "sig").write_bytes(key.sign_digest(digest))
    answer(place, f"secure-boot attach --public {name}.pub --signature sig -o signed image")
    answer(place, f"secure-boot verify -k {name}.pub signed")
    (place / "sig").write_bytes(key.sign(b"another image"))
    complaint(place, f"secure-boot attach --public {name}.pub --signature sig -o other image", code=4)
    assert bootwright(place, *f"secure-boot attach --public {name}.pub -o x image".split()).code == 2


@pytest.mark.parametrize("scheme", ["ecdsa-p192", "ecdsa-p256", "ecdsa-p384"])
def test_keys_are_made_for_their_owner(place: Path, scheme: str) -> None:
    answer(place, f"secure-boot keygen --scheme {scheme} new.pem")
    assert (place / "new.pem").stat().st_mode & 0o777 == 0o600
    assert load_private_key((place / "new.pem").read_bytes()).key_type == scheme
    assert "overwritten is lost" in complaint(place, "secure-boot keygen new.pem", code=7)
    answer(place, "secure-boot public-key new.pem -o new.pub")
    assert (place / "new.pub").read_bytes().startswith(b"-----BEGIN PUBLIC KEY")
    complaint(place, f"secure-boot keygen --chip esp32 --scheme {scheme} x.pem", code=5)


def test_version_1_signs_digests_and_checks(place: Path) -> None:
    (place / "block2").write_bytes(bytes(range(32)))
    answer(place, "secure-boot v1 digest -k block2 -o flash image")
    assert answer(place, "secure-boot v1 check-digest -k block2 flash")["verdict"] == "pass"
    (place / "other").write_bytes(bytes(32))
    said = answer(place, "secure-boot v1 check-digest -k other flash", code=1)
    assert said["findings"][0]["code"] == "secure_boot.v1.digest.mismatch"
    answer(place, "secure-boot v1 sign -k p256.pem -o app image")
    assert answer(place, "secure-boot v1 verify -k p256.pub app")["verdict"] == "pass"
    assert answer(place, "secure-boot v1 verify -k p256.pub image", code=1)["verdict"] == "fail"
    assert "ends in a signature of this key" in complaint(place, "secure-boot v1 sign -k p256.pem -o x app", code=7)
    answer(place, "secure-boot v1 reflash-key --bits 192 p256.pem -o reflash")
    assert (place / "reflash").stat().st_size == 24
    answer(place, "secure-boot v1 public-key p256.pem -o raw")
    assert (place / "raw").stat().st_size == 64
    complaint(place, "secure-boot v1 sign -k rsa.pem -o x image", code=3)


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("sign -k none.pem -o out image", 3, "none.pem: found nothing"),
        ("sign -k rsa.pub -o out image", 3, "public"),
        ("sign -k rsa.pem -o out none", 3, "none: found nothing, expected an image"),
        ("info image", 3, "found no valid signature block"),
        ("verify --digest 00ff image", 3, "key digest: found 2 bytes, expected 16 or 32"),
        ("digest image", 3, "image"),
    ],
)
def test_bad_input_is_one_sentence_and_writes_nothing(place: Path, line: str, code: int, words: str) -> None:
    assert words in complaint(place, f"secure-boot {line}", code=code)
    assert not (place / "out").exists()
