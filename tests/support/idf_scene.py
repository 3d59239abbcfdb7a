"""A virtual chip with ESP-IDF's second-stage bootloader, a partition table and three applications."""

from __future__ import annotations

from dataclasses import dataclass

from tests.support.keys import key_of

from bootwright.chips.chip import load_chip
from bootwright.formats.bootloader_conf import BootloaderConf
from bootwright.formats.esp_image import AppDesc, EspImageHeader, Segment, make_bootloader_image, make_image
from bootwright.formats.esp_otadata import OtaData
from bootwright.formats.esp_partitions import make_partition, make_table
from bootwright.formats.esp_secure_boot import sign_v2
from bootwright.formats.esp_secure_boot_v1 import sign_v1
from bootwright.formats.keys import KeyType
from bootwright.sim.idf_boot import IdfBootloader
from bootwright.sim.machine import BootReport, Machine

TABLE, OTADATA, NVS, FACTORY, OTA_0, OTA_1 = 0x8000, 0xD000, 0x9000, 0x10000, 0x110000, 0x210000
WHOLE = make_table(
    [
        make_partition("nvs", 1, 2, NVS, 0x4000),
        make_partition("otadata", 1, 0, OTADATA, 0x2000),
        make_partition("phy_init", 1, 1, 0xF000, 0x1000),
        make_partition("factory", 0, 0, FACTORY, 0x100000),
        make_partition("ota_0", 0, 0x10, OTA_0, 0x100000),
        make_partition("ota_1", 0, 0x11, OTA_1, 0x100000),
    ]
)
NO_FACTORY = make_table([p for p in WHOLE if p.name != "factory"])

V2 = {
    "CONFIG_SECURE_BOOT": "y",
    "CONFIG_SECURE_BOOT_V2_ENABLED": "y",
    "CONFIG_SECURE_SIGNED_ON_BOOT": "y",
    "CONFIG_SECURE_SIGNED_APPS_RSA_SCHEME": "y",
}
V1 = {
    "CONFIG_SECURE_BOOT": "y",
    "CONFIG_SECURE_BOOT_V1_ENABLED": "y",
    "CONFIG_SECURE_SIGNED_ON_BOOT": "y",
    "CONFIG_SECURE_SIGNED_APPS_ECDSA_SCHEME": "y",
}
ENCRYPTION = {"CONFIG_SECURE_FLASH_ENC_ENABLED": "y"}
ROLLBACK = {"CONFIG_BOOTLOADER_APP_ROLLBACK_ENABLE": "y"}
ANTI_ROLLBACK = {
    **ROLLBACK,
    "CONFIG_BOOTLOADER_APP_ANTI_ROLLBACK": "y",
    "CONFIG_BOOTLOADER_APP_SEC_VER_SIZE_EFUSE_FIELD": "16",
}


def app(version: str, *, chip: str = "esp32c3", secure_version: int = 0, signed: str = "") -> bytes:
    """An application image, signed for Secure Boot `v1` or `v2` when asked."""
    desc = AppDesc(version=version.encode().ljust(32, b"\0"), secure_version=secure_version)
    header = EspImageHeader(segment_count=1, entry_addr=0x4200_0020, chip_id=load_chip(chip).chip_id)
    image = make_image(header, [Segment(0x3C00_0020, desc.pack() + version.encode() * 64)]).pack()
    if signed == "v2":
        return sign_v2(image, [key_of(KeyType.RSA_3072, 0)])
    return sign_v1(image, key_of(KeyType.ECDSA_P256, 0)) if signed == "v1" else image


@dataclass
class Scene:
    machine: Machine
    bootloader: IdfBootloader

    def boot(self) -> BootReport:
        return self.machine.boot(self.bootloader)

    def otadata(self) -> OtaData:
        return OtaData.parse(self.machine.view().read(OTADATA, 0x2000))

    def load_otadata(self, otadata: OtaData) -> None:
        self.machine.flash.load(OTADATA, otadata.pack())


def scene(*groups: dict[str, str], chip: str = "esp32c3", signed: str = "", table: bytes = b"") -> Scene:
    options: dict[str, str] = {"CONFIG_PARTITION_TABLE_OFFSET": "0x8000"}
    for group in groups:
        options |= group
    conf = BootloaderConf.parse("\n".join(f"{name}={value}" for name, value in options.items()), where="sdkconfig")
    facts = load_chip(chip)
    machine = Machine(facts, entropy=lambda length: bytes(1 + i % 255 for i in range(length)))
    boot = make_bootloader_image(facts.chip_id, size=0x5000)
    if signed == "v2":
        boot = sign_v2(boot, [key_of(KeyType.RSA_3072, 0)])
    machine.flash.load(facts.bootloader_offset, boot)
    machine.flash.load(TABLE, table or WHOLE.pack())
    machine.flash.load(FACTORY, app("factory", chip=chip, signed=signed))
    machine.flash.load(OTA_0, app("zero", chip=chip, signed=signed))
    machine.flash.load(OTA_1, app("one", chip=chip, signed=signed))
    return Scene(machine, IdfBootloader(conf=conf, app_key=key_of(KeyType.ECDSA_P256, 0).public))


def code(report: BootReport) -> str:
    assert report.failure is not None
    return report.failure.code


def said(report: BootReport) -> str:
    return "\n".join(line.text for line in report.console)
