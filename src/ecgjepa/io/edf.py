"""EDF, EDF+ and BDF recordings.

Own reader: a file whose header is not ASCII, that was never closed, or that has gaps (EDF+D) is an
ECG like any other, and none of the readers at hand takes all of these.

Format: https://www.edfplus.info/specs/edf.html, https://www.edfplus.info/specs/edfplus.html,
https://www.biosemi.com/faq/file_format.htm (BDF: 24 bits a sample).
"""

import re
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from ecgjepa.errors import LeadError, RecordFormatError, UnitError
from ecgjepa.io.arrays.description import Description, find_description, millivolt_per_step
from ecgjepa.io.channels import Channel, align_rates
from ecgjepa.io.content import accept_rate, accept_size, make_record
from ecgjepa.io.edf_header import (
    ANNOTATIONS,
    EdfFile,
    EdfSignal,
    parse_edf,
    record_starts,
    stored_samples,
)
from ecgjepa.io.opening import read_bytes
from ecgjepa.signals.leads import parse_lead
from ecgjepa.signals.record import Issue, Record
from ecgjepa.signals.units import is_voltage

# Some devices write what an electrode was compared with, or a unit, behind the lead's name.
_BEHIND = re.compile(r"\s*[-_ ]\s*(?:ref|wct|avg)\d?$|\s*[\[(][^\])]*[\])]$", re.IGNORECASE)
_BEFORE = re.compile(r"^(?:ecg|ekg|lead)[\s_\-:.]*(?=.)", re.IGNORECASE)
# Seconds at the digital minimum or maximum of all leads at the end that were never recorded.
_LEAST_TAIL = 0.1


def begins_as_edf(head: bytes) -> bool:
    """Return whether a file begins as EDF or BDF do."""
    return head.startswith((b"0       ", b"\xffBIOSEMI"))


def read_edf(path: Path, place: Path | None = None) -> Record:
    """Read the ECG leads of an EDF, EDF+ or BDF file.

    Channels whose label is none of the twelve leads are left out with a note; annotations are no
    channel. Leads of lower rates are resampled. A description may tell which label is which lead
    (``channels``) and the unit of signals that have none.

    Args:
        path: The file.
        place: Its description; None for the one beside it, which need not be there.

    Returns:
        The leads in mV; what lies in gaps, or at the rail of all leads up to the end, is invalid.

    Raises:
        RecordFormatError: If the file is damaged or shorter than its header says.
        LeadError: If no label is one of the twelve leads.
        UnitError: If a lead's physical dimension is no unit of voltage.
    """
    described = find_description(path, place)
    file, issues = parse_edf(path, read_bytes(path))
    leads, others = leads_of(file, described)
    issues += others
    starts = record_starts(file)
    channels = [channel_of(file, signal, lead, starts, described) for signal, lead in leads]
    aligned = align_rates(path, channels)
    issues += aligned.issues
    if tail := tail_of(file, leads, len(aligned.signal), aligned.sampling_rate):
        aligned.valid[len(aligned.valid) - tail :] = False
        issues.append(tail_issue(tail, aligned.sampling_rate))
    gaps = [start for start in np.diff(starts) if start > 1.5 * file.record_seconds]
    if gaps:
        seconds = sum(gaps) - len(gaps) * file.record_seconds
        issues.append(Issue("invalid_samples", f"{len(gaps)} gaps of {seconds:.3g} s in all"))
    return make_record(
        path, aligned.signal, aligned.leads, aligned.sampling_rate, valid=aligned.valid,
        issues=issues,
    )  # fmt: skip


def leads_of(
    file: EdfFile, described: Description | None
) -> tuple[list[tuple[EdfSignal, str]], list[Issue]]:
    """Return the signals that are leads with their names, and notes on the others.

    Raises:
        LeadError: If none is.
    """
    leads: list[tuple[EdfSignal, str]] = []
    issues: list[Issue] = []
    for signal in file.signals:
        if signal.label in ANNOTATIONS:
            continue
        if lead := _lead(signal.label, described):
            leads.append((signal, lead))
        else:
            words = f"channel {signal.label!r} is not one of the 12 leads"
            issues.append(Issue("other_channel", words))
    if not leads:
        labels = [signal.label for signal in file.signals]
        raise LeadError(
            f"{file.path}: none of the labels {labels} is a lead; expected labels such as I or "
            f"'ECG V1'; tell what they stand for in {file.path.name}.json, as "
            f'{{"channels": {{"{labels[0]}": "I"}}}}'
        )
    return leads, issues


def _lead(label: str, described: Description | None) -> str | None:
    """Return the lead that a label names, the label itself if it does, or None."""
    name = label if described is None else described.lead_of(label)
    for _ in range(3):
        if parse_lead(name):
            return name
        name = _BEFORE.sub("", _BEHIND.sub("", name)).strip()
    return None


def channel_of(
    file: EdfFile,
    signal: EdfSignal,
    lead: str,
    starts: Float64[np.ndarray, " records"],
    described: Description | None,
) -> Channel:
    """Return a lead in mV, each data record at its time."""
    low, high = signal.digital
    if high <= low or signal.physical[0] == signal.physical[1]:
        raise RecordFormatError(
            f"{file.path}: lead {signal.label} is not calibrated: digits {low:g} to {high:g} "
            f"stand for {signal.physical[0]:g} to {signal.physical[1]:g}"
        )
    unit = signal.unit
    if described is not None and described.unit and not is_voltage(unit):
        unit = described.unit
    try:
        factor = millivolt_per_step(unit)
    except UnitError as error:
        raise UnitError(
            f"lead {signal.label}: {error}" + '; tell it in a description, as {"unit": "uV"}'
        ) from None
    rate = accept_rate(file.path, signal.samples / file.record_seconds)
    step = (signal.physical[1] - signal.physical[0]) / (high - low)
    offset = signal.physical[1] / step - high
    rows = ((stored_samples(file, signal) + offset) * (step * factor)).astype(np.float32)
    places = np.rint(starts * rate).astype(np.int64)
    num_samples = int(places[-1]) + signal.samples
    accept_size(file.path, num_samples, len(file.signals))
    if num_samples == rows.size:
        return Channel(lead, rows.reshape(-1), np.ones(rows.size, np.bool_), rate)
    values, valid = np.zeros(num_samples, np.float32), np.zeros(num_samples, np.bool_)
    for place, row in zip(places.tolist(), rows, strict=True):
        values[place : place + signal.samples] = row
        valid[place : place + signal.samples] = True
    return Channel(lead, values, valid, rate)


def tail_of(
    file: EdfFile, leads: list[tuple[EdfSignal, str]], num_samples: int, sampling_rate: float
) -> int:
    """Return for how many samples at the end all leads rest at the digital minimum or maximum.

    Programs fill the last data record so; nothing was recorded there. It is 0 for a moment, and
    where all of the samples rest.
    """
    shortest = num_samples
    for signal, _ in leads:
        if int(stored_samples(file, signal, last=1)[-1, -1]) not in signal.digital:
            return 0
        flat = stored_samples(file, signal).reshape(-1)
        held = len(flat) - int(np.argmax(flat[::-1] != flat[-1])) if (flat != flat[-1]).any() else 0
        seconds = (len(flat) - held) * file.record_seconds / signal.samples
        shortest = min(shortest, int(seconds * sampling_rate))
    is_short = shortest < _LEAST_TAIL * sampling_rate
    return 0 if is_short or shortest == num_samples else shortest


def tail_issue(num_samples: int, sampling_rate: float) -> Issue:
    """Return the note on what was not recorded at the end."""
    words = (
        f"the last {num_samples / sampling_rate:.3f} s, at the end of the range in all leads, "
        "were not recorded"
    )
    return Issue("invalid_samples", words)
