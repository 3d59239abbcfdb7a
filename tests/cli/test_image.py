import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.dropin import run_cli
from tests.support.keys import key_of

from bootwright.formats.esp_image import Segment
from bootwright.formats.keys import KeyType
from bootwright.formats.load_header import make_application
from bootwright.formats.mcuboot_image import Image, Tlv, TlvType

Words = list[str | Path]
PAYLOAD = (
    make_application(0x40380000, Segment(0x40380000, bytes(64)), Segment(0x3FC80000, bytes(range(64))))
    + bytes(range(256)) * 40
)
C3 = """\
CONFIG_ESP_FLASH_SIZE=4MB
CONFIG_ESP_BOOTLOADER_SIZE=0xF000
CONFIG_ESP_BOOTLOADER_OFFSET=0x0000
CONFIG_ESP_IMAGE0_PRIMARY_START_ADDRESS=0x20000
CONFIG_ESP_APPLICATION_SIZE=0x1C0000
CONFIG_ESP_IMAGE0_SECONDARY_START_ADDRESS=0x1E0000
CONFIG_ESP_SCRATCH_OFFSET=0x3E0000
CONFIG_ESP_SCRATCH_SIZE=0x1F000
CONFIG_ESP_SIGN_ED25519=y
CONFIG_ESP_USE_TINYCRYPT=y
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for key_type in (KeyType.ED25519, KeyType.ECDSA_P256, KeyType.X25519, KeyType.RSA_2048):
        (tmp_path / f"{key_type}.pem").write_bytes(key_of(key_type).pem())
        (tmp_path / f"{key_type}.pub").write_bytes(key_of(key_type).public.pem)
    (tmp_path / "other.pem").write_bytes(key_of(KeyType.ED25519, 1).pem())
    (tmp_path / "app.bin").write_bytes(PAYLOAD)
    (tmp_path / "boot.conf").write_text(C3)
    (tmp_path / "kek").write_bytes(bytes(range(16)))
    return tmp_path


def sign(folder: Path, *words: str | Path, key: str = "ed25519.pem") -> Path:
    out = folder / "out.bin"
    done = run_cli("image", "sign", folder / "app.bin", out, "-v", "1.2.3", "-k", folder / key, *words)
    assert done.code == 0, done
    return out


def test_an_image_signed_for_a_bootloader_conf_is_verified_against_it(folder: Path) -> None:
    out = sign(folder, "--conf", folder / "boot.conf", "--pad", "confirm", "--security-counter", "auto")
    assert out.stat().st_size == 0x1C0000
    done = run_cli("image", "verify", out, "-k", folder / "ed25519.pub", "--conf", folder / "boot.conf", "--json")
    said = json.loads(done.out)
    assert (done.code, said["verdict"], said["version"]) == (0, "pass", "1.2.3+0")
    assert [finding["code"] for finding in said["findings"]] == [
        "image.header.valid",
        "image.hash.match",
        "image.signature.valid",
        "image.slot.fits",
        "image.trailer.good",
    ]


def test_an_application_that_the_loader_cannot_load_is_warned_of_when_signed_and_refused_when_verified(
    folder: Path,
) -> None:
    (folder / "app.bin").write_bytes(bytes(range(256)) * 40)
    made = run_cli(
        *("image", "sign", folder / "app.bin", folder / "out.bin", "-v", "1", "-k", folder / "ed25519.pem"),
        *("--conf", folder / "boot.conf"),
    )
    assert (made.code, "warn" in made.out, "[load_header.magic]" in made.out) == (0, True, True)
    done = run_cli("image", "verify", folder / "out.bin", "-k", folder / "ed25519.pub", "--conf", folder / "boot.conf")
    assert (done.code, "[load_header.magic]" in done.out) == (1, True)


def test_an_image_that_the_build_does_not_ask_for_is_not_made(folder: Path) -> None:
    words: Words = ["image", "sign", folder / "app.bin", folder / "out.bin", "-v", "1", "--conf", folder / "boot.conf"]
    other = run_cli(*words, "-k", folder / "rsa-2048.pem")
    assert (other.code, "verifies ed25519 signatures only, the key given is rsa-2048" in other.err) == (3, True)
    unsigned = run_cli(*words, "--unsigned")
    assert (unsigned.code, "found no ed25519 signature, expected one" in unsigned.err) == (3, True)
    assert not (folder / "out.bin").exists()


def test_a_build_that_trusts_anybody_or_counts_is_warned_of(folder: Path) -> None:
    counting = "CONFIG_ESP_DOWNGRADE_PREVENTION=y\nCONFIG_ESP_DOWNGRADE_PREVENTION_SECURITY_COUNTER=y\n"
    (folder / "boot.conf").write_text(C3.replace("CONFIG_ESP_SIGN_ED25519=y\n", "") + counting)
    out = sign(folder, "--conf", folder / "boot.conf")
    done = run_cli("image", "verify", out, "--conf", folder / "boot.conf")
    assert done.code == 0
    assert "[image.build.unsigned]" in done.out
    assert "[image.build.security_counter]" in done.out


def test_the_wrong_key_is_the_answer_no(folder: Path) -> None:
    out = sign(folder)
    done = run_cli("image", "verify", out, "-k", folder / "other.pem")
    assert done.code == 1
    assert "[image.key.unknown]" in done.out


def test_which_key_names_the_signer_among_several(folder: Path) -> None:
    out = sign(folder)
    keys: Words = [folder / "other.pem", folder / "rsa-2048.pub", folder / "ed25519.pub"]
    done = run_cli("image", "which-key", out, *keys, "--json")
    assert (done.code, json.loads(done.out)["signed_by"]) == (0, [str(folder / "ed25519.pub")])
    assert run_cli("image", "which-key", out, *keys[:2]).code == 1


def test_what_is_signed_already_is_not_signed_again_unless_told_so(folder: Path) -> None:
    out = sign(folder)
    words: Words = ["image", "sign", out, folder / "twice.bin", "-v", "1", "-k", folder / "ed25519.pem"]
    done = run_cli(*words)
    assert done.code == 7
    assert "found an MCUboot image of version 1.2.3+0, signed already" in done.err
    assert not (folder / "twice.bin").exists()
    assert run_cli(*words, "--again").code == 0


def test_flash_ciphertext_is_recognised_with_its_key(folder: Path) -> None:
    from bootwright.formats.esp_flash_encryption import encrypt_xts

    app = bytes(32) + PAYLOAD
    key, other = bytes(range(32)), bytes(32)
    (folder / "flash.key").write_bytes(key)
    (folder / "other.key").write_bytes(other)
    (folder / "cipher.bin").write_bytes(encrypt_xts(app[: len(app) // 16 * 16], key, 0x20000))
    words: Words = ["image", "sign", folder / "cipher.bin", folder / "out.bin", "-v", "1"]
    words += ["-k", folder / "ed25519.pem", "--flash-address", "0x20000"]
    done = run_cli(*words, "--flash-key", folder / "flash.key")
    assert done.code == 7
    assert "the data are ciphertext for address 0x20000, XTS-AES-128 with the given key" in done.err
    assert run_cli(*words, "--flash-key", folder / "flash.key", "--again").code == 0
    assert run_cli(*words, "--flash-key", folder / "other.key").code == 0


@pytest.mark.parametrize("way", ["payload", "digest"])
@pytest.mark.parametrize("key_type", [KeyType.RSA_2048, KeyType.ECDSA_P256])
def test_a_signature_made_elsewhere_is_verified_and_attached(folder: Path, way: str, key_type: KeyType) -> None:
    words: Words = [
        "image",
        "sign",
        folder / "app.bin",
        folder / "out.bin",
        "-v",
        "2",
        "--public-key",
        folder / f"{key_type}.pub",
    ]
    assert run_cli(*words, "--to-sign", way).code == 0
    asked = (folder / "out.bin").read_bytes()
    key = key_of(key_type)
    (folder / "sig").write_bytes(key.sign(asked) if way == "payload" else key.sign_digest(asked))
    assert run_cli(*words, "--signature", folder / "sig").code == 0
    assert run_cli("image", "verify", folder / "out.bin", "-k", folder / f"{key_type}.pub").code == 0
    (folder / "sig").write_bytes(key.sign(b"something else"))
    refused = run_cli(*words, "--signature", folder / "sig")
    assert refused.code == 4
    assert "is not the" in refused.err


@pytest.mark.parametrize("recipient", ["ecdsa-p256", "x25519", "rsa-2048", "kek"])
def test_an_encrypted_image_comes_back_with_its_key(folder: Path, recipient: str) -> None:
    public, private = (recipient, recipient) if recipient == "kek" else (f"{recipient}.pub", f"{recipient}.pem")
    out = sign(folder, "--encrypt-for", folder / public)
    assert run_cli("image", "verify", out).code == 1
    opened: Words = ["--decrypt-with", folder / private]
    assert run_cli("image", "verify", out, "-k", folder / "ed25519.pub", *opened).code == 0
    assert run_cli("image", "which-key", out, folder / "ed25519.pub", *opened).code == 0
    assert run_cli("image", "decrypt", out, folder / "app2.bin", "-k", folder / private, "--payload").code == 0
    assert (folder / "app2.bin").read_bytes() == PAYLOAD
    again = run_cli("image", "sign", out, folder / "twice.bin", "-v", "1", "-k", folder / "ed25519.pem")
    assert "signed and encrypted already" in again.err


def test_decrypting_with_another_key_is_refused_and_writes_nothing(folder: Path) -> None:
    out = sign(folder, "--encrypt-for", folder / "x25519.pub")
    (folder / "wrong.pem").write_bytes(key_of(KeyType.X25519, 1).pem())
    done = run_cli("image", "decrypt", out, folder / "plain.bin", "-k", folder / "wrong.pem")
    assert done.code == 4
    assert "was not encrypted for this x25519 key" in done.err
    assert not (folder / "plain.bin").exists()


def test_an_encrypted_and_compressed_image_gives_its_application_back(folder: Path) -> None:
    out = sign(folder, "--encrypt-for", folder / "x25519.pub", "--compress", "lzma2")
    done = run_cli("image", "decrypt", out, folder / "app2.bin", "-k", folder / "x25519.pem", "--payload")
    assert (done.code, (folder / "app2.bin").read_bytes()) == (0, PAYLOAD)


def test_a_compressed_image_says_what_it_saved(folder: Path) -> None:
    out = sign(folder, "--compress", "lzma2")
    assert Image.parse(out.read_bytes()).find(TlvType.DECOMP_SHA)
    assert run_cli("image", "verify", out, "-k", folder / "ed25519.pub").code == 1
    assert run_cli("image", "verify", out, "-k", folder / "ed25519.pub", "--compressed").code == 0


def test_show_lists_every_tlv_where_it_lies(folder: Path) -> None:
    out = sign(
        folder, "--tlv", "0x12a0=0xbeef", "--depends-on", "1:2.0", "--boot-record", "app", "--security-counter", "9"
    )
    said = json.loads(run_cli("image", "show", out, "--json").out)["image"]
    data = out.read_bytes()
    for row in said["tlvs"]:
        assert data[row["offset"] : row["offset"] + row["length"]].hex() == row["data"]
    meanings = {row["name"]: row.get("meaning") for row in said["tlvs"]}
    assert meanings["SEC_CNT"] == "9"
    assert meanings["DEPENDENCY"] == "image 1 of at least 2.0.0+0"
    assert meanings["BOOT_RECORD"] == "software 'app', version '1.2.3'"
    text = run_cli("image", "show", out, "--hex").out
    assert "0x12a0 VENDOR               2 bytes  beef" in text
    assert "ver.revision       0x3" in text


@pytest.mark.parametrize(
    ("words", "limit"),
    [
        ([], 0x1C0000 - 6192),
        (["--mode", "move"], 0x1C0000 - 12288),
        (["--mode", "overwrite"], 0x1C0000 - 40),
        (["--flash-encryption"], 0x1C0000 - 49408),
        (["--flash-encryption", "--mode", "move"], 0x1C0000 - 57344),
        (["--flash-encryption", "--mode", "overwrite"], 0x1C0000 - 128),
    ],
)
def test_what_fits_is_right_to_the_byte(folder: Path, words: list[str], limit: int) -> None:
    build = ["--slot-size", "0x1C0000", *words]
    said = json.loads(run_cli("image", "fits", *build, "--json").out)
    assert said["max_image_size"] == limit
    overhead = sign(folder).stat().st_size - len(PAYLOAD)
    for extra, code in ((0, 0), (1, 1)):
        (folder / "app.bin").write_bytes(b"\x01" * (limit - overhead + extra))
        big = sign(folder)
        assert big.stat().st_size == limit + extra
        assert run_cli("image", "fits", big, *build).code == code
        again: Words = ["image", "sign", folder / "app.bin", folder / "again.bin", "-v", "1", *build]
        assert run_cli(*again, "-k", folder / "ed25519.pem").code == (3 if code else 0)


def test_slots_of_more_than_512_sectors_are_refused_before_anything_else(folder: Path) -> None:
    out = sign(folder)
    assert run_cli("image", "fits", out, "--slot-size", "0x200000").code == 0
    done = run_cli("image", "fits", out, "--slot-size", "0x201000")
    assert done.code == 1
    assert "take 513 sectors, expected at most 512" in done.out


def test_a_trailer_made_for_another_build_is_found(folder: Path) -> None:
    out = sign(folder, "--slot-size", "256K", "--pad", "test")
    done = run_cli("image", "verify", out, "--slot-size", "256K", "--flash-encryption")
    assert done.code == 1
    assert "made for an alignment of 8, expected 32" in done.out
    assert "image.trailer.misplaced" in run_cli("image", "verify", out, "--slot-size", "512K").out


def test_a_header_goes_where_the_input_has_room_for_it(folder: Path) -> None:
    (folder / "app.bin").write_bytes(bytes(32) + PAYLOAD)
    inside = sign(folder).read_bytes()
    (folder / "app.bin").write_bytes(PAYLOAD)
    assert sign(folder).read_bytes() == inside
    (folder / "app.bin").write_bytes(bytes(32) + PAYLOAD)
    assert len(sign(folder, "--header", "add").read_bytes()) == len(inside) + 32
    (folder / "app.bin").write_bytes(bytes(16))
    assert run_cli("image", "sign", folder / "app.bin", folder / "x", "-v", "1", "--unsigned").code == 0


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["-v", "1"], 2, "give one of --key, --signature, --to-sign and --unsigned"),
        (["-v", "1", "--unsigned", "--pad", "test"], 2, "--pad needs --conf or --slot-size"),
        (["-v", "1", "--unsigned", "--mode", "move"], 2, "--mode and --flash-encryption need --slot-size"),
        (["-v", "1", "--to-sign", "digest"], 2, "need --public-key"),
        (["-v", "1", "--unsigned", "--tlv", "0x10=x"], 2, "a type of 0xa0 to 0xfffe"),
        (["-v", "1", "--unsigned", "--tlv", "0xa0=0xabc"], 2, "an even number of hexadecimal digits"),
        (["-v", "1", "--unsigned", "--depends-on", "one"], 2, "expected IMAGE:VERSION"),
        (["-v", "1", "--unsigned", "--security-counter", "x"], 2, "expected a number or auto"),
        (["-v", "1", "--unsigned", "--slot-size", "tiny"], 2, "expected a number such as 4096"),
        (["-v", "v1", "--unsigned"], 3, "found 'v1', expected major"),
        (["-v", "1", "--unsigned", "--slot-size", "8K"], 3, "expected at most 0x7d0"),
        (["-v", "1", "-k", "missing.pem"], 3, "missing.pem: found nothing, expected a key file"),
        (["-v", "1", "-k", "http:key"], 7, "found the key provider 'http', expected file, pkcs11 or exec"),
        (["-v", "1", "-k", "{}/x25519.pem"], 3, "the key: found x25519, expected one of rsa-2048"),
        (["-v", "1", "-k", "{}/ed25519.pub"], 3, "expected a private key"),
        (["-v", "1", "-k", "{}/ecdsa-p256.pem", "--pure"], 3, "found a ecdsa-p256 key, expected ed25519"),
    ],
)
def test_bad_wishes_are_answered_in_one_sentence(folder: Path, words: list[str], code: int, sentence: str) -> None:
    words = [word.replace("{}", str(folder)) for word in words]
    done = run_cli("image", "sign", folder / "app.bin", folder / "new.bin", *words)
    assert (done.code, sentence in done.err) == (code, True), done
    assert not (folder / "new.bin").exists()


@pytest.mark.parametrize("command", ["show", "verify", "decrypt {}/x -k {}/x25519.pem", "which-key {}/ed25519.pub"])
@pytest.mark.parametrize("content", [b"", b"\x00", b"\xff" * 100, b"\x3d\xb8\xf3\x96" + b"\xff" * 60])
def test_garbage_is_answered_in_one_sentence(folder: Path, command: str, content: bytes) -> None:
    (folder / "bad.bin").write_bytes(content)
    words = command.replace("{}", str(folder)).split()
    done = run_cli("image", words[0], folder / "bad.bin", *words[1:])
    assert done.code in (1, 3)
    assert len((done.out + done.err).splitlines()) <= 3
    assert not (folder / "x").exists()


def test_intel_hex_goes_in_and_out(folder: Path) -> None:
    from bootwright.formats.hexfile import pack_hex, parse_hex

    (folder / "app.hex").write_bytes(pack_hex([(0x42000000, PAYLOAD)]))
    done = run_cli("image", "sign", folder / "app.hex", folder / "out.hex", "-v", "1", "-k", folder / "ed25519.pem")
    assert done.code == 0
    [(address, data)] = parse_hex((folder / "out.hex").read_bytes())
    assert address == 0x42000000 - 32
    assert Image.parse(data).payload == PAYLOAD
    assert run_cli("image", "verify", folder / "out.hex", "-k", folder / "ed25519.pub").code == 0


def test_show_reads_the_trailer_of_a_padded_image(folder: Path) -> None:
    build = ["--slot-size", "128K", "--flash-encryption"]
    out = sign(folder, *build, "--pad", "confirm")
    trailer = json.loads(run_cli("image", "show", out, "--json").out)["image"]["trailer"]
    assert trailer == {
        "slot_size": 128 << 10,
        "max_align": 32,
        "image_ok": "set",
        "copy_done": "unset",
        "swap_info": "unset",
    }
    assert "trailer for alignment 32, image_ok set" in run_cli("image", "show", out).out
    data = bytearray(sign(folder, "--slot-size", "128K", "--pad", "test").read_bytes())
    data[-40], data[-32] = 0x12, 0x00
    out.write_bytes(data)
    trailer = json.loads(run_cli("image", "show", out, "--json").out)["image"]["trailer"]
    assert (trailer["swap_info"], trailer["copy_done"], trailer["image_ok"]) == ("test", "bad", "unset")


def test_show_reads_big_endian_images_and_odd_values(folder: Path) -> None:
    out = sign(
        folder, "--big-endian", "--depends-on", "1:2.0", "--security-counter", "258", "--load-addr", "0x40000000"
    )
    view = json.loads(run_cli("image", "show", out, "--json").out)["image"]
    assert (view["byte_order"], view["header"]["flags"]) == ("big", ["RAM_LOAD"])
    assert {row["name"]: row.get("meaning") for row in view["tlvs"]}["SEC_CNT"] == "258"
    assert {row["name"]: row.get("meaning") for row in view["tlvs"]}["DEPENDENCY"] == "image 1 of at least 2.0.0+0"
    assert ", big-endian" in run_cli("image", "show", out).out
    odd = Image.parse(sign(folder).read_bytes())
    strange = tuple(Tlv(type_, b"\xff") for type_ in (TlvType.BOOT_RECORD, TlvType.SEC_CNT, TlvType.UUID_VID, 0x40))
    out.write_bytes(replace(odd, unprotected=strange, rest=b"tail").pack())
    view = json.loads(run_cli("image", "show", out, "--json").out)["image"]
    assert [row.get("meaning") for row in view["tlvs"]] == [None] * 4
    assert "end of the file: 4 bytes behind the image" in run_cli("image", "show", out).out


def test_the_help_groups_the_options_of_sign(folder: Path) -> None:
    said = run_cli("image", "sign", "--help").out
    at = [said.index(title) for title in ("Who signs", "The bootloader's build", "The image:", "Other ports", "More:")]
    assert at == sorted(at)
    assert said.index("--encrypt-for") > said.index("Other ports")


def test_a_vendor_and_values_from_files_go_in(folder: Path) -> None:
    (folder / "value").write_bytes(b"from a file")
    out = sign(folder, "--tlv", f"0xa1=@{folder / 'value'}", "--tlv", "0xa2=text")
    image = Image.parse(out.read_bytes())
    assert [tlv.data for tlv in image.protected or ()] == [b"from a file", b"text"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--conf", "{}/boot.conf", "--mode", "move"], "--conf says it all"),
        (["--slot-size", "0"], "found 0, expected a size"),
        (["--clear", "--slot-size", "64K"], "--clear needs --encrypt-for"),
        (["--public-key", "{}/ed25519.pub"], "--public-key goes with --signature and --to-sign"),
    ],
)
def test_options_that_do_not_go_together_are_named(folder: Path, words: list[str], sentence: str) -> None:
    words = [word.replace("{}", str(folder)) for word in words]
    done = run_cli("image", "sign", folder / "app.bin", folder / "x", "-v", "1", "-k", folder / "ed25519.pem", *words)
    assert (done.code, sentence in done.err) == (2, True)


def test_a_pure_signature_is_made_over_the_payload(folder: Path) -> None:
    public = folder / "ed25519.pub"
    words: Words = ["image", "sign", folder / "app.bin", folder / "x", "-v", "1", "--pure", "--public-key", public]
    assert "is over the payload" in run_cli(*words, "--to-sign", "digest").err
    assert run_cli(*words, "--to-sign", "payload").code == 0
    (folder / "sig").write_bytes(key_of(KeyType.ED25519).sign((folder / "x").read_bytes()))
    assert run_cli(*words, "--signature", folder / "sig").code == 0
    assert run_cli("image", "verify", folder / "x", "-k", public, "--pure").code == 0
    assert run_cli("image", "verify", folder / "x", "-k", public).code == 1
    assert run_cli("image", "which-key", folder / "x", public).code == 0


def test_fits_needs_to_know_the_build(folder: Path) -> None:
    done = run_cli("image", "fits", sign(folder))
    assert (done.code, "what fits follows from the bootloader's build" in done.err) == (2, True)


def test_slots_of_more_sectors_than_the_port_has_fit_nothing() -> None:
    done = run_cli("image", "fits", "--slot-size", "0x201000")
    assert (done.code, "expected at most 512" in done.out) == (1, True)
    assert run_cli("image", "fits", "--slot-size", "2M").code == 0


def test_what_carries_a_secure_boot_signature_is_not_signed_again(tmp_path: Path) -> None:
    import os

    from bootwright.chips.chip import load_chip
    from bootwright.host.secure_boot import sign_image as sign_for_rom

    plain = b"\xe9" + os.urandom(8191)
    signed = sign_for_rom(plain, [key_of(KeyType.RSA_3072)], chip=load_chip("esp32c3"))
    (tmp_path / "signed.bin").write_bytes(signed)
    words: list[str | Path] = ["image", "sign", tmp_path / "signed.bin", tmp_path / "out.bin", "-v", "1"]
    words.append("--unsigned")
    refused = run_cli(*words)
    assert (refused.code, "found 1 Secure Boot signature block at its end" in refused.err) == (7, True), refused
    assert not (tmp_path / "out.bin").exists()
    assert run_cli(*words, "--again").code == 0
    (tmp_path / "signed.bin").write_bytes(plain[:4096] + b"\xe7" + plain[:4095])
    assert run_cli(*words).code == 0


@pytest.mark.parametrize(
    "words", [["--vid", "example.com", "--cid", "gadget"], ["--cid", "12345678-1234-5678-1234-567812345678"]]
)
def test_vendor_and_class_are_derived_as_imgtool_derives_them(tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "app.bin").write_bytes(b"\x01app")
    ours, theirs = tmp_path / "ours.bin", tmp_path / "theirs.bin"
    assert run_cli("image", "sign", tmp_path / "app.bin", ours, "-v", "1", "--unsigned", *words).code == 0
    line = ["imgtool", "sign", "-v", "1", "-H", "32", "-S", "0x8000", "--pad-header", *words]
    assert run_cli(*line, tmp_path / "app.bin", theirs).code == 0
    assert ours.read_bytes() == theirs.read_bytes()
    refused = run_cli("image", "sign", tmp_path / "app.bin", ours, "-v", "1", "--unsigned", "--cid", "gadget")
    assert (refused.code, "a --vid that it belongs to" in refused.err) == (2, True)
