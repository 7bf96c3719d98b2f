"""Scores of probabilities against labels, vectorised over weighted copies of the records.

Weights say how often each record counts: one column of ones is the point estimate, a column of a
bootstrap's draws a resample, a column with one patient's records at 0 a jackknife's. So a point and
its interval come from the same lines.

One rule for labels that lack positives or negatives, the same for the point and for every resample
and for every score: they are left out of the mean, and how many were left out is said. Filling
them with 0.5, as others do, moves an interval by up to 0.02 on PTB-XL's test fold.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int64

from ecgjepa.errors import ScoreError

# Labels with fewer positives get marked: their own AUROC is mostly chance.
FEW_POSITIVES = 10
# Equal widths, as in Guo et al. 2017 (https://arxiv.org/abs/1706.04599, section 2).
NUM_BINS = 15

Targets = Bool[np.ndarray, "records labels"]
Scores = Float[np.ndarray, "records labels"]
Weights = Float[np.ndarray, "records resamples"]
PerLabel = Float[np.ndarray, "labels resamples"]


class RankingScores(NamedTuple):
    """What depends on the order of the scores alone; NaN where a label is undefined."""

    auroc: PerLabel
    average_precision: PerLabel


class ThresholdScores(NamedTuple):
    """What depends on which records are above a threshold; NaN where a label is undefined."""

    f1: PerLabel
    sensitivity: PerLabel
    specificity: PerLabel


class Reliability(NamedTuple):
    """Records by predicted probability: what a reliability curve shows."""

    num_records: Int64[np.ndarray, " bins"]
    mean_probability: Float[np.ndarray, " bins"]
    share_positive: Float[np.ndarray, " bins"]


def check_scores(scores: np.ndarray, targets: np.ndarray, labels: tuple[str, ...]) -> None:
    """Refuse scores that are not numbers or do not fit their targets and labels.

    Raises:
        ScoreError: Saying how many records, and the first label, are at fault.
    """
    if scores.shape != targets.shape or scores.shape[1:] != (len(labels),):
        raise ScoreError(
            f"scores {scores.shape}, targets {targets.shape} and {len(labels)} labels do not fit "
            "together; expected one row per record and one column per label"
        )
    if not len(scores):
        raise ScoreError("there are no records to score")
    wrong = ~np.isfinite(scores)
    if wrong.any():
        raise ScoreError(
            f"the scores of {int(wrong.any(axis=1).sum())} of {len(scores)} records are not "
            f"finite, first in label {labels[int(wrong.any(axis=0).argmax())]!r}; look for NaN "
            "features or a diverged training"
        )


def ones(num_records: int) -> Weights:
    """Return the weights of the point estimate: one column, every record once."""
    return np.ones((num_records, 1), np.float32)


def ranking_scores(targets: Targets, scores: Scores, weights: Weights) -> RankingScores:
    """Return AUROC and average precision of every label in every resample."""
    shape = (targets.shape[1], weights.shape[1])
    auroc, precision = np.empty(shape), np.empty(shape)
    weights = weights.astype(np.float32, copy=False)  # sums of counts below 2^24 stay exact
    for column in range(targets.shape[1]):
        auroc[column], precision[column] = _rank(targets[:, column], scores[:, column], weights)
    return RankingScores(auroc, precision)


def macro_auroc(targets: Targets, scores: Scores) -> float:
    """Return the mean AUROC over the labels where it is defined; NaN if it is nowhere."""
    return float(macro(ranking_scores(targets, scores, ones(len(targets))).auroc)[0])


def macro(per_label: PerLabel) -> Float[np.ndarray, " resamples"]:
    """Return the mean over the labels defined in each resample; NaN where none is."""
    defined = np.isfinite(per_label)
    count = defined.sum(axis=0)
    total = np.where(defined, per_label, 0.0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def threshold_scores(
    targets: Targets,
    scores: Scores,
    thresholds: Float[np.ndarray, " labels"],
    weights: Weights,
) -> ThresholdScores:
    """Return what follows from calling a record positive at or above its label's threshold.

    A label whose threshold is NaN, because validation gave none, is undefined.
    """
    called = scores >= thresholds
    hit = _total(targets & called, weights)
    positive, negative = _total(targets, weights), _total(~targets, weights)
    false_alarm = _total(~targets & called, weights)
    defined = (positive > 0) & (negative > 0) & np.isfinite(thresholds)[:, None]

    def share(part: PerLabel, whole: PerLabel) -> PerLabel:
        return np.where(defined, part / np.where(defined, whole, 1.0), np.nan)

    return ThresholdScores(
        share(2 * hit, hit + false_alarm + positive),
        share(hit, positive),
        share(negative - false_alarm, negative),
    )


def brier_scores(targets: Targets, probabilities: Scores, weights: Weights) -> PerLabel:
    """Return the mean squared difference of probability and truth."""
    return _mean(squared_error_of_records(targets, probabilities), targets, weights)


def log_losses(targets: Targets, probabilities: Scores, weights: Weights) -> PerLabel:
    """Return the mean negative log-likelihood, in nats, of each label by itself."""
    return _mean(log_loss_of_records(targets, probabilities), targets, weights)


def squared_error_of_records(
    targets: Bool[np.ndarray, "*shape"], probabilities: Float[np.ndarray, "*shape"]
) -> Float[np.ndarray, "*shape"]:
    """Return the squared difference of probability and truth of each record."""
    return (probabilities - targets) ** 2


def log_loss_of_records(
    targets: Bool[np.ndarray, "*shape"], probabilities: Float[np.ndarray, "*shape"]
) -> Float[np.ndarray, "*shape"]:
    """Return the negative log-likelihood, in nats, of each record; finite for 0 and 1."""
    eps = np.finfo(np.float64).eps
    right = np.clip(np.where(targets, probabilities, 1 - probabilities), eps, 1 - eps)
    return -np.log(right)


def calibration_errors(targets: Targets, probabilities: Scores) -> Float[np.ndarray, " labels"]:
    """Return the expected calibration error of every label, over equal-width bins.

    It comes without an interval: resampling adds noise to every bin, which only ever increases
    the error, so the resamples' values would lie above the point.
    """
    errors = np.full(targets.shape[1], np.nan)
    for column, positive in enumerate(targets.T):
        if 0 < positive.sum() < len(positive):
            errors[column] = calibration_error(positive, probabilities[:, column])
    return errors


def calibration_error(
    correct: Bool[np.ndarray, " records"], probability: Float[np.ndarray, " records"]
) -> float:
    """Return the mean gap of probability and share of correct records, weighted by bin."""
    bins = reliability(correct, probability)
    gap = np.abs(np.nan_to_num(bins.share_positive - bins.mean_probability))
    return float((bins.num_records * gap).sum() / bins.num_records.sum())


def reliability(
    positive: Bool[np.ndarray, " records"],
    probability: Float[np.ndarray, " records"],
) -> Reliability:
    """Return how often records of about the same probability are positive; NaN in empty bins."""
    place = np.minimum((probability * NUM_BINS).astype(np.int64), NUM_BINS - 1)
    count = np.bincount(place, minlength=NUM_BINS)
    filled = np.where(count > 0, count, 1)
    empty = np.where(count > 0, 0.0, np.nan)
    return Reliability(
        count,
        np.bincount(place, probability, NUM_BINS) / filled + empty,
        np.bincount(place, positive, NUM_BINS) / filled + empty,
    )


def single_label_scores(
    targets: Targets, probabilities: Scores, weights: Weights
) -> dict[str, Float[np.ndarray, " resamples"]]:
    """Return the scores of a task with exactly one label per record.

    Accuracy; log-loss and Brier score of the whole distribution (the latter between 0 and 2).
    """
    right = probabilities.argmax(axis=1) == targets.argmax(axis=1)
    likelihood = np.clip((probabilities * targets).sum(axis=1), np.finfo(np.float64).eps, 1.0)
    squares = ((probabilities - targets) ** 2).sum(axis=1)
    total = weights.sum(axis=0, dtype=np.float64)
    values = np.stack([right.astype(np.float64), -np.log(likelihood), squares])
    means = values @ weights / np.where(total > 0, total, np.nan)
    return dict(zip(("accuracy", "log_loss", "brier"), means, strict=True))


def _total(flags: Targets, weights: Weights) -> PerLabel:
    """Return the weight of the records that have a flag; exact, for it is a sum of counts."""
    return (flags.T.astype(weights.dtype) @ weights).astype(np.float64)


def _mean(losses: Scores, targets: Targets, weights: Weights) -> PerLabel:
    positive, negative = _total(targets, weights), _total(~targets, weights)
    defined = (positive > 0) & (negative > 0)
    total = positive + negative
    return np.where(defined, losses.T @ weights / np.where(defined, total, 1.0), np.nan)


def _rank(
    positive: Bool[np.ndarray, " records"],
    scores: Float[np.ndarray, " records"],
    weights: Float[np.ndarray, "records resamples"],
) -> tuple[Float[np.ndarray, " resamples"], Float[np.ndarray, " resamples"]]:
    """Return one label's AUROC and average precision in every resample.

    Both are sums over the groups of equal scores that hold a positive record. AUROC adds up the
    positives of the group times the negatives below it, with half of the negatives within it;
    average precision adds up the positives of the group times the precision at it. With the records
    sorted, best first, only running totals at the edges of those groups are needed.

    Three numberings occur: places of the sorted records, groups of equal scores (``first`` and
    ``last`` are the place where a group begins and the place after it), and edges, the places at
    which running totals are kept (``starts``; the totals have one more entry, of all records).

    Example, with three records and one column of weights (1, 1, 2):

        score     0.9   0.9   0.4      groups: [0.9, 0.9] and [0.4]; first = 0, 2; last = 2, 3
        positive  yes   no    no       held = yes, no: only the first group has a positive
        weight    1     1     2        starts = 0, 2; everyone = 0, 2, 4; hits = 0, 1, 1

    The group begins at edge 0 and ends at edge 1: it has 1 - 0 positives, and the negatives above
    and within it are 0 before and 1 after, so 0.5 of the 1 * 3 pairs are lost: AUROC is 2.5 / 3.
    The precision at its end is 1 / 2, so average precision is 1 * 0.5 / 1 = 0.5.
    """
    order = np.argsort(-scores, kind="stable")
    new_group = np.r_[True, np.diff(scores[order]) != 0]
    first = np.flatnonzero(new_group)
    last = np.r_[first[1:], len(scores)]
    held = np.add.reduceat(positive[order].astype(np.int64), first) > 0
    if not held.any():
        undefined = np.full(weights.shape[1], np.nan)
        return undefined, undefined
    edges = np.unique(np.concatenate((first[held], last[held])))
    starts = np.unique(np.r_[0, edges[edges < len(scores)]])
    everyone = _running_totals(weights[order], starts)
    hits = _running_totals(weights[order] * positive[order, None], starts)
    before = np.searchsorted(starts, first[held])
    after = np.searchsorted(np.r_[starts, len(scores)], last[held])

    in_group = hits[after] - hits[before]
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.nan_to_num(hits[after] / everyone[after])
        above = ((everyone - hits)[before] + (everyone - hits)[after]) / 2
        num_positive, num_negative = hits[-1], everyone[-1] - hits[-1]
        defined = (num_positive > 0) & (num_negative > 0)
        won = num_positive * num_negative - (in_group * above).sum(axis=0)
        auroc = np.where(defined, won / (num_positive * num_negative), np.nan)
        average = np.where(defined, (in_group * precision).sum(axis=0) / num_positive, np.nan)
    return auroc, average


def _running_totals(
    weights: Float[np.ndarray, "records resamples"], starts: Int64[np.ndarray, " edges"]
) -> Float[np.ndarray, "edges_and_end resamples"]:
    """Return the weight before each edge, and of all at the end."""
    sums = np.add.reduceat(weights, starts, axis=0)
    totals = np.zeros((len(starts) + 1, weights.shape[1]))
    np.cumsum(sums, axis=0, out=totals[1:])
    return totals
