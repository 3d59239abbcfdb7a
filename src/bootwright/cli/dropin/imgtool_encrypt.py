"""What imgtool's sign command makes of `-E`."""

from __future__ import annotations

import os
from typing import Any

from bootwright.cli.dropin.imgtool import Usage, warn
from bootwright.formats.keys import KeyType, PublicKey, generate_key
from bootwright.formats.mcuboot_encrypt import Encryption

#: imgtool encrypts for these with a key that it then throws away (image.py `create`)
KEYLESS = (KeyType.ED25519, KeyType.ECDSA_P384)


def encryption_for(recipient: PublicKey, given: dict[str, Any]) -> Encryption:
    """A new image key for the recipient; whether the HMAC goes with it is looked at later."""
    if recipient.key_type in KEYLESS:
        warn(f"MCUboot decrypts with no {recipient.key_type} key: the image key is in no TLV, nobody can decrypt this")
    elif recipient.key_type is KeyType.RSA_3072:
        warn("MCUboot decrypts with rsa-2048 only, the image is encrypted for an rsa-3072 key")
    ecies = recipient.key_type in (KeyType.ECDSA_P256, KeyType.X25519)
    return Encryption(
        recipient=recipient,
        key=os.urandom(int(given["encrypt_keylen"]) // 8),
        ephemeral=generate_key(recipient.key_type) if ecies else None,
        hmac_name="sha512" if given["hmac_sha"] == "512" and recipient.key_type is KeyType.X25519 else "sha256",
        clear=given["clear"],
        keyless=recipient.key_type in KEYLESS,
    )


def check_hmac(encryption: Encryption, given: dict[str, Any]) -> None:
    """HMAC-SHA512 goes with X25519 only; RSA has none."""
    recipient = encryption.recipient
    if given["hmac_sha"] != "512" or not isinstance(recipient, PublicKey):
        return
    if recipient.key_type is not KeyType.X25519 and not recipient.key_type.is_rsa:
        raise Usage("Currently only ECIES-X25519 supports HMAC-SHA512")
