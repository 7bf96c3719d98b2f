"""The macro AUROC as a scorer: as scikit-learn's where that is defined, and defined elsewhere."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.multioutput import MultiOutputClassifier

from ecgjepa import macro_auroc_scorer
from ecgjepa.errors import ScoreError


@pytest.fixture
def X(rng):
    return rng.normal(size=(60, 3))


def test_one_label_per_record(X, rng):
    y = np.array(["a", "b", "c"])[(X[:, 0] + rng.normal(size=60)).argsort().argsort() % 3]
    model = LogisticRegression().fit(X, y)
    expected = roc_auc_score(y, model.predict_proba(X), multi_class="ovr")
    assert macro_auroc_scorer(model, X, y) == pytest.approx(expected)
    two = y != "c"
    # Without records of c, the mean is over a and b alone, by their probabilities among all three.
    scores = model.predict_proba(X[two])
    expected = np.mean([roc_auc_score(y[two] == name, scores[:, i]) for i, name in enumerate("ab")])
    assert macro_auroc_scorer(model, X[two], y[two]) == pytest.approx(expected)


def test_a_class_that_was_never_seen_tells_nothing(X):
    y = np.arange(60) % 3
    model = LogisticRegression().fit(X[y < 2], y[y < 2])
    scores = model.predict_proba(X)
    known = [roc_auc_score(y == name, scores[:, name]) for name in (0, 1)]
    assert macro_auroc_scorer(model, X, y) == pytest.approx(np.mean([*known, 0.5]))


def test_several_labels_per_record_as_an_array_and_as_a_list(X, rng):
    Y = (X[:, :2] + rng.normal(size=(60, 2)) > 0).astype(int)
    model = MultiOutputClassifier(LogisticRegression()).fit(X, Y)
    scores = np.column_stack([each[:, 1] for each in model.predict_proba(X)])
    assert macro_auroc_scorer(model, X, Y) == pytest.approx(roc_auc_score(Y, scores))
    Y[:, 1] = 0
    expected = roc_auc_score(Y[:, 0], scores[:, 0])
    assert macro_auroc_scorer(model, X, Y) == pytest.approx(expected)
    Y[:] = 1
    assert np.isnan(macro_auroc_scorer(model, X, Y))


class _Fixed:
    def __init__(self, answer, classes=(0, 1)):
        self.answer, self.classes_ = answer, np.array(classes)

    def predict_proba(self, X):
        return self.answer


@pytest.mark.parametrize(
    ("answer", "y", "words"),
    [
        (np.full((2, 2), np.nan), [0, 1], "not finite"),
        (np.zeros((2, 3)), [0, 1], "for 2 classes"),
        (np.zeros((2, 3)), np.eye(2), "do not fit together"),
        (np.zeros((2, 2)), pd.DataFrame({"b": [0, 1], "a": [1, 0]}), "the columns b, a; .* a, b"),
        ([np.ones((2, 1))], [[1], [0]], "probabilities of 1 classes"),
    ],
)
def test_probabilities_that_do_not_fit_are_refused(answer, y, words):
    classes = ("a", "b") if isinstance(y, pd.DataFrame) else (0, 1)
    with pytest.raises(ScoreError, match=words):
        macro_auroc_scorer(_Fixed(answer, classes), None, y)
