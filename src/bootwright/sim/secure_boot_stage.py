"""Secure Boot V2 at a first boot: digests staged before the applications are checked, burned after.

Source: MCUboot 2d4bacc3, boot/espressif/hal/src/secure_boot.c (`check_and_generate_secure_boot_keys`) and main.c.
"""

from __future__ import annotations

from bootwright.finding import passed, warned
from bootwright.sim.board import Steps
from bootwright.sim.idf_efuse import Err
from bootwright.sim.idf_image import VerifiedImage, verified_block_digests, verify_bootloader
from bootwright.sim.idf_keys import (
    KeyToWrite,
    digest_blocks,
    digest_purposes,
    freeze,
    is_empty,
    is_hidden,
    is_unused,
    write_keys,
)
from bootwright.sim.run import HaltedError, Run, halted
from bootwright.sim.secure_features import secure_boot_features


def stage_secure_boot(run: Run, app: VerifiedImage | None = None) -> Steps[None]:
    """Verify the bootloader itself and stage its key digests; nothing is burned yet.

    ESP-IDF's bootloader passes the application that it will start: one of its keys must be one of the bootloader's.
    """
    run.writer.begin()
    try:
        yield from _stage_digests(run, app)
    except HaltedError:
        run.writer.cancel()
        raise


def enable_secure_boot(run: Run) -> Steps[None]:
    """Burn what was staged, with the fields that close the chip: from here on it is permanent."""
    run.say("INF", "blowing secure boot efuse...")
    err = yield from secure_boot_features(run.board, run.conf, run.writer)
    if err is not Err.OK:
        run.writer.cancel()
        raise halted(
            "port.secure_boot.features",
            "eFuses",
            f"a field of the Secure Boot features cannot be burned (error {err:#x})",
            "look for write protections burned beforehand: WR_DIS",
        )
    err = yield from run.writer.commit()
    if err is not Err.OK:
        raise halted(
            "port.secure_boot.burn",
            "eFuses",
            "the eFuses do not read back as they were asked for; key blocks may be spent",
            "look for write protections burned beforehand: WR_DIS",
        )
    if run.secure_boot_on:
        run.say("INF", "Secure boot permanently enabled")
        run.findings.append(
            passed("port.secure_boot.enabled", run.board.chip.secure_boot.enable_field, "Secure Boot is on for good")
        )


def _stage_digests(run: Run, app: VerifiedImage | None) -> Steps[None]:
    efuses = run.board.efuses
    if efuses.chip.keys.purpose_by == "position" and efuses.coding(2) != "none":
        raise halted(
            "port.secure_boot.coding",
            "CODING_SCHEME",
            f"the eFuse blocks use {efuses.coding(2)} coding, Secure Boot V2 needs none",
            "take a chip without 3/4 coding",
        )
    image = yield from verify_bootloader(run)
    blocks = digest_blocks(efuses)
    if any(block is not None and not is_unused(efuses, block) for block in blocks):
        run.say("INF", "[secure_boot_v2] Secure boot digests already present")
        digests = yield from _take_burned_digests(run, blocks)
    else:
        run.say("INF", "[secure_boot_v2] Secure boot digests absent, generating..")
        digests = verified_block_digests(run, image)
        yield from _write_digests(run, digests)
    if app is not None:
        _check_app_keys(run, app, digests)
    if efuses.chip.secure_boot.revocable:
        yield from _revoke_unused(run, blocks, len(digests))


def _check_app_keys(run: Run, app: VerifiedImage, digests: tuple[bytes, ...]) -> None:
    """The n-th digest counts as slot n here too: a slot that is revoked already matches nothing."""
    mine = [digest for slot, digest in enumerate(digests) if not _is_revoked(run, slot)]
    theirs = verified_block_digests(run, app)
    if not any(key[: len(digest)] == digest for digest in mine for key in theirs):
        run.say("ERR", "[secure_boot_v2] No application key digest matches the bootloader key digest.")
        raise halted(
            "idf.secure_boot.app_key",
            f"application at {app.address:#x}",
            "the application carries no valid signature by one of the bootloader's keys",
            "sign bootloader and application with a key in common",
        )


def _take_burned_digests(run: Run, blocks: tuple[int | None, ...]) -> Steps[tuple[bytes, ...]]:
    """Digests that a host burned: each must be readable and not empty, and is frozen."""
    efuses = run.board.efuses
    shared = run.soc_options and efuses.chip.keys.purpose_by == "halves"
    digests: list[bytes] = []
    for slot, block in enumerate(blocks):
        if block is None or _is_revoked(run, slot):
            continue
        if not shared and is_hidden(efuses, block):
            raise _hidden_digest(run, block)
        if is_empty(efuses, block):
            raise halted(
                "port.secure_boot.digest.empty",
                f"eFuse block {block}",
                f"eFuse block {block} has the purpose of a digest and holds none",
                "burn the digest into it, with espefuse burn-key-digest",
            )
        yield from freeze(efuses, run.writer, block)
        digests.append(efuses.readable_block(block)[-efuses.chip.secure_boot.digest_length :])
    if not digests:
        run.say("ERR", "[secure_boot_v2] No valid pre-loaded public key digest in eFuse")
        raise halted(
            "port.secure_boot.digest.revoked",
            "eFuses",
            "every digest that is burned is revoked, none is left to trust",
            "burn another digest, into a slot that is not revoked",
        )
    run.say("WRN", "[secure_boot_v2] Using pre-loaded public key digest in eFuse")
    return tuple(digests)


def _hidden_digest(run: Run, block: int) -> HaltedError:
    name, code = f"eFuse block {block}", "port.secure_boot.digest.hidden"
    run.say("ERR", f"[secure_boot_v2] Key digest (BLK{block}) read protected, aborting...")
    if run.board.chip.keys.purpose_by == "halves":
        return halted(
            code,
            name,
            f"{name} is read-protected, as its flash-encryption key must be; the port takes all of it for the digest,"
            " which must be readable",
            "no first boot of this port gets past that; ESP-IDF's own bootloader does",
        )
    return halted(
        code,
        name,
        f"the digest in {name} is read-protected: the ROM could never compare it",
        "this cannot be undone; use another chip, and burn digests without read protection",
    )


def _write_digests(run: Run, digests: tuple[bytes, ...]) -> Steps[None]:
    if not digests:
        run.say("ERR", "[secure_boot_v2] No valid bootloader signature blocks found.")
        raise halted(
            "port.secure_boot.unsigned",
            "bootloader",
            "no valid signature block where the port looks for the first one",
            "sign the padded bootloader; CONFIG_SECURE_SIGNED_ON_BOOT must be set in the build",
        )
    run.say("INF", f"[secure_boot_v2] {len(digests)} signature block(s) found appended to the bootloader.")
    run.say("INF", "[secure_boot_v2] Burning public key hash to eFuse")
    keys = [KeyToWrite(p, d) for p, d in zip(digest_purposes(run.board.efuses), digests, strict=False)]
    err = yield from write_keys(run.board, run.writer, keys)
    if err is not Err.OK:
        raise halted(
            "port.secure_boot.digest.write",
            "eFuses",
            f"the {len(digests)} digests find no free key blocks (error {err:#x})",
            "free key blocks cannot be made; use another chip",
        )


def _revoke_unused(run: Run, blocks: tuple[int | None, ...], count: int) -> Steps[None]:
    """The port counts digests and revokes the slots from that number on, whichever slots hold them."""
    for slot in range(count, len(blocks)):
        run.say("INF", f"[secure_boot_v2] Revoking empty key digest slot ({slot})...")
        if blocks[slot] is not None and not _is_revoked(run, slot):
            run.findings.append(
                warned(
                    "port.secure_boot.revokes.used",
                    f"SECURE_BOOT_KEY_REVOKE{slot}",
                    f"digest slot {slot} holds a digest and is revoked, because the port counts {count} digests and"
                    " takes them for the first slots",
                    "burn digests from SECURE_BOOT_DIGEST0 on, without gaps",
                )
            )
        yield from run.writer.set_bit(f"SECURE_BOOT_KEY_REVOKE{slot}")


def _is_revoked(run: Run, slot: int) -> bool:
    chip = run.board.chip
    return chip.secure_boot.revocable and bool(run.board.efuses.number(f"SECURE_BOOT_KEY_REVOKE{slot}"))
