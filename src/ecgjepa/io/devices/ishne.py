"""ISHNE Holter recordings (.ecg): a header of 522 bytes, text, and interleaved 16-bit samples.

The header's number of samples is that of each lead by the specification; some writers give that of
all leads together, others a constant. The file's size decides, and a file that is too small for
either is cut short. The checksum covers header and text only. Missing dates are of no concern here.

Format: F. Badilini, Ann Noninvasive Electrocardiol 1998;3(3):263-266.
"""

import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int16

from ecgjepa.errors import RecordFormatError, UnitError
from ecgjepa.io.content import MAX_VALUES, accept_size, make_record, read_bytes
from ecgjepa.io.devices.checksum import checksum, compare_checksum
from ecgjepa.io.wfdb import Damaged
from ecgjepa.signals.leads import parse_lead
from ecgjepa.signals.record import Issue, Record

# A day of three leads at 480 Hz, and as much text as a header can hold.
_MOST_BYTES = 2 * MAX_VALUES + 1_000_000
_MAGIC, _ANNOTATIONS = b"ISHNE1.0", b"ANN  1.0"
_HEADER_BYTES, _MOST_LEADS = 522, 12
# The value that the specification proposes for a lead that is off.
_LEAD_FAULT = -32768
_LEADS = {
    2: "X", 3: "Y", 4: "Z", 5: "I", 6: "II", 7: "III", 8: "aVR", 9: "aVL", 10: "aVF",
    11: "V1", 12: "V2", 13: "V3", 14: "V4", 15: "V5", 16: "V6", 17: "ES", 18: "AS", 19: "AI",
}  # fmt: skip


class IshneHeader(NamedTuple):
    """What is needed of the header.

    Attributes:
        stored: The checksum.
        announced: Number of samples, of each lead or of all.
        start: Where the samples begin.
        names: Of the leads; "channel 3" where the file's code names none.
        nanovolt: Of one step of each lead.
        sampling_rate: In Hz.
    """

    stored: int
    announced: int
    start: int
    names: tuple[str, ...]
    nanovolt: tuple[int, ...]
    sampling_rate: int


def looks_like_ishne(head: bytes) -> bool:
    """Return whether a file begins as an ISHNE recording or its annotations do."""
    return head.startswith((_MAGIC, _ANNOTATIONS))


def read_ishne(path: Path, *, damaged: Damaged = "raise") -> Record:
    """Read an ISHNE Holter recording.

    Args:
        path: The file.
        damaged: What to do if the header's checksum does not fit, see `compare_checksum`; with
            ``mask``, a file that is cut short is read up to its end.

    Returns:
        The leads in mV; samples of -32768, which stand for a lead that was off, are invalid.

    Raises:
        RecordFormatError: If the file holds annotations only, is cut short or damaged.
        UnitError: If a lead of the twelve has no resolution.
    """
    content = read_bytes(path, _MOST_BYTES)
    if content.startswith(_ANNOTATIONS):
        raise RecordFormatError(
            f"holds ISHNE annotations; expected the recording, which begins with {_MAGIC.decode()}",
            reason="no_rhythm",
        )
    header = read_ishne_header(content)
    num_samples, issues = ishne_samples(content, len(content), header, damaged)
    num_leads = len(header.names)
    accept_size(path, num_samples, num_leads)
    place = min(header.start, len(content))
    digital = np.frombuffer(content, "<i2", num_samples * num_leads, place)
    return ishne_record(path, digital.reshape(num_samples, num_leads), header, issues)


def ishne_record(
    path: Path,
    samples: Int16[np.ndarray, "samples leads"],
    header: IshneHeader,
    issues: list[Issue],
) -> Record:
    """Return a record of samples as stored.

    Raises:
        UnitError: If a lead of the twelve has no resolution.
    """
    kept = _calibrated(header)
    own = []
    if left_out := [name for lead, name in enumerate(header.names) if lead not in kept]:
        words = f"channel {', '.join(left_out)} has no resolution and is left out"
        own.append(Issue("other_channel", words))
    signal = np.empty((len(samples), len(kept)), np.float32)
    for column, lead in enumerate(kept):
        signal[:, column] = samples[:, lead] * (header.nanovolt[lead] / 1e6)
    return make_record(
        path,
        signal,
        [header.names[lead] for lead in kept],
        header.sampling_rate,
        valid=samples[:, kept] != _LEAD_FAULT,
        issues=[*own, *issues],
    )


def read_ishne_header(content: bytes) -> IshneHeader:
    """Return what the header tells.

    Args:
        content: The file, or its beginning.

    Raises:
        RecordFormatError: If the header is cut short or damaged.
    """
    if len(content) < _HEADER_BYTES:
        raise RecordFormatError(
            f"truncated: {len(content)} bytes of a header of {_HEADER_BYTES}",
            reason="truncated",
        )
    stored, text_bytes, announced, text_at, start = struct.unpack_from("<Hiiii", content, 8)
    num_leads, *rest = struct.unpack_from("<37h", content, 156)
    codes, nanovolt = rest[:12], rest[24:36]
    (rate,) = struct.unpack_from("<h", content, 272)
    if not 0 < num_leads <= _MOST_LEADS or rate <= 0:
        raise RecordFormatError(
            f"header gives {num_leads} leads at {rate} Hz; expected 1 to {_MOST_LEADS}, "
            "and a rate above 0"
        )
    if text_bytes < 0 or text_at != _HEADER_BYTES or start != _HEADER_BYTES + text_bytes:
        raise RecordFormatError(
            f"header puts {text_bytes} bytes of text at {text_at} and the samples at "
            f"{start}; expected the text at {_HEADER_BYTES} and the samples after it"
        )
    names = tuple(
        _LEADS.get(code, f"channel {lead}") for lead, code in enumerate(codes[:num_leads], start=1)
    )
    return IshneHeader(stored, announced, start, names, tuple(nanovolt[:num_leads]), rate)


def _check(content: bytes, header: IshneHeader, damaged: Damaged) -> list[Issue]:
    if header.stored == 0:
        return [Issue("no_checksum", "the header's checksum is 0: the writer computed none")]
    covered = memoryview(content)[10 : header.start]
    found = checksum(covered)
    # The specification does not say in which order its two bytes are stored.
    stored = header.stored if found != header.stored >> 8 | (header.stored & 255) << 8 else found
    return compare_checksum("the header", stored, covered, damaged)


def ishne_samples(
    content: bytes, size: int, header: IshneHeader, damaged: Damaged
) -> tuple[int, list[Issue]]:
    """Return how many samples of each lead there are, and what is odd about the file.

    Args:
        content: The file, or header and text at its beginning.
        size: Bytes of the file.
        header: What the header tells.
        damaged: See `read_ishne`.

    Raises:
        RecordFormatError: If the file is damaged or cut short.
    """
    issues = _check(content, header, damaged)
    num_leads, available = len(header.names), size - header.start
    held, rest = divmod(max(available, 0), 2 * num_leads)
    is_exact = not rest and header.announced in (held, held * num_leads)
    if is_exact and held:
        return held, issues
    words = (
        f"holds {held:,} whole samples of {num_leads} leads and {rest} bytes; the header "
        f"announces {header.announced:,}, of each lead or of all"
    )
    if held and not rest and header.announced < held:
        return held, [*issues, Issue("file_longer_than_header", words)]
    if damaged != "mask" or not held:
        raise RecordFormatError(
            f"truncated: {words}; read what is there with damaged='mask'",
            reason="truncated",
        )
    return held, [*issues, Issue("truncated", words)]


def _calibrated(header: IshneHeader) -> list[int]:
    """Return the leads that have a resolution: all of the twelve must."""
    without = [lead for lead, step in enumerate(header.nanovolt) if step <= 0]
    wanted = [header.names[lead] for lead in without if parse_lead(header.names[lead])]
    if wanted or len(without) == len(header.names):
        names = ", ".join(wanted or header.names)
        raise UnitError(f"lead {names} has no resolution in the header")
    return [lead for lead in range(len(header.names)) if lead not in without]
