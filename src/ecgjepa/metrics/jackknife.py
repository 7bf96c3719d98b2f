"""Scores without each patient in turn, for the acceleration of BCa intervals.

Computed anew without every patient, a score would take time that grows with the square of the
patients. Here it takes one sort per label: what a patient's records contribute is subtracted from
the whole. The values are those of the plain definition, to rounding.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int64, Shaped

from ecgjepa.metrics.classification import (
    PerLabel,
    Scores,
    log_loss_of_records,
    squared_error_of_records,
)
from ecgjepa.metrics.regression import moments, scores_of_moments

Positive = Bool[np.ndarray, " records"]
OneLabel = Float[np.ndarray, " records"]
PatientOf = Int64[np.ndarray, " records"]
PerPatient = Float[np.ndarray, " patients"]


class Rest(NamedTuple):
    """Records that remain without each patient, of one label.

    Attributes:
        positives: Number of positive records that remain.
        negatives: Number of negative records that remain.
    """

    positives: PerPatient
    negatives: PerPatient

    @property
    def is_defined(self) -> Bool[np.ndarray, " patients"]:
        """Whether both kinds of records remain."""
        return (self.positives > 0) & (self.negatives > 0)


def left_out_scores(
    metric: str,
    targets: Shaped[np.ndarray, "records labels"],
    outputs: Scores,
    patient_of: PatientOf,
) -> PerLabel:
    """Return a score of every label without each patient in turn.

    Args:
        metric: ``auroc``, ``average_precision``, ``brier`` or ``log_loss``; of a regression ``r2``
            or ``mean_absolute_error``.
        targets: Labels, as truth values; of a regression, true values.
        outputs: Probabilities; of a regression, predicted values.
        patient_of: Number of each record's patient, from 0, none left out: see `PatientBootstrap`.

    Returns:
        One column per patient; NaN where the score of the remaining records is not defined.
    """
    score = _METRICS[metric]
    columns = zip(targets.T, outputs.T.astype(np.float64), strict=True)
    return np.stack([score(target, output, patient_of) for target, output in columns])


def _auroc(positive: Positive, scores: OneLabel, patient_of: PatientOf) -> PerPatient:
    """Return the pairs that are won without a patient, over the pairs that remain.

    A pair of a positive and a negative record is won if the positive's score is higher, and half
    won if both are equal. Without a patient, the pairs of which a record is the patient's are gone;
    those of which both are, are counted with both.
    """
    rest = _rest(positive, patient_of)
    everywhere = _pairs(positive, scores, np.zeros_like(patient_of))
    within = _pairs(positive, scores, patient_of)
    gone = everywhere - np.where(positive, within, 0.0)
    won = everywhere[positive].sum() - np.bincount(patient_of, gone)
    pairs = np.where(rest.is_defined, rest.positives * rest.negatives, np.nan)
    return won / pairs


def _pairs(positive: Positive, scores: OneLabel, group: PatientOf) -> Float[np.ndarray, " records"]:
    """Return how many pairs are won of which each record is one, with records of its own group."""
    order = np.lexsort((scores, group))
    group, scores, positive = group[order], scores[order], positive[order]
    new_group = np.r_[True, group[1:] != group[:-1]]
    new_tie = new_group | np.r_[True, scores[1:] != scores[:-1]]
    first = np.flatnonzero(new_tie)
    last = np.r_[first[1:], len(scores)]
    tie = np.cumsum(new_tie) - 1
    begin = np.flatnonzero(new_group)
    end = np.r_[begin[1:], len(scores)]
    place = np.cumsum(new_group)[first] - 1  # group of each tie
    hits, misses = (np.r_[0.0, np.cumsum(kind)] for kind in (positive, ~positive))
    below = (misses[first] + misses[last]) / 2 - misses[begin[place]]
    above = hits[end[place]] - (hits[first] + hits[last]) / 2
    found = np.empty(len(scores))
    found[order] = np.where(positive, below[tie], above[tie])
    return found


def _average_precision(positive: Positive, scores: OneLabel, patient_of: PatientOf) -> PerPatient:
    """Return the mean precision at the positive records, without each patient.

    With ties (records of equal score) in order, best first, the precision at one is the share of
    positives among the records down to it. Between two records of a patient, both counts are less
    by the same numbers for all ties; so a stretch of ties is a difference of two running sums, one
    running sum for each pair of numbers that occurs.
    """
    rest = _rest(positive, patient_of)
    ranks = np.unique(-scores, return_inverse=True)[1]
    in_tie = np.bincount(ranks, positive)
    hits, called = np.cumsum(in_tie), np.cumsum(np.bincount(ranks)).astype(np.float64)

    # One row per patient and tie in which the patient has records.
    order = np.lexsort((ranks, patient_of))
    new = np.r_[True, (np.diff(patient_of[order]) != 0) | (np.diff(ranks[order]) != 0)]
    first = np.flatnonzero(new)
    patient, tie = patient_of[order][first], ranks[order][first]
    own_hits = np.add.reduceat(positive[order].astype(np.float64), first)
    is_first = np.r_[True, np.diff(patient) != 0]
    gone_hits = _running_within(own_hits, is_first)
    gone = _running_within(np.diff(np.r_[first, len(order)]).astype(np.float64), is_first)
    stop = np.where(np.r_[is_first[1:], True], len(hits), np.r_[tie[1:], len(hits)])

    total = np.zeros(len(rest.positives))
    everyone = np.r_[0.0, np.cumsum(in_tie * hits / called)]
    total[patient[is_first]] = everyone[tie[is_first]]
    kinds, kind_of = np.unique(np.stack((gone, gone_hits)), axis=1, return_inverse=True)
    for number, (less, less_hits) in enumerate(kinds.T):
        rows = np.flatnonzero(kind_of.ravel() == number)
        start = tie[rows].min()
        left = called[start:] - less
        precision = np.where(left > 0, (hits[start:] - less_hits) / np.where(left > 0, left, 1), 0)
        running = np.r_[0.0, np.cumsum(in_tie[start:] * precision)]
        stretch = running[stop[rows] - start] - running[tie[rows] - start]
        own = own_hits[rows] * precision[tie[rows] - start]
        total += np.bincount(patient[rows], stretch - own, len(total))
    return total / np.where(rest.is_defined, rest.positives, np.nan)


def _running_within(
    values: Float[np.ndarray, " rows"], is_first: Bool[np.ndarray, " rows"]
) -> Float[np.ndarray, " rows"]:
    """Return running sums that begin anew at every first row."""
    sums = np.cumsum(values)
    begin = np.flatnonzero(is_first)
    before = sums[begin] - values[begin]
    return sums - before[np.cumsum(is_first) - 1]


def _brier(positive: Positive, probabilities: OneLabel, patient_of: PatientOf) -> PerPatient:
    return _mean_loss(squared_error_of_records(positive, probabilities), positive, patient_of)


def _log_loss(positive: Positive, probabilities: OneLabel, patient_of: PatientOf) -> PerPatient:
    return _mean_loss(log_loss_of_records(positive, probabilities), positive, patient_of)


def _mean_loss(losses: OneLabel, positive: Positive, patient_of: PatientOf) -> PerPatient:
    rest = _rest(positive, patient_of)
    remaining = np.where(rest.is_defined, rest.positives + rest.negatives, np.nan)
    return _without(losses, patient_of) / remaining


def _r2(targets: OneLabel, values: OneLabel, patient_of: PatientOf) -> PerPatient:
    return _regression(targets, values, patient_of)["r2"]


def _mean_absolute_error(targets: OneLabel, values: OneLabel, patient_of: PatientOf) -> PerPatient:
    return _regression(targets, values, patient_of)["mae"]


def _regression(
    targets: OneLabel, values: OneLabel, patient_of: PatientOf
) -> dict[str, PerPatient]:
    remaining = _without(np.ones(len(targets)), patient_of)
    sums = np.stack([_without(column, patient_of) for column in moments(targets, values)])
    return scores_of_moments(sums / np.where(remaining > 0, remaining, np.nan))


def _rest(positive: Positive, patient_of: PatientOf) -> Rest:
    return Rest(_without(positive, patient_of), _without(~positive, patient_of))


def _without(values: Shaped[np.ndarray, " records"], patient_of: PatientOf) -> PerPatient:
    """Return the sum over all records but each patient's."""
    return values.sum(dtype=np.float64) - np.bincount(patient_of, values)


_METRICS: dict[str, Callable[[Any, OneLabel, PatientOf], PerPatient]] = {
    "auroc": _auroc,
    "average_precision": _average_precision,
    "brier": _brier,
    "log_loss": _log_loss,
    "r2": _r2,
    "mean_absolute_error": _mean_absolute_error,
}
