"""FHIR Observations of an ECG (JSON, R4 to R6): one component a lead, with SampledData.

Amplitude is ``origin + factor * number``, in the unit of the origin. Leads are known by their MDC
code (131329 is I) or name. Some writers give a lead in parts, one component after another, such as
those of wrist watches; parts are joined in the file's order.

Format: https://hl7.org/fhir/observation.html, https://hl7.org/fhir/datatypes.html#SampledData.
"""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64

from ecgjepa.errors import LeadError, RecordFormatError, UnitError
from ecgjepa.io.content import accept_step, make_record, read_bytes
from ecgjepa.io.devices.scp_leads import LEAD_NAMES
from ecgjepa.signals.leads import parse_lead
from ecgjepa.signals.record import Issue, Record
from ecgjepa.signals.units import millivolt_per_unit

# Numbers as text take some 5 bytes each: half an hour of twelve leads at 500 Hz.
_MOST_BYTES = 60_000_000
# The nomenclature of ISO 11073-10101: MDC_ECG_ELEC_POTL plus the lead numbers of SCP-ECG.
_MDC_POTENTIAL = 131328
_MDC_SYSTEMS = ("urn:oid:2.16.840.1.113883.6.24", "urn:iso:std:iso:11073:10101")
_PER_SECOND = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
# Of no number: an error, above and below what could be measured.
_NO_NUMBER = ("E", "U", "L")
_LIMITS = (("lower", -1), ("upper", 1))

Json = dict[str, Any]


class _Part(NamedTuple):
    """One SampledData.

    Attributes:
        millivolt: Amplitudes.
        valid: False where the file has a letter for a number.
        sampling_rate: In Hz.
    """

    millivolt: Float64[np.ndarray, " samples"]
    valid: Bool[np.ndarray, " samples"]
    sampling_rate: float


def looks_like_fhir(head: bytes) -> bool:
    """Return whether a file begins as a FHIR resource in JSON does."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    return text.startswith(b"{") and b'"resourceType"' in text


def read_fhir(path: Path) -> Record:
    """Read the ECG of a FHIR Observation, or of a Bundle that holds exactly one.

    Returns:
        The leads in mV; numbers that are E, U or L are invalid.

    Raises:
        RecordFormatError: If the file is not such a resource, leads differ in rate or length, or
            SampledData uses what is not read (several dimensions, offsets, codes).
        LeadError: If no component is one of the twelve leads.
        UnitError: If the origin has no unit of voltage: without it, amplitudes are not known.
    """
    try:
        resource = json.loads(read_bytes(path, _MOST_BYTES))
    except RecursionError:
        raise RecordFormatError("its JSON is nested too deeply") from None
    observation = _observation(resource)
    leads: dict[str, list[_Part]] = {}
    others: list[str] = []
    for component in _list(observation, "component") or [observation]:
        if not isinstance(component, dict) or "valueSampledData" not in component:
            continue
        name = _lead(component.get("code"))
        if parse_lead(name) is None:
            others.append(name)
            continue
        leads.setdefault(name, []).append(_part(name, component["valueSampledData"]))
    if not leads:
        raise LeadError(
            f"none of the components with SampledData {others} is one of the twelve leads; "
            f"expected codes such as {_MDC_POTENTIAL + 1} (I) of {_MDC_SYSTEMS[0]}"
        )
    issues = [Issue("other_channel", f"{name!r} is not one of the 12 leads") for name in others]
    return _record(path, leads, issues)


def _observation(resource: Any) -> Json:  # noqa: ANN401
    """Return the one Observation that holds samples."""
    kind = resource.get("resourceType") if isinstance(resource, dict) else None
    found = [resource] if kind == "Observation" else []
    if kind == "Bundle":
        entries = [entry for entry in _list(resource, "entry") if isinstance(entry, dict)]
        resources = [entry.get("resource") for entry in entries]
        found = [each for each in resources if isinstance(each, dict) and _has_samples(each)]
    if len(found) != 1:
        raise RecordFormatError(
            f"is FHIR {kind} with {len(found)} Observations of SampledData; expected one "
            "Observation a file"
        )
    return found[0]


def _has_samples(resource: Json) -> bool:
    parts = [resource, *_list(resource, "component")]
    return resource.get("resourceType") == "Observation" and any(
        isinstance(part, dict) and "valueSampledData" in part for part in parts
    )


def _list(resource: Json, name: str) -> list[Any]:
    value = resource.get(name, [])
    return value if isinstance(value, list) else []


def _lead(code: Any) -> str:  # noqa: ANN401
    """Return the lead that a component's code or its words name."""
    if not isinstance(code, dict):
        return "without a code"
    codings = [coding for coding in _list(code, "coding") if isinstance(coding, dict)]
    for coding in codings:
        text = str(coding.get("code", ""))
        if coding.get("system") in _MDC_SYSTEMS and text.isdecimal() and len(text) < 9:
            number = int(text) - _MDC_POTENTIAL
            return LEAD_NAMES.get(number, f"MDC {text}")
    words = [str(coding.get(name, "")) for coding in codings for name in ("code", "display")]
    words = [word for word in (*words, str(code.get("text", ""))) if word]
    return next((word for word in words if parse_lead(word)), words[0] if words else "no code")


def _part(name: str, data: Any) -> _Part:  # noqa: ANN401
    if not isinstance(data, dict) or not isinstance(data.get("data"), str):
        raise RecordFormatError(f"lead {name} has SampledData without data")
    if data.get("dimensions", 1) != 1 or "offsets" in data or "codeMap" in data:
        raise RecordFormatError(
            f"lead {name} has SampledData of {data.get('dimensions', 1)} dimensions, or "
            "with offsets or codes, which are not read",
            reason="unsupported_variant",
        )
    origin = data.get("origin")
    origin = origin if isinstance(origin, dict) else {}
    scale = _scale(name, origin)
    tokens = data["data"].split()
    valid = np.array([token not in _NO_NUMBER for token in tokens], np.bool_)
    numbers = np.array([token if token not in _NO_NUMBER else "0" for token in tokens], np.float64)
    if not np.isfinite(numbers).all():
        raise RecordFormatError(f"lead {name} holds what is not a finite number")
    factor, zero = _float(data, "factor", 1.0), _float(origin, "value", 0.0)
    accept_step(name, factor * scale, may_be_negative=True)
    _check_limits(name, data, zero + factor * numbers[valid])
    return _Part((zero + factor * numbers) * scale, valid, _rate(name, data))


def _scale(name: str, origin: Json) -> float:
    """Return mV per unit of the origin, by its code or by its words."""
    units = [str(origin[key]) for key in ("code", "unit") if origin.get(key)]
    for unit in units[:-1]:  # the code may be of a nomenclature, the unit in words beside it
        with suppress(UnitError):
            return millivolt_per_unit(unit)
    if not units:
        raise UnitError(
            f"lead {name} has an origin without a unit, so that its amplitudes are not known; "
            "expected mV or uV"
        )
    return millivolt_per_unit(units[-1])


def _check_limits(name: str, data: Json, values: np.ndarray) -> None:
    """Refuse amplitudes beyond what the file says the device can measure.

    The example of the standard itself gives as origin the number that stands for 0.
    """
    low, high = (_float(data, f"{side}Limit", sign * np.inf) for side, sign in _LIMITS)
    if len(values) and not low <= np.median(values) <= high:
        raise RecordFormatError(
            f"lead {name} has a median of {np.median(values):.6g}, outside of its own "
            f"limits {low:g} to {high:g}: is its origin the number for 0, and not what is added?"
        )


def _rate(name: str, data: Json) -> float:
    """Return the rate in Hz: R4 gives a period in ms, R5 and R6 an interval and its unit."""
    unit = data.get("intervalUnit", "ms") if "interval" in data else "ms"
    interval = _float(data, "interval" if "interval" in data else "period", 0.0)
    if unit not in _PER_SECOND or not interval > 0:
        raise RecordFormatError(
            f"lead {name} has an interval of {interval:g} {unit!r} from sample to sample; "
            f"expected a positive number of {', '.join(_PER_SECOND)}"
        )
    return _PER_SECOND[unit] / interval


def _float(data: Json, name: str, default: float) -> float:
    value = data.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RecordFormatError(f"{name} is {str(value)[:40]!r}; expected a number")
    return float(value)


def _record(path: Path, leads: dict[str, list[_Part]], issues: list[Issue]) -> Record:
    lengths = {tuple(len(part.millivolt) for part in parts) for parts in leads.values()}
    rates = {part.sampling_rate for parts in leads.values() for part in parts}
    if len(lengths) > 1 or len(rates) > 1:
        raise RecordFormatError(
            f"leads differ in rate ({sorted(rates)} Hz) or in the number of samples "
            f"({sorted(lengths)})"
        )
    sizes = lengths.pop()
    if len(sizes) > 1:
        words = f"leads come in {len(sizes)} parts, which are joined in the file's order"
        issues.append(Issue("joined_parts", words))
    signal = [np.concatenate([part.millivolt for part in parts]) for parts in leads.values()]
    valid = [np.concatenate([part.valid for part in parts]) for parts in leads.values()]
    return make_record(
        path,
        np.stack(signal, axis=1),
        list(leads),
        rates.pop(),
        valid=np.stack(valid, axis=1),
        issues=issues,
    )
