"""SCP-ECG (EN 1064, ISO 11073-91064), versions 1 and 2: the record and its sections.

A record is a checksum, its size, and sections that section 0 points at; each section has a checksum
of its own. Read are sections 2 (Huffman tables), 3 (leads), 6 (rhythm) and, where beats were
subtracted from the rhythm, 4 and 5. The layout was checked on real files of versions 1.3 and 2.0.

Format: EN 1064:2005 + A1:2007; https://en.wikipedia.org/wiki/SCP-ECG.
"""

import struct
from pathlib import Path
from typing import NamedTuple

from ecgjepa.errors import RecordFormatError
from ecgjepa.io.content import make_record, read_bytes
from ecgjepa.io.devices.checksum import compare_checksum
from ecgjepa.io.devices.scp_huffman import Table, read_table
from ecgjepa.io.devices.scp_leads import read_leads
from ecgjepa.io.devices.scp_signal import add_beats, read_block, read_rhythm
from ecgjepa.io.wfdb import Damaged
from ecgjepa.signals.record import Issue, Record

# Twelve leads of 65,535 bytes take 0.8 MB; the rest is measurements and text.
_MOST_BYTES = 20_000_000
_RECORD_HEADER, _SECTION_HEADER, _POINTER = 6, 16, 10
_HUFFMAN, _LEADS, _BEAT_LOCATIONS, _BEATS, _RHYTHM, _LONG_TERM = 2, 3, 4, 5, 6, 12
_USED = (_HUFFMAN, _LEADS, _BEAT_LOCATIONS, _BEATS, _RHYTHM)


class _Section(NamedTuple):
    """A section: its bytes with the header, and where section 0 says it is."""

    number: int
    content: bytes

    @property
    def body(self) -> bytes:
        return self.content[_SECTION_HEADER:]


def looks_like_scp(head: bytes) -> bool:
    """Return whether a file begins as an SCP-ECG record does: with section 0, which lists itself.

    Its name is missing in some records of early versions.
    """
    if head[16:22] == b"SCPECG":
        return True
    size, first = head[10:14], _RECORD_HEADER + _SECTION_HEADER
    itself = struct.pack("<H", 0) + size + struct.pack("<I", _RECORD_HEADER + 1)
    return head[8:10] == b"\0\0" and head[first : first + _POINTER] == itself


def read_scp(path: Path, *, damaged: Damaged = "raise") -> Record:
    """Read the rhythm of an SCP-ECG record.

    Args:
        path: The file.
        damaged: What to do if a checksum does not fit; see `compare_checksum`.

    Returns:
        The leads in mV. A lead that the format's 16-bit byte count cut off is noted as
        ``truncated``; the missing samples are not filled in.

    Raises:
        RecordFormatError: If the file is damaged or cut short, holds no rhythm, its leads were not
            recorded at the same time, or it is compressed in a way that is not read: bimodal
            compression, several Huffman tables, the sections of version 3.
        UnitError: If no resolution is given.
    """
    content = read_bytes(path, _MOST_BYTES)
    issues = _check_record(content, damaged)
    sections = _sections(content)
    if _RHYTHM not in sections:
        _refuse_without_rhythm(sections)
    for section in sections.values():
        if section.number in _USED:
            part = f"section {section.number}"
            (stored,) = struct.unpack_from("<H", section.content)
            issues += compare_checksum(part, stored, section.content[2:], damaged)
    return _read(path, sections, issues)


def _read(path: Path, sections: dict[int, _Section], issues: list[Issue]) -> Record:
    if _LEADS not in sections:
        raise RecordFormatError("has no section 3, which names the leads")
    leads = read_leads(sections[_LEADS].body)
    table: Table | None = None
    if _HUFFMAN in sections:
        table = read_table(sections[_HUFFMAN].body)
    rhythm = read_block(_RHYTHM, sections[_RHYTHM].body, len(leads.names))
    signal, notes = read_rhythm(rhythm, leads, table)
    if leads.has_beats_subtracted:
        if _BEATS not in sections or _BEAT_LOCATIONS not in sections:
            raise RecordFormatError(
                "beats were subtracted from the rhythm, but sections 4 and 5 do not say which"
            )
        beats = read_block(_BEATS, sections[_BEATS].body, len(leads.names))
        signal = add_beats(signal, rhythm, leads, beats, sections[_BEAT_LOCATIONS].body, table)
    millivolt = signal * (rhythm.nanovolt / 1e6)
    rate = 1e6 / rhythm.microseconds
    return make_record(path, millivolt, leads.names, rate, issues=[*issues, *notes])


def _check_record(content: bytes, damaged: Damaged) -> list[Issue]:
    """Compare the record's size and checksum with its header's."""
    stored, size = struct.unpack_from("<HI", content)
    if size > len(content):
        raise RecordFormatError(
            f"truncated: holds {len(content):,} of {size:,} bytes", reason="truncated"
        )
    if size < _RECORD_HEADER + _SECTION_HEADER:
        raise RecordFormatError(f"its header announces a record of {size} bytes")
    issues = compare_checksum("the record", stored, memoryview(content)[2:size], damaged)
    if more := len(content) - size:
        words = f"holds {more:,} bytes more than the header announces"
        issues.append(Issue("file_longer_than_header", words))
    return issues


def _sections(content: bytes) -> dict[int, _Section]:
    """Return the sections that are there, as section 0 lists them."""
    (size,) = struct.unpack_from("<I", content, _RECORD_HEADER + 4)
    first = _RECORD_HEADER + _SECTION_HEADER
    end = min(_RECORD_HEADER + size, len(content))
    sections: dict[int, _Section] = {}
    for place in range(first, end - _POINTER + 1, _POINTER):
        number, length, index = struct.unpack_from("<HII", content, place)
        if not length or not number:
            continue
        start = index - 1
        if number in sections:
            raise RecordFormatError(f"section {number} is listed twice")
        if start < 0 or length < _SECTION_HEADER or start + length > len(content):
            raise RecordFormatError(
                f"section {number} should lie at byte {index:,} and have {length:,} "
                f"bytes; the file has {len(content):,}"
            )
        section = _Section(number, content[start : start + length])
        if struct.unpack_from("<H", section.content, 2)[0] != number:
            raise RecordFormatError(f"section {number} is not where section 0 says")
        sections[number] = section
    return sections


def _refuse_without_rhythm(sections: dict[int, _Section]) -> None:
    if _LONG_TERM in sections:
        raise RecordFormatError(
            "is SCP-ECG 3, whose rhythm in section 12 is not read; export it as "
            "SCP-ECG 2, DICOM or HL7 aECG",
            reason="unsupported_variant",
        )
    raise RecordFormatError(
        f"has no section 6, which holds the rhythm (found sections "
        f"{', '.join(map(str, sorted(sections)))})",
        reason="no_rhythm",
    )
