"""ECGs in the XML of GE CardioSoft, Mortara ELI and Schiller; see `ecgjepa.io.xml`.

None of the three is specified in public. The layouts are those on which independent open readers
agree; whatever a file has beyond them is refused by name.
"""

import base64
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64

from ecgjepa.errors import RecordFormatError
from ecgjepa.io.content import counted, make_record
from ecgjepa.signals.record import Issue, Record
from ecgjepa.signals.units import millivolt_per_unit

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

Lead = tuple[str, Float64[np.ndarray, " samples"]]


def read_cardiosoft(path: Path, root: "Element") -> Record:
    """Read the rhythm of a GE CardioSoft file (``CardiologyXML``), such as UK Biobank's.

    Args:
        path: The file, for messages.
        root: Its root element.

    Returns:
        The leads in mV.

    Raises:
        RecordFormatError: If there is no strip or more than one, a lead is cut short, or units
            are not Hz and uVperLsb.
    """
    strips = root.findall(".//{*}StripData")
    if len(strips) != 1:
        full = (
            "; its FullDisclosure is not read"
            if root.find(".//{*}FullDisclosure") is not None
            else ""
        )
        raise RecordFormatError(
            f"holds {len(strips)} rhythm strips; expected one{full}", reason="no_rhythm"
        )
    strip = strips[0]
    units = [_child(strip, name).get("units") for name in ("SampleRate", "Resolution")]
    if units != ["Hz", "uVperLsb"]:
        raise RecordFormatError(f"rate and resolution are in {units}; expected Hz and uVperLsb")
    rate, microvolt = _number(strip, "SampleRate"), _number(strip, "Resolution")
    leads = [
        (lead.get("lead", ""), _numbers(lead.get("lead", ""), lead.text or "") * (microvolt / 1e3))
        for lead in strip.findall("{*}WaveformData")
    ]
    announced = strip.findtext("{*}ChannelSampleCountTotal")
    if announced and announced.strip():
        _check_count(leads, {int(announced)})
    return _record(path, leads, rate)


def read_mortara(path: Path, root: "Element") -> Record:
    """Read the rhythm of a Mortara ELI file (``ECG`` with ``CHANNEL`` elements).

    Args:
        path: The file, for messages.
        root: Its root element.

    Returns:
        The leads in mV; the typical cycle is left out with a note.

    Raises:
        RecordFormatError: If samples are not 16-bit base64, a lead is cut short, leads differ in
            rate or length, or a lead has an offset, whose meaning is not public.
    """
    leads, rates = [], set()
    for channel in root.findall("CHANNEL"):
        name = channel.get("NAME", "")
        form = [channel.get(key, "").upper() for key in ("BITS", "FORMAT", "ENCODING")]
        if form != ["16", "SIGNED", "BASE64"]:
            raise RecordFormatError(f"lead {name} is {form}; expected 16, SIGNED, BASE64")
        if float(channel.get("OFFSET") or 0) != 0:
            raise RecordFormatError(f"lead {name} has an OFFSET, whose meaning is not public")
        rate, per_millivolt = (float(channel.get(key, "0")) for key in _MORTARA_SCALES)
        if not (0 < rate < 1e6 and 0 < per_millivolt < 1e9):
            raise RecordFormatError(
                f"lead {name} has {rate} Hz and {per_millivolt} units per mV; expected more than 0"
            )
        text = "".join((channel.get("DATA") or channel.text or "").split())
        samples = np.frombuffer(base64.b64decode(text, validate=True), "<i2")
        leads.append((name, samples / per_millivolt))
        rates.add(rate)
        duration = float(channel.get("DURATION") or len(samples))
        # The number of samples, or of milliseconds.
        _check_count(leads[-1:], {duration, duration * rate / 1000})
    if len(rates) > 1:
        raise RecordFormatError(f"its leads have different rates: {sorted(rates)} Hz")
    words = "a typical cycle is not used"
    has_cycle = root.find("TYPICAL_CYCLE") is not None
    issues = [Issue("other_waveform", words)] if has_cycle else []
    return _record(path, leads, rates.pop() if rates else 0.0, issues)


_MORTARA_SCALES = ("SAMPLE_FREQ", "UNITS_PER_MV")


def is_schiller(root: "Element") -> bool:
    """Return whether an XML file is laid out as Schiller's, whatever its root is called."""
    return root.find("{*}eventdata/{*}event/{*}wavedata") is not None


def read_schiller(path: Path, root: "Element") -> Record:
    """Read the rhythm of a Schiller file (``eventdata`` with ``wavedata`` elements).

    Args:
        path: The file, for messages.
        root: Its root element.

    Returns:
        The leads in mV.

    Raises:
        RecordFormatError: If there is not one rhythm, or rate or samples are written in another
            way than is known.
        UnitError: If amplitudes are in no unit of voltage.
    """
    waves = root.findall("{*}eventdata/{*}event/{*}wavedata")
    rhythms = [wave for wave in waves if _text(wave, "type") == "ECG_RHYTHMS"]
    if len(rhythms) != 1:
        raise RecordFormatError(
            f"holds {len(rhythms)} waveforms of type ECG_RHYTHMS; expected one", reason="no_rhythm"
        )
    rate = _child(rhythms[0], "resolution/{*}samplerate")
    if _number(rate, "exponent") != 1:
        raise RecordFormatError("its sampling rate has an exponent other than 1: not read")
    scale = _child(rhythms[0], "resolution/{*}yres")
    step = _number(scale, "unitperbit") * millivolt_per_unit(_text(scale, "units"))
    leads = []
    for channel in rhythms[0].findall("{*}channel"):
        name, form = _text(channel, "name"), _text(channel, "datastype")
        if form.upper() != "COMMASEPARATE":
            raise RecordFormatError(f"lead {name} is written as {form!r}; expected COMMASEPARATE")
        leads.append((name, _numbers(name, _text(channel, "data")) * step))
    others = len(waves) - 1
    what = counted(others, "other waveform is", "other waveforms are")
    issues = [Issue("other_waveform", f"{what} not used")] if others else []
    return _record(path, leads, _number(rate, "value"), issues)


def _record(
    path: Path, leads: list[Lead], rate: float, issues: list[Issue] | None = None
) -> Record:
    lengths = {len(signal) for _, signal in leads}
    if len(lengths) != 1 or not rate > 0:
        raise RecordFormatError(
            f"leads have {sorted(lengths)} samples at {rate} Hz; expected one length and a rate"
        )
    signal = np.stack([signal for _, signal in leads], axis=1)
    return make_record(path, signal, [name for name, _ in leads], rate, issues=issues or [])


def _check_count(leads: list[Lead], expected: set[float]) -> None:
    for name, signal in leads:
        if not any(abs(len(signal) - number) < 1 for number in expected):
            raise RecordFormatError(
                f"lead {name} holds {len(signal):,} of {max(expected):,.0f} samples",
                reason="truncated",
            )


def _numbers(name: str, text: str) -> Float64[np.ndarray, " samples"]:
    numbers = np.array(text.replace(",", " ").split(), np.float64)
    if not np.isfinite(numbers).all():
        raise RecordFormatError(f"lead {name} holds what is not a finite number")
    return numbers


def _number(element: "Element", name: str) -> float:
    number = float(_text(element, name) or "nan")
    if not 0 < number < 1e9:
        raise RecordFormatError(f"{name} is {number}; expected a positive number")
    return number


def _text(element: "Element", name: str) -> str:
    return (_child(element, name).text or "").strip()


def _child(element: "Element", name: str) -> "Element":
    found = element.find(f"{{*}}{name}")
    if found is None:
        raise RecordFormatError(f"has no {name.rpartition('}')[2]} where it should be")
    return found
