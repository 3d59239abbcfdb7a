from .client import Link, Talk

SIZES: tuple[int, ...]
ZEPHYR_LINES: int
ESPRESSIF_LINES: int
ALL_LINES: int

def negotiate(link: Link) -> Talk[bool]: ...
