"""What to burn for a wish, and in which program commands: a plan, before anything happens.

A wish (a key for a purpose, fields, protections) becomes field values; the values become steps, one program command
each, in the order of ESP-IDF and espefuse: key blocks from the highest down, then BLOCK0, and last the fields of BLOCK0
after which nothing more can be burned, hidden or read (`postponed`; seen in espefuse 5.6.0 `--postpone`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bootwright.chips.chip import Chip, Purpose
from bootwright.chips.coding import crc8
from bootwright.chips.efuses import Efuses, FieldChange, diff
from bootwright.errors import RefusedError

Values = Mapping[str, int | bytes]

#: Fields of BLOCK0 that are burned in a program command of their own, after all else has been read back.
_POSTPONED = {
    "WR_DIS", "RD_DIS", "ENABLE_SECURITY_DOWNLOAD", "DIS_DOWNLOAD_MODE", "UART_DOWNLOAD_DIS",
    "SPI_BOOT_CRYPT_CNT", "FLASH_CRYPT_CNT", "SECURE_BOOT_EN", "ABS_DONE_1",
}  # fmt: skip

#: The ESP32's key blocks by role: (block, bytes reversed, read-protected), as `espefuse burn-key` treats them.
_ESP32_ROLES = {
    "flash_encryption": ("BLOCK1", True, True),
    "secure_boot_v1": ("BLOCK2", True, True),
    "secure_boot_v2": ("BLOCK2", False, False),
}


@dataclass(frozen=True, slots=True, repr=False)
class KeyWish:
    """A key to burn: the bytes as the key file has them."""

    block: str  #: a block's name, or on the ESP32 a role (`flash_encryption`)
    key: bytes
    purpose: str = ""
    read_protect: bool = True
    write_protect: bool = True

    def __repr__(self) -> str:
        return f"KeyWish({self.block}, {self.purpose or 'by place'}, {len(self.key)} bytes)"


@dataclass(frozen=True, slots=True, repr=False)
class Step:
    """One program command: the bits that it adds to a block."""

    block: int
    bits: int
    changes: tuple[FieldChange, ...]

    def data(self, chip: Chip) -> bytes:
        """The bytes of the program command."""
        return self.bits.to_bytes(chip.blocks[self.block].size, "little")

    def __repr__(self) -> str:
        return f"Step(block {self.block}: {', '.join(change.name for change in self.changes)})"


@dataclass(frozen=True, slots=True)
class BurnPlan:
    """What a wish does to a chip: program commands in order, and what the chip is afterwards."""

    before: Efuses
    after: Efuses
    asked: Values
    steps: tuple[Step, ...]
    keys: tuple[KeyWish, ...] = ()


def newly_frozen(plan: BurnPlan) -> tuple[str, ...]:
    """The fields that nobody can burn any more after the plan, whether or not they are burned by then."""
    before = plan.before.latched()
    return tuple(
        field.name
        for field in plan.after.chip.fields_at(plan.after.revision)
        if "." not in field.name and plan.after.write_protected(field.name) and not before.write_protected(field.name)
    )


def plan_burn(efuses: Efuses, values: Values, *, keys: Sequence[KeyWish] = ()) -> BurnPlan:
    """The program commands that burn these fields, protections latched between them as READ does.

    Raises:
        SiliconError: the chip forbids one of them.
    """
    chip, state = efuses.chip, efuses
    steps: list[Step] = []
    for group in _groups(efuses, values):
        after = state.burn_fields(group)
        for number in sorted(range(len(chip.blocks)), reverse=True):
            if added := after.bits[number] & ~state.bits[number]:
                changes = tuple(row for row in diff(state, after) if row.block == number)
                steps.append(Step(number, added, changes))
        state = after.latched()
    return BurnPlan(efuses, state, values, tuple(steps), tuple(keys))


def plan_bits(efuses: Efuses, number: int, bits: int) -> BurnPlan:
    """The one program command that burns these bits of a block, whatever fields they belong to.

    Raises:
        SiliconError: the chip forbids it, or the block is shorter.
    """
    size = max(efuses.block_size(number), (bits.bit_length() + 7) // 8)
    after = efuses.burn_block(number, bits.to_bytes(size, "little"))
    added = after.bits[number] & ~efuses.bits[number]
    steps = (Step(number, added, tuple(row for row in diff(efuses, after) if row.block == number)),) if added else ()
    return BurnPlan(efuses, after.latched(), {}, steps)


def plan_blocks(efuses: Efuses, content: Mapping[int, bytes]) -> BurnPlan:
    """The program commands that burn these bits of whole blocks, in the order of all plans.

    Raises:
        SiliconError: the chip forbids one of them.
    """
    late = sum(f.mask for f in efuses.chip.fields_at(efuses.revision) if f.block == 0 and f.name in _POSTPONED)
    bits = {number: int.from_bytes(data, "little") for number, data in content.items()}
    ordered = [(number, bits[number]) for number in sorted(bits, reverse=True) if number]
    ordered += [(0, bits.get(0, 0) & ~late), (0, bits.get(0, 0) & late)]
    state = efuses
    steps: list[Step] = []
    for number, wanted in ordered:
        part = plan_bits(state, number, wanted)
        steps += part.steps
        state = part.after
    return BurnPlan(efuses, state, {}, tuple(steps))


def _groups(efuses: Efuses, values: Values) -> tuple[Values, Values]:
    late = {name: value for name, value in values.items() if _is_postponed(efuses, name)}
    return {name: value for name, value in values.items() if name not in late}, late


def _is_postponed(efuses: Efuses, name: str) -> bool:
    found = efuses.chip.field(name, revision=efuses.revision)
    return found.name.partition(".")[0] in _POSTPONED


def key_values(efuses: Efuses, wishes: Sequence[KeyWish]) -> dict[str, int | bytes]:
    """The fields that burn keys with their purposes and protections, as `espefuse burn-key` would.

    Raises:
        RefusedError: no such block or purpose, the key has the wrong length, or the block is in use.
    """
    burn = {"position": _esp32_key, "halves": _c2_key, "field": _key}[efuses.chip.keys.purpose_by]
    values: dict[str, int | bytes] = {}
    taken: set[int] = set()
    for wish in wishes:
        for name, value in burn(efuses, wish, taken).items():
            already = values.get(name, 0)
            values[name] = _number(already) | _number(value)
    return values


def _esp32_key(efuses: Efuses, wish: KeyWish, taken: set[int]) -> dict[str, int | bytes]:
    role = _ESP32_ROLES.get(wish.block.lower())
    name, backwards, secret = role or (efuses.chip.block(wish.block).names[0], False, False)
    number = efuses.chip.block(name).number
    _need(len(wish.key) == efuses.block_size(number), wish, f"{efuses.block_size(number)} bytes")
    _need_unused(efuses, number, taken)
    whole = {1: "BLOCK1", 2: "BLOCK2"}.get(number)
    content = wish.key[::-1] if backwards else wish.key
    values: dict[str, int | bytes] = {whole: content} if whole else _block3(efuses, content)
    if secret and wish.read_protect:
        values[f"RD_DIS.BLOCK{number}"] = 1
    if wish.write_protect:
        values[f"WR_DIS.BLOCK{number}"] = 1
    return values


def _block3(efuses: Efuses, content: bytes) -> dict[str, int | bytes]:
    raise RefusedError(
        f"{efuses.chip.title} has no field for all of block 3",
        "burn it with `bootwright efuse burn-block-data`; no key is read from there",
    )


#: The C2's one block: purpose → (bytes of the key file, field, reversed, bits of RD_DIS, other fields).
_C2_PURPOSES: dict[str, tuple[int, str, bool, tuple[str, ...], Values]] = {
    "XTS_AES_128_KEY": (32, "KEY0", True, ("RD_DIS.KEY0.LOW", "RD_DIS.KEY0.HI"), {"XTS_KEY_LENGTH_256": 1}),
    "XTS_AES_128_KEY_DERIVED_FROM_128_EFUSE_BITS": (16, "KEY0.FE_128BIT", True, ("RD_DIS.KEY0.LOW",), {}),
    "SECURE_BOOT_DIGEST": (32, "KEY0.SB_128BIT", False, (), {}),
    "SECURE_BOOT_V2": (32, "KEY0.SB_128BIT", False, (), {}),
    "USER": (32, "KEY0", False, (), {}),
}


def _c2_key(efuses: Efuses, wish: KeyWish, taken: set[int]) -> dict[str, int | bytes]:
    known = _C2_PURPOSES.get(wish.purpose.upper())
    if known is None:
        raise RefusedError(
            f"{efuses.chip.title} has no key purpose {wish.purpose or '(none)'}", f"it has {', '.join(_C2_PURPOSES)}"
        )
    size, field, backwards, hidden, more = known
    digest = field == "KEY0.SB_128BIT"
    _need(len(wish.key) == size or (digest and len(wish.key) == 16), wish, f"{size} bytes")
    _need_unused(efuses, efuses.chip.block(wish.block).number, set())
    content = wish.key[:16] if digest else wish.key
    values: dict[str, int | bytes] = {field: content[::-1] if backwards else content, **more}
    if wish.read_protect:
        values |= dict.fromkeys(hidden, 1)
    if wish.write_protect:
        values["WR_DIS.BLOCK_KEY0"] = 1
    return values


def _key(efuses: Efuses, wish: KeyWish, taken: set[int]) -> dict[str, int | bytes]:
    chip = efuses.chip
    number = chip.block(wish.block).number
    if number not in chip.keys.blocks:
        raise RefusedError(f"block {wish.block} holds no key", f"key blocks are {', '.join(_key_names(chip))}")
    if wish.purpose.upper() == "XTS_AES_256_KEY":
        _need(len(wish.key) == 64, wish, "64 bytes")
        first = _one_key(efuses, number, wish.key[:32], chip.purpose("XTS_AES_256_KEY_1"), wish, taken)
        return first | _one_key(
            efuses, _next_unused(efuses, number, taken), wish.key[32:], chip.purpose("XTS_AES_256_KEY_2"), wish, taken
        )
    purpose = chip.purpose(wish.purpose or "USER")
    _need(len(wish.key) == 32 or (len(wish.key) == 24 and "P192" in purpose.name), wish, "32 bytes")
    return _one_key(efuses, number, wish.key, purpose, wish, taken)


def _one_key(
    efuses: Efuses, number: int, key: bytes, purpose: Purpose, wish: KeyWish, taken: set[int]
) -> dict[str, int | bytes]:
    _need_unused(efuses, number, taken)
    taken.add(number)
    index = number - efuses.chip.keys.blocks[0]
    values: dict[str, int | bytes] = {f"KEY{index}": key[::-1] if purpose.reversed else key}
    values |= {f"KEY_PURPOSE_{index}": purpose.value, f"WR_DIS.KEY_PURPOSE_{index}": 1}
    if purpose.secret and wish.read_protect:
        values[f"RD_DIS.BLOCK_KEY{index}"] = 1
    if wish.write_protect:
        values[f"WR_DIS.BLOCK_KEY{index}"] = 1
    return values


def custom_mac_values(efuses: Efuses, mac: bytes) -> dict[str, int | bytes]:
    """The fields that burn a MAC address of the user's, with what marks and guards it where the chip has that.

    Raises:
        RefusedError: it is no address of a single device.
    """
    if len(mac) != 6 or mac[0] & 1:
        raise RefusedError(
            f"found {mac.hex(':') or 'nothing'}, expected a MAC address of a device", "its first bit is 0"
        )
    name = "CUSTOM_MAC" if efuses.chip.has_field("CUSTOM_MAC") else "MAC_CUSTOM"
    marks = {"CUSTOM_MAC_CRC": crc8(mac), "MAC_VERSION": 1, "CUSTOM_MAC_USED": 1}
    return {name: mac, **{mark: value for mark, value in marks.items() if efuses.chip.has_field(mark)}}


def custom_mac(efuses: Efuses) -> tuple[bytes, str]:
    """The MAC address of the user's, and why it does not count; no reason when it does."""
    name = "CUSTOM_MAC" if efuses.chip.has_field("CUSTOM_MAC") else "MAC_CUSTOM"
    mac = efuses.number(name).to_bytes(6, "little")
    if efuses.chip.has_field("MAC_VERSION") and efuses.number("MAC_VERSION") != 1:
        return mac, "MAC_VERSION does not say that block 3 holds an address"
    if not any(mac):
        return mac, "no address is burned, or it is hidden"
    if efuses.chip.has_field("CUSTOM_MAC_CRC") and efuses.number("CUSTOM_MAC_CRC") != crc8(mac):
        return (
            mac,
            f"the checksum of {mac.hex(':')} is {efuses.number('CUSTOM_MAC_CRC'):#04x}, expected {crc8(mac):#04x}",
        )
    return mac, ""


#: Fields of the regulator that feeds the flash: (force, on, 3.3 V).
_REGULATORS = (("XPD_SDIO_FORCE", "XPD_SDIO_REG", "XPD_SDIO_TIEH"), ("VDD_SPI_FORCE", "VDD_SPI_XPD", "VDD_SPI_TIEH"))


def flash_voltage_values(efuses: Efuses, voltage: str) -> dict[str, int | bytes]:
    """The fields that settle the flash's supply for ever, whatever the strapping pin says.

    Raises:
        RefusedError: the chip has no such regulator.
    """
    for force, on, high in _REGULATORS:
        if all(efuses.chip.has_field(name, revision=efuses.revision) for name in (force, on, high)):
            return {force: 1, on: int(voltage != "OFF"), high: int(voltage == "3.3V")}
    raise RefusedError(
        f"{efuses.chip.title} has no eFuses for the voltage of its flash", "ESP32, ESP32-S2 and ESP32-S3 have them"
    )


def protection_values(efuses: Efuses, names: Sequence[str], *, register: str) -> dict[str, int | bytes]:
    """The bits of WR_DIS or RD_DIS (`register`) that protect these fields or blocks.

    Raises:
        RefusedError: a name is unknown, or nothing can protect it.
    """
    chip = efuses.chip
    start = chip.field(register, revision=efuses.revision)
    mask = 0
    for name in names:
        bits = _protecting(efuses, name, register)
        if not bits:
            verb = {"WR_DIS": "write", "RD_DIS": "read"}[register]
            raise RefusedError(f"{name} cannot be {verb}-protected on {chip.title}", f"no bit of {register} covers it")
        mask |= sum(1 << bit for bit in bits)
    return {start.name: mask}


def _protecting(efuses: Efuses, name: str, register: str) -> set[int]:
    chip = efuses.chip
    if chip.has_field(name, revision=efuses.revision):
        found = chip.field(name, revision=efuses.revision)
        bit = found.write_disable if register == "WR_DIS" else found.read_disable
        if found.block == 0:
            return set() if bit is None else {bit}
        block = chip.blocks[found.block]
    else:
        block = chip.block(name)
    if register == "WR_DIS":
        return set() if block.write_disable is None else {block.write_disable}
    wanted = chip.field(name).mask if chip.has_field(name) else (1 << 8 * block.size) - 1
    return {bit for bit, first, width in block.read_disable if wanted >> first & (1 << width) - 1}


def _number(value: int | bytes) -> int:
    return int.from_bytes(value, "little") if isinstance(value, bytes) else value


def _key_names(chip: Chip) -> list[str]:
    return [chip.blocks[number].name for number in chip.keys.blocks]


def _need(holds: bool, wish: KeyWish, expected: str) -> None:
    if not holds:
        raise RefusedError(
            f"found a key of {len(wish.key)} bytes for {wish.purpose or wish.block}, expected {expected}",
            "give the key file that was made for this purpose",
        )


def _need_unused(efuses: Efuses, number: int, taken: set[int]) -> None:
    if number in taken or not efuses.key_block_unused(number):
        free = [efuses.chip.blocks[n].name for n in efuses.chip.keys.blocks if efuses.key_block_unused(n)]
        name = efuses.chip.blocks[number].name
        raise RefusedError(f"block {name} is in use", f"free are {', '.join(free)}" if free else "no block is free")


def _next_unused(efuses: Efuses, first: int, taken: set[int]) -> int:
    """The next free block after `first`, around the end, that can serve the second half."""
    blocks, purpose = efuses.chip.keys.blocks, efuses.chip.purpose("XTS_AES_256_KEY_2")
    at = blocks.index(first)
    for number in blocks[at + 1 :] + blocks[:at]:
        if number not in taken and not efuses.quirk_forbids(number, purpose) and efuses.key_block_unused(number):
            return number
    raise RefusedError("no key block is free for the second half of the key", "an XTS-256 key takes two blocks")
