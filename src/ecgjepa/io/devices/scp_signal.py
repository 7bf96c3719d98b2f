"""SCP-ECG, sections 4 to 6: samples, their differences, and beats that were subtracted."""

import struct
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32

from ecgjepa.errors import RecordFormatError, UnitError
from ecgjepa.io.devices.scp_huffman import Decoded, Table, decode
from ecgjepa.io.devices.scp_leads import Leads
from ecgjepa.signals.record import Issue

# Half an hour of twelve leads at 500 Hz; the byte counts of the format end long before.
_MOST_SAMPLES = 12_000_000
# A byte count of 16 bits cannot say more; whole samples end one byte earlier.
_MOST_LEAD_BYTES = 65_534
_QRS_BYTES = 14


class Block(NamedTuple):
    """Samples as a section stores them.

    Attributes:
        nanovolt: Of one step of the samples.
        microseconds: From one sample to the next.
        differences: How often differences were taken: 0, 1 or 2 times.
        leads: The bytes of each lead.
    """

    nanovolt: int
    microseconds: int
    differences: int
    leads: tuple[bytes, ...]


def read_block(number: int, body: bytes, num_leads: int) -> Block:
    """Read section 5 or 6 up to the samples' coding.

    Args:
        number: Of the section.
        body: The section without its header.
        num_leads: That section 3 names.

    Raises:
        RecordFormatError: If a field is not as the format has it, or bimodal compression was used.
        UnitError: If the samples have no resolution.
    """
    nanovolt, microseconds, differences, bimodal = struct.unpack_from("<HHBB", body)
    if not nanovolt:
        raise UnitError(f"section {number} gives a resolution of 0 nV")
    if not microseconds or differences > 2:
        raise RecordFormatError(
            f"section {number} has {microseconds} µs from sample to sample and differences "
            f"{differences}; expected more than 0, and 0, 1 or 2"
        )
    if number == 6 and bimodal:
        raise RecordFormatError(
            "section 6 is compressed bimodally (fewer samples between the beats), which is not "
            "read; export it without, or as DICOM or HL7 aECG",
            reason="unsupported_variant",
        )
    sizes = struct.unpack_from(f"<{num_leads}H", body, 6)
    ends = np.cumsum([6 + 2 * num_leads, *sizes]).tolist()
    if ends[-1] > len(body):
        raise RecordFormatError(
            f"section {number} announces {ends[-1]:,} bytes and holds {len(body):,}",
            reason="truncated",
        )
    leads = tuple(body[start:end] for start, end in pairwise(ends))
    return Block(nanovolt, microseconds, differences, leads)


def read_rhythm(
    block: Block, leads: Leads, table: Table | None
) -> tuple[Int32[np.ndarray, "samples leads"], list[Issue]]:
    """Return the samples of section 6, in its steps, and what is odd about their number.

    Raises:
        RecordFormatError: If a lead holds fewer samples than its range, or is damaged.
    """
    if leads.num_samples * len(leads.names) > _MOST_SAMPLES:
        raise RecordFormatError(
            f"section 3 announces {leads.num_samples:,} samples of {len(leads.names)} leads; "
            f"expected at most {_MOST_SAMPLES:,} in all"
        )
    expected, found = _decode_all(block, leads, table)
    for name, lead in zip(leads.names, found, strict=True):
        if not lead.is_sound:
            raise RecordFormatError(
                f"lead {name} holds bits that are not a Huffman code after {len(lead.values):,} "
                "samples"
            )
    num_samples, issues = _count(block, leads, expected, found)
    columns = [_integrate(lead.values[:num_samples], block.differences) for lead in found]
    return np.stack(columns, axis=1), issues


def add_beats(
    signal: Int32[np.ndarray, "samples leads"],
    rhythm: Block,
    leads: Leads,
    beats: Block,
    locations: bytes,
    table: Table | None,
) -> Int32[np.ndarray, "samples leads"]:
    """Return the rhythm with the reference beat added wherever it was subtracted.

    Args:
        signal: What remained of the rhythm, in steps of section 6.
        rhythm: Section 6.
        leads: Section 3.
        beats: Section 5, the reference beat of each lead.
        locations: Section 4 without its header.
        table: Huffman table, or None.

    Raises:
        RecordFormatError: If the beat has another rate or resolution, or is too short.
    """
    if beats.nanovolt != rhythm.nanovolt or beats.microseconds != rhythm.microseconds:
        raise RecordFormatError(
            f"its reference beat has {beats.nanovolt} nV and {beats.microseconds} µs a sample, "
            f"the rhythm {rhythm.nanovolt} nV and {rhythm.microseconds} µs, which is not read",
            reason="unsupported_variant",
        )
    milliseconds, fiducial, num_beats = struct.unpack_from("<HHH", locations)
    length = milliseconds * 1000 // beats.microseconds
    beat = [_decode(lead, table, length) for lead in beats.leads]
    if any(len(lead.values) < length or not lead.is_sound for lead in beat):
        raise RecordFormatError(f"its reference beat has fewer than {length} samples")
    reference = np.stack([_integrate(lead.values, beats.differences) for lead in beat], axis=1)
    whole = signal.copy()
    for number in range(num_beats):
        kind, start, peak, end = struct.unpack_from("<HIII", locations, 6 + _QRS_BYTES * number)
        if kind:  # only beats of type 0 are the reference's
            continue
        here, there = start - leads.first, fiducial - peak + start - 1
        size = end - start + 1
        if min(here, there, size) < 0 or here + size > len(whole) or there + size > length:
            raise RecordFormatError(
                f"section 4 adds beat {number + 1} to the samples {start} to {end} of "
                f"{len(whole)}, from sample {there + 1} of a reference of {length}"
            )
        whole[here : here + size] += reference[there : there + size]
    return whole


def _decode(content: bytes, table: Table | None, most: int) -> Decoded:
    if table is not None:
        return decode(content, table, most)
    if len(content) % 2:
        raise RecordFormatError(f"a lead of 16-bit samples has {len(content):,} bytes")
    values = np.frombuffer(content, "<i2").astype(np.int64)
    return Decoded(values[:most], True, len(values) > most)


def _integrate(values: np.ndarray, differences: int) -> Int32[np.ndarray, " samples"]:
    """Return samples from their differences, whose first values are samples themselves."""
    if differences == 2 and len(values) > 1:
        first = values.copy()
        first[1] -= values[0]
        first[1:] = np.cumsum(first[1:])
        values = np.cumsum(first)
    elif differences:
        values = np.cumsum(values)
    # Samples have 16 bits. A difference of two need not fit into them; modulo 65,536 it does.
    return values.astype(np.int16).astype(np.int32)


def _decode_all(block: Block, leads: Leads, table: Table | None) -> tuple[int, list[Decoded]]:
    """Return how many samples are expected of each lead, and what the leads hold.

    Some writers number the samples from 0 to their number, others from 0 to one less. The last one
    is taken if any lead holds more than padding in its place.
    """
    expected = leads.num_samples
    if leads.first == 0 and expected > 1:
        found = [_decode(lead, table, expected - 1) for lead in block.leads]
        if not any(lead.has_more for lead in found):
            return expected - 1, found
    return expected, [_decode(lead, table, expected) for lead in block.leads]


def _count(
    block: Block, leads: Leads, expected: int, found: list[Decoded]
) -> tuple[int, list[Issue]]:
    """Return how many samples each lead holds, and what is odd about it."""
    held = min(len(lead.values) for lead in found)
    if held < expected:
        words = f"holds {held:,} of {expected:,} samples of each lead"
        if any(len(content) < _MOST_LEAD_BYTES for content in block.leads) or not held:
            raise RecordFormatError(f"truncated: {words}", reason="truncated")
        words += f": a lead of {_MOST_LEAD_BYTES:,} bytes is the longest that SCP-ECG can store"
        return held, [Issue("truncated", words)]
    words = f"holds more than the {expected:,} samples that are announced and read"
    longer = [name for name, lead in zip(leads.names, found, strict=True) if lead.has_more]
    return expected, [Issue("file_longer_than_header", words, name) for name in longer]
