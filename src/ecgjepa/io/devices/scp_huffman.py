"""The Huffman codes of SCP-ECG, section 2: the default table, stored tables, and decoding.

A code is a prefix, which may be followed by raw bits. Its value is the code's base value plus the
raw bits as a two's complement number. The bits of a lead are decoded at every bit position at once
with a table of all 16-bit words; only the walk from code to code is a loop.
"""

import struct
from functools import cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Int16, Int64, UInt8

from ecgjepa.errors import RecordFormatError

_DEFAULT_TABLE = 19999
_MOST_PREFIX_BITS = _MOST_RAW_BITS = 16
_CODE_BYTES = 9


class Code(NamedTuple):
    """One code of a table.

    Attributes:
        prefix_bits: Length of the prefix.
        total_bits: Length of prefix and raw bits.
        value: What the raw bits are added to.
        prefix: The prefix as a number, its first bit the highest.
    """

    prefix_bits: int
    total_bits: int
    value: int
    prefix: int


class Table(NamedTuple):
    """Codes, ready for decoding.

    Attributes:
        code_at: Index of the code that each 16-bit word begins with; of the last entry if none.
        total_bits: Length of each code; 0 for the last entry, which stands for no code.
        raw_bits: How many bits of each code are raw.
        value: What the raw bits are added to.
    """

    code_at: Int16[np.ndarray, " words"]
    total_bits: Int64[np.ndarray, " codes"]
    raw_bits: Int64[np.ndarray, " codes"]
    value: Int64[np.ndarray, " codes"]


class Decoded(NamedTuple):
    """What a lead's bytes hold.

    Attributes:
        values: One number a code, in order.
        is_sound: Whether decoding ended at the last bit or at the most codes, not at a wrong code.
        has_more: Whether more than padding follows.
    """

    values: Int64[np.ndarray, " samples"]
    is_sound: bool
    has_more: bool


@cache
def default_table() -> Table:
    """Return the table that the standard defines, for files that store none."""
    codes = [Code(1, 1, 0, 0)]
    for size in range(1, 9):
        # As many ones as the number is large, a zero, and the sign.
        ones = (1 << size) - 1
        codes += [Code(size + 2, size + 2, size, ones << 2)]
        codes += [Code(size + 2, size + 2, -size, ones << 2 | 1)]
    codes += [Code(10, 18, 0, 0b1111111110), Code(10, 26, 0, 0b1111111111)]
    return make_table(codes)


def read_table(section: bytes | memoryview) -> Table | None:
    """Return the table that a file's section 2 names or holds; None if it codes nothing.

    Args:
        section: The section without its header.

    Raises:
        RecordFormatError: If codes overlap, are longer than is read, or switch between tables.
    """
    (count,) = struct.unpack_from("<H", section)
    if count == _DEFAULT_TABLE:
        return default_table()
    if count == 0:
        return None
    (num_codes,) = struct.unpack_from("<H", section, 2)
    if num_codes * _CODE_BYTES > len(section) - 4:
        raise RecordFormatError(f"section 2 announces {num_codes} codes in {len(section)} bytes")
    codes = []
    for number in range(num_codes):
        prefix_bits, total_bits, mode, value, reverse = struct.unpack_from(
            "<BBBhI", section, 4 + _CODE_BYTES * number
        )
        if mode == 0:
            raise RecordFormatError("section 2 switches between Huffman tables, which is not read")
        if not 1 <= prefix_bits <= _MOST_PREFIX_BITS:
            raise RecordFormatError(
                f"section 2 has a code with a prefix of {prefix_bits} bits; expected 1 to "
                f"{_MOST_PREFIX_BITS}"
            )
        # Stored with the first bit lowest.
        prefix = int(f"{reverse & (1 << prefix_bits) - 1:0{prefix_bits}b}"[::-1], 2)
        codes.append(Code(prefix_bits, total_bits, value, prefix))
    return make_table(codes)


def make_table(codes: list[Code]) -> Table:
    """Return codes as a table for decoding.

    Raises:
        RecordFormatError: If there is none, codes overlap, or have too many raw bits.
    """
    if not codes:
        raise RecordFormatError("section 2 holds an empty Huffman table")
    code_at = np.full(1 << 16, len(codes), np.int16)
    for index, code in enumerate(codes):
        if not 0 <= code.total_bits - code.prefix_bits <= _MOST_RAW_BITS:
            raise RecordFormatError(
                f"section 2 has a code of {code.total_bits} bits with a prefix of "
                f"{code.prefix_bits}; expected at most {_MOST_RAW_BITS} bits after the prefix"
            )
        free = 16 - code.prefix_bits
        words = code_at[code.prefix << free : code.prefix + 1 << free]
        if (words != len(codes)).any():
            raise RecordFormatError("section 2 has Huffman codes that begin with one another")
        words[:] = index
    columns = np.array([(c.total_bits, c.total_bits - c.prefix_bits, c.value) for c in codes])
    total, raw, value = np.concatenate([columns, np.zeros((1, 3), np.int64)]).T
    return Table(code_at, total.astype(np.int64), raw.astype(np.int64), value.astype(np.int64))


def decode(content: bytes | memoryview, table: Table, most: int) -> Decoded:
    """Return at most ``most`` numbers from a lead's bytes."""
    num_bits = 8 * len(content)
    words = _words(np.frombuffer(bytes(content) + bytes(8), np.uint8), num_bits)
    code = table.code_at[words >> 16]
    steps = table.total_bits[code].tolist()
    places: list[int] = []
    place, is_sound = 0, True
    while place < num_bits and len(places) < most:
        step = steps[place]
        # Padding may look like the beginning of a code.
        if not step or place + step > num_bits:
            is_sound = bool(step)
            break
        places.append(place)
        place += step
    at = np.array(places, np.int64)
    code = code[at]
    raw_bits, total_bits = table.raw_bits[code], table.total_bits[code]
    raw = words[at] >> (32 - total_bits) & (1 << raw_bits) - 1
    is_negative = (raw_bits > 0) & (raw >> np.maximum(raw_bits - 1, 0) == 1)
    values = table.value[code] + raw - np.where(is_negative, 1 << raw_bits, 0)
    return Decoded(values, is_sound, _has_more(content, place))


def _words(padded: UInt8[np.ndarray, " padded_bytes"], num_bits: int) -> Int64[np.ndarray, " bits"]:
    """Return the 32 bits that follow every bit position."""
    count = num_bits // 8
    forty = np.zeros(count, np.int64)
    for byte in range(5):
        forty = forty << 8 | padded[byte : count + byte]
    return (forty[:, None] >> np.arange(8, 0, -1) & 0xFFFFFFFF).reshape(-1)


def _has_more(content: bytes | memoryview, place: int) -> bool:
    """Return whether more than the zeros that fill up a lead's last two bytes follow a bit."""
    if 8 * len(content) - place > 15:
        return True
    rest = int.from_bytes(content[place // 8 :], "big")
    return bool(rest & (1 << 8 * len(content) - place) - 1)
