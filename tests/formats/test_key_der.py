"""What is read without `cryptography`'s general reader reads the same with it."""

from __future__ import annotations

from contextlib import suppress

import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
    load_der_public_key,
)
from hypothesis import given
from hypothesis import strategies as st
from tests.support.keys import SIGNING_TYPES, key_of

from bootwright.formats.key_der import native_public, plain_private, plain_public
from bootwright.formats.keys import KeyType, load_private_key

TYPES = (*SIGNING_TYPES, KeyType.X25519)


@pytest.mark.parametrize("key_type", TYPES)
@pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
def test_common_forms_are_read(key_type: KeyType, encoding: Encoding) -> None:
    native = key_of(key_type).native()
    private = plain_private(native.private_bytes(encoding, PrivateFormat.PKCS8, NoEncryption()))
    assert private is not None
    assert private[:2] == (key_type, key_of(key_type).public.der)
    der = (Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    assert private[2].private_bytes(*der) == native.private_bytes(*der)
    public = native.public_key().public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo)
    assert plain_public(public) == (key_type, key_of(key_type).public.der)


@pytest.mark.parametrize("key_type", TYPES)
def test_rare_forms_are_left_to_the_general_reader(key_type: KeyType) -> None:
    key = key_of(key_type)
    assert plain_private(key.pem(b"secret")) is None
    assert plain_private(key.public.pem) is None
    assert plain_public(key.pem()) is None
    assert plain_private(key.pem() + key.public.pem) is None
    assert plain_private(b"") is None
    assert plain_public(b"-----BEGIN ") is None
    with pytest.raises(ValueError, match=r".*"):
        native_public(KeyType.RSA_2048, b"\x30\x00")


def test_a_public_half_that_is_another_keys_is_not_taken() -> None:
    native = key_of(KeyType.ECDSA_P256).native()
    der = bytearray(native.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))
    der[-1] ^= 1
    assert plain_private(bytes(der)) is None
    named = load_private_key(key_of(KeyType.ECDSA_P256).pem())
    assert named.public == key_of(KeyType.ECDSA_P256).public


@given(st.sampled_from([KeyType.ED25519, KeyType.ECDSA_P256, KeyType.ECDSA_P384, KeyType.X25519]), st.data())
def test_nothing_is_read_that_the_general_reader_refuses(key_type: KeyType, data: st.DataObject) -> None:
    native = key_of(key_type).native()
    private = native.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    public = native.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    spki = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    found = plain_private(damaged := _damaged(private, data))
    if found is not None:
        assert load_der_private_key(damaged, None).public_key().public_bytes(*spki) == found[1]
    named = plain_public(damaged := _damaged(public, data))
    with suppress(ValueError, UnsupportedAlgorithm):
        assert named is None or load_der_public_key(damaged).public_bytes(*spki) == named[1]
        return
    assert named is None


def _damaged(der: bytes, data: st.DataObject) -> bytes:
    at = data.draw(st.integers(0, len(der) - 1))
    how = data.draw(st.sampled_from(["flip", "cut", "more"]))
    if how == "cut":
        return der[:at]
    if how == "more":
        return der + data.draw(st.binary(min_size=1, max_size=3))
    return der[:at] + bytes((der[at] ^ data.draw(st.integers(1, 255)),)) + der[at + 1 :]
