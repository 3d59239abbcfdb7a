import stat
import sys
from pathlib import Path

import pytest
from tests.support.keys import SIGNING_TYPES, key_of

from bootwright.errors import BootwrightError, FormatError, TrustError, WireError
from bootwright.formats.keys import KeyType, NeedsMessageError
from bootwright.formats.mcuboot_image import ImageVersion
from bootwright.formats.mcuboot_sign import SignOptions, sign_image
from bootwright.formats.mcuboot_verify import verify_image
from bootwright.host.keys import load_public, load_signer

SERVICE = """\
#!{python}
import base64, os, sys
sys.path.insert(0, {source!r})
from bootwright.formats.keys import load_private_key
key = load_private_key(open({key!r}, "rb").read())
if sys.argv[1:] == ["public-key"]:
    sys.stdout.buffer.write(key.public.pem)
    sys.exit()
asked = sys.stdin.buffer.read()
whole = os.environ["BOOTWRIGHT_INPUT"] == "message"
assert os.environ["BOOTWRIGHT_KEY_TYPE"] == key.key_type
signature = key.sign(asked) if whole else key.sign_digest(asked)
sys.stdout.buffer.write({answer})
"""


def service(folder: Path, key_type: KeyType, answer: str = "signature") -> Path:
    (folder / "k.pem").write_bytes(key_of(key_type).pem())
    (folder / "k.pub").write_bytes(key_of(key_type).public.pem)
    script = folder / "sign"
    source = str(Path(__file__).resolve().parents[2] / "src")
    script.write_text(SERVICE.format(python=sys.executable, source=source, key=str(folder / "k.pem"), answer=answer))
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return script


@pytest.mark.parametrize("key_type", SIGNING_TYPES)
def test_a_command_signs_images_without_its_key_being_here(tmp_path: Path, key_type: KeyType) -> None:
    signer = load_signer(f"exec:{service(tmp_path, key_type)}")
    assert signer.public == key_of(key_type).public
    image = sign_image(bytes(100), SignOptions(version=ImageVersion(major=1), pad_header=True), signer)
    assert verify_image(image, [signer.public])[-1].code == "image.signature.valid"


@pytest.mark.parametrize(
    ("key_type", "answer"),
    [
        (KeyType.RSA_2048, "base64.encodebytes(signature)"),
        (KeyType.ED25519, "signature.hex().encode() + b'\\n'"),
        (KeyType.ECDSA_P256, "base64.b64encode(signature)"),
        (
            KeyType.ECDSA_P256,
            "b''.join(n.to_bytes(32, 'big') for n in __import__('cryptography.hazmat.primitives.asymmetric.utils', "
            "fromlist=['x']).decode_dss_signature(signature))",
        ),
    ],
)
def test_the_answer_may_be_raw_base64_hex_or_two_numbers(tmp_path: Path, key_type: KeyType, answer: str) -> None:
    provider = f"exec:public={tmp_path / 'k.pub'},{service(tmp_path, key_type, answer)}"
    signer = load_signer(provider)
    assert signer.public.verify(signer.sign(b"message"), b"message")
    assert load_public(provider) == key_of(key_type).public


def test_a_command_may_want_the_whole_message(tmp_path: Path) -> None:
    script = service(tmp_path, KeyType.ECDSA_P256)
    signer = load_signer(f"exec:public={tmp_path / 'k.pub'},input=message,{script}")
    assert signer.public.verify(signer.sign(b"message"), b"message")
    with pytest.raises(NeedsMessageError, match="expected one that signs a hash"):
        signer.sign_digest(bytes(32))
    image = sign_image(bytes(100), SignOptions(version=ImageVersion(major=1), pad_header=True), signer)
    assert verify_image(image, [signer.public])[-1].code == "image.signature.valid"


def test_a_command_may_be_longer_than_any_name_of_a_file(tmp_path: Path) -> None:
    script = service(tmp_path, KeyType.ED25519)
    long = tmp_path.joinpath(*["x" * 100] * 9)
    long.mkdir(parents=True)
    assert load_signer(f"exec:public={tmp_path / 'k.pub'},env LONG={'y' * 300} {script}").public is not None
    assert (
        load_public(f"exec:public={long}/../../../../../../../../../k.pub,{script}") == key_of(KeyType.ED25519).public
    )


def test_an_answer_that_is_no_signature_of_the_key_is_not_believed(tmp_path: Path) -> None:
    signer = load_signer(f"exec:public={tmp_path / 'k.pub'},{service(tmp_path, KeyType.ED25519, 'bytes(64)')}")
    with pytest.raises(TrustError, match="answered 64 bytes, which are no signature of its ed25519 key"):
        signer.sign(b"message")


@pytest.mark.parametrize(
    ("provider", "error", "sentence"),
    [
        ("exec:", FormatError, "found no command"),
        ("exec:/nowhere/sign", WireError, "no such file or directory"),
        ("exec:false", WireError, "`false` ended with code 1"),
        ("exec:sh -c 'echo card is locked >&2; exit 3'", WireError, "ended with code 3 and 0 bytes of answer: card is"),
        ("exec:echo hello", FormatError, "expected a public key"),
        ("exec:sign 'unfinished", FormatError, "no closing quotation"),
        ("exec:input=both,sign", FormatError, "expected input=digest or input=message"),
        ("exec:public=/nowhere,sign", FormatError, "expected a public key file"),
    ],
)
def test_a_command_that_does_not_serve_is_answered_in_one_sentence(
    provider: str, error: type[BootwrightError], sentence: str
) -> None:
    with pytest.raises(error) as caught:
        load_signer(provider)
    assert sentence in caught.value.message


def test_a_file_is_a_provider_with_and_without_its_scheme(tmp_path: Path) -> None:
    key = key_of(KeyType.ED25519)
    (tmp_path / "k.pem").write_bytes(key.pem(b"secret"))
    asked: list[str] = []

    def person(question: str) -> str:
        asked.append(question)
        return "secret"

    for provider in (str(tmp_path / "k.pem"), f"file:{tmp_path / 'k.pem'}"):
        assert load_signer(provider, ask=person).public == key.public
    assert asked == [f"Password of {tmp_path / 'k.pem'}"] * 2
