"""GE MUSE XML exports (``RestingECG``).

The layout is taken from the published element names and from descriptions of such files; no real
export was at hand, so this reader was tested on files written in that layout only. The checksum
``LeadDataCRC32`` is not verified, as its definition is not public.

Layout: MUSE XML Developer Guide (GE 2102027-228).
"""

import base64
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Int16

from ecgjepa.errors import RecordFormatError
from ecgjepa.io.content import Waveform, accept_step, choose_waveforms, counted, make_record
from ecgjepa.signals.record import Issue, Record
from ecgjepa.signals.units import millivolt_per_unit

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

# Below every amplitude that can occur: LeadLowLimit.
_INVALID = -32768
_MICROVOLTS = {"MICROVOLTS": "uV", "MILLIVOLTS": "mV"}
# A lead that starts later than the others would have to be shifted.
_OFFSETS = ("LeadTimeOffset", "LeadOffsetFirstSample")
_BLANKS = b" \t\r\n\f\v"
_Fields = dict[str, str]


class _Rhythm(NamedTuple):
    """A waveform of the rhythm, and its leads."""

    fields: _Fields
    leads: list[_Fields]


def read_muse(path: Path, root: "Element") -> Record:
    """Read the rhythm of a GE MUSE export.

    Args:
        path: The file, for messages.
        root: Its root element.

    Returns:
        The stored leads in mV, mostly I, II and V1 to V6, from which `standardise_leads` derives
        the others. A lead whose electrode was off is invalid.

    Raises:
        RecordFormatError: If there is no rhythm, leads differ in start or length, or a field is
            not as the layout has it.
        UnitError: If amplitudes are in no unit of voltage.
    """
    waveforms = root.findall("{*}Waveform")
    told = [(wave, _fields(wave)) for wave in waveforms]
    rhythms = [
        _Rhythm(fields, [_fields(lead) for lead in wave.findall("{*}LeadData")])
        for wave, fields in told
        if fields.get("WaveformType", "").casefold() == "rhythm"
    ]
    digital = [[_samples(path, lead) for lead in rhythm.leads] for rhythm in rhythms]
    described = [_describe(path, *pair) for pair in zip(rhythms, digital, strict=True)]
    chosen, issues = choose_waveforms(path, described)
    if others := len(waveforms) - len(rhythms):
        what = counted(others, "waveform that is not a rhythm is", "other waveforms are")
        issues.append(Issue("other_waveform", f"{what} not used"))
    leads = [lead for index in chosen for lead in rhythms[index].leads]
    samples = np.stack([column for index in chosen for column in digital[index]], axis=1)
    valid = samples != _INVALID
    for column, lead in enumerate(leads):
        if lead.get("LeadOff", "").casefold() == "true":
            valid[:, column] = False
            name = lead.get("LeadID", "")
            issues.append(Issue("invalid_lead", "its electrode was off, says the device", name))
    return make_record(
        path,
        samples * np.array([_millivolt_per_bit(lead) for lead in leads]),
        [lead.get("LeadID", "") for lead in leads],
        described[chosen[0]].sampling_rate,
        valid=valid,
        issues=issues,
    )


def _fields(element: "Element") -> _Fields:
    """Return the texts of an element's children by their names, the first of each name.

    All at once: to search the children anew for each name took a third of the time. A child
    without text counts as one that is not there.
    """
    found: dict[str, str | None] = {}
    for child in element:
        found.setdefault(child.tag.rpartition("}")[2], child.text)
    return {name: text.strip() for name, text in found.items() if text}


def _describe(
    path: Path, rhythm: _Rhythm, samples: list[Int16[np.ndarray, " samples"]]
) -> Waveform:
    lengths = {len(column) for column in samples}
    if len(lengths) != 1:
        raise RecordFormatError(
            f"{path}: leads have {sorted(lengths)} samples; expected one length"
        )
    leads = tuple(lead.get("LeadID", "") for lead in rhythm.leads)
    exponent = int(rhythm.fields.get("SampleExponent", "0"))
    if abs(exponent) > 9:
        raise RecordFormatError(f"{path}: SampleExponent is {exponent}")
    rate = float(rhythm.fields.get("SampleBase", ""))
    rate = rate * 10**exponent if exponent >= 0 else rate / 10**-exponent
    return Waveform(leads, rate, lengths.pop(), rhythm.fields.get("WaveformStartTime", "0"))


def _samples(path: Path, lead: _Fields) -> Int16[np.ndarray, " samples"]:
    name, size = lead.get("LeadID", ""), lead.get("LeadSampleSize", "2")
    late = [offset for offset in _OFFSETS if int(lead.get(offset, "0"))]
    if size != "2" or late:
        what = f"{size} bytes a sample" if size != "2" else f"{late[0]} not 0"
        raise RecordFormatError(f"{path}: lead {name} has {what}, which is not read")
    coded = lead.get("WaveFormData", "").encode().translate(None, _BLANKS)
    content = base64.b64decode(coded, validate=True)
    expected = int(lead.get("LeadSampleCountTotal", str(len(content) // 2)))
    if len(content) != 2 * expected:
        raise RecordFormatError(
            f"{path}: lead {name} holds {len(content):,} bytes of {expected:,} samples",
            reason="truncated",
        )
    return np.frombuffer(content, "<i2").astype(np.int16)


def _millivolt_per_bit(lead: _Fields) -> float:
    unit = lead.get("LeadAmplitudeUnits", "")
    unit = _MICROVOLTS.get(unit.upper(), unit)
    step = float(lead.get("LeadAmplitudeUnitsPerBit", "")) * millivolt_per_unit(unit)
    return accept_step(lead.get("LeadID", ""), step)
