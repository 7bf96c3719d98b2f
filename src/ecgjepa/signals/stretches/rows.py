"""Samples at which all leads that can be used are valid, stretch by stretch."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float64

from ecgjepa.signals.stretches.samples import Blocks, Samples, stretches_of
from ecgjepa.signals.units import INVALID_MICROVOLT


def usable_leads(samples: Samples, share: float) -> Bool[np.ndarray, " leads"]:
    """Return the leads that are valid in this share of the samples, of those of I and II."""
    counts, num_rows = np.zeros(samples.shape[1], np.int64), 0
    for stretch in stretches_of(samples):
        valid = stretch != INVALID_MICROVOLT
        rows = valid[:, 0] & valid[:, 1]
        counts += valid[rows].sum(axis=0)
        num_rows += int(rows.sum())
    return counts / max(num_rows, 1) >= share


def complete_rows(
    samples: Samples, usable: Bool[np.ndarray, " leads"]
) -> Iterator[Float64[np.ndarray, "rows leads"]]:
    """Yield the samples at which I, II and all usable leads are valid; other leads are 0."""
    for stretch in stretches_of(samples):
        valid = stretch != INVALID_MICROVOLT
        rows = valid[:, 0] & valid[:, 1] & valid[:, usable].all(axis=1)
        yield np.where(usable, stretch[rows], 0).astype(np.float64)


def blocks_of(
    samples: Samples,
    usable: Bool[np.ndarray, " leads"],
    mean: Float64[np.ndarray, " leads"],
    number: int,
    size: int,
) -> Iterator[Float64[np.ndarray, "blocks {size} leads"]]:
    """Yield what `complete_rows` does about its mean, in as many blocks."""
    whole = Blocks(size)
    for values in complete_rows(samples, usable):
        blocks = whole.add(values - mean).reshape(-1, size, len(usable))[:number]
        number -= len(blocks)
        yield blocks
