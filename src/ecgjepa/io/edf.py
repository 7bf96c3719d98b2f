"""EDF and EDF+ recordings; reading needs edfio.

Format: https://www.edfplus.info/specs/edf.html, https://www.edfplus.info/specs/edfplus.html.
"""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from ecgjepa.errors import LeadError, RecordFormatError
from ecgjepa.io.content import make_record, read_bytes, require
from ecgjepa.signals.leads import parse_lead
from ecgjepa.signals.record import Issue, Record
from ecgjepa.signals.units import millivolt_per_unit


def read_edf(path: Path, place: Path | None = None) -> Record:
    """Read the ECG leads of an EDF or EDF+ file.

    Channels whose label is none of the twelve leads are left out with a note; annotations are no
    channel.

    Returns:
        The leads in mV.

    Raises:
        RecordFormatError: If edfio is missing, the leads' sampling rates differ, the recording has
            gaps, or the file is damaged or shorter than its header says.
        LeadError: If no label is one of the twelve leads.
        UnitError: If a lead's physical dimension is not a unit of voltage.
    """
    content = read_bytes(path)
    edf = require(path, "edfio").read_edf(BytesIO(content))
    issues = _check_length(path, content, edf)
    if not edf.is_continuous:
        raise RecordFormatError(f"{path}: has gaps (EDF+D), which are not read")
    leads = [signal for signal in edf.signals if parse_lead(signal.label)]
    for signal in edf.signals:
        if not parse_lead(signal.label):
            words = f"channel {signal.label!r} is not one of the 12 leads"
            issues.append(Issue("other_channel", words))
    if not leads:
        raise LeadError(
            f"{path}: none of the labels {[signal.label for signal in edf.signals]} is a lead; "
            "expected labels such as I or 'ECG V1'"
        )
    rates = {signal.label: float(signal.sampling_frequency) for signal in leads}
    if len(set(rates.values())) > 1:
        raise RecordFormatError(f"{path}: leads have different sampling rates in Hz: {rates}")
    return make_record(
        path,
        np.stack([_millivolt(path, signal) for signal in leads], axis=1),
        [signal.label for signal in leads],
        rates[leads[0].label],
        issues=issues,
    )


def _check_length(path: Path, content: bytes, edf: Any) -> list[Issue]:  # noqa: ANN401
    """Compare the number of data records with the header's, -1 in a file that was never closed."""
    announced, held = int(content[236:244]), int(edf.num_data_records)
    if held < announced or not held:
        raise RecordFormatError(
            f"{path}: truncated: holds {held} of {announced} data records", reason="truncated"
        )
    if -1 < announced < held:
        words = f"holds {held} data records, the header announces {announced}"
        return [Issue("file_longer_than_header", words)]
    return []


def _millivolt(path: Path, signal: Any) -> np.ndarray:  # noqa: ANN401
    # edfio would return bare digits.
    if signal.digital_max <= signal.digital_min or signal.physical_max == signal.physical_min:
        raise RecordFormatError(
            f"{path}: lead {signal.label} is not calibrated: digits {signal.digital_min} to "
            f"{signal.digital_max} stand for {signal.physical_min} to {signal.physical_max}"
        )
    return signal.data * millivolt_per_unit(signal.physical_dimension)
