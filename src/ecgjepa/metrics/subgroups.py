"""Scores by age, sex, site, device and signal quality, each with its interval and counts.

Two groups' means may be over different labels, since a group may lack some; so how many were scored
is said beside each. Overlapping intervals prove no equality, and separate ones no cause: sites and
devices differ in their patients.
"""

from typing import Any

import numpy as np
import pandas as pd

from ecgjepa.metrics.bootstrap import PatientBootstrap
from ecgjepa.metrics.classification import Scores, Targets, macro, ones, ranking_scores
from ecgjepa.signals.quality import LOW_SCORE

# Groups of fewer patients are named, with their counts, but not scored.
MIN_PATIENTS = 50


def too_few_to_tell(num_patients: int) -> str | None:
    """Return the caution that a score of so few test patients needs, or None if it needs none."""
    if num_patients >= MIN_PATIENTS:
        return None
    return (
        f"{num_patients} test patient{'' if num_patients == 1 else 's'}: too few to tell which "
        "encoder is better, or how good one is. See how wide the intervals are, and test on "
        f"{MIN_PATIENTS} patients or more"
    )


UNKNOWN = "unknown"

# Years at which a new band begins. PTB-XL's 300 for everyone above 89 falls into the last one.
_AGES = (0, 18, 40, 60, 80)
_AGE_BANDS = ("0-17", "18-39", "40-59", "60-79", "80+")


def subgroups(metadata: pd.DataFrame) -> pd.DataFrame:
    """Return the group of each record, one column per attribute that the metadata know.

    Args:
        metadata: Any of the columns ``age`` (years), ``sex``, ``site``, ``device`` and ``quality``
            (the store's score from 0 to 1). What is missing becomes ``unknown``.
    """
    groups: dict[str, pd.Series] = {}
    if "age" in metadata:
        ages = pd.cut(metadata["age"], [*_AGES, np.inf], right=False, labels=list(_AGE_BANDS))
        groups["age"] = _named(ages)
    for attribute in ("sex", "site", "device"):
        if attribute in metadata:
            groups[attribute] = _named(metadata[attribute])
    if "quality" in metadata:
        low = metadata["quality"] < LOW_SCORE
        bands = pd.Series(np.where(low, f"below {LOW_SCORE:g}", f"{LOW_SCORE:g} and above"))
        bands.index = metadata.index
        groups["quality"] = _named(bands.where(metadata["quality"].notna()))
    return pd.DataFrame(groups, index=metadata.index)


def score_subgroups(
    targets: Targets,
    scores: Scores,
    patients: np.ndarray,
    groups: pd.DataFrame,
) -> dict[str, list[dict[str, Any]]]:
    """Return, per attribute, each group's counts and macro AUROC with its interval.

    Args:
        targets: Labels of the test records.
        scores: What the model says of them.
        patients: Patient of each; a group's own patients are resampled.
        groups: From `subgroups`, one row per test record.
    """
    return {
        str(attribute): [
            {"group": group} | _score(targets, scores, patients, chosen)
            for group, chosen in _members(groups[attribute])
        ]
        for attribute in groups
    }


def _members(column: pd.Series) -> list[tuple[str, np.ndarray]]:
    values = column.to_numpy(dtype=str)
    return [(str(group), values == group) for group in sorted(set(values))]


def _score(
    targets: Targets, scores: Scores, patients: np.ndarray, chosen: np.ndarray
) -> dict[str, Any]:
    targets, scores, patients = targets[chosen], scores[chosen], patients[chosen]
    num_patients = len(set(patients))
    counts = {"records": len(targets), "patients": num_patients}
    if num_patients < MIN_PATIENTS:
        return counts | {"labels_scored": 0, "macro_auroc": None}
    per_label = ranking_scores(targets, scores, ones(len(targets))).auroc
    score = PatientBootstrap(patients).interval(
        lambda weights: macro(ranking_scores(targets, scores, weights).auroc)
    )
    return counts | {"labels_scored": int(np.isfinite(per_label).sum()), "macro_auroc": score}


def _named(column: pd.Series) -> pd.Series:
    text = column.map(_as_text, na_action="ignore").astype(object)
    return text.where(text.notna() & (text != ""), UNKNOWN)


def _as_text(value: Any) -> str:  # noqa: ANN401
    """Return a name; a number that a gap in its column made a fraction is whole again."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()
