"""AES-256 under very many keys at once: bitsliced, with numpy as the machine.

The ESP32's flash encryption changes the key every 32 bytes, so that a library of one key an object spends its time
on key schedules. Here bit planes take the place of bytes: plane `[bit, row, column, block, word]` holds one bit of
one state byte for 64 keys a word, and AES becomes some thousand XORs and ANDs on long arrays. There is no table
look-up, so timing tells nothing about key or data.

The S-box is the inversion in GF(2⁸), computed in the tower GF(((2²)²)²) with w² = w + 1, z² = z + N, y² = y + M for
N = w + 1 and M = (w)z + w·1 as the four-bit number 10; these, and the root 83 of the AES polynomial that fixes the
change of basis, are the choice that needs the fewest XORs on the way in and out. FIPS 197 is the specification.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import combinations
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Words: TypeAlias = NDArray[np.uint64]
Planes: TypeAlias = NDArray[np.uint64]  #: axis 0 counts the bits of a byte, bit 0 first
_Bits: TypeAlias = tuple[Words, ...]

ROUNDS = 14

#: Rows of the linear maps around the inversion: bit i of row j says that output bit j takes input bit i. The constant
#: 0x63 of the affine map is left to the round keys.
_TO_TOWER = (0x63, 0x82, 0x84, 0x14, 0x02, 0xAC, 0x7E, 0xA0)
_FROM_TOWER_AFFINE = (0x1D, 0x13, 0x97, 0x5D, 0x51, 0x3C, 0x50, 0x54)
_TO_TOWER_INVERSE_AFFINE = (0x50, 0x1B, 0xC0, 0xD8, 0x49, 0x71, 0x09, 0xC6)
_FROM_TOWER = (0xFF, 0x10, 0x16, 0xB6, 0x1E, 0x92, 0x7C, 0x12)

_AFFINE_BITS = (0, 1, 5, 6)  #: the bits of 0x63
_REDUCED_BITS = (1, 3, 4)  #: where x⁸ = x⁴ + x³ + x + 1 lands, bit 0 apart
_SHIFTED_COLUMNS = [[(column + row) % 4 for column in range(4)] for row in range(4)]
_UNSHIFTED_COLUMNS = [[(column - row) % 4 for column in range(4)] for row in range(4)]


def planes_from_bytes(data: NDArray[np.uint8]) -> Planes:
    """Bit planes of bytes shaped `(16, blocks, keys)`, keys a multiple of 64: `[8, 4, 4, blocks, keys / 64]`.

    AES fills its state column by column, which the first axis undoes.
    """
    _, blocks, keys = data.shape
    by_row = np.ascontiguousarray(data.reshape(4, 4, blocks, keys).swapaxes(0, 1))
    turned = _turn_bits(by_row.view(np.uint64)).view(np.uint8).reshape(4, 4, blocks, keys // 8, 8)
    return np.ascontiguousarray(np.moveaxis(turned, -1, 0)).view(np.uint64)


def bytes_from_planes(planes: Planes) -> NDArray[np.uint8]:
    """The inverse of `planes_from_bytes`."""
    _, _, _, blocks, words = planes.shape
    by_plane = planes.view(np.uint8).reshape(8, 4, 4, blocks, words * 8)
    turned = np.ascontiguousarray(np.moveaxis(by_plane, 0, -1)).view(np.uint64).reshape(4, 4, blocks, words * 8)
    by_row = _turn_bits(turned).view(np.uint8).reshape(4, 4, blocks, words * 64)
    return by_row.swapaxes(0, 1).reshape(16, blocks, words * 64)


def expand_keys(key: Planes) -> list[Planes]:
    """The 15 round keys of AES-256 for planes `[8, 4, 8, words]` of the key (bit, row, column).

    From the second on they carry the S-box's constant 0x63, which saves a complement in every round.
    """
    columns = [key[:, :, column] for column in range(8)]
    constant = 1
    for at in range(8, 4 * (ROUNDS + 1)):
        word = columns[-1]
        if at % 4 == 0:
            word = _complement(_map_bytes(word, _TO_TOWER, _FROM_TOWER_AFFINE))
        if at % 8 == 0:
            word = np.concatenate((word[:, 1:], word[:, :1]), axis=1)
            for bit in range(8):
                if constant >> bit & 1:
                    word[bit, 0] = ~word[bit, 0]
            constant <<= 1
        columns.append(columns[at - 8] ^ word)
    rounds = [np.stack(columns[at : at + 4], axis=2) for at in range(0, len(columns), 4)]
    return [rounds[0], *map(_complement, rounds[1:])]


def encrypt(state: Planes, round_keys: Sequence[Planes]) -> Planes:
    """Encrypt planes `[8, 4, 4, blocks, words]`; all blocks of a lane share its key."""
    state = state ^ _for_blocks(round_keys[0])
    for round_key in round_keys[1:-1]:
        state = _mix_columns(_shift_rows(_map_bytes(state, _TO_TOWER, _FROM_TOWER_AFFINE), _SHIFTED_COLUMNS))
        state ^= _for_blocks(round_key)
    state = _shift_rows(_map_bytes(state, _TO_TOWER, _FROM_TOWER_AFFINE), _SHIFTED_COLUMNS)
    state ^= _for_blocks(round_keys[-1])
    return state


def decrypt(state: Planes, round_keys: Sequence[Planes]) -> Planes:
    """Decrypt planes `[8, 4, 4, blocks, words]`; all blocks of a lane share its key."""
    state = state ^ _for_blocks(round_keys[-1])
    for round_key in round_keys[-2:0:-1]:
        state = _map_bytes(_shift_rows(state, _UNSHIFTED_COLUMNS), _TO_TOWER_INVERSE_AFFINE, _FROM_TOWER)
        state ^= _for_blocks(round_key)
        state = _mix_columns(_half_unmix_columns(state))
    state = _map_bytes(_shift_rows(state, _UNSHIFTED_COLUMNS), _TO_TOWER_INVERSE_AFFINE, _FROM_TOWER)
    state ^= _for_blocks(round_keys[0])
    return state


def _for_blocks(round_key: Planes) -> Planes:
    return round_key[:, :, :, np.newaxis]


def _complement(planes: Planes) -> Planes:
    planes = planes.copy()
    for bit in _AFFINE_BITS:
        np.invert(planes[bit], out=planes[bit])
    return planes


def _turn_bits(words: Words) -> Words:
    """Transpose the 8 × 8 bits of every word: byte i, bit j becomes byte j, bit i."""
    for shift, mask in ((7, 0x00AA00AA00AA00AA), (14, 0x0000CCCC0000CCCC), (28, 0x00000000F0F0F0F0)):
        moved = words >> np.uint64(shift)
        moved ^= words
        moved &= np.uint64(mask)
        words = words ^ moved
        moved <<= np.uint64(shift)
        words ^= moved
    return words


def _shift_rows(state: Planes, columns: list[list[int]]) -> Planes:
    shifted = np.empty_like(state)
    for row in range(4):
        for column in range(4):
            shifted[:, row, column] = state[:, row, columns[row][column]]
    return shifted


def _times_x(planes: Planes) -> Planes:
    doubled = np.empty_like(planes)
    doubled[1:] = planes[:-1]
    doubled[0] = planes[7]
    for bit in _REDUCED_BITS:
        doubled[bit] ^= planes[7]
    return doubled


def _mix_columns(state: Planes) -> Planes:
    """Each row becomes 2·row + 3·next + the other two: the sum of all, plus itself, plus 2·(row + next)."""
    pairs = np.empty_like(state)
    np.bitwise_xor(state[:, :3], state[:, 1:], out=pairs[:, :3])
    np.bitwise_xor(state[:, 3], state[:, 0], out=pairs[:, 3])
    mixed = _times_x(pairs)
    mixed ^= state
    mixed ^= (pairs[:, 0] ^ pairs[:, 2])[:, np.newaxis]
    return mixed


def _half_unmix_columns(state: Planes) -> Planes:
    """What makes `_mix_columns` its own undoing: add 4·(row + row across) to both rows."""
    across = _times_x(_times_x(state[:, :2] ^ state[:, 2:]))
    return np.concatenate((state[:, :2] ^ across, state[:, 2:] ^ across), axis=1)


def _map_bytes(planes: Planes, before: tuple[int, ...], after: tuple[int, ...]) -> Planes:
    """The S-box or its inverse, without its constant: a linear map, the inversion in GF(2⁸), a linear map."""
    return np.stack(_linear(_invert_256(_linear(tuple(planes), before)), after))


def _linear(bits: _Bits, rows: tuple[int, ...]) -> _Bits:
    sums = list(bits)
    steps, outputs = _shared_sums(rows)
    for left, right in steps:
        sums.append(sums[left] ^ sums[right])
    return tuple(sums[output] for output in outputs)


@cache
def _shared_sums(rows: tuple[int, ...]) -> tuple[tuple[tuple[int, int], ...], tuple[int, ...]]:
    """Straight-line XORs for a linear map: again and again, the pair that most rows share becomes a new term."""
    terms = [{bit for bit in range(8) if row >> bit & 1} for row in rows]
    steps: list[tuple[int, int]] = []
    while any(len(term) > 1 for term in terms):
        pairs = [pair for term in terms for pair in combinations(sorted(term), 2)]
        best = max(sorted(set(pairs)), key=pairs.count)
        steps.append(best)
        terms = [term - set(best) | {7 + len(steps)} if term.issuperset(best) else term for term in terms]
    return tuple(steps), tuple(next(iter(term)) for term in terms)


def _multiply_4(a: _Bits, b: _Bits, a_sum: Words, b_sum: Words) -> _Bits:
    low = a[0] & b[0]
    both = a_sum & b_sum
    both ^= low
    high = a[1] & b[1]
    low ^= high
    return low, both


def _multiply_16(a: _Bits, b: _Bits, b_sums: _Bits) -> _Bits:
    """The product in GF(2⁴); `b_sums` are the sums of b's bits that `_sums_16` prepares, for more than one product."""
    low_sum, high_sum, middle_0, middle_1, middle_sum = b_sums
    a_0, a_1 = a[0] ^ a[2], a[1] ^ a[3]
    low = _multiply_4(a[:2], b[:2], a[0] ^ a[1], low_sum)
    high = _multiply_4(a[2:], b[2:], a[2] ^ a[3], high_sum)
    middle = _multiply_4((a_0, a_1), (middle_0, middle_1), a_0 ^ a_1, middle_sum)
    return (low[0] ^ high[0] ^ high[1], low[1] ^ high[0], middle[0] ^ low[0], middle[1] ^ low[1])


def _sums_16(b: _Bits) -> _Bits:
    middle_0, middle_1 = b[0] ^ b[2], b[1] ^ b[3]
    return b[0] ^ b[1], b[2] ^ b[3], middle_0, middle_1, middle_0 ^ middle_1


def _invert_16(d: _Bits) -> _Bits:
    low, high = d[:2], d[2:]
    low_sum, high_sum = low[0] ^ low[1], high[0] ^ high[1]
    norm = _multiply_4(low, high, low_sum, high_sum)  # plus N·high² + low²
    norm_0 = norm[0] ^ high[0] ^ low_sum
    norm_1 = norm[1] ^ high_sum ^ low[1]
    inverse = norm_0 ^ norm_1, norm_1  # in GF(4) the square is the inverse
    inverse_sum = norm_0
    both = low[0] ^ high[0], low[1] ^ high[1]
    return (
        *_multiply_4(both, inverse, both[0] ^ both[1], inverse_sum),
        *_multiply_4(high, inverse, high_sum, inverse_sum),
    )


def _invert_256(a: _Bits) -> _Bits:
    low, high = a[:4], a[4:]
    product = _multiply_16(low, high, _sums_16(high))  # plus M·high² + low²
    high_23, low_12 = high[2] ^ high[3], low[1] ^ low[2]
    norm = (
        product[0] ^ high[1] ^ low[0] ^ low_12,
        product[1] ^ high[0] ^ low_12 ^ low[3],
        product[2] ^ high[1] ^ high_23 ^ low[2] ^ low[3],
        product[3] ^ high[0] ^ high[3] ^ low[3],
    )
    inverse = _invert_16(norm)
    sums = _sums_16(inverse)
    both = tuple(one ^ other for one, other in zip(low, high, strict=True))
    return (*_multiply_16(both, inverse, sums), *_multiply_16(high, inverse, sums))
