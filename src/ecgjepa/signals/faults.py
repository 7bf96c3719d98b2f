"""Faults of recording, done to samples: exchanged electrodes, wrong gains, noise."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Int16

from ecgjepa.signals.leads import LEADS
from ecgjepa.signals.units import INVALID_MICROVOLT

# What the store can hold, in µV.
_MOST = 32767
# Samples of all of `LEADS`, in this order.
Samples = Int16[np.ndarray, "samples leads"]


class Fault(NamedTuple):
    """A way in which a record may be spoiled.

    Attributes:
        description: For people.
        spoil: From samples in µV and a generator to the spoiled samples.
    """

    description: str
    spoil: Callable[[Samples, np.random.Generator], Samples]


def swap_arms(samples: Samples, rng: np.random.Generator) -> Samples:
    """Return what is recorded with the electrodes of both arms exchanged (Einthoven's triangle)."""
    swapped = samples.copy()
    swapped[:, _columns("I")] = _scaled(samples[:, _columns("I")], -1)
    order = _columns("II", "III", "aVR", "aVL")
    swapped[:, order] = samples[:, _columns("III", "II", "aVL", "aVR")]
    return swapped


def reverse_chest(samples: Samples, rng: np.random.Generator) -> Samples:
    """Return V6 to V1 in the place of V1 to V6."""
    swapped = samples.copy()
    chest = _columns("V1", "V2", "V3", "V4", "V5", "V6")
    swapped[:, chest] = samples[:, chest[::-1]]
    return swapped


def shuffle_leads(samples: Samples, rng: np.random.Generator) -> Samples:
    """Return the leads in a random order, none in its place."""
    places = np.arange(len(LEADS))
    order = places
    while (order == places).any():
        order = rng.permutation(places)
    return samples[:, order]


def invert(samples: Samples, rng: np.random.Generator) -> Samples:
    """Return all leads upside down."""
    return _scaled(samples, -1)


def amplify(samples: Samples, rng: np.random.Generator) -> Samples:
    """Return ten times the amplitudes, as far as the store can hold them."""
    return _scaled(samples, 10)


def weaken(samples: Samples, rng: np.random.Generator) -> Samples:
    """Return a tenth of the amplitudes."""
    return _scaled(samples, 0.1)


def leave_one(samples: Samples, rng: np.random.Generator) -> Samples:
    """Return lead II alone; the others are flat."""
    left = np.where(samples == INVALID_MICROVOLT, samples, np.int16(0))
    left[:, _columns("II")] = samples[:, _columns("II")]
    return left


def add_noise(samples: Samples, rng: np.random.Generator) -> Samples:
    """Return each lead with white noise of the same power as itself (0 dB).

    A lead without a valid sample gets no noise.
    """
    valid = samples != INVALID_MICROVOLT
    power = np.zeros(samples.shape[1])
    filled = valid.any(axis=0)
    power[filled] = np.var(samples[:, filled], axis=0, where=valid[:, filled], dtype=np.float64)
    noise = rng.standard_normal(samples.shape) * np.sqrt(power)
    return _kept(samples + noise, samples)


FAULTS = {
    "arms swapped": Fault("electrodes of right and left arm exchanged", swap_arms),
    "chest reversed": Fault("V1 to V6 in reverse order", reverse_chest),
    "leads shuffled": Fault("leads in a random order, none in its place", shuffle_leads),
    "upside down": Fault("all leads inverted", invert),
    "gain 10": Fault("amplitudes ten times too large", amplify),
    "gain 0.1": Fault("amplitudes ten times too small", weaken),
    "one lead left": Fault("all leads flat but II", leave_one),
    "noise 0 dB": Fault("white noise as strong as each lead", add_noise),
}


def _columns(*leads: str) -> list[int]:
    return [LEADS.index(lead) for lead in leads]


def _scaled(samples: Samples, factor: float) -> Samples:
    return _kept(samples.astype(np.float64) * factor, samples)


def _kept(changed: np.ndarray, samples: Samples) -> Samples:
    """Return changed amplitudes as `to_microvolt` stores them: beyond its range, no sample."""
    rounded = np.rint(changed)
    kept = (samples != INVALID_MICROVOLT) & (np.abs(rounded) <= _MOST)
    return np.where(kept, rounded, INVALID_MICROVOLT).astype(np.int16)
