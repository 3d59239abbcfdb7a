"""`bootwright espsecure` takes espsecure's command lines: same exit code, same words, same files."""

import io
import shutil
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from tests.support.peers import Ran, run_bootwright, run_peer

from bootwright.cli.dropin.espsecure import answer
from bootwright.formats.esp_image import make_bootloader_image
from bootwright.formats.esp_secure_boot import sign_v2
from bootwright.formats.keys import KeyType, generate_key

ENCRYPT = "encrypt-flash-data --keyfile {} --address {} --output out"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keys, images and signatures that all command lines start from."""
    place = tmp_path_factory.mktemp("inputs")
    for size in (16, 17, 24, 32, 64):
        (place / f"k{size}").write_bytes(bytes(range(1, size + 1)))
    (place / "twins").write_bytes(bytes(range(32)) * 2)
    (place / "image").write_bytes(make_bootloader_image(5, size=0x1230))
    (place / "data").write_bytes(b"\xe9" + bytes(4095))
    (place / "odd").write_bytes(bytes(100))
    (place / "empty").write_bytes(b"")
    (place / "iv").write_bytes(bytes(range(128)))
    keys = {
        "rsa": KeyType.RSA_3072,
        "small": KeyType.RSA_2048,
        "p192": KeyType.ECDSA_P192,
        "p256": KeyType.ECDSA_P256,
        "p384": KeyType.ECDSA_P384,
        "ed": KeyType.ED25519,
    }
    for name, key_type in keys.items():
        key = generate_key(key_type)
        (place / f"{name}.pem").write_bytes(key.pem())
        (place / f"{name}.pub").write_bytes(key.public.pem)
        if name in ("rsa", "p256", "p384"):
            content = (place / "data").read_bytes()
            (place / f"{name}.sig").write_bytes(key.sign(content))
            (place / f"{name}.signed").write_bytes(sign_v2(content, [key]))
    broken = bytearray((place / "p256.signed").read_bytes())
    broken[100] ^= 1
    (place / "broken").write_bytes(broken)
    return place


def ours_in(place: Path, line: str) -> Ran:
    """Our answer to a line, without the start-up of a process."""
    out, err = io.StringIO(), io.StringIO()
    with chdir(place), redirect_stdout(out), redirect_stderr(err):
        code = answer(line.split())
    return Ran(code, out.getvalue(), err.getvalue())


def theirs_in(place: Path, line: str) -> Ran:
    """espsecure's answer to a line."""
    return run_peer("espsecure", *line.split(), cwd=place)


def both(inputs: Path, tmp_path: Path, *lines: str) -> tuple[tuple[Ran, Path], tuple[Ran, Path]]:
    """Run the lines with ours and with espsecure, each in a copy of the inputs; the last line's outcome counts."""
    shutil.copytree(inputs, tmp_path / "ours")
    shutil.copytree(inputs, tmp_path / "theirs")
    ours = [ours_in(tmp_path / "ours", line) for line in lines][-1]
    theirs = [theirs_in(tmp_path / "theirs", line) for line in lines][-1]
    return (ours, tmp_path / "ours"), (theirs, tmp_path / "theirs")


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
]


@pytest.mark.parametrize("line", SAME_WORDS)
def test_the_answer_is_recognisable(line: str, inputs: Path, tmp_path: Path) -> None:
    (ours, our_place), (theirs, _) = both(inputs, tmp_path, line)
    assert ours.code == theirs.code, (ours, theirs)
    assert "Traceback" not in ours.err
    if ours.code:
        assert not (our_place / "out").exists()
    if theirs.code == 2 and "A fatal error occurred" in theirs.err:
        assert ours.err.startswith("ERROR: \nA fatal error occurred: ")


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
]


@pytest.mark.parametrize("line", SAME_CODE)
def test_bad_lines_get_one_sentence_and_the_same_exit_code(line: str, inputs: Path, tmp_path: Path) -> None:
    (ours, our_place), (theirs, _) = both(inputs, tmp_path, line)
    assert ours.code == theirs.code, (ours, theirs)
    assert "Traceback" not in ours.err
    assert not (our_place / "out").exists()


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
