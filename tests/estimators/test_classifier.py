"""Classifiers in scikit-learn: their contract, and the same answers as the package's own verbs."""

import pickle

import numpy as np
import pandas as pd
import pytest
from conftest import toy_ecg, write_wfdb
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.preprocessing import StandardScaler
from small_encoders import save_encoder
from tiny_model import save_tiny_model

import ecgjepa
from ecgjepa import ECGClassifier, ECGModelClassifier, macro_auroc_scorer
from ecgjepa.errors import ConfigError, ModelFolderError, RecordFormatError, TaskError
from ecgjepa.signals.leads import LEADS

KINDS = np.array(["MI", "NORM"] * 10)


@pytest.fixture(scope="module")
def clinic(tmp_path_factory):
    root = tmp_path_factory.mktemp("clinic")
    save_encoder(root / "model")
    save_tiny_model(root / "trained")
    rng = np.random.default_rng(0)
    for number in range(len(KINDS)):
        digital = toy_ecg(rng, num_samples=1250, kind=number % 2)
        write_wfdb(root / f"{number:02d}.hea", digital)
    (root / "cut.hea").write_text("cut 12 500")
    return root


@pytest.fixture(scope="module")
def files(clinic):
    return [str(clinic / f"{number:02d}.hea") for number in range(len(KINDS))]


@pytest.fixture(scope="module")
def features(clinic, files):
    return StandardScaler().fit_transform(ecgjepa.embed(files, clinic / "model").astype(np.float64))


@pytest.fixture(scope="module")
def table():
    """Three labels of which the last has no record."""
    positive = KINDS == "MI"
    return pd.DataFrame({"MI": positive, "AFIB": np.arange(20) % 3 == 0, "none": 0}).astype(int)


def test_it_is_logistic_regression_on_standardised_features(clinic, files, features):
    order = np.random.default_rng(1).permutation(20)
    classifier = ECGClassifier(clinic / "model", C=0.1)
    classifier.fit([files[row] for row in order], KINDS[order].tolist())
    expected = LogisticRegression(C=0.1, tol=1e-8, max_iter=1000).fit(features, KINDS)
    assert classifier.classes_.tolist() == expected.classes_.tolist() == ["MI", "NORM"]
    found = classifier.predict_proba(files)
    np.testing.assert_allclose(found, expected.predict_proba(features), atol=1e-4)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert classifier.predict(files).tolist() == expected.predict(features).tolist()
    assert classifier.score(files, KINDS) == expected.score(features, KINDS)
    assert is_classifier(classifier)


def test_three_classes_are_one_regression(clinic, files, features):
    y = np.arange(20) % 3 + 10
    found = ECGClassifier(clinic / "model", C=0.01).fit(files, y)
    expected = LogisticRegression(C=0.01, tol=1e-8, max_iter=1000).fit(features, y)
    assert found.classes_.tolist() == [10, 11, 12]
    np.testing.assert_allclose(
        found.predict_proba(files), expected.predict_proba(features), atol=1e-4
    )


def test_columns_of_0_and_1_are_a_regression_each(clinic, files, features, table):
    found = ECGClassifier(clinic / "model", C=0.1).fit(files, table)
    assert found.classes_.tolist() == ["MI", "AFIB", "none"]
    probabilities = found.predict_proba(files)
    inner = LogisticRegression(C=0.1, tol=1e-8, max_iter=1000)
    expected = OneVsRestClassifier(inner).fit(features, table.iloc[:, :2].to_numpy())
    np.testing.assert_allclose(probabilities[:, :2], expected.predict_proba(features), atol=1e-4)
    assert probabilities[:, 2].max() < 1e-4  # no record to learn it from
    assert found.predict(files).tolist() == (probabilities >= 0.5).astype(int).tolist()
    numbered = ECGClassifier(clinic / "model", C=0.1).fit(files, table.to_numpy(bool))
    assert numbered.classes_.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(numbered.predict_proba(files), probabilities)


def test_the_contract_of_an_estimator(clinic, files, table):
    classifier = ECGClassifier(clinic / "model", C=0.5, layer=2)
    with pytest.raises(NotFittedError):
        classifier.predict(files)
    assert classifier.fit(files, KINDS) is classifier
    again = pickle.loads(pickle.dumps(classifier))
    np.testing.assert_array_equal(again.predict_proba(files), classifier.predict_proba(files))
    copied = clone(classifier)
    assert copied.get_params() == classifier.get_params()
    with pytest.raises(NotFittedError):
        copied.predict_proba(files)
    assert copied.fit(files, table).predict(files).shape == (20, 3)


def test_it_is_searched_with_the_macro_score(clinic, files, table):
    chosen = [*range(8)]
    given, labels = [files[row] for row in chosen], table.iloc[chosen]
    search = GridSearchCV(
        ECGClassifier(clinic / "model"),
        {"C": [1e-4, 1.0]},
        cv=2,
        scoring=macro_auroc_scorer,
        error_score="raise",
        refit=False,
    )
    found = search.fit(given, labels).cv_results_["split1_test_score"]
    # The label without records leaves the mean of the others as it is.
    for strength, score in zip((1e-4, 1.0), found, strict=True):
        classifier = ECGClassifier(clinic / "model", C=strength)
        scores = classifier.fit(given[:4], labels[:4]).predict_proba(given[4:])[:, :2]
        assert score == pytest.approx(roc_auc_score(labels[4:].iloc[:, :2], scores))


def test_a_bad_file_is_left_out_of_the_fit_and_never_gets_a_label(clinic, files):
    given, labels = [*files, str(clinic / "cut.hea")], [*KINDS, "MI"]
    with pytest.raises(RecordFormatError, match=r"cut\.hea"):
        ECGClassifier(clinic / "model").fit(given, labels)
    found = ECGClassifier(clinic / "model", on_bad="nan").fit(given, labels)
    assert list(found.errors_) == [20]
    clean = ECGClassifier(clinic / "model").fit(files, KINDS)
    np.testing.assert_allclose(found.coef_, clean.coef_, atol=1e-6)
    probabilities = found.predict_proba(given)
    assert np.isnan(probabilities[20]).all()
    assert np.isfinite(probabilities[:20]).all()
    with pytest.raises(RecordFormatError, match=r"1 of 21 ECGs cannot be used: row 20: .*cut\.hea"):
        found.predict(given)
    with pytest.raises(TaskError, match="there is no ECG to learn from: 1 of 1"):
        found.fit(given[20:], ["MI"])


def test_how_ecgs_are_read_may_be_set_after_the_fit(clinic, files):
    classifier = ECGClassifier(clinic / "model").fit(files, KINDS)
    assert classifier.classes_.dtype.kind == "U"
    expected = classifier.predict_proba(files[:1])
    microvolt = ecgjepa.read_record(files[0]).signal[None] * 1000
    classifier.set_params(sampling_rate=500, leads=LEADS, unit="uV")
    np.testing.assert_allclose(classifier.predict_proba(microvolt), expected, atol=1e-6)
    with pytest.raises(RecordFormatError, match="is the unit right"):
        classifier.set_params(unit="mV").predict_proba(microvolt)


@pytest.mark.parametrize(
    ("y", "words"),
    [
        (None, "y is missing"),
        (KINDS[:5], r"y has shape \(5,\), for 20 records"),
        (np.linspace(0, 1, 20), "numbers with fractions"),
        ([*KINDS[:19], None], "1 of 20 records have no label, first row 19"),
        ([*KINDS[:19], float("nan")], "1 of 20 records have no label, first row 19"),
        (np.array([*KINDS[:19], float("nan")]), "1 of 20 records have no label, first row 19"),
        (pd.Series([*KINDS[:19], pd.NA], dtype="string"), "1 of 20 records have no label"),
        ([*KINDS[:19], 1], "of several types"),
        (np.array([*range(19), "MI"], object), "of several types"),
        (["MI"] * 20, "all 20 usable ECGs have the label"),
        (np.full((20, 2), 2), "40 of 40 values are not 0 or 1, first '2' in row 0, column 0"),
        (pd.DataFrame({"MI": [1.0, np.nan] * 10}), "10 of 20 values are not 0 or 1"),
    ],
)
def test_labels_that_are_none_are_refused(clinic, files, y, words):
    with pytest.raises(TaskError, match=words):
        ECGClassifier(clinic / "model").fit(files, y)


def test_a_strength_that_is_none_is_refused(clinic, files):
    for wrong in (0, -1.0, float("inf")):
        with pytest.raises(ConfigError, match="C is"):
            ECGClassifier(clinic / "model", C=wrong).fit(files, KINDS)


def test_a_ready_classifier_answers_as_predict_does(clinic, files):
    ready = ECGModelClassifier(clinic / "trained")
    assert ready.classes_.tolist() == ["A", "B", "C"]
    given = [files[3], str(clinic / "cut.hea"), files[0]]
    expected = ecgjepa.predict(given, clinic / "trained")
    ready.set_params(on_bad="nan")
    found = ready.predict_proba(given)
    assert np.isnan(found[1]).all()
    for row in (0, 2):
        assert found[row].tolist() == list(expected[row].probabilities.values())
    assert clone(ready).fit(given).predict_proba(given[:1]).shape == (1, 3)
    with pytest.raises(ModelFolderError, match="no threshold for A, B, C"):
        ready.predict(files[:1])
    y = np.eye(3, dtype=int)[np.arange(20) % 3]
    assert np.isfinite(cross_val_score(ready, files, y, cv=2, scoring=macro_auroc_scorer)).all()


def test_a_ready_classifier_refuses_labels_of_others(clinic, files):
    ready = ECGModelClassifier(clinic / "trained")
    for y in (pd.DataFrame({"A": [1], "C": [0], "B": [0]}), np.zeros((1, 2)), ["A"]):
        with pytest.raises(TaskError, match="has A, B, C, multi-label, in this order"):
            ready.fit(files[:1], y)
    with pytest.raises(ModelFolderError, match="without a head"):
        ECGModelClassifier(clinic / "model").fit(files)
