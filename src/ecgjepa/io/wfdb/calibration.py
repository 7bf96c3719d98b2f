"""From the stored samples of a WFDB record to amplitudes, as its header tells."""

from functools import lru_cache

import numpy as np
from jaxtyping import Float32, Int16

from ecgjepa.errors import UnitError
from ecgjepa.io.wfdb.header import DEFAULT_GAIN, Header, SignalSpec
from ecgjepa.signals.record import Issue
from ecgjepa.signals.units import UNIT_SPELLINGS, millivolt_per_unit, unit_name

INVALID_16 = -32768


def header_issues(header: Header) -> list[Issue]:
    """Return what is odd about a header's calibration: gains that are missing, units misspelt."""
    signals = header.signals
    issues = [
        Issue("uncalibrated", f"gain is 0 or missing; {DEFAULT_GAIN:.0f} per mV assumed", spec.lead)
        for spec in signals
        if not spec.calibrated
    ]
    odd = sorted({spec.unit for spec in signals} - set(UNIT_SPELLINGS))
    issues += [
        Issue("unit_spelling", f"unit {unit!r} is read as {unit_name(unit)}") for unit in odd
    ]
    return issues


def microvolt_steps(header: Header, low: int, high: int) -> list[int] | None:
    """Return the size of each signal's step in µV, if all samples are whole numbers of them.

    Args:
        header: The header.
        low: Least of all samples, as stored.
        high: Greatest.
    """
    steps = [_microvolt_per_step(spec.gain, spec.unit) for spec in header.signals]
    if 0 in steps or any(spec.baseline for spec in header.signals):
        return None
    is_out = low == INVALID_16 or max(steps) * max(high, -low) > 32767
    return None if is_out else steps


def in_microvolt(
    digital: Int16[np.ndarray, "samples leads"], steps: list[int]
) -> Int16[np.ndarray, "samples leads"]:
    """Return samples in µV, given the size of each signal's step."""
    if (largest := max(steps)) == 1:
        return digital
    same = steps.count(largest) == len(steps)
    return digital * (np.int16(largest) if same else np.array(steps, np.int16))


@lru_cache(maxsize=256)
def _microvolt_per_step(gain: float, unit: str) -> int:
    """Return the size of a step in µV, or 0 if it is not a whole number or the unit is unknown."""
    try:
        step = 1e3 * millivolt_per_unit(unit) / gain
    except (UnitError, ZeroDivisionError):
        return 0
    return int(step) if step.is_integer() and 1 <= step <= 32767 else 0


def to_millivolt(
    digital: Int16[np.ndarray, "samples leads"], signals: tuple[SignalSpec, ...]
) -> Float32[np.ndarray, "samples leads"]:
    """Return (digital - baseline) / gain in mV.

    Computed in float64 and rounded once, as the wfdb package's numbers are when cast.
    """
    gain = np.array([spec.gain for spec in signals])
    baseline = np.array([spec.baseline for spec in signals])
    factor = np.array([millivolt_per_unit(spec.unit) for spec in signals])
    # Both operands are exact in float32, where a division rounds as float64's then cast would.
    if (baseline == 0).all() and (factor == 1).all() and (gain == gain.astype(np.float32)).all():
        return digital.astype(np.float32) / gain.astype(np.float32)
    return ((digital - baseline) / gain * factor).astype(np.float32)
