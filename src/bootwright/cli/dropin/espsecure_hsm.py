"""espsecure's configuration file for a token, as one of our key providers."""

from __future__ import annotations

from configparser import ConfigParser, Error
from pathlib import Path
from urllib.parse import quote

from bootwright.cli.dropin.espsecure import Fatal, say
from bootwright.formats.keys import Signer

SECTION = "hsm_config"
NEEDED = ("pkcs11_lib", "slot", "label")


def open_hsm(config_file: str | None, *, purpose: str = "generate signature using") -> Signer:
    """The key that the file names; its PIN is asked for where the file holds none."""
    from bootwright.host.keys import load_signer

    if config_file is None:
        raise Fatal(f"Config file is required to {purpose} an external HSM.")
    config = _read(config_file)
    if not Path(config["pkcs11_lib"]).exists():
        raise Fatal(f'LIB file does not exist at "{config["pkcs11_lib"]}".')
    say("Trying to establish a session with the HSM...")
    pin = f"&pin-value={quote(config['credentials'], safe='')}" if config.get("credentials") else ""
    signer = load_signer(
        f"pkcs11:slot-id={quote(config['slot'], safe='')};object={quote(config['label'], safe='')}"
        f"?module-path={quote(config['pkcs11_lib'], safe='/')}{pin}"
    )
    say(f"Session creation successful with HSM slot {config['slot']}.")
    say(f"Got private key metadata with label {config['label']}.")
    return signer


def _read(config_file: str) -> dict[str, str]:
    parser = ConfigParser(interpolation=None)
    try:
        parser.read_string(Path(config_file).read_text(), config_file)
        section = dict(parser[SECTION])
    except (Error, KeyError, UnicodeDecodeError) as error:
        raise Fatal(f"Incorrect HSM config file format ({error}).") from None
    for name in NEEDED:
        if name not in section:
            raise Fatal(f"Incorrect HSM config file format (No option {name!r} in section: {SECTION!r}).")
    return section
