"""Which columns of a table are leads, by their names; for text and Parquet alike."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from ecgjepa.errors import LeadError, RecordFormatError, UnitError
from ecgjepa.io.arrays.description import Description, millivolt_per_step
from ecgjepa.signals.leads import parse_lead
from ecgjepa.signals.record import Issue

_NAME_AND_UNIT = re.compile(r"(.*?)[\s_/,;]*[\[({]\s*([^\])}]*?)\s*[\])}]?\s*")
_NAME_UNIT = re.compile(r"(.*?)[\s_/,;]+([mµμun]?V)", re.IGNORECASE)
_TIMES = {"time", "t", "seconds", "second", "sec", "s", "ms", "timestamp", "elapsed time", "us"}
_TIMES |= {"zeit", "zeitpunkt", "sekunden", "sek", "temps", "tiempo", "tempo"}
_INDICES = {"", "index", "sample", "samples", "n", "no", "nr", "i", "unnamed: 0", "sample number"}
_PER_SECOND = {"s": 1.0, "sec": 1.0, "seconds": 1.0, "ms": 1e3, "msec": 1e3, "us": 1e6, "µs": 1e6}
_PER_SECOND |= {"second": 1.0, "sek": 1.0, "sekunden": 1.0, "msek": 1e3}
# A time column rounded to a millisecond may be off by half of one in each step.
_TOLERANCE = 0.02
_SHOWN = 20
# Longer names hold no unit: to look for one would take long.
_LONGEST_NAME = 200


class Column(NamedTuple):
    """A column's name, as parsed.

    Attributes:
        position: Of the column, from 0.
        name: As written.
        bare: Without unit.
        unit: As written in the name, or None.
    """

    position: int
    name: str
    bare: str
    unit: str | None


class Choice(NamedTuple):
    """The columns of a table that are used.

    Attributes:
        positions: Of the leads.
        leads: Their names.
        unit: The voltage that the columns' names tell, or None.
        time: The column of time, or None.
        others: Columns that are not used.
    """

    positions: list[int]
    leads: list[str]
    unit: str | None
    time: Column | None
    others: list[Column]

    @property
    def lacking(self) -> tuple[str, ...]:
        """What the names do not tell of a record, in words; none if no description is needed."""
        has_rate = self.time is not None and _unit_of(self.time) in _PER_SECOND
        told = {"sampling rate": has_rate, "unit": self.unit is not None}
        return tuple(words for words, is_told in told.items() if not is_told)

    def issues(self) -> list[Issue]:
        """Return a note on each column that is not used."""
        return [Issue("other_channel", f"column {each.name!r} is not used") for each in self.others]


def choose_columns(path: Path, names: Sequence[str], described: Description) -> Choice:
    """Return which columns are leads, compared by the rules of `ecgjepa.signals.leads`.

    Args:
        path: The file, for messages.
        names: Names of all columns, which may hold a unit: ``I [mV]``, ``V1 (uV)``.
        described: Tells leads, what other names stand for, and the unit.

    Raises:
        LeadError: If a lead that the description tells has no column, or no column is a lead.
        UnitError: If columns tell different units, or another than the description.
    """
    columns = [_parse(position, name) for position, name in enumerate(names)]
    found = [(column, lead) for column in columns if (lead := _lead(column, described))]
    leads = [lead for _, lead in found]
    if described.leads is not None:
        by_lead: dict[object, Column] = {}
        for column in columns:
            for name in (column.name, column.bare, _key(described.lead_of(column.bare))):
                by_lead.setdefault(name, column)
        missing = [each for each in described.leads if not {each, _key(each)} & by_lead.keys()]
        if missing:
            raise _missing(path, names, ", ".join(missing))
        leads = list(described.leads)
        found = [(by_lead.get(each) or by_lead[_key(each)], each) for each in leads]
    if not found:
        raise _missing(path, names, "names of leads, such as I or V1")
    used = [column for column, _ in found]
    others = [column for column in columns if column not in used]
    time = next((column for column in others if _is_time(column)), None)
    unit = _common_unit(path, used, described)
    return Choice([column.position for column in used], leads, unit, time, others)


def rate_of_time(
    path: Path, column: Column, times: Float64[np.ndarray, " samples"], told: float | None
) -> float | None:
    """Return the rate in Hz that a column of time tells, or None if its unit is not known.

    Raises:
        RecordFormatError: If it contradicts the rate that the description tells, or tells the rate
            alone and grows unevenly.
    """
    unit = _unit_of(column)
    steps = np.diff(times)
    if unit not in _PER_SECOND or not len(steps) or not np.isfinite(steps).all():
        return None
    if told is None and not is_counted(times):
        raise RecordFormatError(
            f"{path}: its column {column.name!r} does not grow evenly, so it tells no sampling "
            "rate; a description may tell it"
        )
    step = float(times[-1] - times[0]) / len(steps)
    rate = _PER_SECOND[unit] / step if step > 0 else 0.0
    if told is None:
        nearest = round(rate)
        return float(nearest) if nearest and abs(rate / nearest - 1) < 1e-3 else rate
    if abs(rate / told - 1) > _TOLERANCE:
        raise RecordFormatError(
            f"{path}: its column {column.name!r} tells {rate:g} Hz, its description {told:g} Hz"
        )
    return None


def is_counted(values: Float64[np.ndarray, " samples"]) -> bool:
    """Return whether numbers grow evenly, as an index or a time does and no lead."""
    steps = np.diff(values)
    if len(steps) < 2 or not np.isfinite(steps).all() or not steps[0] > 0:
        return False
    mean = float(values[-1] - values[0]) / len(steps)
    return bool((np.abs(steps - mean) <= 0.51 * mean).all())


def _parse(position: int, name: str) -> Column:
    text = name.strip()
    if len(text) > _LONGEST_NAME:
        return Column(position, name, text, None)
    for pattern in (_NAME_AND_UNIT, _NAME_UNIT):
        if (match := pattern.fullmatch(text)) and (match[1].strip() or pattern is _NAME_AND_UNIT):
            return Column(position, name, match[1].strip(), match[2].strip() or None)
    return Column(position, name, text, None)


def _lead(column: Column, described: Description) -> str | None:
    name = described.lead_of(column.name)
    if name == column.name:
        name = described.lead_of(column.bare)
    return name if parse_lead(name) else None


def _key(name: str) -> object:
    """Return what two names of the same lead have in common."""
    return parse_lead(name) or name.strip()


def _unit_of(time: Column) -> str:
    """Return the unit of a column of time, which may be all that its name holds."""
    return (time.unit or time.bare).strip().casefold().replace("μ", "µ")


def _is_time(column: Column) -> bool:
    return column.bare.casefold() in _TIMES | _INDICES


def _common_unit(path: Path, used: list[Column], described: Description) -> str | None:
    """Return the unit in the names of columns, which must be one and the description's."""
    units = {column.unit for column in used if column.unit}
    sizes = {millivolt_per_step(unit) for unit in units}
    if described.unit is not None and units:
        sizes.add(millivolt_per_step(described.unit))
    if len(sizes) > 1 or (units and not all(column.unit for column in used)):
        told = f" and the description {described.unit}" if described.unit else ""
        raise UnitError(
            f"{path}: columns tell the units {', '.join(sorted(units))}{told}; expected one unit"
        )
    return min(units, default=None)


def _missing(path: Path, names: Sequence[str], expected: str) -> LeadError:
    some = ", ".join(names[:_SHOWN]) + (" …" if len(names) > _SHOWN else "")
    return LeadError(f"{path}: columns are {some}; expected {expected}")
