"""Label efficiency: the labels of a share of the patients, nested within a draw."""

import math

import numpy as np
from jaxtyping import Bool


def part_of_patients(patients: np.ndarray, share: float, draw: int) -> Bool[np.ndarray, " records"]:
    """Return which records belong to a drawn share of the patients, at least one of them.

    A draw puts the patients in an order, and a share takes them from its beginning: what 1 % holds
    is in 5 % as well, and a patient's records stay together.

    Args:
        patients: Patient of each record; unknown ones should be made distinct.
        share: More than 0, up to 1.
        draw: Number of the draw.
    """
    names, number = np.unique(patients.astype(str), return_inverse=True)
    order = np.random.default_rng([draw, len(names)]).permutation(len(names))
    chosen = np.zeros(len(names), np.bool_)
    # Rounded first: 0.07 * 100 is more than 7.
    chosen[order[: math.ceil(round(share * len(names), 9))]] = True
    return chosen[number]
