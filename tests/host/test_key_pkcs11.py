import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.keys import key_of
from tests.support.peers import run_peer

from bootwright.errors import BootwrightError, FormatError, RefusedError
from bootwright.formats.keys import KeyType, PasswordError
from bootwright.formats.mcuboot_image import ImageVersion
from bootwright.formats.mcuboot_sign import SignOptions, sign_image
from bootwright.formats.mcuboot_verify import verify_image
from bootwright.host.key_pkcs11 import parse_uri
from bootwright.host.keys import load_signer

MODULES = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so")
TYPES = (KeyType.RSA_2048, KeyType.RSA_3072, KeyType.ECDSA_P256, KeyType.ECDSA_P384, KeyType.ED25519)


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A software token with a key of each type; gives the URI up to the key's name."""
    pytest.importorskip("pkcs11", reason="python-pkcs11 is not installed (pip install 'bootwright[pkcs11]')")
    module = next((path for path in MODULES if Path(path).exists()), None)
    if module is None or shutil.which("softhsm2-util") is None:
        pytest.skip("SoftHSM2 is not installed (apt-get install softhsm2)")
    folder = tmp_path_factory.mktemp("token")
    (folder / "tokens").mkdir()
    (folder / "softhsm2.conf").write_text(f"directories.tokendir = {folder / 'tokens'}\nlog.level = ERROR\n")
    os.environ["SOFTHSM2_CONF"] = str(folder / "softhsm2.conf")
    words = ["--init-token", "--free", "--label", "release", "--pin", "1234", "--so-pin", "5678"]
    assert run_peer("softhsm2-util", *words).code == 0
    for number, key_type in enumerate(TYPES, 1):
        (folder / "k.pem").write_bytes(key_of(key_type).pem())
        words = ["--import", str(folder / "k.pem"), "--token", "release", "--label", key_type]
        done = run_peer("softhsm2-util", *words, "--id", f"{number:02x}", "--pin", "1234")
        assert done.code == 0, done.err
    (folder / "pin").write_text("1234\n")
    yield f"pkcs11:token=release;object={{}}?module-path={module}&pin-source=file:{folder / 'pin'}"
    del os.environ["SOFTHSM2_CONF"]


@pytest.mark.parametrize("key_type", TYPES)
def test_a_token_signs_images_without_its_key_being_here(token: str, key_type: KeyType) -> None:
    signer = load_signer(token.format(key_type))
    assert signer.public == key_of(key_type).public
    assert signer.public.verify(signer.sign(b"message"), b"message")
    image = sign_image(bytes(1000), SignOptions(version=ImageVersion(major=1), pad_header=True), signer)
    assert verify_image(image, [signer.public])[-1].code == "image.signature.valid"


def test_a_key_is_named_by_its_id_as_well(token: str) -> None:
    uri = token.replace("object={}", "id=%03")
    assert load_signer(uri).key_type is KeyType.ECDSA_P256


def test_the_pin_may_come_from_the_uri_the_environment_or_a_person(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = token.format("ed25519").split("&pin-source")[0]
    log_out(uri)
    assert load_signer(f"{uri}&pin-value=1234").key_type is KeyType.ED25519
    log_out(uri)
    assert load_signer(uri, ask=lambda question: "1234").key_type is KeyType.ED25519
    log_out(uri)
    with pytest.raises(PasswordError, match="found no PIN"):
        load_signer(uri, ask=lambda question: None)
    with pytest.raises(PasswordError, match="the PIN is wrong") as caught:
        load_signer(f"{uri}&pin-value=99999")
    assert "99999" not in caught.value.message
    monkeypatch.setenv("BOOTWRIGHT_PKCS11_PIN", "1234")
    assert load_signer(uri, ask=lambda question: None).key_type is KeyType.ED25519


def log_out(uri: str) -> None:
    """A token knows one login a process: start over."""
    import pkcs11

    pkcs11.lib(parse_uri(uri).module).reinitialize()


def test_two_keys_of_one_token_sign_in_one_process(token: str) -> None:
    first, second = load_signer(token.format("ecdsa-p256")), load_signer(token.format("rsa-3072"))
    assert first.public.verify(first.sign(b"one"), b"one")
    assert second.public.verify(second.sign(b"two"), b"two")


@pytest.mark.parametrize(
    ("change", "error", "sentence"),
    [
        (("token=release", "token=other"), FormatError, "found 0 tokens for token='other'"),
        (("object={}", "object=nothing"), FormatError, "found 0 private keys for object='nothing'"),
        (("object={}", "type=private"), FormatError, "found 5 private keys"),
        (("?module-path=", "?module-path=/nowhere"), RefusedError, "found no PKCS#11 library there"),
    ],
)
def test_what_the_uri_does_not_find_is_named(
    token: str, change: tuple[str, str], error: type[BootwrightError], sentence: str
) -> None:
    with pytest.raises(error) as caught:
        load_signer(token.replace(*change))
    assert sentence in caught.value.message


def test_a_uri_is_read_as_rfc_7512_writes_it() -> None:
    uri = parse_uri("pkcs11:token=My%20token;object=app;id=%01%02;serial=ab?module-path=/lib/x.so&pin-value=12%2F34")
    assert (uri.token, uri.object, uri.id, uri.serial, uri.module, uri.pin) == (
        "My token",
        "app",
        b"\x01\x02",
        "ab",
        "/lib/x.so",
        "12/34",
    )
    assert "12/34" not in repr(uri)
    for bad in ("pkcs11:tokn=x", "pkcs11:token", "pkcs11:?pin=1"):
        with pytest.raises(FormatError, match="found the attribute"):
            parse_uri(bad)


def test_a_token_needs_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pkcs11", reason="python-pkcs11 is not installed")
    monkeypatch.delenv("BOOTWRIGHT_PKCS11_MODULE", raising=False)
    with pytest.raises(FormatError, match="found no module-path"):
        load_signer("pkcs11:token=release;object=app")
