"""HL7 annotated ECG (aECG), the format in which drug trials submit ECGs to the FDA.

A document holds series of waveforms. A series of code RHYTHM is the ECG as recorded; a derived
series, such as a representative beat, is not. A series holds sets of sequences: one of time, whose
increment gives the sampling rate, and one a lead, as ``origin + scale * digit``.

Format: http://www.hl7.org/implement/standards/product_brief.cfm?product_id=70.
"""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float64

from ecgjepa.errors import RecordFormatError
from ecgjepa.io.content import Waveform, choose_waveforms, make_record
from ecgjepa.signals.record import Issue, Record
from ecgjepa.signals.units import millivolt_per_unit

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_TIMES = ("TIME_ABSOLUTE", "TIME_RELATIVE")
_TYPE = "{http://www.w3.org/2001/XMLSchema-instance}type"
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
    series = [each for each in root.iterfind(".//{*}series") if _code(each) == "RHYTHM"]
    found = [part for each in series for part in each.iterfind("{*}component/{*}sequenceSet")]
    sets = [_read_set(path, each) for each in found]
    chosen, issues = choose_waveforms(path, [each.waveform for each in sets])
    if num_derived := len(root.findall(".//{*}derivedSeries")):
        issues.append(Issue("other_waveform", f"{num_derived} derived series are not used"))
    signals = [signal for index in chosen for signal in sets[index].signals]
    leads = [lead for index in chosen for lead in sets[index].waveform.leads]
    rate = sets[chosen[0]].waveform.sampling_rate
    return make_record(path, np.stack(signals, axis=1), leads, rate, issues=issues)


def _read_set(path: Path, found: "Element") -> _Set:
    rate, start, leads, signals = 0.0, "", [], []
    for sequence in found.iterfind(".//{*}sequence"):
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
    digits = np.array((value.findtext("{*}digits") or "").split(), np.float64)
    origin, scale = (
        float(_attribute(value, part, "value"))
        * millivolt_per_unit(_attribute(value, part, "unit"))
        for part in ("origin", "scale")
    )
    return origin + scale * digits


def _code(element: "Element") -> str:
    return _attribute(element, "code", "code")


def _attribute(element: "Element", child: str, name: str) -> str:
    found = element.find(f"{{*}}{child}")
    return "" if found is None else found.get(name, "")
