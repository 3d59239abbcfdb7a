"""Small update scenes for the explorer: two images in a small flash."""

from __future__ import annotations

from functools import cache

from tests.support.traces import trace_document

from bootwright.boot.config import BootConfig, ImageSlots, Mode, Signature
from bootwright.boot.trace import parse_trace
from bootwright.flash import Area
from bootwright.formats.keys import KeyType, PrivateKey, generate_key
from bootwright.formats.mcuboot_image import ImageVersion
from bootwright.formats.mcuboot_sign import SignOptions, sign_image
from bootwright.host.explore_scene import Action, Scene, with_images

BASE = 0x10000


@cache
def signing_key() -> PrivateKey:
    """One key for all scenes."""
    return generate_key(KeyType.ED25519)


@cache
def signed(version: int, size: int) -> bytes:
    """An image of exactly this many bytes in all."""
    options = SignOptions(version=ImageVersion(major=version, minor=0, revision=0, build=0), pad_header=True)
    around = len(sign_image(b"", options, signing_key()))
    payload = bytes((at * 31 + version * 7) >> 3 & 0xFF for at in range(size - around))
    return sign_image(payload, options, signing_key())


def build(mode: Mode, *, slot: int = 0x10000, scratch: int = 0x3000) -> BootConfig:
    """A build without flash encryption."""
    return BootConfig(
        mode=mode,
        images=(ImageSlots(Area("primary", BASE, slot), Area("secondary", BASE + slot, slot)),),
        scratch=Area("scratch", BASE + 2 * slot, scratch) if mode is Mode.SCRATCH else None,
        signature=Signature.ED25519,
        keys=(signing_key().public.der,),
    )


def scene(mode: Mode, action: Action, *, size: int = 20000, slot: int = 0x10000, scratch: int = 0x3000) -> Scene:
    """Version 1 runs, version 2 was requested."""
    images = ((signed(1, size), signed(2, size)),)
    return Scene(config=build(mode, slot=slot, scratch=scratch), images=images, action=action)


def trace_scene(name: str, action: Action) -> Scene:
    """The scene that a recorded trace begins with."""
    trace = parse_trace(trace_document(name))
    empty = ((b"", b""),) * len(trace.config.images)
    return with_images(Scene(config=trace.config, images=empty, action=action, dump=trace.flash))
