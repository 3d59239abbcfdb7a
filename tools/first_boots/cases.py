"""Random first boots: options of a build, and eFuses as a host, a power cut or an accident may have left them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from bootwright.chips.chip import Chip
from bootwright.chips.efuses import Efuses
from bootwright.formats.keys import KeyType

VIRTUAL_OFFSET = 0x50000
LAYOUT = {
    "CONFIG_ESP_FLASH_SIZE": "4MB",
    "CONFIG_ESP_BOOTLOADER_SIZE": "0xF000",
    "CONFIG_ESP_IMAGE0_PRIMARY_START_ADDRESS": "0x20000",
    "CONFIG_ESP_APPLICATION_SIZE": "0x4000",
    "CONFIG_ESP_IMAGE0_SECONDARY_START_ADDRESS": "0x24000",
    "CONFIG_ESP_SCRATCH_OFFSET": "0x28000",
    "CONFIG_ESP_SCRATCH_SIZE": "0x2000",
    "CONFIG_ESP_SIGN_EC256": "1",
    "CONFIG_ESP_USE_TINYCRYPT": "1",
}
TWO_IMAGES = {
    "CONFIG_ESP_IMAGE_NUMBER": "2",
    "CONFIG_ESP_IMAGE1_PRIMARY_START_ADDRESS": "0x30000",
    "CONFIG_ESP_IMAGE1_SECONDARY_START_ADDRESS": "0x34000",
}
VIRTUAL = {
    "CONFIG_EFUSE_VIRTUAL": "1",
    "CONFIG_EFUSE_VIRTUAL_KEEP_IN_FLASH": "1",
    "CONFIG_EFUSE_VIRTUAL_OFFSET": hex(VIRTUAL_OFFSET),
    "CONFIG_EFUSE_VIRTUAL_SIZE": "0x2000",
}
MODES = ("CONFIG_ESP_BOOT_SWAP_USING_SCRATCH", "CONFIG_ESP_BOOT_SWAP_USING_MOVE", "CONFIG_ESP_BOOT_UPGRADE_ONLY")
#: fields that a host may have burned beforehand
SWITCHES = (
    "DIS_PAD_JTAG",
    "DIS_USB_JTAG",
    "HARD_DIS_JTAG",
    "JTAG_DISABLE",
    "DIS_DIRECT_BOOT",
    "DIS_DOWNLOAD_ICACHE",
    "DIS_DOWNLOAD_MANUAL_ENCRYPT",
    "ENABLE_SECURITY_DOWNLOAD",
    "DIS_DOWNLOAD_MODE",
    "UART_DOWNLOAD_DIS",
    "CONSOLE_DEBUG_DISABLE",
    "DISABLE_DL_ENCRYPT",
)
NUMBERS = ("SOFT_DIS_JTAG", "FLASH_CRYPT_CONFIG", "XTS_DPA_PSEUDO_LEVEL", "ECDSA_CURVE_MODE")


@dataclass(frozen=True, kw_only=True)
class Case:
    """What one first boot begins with."""

    chip: Chip
    revision: int
    blocks: dict[int, bytes] = field(repr=False)
    signatures: int  #: how many keys signed the bootloader
    app_ok: bool
    image_ok: bool
    primary_plain: bool


def options_of(r: Random, chip: Chip) -> dict[str, str]:
    """The options of a build that this chip can have."""
    options = {**LAYOUT, r.choice(MODES): "1"}
    secure_boot, encryption = r.random() < 0.7, r.random() < 0.8

    def maybe(name: str, chance: float = 0.3, value: str = "1") -> None:
        if r.random() < chance:
            options[name] = value

    if r.random() < 0.2:
        options |= TWO_IMAGES
    if r.random() < 0.2:
        options |= VIRTUAL
    if secure_boot:
        _secure_boot(r, chip, options)
    maybe("CONFIG_SECURE_BOOT_ALLOW_JTAG")
    maybe("CONFIG_SECURE_BOOT_ALLOW_ROM_BASIC")
    if encryption or not secure_boot:
        _encryption(r, chip, options)
    both = "CONFIG_SECURE_BOOT" in options and "CONFIG_SECURE_FLASH_ENC_ENABLED" in options
    if both and chip.keys.purpose_by == "halves":
        maybe("CONFIG_SECURE_BOOT_FLASH_ENC_KEYS_BURN_TOGETHER", 0.7)
    return options


def _secure_boot(r: Random, chip: Chip, options: dict[str, str]) -> None:
    options |= {"CONFIG_SECURE_BOOT": "1", "CONFIG_SECURE_BOOT_V2_ENABLED": "1"}
    schemes = chip.secure_boot.schemes
    ecdsa = "rsa-3072" not in schemes or (any("ecdsa" in scheme for scheme in schemes) and r.random() < 0.4)
    kind = "ECDSA_V2" if ecdsa else "RSA"
    options[f"CONFIG_SECURE_SIGNED_APPS_{kind}_SCHEME"] = "1"
    chances = {
        "CONFIG_SECURE_SIGNED_ON_BOOT": 0.93,
        "CONFIG_SECURE_DISABLE_ROM_DL_MODE": 0.3,
        "CONFIG_SECURE_BOOT_V2_ALLOW_EFUSE_RD_DIS": 0.3,
        "CONFIG_SECURE_ENABLE_SECURE_ROM_DL_MODE": 0.0 if chip.keys.purpose_by == "position" else 0.3,
        "CONFIG_SECURE_BOOT_ENABLE_AGGRESSIVE_KEY_REVOKE": 0.3 if chip.secure_boot.revocable else 0.0,
    }
    options |= {name: "1" for name, chance in chances.items() if r.random() < chance}


def _encryption(r: Random, chip: Chip, options: dict[str, str]) -> None:
    options["CONFIG_SECURE_FLASH_ENC_ENABLED"] = "1"
    mode = r.choice(("RELEASE", "RELEASE", "DEVELOPMENT", ""))
    if mode:
        options[f"CONFIG_SECURE_FLASH_ENCRYPTION_MODE_{mode}"] = "1"
    chances = {
        **{f"CONFIG_SECURE_FLASH_UART_BOOTLOADER_ALLOW_{what}": 0.3 for what in ("ENC", "DEC", "CACHE")},
        "CONFIG_SECURE_FLASH_SKIP_WRITE_PROTECTION_CACHE": 0.2,
        "CONFIG_SECURE_FLASH_REQUIRE_ALREADY_ENABLED": 0.08,
        "CONFIG_SECURE_FLASH_ENCRYPTION_AES256": 0.4 if 256 in chip.flash_encryption.key_lengths else 0.0,
        "CONFIG_SECURE_FLASH_ENCRYPTION_AES128_DERIVED": 0.6 if chip.flash_encryption.derived_key else 0.0,
    }
    if chip.flash_encryption.algorithm == "esp32":
        del chances["CONFIG_SECURE_FLASH_ENCRYPTION_AES256"]
    options |= {name: "1" for name, chance in chances.items() if r.random() < chance}
    if chip.name in ("esp32h2", "esp32c5", "esp32c61") and r.random() < 0.4:
        options["CONFIG_SECURE_FLASH_PSEUDO_ROUND_FUNC_STRENGTH"] = str(r.randrange(1, 4))
        if r.random() < 0.7:
            options["CONFIG_SECURE_FLASH_PSEUDO_ROUND_FUNC"] = "1"


def key_type_of(r: Random, chip: Chip, options: dict[str, str]) -> KeyType:
    """What signs the bootloader."""
    if "CONFIG_SECURE_SIGNED_APPS_ECDSA_V2_SCHEME" not in options:
        return KeyType.RSA_3072
    p192 = KeyType.ECDSA_P192 in chip.secure_boot.schemes and r.random() < 0.5
    return KeyType.ECDSA_P192 if p192 else KeyType.ECDSA_P256


def case_of(r: Random, chip: Chip, options: dict[str, str], digests: Sequence[bytes]) -> Case:
    """A chip before the first boot of this build."""
    revision = chip.default_revision if chip.name != "esp32h2" else r.choice((100, 102))
    signatures = r.choice((0, 1, 1, 1, 1, 2, 3)) if "CONFIG_SECURE_BOOT" in options else 0
    return Case(
        chip=chip,
        revision=revision,
        blocks=_Fuses(r, chip, revision, digests).blocks(),
        signatures=min(signatures, chip.secure_boot.digest_slots),
        app_ok=r.random() < 0.92,
        image_ok=r.random() < 0.96,
        primary_plain=r.random() < 0.85,
    )


class _Fuses:
    """eFuses in the making: fields are or-ed together, key blocks hold whole keys."""

    def __init__(self, r: Random, chip: Chip, revision: int, digests: Sequence[bytes]) -> None:
        self.r, self.chip, self.revision, self.digests = r, chip, revision, digests
        self.block0 = 0
        self.keys: dict[int, bytes] = {}

    def blocks(self) -> dict[int, bytes]:
        burn = {"field": self._by_field, "position": self._by_position, "halves": self._by_halves}
        if self.r.random() < 0.75:
            burn[self.chip.keys.purpose_by]()
        self._switches()
        new = Efuses.blank(self.chip, revision=self.revision)
        found = {b.number: new.bits[b.number].to_bytes(b.size, "little") for b in self.chip.blocks} | self.keys
        found[0] = (self.block0 | new.bits[0]).to_bytes(self.chip.blocks[0].size, "little")
        if self.chip.has_field("CODING_SCHEME") and self.block0 >> self.chip.field("CODING_SCHEME").bit & 3 == 1:
            found |= {n: found[n][:24].ljust(32, b"\0") for n in (1, 2, 3)}
        return found

    def _put(self, name: str, value: int = 1, *, chance: float = 1.0) -> None:
        if self.chip.has_field(name, revision=self.revision) and self.r.random() < chance:
            self.block0 |= self.chip.field(name, revision=self.revision).place(value)

    def _digest_or_noise(self) -> bytes:
        return self.r.choice(self.digests) if self.r.random() < 0.7 else self.r.randbytes(32)

    def _by_field(self) -> None:
        width = self.chip.field("KEY_PURPOSE_0", revision=self.revision).width
        if self.chip.name == "esp32p4":
            width = 4  # the port compiles the table of the first silicon, and takes purpose 18 for 2
        used = self.r.choice((0.1, 0.3, 0.9))
        for index, number in enumerate(self.chip.keys.blocks):
            if self.r.random() > used:
                continue
            purpose = self.r.choice([p for p in self.chip.purposes if p.value < 1 << width])
            self._put(f"KEY_PURPOSE_{index}", purpose.value)
            if self.r.random() < 0.85:
                self.keys[number] = self._digest_or_noise() if purpose.is_digest else self.r.randbytes(32)
            self._put(f"WR_DIS.BLOCK_KEY{index}", chance=0.6)
            self._put(f"WR_DIS.KEY_PURPOSE_{index}", chance=0.6)
            self._put(f"RD_DIS.BLOCK_KEY{index}", chance=0.6 if purpose.is_flash_key else 0.08)

    def _by_position(self) -> None:
        for number in (1, 2):
            if self.r.random() < 0.4:
                self.keys[number] = self._digest_or_noise() if number == 2 else self.r.randbytes(32)
            self._put(f"WR_DIS.BLOCK{number}", chance=0.4)
            self._put(f"RD_DIS.BLOCK{number}", chance=0.3 if number == 1 else 0.07)

    def _by_halves(self) -> None:
        if self.r.random() < 0.4:
            low = self.r.randbytes(16) if self.r.random() < 0.6 else bytes(16)
            high = self._digest_or_noise()[:16] if self.r.random() < 0.7 else bytes(16)
            self.keys[self.chip.keys.blocks[0]] = low + high
        for name in ("WR_DIS.BLOCK_KEY0", "XTS_KEY_LENGTH_256", "RD_DIS.KEY0.LOW", "RD_DIS.KEY0.HI"):
            self._put(name, chance=0.25)

    def _switches(self) -> None:
        counter = self.chip.flash_encryption.counter_field
        full = (1 << self.chip.field(counter, revision=self.revision).width) - 1
        self._put(counter, self.r.choice((0, 0, 0, 0, 0, 1, 3, 3, full, self.r.randrange(full))))
        self._put(self.chip.secure_boot.enable_field, chance=0.08)
        for slot in range(3):
            self._put(f"SECURE_BOOT_KEY_REVOKE{slot}", chance=0.06)
        for _ in range(self.r.choice((0, 0, 1, 2, 3))):
            self._put("WR_DIS", 1 << self.r.randrange(self.chip.field("WR_DIS").width))
        for name in SWITCHES:
            self._put(name, chance=0.08)
        for name in NUMBERS:
            if self.chip.has_field(name, revision=self.revision):
                width = self.chip.field(name, revision=self.revision).width
                self._put(name, self.r.randrange(1 << width), chance=0.12)
        self._put("CODING_SCHEME", self.r.randrange(4), chance=0.2)
