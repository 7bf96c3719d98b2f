"""The plain definition of the jackknife: a score anew without each patient."""

import numpy as np


def left_out(patients, statistic):
    """Return the statistic without each patient, by name; ``statistic`` takes weights."""
    names = np.unique(np.asarray(patients).astype(str))
    weights = (np.asarray(patients).astype(str)[:, None] != names).astype(np.float32)
    return statistic(weights)
