"""What the recorder makes of twelve leads: samples in whole steps, at the rate of a file."""

from dataclasses import dataclass, replace

import numpy as np
import scipy.signal
from jaxtyping import Float32, Int16

from ecgjepa.signals.leads import LEADS, LIMB_LEAD_WEIGHTS, derive_limb_lead
from ecgjepa.simulation.heart.noise import LEAD_OF_ELECTRODES, LostElectrode
from ecgjepa.simulation.heart.rhythm import Rhythm

# WFDB's mark for "nothing was recorded" in 16-bit samples.
INVALID = -32768
MICROVOLT_PER_MILLIVOLT = 1000.0
# Amplifiers clip, in mV; half of 16 bits leaves room for the leads that add two others.
_LARGEST = 16.0


@dataclass(frozen=True, eq=False)
class Tracing:
    """A simulated record and the truth about it.

    Attributes:
        leads: I, II and V1 to V6 in mV, before quantisation.
        lost: Electrode without contact, if any.
        sampling_rate: In Hz.
        codes: Statements of this day.
        notes: Remarks about noise and extra beats, by column of PTB-XL's table.
        rhythm: When the beats came.
    """

    leads: Float32[np.ndarray, "samples 8"]
    lost: LostElectrode | None
    sampling_rate: float
    codes: tuple[str, ...]
    notes: dict[str, str]
    rhythm: Rhythm


def resample(tracing: Tracing, sampling_rate: int) -> Tracing:
    """Return the tracing at a lower rate that divides its own."""
    factor = round(tracing.sampling_rate) // sampling_rate
    leads = scipy.signal.resample_poly(tracing.leads, 1, factor, axis=0)
    lost = tracing.lost
    if lost is not None:
        lost = replace(lost, start=lost.start // factor, stop=-(-lost.stop // factor))
    leads = np.ascontiguousarray(leads, np.float32)
    return replace(tracing, leads=leads, lost=lost, sampling_rate=float(sampling_rate))


def quantise(
    tracing: Tracing, gain: float = MICROVOLT_PER_MILLIVOLT
) -> Int16[np.ndarray, "samples 12"]:
    """Return the twelve leads in whole steps, `INVALID` where nothing was recorded.

    I and II are rounded first and the other limb leads computed from them, so that the laws of
    Einthoven and Goldberger hold in the file to half a step.

    Args:
        tracing: The record.
        gain: Steps per mV, at most 1000; a step is 1 µV by default.
    """
    measured = np.rint(tracing.leads * np.float32(gain))
    np.clip(measured, -_LARGEST * gain, _LARGEST * gain, out=measured)
    digital = np.empty((len(measured), 12), np.int16)
    digital[:, :2] = measured[:, :2]
    digital[:, 6:] = measured[:, 2:]
    for lead in LIMB_LEAD_WEIGHTS:
        derived = derive_limb_lead(lead, measured[:, 0], measured[:, 1])
        digital[:, LEADS.index(lead)] = np.rint(derived)
    if tracing.lost is not None:
        _lose(digital, tracing.lost)
    return digital


def _lose(digital: Int16[np.ndarray, "samples 12"], lost: LostElectrode) -> None:
    """Write what the recorder writes for leads without contact."""
    gap = slice(lost.start, lost.stop)
    if lost.electrode >= 3:
        columns = np.array([lost.electrode + 3])
    else:
        # Each augmented lead needs all three limbs. Chest leads go on: recorders then refer them
        # to the limbs that are left.
        first, second = LEAD_OF_ELECTRODES[:2, lost.electrode]
        uses = np.array([first != 0, second != 0, (second - first) != 0, True, True, True])
        columns = np.flatnonzero(uses)
    whole = lost.start == 0 and lost.stop == len(digital)
    constant = 0 if whole else digital[lost.start, columns]
    digital[gap, columns] = constant if lost.flat else INVALID
