"""Write SCP-ECG records bit by bit, from (samples, leads) int16: independent of the reader."""

import itertools
import struct
from binascii import crc_hqx
from typing import NamedTuple

import numpy as np

from ecgjepa.signals.leads import LEADS

NUMBERS = {
    **dict(zip(LEADS, (1, 2, 61, 62, 63, 64, 3, 4, 5, 6, 7, 8), strict=True)),
    **{"-aVR": 65, "V7": 9, "X": 16},
}


class Code(NamedTuple):
    """A code of a stored table, with its prefix as text: "110"."""

    prefix: str
    raw_bits: int
    value: int


class Beat(NamedTuple):
    """Where the reference beat was subtracted; samples count from 1."""

    kind: int
    start: int
    peak: int
    end: int


def crc(content: bytes) -> int:
    """Bit by bit, as the standard describes it."""
    value = 0xFFFF
    for byte in content:
        value ^= byte << 8
        for _ in range(8):
            value = (value << 1 ^ 0x1021) & 0xFFFF if value & 0x8000 else value << 1 & 0xFFFF
    return value


def default_code(value: int) -> str:
    if abs(value) <= 8:
        return "1" * abs(value) + "0" + ("" if value == 0 else "01"[value < 0])
    if -128 <= value < 128:
        return "1111111110" + f"{value & 0xFF:08b}"
    return "1111111111" + f"{value & 0xFFFF:016b}"


def table_code(table, value: int) -> str:
    for code in table:
        rest = value - code.value
        if code.raw_bits == 0 and rest == 0:
            return code.prefix
        half = 1 << code.raw_bits - 1 if code.raw_bits else 0
        if -half <= rest < half:
            return code.prefix + f"{rest & (1 << code.raw_bits) - 1:0{code.raw_bits}b}"
    raise AssertionError(f"the table has no code for {value}")


def differences(column, order: int) -> list[int]:
    values = [int(value) for value in column]
    if order == 1:
        values = values[:1] + [b - a for a, b in itertools.pairwise(values)]
    if order == 2:
        triples = zip(values, values[1:], values[2:], strict=False)
        values = values[:2] + [c - 2 * b + a for a, b, c in triples]
    return [(value + 32768) % 65536 - 32768 for value in values]


def pack(bits: str) -> bytes:
    """Fill up with zeros to whole pairs of bytes."""
    bits += "0" * (-len(bits) % 16)
    return int("1" + bits, 2).to_bytes(len(bits) // 8 + 1, "big")[1:] if bits else b""


def encode(column, order: int, table) -> bytes:
    values = differences(column, order)
    if table is None:
        return np.array(values, "<i2").tobytes()
    code = default_code if table == "default" else lambda value: table_code(table, value)
    return pack("".join(code(value) for value in values))


def section(number: int, body: bytes, version: int) -> bytes:
    body += b"\0" * (len(body) % 2)
    rest = struct.pack("<HIBB6s", number, 16 + len(body), version, version, b"\0" * 6) + body
    return struct.pack("<H", crc(rest)) + rest


def huffman_section(table) -> bytes:
    if table == "default":
        return struct.pack("<H", 19999)
    rows = [
        struct.pack(
            "<BBBhI",
            len(code.prefix),
            len(code.prefix) + code.raw_bits,
            1,
            code.value,
            int(code.prefix[::-1], 2),
        )
        for code in table
    ]
    return struct.pack("<HH", 1, len(rows)) + b"".join(rows)


def block(digital, nanovolt, microseconds, order, bimodal, table) -> bytes:
    leads = [encode(column, order, table) for column in digital.T]
    sizes = struct.pack(f"<{len(leads)}H", *(len(lead) for lead in leads))
    head = struct.pack("<HHBB", nanovolt, microseconds, order, bimodal)
    return head + sizes + b"".join(leads)


def scp_sections(
    digital,
    *,
    leads=LEADS,
    nanovolt=1000,
    microseconds=2000,
    order=2,
    table="default",
    first=1,
    last=None,
    flags=None,
    bimodal=0,
    reference=None,
    fiducial=1,
    beats=(),
    version=20,
    reference_nanovolt=None,
) -> dict[int, bytes]:
    """Return the sections' bodies by number."""
    last = first + len(digital) - 1 if last is None else last
    if flags is None:
        flags = len(leads) << 3 | 4 | (reference is not None)
    rows = b"".join(struct.pack("<IIB", first, last, NUMBERS[lead]) for lead in leads)
    sections = {1: struct.pack("<BH5s", 2, 5, b"ab-1\0") + b"\xff\0\0"}
    if table is not None:
        sections[2] = huffman_section(table)
    sections[3] = struct.pack("<BB", len(leads), flags & 0xFF) + rows
    rest = digital.astype(np.int64)
    if reference is not None:
        for beat in beats:
            if beat.kind == 0:
                there = fiducial - beat.peak + beat.start - 1
                size = beat.end - beat.start + 1
                rest[beat.start - first :][:size] -= reference[there : there + size]
        length = len(reference) * microseconds // 1000
        sections[4] = struct.pack("<HHH", length, fiducial, len(beats))
        sections[4] += b"".join(struct.pack("<HIII", *beat) for beat in beats)
        own = reference_nanovolt or nanovolt
        sections[5] = block(reference, own, microseconds, order, 0, table)
    sections[6] = block(rest, nanovolt, microseconds, order, bimodal, table)
    return sections


def assemble(sections: dict[int, bytes], *, version=20) -> bytes:
    """Return a record of sections, with pointers and checksums."""
    whole = {number: section(number, body, version) for number, body in sections.items()}
    numbers = range(max(11, *whole) + 1)
    place = 7 + 16 + 10 * len(numbers)
    pointers = struct.pack("<HII", 0, 16 + 10 * len(numbers), 7)
    for number in numbers[1:]:
        size = len(whole.get(number, b""))
        pointers += struct.pack("<HII", number, size, place if size else 0)
        place += size
    rest = struct.pack("<HIBB6s", 0, 16 + len(pointers), version, version, b"SCPECG") + pointers
    first = struct.pack("<H", crc(rest)) + rest
    content = first + b"".join(whole[number] for number in sorted(whole))
    content = struct.pack("<I", 6 + len(content)) + content
    return struct.pack("<H", crc(content)) + content


def seal(content: bytes) -> bytes:
    """Return a changed record with checksums that fit, wherever its pointers still lead."""
    changed = bytearray(content)
    for place in range(32, min(len(changed) - 10, 142), 10):
        number, size, index = struct.unpack_from("<HII", changed, place)
        start = index - 1
        if number and size > 2 and start >= 0 and start + size <= len(changed):
            changed[start : start + 2] = struct.pack(
                "<H", crc_hqx(changed[start + 2 : start + size], 0xFFFF)
            )
    if len(changed) > 6:
        size = min(struct.unpack_from("<I", changed, 2)[0], len(changed))
        changed[:2] = struct.pack("<H", crc_hqx(changed[2:size], 0xFFFF))
    return bytes(changed)


def write_scp(path, digital, **options):
    version = options.get("version", 20)
    path.write_bytes(assemble(scp_sections(digital, **options), version=version))
    return path
