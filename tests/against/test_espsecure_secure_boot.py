"""espsecure and we sign for each other, with every scheme of Secure Boot V2."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.peers import Ran, run_peer

from bootwright.finding import Finding, Verdict
from bootwright.formats.esp_image import make_bootloader_image
from bootwright.formats.esp_secure_boot import append_v2, find_signature_blocks, key_digest_v2, sign_v2, verify_v2
from bootwright.formats.esp_secure_boot_v1 import bootloader_with_digest, raw_public_key, reflashable_key, sign_v1
from bootwright.formats.esp_signature_block import KEY_TYPES, block_public_key, block_signature, make_block, parse_block
from bootwright.formats.keys import KeyType, generate_key, load_private_key

SCHEMES = {
    KeyType.RSA_3072: "rsa3072",
    KeyType.ECDSA_P192: "ecdsa192",
    KeyType.ECDSA_P256: "ecdsa256",
    KeyType.ECDSA_P384: "ecdsa384",
}


def espsecure(*arguments: str | Path) -> Ran:
    ran = run_peer("espsecure", *arguments)
    assert ran.code == 0, ran.err
    return ran


def failures(findings: tuple[Finding, ...]) -> list[str]:
    return [finding.code for finding in findings if finding.verdict is Verdict.FAIL]


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_each_verifies_what_the_other_signed(key_type: KeyType, tmp_path: Path) -> None:
    key = generate_key(key_type)
    pem, image = tmp_path / "key.pem", tmp_path / "image.bin"
    pem.write_bytes(key.pem())

    @settings(max_examples=4)
    @given(payload=st.integers(1, 9000).flatmap(lambda size: st.binary(min_size=size, max_size=size)))
    def each_way(payload: bytes) -> None:
        image.write_bytes(payload)
        espsecure("sign-data", "--version", "2", "--keyfile", pem, "--output", tmp_path / "theirs.bin", image)
        theirs = (tmp_path / "theirs.bin").read_bytes()
        assert not failures(verify_v2(theirs, [key_digest_v2(key.public)]))
        ours = sign_v2(payload, [key])
        assert len(ours) == len(theirs)
        (tmp_path / "ours.bin").write_bytes(ours)
        ran = espsecure("verify-signature", "--version", "2", "--keyfile", pem, tmp_path / "ours.bin")
        assert "verification successful" in ran.out

    each_way()


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_espsecures_block_is_ours_but_for_the_random_signature(key_type: KeyType, tmp_path: Path) -> None:
    (tmp_path / "image.bin").write_bytes(b"\xe9" + bytes(4095))
    espsecure("generate-signing-key", "-v", "2", "-s", SCHEMES[key_type], tmp_path / "key.pem")
    espsecure("sign-data", "-v", "2", "-k", tmp_path / "key.pem", "-o", tmp_path / "s.bin", tmp_path / "image.bin")
    signed = (tmp_path / "s.bin").read_bytes()
    key = load_private_key((tmp_path / "key.pem").read_bytes())
    (theirs,) = find_signature_blocks(signed)
    assert block_public_key(theirs) == key.public

    assert make_block(signed[:4096], key.public, block_signature(theirs)).pack() == theirs.pack()
    assert parse_block(signed, 4096).pack() == signed[4096 : 4096 + 1216]
    assert set(signed[4096 + 1216 :]) == {0xFF}


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_key_digests_are_espsecures(key_type: KeyType, tmp_path: Path) -> None:
    key = generate_key(key_type)
    for name, pem in (("private", key.pem()), ("public", key.public.pem)):
        (tmp_path / name).write_bytes(pem)
        espsecure("digest-sbv2-public-key", "--keyfile", tmp_path / name, "--output", tmp_path / "digest")
        assert (tmp_path / "digest").read_bytes() == key_digest_v2(key.public)


def test_blocks_appended_by_either_stand_side_by_side(tmp_path: Path) -> None:
    keys = [generate_key(KeyType.ECDSA_P256) for _ in range(3)]
    for number, key in enumerate(keys):
        (tmp_path / f"{number}.pem").write_bytes(key.pem())
    signed = tmp_path / "signed.bin"
    signed.write_bytes(sign_v2(b"\xe9" + bytes(100), keys[:1]))
    espsecure("sign-data", "-v", "2", "-a", "-k", tmp_path / "1.pem", "-o", tmp_path / "two.bin", signed)
    three = append_v2((tmp_path / "two.bin").read_bytes(), keys[2:])
    (tmp_path / "three.bin").write_bytes(three)
    assert len(find_signature_blocks(three)) == 3
    for number, key in enumerate(keys):
        espsecure("verify-signature", "-v", "2", "-k", tmp_path / f"{number}.pem", tmp_path / "three.bin")
        assert not failures(verify_v2(three, [key_digest_v2(key.public)]))
    assert espsecure("signature-info-v2", tmp_path / "three.bin").out.count("is valid") == 3


@pytest.mark.parametrize("at", [0x10, 0x1004, 0x1030, 0x1070])
def test_what_we_find_broken_espsecure_refuses(at: int, tmp_path: Path) -> None:
    key = generate_key(KeyType.ECDSA_P256)
    (tmp_path / "key.pem").write_bytes(key.public.pem)
    broken = bytearray(sign_v2(bytes(4096), [key]))
    broken[at] ^= 1
    (tmp_path / "broken.bin").write_bytes(broken)
    assert failures(verify_v2(bytes(broken)))
    ran = run_peer("espsecure", "verify-signature", "-v", "2", "-k", tmp_path / "key.pem", tmp_path / "broken.bin")
    assert ran.code == 2


@pytest.mark.parametrize("size", [0x1000, 0x1010, 0x1020, 0x1030, 0x1070])
@pytest.mark.parametrize("key_size", [24, 32])
def test_the_v1_digest_of_a_bootloader_is_espsecures(size: int, key_size: int, tmp_path: Path) -> None:
    image, key, iv = make_bootloader_image(0, size=size), bytes(range(1, key_size + 1)), bytes(range(128))
    for name, content in (("image", image), ("key", key), ("iv", iv)):
        (tmp_path / name).write_bytes(content)
    options = ("--keyfile", tmp_path / "key", "--iv", tmp_path / "iv", "--output", tmp_path / "out")
    espsecure("digest-secure-bootloader", *options, tmp_path / "image")
    assert (tmp_path / "out").read_bytes() == bootloader_with_digest(image, key, iv)


def test_v1_signatures_and_keys_are_espsecures_byte_for_byte(tmp_path: Path) -> None:
    key = generate_key(KeyType.ECDSA_P256)
    pem, made = tmp_path / "key.pem", tmp_path / "made"
    pem.write_bytes(key.pem())
    (tmp_path / "data").write_bytes(b"an application")
    espsecure("sign-data", "-v", "1", "-k", pem, "-o", made, tmp_path / "data")
    assert made.read_bytes() == sign_v1(b"an application", key)
    public = tmp_path / "public.pem"
    public.write_bytes(key.public.pem)
    espsecure("verify-signature", "-v", "1", "-k", public, made)
    espsecure("extract-public-key", "-v", "1", "-k", pem, made)
    assert made.read_bytes() == raw_public_key(key.public)
    for bits in (256, 192):
        espsecure("digest-private-key", "-k", pem, "-l", str(bits), made)
        assert made.read_bytes() == reflashable_key(key)[: bits // 8]
