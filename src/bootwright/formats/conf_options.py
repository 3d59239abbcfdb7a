"""Every option that the Espressif port reads, and those that only look as if it did.

Source: mcu-tools/mcuboot 2d4bacc3, boot/espressif (hal/include/mcuboot_config/mcuboot_config.h, CMakeLists.txt, main.c,
port/, hal/src) and the ESP-IDF v6 code that it compiles in.
"""

from collections.abc import Mapping
from types import MappingProxyType

#: option → what it does
OPTIONS: Mapping[str, str] = MappingProxyType(
    {
        "CONFIG_ESP_FLASH_SIZE": "flash size for esptool, as 4MB",
        "CONFIG_ESP_BOOTLOADER_SIZE": "bytes of the bootloader region, encrypted as a whole at the first boot",
        "CONFIG_ESP_BOOTLOADER_OFFSET": "where the flash command writes the bootloader; the code has its own, per chip",
        "CONFIG_ESP_APPLICATION_SIZE": "bytes of every slot",
        "CONFIG_ESP_IMAGE0_PRIMARY_START_ADDRESS": "primary slot",
        "CONFIG_ESP_IMAGE0_SECONDARY_START_ADDRESS": "secondary slot",
        "CONFIG_ESP_IMAGE1_PRIMARY_START_ADDRESS": "primary slot of the second image",
        "CONFIG_ESP_IMAGE1_SECONDARY_START_ADDRESS": "secondary slot of the second image",
        "CONFIG_ESP_SCRATCH_OFFSET": "scratch area, swap-scratch only",
        "CONFIG_ESP_SCRATCH_SIZE": "bytes of the scratch area",
        "CONFIG_BOOTLOADER_PROJECT_VER": "version in ESP-IDF's bootloader description",
        "CONFIG_ESP_BOOT_SWAP_USING_SCRATCH": "swap through the scratch area (the default)",
        "CONFIG_ESP_BOOT_SWAP_USING_MOVE": "swap by moving the primary up by one sector",
        "CONFIG_ESP_BOOT_UPGRADE_ONLY": "overwrite the primary, no way back",
        "CONFIG_ESP_BOOT_SWAP_USING_OFFSET": "swap with the update one sector up; does not link in this port",
        "CONFIG_ESP_BOOT_DIRECT_XIP": "run either slot in place; unsupported by this port",
        "CONFIG_ESP_BOOT_RAM_LOAD": "load either slot to RAM; unsupported by this port",
        "CONFIG_ESP_SINGLE_APPLICATION_SLOT": "one slot, no updates; unsupported by this port",
        "CONFIG_ESP_IMAGE_NUMBER": "images, 1 or 2",
        "CONFIG_ESP_MULTI_PROCESSOR_BOOT": "start the second image on the APP CPU",
        "CONFIG_ESP_DOWNGRADE_PREVENTION": "refuse updates with a lower version",
        "CONFIG_ESP_DOWNGRADE_PREVENTION_SECURITY_COUNTER": "compare security counters instead of versions",
        "CONFIG_ESP_SIGN_EC256": "verify ECDSA P-256 signatures",
        "CONFIG_ESP_SIGN_ED25519": "verify Ed25519 signatures",
        "CONFIG_ESP_SIGN_RSA": "verify RSA-PSS signatures",
        "CONFIG_ESP_SIGN_RSA_LEN": "RSA modulus, 2048 or 3072 bits",
        "CONFIG_ESP_SIGN_KEY_FILE": "PEM file of the one key that is compiled in",
        "CONFIG_ESP_USE_MBEDTLS": "Mbed TLS, for RSA",
        "CONFIG_ESP_USE_TINYCRYPT": "TinyCrypt, for EC256 and Ed25519",
        "CONFIG_ESP_MCUBOOT_SERIAL": "serial recovery",
        "CONFIG_ESP_MCUBOOT_SERIAL_USB_SERIAL_JTAG": "serial recovery over USB instead of a UART",
        "CONFIG_ESP_MCUBOOT_ERASE_PROGRESSIVELY": "serial recovery erases sector by sector",
        "CONFIG_ESP_SERIAL_BOOT_GPIO_DETECT": "pin that asks for serial recovery",
        "CONFIG_ESP_SERIAL_BOOT_GPIO_INPUT_TYPE": "0 pull-down, 1 pull-up",
        "CONFIG_ESP_SERIAL_BOOT_GPIO_DETECT_VAL": "level of the pin that means recovery",
        "CONFIG_ESP_SERIAL_BOOT_DETECT_DELAY_S": "seconds that the level must hold",
        "CONFIG_ESP_SERIAL_BOOT_UART_NUM": "UART of serial recovery, 0 or 1",
        "CONFIG_ESP_SERIAL_BOOT_GPIO_RX": "receive pin of serial recovery",
        "CONFIG_ESP_SERIAL_BOOT_GPIO_TX": "transmit pin of serial recovery",
        "CONFIG_ESP_SERIAL_BOOT_BAUDRATE": "baud rate of serial recovery",
        "CONFIG_ESP_CONSOLE_UART": "log to a UART",
        "CONFIG_ESP_CONSOLE_UART_NUM": "UART of the log",
        "CONFIG_ESP_CONSOLE_UART_CUSTOM": "log to other pins",
        "CONFIG_ESP_CONSOLE_UART_TX_GPIO": "transmit pin of the log",
        "CONFIG_ESP_CONSOLE_UART_RX_GPIO": "receive pin of the log",
        "CONFIG_ESP_CONSOLE_USB_SERIAL_JTAG": "log over USB",
        "CONFIG_SECURE_BOOT": "the first boot enables Secure Boot",
        "CONFIG_SECURE_BOOT_V2_ENABLED": "Secure Boot V2",
        "CONFIG_SECURE_SIGNED_APPS_RSA_SCHEME": "RSA-3072 signature block",
        "CONFIG_SECURE_BOOT_SUPPORTS_RSA": "goes with the RSA scheme",
        "CONFIG_SECURE_SIGNED_APPS_ECDSA_V2_SCHEME": "ECDSA signature block",
        "CONFIG_SECURE_BOOT_ECDSA_KEY_LEN_384_BITS": "ECDSA P-384 in the signature block",
        "CONFIG_SECURE_BOOT_FLASH_ENC_KEYS_BURN_TOGETHER": "one key block for both keys",
        "CONFIG_SECURE_BOOT_ALLOW_JTAG": "leave JTAG open",
        "CONFIG_SECURE_BOOT_ALLOW_ROM_BASIC": "leave the ROM's BASIC open (ESP32)",
        "CONFIG_SECURE_DISABLE_ROM_DL_MODE": "close download mode for good",
        "CONFIG_SECURE_ENABLE_SECURE_ROM_DL_MODE": "leave only secure download mode",
        "CONFIG_SECURE_BOOT_ENABLE_AGGRESSIVE_KEY_REVOKE": "revoke a key as soon as its signature fails",
        "CONFIG_SECURE_BOOT_V2_ALLOW_EFUSE_RD_DIS": "leave read protection writable",
        "CONFIG_SECURE_FLASH_ENC_ENABLED": "the first boot encrypts the flash",
        "CONFIG_SECURE_FLASH_ENCRYPTION_MODE_DEVELOPMENT": "encryption can be switched off once more",
        "CONFIG_SECURE_FLASH_ENCRYPTION_MODE_RELEASE": "encryption stays for good",
        "CONFIG_SECURE_FLASH_UART_BOOTLOADER_ALLOW_ENC": "leave encryption by the ROM loader open",
        "CONFIG_SECURE_FLASH_UART_BOOTLOADER_ALLOW_DEC": "leave decryption by the ROM loader open (ESP32)",
        "CONFIG_SECURE_FLASH_UART_BOOTLOADER_ALLOW_CACHE": "leave the cache open in download mode",
        "CONFIG_SECURE_FLASH_REQUIRE_ALREADY_ENABLED": "never enable encryption, panic instead",
        "CONFIG_SECURE_FLASH_ENCRYPTION_AES256": "XTS-AES-256, two key blocks",
        "CONFIG_SECURE_FLASH_ENCRYPTION_AES128_DERIVED": "XTS-AES-128 with a derived key (ESP32-C2)",
        "CONFIG_SECURE_FLASH_SKIP_WRITE_PROTECTION_CACHE": "leave the cache fuse writable",
        "CONFIG_SECURE_FLASH_PSEUDO_ROUND_FUNC": "pseudo rounds against power analysis",
        "CONFIG_SECURE_FLASH_PSEUDO_ROUND_FUNC_STRENGTH": "how many pseudo rounds",
        "CONFIG_EFUSE_VIRTUAL": "eFuses in RAM instead of silicon",
        "CONFIG_EFUSE_VIRTUAL_KEEP_IN_FLASH": "keep the virtual eFuses in flash",
        "CONFIG_EFUSE_VIRTUAL_OFFSET": "where",
        "CONFIG_EFUSE_VIRTUAL_SIZE": "how many bytes",
        "CONFIG_ESP_MCUBOOT_WDT_ENABLE": "nothing: the watchdog is always fed",
        "CONFIG_SECURE_SIGNED_ON_BOOT": "the first boot looks for the signature block behind the padded bootloader",
    }
)

#: options that the port's own files set and no code reads → why
DEAD: Mapping[str, str] = MappingProxyType(
    {
        "CONFIG_ESP_MCUBOOT_WDT_ENABLE": "no code reads it; the watchdog is always fed",
    }
)
