"""`bootwright espsecure` takes espsecure's command lines: same exit code, same words, same files."""

import re
import shutil
from functools import partial
from pathlib import Path

import pytest
from tests.support.espsecure_lines import both, make_inputs, ours_in, theirs_in
from tests.support.peers import run_bootwright, run_peer

ENCRYPT = "encrypt-flash-data --keyfile {} --address {} --output out"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keys, images and signatures that all command lines start from."""
    place = tmp_path_factory.mktemp("inputs")
    make_inputs(place)
    return place


#: one output file, `out`, that is the same byte for byte
SAME_FILES = [
    *(
        ENCRYPT.format(f"k{size}", address) + " --aes-xts image"
        for size in (16, 32, 64)
        for address in ("0x1000", "16")
    ),
    *(ENCRYPT.format(f"k{size}", "0x10010") + " image" for size in (24, 32)),
    ENCRYPT.format("k32", "0x8000") + " --flash-crypt-conf 0x0 image",
    ENCRYPT.format("k32", "0x8000") + " --flash-crypt-conf 0x13 image",
    ENCRYPT.format("k32", "0xFFF000") + " image",
    ENCRYPT.format("k32", "0x1234560") + " --flash-crypt-conf 7 image",
    ENCRYPT.format("k24", "-64") + " image",
    "decrypt-flash-data -k k32 -a 0b1000000000000 -o out -x image",
    "decrypt-flash-data -k k24 -a 0x1000 -o out image",
    "encrypt_flash_data --aes_xts --keyfile k32 --address 0x10000 --output out image",
    "encrypt_flash_data --flash_crypt_conf=3 --keyfile k32 --address 0x10000 --output out image",
    "sign-data --version 1 --keyfile p256.pem --output out image",
    "sign_data -k p256.pem -v 1 -o out odd",
    "extract-public-key -k p256.pem out",
    "extract-public-key -v 2 -k rsa.pem out",
    "extract-public-key --version 2 --keyfile p384.pem out",
    "digest-sbv2-public-key -k rsa.pem -o out",
    "digest-sbv2-public-key -k p384.pub -o out",
    "digest_rsa_public_key --keyfile rsa.pub --output out",
    "digest-private-key -k p256.pem out",
    "digest_private_key --keyfile p256.pem --keylen 192 out",
    "digest-secure-bootloader -k k32 --iv iv -o out image",
    "digest_secure_bootloader --keyfile k24 --iv iv --output out image",
    "digest-secure-bootloader --keyfile k16 --iv iv --output out image",
    "digest-secure-bootloader --keyfile k32 --iv short-iv --output out image",
    "digest-secure-bootloader --keyfile k32 --iv iv --output out cut-hash",
    "digest-secure-bootloader --keyfile k32 --iv iv --output out data",
    "sign-data -v 1 --pub-key p256.pub --signature v1.sig -o out odd",
    "sign-data -v 2 --pub-key rsa.pub --signature rsa.sig -o out data",
    "sign-data -v 2 --signature p256.sig p384.sig --pub-key p256.pub p384.pub -o out data",
]


@pytest.mark.parametrize("line", SAME_FILES)
def test_the_file_is_the_same_byte_for_byte(line: str, inputs: Path, tmp_path: Path) -> None:
    (ours, our_place), (theirs, their_place) = both(inputs, tmp_path, line)
    assert (ours.code, theirs.code) == (0, 0), ours.err + theirs.err
    assert (our_place / "out").read_bytes() == (their_place / "out").read_bytes()
    assert ours.out == theirs.out


def test_without_output_a_name_is_made_and_the_data_file_signed_in_place(inputs: Path, tmp_path: Path) -> None:
    lines = ("digest-secure-bootloader -k k32 --iv iv image", "sign-data -v 1 -k p256.pem -- data")
    (ours, our_place), (theirs, their_place) = both(inputs, tmp_path, *lines)
    assert ours == theirs
    for name in ("image-digest-0x0000.bin", "data"):
        assert (our_place / name).read_bytes() == (their_place / name).read_bytes()


#: lines whose files hold randomness; each tool then verifies what the other made
SIGNED = [
    "sign-data -v 2 -k rsa.pem -o out image",
    "sign_data --version 2 --keyfile p256.pem --output out data",
    "sign-data -v 2 -k p192.pem -o out data",
    "sign-data --keyfile p384.pem p384.pem p384.pem --version 2 --output out odd",
    "sign-data -v 2 --append_signatures -k rsa.pem -o out rsa.signed",
    "sign-data -v 2 -a -k rsa.pem -o out data",
    "sign-data -v 2 --skip-padding -k p256.pem -o out odd",
]


@pytest.mark.parametrize("line", SIGNED)
def test_each_verifies_what_the_other_signed(line: str, inputs: Path, tmp_path: Path) -> None:
    (ours, our_place), (theirs, their_place) = both(inputs, tmp_path, line)
    assert (ours.code, theirs.code) == (0, 0), ours.err + theirs.err
    assert ours.out == theirs.out
    key = next(word for word in line.split() if word.endswith(".pem"))
    check = f"verify-signature -v 2 -k {key} {'--skip-padding' if '--skip' in line else ''} out"
    verdicts = [ours_in(their_place, check), theirs_in(our_place, check)]
    assert [ran.code for ran in verdicts] == [0, 0], verdicts
    assert verdicts[0].out == verdicts[1].out


SAME_WORDS = [
    "verify-signature -v 2 -k rsa.pub rsa.signed",
    "verify-signature -v 2 -k p256.pem broken",
    "verify-signature -v 2 -k p256.pem p384.signed",
    "verify-signature -v 2 -k rsa.pem data",
    "verify-signature -v 2 -k rsa.pem odd",
    "verify-signature -v 2 -k rsa.pem --skip-padding odd",
    "verify-signature -v 1 -k p256.pub data",
    "verify-signature -v 1 -k p384.pub data",
    "verify-signature -v 1 -k odd data",
    "signature-info-v2 rsa.signed",
    "signature_info_v2 p384.signed",
    "signature-info-v2 data",
    "signature-info-v2 odd",
    "signature-info-v2 broken",
    "encrypt-flash-data -x -k k24 -a 0 -o out image",
    "encrypt-flash-data -k k16 -a 0 -o out image",
    "encrypt-flash-data -k k17 -a 0 -o out image",
    "encrypt-flash-data -k k32 -a 0x1008 -o out image",
    "encrypt-flash-data -x -k k32 -a 0x1008 -o out image",
    "encrypt-flash-data -x -k k32 -a 0 -o out odd",
    "encrypt-flash-data -x -k k32 -a 0 -o out empty",
    "encrypt-flash-data -x -k k32 -a 0 -o k32 image",
    "decrypt-flash-data -k k32 -a 0 -o out odd",
    "sign-data -v 2 -k rsa.pem -o image image",
    "sign-data -v 2 -k rsa.pem -o rsa.pem image",
    "sign-data -v 2 -k rsa.pem rsa.pem p256.pem p384.pem -o out image",
    "sign-data -v 2 -k small.pem -o out image",
    "sign-data -v 2 -o out data",
    "sign-data -v 2 --pub-key rsa.pub --signature p256.sig rsa.sig -o out data",
    "sign-data -v 2 --pub-key p256.pub --signature p384.sig -o out data",
    "sign-data -v 2 --pub-key rsa.pub --signature rsa.sig -o out odd",
    "sign-data -v 1 -k p384.pem -o out image",
    "sign-data -v 1 --hsm -o out image",
    "sign-data -v 2 --hsm -o out image",
    "sign-data -v 1 -k p256.pem p256.pem -o out image",
    "generate-signing-key -v 1 -s rsa3072 new.pem",
    "generate-signing-key -v 2 rsa.pem",
    "extract-public-key -k p384.pem out",
    "digest-private-key -k p384.pem out",
    "digest-secure-bootloader -k k32 -o out odd",
    "digest-secure-bootloader -k k17 -o out image",
    "digest-secure-bootloader -k k32 -o out cut",
    "digest-secure-bootloader -k k17 -o out odd",
    "sign-data -v 2 -k p192.pem image image image image -o out data",
    "verify-signature -v 2 --hsm rsa.signed",
]

#: what each command says of a key that it does not take
COMMANDS_WITH_KEYS = [
    "sign-data -v 2 -o out data -k {}",
    "sign-data -v 1 -o out data -k {}",
    "verify-signature -v 2 rsa.signed -k {}",
    "verify-signature -v 1 v1.signed -k {}",
    "extract-public-key -v 1 -k {} out",
    "extract-public-key -v 2 -k {} out",
    "digest-sbv2-public-key -o out -k {}",
    "digest-private-key -k {} out",
    "sign-data -v 2 --signature rsa.sig --pub-key {} -o out data",
    "sign-data -v 1 --signature v1.sig --pub-key {} -o out odd",
]
KEYS = (
    "rsa.pub small.pem small.pub p192.pem p256.pub p256.raw p384.pub p521.pem p521.pub ed.pem ed.pub rsa.locked "
    "p256.locked p256.der rsa.der empty data"
)


@pytest.mark.parametrize("line", SAME_WORDS)
def test_the_answer_is_recognisable(line: str, inputs: Path, tmp_path: Path) -> None:
    (ours, our_place), (theirs, _) = both(inputs, tmp_path, line)
    assert ours.code == theirs.code, (ours, theirs)
    assert "Traceback" not in ours.err
    if ours.code:
        assert not (our_place / "out").exists()
    assert fatal_words(ours.err) == fatal_words(theirs.err)


@pytest.mark.parametrize("line", COMMANDS_WITH_KEYS)
@pytest.mark.parametrize("key", KEYS.split())
def test_a_key_that_does_not_serve_is_refused_with_the_same_words(
    key: str, line: str, inputs: Path, tmp_path: Path
) -> None:
    (ours, our_place), (theirs, _) = both(inputs, tmp_path, line.format(key))
    assert ours.code == theirs.code, (ours, theirs)
    assert "Traceback" not in ours.err
    if "Traceback" not in theirs.err:
        assert (ours.out, fatal_words(ours.err)) == (theirs.out, fatal_words(theirs.err))
    if ours.code:
        assert not (our_place / "out").exists()


def fatal_words(said: str) -> str:
    """What is said of a fatal error, without our hints and without `cryptography`'s reasons."""
    _, fatal, words = said.partition("A fatal error occurred: ")
    words = re.sub(r"\n  hint: .*", "", words)
    return fatal + re.sub(r"(?s)(Error loading private key:|Incorrect HSM config).*", r"\1", " ".join(words.split()))


#: where espsecure ends in a traceback, or click refuses the line
SAME_CODE = [
    "",
    "nonsense",
    "encrypt-flash-data -k missing -a 0 -o out image",
    "encrypt-flash-data -k k32 -a zero -o out image",
    "encrypt-flash-data -k k32 -o out image",
    "encrypt-flash-data -x -k twins -a 0 -o out image",
    "encrypt-flash-data -x -k k32 -a 0x100000000 -o out image",
    "sign-data -k rsa.pem -o out image",
    "sign-data -v 3 -k rsa.pem -o out image",
    "sign-data -v 2 -k rsa.pem image",
    "sign-data -v 2 -k rsa.pem -o nowhere/out image",
    "sign-data -v 2 -k ed.pem -o out image",
    "sign-data -v 2 -k image -o out image",
    "digest-sbv2-public-key -k ed.pub -o out",
    "digest-sbv2-public-key -k small.pub -o out",
    "digest-sbv2-public-key -k odd -o out",
    "generate-flash-encryption-key -l -8 out",
    "verify-signature -v 2 rsa.signed",
    "sign-data -v 1 -o out image",
    "verify-signature -v 1 -k p256.pub empty",
    "verify-signature -v 1 -k k64 v1.signed",
    "verify-signature -v 2 -k p256.pub rsa.signed",
    "verify-signature -v 2 -k rsa.pub p384.signed",
    "digest-secure-bootloader -k k64 --iv iv -o out image",
    "digest-secure-bootloader -k k32 -o out empty",
    "sign-data -v 2 -a -k rsa.pem -o out empty",
    "sign-data -v 1 --signature rsa.sig --pub-key p256.pub -o out odd",
    "sign-data -v 1 --signature v1.sig -o out odd",
    "sign-data -v 2 -o out -kp192.pem odd --pub-key rsa.pub",
    "sign-data -v 2 --skip_padding -k rsa.pem -o out odd",
]


@pytest.mark.parametrize("line", SAME_CODE)
def test_bad_lines_get_one_sentence_and_the_same_exit_code(line: str, inputs: Path, tmp_path: Path) -> None:
    (ours, our_place), (theirs, _) = both(inputs, tmp_path, line)
    assert ours.code == theirs.code, (ours, theirs)
    assert "Traceback" not in ours.err
    assert not (our_place / "out").exists()


def test_a_dash_is_standard_input_or_output_where_espsecure_takes_it(inputs: Path) -> None:
    for line in (
        "encrypt-flash-data -x -k k32 -a 0x1000 -o - image",
        "decrypt-flash-data -k k32 -a 0x1000 -o - image",
        "extract-public-key -k p256.pem -",
        "digest-private-key -k p256.pem -",
    ):
        ours, theirs = ours_in(inputs, line), theirs_in(inputs, line)
        assert (ours.code, theirs.code) == (0, 0), ours.err + theirs.err
        assert sorted(ours.raw) == sorted(theirs.raw)
    for tool, run in (("ours", partial(run_bootwright, "espsecure")), ("theirs", partial(run_peer, "espsecure"))):
        ran = run(
            "encrypt-flash-data", "-x", "-k", "k32", "-a", "0", "-o", f"from-{tool}", "-", stdin="x" * 32, cwd=inputs
        )
        assert ran.code == 0, ran.err
    assert (inputs / "from-ours").read_bytes() == (inputs / "from-theirs").read_bytes()


@pytest.mark.parametrize("words", ["digest-sdc-public-key --pub-key p256.pub -o {}", "generate_sdc_certificate -o {}"])
def test_commands_for_chips_that_we_do_not_know_are_answered_by_espsecure(words: str, inputs: Path) -> None:
    ours = run_bootwright("espsecure", *words.format("sdc-ours").split(), cwd=inputs)
    theirs = run_peer("espsecure", *words.format("sdc-theirs").split(), cwd=inputs)
    assert ours.code == theirs.code
    assert ours.out.replace("sdc-ours", "") == theirs.out.replace("sdc-theirs", "")
    if ours.code == 0:
        assert (inputs / "sdc-ours").read_bytes() == (inputs / "sdc-theirs").read_bytes()


@pytest.mark.parametrize("bits", [128, 192, 256, 512, 100])
def test_keys_have_the_length_asked_for_and_belong_to_their_owner(bits: int, inputs: Path, tmp_path: Path) -> None:
    (ours, our_place), (theirs, their_place) = both(inputs, tmp_path, f"generate_flash_encryption_key -l {bits} new")
    assert (ours.code, ours.out) == (theirs.code, theirs.out)
    assert (our_place / "new").stat().st_size == (their_place / "new").stat().st_size == bits // 8
    assert (our_place / "new").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("scheme", ["rsa3072", "ecdsa192", "ecdsa256", "ecdsa384"])
def test_generated_keys_serve_both(scheme: str, inputs: Path, tmp_path: Path) -> None:
    (ours, our_place), (theirs, their_place) = both(
        inputs, tmp_path, f"generate_signing_key --version 2 --scheme {scheme} new.pem"
    )
    assert (ours.code, ours.out, ours.err) == (theirs.code, theirs.out, theirs.err)
    assert (our_place / "new.pem").read_bytes()[:32] == (their_place / "new.pem").read_bytes()[:32]
    assert (our_place / "new.pem").stat().st_mode & 0o777 == 0o600
    ran = run_peer("espsecure", "sign-data", "-v", "2", "-k", "new.pem", "-o", "out", "data", cwd=our_place)
    assert ran.code == 0, ran.err


def test_every_espsecure_line_of_mcuboots_readme_works_as_it_stands(inputs: Path, tmp_path: Path) -> None:
    lines = (
        "generate_signing_key --version 2 BOOTLOADER_SIGNING_KEY.pem",
        "sign_data --version 2 --keyfile BOOTLOADER_SIGNING_KEY.pem -o OUT IN",
        "generate_flash_encryption_key FLASH_ENCRYPTION_KEY.bin",
        "encrypt_flash_data --keyfile FLASH_ENCRYPTION_KEY.bin --address 0x1000 --output E1 OUT",
        "encrypt_flash_data --aes_xts --keyfile FLASH_ENCRYPTION_KEY.bin --address 0x1000 --output E2 OUT",
    )
    shutil.copy(inputs / "image", tmp_path / "IN")
    for line in lines:
        ran = run_bootwright("espsecure", *line.split(), cwd=tmp_path)
        assert ran.code == 0, ran.err
    check = ("verify-signature", "-v", "2", "-k", "BOOTLOADER_SIGNING_KEY.pem", "OUT")
    assert run_peer("espsecure", *check, cwd=tmp_path).code == 0
    for options, name in (((), "E1"), (("-x",), "E2")):
        words = ("decrypt-flash-data", *options, "-k", "FLASH_ENCRYPTION_KEY.bin", "-a", "0x1000", "-o", "D", name)
        assert run_peer("espsecure", *words, cwd=tmp_path).code == 0
        assert (tmp_path / "D").read_bytes() == (tmp_path / "OUT").read_bytes()


#: `docs/en/security` of ESP-IDF (10212290), with names for what it leaves open
ESP_IDF_LINES = """
espsecure generate-flash-encryption-key my_flash_encryption_key.bin
espsecure generate-flash-encryption-key --keylen 512 long_key.bin
espsecure generate-flash-encryption-key --keylen 128 short_key.bin
espsecure generate-signing-key --version 2 --scheme rsa3072 secure_boot_signing_key.pem
espsecure generate-signing-key --version 2 --scheme rsa3072 secure_boot_signing_key2.pem
espsecure generate-signing-key --version 2 --scheme ecdsa256 ecdsa_key.pem
espsecure digest-sbv2-public-key --keyfile secure_boot_signing_key.pem --output digest.bin
espsecure sign-data --version 2 --keyfile secure_boot_signing_key.pem --output bootloader-signed.bin bootloader.bin
espsecure sign-data --version 2 --keyfile secure_boot_signing_key.pem --output my-app-signed.bin my-app.bin
espsecure sign-data --keyfile secure_boot_signing_key2.pem --version 2 --append-signatures -o bootloader-signed2.bin \
  bootloader-signed.bin
espsecure sign-data --keyfile secure_boot_signing_key2.pem --version 2 --append-signatures -o my-app-signed2.bin \
  my-app-signed.bin
espsecure signature-info-v2 bootloader-signed.bin
espsecure encrypt-flash-data --aes-xts --keyfile my_flash_encryption_key.bin --address 0x0 \
  --output bootloader-enc.bin bootloader.bin
espsecure encrypt-flash-data --keyfile my_flash_encryption_key.bin --address 0x8000 \
  --output partition-table-enc.bin bootloader.bin
espsecure encrypt-flash-data --aes-xts --keyfile long_key.bin --address 0x10000 --output my-app-enc.bin my-app.bin
espsecure decrypt-flash-data --aes-xts --keyfile long_key.bin --address 0x10000 --output my-app-dec.bin my-app-enc.bin
espsecure generate-signing-key --version 1 PRIVATE_SIGNING_KEY
espsecure extract-public-key --keyfile PRIVATE_SIGNING_KEY PUBLIC_VERIFICATION_KEY
espsecure sign-data --version 1 --keyfile PRIVATE_SIGNING_KEY --output my-app-v1.bin my-app.bin
espsecure digest-private-key --keyfile PRIVATE_SIGNING_KEY --keylen 256 secure-bootloader-key-256.bin
espsecure digest-secure-bootloader --keyfile secure-bootloader-key-256.bin \\
  -o bootloader-reflash-digest.bin bootloader.bin
"""


def test_every_espsecure_line_of_esp_idfs_security_pages_works_as_it_stands(inputs: Path, tmp_path: Path) -> None:
    for name in ("bootloader.bin", "my-app.bin"):
        shutil.copy(inputs / "image", tmp_path / name)
    for line in ESP_IDF_LINES.replace("\\\n", "").strip().splitlines():
        ran = run_bootwright(*line.split(), cwd=tmp_path)
        assert ran.code == 0, (line, ran.err)
    for key in ("secure_boot_signing_key.pem", "secure_boot_signing_key2.pem"):
        check = ("verify-signature", "--version", "2", "--keyfile", key, "my-app-signed2.bin")
        assert run_peer("espsecure", *check, cwd=tmp_path).code == 0
    check = ("verify-signature", "--version", "1", "--keyfile", "PUBLIC_VERIFICATION_KEY", "my-app-v1.bin")
    assert run_peer("espsecure", *check, cwd=tmp_path).code == 0
    assert (tmp_path / "my-app-dec.bin").read_bytes() == (tmp_path / "my-app.bin").read_bytes()
