"""The Go mcumgr's connection profiles: its file, its connection strings.

Format: newtmgr, newtmgr/config/connprofile.go and serial_config.go; the file is `~/.mcumgr.cp.json`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from bootwright.errors import FormatError, RefusedError
from bootwright.host.files import write_file

TYPES = ("serial", "oic_serial", "ble", "oic_ble", "bhd", "oic_bhd", "udp", "oic_udp", "oic_mtech")
USABLE = ("serial", "udp")


@dataclass(frozen=True, slots=True)
class Profile:
    """One named connection."""

    name: str
    kind: str
    string: str

    def address(self) -> tuple[str, int]:
        """Where it leads and the baud rate; an MTU is accepted and not needed, the client finds out by itself.

        Raises:
            FormatError: a key that the original does not know, or a value that is none.
            RefusedError: a kind of connection that only the original offers.
        """
        if self.kind not in USABLE:
            raise RefusedError(
                f"connections of type {self.kind} are not offered here", f"types here: {', '.join(USABLE)}"
            )
        if self.kind == "udp":
            host, _, port = self.string.rpartition(":")
            return f"udp://{host or self.string}:{port if host else 1337}", 0
        return _serial(self.string)


def _serial(string: str) -> tuple[str, int]:
    found = {"dev": "", "baud": "115200", "mtu": "512"}
    for part in string.split(","):
        key, equals, value = part.partition("=")
        if not equals:
            key, value = "dev", key
        if key not in found:
            raise FormatError(f"Invalid serial connstring; Unrecognized key: {key}", "keys are dev, baud and mtu")
        if key != "dev" and not value.isdigit():
            raise FormatError(f"Invalid serial connstring; Invalid {key}: {value}", f"{key} is a number")
        found[key] = value
    return found["dev"], int(found["baud"])


class Profiles:
    """All of them, as the file keeps them."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or Path.home() / ".mcumgr.cp.json"

    def all(self) -> dict[str, Profile]:
        """By name.

        Raises:
            FormatError: the file is not the original's.
        """
        try:
            entries = json.loads(self.path.read_text())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise FormatError(
                f"error reading connection profile config ({self.path}): {error}", "repair or remove the file"
            ) from None
        try:
            found = [Profile(entry["MyName"], entry["MyType"], entry["MyConnString"]) for entry in entries or []]
        except (KeyError, TypeError) as error:
            raise FormatError(
                f"error reading connection profile config ({self.path}): {error!r}", "repair or remove the file"
            ) from None
        return {profile.name: profile for profile in found}

    def add(self, profile: Profile) -> None:
        """Keep a profile; one of that name is replaced."""
        self._save({**self.all(), profile.name: profile})

    def delete(self, name: str) -> None:
        """Forget a profile.

        Raises:
            RefusedError: there is none of that name.
        """
        profiles = self.all()
        if profiles.pop(name, None) is None:
            raise RefusedError(f'connection profile "{name}" doesn\'t exist', "`conn show` lists them")
        self._save(profiles)

    def _save(self, profiles: dict[str, Profile]) -> None:
        entries = [
            {"MyName": profile.name, "MyType": profile.kind, "MyConnString": profile.string}
            for _, profile in sorted(profiles.items())
        ]
        write_file(self.path, json.dumps(entries, indent=4).encode())
