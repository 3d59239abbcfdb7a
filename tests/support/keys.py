"""One key of each type for the whole run: RSA keys take long to make."""

from functools import cache

from bootwright.formats.keys import KeyType, PrivateKey, generate_key

SIGNING_TYPES = (KeyType.RSA_2048, KeyType.RSA_3072, KeyType.ECDSA_P256, KeyType.ECDSA_P384, KeyType.ED25519)


@cache
def key_of(key_type: KeyType, number: int = 0) -> PrivateKey:
    """The run's key of a type; another `number` gives another key."""
    return generate_key(key_type)
