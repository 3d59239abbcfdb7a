"""The secure-boot workbench for Espressif chips that run MCUboot."""

__version__ = "0.1.0"
