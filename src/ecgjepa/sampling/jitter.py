"""Small changes of a labelled signal that keep its diagnosis, drawn anew for every example.

Crops lie at any sample of a record already, so nothing is shifted in time here.
"""

import math

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

# Frequency of a wandering baseline, in Hz: breathing.
_SLOWEST, _FASTEST = 0.15, 0.5


def jitter(
    signal: Float[Tensor, "batch leads samples"],
    rng: np.random.Generator,
    *,
    amplitude: float,
    wander: float,
    lead_dropout: float,
    sampling_rate: float,
) -> Float[Tensor, "batch leads samples"]:
    """Return changed signals; what is 0 is not drawn, and without any the signals as they are.

    Args:
        signal: Normalised amplitudes.
        rng: Source of what is drawn.
        amplitude: Greatest change of a record's amplitude, as a share of it; of all leads alike,
            so that the heart's axis stays.
        wander: Greatest height of a slow wave that is added to each lead, in standard deviations.
        lead_dropout: Probability of a record that one of its leads is set to 0.
        sampling_rate: Samples per second.
    """
    batch, leads, samples = signal.shape
    if amplitude:
        signal = signal * _tensor(rng.uniform(1 - amplitude, 1 + amplitude, (batch, 1, 1)), signal)
    if wander:
        height = rng.uniform(-wander, wander, (batch, leads, 1))
        turns = rng.uniform(_SLOWEST, _FASTEST, (batch, 1, 1)) * np.arange(samples) / sampling_rate
        wave = np.sin(2 * math.pi * (turns + rng.random((batch, 1, 1))))
        signal = signal + _tensor(height, signal) * _tensor(wave, signal)
    if lead_dropout:
        lost = rng.integers(leads, size=(batch, 1)) == np.arange(leads)
        lost &= rng.random((batch, 1)) < lead_dropout
        signal = hide_leads(signal, lost)
    return signal


def keep_sets(
    signal: Float[Tensor, "batch leads samples"],
    rng: np.random.Generator,
    sets: Bool[np.ndarray, "sets leads"],
    share: float,
) -> Float[Tensor, "batch leads samples"]:
    """Return signals of which some keep one set of their leads, and are 0 in all others.

    A lead that a prediction hides is 0 too, because the normalisation makes invalid samples 0.

    Args:
        signal: Normalised amplitudes.
        rng: Source of what is drawn; nothing is drawn without a set.
        sets: Which leads each set has.
        share: Probability of a record that it keeps one set alone, each as likely as the others.
    """
    if not len(sets):
        return signal
    chosen = rng.integers(len(sets), size=len(signal))
    hidden = ~sets[chosen] & (rng.random((len(signal), 1)) < share)
    return hide_leads(signal, hidden)


def hide_leads(
    signal: Float[Tensor, "batch leads samples"], hidden: Bool[np.ndarray, "#batch leads"]
) -> Float[Tensor, "batch leads samples"]:
    """Return normalised signals that are 0 in the hidden leads."""
    return signal.masked_fill(torch.from_numpy(hidden).to(signal.device).unsqueeze(2), 0.0)


def _tensor(values: np.ndarray, like: Tensor) -> Tensor:
    return torch.from_numpy(values).to(like.device, like.dtype)
