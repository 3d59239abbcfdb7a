"""Keys as people and scripts want to see them."""

from __future__ import annotations

import re

from bootwright.errors import FormatError
from bootwright.formats.key_export import SHORT_NAMES, c_array, rust_array
from bootwright.formats.keys import PublicKey
from bootwright.host.keys import holds_private, load_public, shown


def view_key(provider: str) -> dict[str, str]:
    """Type, key hash and half of a key; nothing secret."""
    public = load_public(provider)
    return {
        "key": shown(provider),
        "type": public.key_type.value,
        "half": "private" if holds_private(provider) else "public",
        "hash": public.key_hash().hex(),
    }


def public_form(public: PublicKey, form: str, *, name: str | None, first_line: str) -> bytes:
    """A public key as pem, der, c or rust.

    Raises:
        FormatError: the name is no identifier.
    """
    if name is not None and not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
        raise FormatError(f"name: found {name!r}, expected an identifier", "letters, digits and underscores")
    short = SHORT_NAMES.get(public.key_type, public.key_type.value.replace("-", ""))
    if form == "pem":
        return public.pem
    if form == "der":
        return public.der
    if form == "rust":
        return rust_array(name or f"{short}_PUB_KEY".upper(), public.der, first_line=first_line).encode()
    return c_array(name or f"{short}_pub_key", public.der, first_line=first_line).encode()
