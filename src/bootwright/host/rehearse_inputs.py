"""What a rehearsal starts from: the project's files read and checked, its keys loaded or drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from bootwright.errors import FormatError
from bootwright.formats.bootloader_conf import UpgradeMode
from bootwright.formats.keys import KeyType, PrivateKey, Signer, generate_key
from bootwright.formats.mcuboot_trailer import UpgradeMode as TrailerMode
from bootwright.formats.mcuboot_trailer import espressif_geometry
from bootwright.host.files import read_bytes
from bootwright.host.firmware import BootloaderFile, Payload, read_application, read_bootloader
from bootwright.host.flash_key import host_key_size
from bootwright.host.keys import load_signer
from bootwright.host.project import Project
from bootwright.host.settings import FlashKey

Random = Callable[[int], bytes]

_TRAILER_MODES = {
    UpgradeMode.SCRATCH: TrailerMode.SWAP_SCRATCH,
    UpgradeMode.MOVE: TrailerMode.SWAP_MOVE,
    UpgradeMode.OVERWRITE: TrailerMode.OVERWRITE_ONLY,
}


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """A project with its files in memory. Keys that no file gives are drawn when they are first asked for."""

    project: Project
    app: Payload
    update: Payload
    second: Payload | None  #: image 1, None in a build for one image
    bootloader: BootloaderFile
    image_limit: int  #: most bytes of header, payload and TLVs that the bootloader takes
    random: Random = field(repr=False)
    given_signing: Signer | None = None
    given_secure_boot: Signer | None = None
    given_flash_key: bytes | None = field(default=None, repr=False)

    @property
    def key_type(self) -> KeyType:
        """Type of the key that signs applications."""
        return KeyType(self.project.key_type)

    @property
    def secure_boot_type(self) -> KeyType:
        """Type of the key that signs the bootloader: RSA-3072 where the chip's ROM knows it."""
        return secure_boot_type(self.project)

    @property
    def signing(self) -> Signer:
        """The key that signs applications."""
        return self.given_signing or self.drawn_signing

    @cached_property
    def drawn_signing(self) -> PrivateKey:
        """The one drawn where the project names none."""
        return generate_key(self.key_type)

    @cached_property
    def strange(self) -> PrivateKey:
        """Somebody else's key, of the same type."""
        return generate_key(self.key_type)

    @property
    def secure_boot(self) -> Signer:
        """The key that signs the bootloader."""
        return self.given_secure_boot or self.drawn_secure_boot

    @cached_property
    def drawn_secure_boot(self) -> PrivateKey:
        """The one drawn where the project names none."""
        return generate_key(self.secure_boot_type)

    @cached_property
    def flash_key(self) -> bytes | None:
        """The host's flash-encryption key as espsecure writes it, None when the device makes its own."""
        if self.project.fe_key is FlashKey.DEVICE:
            return None
        return self.given_flash_key or self.random(host_key_size(self.project.chip))


def secure_boot_type(project: Project) -> KeyType:
    """The Secure Boot V2 key type of the project's chip."""
    schemes = project.chip.secure_boot.schemes
    return KeyType.RSA_3072 if KeyType.RSA_3072 in schemes else KeyType.ECDSA_P256


def prepare_inputs(project: Project, *, random: Random) -> Inputs:
    """Read and check every file that the project names; nothing is written and no key is drawn.

    Raises:
        FormatError: a file that is missing, malformed, too large or of the wrong type.
        TrustError: a key file whose password is missing or wrong.
    """
    conf = project.conf
    if conf.mode not in _TRAILER_MODES:
        raise FormatError(
            f"{conf.where}: found upgrade mode {conf.mode}, expected scratch, move or overwrite",
            "the Espressif port supports no other",
        )
    slot = conf.slots()[0].size
    limit = espressif_geometry(slot, flash_encryption=True).max_image_size(_TRAILER_MODES[conf.mode])
    app = read_application(project.app.file, project.chip, seed="application")
    update = read_application(project.update.file, project.chip, seed="update")
    second = read_application(project.second.file, project.chip, seed="second") if conf.image_count > 1 else None
    return Inputs(
        project=project,
        app=app,
        update=update,
        second=second,
        bootloader=read_bootloader(project.bootloader, project.chip, area=conf.bootloader.size),
        image_limit=limit,
        random=random,
        given_signing=_load_key(project, project.keys.signing, KeyType(project.key_type), "keys.type"),
        given_secure_boot=_load_key(project, project.keys.secure_boot, secure_boot_type(project), "the chip's ROM"),
        given_flash_key=_load_flash_key(project.keys.flash_encryption, host_key_size(project.chip)),
    )


def _load_key(project: Project, provider: str | None, expected: KeyType, wanted_by: str) -> Signer | None:
    if provider is None:
        return None
    key = load_signer(provider, password=project.keys.password)
    if key.key_type is not expected:
        raise FormatError(
            f"{provider}: found a key of type {key.key_type}, expected {expected} for {wanted_by}",
            "name another key, or change keys.type" if wanted_by == "keys.type" else "generate one of that type",
        )
    return key


def _load_flash_key(path: Path | None, size: int) -> bytes | None:
    if path is None:
        return None
    key = read_bytes(path, what="flash-encryption key", limit=64)
    if len(key) != size:
        raise FormatError(
            f"{path}: found a flash-encryption key of {len(key)} bytes, expected {size}",
            "espsecure generate-flash-encryption-key writes one",
        )
    return key
