"""The package's macro AUROC as a scorer of scikit-learn."""

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from ecgjepa.errors import ScoreError
from ecgjepa.estimators.labels import Labels, read_labels
from ecgjepa.metrics.classification import check_scores, macro_auroc


@runtime_checkable  # the tests check types as they run
class GivesProbabilities(Protocol):
    """What the scorer asks of an estimator."""

    def predict_proba(self, X: object) -> object:
        """Return the probability of each label: an array, or as some do a list, one per label."""


def macro_auroc_scorer(estimator: GivesProbabilities, X: object, y: object) -> float:
    """Return the mean AUROC over labels, for ``scoring=`` of scikit-learn.

    Labels that lack positive or negative records in y are left out of the mean, as in all results
    of this package; scikit-learn's ``roc_auc`` is NaN there, and with it the whole search. A label
    of y that the estimator has never seen counts with 0.5: it tells nothing of it.

    Args:
        estimator: Fitted classifier of scikit-learn, of one or of several labels per record.
        X: What it takes.
        y: True labels, one per record, or a column of 0 and 1 per label.

    Returns:
        The score; NaN if no label has both kinds of records.

    Raises:
        ScoreError: If the probabilities are not finite or do not fit the labels, or if estimator
            and y name the columns differently.

    Example:
        >>> import numpy as np
        >>> from sklearn.linear_model import LogisticRegression
        >>> from ecgjepa import macro_auroc_scorer
        >>> X, y = np.array([[0.0], [1.0], [2.0]]), np.array([0, 1, 1])
        >>> macro_auroc_scorer(LogisticRegression().fit(X, y), X, y)
        1.0
    """
    found = estimator.predict_proba(X)
    if isinstance(found, list):  # MultiOutputClassifier: for each label, that of no and of yes
        found = np.column_stack([_of_yes(np.asarray(each)) for each in found])
    scores = np.asarray(found, dtype=np.float64)
    labels = read_labels(y, len(scores))
    if labels.single:
        scores = _as_labels(scores, np.asarray(getattr(estimator, "classes_", ())), labels)
    else:
        _check_order(getattr(estimator, "classes_", ()), labels)
    check_scores(scores, labels.targets, tuple(map(str, labels.names)))
    return macro_auroc(labels.targets, scores)


def _of_yes(
    probabilities: Float[np.ndarray, "records classes"],
) -> Float[np.ndarray, " records"]:
    if probabilities.shape[1] != 2:
        raise ScoreError(
            f"a label has probabilities of {probabilities.shape[1]} classes; expected two, no and "
            "yes: the training records of the fold have one only"
        )
    return probabilities[:, 1]


def _check_order(classes: object, labels: Labels) -> None:
    """Refuse columns that y names otherwise than the estimator does, or in another order."""
    known, names = np.asarray(classes, dtype=object), labels.names.astype(object)
    is_named = all(isinstance(name, str) for name in (*known.ravel(), *names))
    if is_named and known.shape == names.shape and known.tolist() != names.tolist():
        raise ScoreError(
            f"y has the columns {', '.join(names)[:300]}; the estimator gives probabilities of "
            f"{', '.join(known)[:300]}, in this order. Give y[estimator.classes_]"
        )


def _as_labels(
    scores: Float[np.ndarray, "records classes"], classes: np.ndarray, labels: Labels
) -> Float[np.ndarray, "records labels"]:
    """Return the estimator's scores in the order of the labels; 0 for those unknown to it."""
    if scores.shape[1:] != classes.shape:
        raise ScoreError(
            f"probabilities {scores.shape} for {len(classes)} classes; expected a column per class"
        )
    places = {name: place for place, name in enumerate(classes.tolist())}
    out = np.zeros((len(scores), len(labels.names)))
    for column, name in enumerate(labels.names.tolist()):
        if name in places:
            out[:, column] = scores[:, places[name]]
    return out
