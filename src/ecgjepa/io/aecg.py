"""HL7 annotated ECG (aECG), the format in which drug trials submit ECGs to the FDA.

A document holds series of waveforms. A series of code RHYTHM is the ECG as recorded; a derived
series, such as a representative beat, is not. A series holds sets of sequences: one of time, whose
increment gives the sampling rate, and one a lead, as ``origin + scale * digit``.

Format: http://www.hl7.org/implement/standards/product_brief.cfm?product_id=70.
"""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float64

from ecgjepa.errors import RecordFormatError
from ecgjepa.io.content import (
    Waveform,
    accept_step,
    choose_waveforms,
    counted,
    make_record,
    without_pulse,
)
from ecgjepa.signals.record import Issue, Record
from ecgjepa.signals.units import millivolt_per_unit

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_TIMES = ("TIME_ABSOLUTE", "TIME_RELATIVE")
_TYPE = "{http://www.w3.org/2001/XMLSchema-instance}type"
# In mV: half a step of any device.
_TOLERANCE = 0.003
_SECONDS_PER_UNIT = {"s": 1.0, "ms": 1e-3, "us": 1e-6}


class _Set(NamedTuple):
    waveform: Waveform
    signals: list[Float64[np.ndarray, " samples"]]


def read_aecg(path: Path, root: "Element") -> Record:
    """Read the rhythm of an HL7 annotated ECG.

    Args:
        path: The file, for messages.
        root: Its root element.

    Returns:
        The leads in mV.

    Raises:
        RecordFormatError: If there is no rhythm, its leads were not recorded at the same time, or
            a sequence is not as the format has it.
        UnitError: If origin or scale is in no unit of voltage.
    """
    # Not deeper: derived series lie within the series they come from.
    series = [each for each in root.iterfind("{*}component/{*}series") if _code(each) == "RHYTHM"]
    found = [part for each in series for part in each.iterfind("{*}component/{*}sequenceSet")]
    sets = [_read_set(path, each) for each in found]
    chosen, issues = choose_waveforms(path, [each.waveform for each in sets])
    if num_derived := len(root.findall(".//{*}derivedSeries")):
        what = counted(num_derived, "derived series is", "derived series are")
        issues.append(Issue("other_waveform", f"{what} not used"))
    signals = [signal for index in chosen for signal in sets[index].signals]
    leads = [lead for index in chosen for lead in sets[index].waveform.leads]
    rate = sets[chosen[0]].waveform.sampling_rate
    signal = np.stack(signals, axis=1)
    # Of a file that was converted from Philips Sierra.
    signal, found_pulse = without_pulse(signal, rate, _TOLERANCE)
    return make_record(path, signal, leads, rate, issues=[*issues, *found_pulse])


def _read_set(path: Path, found: "Element") -> _Set:
    rate, start, leads, signals = 0.0, "", [], []
    for sequence in found.iterfind("{*}component/{*}sequence"):
        name, value = _code(sequence), sequence.find("{*}value")
        if value is None:
            raise RecordFormatError(f"{path}: sequence {name} has no value")
        if name in _TIMES:
            rate, start = _sampling_rate(path, value), _attribute(value, "head", "value")
        else:
            leads.append(name.removeprefix("MDC_ECG_LEAD_"))
            signals.append(_amplitudes(path, name, value))
    lengths = {len(signal) for signal in signals}
    if len(lengths) != 1 or not rate:
        raise RecordFormatError(
            f"{path}: leads have {sorted(lengths)} samples and "
            f"{'a' if rate else 'no'} time sequence; expected leads of one length and a GLIST"
        )
    return _Set(Waveform(tuple(leads), rate, lengths.pop(), start), signals)


def _sampling_rate(path: Path, value: "Element") -> float:
    text, unit = _attribute(value, "increment", "value"), _attribute(value, "increment", "unit")
    if unit not in _SECONDS_PER_UNIT or not float(text) > 0:
        raise RecordFormatError(
            f"{path}: time increment is {text!r} {unit!r}; expected a positive number of "
            f"{', '.join(_SECONDS_PER_UNIT)}"
        )
    # 1 / 0.002 and 1e3 / 2 are both exactly 500.
    return 1.0 / float(text) if unit == "s" else round(1 / _SECONDS_PER_UNIT[unit]) / float(text)


def _amplitudes(path: Path, name: str, value: "Element") -> Float64[np.ndarray, " samples"]:
    """Return a lead in mV."""
    kind = value.get(_TYPE, "").rpartition(":")[2]
    if kind != "SLIST_PQ":
        raise RecordFormatError(f"{path}: sequence {name} is {kind!r}; expected SLIST_PQ")
    digits = _numbers(path, name, value.findtext("{*}digits") or "")
    origin, scale = (
        float(_attribute(value, part, "value"))
        * millivolt_per_unit(_attribute(value, part, "unit"))
        for part in ("origin", "scale")
    )
    return origin + accept_step(name, scale, may_be_negative=True) * digits


def _numbers(path: Path, name: str, text: str) -> Float64[np.ndarray, " samples"]:
    """Return the numbers of a text; a list of its words would take twenty times its memory."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # of what is not a number
            return np.fromstring(text, np.float64, sep=" ") if text.strip() else np.zeros(0)
    except (DeprecationWarning, ValueError):
        raise RecordFormatError(
            f"{path}: the digits of sequence {name} are not all numbers"
        ) from None


def _code(element: "Element") -> str:
    return _attribute(element, "code", "code")


def _attribute(element: "Element", child: str, name: str) -> str:
    found = element.find(f"{{*}}{child}")
    return "" if found is None else found.get(name, "")
