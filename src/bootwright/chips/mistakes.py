"""The field's classic eFuse mistakes: one table, each row a state that ends in a brick or in no protection.

A rule looks at a burn plan and says why it must not happen, or nothing. The rules ask what the chip would be
*afterwards* and was not before, so it does not matter by which command somebody gets there. Sources are the reports
and documents in which people lost devices; the issue numbers are of espressif/esp-idf and espressif/esptool.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from bootwright.chips.burning import BurnPlan, newly_frozen
from bootwright.chips.efuses import Efuses
from bootwright.chips.release import (
    download_closed,
    encryption_on,
    missing_encryption,
    missing_for_release,
    missing_secure_boot,
    secure_boot_on,
)
from bootwright.errors import RefusedError
from bootwright.finding import Finding, failed, passed

Because = Callable[[BurnPlan], Iterator[tuple[str, str]]]


@dataclass(frozen=True, slots=True)
class Mistake:
    """A rule: its name, by which it is overridden; what to do instead; and what finds it in a plan."""

    name: str
    instead: str
    find: Because  #: yields (subject, why) for each place where the plan makes it
    lasting: bool = True  #: whether the state alone tells that it was made

    @property
    def code(self) -> str:
        """The finding's code."""
        return f"efuse.mistake.{self.name}"


def check_plan(plan: BurnPlan, *, allow: Collection[str] = ()) -> tuple[Finding, ...]:
    """What speaks against a plan; mistakes named in `allow` are passed and say so."""
    findings: list[Finding] = []
    for mistake in MISTAKES:
        for subject, because in mistake.find(plan):
            if mistake.name in allow:
                findings.append(passed(mistake.code, subject, f"{because}; allowed by --allow {mistake.name}"))
            else:
                advice = f"{mistake.instead}; or insist with --allow {mistake.name}"
                findings.append(failed(mistake.code, subject, because, advice))
    return tuple(findings)


def check_state(efuses: Efuses) -> tuple[Finding, ...]:
    """The mistakes that were made on a chip already, or one finding that says there are none."""
    blank = Efuses.blank(efuses.chip, revision=efuses.revision)
    made = BurnPlan(blank, efuses.latched(), {}, ())
    asked = [mistake for mistake in MISTAKES if mistake.lasting]
    findings = [failed(mistake.code, subject, because) for mistake in asked for subject, because in mistake.find(made)]
    return tuple(findings) or (passed("efuse.mistake.none", efuses.chip.title, "no classic mistake was made"),)


def known_names(names: Collection[str], *, more: Collection[str] = ()) -> None:
    """Check the names of overrides; `more` are those of mistakes that are found elsewhere.

    Raises:
        RefusedError: one of them is no mistake's name.
    """
    known = [*(mistake.name for mistake in MISTAKES), *more]
    for name in names:
        if name not in known:
            raise RefusedError(f"there is no mistake called {name!r}", f"there are {', '.join(known)}")


def _newly(state: Callable[[Efuses], Iterator[tuple[str, str]]]) -> Because:
    """The rule that finds what a state suffers from after the plan and did not suffer from before."""

    def find(plan: BurnPlan) -> Iterator[tuple[str, str]]:
        before = set(state(plan.before))
        yield from (found for found in state(plan.after) if found not in before)

    return find


def _cannot_clear(plan: BurnPlan) -> Iterator[tuple[str, str]]:
    """esptool#627, #717: bits only go from 0 to 1."""
    for name, value in plan.asked.items():
        found = plan.before.chip.field(name, revision=plan.before.revision)
        wanted = int.from_bytes(value, "little") if isinstance(value, bytes) else value
        old = plan.before.true_number(name)
        if found.block == 0 and old & ~wanted and found.name not in ("WR_DIS", "RD_DIS"):
            yield found.name, f"asked for {wanted:#x}, but {old:#x} is burned: the chip would hold {wanted | old:#x}"


def _switched_off(plan: BurnPlan) -> Iterator[tuple[str, str]]:
    """esp32.com p=152118, esp-idf#13745; burned in one go from 0 it is the same end."""
    name = plan.after.chip.flash_encryption.counter_field
    old, new = (state.true_number(name) for state in (plan.before, plan.after))
    if old == new or encryption_on(plan.after):
        return
    then = "goes off, nothing boots" if encryption_on(plan.before) else "stays off, and the bits are spent"
    yield name, f"{old:#b} → {new:#b} has an even number of set bits: flash encryption {then}"


def _counter_without_key(efuses: Efuses) -> Iterator[tuple[str, str]]:
    """esp-idf#13284, #10927."""
    if encryption_on(efuses) and not _flash_keys(efuses) and not _key_manager_flash_key(efuses):
        name = efuses.chip.flash_encryption.counter_field
        yield name, "flash encryption is on, but no key block holds a flash-encryption key"


def _crypt_config(efuses: Efuses) -> Iterator[tuple[str, str]]:
    """ESP-IDF docs/en/security/flash-encryption.rst; every tool encrypts for 0xF."""
    if not efuses.chip.has_field("FLASH_CRYPT_CONFIG") or not encryption_on(efuses):
        return
    found = efuses.true_number("FLASH_CRYPT_CONFIG")
    if found != 0xF:
        yield "FLASH_CRYPT_CONFIG", f"flash encryption is on with {found:#x}, but images are encrypted for 0xf"


def _no_digest(efuses: Efuses) -> Iterator[tuple[str, str]]:
    """esp-idf#6886."""
    if secure_boot_on(efuses) and not usable_digests(efuses):
        name = efuses.chip.secure_boot.enable_field
        yield name, "secure boot is on, but no key digest is burned that the ROM can read and that is not revoked"


def _hidden_digest(efuses: Efuses) -> Iterator[tuple[str, str]]:
    """esptool#640."""
    for number in _digest_blocks(efuses):
        half = (1 << 256) - (1 << 128) if efuses.chip.keys.purpose_by == "halves" else -1
        if efuses.latched().hidden_bits(number) & half:
            name = efuses.chip.blocks[number].name
            yield name, "the Secure Boot V2 key digest is read-protected: the ROM cannot read it and boots nothing"


def _last_block(efuses: Efuses) -> Iterator[tuple[str, str]]:
    """SOC_EFUSE_BLOCK9_KEY_PURPOSE_QUIRK in ESP-IDF's soc_caps.h."""
    if efuses.chip.keys.purpose_by != "field":
        return
    number = efuses.chip.keys.blocks[-1]
    name = efuses.key_purpose(number)
    known = next((p for p in efuses.chip.purposes if p.name == name), None)
    if known and efuses.quirk_forbids(number, known):
        yield efuses.chip.blocks[number].name, f"a hardware bug keeps this block from serving {name} keys"


def _same_digest_twice(efuses: Efuses) -> Iterator[tuple[str, str]]:
    """esp-idf#18878."""
    if efuses.chip.keys.purpose_by != "field":
        return
    for slot in range(efuses.chip.secure_boot.digest_slots):
        blocks = efuses.find_keys(f"SECURE_BOOT_DIGEST{slot}")
        if len(blocks) > 1:
            names = " and ".join(efuses.chip.blocks[n].name for n in blocks)
            yield f"SECURE_BOOT_DIGEST{slot}", f"{names} both have this purpose, and only the first counts"


def _two_key_lengths(efuses: Efuses) -> Iterator[tuple[str, str]]:
    """esp-idf#13361, #13783."""
    kinds = {efuses.key_purpose(n) for n in _flash_keys(efuses)} if efuses.chip.keys.purpose_by == "field" else set()
    if "XTS_AES_128_KEY" in kinds and kinds - {"XTS_AES_128_KEY"}:
        yield "XTS_AES_128_KEY", "keys of both lengths are burned, and the chip uses one only"
    if len(kinds & {"XTS_AES_256_KEY_1", "XTS_AES_256_KEY_2"}) == 1 and encryption_on(efuses):
        yield "XTS_AES_256_KEY", "flash encryption is on, but one half of the 512-bit key is missing"


def _readable_key(efuses: Efuses) -> Iterator[tuple[str, str]]:
    """mcuboot's first boot refuses it, and whoever reads the key decrypts the flash."""
    for number in _flash_keys(efuses):
        if encryption_on(efuses) and not efuses.latched().read_protected(number):
            name = efuses.chip.blocks[number].name
            yield name, "flash encryption is on, but software and the ROM loader can read the key"


def _rd_dis_frozen(plan: BurnPlan) -> Iterator[tuple[str, str]]:
    """esp-idf#14587, #11888: Secure Boot freezes RD_DIS, so the flash-encryption key comes first."""
    if plan.before.latched().write_protected("RD_DIS") or not plan.after.write_protected("RD_DIS"):
        return
    if not any(plan.after.read_protected(n) for n in _flash_keys(plan.after)):
        yield "RD_DIS", "it would be frozen before a flash-encryption key is hidden: no later key can be read-protected"


def _frozen_early(plan: BurnPlan) -> Iterator[tuple[str, str]]:
    """esp-idf#11802, and the order of commands in ESP-IDF's docs/en/security/security-features-enablement-workflows."""
    frozen = newly_frozen(plan)
    names = [name for name, _ in missing_for_release(plan.after) if name in frozen]
    if names:
        yield "WR_DIS", f"{', '.join(names)} would be frozen unburned, together with what is to be protected"


def _closed_early(plan: BurnPlan) -> Iterator[tuple[str, str]]:
    """esp-idf#10959, #10788: espefuse cannot reach the chip after this."""
    closing = download_closed(plan.after)
    if not closing or download_closed(plan.before):
        return
    both = encryption_on(plan.after) == secure_boot_on(plan.after)
    check = missing_for_release if both else missing_encryption if encryption_on(plan.after) else missing_secure_boot
    missing = [name for name, _ in check(plan.after)]
    if missing:
        shown = ", ".join(missing[:6]) + (" and more" if len(missing) > 6 else "")
        yield closing, f"no eFuse can be burned by the ROM loader after this, and the release checks still miss {shown}"


def _raw_esp32_block(plan: BurnPlan) -> Iterator[tuple[str, str]]:
    """`burn-key BLOCK1` neither reverses nor hides the key (seen in espefuse 5.6.0)."""
    for wish in plan.keys:
        if plan.before.chip.keys.purpose_by == "position" and wish.block.upper() in ("BLOCK1", "BLOCK2", "1", "2"):
            yield wish.block, "a key burned by the block's number is neither reversed nor read-protected"


def _half_block(plan: BurnPlan) -> Iterator[tuple[str, str]]:
    """The C2's one key block is Reed-Solomon coded: written once, both halves together."""
    if plan.before.chip.keys.purpose_by != "halves":
        return
    halves = {name for name in plan.asked if name in ("KEY0.FE_128BIT", "KEY0.SB_128BIT")}
    if len(halves) == 1:
        other = {"KEY0.FE_128BIT": "secure-boot digest", "KEY0.SB_128BIT": "flash-encryption key"}[halves.pop()]
        yield "KEY0", f"the block can be written once only: a {other} can never be added to the other half"


def _unheeded(plan: BurnPlan) -> Iterator[tuple[str, str]]:
    """Bits that this revision of the silicon has and does not heed."""
    for name, since in plan.after.chip.heeded_since.items():
        if plan.after.is_set(name) and not plan.before.is_set(name) and plan.after.revision < since:
            found = f"{plan.after.revision // 100}.{plan.after.revision % 100}"
            yield name, f"revision {found} does not heed it, {since // 100}.{since % 100} is the first that does"


def _coded_digest(efuses: Efuses) -> Iterator[tuple[str, str]]:
    """MCUboot and ESP-IDF refuse Secure Boot V2 under 3/4 coding: a digest needs 256 bits."""
    if efuses.chip.has_field("CODING_SCHEME") and efuses.is_set("ABS_DONE_1") and efuses.coding(2) != "none":
        yield "CODING_SCHEME", f"Secure Boot V2 needs a digest of 256 bits, {efuses.coding(2)} coding leaves fewer"


def usable_digests(efuses: Efuses) -> tuple[int, ...]:
    """The blocks whose key digest the ROM can use: readable, not empty, not revoked."""
    state, found = efuses.latched(), []
    for number in _digest_blocks(state):
        size = efuses.chip.secure_boot.digest_length
        slot = state.key_purpose(number).removeprefix("SECURE_BOOT_DIGEST")
        revoked = slot.isdigit() and state.is_set(f"SECURE_BOOT_KEY_REVOKE{slot}")
        if not revoked and any(state.readable_block(number)[-size:]):
            found.append(number)
    return tuple(found)


def _digest_blocks(efuses: Efuses) -> tuple[int, ...]:
    """Blocks that hold Secure Boot V2 digests; where place is purpose only once version 2 is on."""
    keys = efuses.chip.keys
    if keys.purpose_by == "field":
        return tuple(n for n in keys.blocks if efuses.key_purpose(n).startswith("SECURE_BOOT"))
    if keys.purpose_by == "halves":
        return keys.blocks if efuses.bits[keys.blocks[0]] >> 128 else ()
    return (2,) if efuses.is_set("ABS_DONE_1") else ()


def _flash_keys(efuses: Efuses) -> tuple[int, ...]:
    """Blocks that hold a flash-encryption key, known or hidden."""
    keys = efuses.chip.keys
    held = [n for n in keys.blocks if efuses.bits[n] or n in efuses.unknown]
    if keys.purpose_by == "field":
        named = {p.name for p in efuses.chip.purposes if p.is_flash_key}
        return tuple(n for n in held if efuses.key_purpose(n) in named)
    if keys.purpose_by == "halves":
        low = efuses.bits[keys.blocks[0]] & (1 << 128) - 1
        return tuple(n for n in held if low or n in efuses.unknown)
    return tuple(n for n in held if n == 1)


def _key_manager_flash_key(efuses: Efuses) -> bool:
    """Whether the flash key comes from the Key Manager (bit 1 of FORCE_USE_KEY_MANAGER_KEY) and not from a block."""
    name = "FORCE_USE_KEY_MANAGER_KEY"
    return efuses.is_set(name) and bool(efuses.true_number(name) >> 1 & 1)


MISTAKES: tuple[Mistake, ...] = (
    Mistake("cannot-clear", "ask for a value that keeps the set bits", _cannot_clear, lasting=False),
    Mistake("encryption-off", "set all bits of the counter for release mode", _switched_off, lasting=False),
    Mistake("no-flash-key", "burn the key first, `bootwright efuse burn-key`", _newly(_counter_without_key)),
    Mistake("crypt-config", "burn FLASH_CRYPT_CONFIG 0xF with or before the counter", _newly(_crypt_config)),
    Mistake("no-digest", "burn the digest first, `bootwright efuse burn-key-digest`", _newly(_no_digest)),
    Mistake("hidden-digest", "leave the digest readable, it is no secret", _newly(_hidden_digest)),
    Mistake("last-block", "use another key block", _newly(_last_block)),
    Mistake("same-digest-twice", "use the next SECURE_BOOT_DIGEST purpose", _newly(_same_digest_twice)),
    Mistake("two-key-lengths", "burn one flash-encryption key only", _newly(_two_key_lengths)),
    Mistake("readable-key", "read-protect the key first", _newly(_readable_key)),
    Mistake(
        "rd-dis-frozen", "burn the flash-encryption key first, Secure Boot after it", _rd_dis_frozen, lasting=False
    ),
    Mistake("frozen-early", "burn those fields first, the protection last", _frozen_early, lasting=False),
    Mistake("closed-early", "burn everything else first, this last", _closed_early, lasting=False),
    Mistake(
        "raw-block", "name flash_encryption, secure_boot_v1 or secure_boot_v2 instead", _raw_esp32_block, lasting=False
    ),
    Mistake("half-block", "burn key and digest in one command", _half_block, lasting=False),
    Mistake("unheeded", "use a chip of a newer revision", _unheeded),
    Mistake("coded-digest", "use a chip with CODING_SCHEME 0", _newly(_coded_digest)),
)
