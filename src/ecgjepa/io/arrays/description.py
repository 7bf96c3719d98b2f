"""What a plain array or table cannot tell of itself, in a JSON or YAML file beside it.

``x.npy.json`` (or ``.yaml``) describes ``x.npy``, and ``ecg.json`` (or ``ecg.yaml``) all arrays and
tables of its folder that have no description of their own::

    {"sampling_rate": 500, "unit": "mV", "leads": ["I", "II", "III", ...]}

Nothing is guessed: a wrong rate, unit or order of leads would go unnoticed. What may be told:

A table whose column names tell leads and unit, and whose time column has a unit, needs none.

- ``sampling_rate`` in Hz. A table whose time column has a unit may do without.
- ``unit``: a voltage, or one with a number, as in ``4.88 uV`` or ``1e-4 V`` for a step of so much.
  Columns whose names end in a unit, as in ``I [mV]``, may do without.
- ``gain`` and ``baseline``: steps per ``unit`` (per mV if the unit is ``adu``), and the value that
  stands for 0 mV; one number, or one a lead. A value stands for (value - baseline) / gain.
- ``leads``: which column is which lead, in their order. Tables whose columns name them, and EDF,
  may do without.
- ``channels``: ``{"ECG1-Ref": "I", ...}``, the leads that a file's own names stand for.
- ``axes``: ``["leads", "samples"]`` or another order of ``records``, ``samples`` and ``leads``.
- ``record``: which of the records of an array of several is meant, counted from 0.
- ``variable``: which of several arrays of a file is the signal, as in ``ECG.data``; or a pattern
  such as ``*`` or ``exams/*``, if each array of such a name is a record of its own.
"""

import json
import math
import re
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64

from ecgjepa.errors import RecordFormatError
from ecgjepa.io.opening import is_regular, read_bytes
from ecgjepa.signals.leads import parse_lead
from ecgjepa.signals.units import millivolt_per_unit

FOLDER_DESCRIPTIONS = ("ecg.json", "ecg.yaml", "ecg.yml")
EXAMPLE = '{"sampling_rate": 500, "unit": "mV", "leads": ["I", "II", "V1"]}'
_ENDINGS = (".json", ".yaml", ".yml")
_MAX_BYTES = 100_000
_KEYS = ("sampling_rate", "unit", "gain", "baseline", "leads", "channels")
_ALL_KEYS = (*_KEYS, "axes", "record", "variable", "comment")
_AXES = ({"samples", "leads"}, {"records", "samples", "leads"})
# The values are what the converter gave: how many make a mV must be told.
_STEPS = ("adu", "adc", "lsb", "count", "counts", "step", "steps", "raw", "digital")
# A voltage with or without a number before it.
_UNIT = re.compile(r"((?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?)?\s*(?:[*x]\s*)?([^\d\s]+)")
_LONGEST_UNIT = 60


class Description(NamedTuple):
    """What a description tells; what it does not is None.

    Attributes:
        place: The description's file, for messages.
        sampling_rate: In Hz.
        unit: Unit of the values, as written.
        gain: Steps per unit, one number or one a lead.
        baseline: Values that stand for 0 mV, one or one a lead.
        leads: Which column is which lead.
        channels: Names in the file to the leads they stand for.
        axes: What the axes of an array are.
        record: Which of several records is meant.
        variable: Which of several arrays is the signal, or a pattern of the names of several.
        key: Which of the records of the file was asked for, as in ``x.npy#3``.
    """

    place: Path
    sampling_rate: float | None = None
    unit: str | None = None
    gain: tuple[float, ...] = (1.0,)
    baseline: tuple[float, ...] = (0.0,)
    leads: tuple[str, ...] | None = None
    channels: dict[str, str] = {}  # noqa: RUF012 never changed
    axes: tuple[str, ...] | None = None
    record: int | None = None
    variable: str | None = None
    key: str | None = None

    @property
    def is_pattern(self) -> bool:
        """Whether each array whose name fits ``variable`` is a record of its own."""
        return self.variable is not None and any(sign in self.variable for sign in "*?")

    def lead_of(self, name: str) -> str:
        """Return the lead that a name in the file stands for, or the name itself."""
        return self.channels.get(name, self.channels.get(name.strip(), name))

    def scale(
        self, num_leads: int, unit: str | None = None
    ) -> tuple[Float64[np.ndarray, " leads"], Float64[np.ndarray, " leads"]]:
        """Return mV a step, and the value that stands for 0 mV, of every lead.

        Args:
            num_leads: Number of leads.
            unit: Used where the description tells no unit.

        Raises:
            RecordFormatError: If gain or baseline are told for another number of leads.
            UnitError: If the unit is not a voltage.
        """
        for name, told in (("gain", self.gain), ("baseline", self.baseline)):
            if len(told) not in (1, num_leads):
                raise RecordFormatError(
                    f"{self.place}: tells {len(told)} numbers as {name}; expected one, or one for "
                    f"each of the {num_leads} leads"
                )
        factor = millivolt_per_step(self.unit or unit or "")
        step = factor / np.array(self.gain)
        return np.full(num_leads, step), np.full(num_leads, self.baseline)


@lru_cache(maxsize=256)
def millivolt_per_step(unit: str) -> float:
    """Return how many mV a unit is, which may have a number, as ``4.88 uV`` and ``1e-4 V`` have.

    Raises:
        UnitError: If it is not a voltage.
    """
    found = _UNIT.fullmatch(unit.strip()) if len(unit) <= _LONGEST_UNIT else None
    if found is None or found[1] is None or not 0 < float(found[1]) < math.inf:
        return millivolt_per_unit(unit)
    return float(found[1]) * millivolt_per_unit(found[2])


def description_names(name: str) -> tuple[str, ...]:
    """Return the names of the files that may describe a file, the first that is there counts."""
    own = [name + ending for ending in _ENDINGS]
    if name.lower().endswith(".gz"):
        own += [name[:-3] + ending for ending in _ENDINGS]
    return (*own, *FOLDER_DESCRIPTIONS)


def is_described(path: Path) -> bool:
    """Return whether a description of a file lies beside it."""
    return _beside(path) is not None


def read_description(path: Path, place: Path | None = None, key: str | None = None) -> Description:
    """Return a file's description.

    Args:
        path: The file.
        place: Its description; None for the one beside it.
        key: Which of its records was asked for.

    Raises:
        RecordFormatError: If there is none (``not_described``), or it is not as expected.
    """
    found = find_description(path, place)
    if found is None:
        raise not_described(path)
    return found._replace(key=key)


def not_described(path: Path, *lacking: str) -> RecordFormatError:
    """Return the error of a file that neither tells what a record needs nor is described.

    Args:
        path: The file.
        lacking: What it does not tell, in words; none for all that a description tells.
    """
    *most, last = lacking or ("sampling rate", "unit", "leads")
    words = f"{', '.join(most)} and {last} are" if most else f"{last} is"
    return RecordFormatError(
        f"{path}: its {words} not told; write this to {path.name}.json, or to "
        f"{FOLDER_DESCRIPTIONS[0]} for the whole folder, as {EXAMPLE}",
        reason="not_described",
    )


def find_description(path: Path, place: Path | None = None) -> Description | None:
    """Return a file's description as `read_description`, or None if there is none."""
    place = place or _beside(path)
    if place is None:
        return None
    if not is_regular(place):
        raise RecordFormatError(f"{place}: no such description; expected a file with {EXAMPLE}")
    told = _parse(place)
    if not isinstance(told, dict) or not all(isinstance(key, str) for key in told):
        raise RecordFormatError(f"{place}: expected {EXAMPLE}")
    told = {key: value for key, value in told.items() if value is not None}
    if unknown := sorted(set(told) - set(_ALL_KEYS)):
        raise RecordFormatError(
            f"{place}: tells {', '.join(unknown)[:200]}; known are {', '.join(_ALL_KEYS)}"
        )
    return _checked(place, told)


def _beside(path: Path) -> Path | None:
    folder = path.parent.as_posix().rstrip("/")
    places = (f"{folder}/{name}" for name in description_names(path.name))
    return next((Path(place) for place in places if is_regular(place)), None)


def _parse(place: Path) -> Any:  # noqa: ANN401
    content = read_bytes(place, _MAX_BYTES)
    try:
        if place.suffix.lower() in (".yaml", ".yml"):
            import yaml

            return _without_aliases(yaml, content)
        return json.loads(content)
    except RecordFormatError:
        raise
    except Exception as error:  # as many kinds as there are ways to be wrong
        raise RecordFormatError(
            f"{place}: not readable: {type(error).__name__}: {str(error)[:200]}; expected {EXAMPLE}"
        ) from None


def _without_aliases(yaml: Any, content: bytes) -> Any:  # noqa: ANN401
    """Parse YAML in which nothing refers to anything else, and so nothing multiplies."""
    text = content.decode("utf-8")
    if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text)):
        raise ValueError("aliases are not read")
    return yaml.safe_load(text)


def _checked(place: Path, told: dict[str, Any]) -> Description:
    rate, leads, channels = told.get("sampling_rate"), told.get("leads"), told.get("channels", {})
    axes, record = told.get("axes"), told.get("record")
    if isinstance(axes, str):
        axes = [axis.strip() for axis in axes.strip("()[] ").split(",")]
    right = {
        "sampling_rate": rate is None or (_is_number(rate) and rate > 0),
        "unit": isinstance(told.get("unit", ""), str),
        "leads": leads is None or _is_list_of(str, leads),
        "channels": isinstance(channels, dict)
        and _is_list_of(str, [*channels, *channels.values()]),
        "axes": axes is None or (_is_list_of(str, axes) and set(axes) in _AXES),
        "record": record is None or (isinstance(record, int) and record >= 0),
        "variable": isinstance(told.get("variable", ""), str),
    }
    right["channels"] |= channels == {}
    if wrong := [name for name, is_right in right.items() if not is_right]:
        raise RecordFormatError(
            f"{place}: {wrong[0]} is {str(told.get(wrong[0]))[:200]!r}; expected as in {EXAMPLE}, "
            'axes as ["leads", "samples"], record as 0, channels as {"ECG 1": "I"}'
        )
    if told.get("unit", "").casefold() in _STEPS:
        if "gain" not in told:
            raise RecordFormatError(
                f"{place}: unit {told['unit']!r} is no voltage; tell how many make a mV as gain, "
                'such as {"unit": "adu", "gain": 1000, "baseline": 0}'
            )
        told["unit"] = "mV"
    if unknown := [lead for lead in channels.values() if parse_lead(lead) is None]:
        raise RecordFormatError(f"{place}: channels name the lead {unknown[0]!r}, which is unknown")
    return Description(
        place=place,
        sampling_rate=None if rate is None else float(rate),
        unit=told.get("unit"),
        gain=_numbers(place, "gain", told.get("gain", 1.0), may_be_zero=False),
        baseline=_numbers(place, "baseline", told.get("baseline", 0.0), may_be_zero=True),
        leads=None if leads is None else tuple(leads),
        channels=channels,
        axes=None if axes is None else tuple(axes),
        record=record,
        variable=told.get("variable"),
    )


def _numbers(
    place: Path,
    name: str,
    told: Any,  # noqa: ANN401
    *,
    may_be_zero: bool,
) -> tuple[float, ...]:
    values = told if isinstance(told, list) else [told]
    if not values or not all(_is_number(value) and (may_be_zero or value) for value in values):
        raise RecordFormatError(
            f"{place}: {name} is {str(told)[:200]!r}; expected a number, or one a lead"
        )
    return tuple(map(float, values))


def _is_number(value: Any) -> bool:  # noqa: ANN401
    try:
        return not isinstance(value, bool) and math.isfinite(value)
    except (TypeError, OverflowError):
        return False


def _is_list_of(kind: type, value: Any) -> bool:  # noqa: ANN401
    return isinstance(value, list) and bool(value) and all(isinstance(each, kind) for each in value)
