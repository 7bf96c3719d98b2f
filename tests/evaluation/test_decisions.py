"""Thresholds on the scale that predict prints, fitted on validation records, in model folders."""

import json
import math
import shutil

import hypothesis
import numpy as np
import pandas as pd
import pytest
from hypothesis import strategies as st
from sklearn.metrics import f1_score
from small_encoders import save_encoder

import ecgjepa
from ecgjepa.errors import ModelFolderError
from ecgjepa.metrics.thresholds import fit_decisions, sensitivity_thresholds


@hypothesis.given(st.integers(1, 40), st.integers(1, 9), st.sampled_from([0.1, 0.5, 0.9, 1.0]))
def test_sensitivity_is_kept_by_the_highest_threshold(records, levels, wanted):
    rng = np.random.default_rng(records * 100 + levels)
    targets = np.r_[True, False, rng.random(records) < 0.5][:, None]
    scores = rng.integers(0, levels, len(targets))[:, None] / levels
    (threshold,) = sensitivity_thresholds(targets, scores, wanted)
    positives = scores[targets]

    def kept(least):
        return (positives >= least).mean() >= wanted - 1e-9

    assert kept(threshold)
    assert not any(kept(higher) for higher in positives if higher > threshold)


def test_a_label_of_one_kind_has_no_threshold_and_no_decision():
    targets = np.array([[True, False], [False, False], [True, False]])
    decisions = fit_decisions(targets, np.array([[0.9, 0.1], [0.2, 0.2], [0.7, 0.3]]), folds=(9,))
    assert decisions.best_f1 == (0.7, None)
    assert decisions.at_sensitivity == (0.7, None)
    assert decisions.at_specificity == (math.nextafter(0.2, 1), None)
    assert decisions.apply({"a": 0.7, "b": 0.99}) == {"a": True}
    assert decisions.apply({"a": 0.69, "b": 0.99}) == {"a": False}


@pytest.fixture(scope="module")
def probed(ptb_xl, tmp_path_factory):
    folder = tmp_path_factory.mktemp("decisions")
    return ecgjepa.probe(
        save_encoder(folder / "encoder"),
        {"ptb-xl": ptb_xl},
        folder / "probe",
        task="superdiagnostic",
        protocol="linear",
        cache=folder / "cache",
    )


def test_a_decision_is_that_of_the_probability_beside_it(probed, ptb_xl):
    """The threshold of best F1 is one of what predict prints of the validation records."""
    table = pd.read_parquet(probed.path / "predictions.parquet")
    rows = table[(table["part"] == "validation") & (table["model"] == "pre-trained")]
    files = [ptb_xl / f"records500/00000/{int(i):05d}_hr.hea" for i in rows["record_id"]]
    model = ecgjepa.load_model(probed.path)
    predictions = model.predict(files)
    decisions = model.config.decisions
    assert decisions.folds == (9,)
    for column, label in enumerate(model.task.labels):
        threshold, targets = decisions.best_f1[column], rows[f"target:{label}"].to_numpy()
        values = np.array([one.probabilities[label] for one in predictions])
        if threshold is None:
            assert targets.all() or not targets.any()
            assert all(label not in one.decisions for one in predictions)
            continue
        assert [one.decisions[label] for one in predictions] == (values >= threshold).tolist()
        best = max(f1_score(targets, values >= least) for least in values)
        # Features are kept in half precision: the record at the threshold may fall below it.
        assert f1_score(targets, values >= threshold - 1e-3) == pytest.approx(best)


def test_without_calibration_or_in_an_older_folder_there_are_no_decisions(probed, ptb_xl, tmp_path):
    file = ptb_xl / "records500/00000/00001_hr.hea"
    assert ecgjepa.load_model(probed.path, calibrated=False).predict([file])[0].decisions == {}
    old = tmp_path / "model"
    shutil.copytree(probed.path / "model", old)
    config = json.loads((old / "config.json").read_text())
    decisions = config.pop("decisions")
    (old / "config.json").write_text(json.dumps(config))
    prediction = ecgjepa.predict([file], old)[0]
    assert prediction.error is None
    assert prediction.decisions == {}
    decisions["best_f1"] = decisions["best_f1"][1:]
    (old / "config.json").write_text(json.dumps(config | {"decisions": decisions}))
    with pytest.raises(ModelFolderError, match="expected as many of each"):
        ecgjepa.load_model(old)
