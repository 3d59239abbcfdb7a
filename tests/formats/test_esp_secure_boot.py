import zlib
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootwright.errors import FormatError, TrustError
from bootwright.finding import Finding, Verdict
from bootwright.formats.esp_image import make_bootloader_image
from bootwright.formats.esp_secure_boot import (
    MAX_BLOCKS,
    SECTOR_SIZE,
    append_v2,
    check_bootloader_size,
    find_signature_blocks,
    find_signature_sector,
    pad_to_sector,
    sign_v2,
    signature_sector,
    split_v2,
    verify_v2,
)
from bootwright.formats.esp_signature_block import (
    BLOCK_SIZE,
    KEY_TYPES,
    EcdsaP384SignatureBlock,
    EcdsaSignatureBlock,
    RsaSignatureBlock,
    block_key_digest,
    block_public_key,
    block_signature,
    image_digest,
    key_digest_v2,
    make_block,
    parse_block,
)
from bootwright.formats.keys import KeyType, PrivateKey, generate_key

C3 = 5
IMAGE = make_bootloader_image(C3, size=0x1230)


@cache
def key(key_type: KeyType, number: int = 0) -> PrivateKey:
    return generate_key(key_type)


def codes(findings: tuple[Finding, ...], verdict: Verdict = Verdict.FAIL) -> list[str]:
    return [finding.code for finding in findings if finding.verdict is verdict]


def flipped(data: bytes, at: int, mask: int = 1) -> bytes:
    return data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :]


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_a_signed_image_is_accepted_under_its_own_key_and_no_other(key_type: KeyType) -> None:
    signer = key(key_type)
    signed = sign_v2(IMAGE, [signer])
    assert len(signed) == 0x2000 + SECTOR_SIZE
    assert signed[: len(IMAGE)] == IMAGE
    assert set(signed[len(IMAGE) : 0x2000]) == {0xFF}
    assert codes(verify_v2(signed, [key_digest_v2(signer.public)]), Verdict.PASS) == [
        "secure_boot.block",
        "secure_boot.key",
        "secure_boot.digest",
        "secure_boot.signature",
    ]
    assert codes(verify_v2(signed, [key_digest_v2(key(key_type, 1).public)])) == ["secure_boot.key.untrusted"]
    assert codes(verify_v2(signed, [])) == ["secure_boot.key.untrusted"]
    assert not codes(verify_v2(signed))


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_a_block_is_what_its_bytes_say(key_type: KeyType) -> None:
    signer = key(key_type)
    (block,) = find_signature_blocks(sign_v2(IMAGE, [signer]))
    packed = block.pack()
    assert len(packed) == BLOCK_SIZE
    assert parse_block(packed) == block
    assert packed[0] == 0xE7
    assert packed[1196:1200] == zlib.crc32(packed[:1196]).to_bytes(4, "little")
    assert packed[1200:] == bytes(16)
    assert block_public_key(block) == signer.public
    assert block_key_digest(block) == key_digest_v2(signer.public)
    assert signer.public.verify(block_signature(block), pad_to_sector(IMAGE))


def test_the_three_shapes_have_their_fields_where_the_rom_looks() -> None:
    def where(shape: type[RsaSignatureBlock | EcdsaSignatureBlock | EcdsaP384SignatureBlock]) -> dict[str, int]:
        return {field.name: field.offset for field in shape.layout()}

    assert where(RsaSignatureBlock) | {"": 0} == {
        "magic_byte": 0,
        "version": 1,
        "reserved": 2,
        "image_digest": 4,
        "key": 36,
        "signature": 812,
        "block_crc": 1196,
        "padding": 1200,
        "": 0,
    }
    assert (where(EcdsaSignatureBlock)["key"], where(EcdsaSignatureBlock)["signature"]) == (36, 101)
    assert (where(EcdsaP384SignatureBlock)["key"], where(EcdsaP384SignatureBlock)["signature"]) == (52, 149)
    assert {shape.size() for shape in (RsaSignatureBlock, EcdsaSignatureBlock, EcdsaP384SignatureBlock)} == {1216}


def test_any_flipped_byte_of_the_image_or_of_a_block_is_found_by_a_named_check() -> None:
    signer = key(KeyType.ECDSA_P256)
    image = make_bootloader_image(C3, size=0xA0)
    signed = sign_v2(image, [signer])
    trusted = [key_digest_v2(signer.public)]
    for at in [*range(0, SECTOR_SIZE, 97), *range(SECTOR_SIZE, SECTOR_SIZE + 1200)]:
        found = codes(verify_v2(flipped(signed, at), trusted))
        in_sector = "secure_boot.block.magic" if at == SECTOR_SIZE else "secure_boot.block.crc"
        expected = "secure_boot.digest.mismatch" if at < SECTOR_SIZE else in_sector
        assert found == [expected], f"at {at:#x}"
    for at in (SECTOR_SIZE + 1200, SECTOR_SIZE + BLOCK_SIZE, len(signed) - 1):
        assert not codes(verify_v2(flipped(signed, at), trusted)), "padding and fill are covered by no check"


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_a_forged_crc_does_not_help_a_changed_block(key_type: KeyType) -> None:
    signer = key(key_type)
    signed = sign_v2(IMAGE, [signer])
    at = len(signed) - SECTOR_SIZE
    trusted = [key_digest_v2(signer.public)]
    caught = {
        "secure_boot.block.magic",
        "secure_boot.digest.mismatch",
        "secure_boot.key.untrusted",
        "secure_boot.signature.invalid",
    }
    covered = {KeyType.RSA_3072: 1196, KeyType.ECDSA_P384: 245, KeyType.ECDSA_P256: 165, KeyType.ECDSA_P192: 149}
    unread = {2, 3} if key_type is KeyType.RSA_3072 else {3}
    for offset in range(0, covered[key_type], 1 if key_type is not KeyType.RSA_3072 else 13):
        broken = flipped(signed, at + offset, 0x80)
        crc = zlib.crc32(broken[at : at + 1196]).to_bytes(4, "little")
        broken = broken[: at + 1196] + crc + broken[at + 1200 :]
        for trust in (trusted, None):
            if offset not in unread:
                found = codes(verify_v2(broken, trust))
                assert len(found) == 1
                assert found[0] in caught


def test_one_good_block_is_enough_and_the_others_only_warn() -> None:
    first, second = key(KeyType.RSA_3072), key(KeyType.RSA_3072, 1)
    signed = sign_v2(IMAGE, [first, second])
    findings = verify_v2(signed, [key_digest_v2(second.public)])
    assert not codes(findings)
    assert codes(findings, Verdict.WARN) == ["secure_boot.key.untrusted"]
    assert codes(findings, Verdict.PASS)[-1] == "secure_boot.signature"


def test_blocks_are_appended_up_to_three() -> None:
    signers = [key(KeyType.ECDSA_P256, number) for number in range(4)]
    signed = sign_v2(IMAGE, signers[:1])
    for count in (1, 2):
        signed = append_v2(signed, signers[count : count + 1])
        assert len(find_signature_blocks(signed)) == count + 1
    content, blocks = split_v2(signed)
    assert content == pad_to_sector(IMAGE)
    assert [block_public_key(block) for block in blocks] == [signer.public for signer in signers[:3]]
    assert all(not codes(verify_v2(signed, [key_digest_v2(signer.public)])) for signer in signers[:3])
    with pytest.raises(FormatError, match="found 4 blocks, expected 1 to 3"):
        append_v2(signed, signers[3:])


@given(image=st.binary(min_size=1, max_size=9000), count=st.integers(1, MAX_BLOCKS))
def test_what_was_signed_comes_apart_again(image: bytes, count: int) -> None:
    signed = sign_v2(image, [key(KeyType.ECDSA_P256, number) for number in range(count)])
    content, blocks = split_v2(signed)
    assert content == pad_to_sector(image)
    assert content + signature_sector(blocks) == signed


@given(data=st.binary(max_size=1300), lead=st.sampled_from([b"", b"\xe7\x02", b"\xe7\x03\0", b"\xe7\x03\1"]))
def test_garbage_where_a_sector_should_be_gives_findings(data: bytes, lead: bytes) -> None:
    sector = (lead + data)[:SECTOR_SIZE].ljust(SECTOR_SIZE, b"\xff")
    for crc in (b"", zlib.crc32(sector[:1196]).to_bytes(4, "little")):
        forged = sector[:1196] + (crc + sector[1200:] if crc else sector[1196:])
        assert codes(verify_v2(bytes(SECTOR_SIZE) + forged))


@given(data=st.binary(max_size=300))
def test_what_is_too_short_for_a_sector_says_so(data: bytes) -> None:
    assert codes(verify_v2(data)) == ["secure_boot.sector.missing"]
    assert find_signature_blocks(data) == ()
    with pytest.raises(FormatError, match="expected a signature sector"):
        split_v2(data)


def test_the_sector_is_found_behind_the_image_whatever_follows_it() -> None:
    signed = sign_v2(IMAGE, [key(KeyType.ECDSA_P256)])
    in_flash = signed + b"\xff" * 0x5000
    assert find_signature_sector(in_flash) == find_signature_sector(signed) == 0x2000
    assert not codes(verify_v2(in_flash))


def test_an_external_signature_is_taken_only_if_it_fits() -> None:
    signer = key(KeyType.ECDSA_P384)
    content = pad_to_sector(IMAGE)
    signature = signer.sign_digest(image_digest(content, "sha384"))
    assert find_signature_blocks(content + signature_sector([make_block(content, signer.public, signature)]))
    with pytest.raises(TrustError, match="is not this ecdsa-p384 key's over the image"):
        make_block(content + bytes(4096), signer.public, signature)


def test_keys_that_no_rom_knows_are_refused() -> None:
    for key_type in (KeyType.RSA_2048, KeyType.ED25519):
        with pytest.raises(FormatError, match=f"found key type {key_type}, expected one of rsa-3072"):
            sign_v2(IMAGE, [generate_key(key_type)])
    with pytest.raises(FormatError, match="found 0 blocks"):
        sign_v2(IMAGE, [])
    with pytest.raises(FormatError, match="empty image"):
        sign_v2(b"", [key(KeyType.ECDSA_P256)])


def test_half_a_digest_is_enough_where_the_chip_keeps_half() -> None:
    signer = key(KeyType.ECDSA_P256)
    signed = sign_v2(IMAGE, [signer])
    assert not codes(verify_v2(signed, [key_digest_v2(signer.public)[:16]]))
    assert codes(verify_v2(signed, [bytes(16)])) == ["secure_boot.key.untrusted"]
    for size in (0, 15, 33):
        with pytest.raises(FormatError, match="expected 16 or 32"):
            verify_v2(signed, [bytes(size)])


@pytest.mark.parametrize("limit", [0xC000, 0x10000, 0x14000])
def test_the_roms_limit_holds_to_the_byte(limit: int) -> None:
    assert check_bootloader_size(limit, limit).verdict is Verdict.PASS
    assert check_bootloader_size(limit + 1, limit).code == "bootloader.too_large"
    assert check_bootloader_size(limit, limit, area=limit + SECTOR_SIZE).verdict is Verdict.PASS
    assert check_bootloader_size(limit, limit, area=limit + SECTOR_SIZE - 1).code == "bootloader.too_large"


def test_an_even_modulus_is_refused_and_not_stumbled_over() -> None:
    signed = bytearray(sign_v2(IMAGE, [key(KeyType.RSA_3072)]))
    at = len(signed) - SECTOR_SIZE
    signed[at + 36] &= 0xFE
    signed[at + 1196 : at + 1200] = zlib.crc32(signed[at : at + 1196]).to_bytes(4, "little")
    (finding,) = [one for one in verify_v2(bytes(signed)) if one.verdict is Verdict.FAIL]
    assert finding.code == "secure_boot.signature.invalid"
    assert "even modulus" in finding.because
