"""Amplitude units: how many millivolt one unit of a file's samples is, and the store's marker."""

import unicodedata
from functools import lru_cache

from ecgjepa.errors import UnitError

# "No sample" among 16-bit integers, as in WFDB.
INVALID_MICROVOLT = -32768

# What needs no remark; any other spelling is understood if it can be, and noted.
UNIT_SPELLINGS = ("mV", "uV", "µV", "μV", "V", "nV")

_MILLIVOLT_PER_UNIT = {
    "v": 1e3,
    "mv": 1.0,
    "uv": 1e-3,
    "nv": 1e-6,
    "volt": 1e3,
    "millivolt": 1.0,
    "microvolt": 1e-3,
    "nanovolt": 1e-6,
}


@lru_cache(maxsize=256)
def millivolt_per_unit(unit: str) -> float:
    """Return the factor that turns amplitudes in ``unit`` into millivolt.

    Spelling varies between databases (PTB-XL in the Challenge 2021 writes ``mv``), so case is
    ignored and both Unicode micro signs are accepted. Nothing is guessed.

    Raises:
        UnitError: If the unit is not one of V, mV, µV, nV.
    """
    # NFKC turns the micro sign (U+00B5) into the Greek letter mu (U+03BC).
    key = unicodedata.normalize("NFKC", unit).strip().casefold().replace("μ", "u")
    try:
        return _MILLIVOLT_PER_UNIT[key]
    except KeyError:
        raise UnitError(unknown_unit(unit)) from None


@lru_cache(maxsize=256)
def is_voltage(unit: str) -> bool:
    """Return whether a unit is one of those that `millivolt_per_unit` knows."""
    try:
        return millivolt_per_unit(unit) > 0
    except UnitError:
        return False


def unknown_unit(unit: str) -> str:
    """Return what is to be said of a unit that is no known voltage."""
    return f"unknown amplitude unit {unit[:100]!r}: expected V, mV, uV, µV or nV in any case"


def unit_name(unit: str) -> str:
    """Return the usual spelling of an amplitude unit.

    Raises:
        UnitError: As `millivolt_per_unit`.
    """
    return {1e3: "V", 1.0: "mV", 1e-3: "µV", 1e-6: "nV"}[millivolt_per_unit(unit)]
