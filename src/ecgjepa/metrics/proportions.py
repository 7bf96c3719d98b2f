"""Intervals for shares of records: honest where there are few, and where patients have several.

A bootstrap of three records that are all hits gives an interval from 1 to 1. The exact interval of
Clopper and Pearson (1934) does not, but takes records for independent. So it is computed for the
number of independent records that would be as uncertain as these are: Korn and Graubard,
Confidence intervals for proportions with small expected number of positive counts estimated from
survey data, Survey Methodology 24 (1998) 193.
"""

import numpy as np
from jaxtyping import Float, Int, Shaped
from scipy.stats import beta, t

from ecgjepa.metrics.bootstrap import CONFIDENCE, Interval

_TAIL = (1 - CONFIDENCE) / 2


def shares(
    hits: Shaped[np.ndarray, "records columns"],
    counted: Shaped[np.ndarray, "records columns"],
    patient_of: Int[np.ndarray, " records"],
) -> list[Interval | None]:
    """Return, of each column, the hits per what is counted, with the 95 % interval over patients.

    Args:
        hits: How many hits a record has, at most what is counted of it.
        counted: How many it could have, such as 1 for a record that has the label.
        patient_of: Number of each record's patient.

    Returns:
        One interval for each column; None where nothing is counted.
    """
    hits, total = _per_patient(hits, patient_of), _per_patient(counted, patient_of)
    number, patients = total.sum(axis=0), (total > 0).sum(axis=0)
    value = hits.sum(axis=0) / np.where(number > 0, number, np.nan)
    size = _independent_records(hits, total, value)
    with np.errstate(invalid="ignore"):
        low = np.where(value > 0, beta.ppf(_TAIL, value * size, size - value * size + 1), 0.0)
        high = np.where(value < 1, beta.ppf(1 - _TAIL, value * size + 1, size - value * size), 1.0)
    return [
        Interval(*map(float, one)) if one_number and one_patients else None
        for *one, one_number, one_patients in zip(value, low, high, number, patients, strict=True)
    ]


def _independent_records(
    hits: Float[np.ndarray, "patients columns"],
    total: Float[np.ndarray, "patients columns"],
    value: Float[np.ndarray, " columns"],
) -> Float[np.ndarray, " columns"]:
    """Return how many independent records would be as uncertain; never more than there are.

    Where all or none are hits, the spread over patients is not known: each counts once. The last
    factor minds that the spread of few patients is itself uncertain.
    """
    number, patients = total.sum(axis=0), (total > 0).sum(axis=0)
    several = (patients > 1) & (value > 0) & (value < 1)
    squares = ((hits - value * total) ** 2).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = squares * patients / (patients - 1) / number**2
        effect = np.maximum(spread / (value * (1 - value) / (number - 1)), 1.0)
        quantiles = t.ppf(1 - _TAIL, number - 1) / t.ppf(1 - _TAIL, patients - 1)
        size = number / effect * quantiles**2
    return np.maximum(np.where(several, size, np.minimum(patients, number)), 1.0)


def _per_patient(
    values: Shaped[np.ndarray, "records columns"], patient_of: Int[np.ndarray, " records"]
) -> Float[np.ndarray, "patients columns"]:
    order = np.argsort(patient_of, kind="stable")
    first = np.flatnonzero(np.r_[True, np.diff(patient_of[order]) != 0])
    return np.add.reduceat(values[order].astype(np.float64), first, axis=0)
