"""What a plain array or table cannot tell of itself, in a JSON file beside it.

``x.npy.json`` describes ``x.npy``, and ``ecg.json`` all arrays and tables of its folder that have
no description of their own::

    {"sampling_rate": 500, "unit": "mV", "leads": ["I", "II", "III", ...]}

``leads`` may be left out for tables, whose columns then name them. Nothing is guessed: a wrong
rate, unit or order of leads would go unnoticed.
"""

import json
from pathlib import Path
from typing import NamedTuple

from ecgjepa.errors import RecordFormatError
from ecgjepa.io.content import read_bytes
from ecgjepa.signals.units import millivolt_per_unit

FOLDER_DESCRIPTION = "ecg.json"
EXAMPLE = '{"sampling_rate": 500, "unit": "mV", "leads": ["I", "II", "V1"]}'
_MAX_BYTES = 100_000


class Description(NamedTuple):
    """A description: rate in Hz, mV per unit, and the columns' leads if they are told."""

    sampling_rate: float
    millivolt_per_unit: float
    leads: tuple[str, ...] | None


def is_described(path: Path) -> bool:
    """Return whether a description of a file lies beside it."""
    return any(place.is_file() for place in _places(path))


def read_description(path: Path) -> Description:
    """Return a file's description.

    Raises:
        RecordFormatError: If there is none (``not_described``), or it is not as expected.
        UnitError: If the unit is no voltage.
    """
    place = next((place for place in _places(path) if place.is_file()), None)
    if place is None:
        raise RecordFormatError(
            f"{path}: its sampling rate, unit and leads are not told; write them to "
            f"{path.name}.json, or to {FOLDER_DESCRIPTION} for the whole folder, as {EXAMPLE}",
            reason="not_described",
        )
    told = json.loads(read_bytes(place, _MAX_BYTES))
    if not isinstance(told, dict):
        raise RecordFormatError(f"{place}: expected {EXAMPLE}")
    rate, unit, leads = told.get("sampling_rate"), told.get("unit"), told.get("leads")
    is_rate = isinstance(rate, int | float) and not isinstance(rate, bool) and rate > 0
    are_leads = leads is None or (
        isinstance(leads, list) and leads and all(isinstance(lead, str) for lead in leads)
    )
    if rate is None or not (is_rate and isinstance(unit, str) and are_leads):
        raise RecordFormatError(f"{place}: holds {str(told)[:200]}; expected {EXAMPLE}")
    factor = millivolt_per_unit(unit)
    return Description(float(rate), factor, None if leads is None else tuple(leads))


def _places(path: Path) -> tuple[Path, Path]:
    return path.with_name(path.name + ".json"), path.with_name(FOLDER_DESCRIPTION)
