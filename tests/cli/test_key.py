import io
import json
from pathlib import Path

import pytest
from tests.support.dropin import run_cli
from tests.support.keys import key_of

from bootwright.formats.keys import KeyType, load_private_key, load_public_key


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "k.pem").write_bytes(key_of(KeyType.ECDSA_P256).pem())
    (tmp_path / "k.pub").write_bytes(key_of(KeyType.ECDSA_P256).public.pem)
    return tmp_path


@pytest.mark.parametrize("key_type", [KeyType.ED25519, KeyType.ECDSA_P192, KeyType.ECDSA_P384, KeyType.X25519])
def test_a_new_key_is_for_its_owner_only(tmp_path: Path, key_type: KeyType) -> None:
    done = run_cli("key", "generate", key_type, tmp_path / "k.pem", "--json")
    assert done.code == 0
    made = load_private_key((tmp_path / "k.pem").read_bytes())
    assert json.loads(done.out)["hash"] == made.public.key_hash().hex()
    assert (tmp_path / "k.pem").stat().st_mode & 0o777 == 0o600


def test_a_key_is_not_overwritten_unless_told_so(folder: Path) -> None:
    before = (folder / "k.pem").read_bytes()
    done = run_cli("key", "generate", "ed25519", folder / "k.pem")
    assert (done.code, (folder / "k.pem").read_bytes()) == (7, before)
    assert run_cli("key", "generate", "ed25519", folder / "k.pem", "--overwrite").code == 0
    assert (folder / "k.pem").read_bytes() != before


def test_a_password_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOOTWRIGHT_KEY_PASSWORD", "secret")
    assert run_cli("key", "generate", "ed25519", tmp_path / "k.pem", "--password").code == 0
    assert b"ENCRYPTED" in (tmp_path / "k.pem").read_bytes()
    assert run_cli("key", "info", tmp_path / "k.pem").code == 0
    monkeypatch.setenv("BOOTWRIGHT_KEY_PASSWORD", "wrong")
    assert run_cli("key", "hash", tmp_path / "k.pem").code == 4
    monkeypatch.delenv("BOOTWRIGHT_KEY_PASSWORD")
    monkeypatch.setattr("sys.stdin", io.StringIO())
    done = run_cli("key", "hash", tmp_path / "k.pem")
    assert (done.code, "no password for it" in done.err) == (4, True)


def test_info_says_which_half_a_file_holds(folder: Path) -> None:
    said = json.loads(run_cli("key", "info", folder / "k.pem", folder / "k.pub", "--json").out)["keys"]
    assert [(row["half"], row["type"]) for row in said] == [("private", "ecdsa-p256"), ("public", "ecdsa-p256")]
    assert said[0]["hash"] == said[1]["hash"] == key_of(KeyType.ECDSA_P256).public.key_hash().hex()


def test_the_public_half_comes_in_every_form(folder: Path) -> None:
    public = key_of(KeyType.ECDSA_P256).public
    assert load_public_key(run_cli("key", "public", folder / "k.pem").out.encode()) == public
    assert run_cli("key", "public", folder / "k.pem", "-f", "der").out.encode("latin-1") == public.der
    c = run_cli("key", "public", folder / "k.pub", "-f", "c", "--name", "release_key").out
    assert "const unsigned char release_key[] = {" in c
    assert "release_key_len = 91;" in c
    assert "static ECDSA_PUB_KEY: &[u8] = &[" in run_cli("key", "public", folder / "k.pub", "-f", "rust").out
    assert run_cli("key", "public", folder / "k.pem", "-f", "der", "-o", folder / "out").code == 0
    assert (folder / "out").read_bytes() == public.der
    assert json.loads(run_cli("key", "public", folder / "k.pem", "--json").out)["pem"] == public.pem.decode()
    assert run_cli("key", "public", folder / "k.pem", "-f", "c", "--name", "no name").code == 3


def test_the_hash_is_what_an_image_names_its_key_by(folder: Path) -> None:
    public = key_of(KeyType.ECDSA_P256).public
    assert run_cli("key", "hash", folder / "k.pem").out.strip() == public.key_hash().hex()
    said = json.loads(run_cli("key", "hash", folder / "k.pub", "--algorithm", "sha512", "--json").out)
    assert said["hash"] == public.key_hash("sha512").hex()


def test_a_private_key_is_written_for_its_owner_only_and_never_shown(folder: Path) -> None:
    done = run_cli("key", "private", folder / "k.pem", "--minimal", "-o", folder / "enc_key.c")
    assert done.code == 0
    assert "0x" not in done.out + done.err
    text = (folder / "enc_key.c").read_text()
    assert "const unsigned char enc_priv_key[] = {" in text
    assert "enc_priv_key_len = 67;" in text
    assert (folder / "enc_key.c").stat().st_mode & 0o777 == 0o600
    refused = run_cli("key", "private", folder / "k.pub", "-o", folder / "x.c")
    assert (refused.code, (folder / "x.c").exists()) == (3, False)


@pytest.mark.parametrize(
    "content", [b"", b"\x00" * 40, b"-----BEGIN PRIVATE KEY-----\nxxxx\n-----END PRIVATE KEY-----\n"]
)
def test_what_is_no_key_is_named(folder: Path, content: bytes) -> None:
    (folder / "bad").write_bytes(content)
    for command in ("info", "hash", "public"):
        done = run_cli("key", command, folder / "bad")
        assert done.code == 3
        assert "found" in done.err
        assert "expected" in done.err
