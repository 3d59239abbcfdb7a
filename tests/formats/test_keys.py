import pytest
from tests.support.keys import SIGNING_TYPES, key_of

from bootwright.errors import FormatError
from bootwright.formats.keys import KeyType, PasswordError, PublicKey, load_private_key, load_public_key


@pytest.mark.parametrize("key_type", KeyType)
def test_a_key_survives_its_file_with_and_without_a_password(key_type: KeyType) -> None:
    key = key_of(key_type)
    assert load_private_key(key.pem()).public == key.public
    assert load_private_key(key.pem(b"secret"), password=b"secret").public == key.public
    assert load_private_key(key.pem(), password=b"not needed").key_type is key_type
    assert load_public_key(key.public.pem) == load_public_key(key.public.der) == key.public
    assert PublicKey.from_der(key.public.der) == load_public_key(key.pem())


@pytest.mark.parametrize("key_type", [*SIGNING_TYPES, KeyType.ECDSA_P192])
def test_a_signature_is_accepted_over_its_message_only(key_type: KeyType) -> None:
    key = key_of(key_type)
    signature = key.sign(b"message")
    assert key.public.verify(signature, b"message")
    assert not key.public.verify(signature, b"other")
    assert not key.public.verify(signature[:-1] + b"\x00\x00", b"message")


def test_public_keys_have_the_lengths_that_mcuboot_compiles_in() -> None:
    lengths = {key_type: len(key_of(key_type).public.der) for key_type in KeyType}
    assert lengths == {
        KeyType.RSA_2048: 270,
        KeyType.RSA_3072: 398,
        KeyType.ECDSA_P192: 75,
        KeyType.ECDSA_P256: 91,
        KeyType.ECDSA_P384: 120,
        KeyType.ED25519: 44,
        KeyType.X25519: 44,
    }


def test_two_keys_agree_on_a_secret() -> None:
    a, b = key_of(KeyType.X25519), key_of(KeyType.X25519, 1)
    assert a.exchange(b.public.der[-32:]) == b.exchange(a.public.der[-32:])
    p, q = key_of(KeyType.ECDSA_P256), key_of(KeyType.ECDSA_P256, 1)
    assert p.exchange(q.public.der[-65:]) == q.exchange(p.public.der[-65:])
    with pytest.raises(FormatError, match="no ecdsa-p256 public key"):
        p.exchange(bytes(65))
    with pytest.raises(FormatError, match="agrees on no secret"):
        key_of(KeyType.ED25519).exchange(b"")


def test_a_private_key_never_shows_itself() -> None:
    key = key_of(KeyType.ED25519)
    assert repr(key) == "PrivateKey(key_type=<KeyType.ED25519: 'ed25519'>, public=PublicKey(key_type=" + (
        "<KeyType.ED25519: 'ed25519'>))"
    )


def test_an_encrypted_key_asks_for_its_password_and_knows_a_wrong_one() -> None:
    pem = key_of(KeyType.ED25519).pem(b"secret")
    with pytest.raises(PasswordError, match=r"app\.pem: found an encrypted private key, and no password"):
        load_private_key(pem, where="app.pem")
    with pytest.raises(PasswordError, match="the password does not open"):
        load_private_key(pem, password=b"wrong")


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", "an empty file"),
        (b"\x30\x03abc", "5 bytes of another format"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "PEM of a certificate"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "PEM of a private key"),
    ],
)
def test_what_is_no_key_is_named(data: bytes, found: str) -> None:
    with pytest.raises(FormatError, match=f"found {found}, expected a private key"):
        load_private_key(data)
    with pytest.raises(FormatError, match=f"found {found}, expected a public key"):
        load_public_key(data)


def test_a_public_key_where_a_private_one_is_needed_says_so() -> None:
    with pytest.raises(FormatError) as caught:
        load_private_key(key_of(KeyType.ED25519).public.pem, where="app.pem")
    assert "signing needs the private key" in caught.value.hint


def test_a_key_of_a_size_that_mcuboot_does_not_know_is_refused() -> None:
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    small = rsa.generate_private_key(65537, 1024).public_key().public_bytes(Encoding.PEM, PublicFormat.PKCS1)
    with pytest.raises(FormatError, match="found a 1024-bit RSA key, expected one of rsa-2048"):
        load_public_key(small)
