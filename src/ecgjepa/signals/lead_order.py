"""Do the leads bear the right names? What the limb leads' law proves, and two weak hints.

III, aVR, aVL and aVF follow from I and II (see `leads`), whoever's heart it is. A difference counts
relative to the signal: on clean recordings, where most of the trace lies near zero, a wrong name
changes few microvolts of a typical sample but most of the beats. A swap of the arms' electrodes
obeys the law, and so do the chest leads in any order; of these only hints can be given.

All thresholds are measured by benchmarks/lead_checks.py.
"""

from itertools import combinations
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64

from ecgjepa.signals.leads import LEADS, LIMB_LEAD_WEIGHTS
from ecgjepa.signals.measures import Measures, Stacked
from ecgjepa.signals.record import Issue
from ecgjepa.signals.stretches.rows import blocks_of, complete_rows, usable_leads
from ecgjepa.signals.stretches.samples import Samples

# Root mean square of the contradiction over that of what I and II imply: beyond the first, names
# are wrong, or leads scaled apart. Beyond the second they are too, if something explains it.
WRONG, DOUBTFUL = 0.5, 0.1
# An exchange explains a contradiction if it leaves less than this share of it, and if every other
# exchange leaves this many times more.
_LEFT_BY_EXCHANGE, _BETTER_THAN_OTHERS = 0.25, 3.0
# A lead is another combination of I and II if they explain this share of its variance.
_EXPLAINED_BY_SCALE, _DOUBTFUL_SCALE = 0.98, 0.2
# In µV: below it, roundings are a good part of a lead.
_LEAST_EXPECTED = 20.0
# Share of the seconds in which a lead contradicts most, and which do not count: artefacts of it.
_ARTEFACT_SHARE = 0.2
# A lead counts with this share of valid samples, where I and II have any.
_LEAST_VALID_SHARE, _LEAST_SAMPLES = 0.8, 50
# Correlation of I and V6, and by what factor an exchange smooths the way from V1 to V6.
OPPOSED, ROUGHER = -0.7, 2.5

# In µV²: what varies less is rounding, not a signal.
_LEAST_POWER = 1.0
# Records so near to a threshold are looked at, too, whatever order numbers were added up in.
_SURELY = 0.999

_LIMB = range(6)
_CHEST = list(range(6, 12))
_DERIVED = [LEADS.index(lead) for lead in LIMB_LEAD_WEIGHTS]


class _Remedy(NamedTuple):
    """A change of names or signs that might restore the law: the leads concerned, and a matrix."""

    leads: tuple[int, ...]
    matrix: Float64[np.ndarray, "12 12"]

    def describe(self) -> str:
        names = [LEADS[lead] for lead in self.leads]
        if len(names) == 1:
            return f"{names[0]} is turned upside down: is its sign right?"
        return f"{names[0]} and {names[1]} change places: are these two named rightly?"


def limb_lead_issues(samples: Samples, measures: Measures) -> list[Issue]:
    """Return issues for limb leads that differ from what I and II imply, with what explains it.

    Args:
        samples: In µV, -32768 where invalid, columns in the order of `LEADS`.
        measures: Of these samples.
    """
    has_gaps = measures.valid_count.min() < len(samples)
    if not has_gaps:
        covariance = covariance_of(measures)
        if not (contradictions(covariance) > DOUBTFUL)[_moving(covariance)[_DERIVED]].any():
            return []
    found = _typical_covariance(samples, measures)
    if found is None:
        return []
    covariance, usable = found
    if not usable[:2].all():  # nothing is implied
        return []
    share = np.where(usable[_DERIVED], contradictions(covariance), 0.0)
    remedy = _find_remedy(covariance, usable, float(share.max()))
    issues = []
    for row, lead in enumerate(_DERIVED):
        scale = _other_weights(covariance, row) if share[row] > _DOUBTFUL_SCALE else None
        if share[row] <= (DOUBTFUL if remedy or scale else WRONG):
            continue
        words = f"differs from what I and II imply by {share[row]:.0%} of it"
        if remedy is not None:
            words += f"; the limb leads agree if {remedy.describe()}"
        elif scale is not None:
            words += f", but follows from them as {scale}?"
        else:
            words += "; are the leads named rightly?"
        issues.append(Issue("limb_lead_residual", words, LEADS[lead]))
    return issues


def electrode_hints(measures: Measures, num_samples: int) -> list[Issue]:
    """Return weak hints at electrodes in wrong places, which the limb leads' law cannot show.

    Args:
        measures: Of a record with all of `LEADS`, in this order.
        num_samples: Of the record; one with gaps gives no hint.
    """
    if measures.valid_count.min() < num_samples:
        return []
    covariance = covariance_of(measures)
    if not _moving(covariance).all():
        return []
    issues = []
    spread = np.sqrt(covariance.diagonal())
    opposed = covariance[0, 11] / (spread[0] * spread[11])
    if opposed < OPPOSED:
        words = (
            f"runs against V6 (correlation {opposed:.2f}); were the electrodes of the arms "
            "exchanged, or the chest leads reversed? A weak hint: the heart may lie so"
        )
        issues.append(Issue("electrode_hint", words, "I"))
    rougher, first, second = _chest_order(covariance)
    if rougher > ROUGHER:
        words = (
            f"V1 to V6 would change {rougher:.1f} times more smoothly with {first} and {second} "
            "exchanged; are these electrodes in their places? A weak hint"
        )
        issues.append(Issue("electrode_hint", words))
    return issues


def is_suspicious(measures: Stacked, num_samples: int) -> Bool[np.ndarray, " records"]:
    """Return of which records the functions above may say something: of few.

    Args:
        measures: Of records with all of `LEADS`, in this order.
        num_samples: Of each record.
    """
    has_gaps = measures.valid_count.min(axis=1) < num_samples
    covariance = covariance_of(measures)
    power = covariance.diagonal(axis1=1, axis2=2)
    moving = power > _LEAST_POWER
    wrong = ((contradictions(covariance) > _SURELY * DOUBTFUL) & moving[:, _DERIVED]).any(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        opposed = covariance[:, 0, 11] / np.sqrt(power[:, 0] * power[:, 11])
    distance = (power[:, :, None] + power[:, None] - 2.0 * covariance).clip(min=0.0)
    lengths = distance[:, _ORDERS[:, :-1], _ORDERS[:, 1:]].sum(axis=2)
    rough = lengths[:, 0] > _SURELY * ROUGHER * np.maximum(lengths[:, 1:].min(axis=1), 1e-9)
    hinted = moving.all(axis=1) & ((opposed < _SURELY * OPPOSED) | rough)
    return has_gaps | wrong | hinted


def covariance_of(measures: Measures | Stacked) -> Float64[np.ndarray, "*records leads leads"]:
    """Return the covariance of the leads in µV², an invalid sample counting as 0."""
    count = np.maximum(measures.valid_count.max(axis=-1), 1)[..., None]
    mean = measures.total / count
    return measures.gram / count[..., None] - mean[..., :, None] * mean[..., None, :]


def contradictions(
    covariance: Float64[np.ndarray, "*records 12 12"],
) -> Float64[np.ndarray, "*records 4"]:
    """Return, for each derived limb lead, the difference from what I and II imply, relative to it.

    Both are root mean squares about the mean. What is implied counts as 20 µV at least.
    """
    return _relative(_quadratic(_DIFFERENCE, covariance), _quadratic(_IMPLIED, covariance))


def _find_remedy(
    covariance: Float64[np.ndarray, "12 12"], usable: Bool[np.ndarray, " 12"], share: float
) -> _Remedy | None:
    """Return the one change of names or signs that restores the law clearly, if there is one."""
    if share <= DOUBTFUL:
        return None
    allowed = np.array([bool(usable[list(one.leads)].all()) for one in _REMEDIES])
    difference = _quadratic(_DIFFERENCE_IF, covariance).reshape(-1, len(_DERIVED))
    implied = _quadratic(_IMPLIED_IF, covariance).reshape(-1, len(_DERIVED))
    counts = usable[_DERIVED]
    left = np.where(allowed, _relative(difference, implied)[:, counts].max(axis=1), np.inf)
    best, second = np.argsort(left)[:2].tolist()
    is_clear = left[second] > _BETTER_THAN_OTHERS * max(float(left[best]), 0.02)
    return _REMEDIES[best] if left[best] < _LEFT_BY_EXCHANGE * share and is_clear else None


def _other_weights(covariance: Float64[np.ndarray, "12 12"], row: int) -> str | None:
    """Return how a lead follows from I and II with other weights, and what that suggests."""
    lead, expected = _DERIVED[row], _IMPLIED[row, :2]
    two, cross = covariance[:2, :2], covariance[:2, lead]
    if np.linalg.cond(two) > 1e6:
        return None
    weights = np.linalg.solve(two, cross)
    explained = float(weights @ cross) / max(float(covariance[lead, lead]), 1e-9)
    if explained < _EXPLAINED_BY_SCALE:
        return None
    told, due = (f"{a:.2f} I {b:+.2f} II" for a, b in (weights, expected))
    is_scaled = bool((weights * expected > 0).all())
    suggestion = "are the leads scaled apart" if is_scaled else "are the leads named rightly"
    return f"{told} (expected {due}): {suggestion}"


def _typical_covariance(
    samples: Samples, measures: Measures
) -> tuple[Float64[np.ndarray, "12 12"], Bool[np.ndarray, " 12"]] | None:
    """Return the covariance without gaps and without artefacts, and the leads that it is of."""
    usable = usable_leads(samples, _LEAST_VALID_SHARE)
    total, count = np.zeros(len(LEADS)), 0
    for values in complete_rows(samples, usable):
        total, count = total + values.sum(axis=0), count + len(values)
    if count < _LEAST_SAMPLES:
        return None
    mean, seconds = total / count, len(measures.ranges)
    squares, implied = [], 0.0
    for blocks in blocks_of(samples, usable, mean, seconds, count // seconds):
        squares.append(((blocks @ _DIFFERENCE.T) ** 2).sum(axis=1))
        implied = implied + ((blocks @ _IMPLIED.T) ** 2).sum(axis=(0, 1))
    share = np.concatenate(squares) / np.maximum(implied, 1.0)
    worst = share[:, usable[_DERIVED]].max(axis=1, initial=0.0)
    is_kept = np.zeros(seconds, np.bool_)
    order = np.argsort(worst, kind="stable")
    is_kept[order[: seconds - int(_ARTEFACT_SHARE * seconds)]] = True
    total, products, first = np.zeros(len(LEADS)), np.zeros((len(LEADS), len(LEADS))), 0
    for blocks in blocks_of(samples, usable, mean, seconds, count // seconds):
        chosen = blocks[is_kept[first : first + len(blocks)]].reshape(-1, len(LEADS))
        total, products = total + chosen.sum(axis=0), products + chosen.T @ chosen
        first += len(blocks)
    number = int(is_kept.sum()) * (count // seconds)
    covariance = products / number - np.outer(total, total) / number**2
    return covariance, usable & _moving(covariance)


def _chest_order(covariance: Float64[np.ndarray, "12 12"]) -> tuple[float, str, str]:
    """Return how much smoother V1 to V6 change with two of them exchanged, and which two."""
    power = covariance.diagonal()
    distance = (power[:, None] + power - 2.0 * covariance).clip(min=0.0)
    lengths = distance[_ORDERS[:, :-1], _ORDERS[:, 1:]].sum(axis=1)
    best = 1 + int(lengths[1:].argmin())
    first, second = (LEADS[lead] for lead in np.flatnonzero(_ORDERS[best] != _CHEST) + 6)
    return float(lengths[0] / max(float(lengths[best]), 1e-9)), first, second


def _moving(covariance: Float64[np.ndarray, "leads leads"]) -> Bool[np.ndarray, " leads"]:
    return covariance.diagonal() > _LEAST_POWER


def _quadratic(
    weights: Float64[np.ndarray, "rows leads"],
    covariance: Float64[np.ndarray, "*records leads leads"],
) -> Float64[np.ndarray, "*records rows"]:
    """Return the standard deviation of each weighted sum of leads."""
    return np.sqrt(((weights @ covariance) * weights).sum(axis=-1).clip(min=0.0))


def _relative(
    difference: Float64[np.ndarray, "*rows"], implied: Float64[np.ndarray, "*rows"]
) -> Float64[np.ndarray, "*rows"]:
    return difference / np.maximum(implied, _LEAST_EXPECTED)


def _implied() -> Float64[np.ndarray, "4 12"]:
    weights = np.zeros((len(_DERIVED), len(LEADS)))
    weights[:, :2] = list(LIMB_LEAD_WEIGHTS.values())
    return weights


def _remedies() -> list[_Remedy]:
    """Return every exchange of a limb lead with another lead, and every limb lead's inversion."""
    found = []
    for pair in combinations(range(len(LEADS)), 2):
        if pair[0] in _LIMB:
            matrix = np.eye(len(LEADS))
            matrix[list(pair)] = matrix[list(pair[::-1])]
            found.append(_Remedy(pair, matrix))
    for lead in _LIMB:
        matrix = np.eye(len(LEADS))
        matrix[lead, lead] = -1.0
        found.append(_Remedy((lead,), matrix))
    return found


def _orders() -> np.ndarray:
    """Return the chest leads in their order, and in each that one exchange makes of it."""
    orders = [list(_CHEST)]
    for first, second in combinations(range(len(_CHEST)), 2):
        order = list(_CHEST)
        order[first], order[second] = order[second], order[first]
        orders.append(order)
    return np.array(orders)


_IMPLIED = _implied()
_DIFFERENCE = _IMPLIED - np.eye(len(LEADS))[_DERIVED]
_REMEDIES = _remedies()
# The same two combinations of the leads as they would be after each remedy.
_IMPLIED_IF = np.concatenate([_IMPLIED @ remedy.matrix for remedy in _REMEDIES])
_DIFFERENCE_IF = np.concatenate([_DIFFERENCE @ remedy.matrix for remedy in _REMEDIES])
_ORDERS = _orders()
