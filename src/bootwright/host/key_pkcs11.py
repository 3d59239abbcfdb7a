"""Keys in a PKCS#11 token: an HSM, a smart card, SoftHSM. Named by an RFC 7512 URI; needs `bootwright[pkcs11]`."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

from bootwright.errors import FormatError, RefusedError, TrustError, WireError
from bootwright.formats.keys import KeyType, PasswordError, PublicKey, load_public_key
from bootwright.host.files import read_text
from bootwright.host.keys import Ask

MODULE_VARIABLE = "BOOTWRIGHT_PKCS11_MODULE"
PIN_VARIABLE = "BOOTWRIGHT_PKCS11_PIN"
_PATH_NAMES = ("token", "object", "id", "serial", "slot-id", "type", "manufacturer", "model")
_QUERY_NAMES = ("module-path", "module-name", "pin-value", "pin-source")


@dataclass(frozen=True, slots=True)
class TokenUri:
    """What an RFC 7512 URI says, as far as it matters here."""

    token: str = ""
    object: str = ""  #: the key's label
    id: bytes = b""  #: the key's CKA_ID
    serial: str = ""
    slot: str = ""  #: the number of the slot that the token is in
    module: str = ""
    pin: str = field(default="", repr=False)
    pin_source: str = ""


def parse_uri(uri: str) -> TokenUri:
    """Read `pkcs11:token=…;object=…;id=%01?module-path=…&pin-source=file:…`.

    Raises:
        FormatError: an attribute without value, or one that is not known.
    """
    path, _, query = uri.removeprefix("pkcs11:").partition("?")
    found = {**_attributes(path, ";", _PATH_NAMES), **_attributes(query, "&", _QUERY_NAMES)}
    return TokenUri(
        token=unquote(found.get("token", "")),
        object=unquote(found.get("object", "")),
        id=unquote_to_bytes(found.get("id", "")),
        serial=unquote(found.get("serial", "")),
        slot=unquote(found.get("slot-id", "")),
        module=unquote(found.get("module-path", found.get("module-name", ""))) or os.environ.get(MODULE_VARIABLE, ""),
        pin=unquote(found.get("pin-value", "")),
        pin_source=unquote(found.get("pin-source", "")),
    )


def _attributes(text: str, separator: str, known: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for word in filter(None, text.split(separator)):
        name, equals, value = word.partition("=")
        if not equals or name not in known:
            raise FormatError(
                f"pkcs11: found the attribute {name!r}, expected one of {', '.join(known)}",
                "for example pkcs11:token=release;object=app-key?module-path=/usr/lib/softhsm/libsofthsm2.so",
            )
        found[name] = value
    return found


@dataclass(frozen=True, slots=True)
class Pkcs11Signer:
    """Signs inside a token, with the mechanisms that take a hash: every token has those."""

    public: PublicKey
    _key: Any = field(repr=False)

    @property
    def key_type(self) -> KeyType:
        """The kind of key."""
        return self.public.key_type

    def sign(self, message: bytes | memoryview, *, digest: bytes | None = None) -> bytes:
        """See `Signer.sign`.

        Raises:
            WireError: the token refuses.
            TrustError: its answer is no signature of this key.
        """
        if self.key_type is KeyType.ED25519:
            return self.sign_digest(bytes(message))
        return self.sign_digest(digest or hashlib.new(self.key_type.hash_name, message).digest())

    def sign_digest(self, digest: bytes) -> bytes:
        """See `Signer.sign_digest`.

        Raises:
            WireError, TrustError: as `sign`.
        """
        import pkcs11

        try:
            signature = self._sign(digest)
        except pkcs11.PKCS11Error as error:
            raise WireError(
                f"the token refused to sign with its {self.key_type} key: {type(error).__name__}",
                "does the token support RSA-PSS (CKM_RSA_PKCS_PSS), CKM_ECDSA or CKM_EDDSA for this key?",
            ) from None
        if not self.public.verify_digest(signature, digest):
            raise TrustError(
                f"the token answered {len(signature)} bytes, which are no signature of its {self.key_type} key "
                f"{self.public.key_hash().hex()[:16]}…",
                "do its private and public objects belong together?",
            )
        return signature

    def _sign(self, digest: bytes) -> bytes:
        from pkcs11 import MGF, Mechanism
        from pkcs11.util.ec import encode_ecdsa_signature

        if self.key_type.is_rsa:
            scheme = (Mechanism.SHA256, MGF.SHA256, 32)
            return bytes(self._key.sign(digest, mechanism=Mechanism.RSA_PKCS_PSS, mechanism_param=scheme))
        if self.key_type.is_ecdsa:
            return bytes(encode_ecdsa_signature(self._key.sign(digest, mechanism=Mechanism.ECDSA)))
        return bytes(self._key.sign(digest, mechanism=Mechanism.EDDSA))


def open_pkcs11(uri: str, *, ask: Ask) -> Pkcs11Signer:
    """The private key that the URI names, and its public half from the same token.

    Raises:
        FormatError: the URI names no key, or several.
        PasswordError: the PIN is missing or wrong.
        RefusedError: python-pkcs11 or the token's library is not installed.
        WireError: the token does not answer.
    """
    try:
        import pkcs11
    except ImportError:
        raise RefusedError(
            "found no python-pkcs11, expected it for a pkcs11: key", "pip install 'bootwright[pkcs11]'"
        ) from None
    wanted = parse_uri(uri)
    if not wanted.module:
        raise FormatError(
            "pkcs11: found no module-path, expected the token's library",
            f"add ?module-path=/usr/lib/…/lib….so, or set {MODULE_VARIABLE}",
        )
    try:
        library = pkcs11.lib(wanted.module)
    except (pkcs11.PKCS11Error, RuntimeError, OSError) as error:
        raise RefusedError(f"{wanted.module}: found no PKCS#11 library there ({error})", "check module-path") from None
    try:
        return _signer(_session(_token(library, wanted), wanted, ask), wanted)
    except (pkcs11.exceptions.PinIncorrect, pkcs11.exceptions.PinLenRange, pkcs11.exceptions.PinInvalid):
        raise PasswordError(
            f"token {wanted.token!r}: the PIN is wrong", "mind that tokens lock after a few wrong ones"
        ) from None
    except pkcs11.PKCS11Error as error:
        raise WireError(f"token {wanted.token!r}: {type(error).__name__} {error}".rstrip(), "is it there?") from None


def _session(token: Any, wanted: TokenUri, ask: Ask) -> Any:
    """A session with the user logged in; a token knows one login a process, a second key comes in by the first's."""
    import pkcs11

    try:
        return token.open(user_pin=_pin(wanted, ask))
    except pkcs11.exceptions.UserAlreadyLoggedIn:
        return token.open()


def _token(library: Any, wanted: TokenUri) -> Any:
    found = [
        token
        for token in library.get_tokens()
        if (not wanted.token or token.label == wanted.token)
        and (not wanted.slot or str(token.slot.slot_id) == wanted.slot)
        and (not wanted.serial or bytes(token.serial).decode(errors="replace").strip() == wanted.serial)
    ]
    if len(found) != 1:
        raise FormatError(
            f"pkcs11: found {len(found)} tokens for token={wanted.token!r}, expected one",
            "name it with token= (its label), serial= or slot-id=",
        )
    return found[0]


def _pin(wanted: TokenUri, ask: Ask) -> str:
    if wanted.pin_source:
        path = Path(wanted.pin_source.removeprefix("file:").removeprefix("//"))
        return read_text(path, what="PIN file", limit=1024).strip()
    pin = wanted.pin or os.environ.get(PIN_VARIABLE) or ask(f"PIN of token {wanted.token}")
    if not pin:
        raise PasswordError(
            f"token {wanted.token!r}: found no PIN, expected one", f"set {PIN_VARIABLE} or give pin-source=file:PATH"
        )
    return pin


def _signer(session: Any, wanted: TokenUri) -> Pkcs11Signer:
    from pkcs11 import Attribute, ObjectClass

    search: dict[Any, object] = {Attribute.CLASS: ObjectClass.PRIVATE_KEY}
    if wanted.object:
        search[Attribute.LABEL] = wanted.object
    if wanted.id:
        search[Attribute.ID] = wanted.id
    found = list(session.get_objects(search))
    if len(found) != 1:
        raise FormatError(
            f"pkcs11: found {len(found)} private keys for object={wanted.object!r}, expected one",
            "name it with object= (its label) or id=; `pkcs11-tool -O` lists them",
        )
    return Pkcs11Signer(_public(session, found[0]), found[0])


def _public(session: Any, private: Any) -> PublicKey:
    from pkcs11 import Attribute, ObjectClass
    from pkcs11 import KeyType as TokenKeyType
    from pkcs11.util.ec import encode_ec_public_key
    from pkcs11.util.rsa import encode_rsa_public_key

    encoders = {
        TokenKeyType.RSA: encode_rsa_public_key,
        TokenKeyType.EC: encode_ec_public_key,
        TokenKeyType.EC_EDWARDS: _encode_ed25519,
    }
    encode = encoders.get(private.key_type)
    if encode is None:
        raise FormatError(f"pkcs11: found a {private.key_type.name} key, expected RSA, EC or EC_EDWARDS")
    search = {Attribute.CLASS: ObjectClass.PUBLIC_KEY, Attribute.KEY_TYPE: private.key_type}
    for name in (Attribute.ID, Attribute.LABEL):
        value = private[name]
        if value and len(found := list(session.get_objects({**search, name: value}))) == 1:
            return load_public_key(bytes(encode(found[0])), where="the token's public key")
    raise FormatError(
        "pkcs11: found no public key beside the private one, expected one with the same id or label",
        "put the public key into the token as well",
    )


def _encode_ed25519(key: Any) -> bytes:
    """SubjectPublicKeyInfo; tokens give the point raw or as a DER octet string."""
    from pkcs11 import Attribute

    return bytes.fromhex("302a300506032b6570032100") + bytes(key[Attribute.EC_POINT])[-32:]
