"""The page: what is in the files of a folder stands on it."""

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest

from ecgjepa.errors import CheckpointError
from ecgjepa.reporting.page import report


def test_the_page_needs_nothing_but_itself(evaluation, tmp_path):
    page = report([evaluation], tmp_path / "r.html").read_text()
    addresses = re.findall(r'(?:src|href)="([^"]{0,40})', page)
    assert addresses
    assert all(address.startswith("data:image/svg+xml;base64,") for address in addresses)
    assert "http://" not in page
    assert "<script" not in page
    assert "url(" not in page


def test_the_page_says_what_was_left_out(evaluation, tmp_path):
    page = report([evaluation], tmp_path / "r.html").read_text()
    text = " ".join(re.sub(r"<[^>]+>", " ", page).split())
    assert "partial copy" in text
    assert "3 truncated" in text
    assert "17: half" in text
    assert "20,719" in text
    assert "7 records have no label of the task" in text
    assert "Not scored, because the test records hold only positives or only negatives: C" in text
    assert "fewer than 10 positive test records" in text
    assert "+0.050" in text
    assert "0.812" in text
    assert "research use only" in text.lower()


def test_the_page_shows_calibration_label_sets_and_subgroups(evaluation, tmp_path):
    """Of results that have them; those above are from before."""
    path = evaluation / "results.json"
    results = json.loads(path.read_text())
    numbers = {"log_loss": 0.3, "brier": 0.1234, "calibration_error": None}
    curve = {"num_records": [90, 30], "mean_probability": [0.1, 0.8], "share_positive": [0.2, 0.7]}
    results["subgroups_need_patients"] = 50
    results["models"]["pre-trained"] |= {
        "calibration": {
            "applied": {"method": "platt", "fallback": {"C": "0 positive validation records"}},
            "test": {"before": numbers, "platt": numbers},
            "reliability": {"before": curve, "after": curve},
        },
        "label_sets": {
            "asked": 0.9,
            "measured": [0.91, 0.88, 0.94],
            "mean_size": 1.5,
            "in_every_set": ["C"],
        },
        "subgroups": {
            "sex": [
                {
                    "group": group,
                    "records": records,
                    "patients": records,
                    "labels_scored": 2,
                    "macro_auroc": score,
                }
                for group, records, score in (("female", 60, [0.77, 0.7, 0.8]), ("<i>", 9, None))
            ]
        },
    }
    path.write_text(json.dumps(results))
    page = report([evaluation], tmp_path / "r.html").read_text()
    text = " ".join(re.sub(r"<[^>]+>", " ", page).split())
    assert "0.3000 0.1234 \u2013" in text
    assert "With the common temperature, for want of validation records: C." in text
    assert "91.0 % of them on the test records (95 % interval 88.0 to 94.0)" in text
    assert "sex female 60 60 2 0.770 0.700\u20130.800" in text
    assert "fewer than 50 patients are not scored: sex &lt;i&gt; (9)" in text
    assert "the saved model applies it" in text
    assert "No model folder was written" not in text
    path.write_text(json.dumps(results | {"pretraining": {"objective": "elsewhere"}}))
    page = report([evaluation], tmp_path / "r.html").read_text()
    assert "the saved model applies it" not in page


def test_names_from_files_cannot_inject_markup(evaluation, tmp_path):
    page = report([evaluation], tmp_path / "r.html", title="<i>x</i>").read_text()
    assert "<b>A</b>" not in page
    assert "&lt;b&gt;A&lt;/b&gt;" in page
    assert "<i>x</i>" not in page


def test_a_page_without_the_records_does_without_their_pictures(evaluation, tmp_path):
    page = report([evaluation], tmp_path / "r.html").read_text()
    assert "Test records" not in page


def test_a_folder_of_runs_is_looked_into(page_text, evaluation, tmp_path):
    """One level down, and no further."""
    other = tmp_path / "evaluation-2"
    shutil.copytree(evaluation, other)
    assert page_text([tmp_path]) == page_text([evaluation, other])
    (tmp_path / "deep").mkdir()
    with pytest.raises(CheckpointError, match="nor does any folder in it"):
        report([tmp_path / "deep"], tmp_path / "x.html")


def test_too_few_patients_are_said_to_be_too_few(page_text, evaluation):
    caution = "too few to tell which encoder is better"
    path = evaluation / "results.json"
    results = json.loads(path.read_text())
    for patients, is_said in ((1, True), (49, True), (50, False)):
        results["counts"]["test_patients"] = patients
        path.write_text(json.dumps(results))
        assert (caution in page_text([evaluation])) == is_said


def test_a_folder_that_is_no_run(tmp_path):
    with pytest.raises(
        CheckpointError, match=r"holds none of what can be reported: pre-training run \(metrics"
    ):
        report([tmp_path], tmp_path / "r.html")


def test_scores_at_thresholds_and_all_means_are_shown(page_text, evaluation):
    path = evaluation / "results.json"
    results = json.loads(path.read_text())
    results["criteria"] = {"f1": "at the best threshold"}
    for name, model in results["models"].items():
        shift = 0.0 if name == "pre-trained" else 0.001
        model["macro"] = {
            "auroc": [0.611 + shift, 0.5, 0.7],
            "f1": 0.222 + shift,
            "record_accuracy": [0.333, 0.3, 0.4],
        }
        model["macro_frequent"] = {"labels": 1, "auroc": [0.444, 0.4, 0.5], "f1": None}
        model["labels_without_threshold"] = ["C"]
        model["label_sets"] = {"per_label": {"<b>A</b>": 0.87, "B": 0.5, "C": None}}
        for label in model["labels"]:
            label |= {
                "f1": [0.51, 0.41, 0.61],
                "f1_threshold": 0.17,
                "sensitivity": [0.52, 0.42, 0.62],
                "specificity": [0.93, 0.91, 0.95],
                "specificity_threshold": None,
                "average_precision_interval": [0.53, 0.43, 0.63],
                "brier": [0.054, 0.044, 0.064],
                "log_loss": [0.155, 0.145, 0.165],
                "calibration_error": 0.066,
            }
    results["p_values"] = {"pre-trained - untrained": 0.042}
    path.write_text(json.dumps(results))
    text = page_text([evaluation])
    assert "AUROC 0.611 (0.500 to 0.700) 0.444 (0.400 to 0.500) 0.612 (0.500 to" in text
    assert "F1 at the validation threshold 0.222 - 0.223 -" in text
    assert "accuracy, one label a record 0.333 (0.300 to 0.400)" in text
    assert "B * 0.510 (0.410 to 0.610) 0.520 (0.420 to 0.620) 0.930 (0.910 to" in text
    assert "B * 0.530 (0.430 to 0.630) 0.054 (0.044 to 0.064) 0.155 (0.145 to 0.165) 0.066" in text
    assert "0.066 87 %" in text
    assert "for want of positive or negative validation records: C" in text
    assert "f1: at the best threshold" in text
    assert "0.170" not in text  # of uncalibrated probabilities, unlike what predict applies
    assert "+0.050 (+0.010 to +0.090) 0.042" in text


def test_evaluations_of_several_tasks_are_told_apart(page_text, evaluation, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    results = json.loads((evaluation / "results.json").read_text())
    results["task"]["name"] = "second"
    results["counts"]["train"] = 100
    results["data"] = {
        "trained_on": ["a"],
        "tested_on": ["b"],
        "label_fraction": 0.1,
        "label_draw": 2,
        "copies_of_others_left_out_of_training": 4,
        "copies_of_test_left_out_of_validation": 3,
        "notices": ["six ids were unknown"],
    }
    (other / "results.json").write_text(json.dumps(results))
    (other / "predictions.parquet").write_bytes((evaluation / "predictions.parquet").read_bytes())
    text = page_text([evaluation, other])
    assert "frozen, linear probe, t pre-trained" in text
    assert "frozen, linear probe, 10 % of the labels, tested on b, second pre-trained" in text
    assert "Task t (multi-label): 1,000 records train" in text
    assert "Task second (multi-label): 100 records train" in text
    assert "Trained on a, tested on b. Only 10 % of the training patients' labels" in text
    assert "4 training records are copies" in text
    assert "3 validation records are copies of test records" in text
    assert "Six ids were unknown." in text
    # Results of older versions do not tell of copies among the validation records.
    del results["data"]["copies_of_test_left_out_of_validation"]
    (other / "results.json").write_text(json.dumps(results))
    assert "validation records are copies" not in page_text([evaluation, other])


def copy_of(evaluation, folder, **changes):
    shutil.copytree(evaluation, folder)
    results = json.loads((folder / "results.json").read_text()) | changes
    (folder / "results.json").write_text(json.dumps(results))
    return folder


def test_evaluations_of_several_models_are_told_apart(page_text, evaluation, tmp_path):
    """By name; by hash where two are called the same; by seed; by folder where nothing is told."""
    models = [("a", "1" * 64), ("b", "2" * 64), ("b", "3" * 64), ("b", "3" * 64)]
    folders = [
        copy_of(
            evaluation,
            tmp_path / f"m{number}",
            model={"name": name, "weights_sha256": digest},
            protocol="evaluate",
            seed=number // 3,
        )
        for number, (name, digest) in enumerate(models)
    ]
    text = page_text(folders)
    names = ["a", "b (22222222)", "b (33333333), seed 0", "b (33333333), seed 1"]
    for name in names:
        assert f"existing classifier, {name} pre-trained 0.812" in text
        assert f"Existing classifier, {name}: per label" in text
    assert (
        "Existing classifier, a: model a, SHA-256 of its weights 1111111111111111…, seed 0" in text
    )
    older = [copy_of(evaluation, tmp_path / name / "probe") for name in ("x", "y")]
    text = page_text([*older, evaluation])
    for name in ("x/probe", "y/probe", f"{tmp_path.name}/evaluation"):
        assert f"frozen, linear probe, {name} pre-trained" in text
    assert "SHA-256 of" not in text
    assert "probe, evaluation" not in page_text([evaluation])  # nothing to tell it from


def test_what_labels_had_taught_is_not_called_gained_by_pre_training(
    page_text, evaluation, tmp_path
):
    assert "gained by pre-training" in page_text([evaluation])
    facts = {"encoder_trained_with_labels": True, "pretraining": {"objective": "jepa"}}
    text = page_text([copy_of(evaluation, tmp_path / "tuned", **facts)])
    assert "gained by pre-training" not in text
    assert "pre-trained and then fine-tuned with labels" in text


def test_an_interval_stands_below_its_value_in_a_table(evaluation, tmp_path):
    """Side by side, seven columns of them are wider than a page."""
    page = report([evaluation], tmp_path / "r.html").read_text()
    assert "td .bounds { display: block" in page
    assert '+0.050 <span class="bounds">(+0.010 to +0.090)</span>' in page


@pytest.fixture
def regression(evaluation, rng):
    path = evaluation / "results.json"
    results = json.loads(path.read_text())
    names = ["qt", "<pr>"]
    results["measure"] = "r2"
    results["task"] |= {"kind": "regression", "labels": names, "descriptions": names}
    results["p_values"] = {"pre-trained - untrained": 0.031}
    for number, name in enumerate(("pre-trained", "untrained")):
        results["models"][name] = {
            "r2": [0.71 - number / 10, 0.6, 0.8],
            "validation_r2": 0.69,
            "labels_scored": 1,
            "undefined_labels": ["<pr>"],
            "selected": "step 5",
            "history": [],
            "test_records": 40,
            "labels": [
                {
                    "label": "qt",
                    "r2": [0.713 - number / 10, 0.613, 0.813],
                    "mean_absolute_error": [12.345 + number, 11.0, 14.0],
                    "pearson": [0.86, 0.81, 0.91],
                },
                {
                    "label": "<pr>",
                    "r2": [None, None, None],
                    "mean_absolute_error": [3.0, 2.0, 4.0],
                    "pearson": [None, None, None],
                },
            ],
        }
    path.write_text(json.dumps(results))
    frame = pd.read_parquet(evaluation / "predictions.parquet")
    frame = frame[["model", "part", "record_id", "patient_id"]]
    for name in names:
        frame[f"target:{name}"] = rng.normal(400, 20, len(frame))
        frame[f"value:{name}"] = rng.normal(400, 20, len(frame))
    frame.to_parquet(evaluation / "predictions.parquet")
    return evaluation


def test_a_regression_is_shown_as_one(page_text, regression, tmp_path):
    text = page_text([regression])
    assert "Mean R² on the test records" in text
    assert "0.710 0.600-0.800" in text
    assert "+0.050 (+0.010 to +0.090) 0.031 0.690 1 of 2" in text
    assert "qt 0.713 (0.613 to 0.813) 12.35 (11 to 14) 0.860 (0.810 to 0.910) 0.613 13.35" in text
    assert "&lt;pr&gt; - 3 (2 to 4) - -" in text
    assert "Without R², because the true values of the test records are all the same" in text
    page = (tmp_path / "r.html").read_text()
    assert 'alt="Predicted against true values"' in page
    assert 'alt="ROC' not in page
    for word in ("AUROC", "elieved", "Label sets", "threshold"):
        assert word not in text


def test_the_map_of_a_regression_is_coloured_by_its_value(page_text, regression, rng, tmp_path):
    path = regression / "results.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"protocol": "linear"}))
    values = rng.normal(400, 20, (12, 2))
    maps = {name: rng.normal(size=(12, 4)) for name in ("pre-trained", "untrained")}
    np.savez(regression / "embeddings.npz", targets=values, **maps)
    page_text([regression])
    page = (tmp_path / "r.html").read_text()
    assert 'alt="Map of the test records\' features"' in page


def test_classifications_and_regressions_share_a_page(page_text, regression, evaluation, tmp_path):
    """Scores of different kinds are in tables and figures of their own."""
    other = tmp_path / "classification"
    other.mkdir()
    results = json.loads((regression / "results.json").read_text())
    model = {
        "macro_auroc": [0.9, 0.8, 0.95],
        "validation_macro_auroc": 0.9,
        "labels_scored": 1,
        "undefined_labels": [],
        "selected": "C 1",
        "labels": [
            {
                "label": "A",
                "description": "d",
                "train_positives": 20,
                "test_positives": 20,
                "few_positives": False,
                "auroc": [0.9, 0.8, 0.95],
                "average_precision": 0.5,
            }
        ],
    }
    results |= {"measure": "macro_auroc", "models": {"pre-trained": model}, "differences": {}}
    results["task"] |= {"name": "beats", "kind": "multi-label", "labels": ["A"]}
    (other / "results.json").write_text(json.dumps(results))
    frame = pd.DataFrame({"model": "pre-trained", "part": "test", "record_id": list("abcd")})
    frame["patient_id"] = frame["record_id"]
    frame["target:A"], frame["probability:A"] = [True, False, True, False], [0.9, 0.1, 0.4, 0.5]
    frame.to_parquet(other / "predictions.parquet")
    text = page_text([regression, other])
    assert "Mean R² on the test records" in text
    assert "Macro AUROC on the test records" in text
    page = (tmp_path / "r.html").read_text()
    assert len(re.findall(r'alt="(?:mean R²|macro AUROC) with intervals"', page)) == 2


def test_what_the_distance_notices_is_shown(page_text, evaluation):
    assert "unlike the training ones" not in page_text([evaluation])  # of an older version
    results = json.loads((evaluation / "results.json").read_text())
    results["out_of_distribution"] = {
        "records": 1979,
        "threshold": 0.99478,
        "passed": 0.95,
        "shrinkage": 0.01,
        "share_above_threshold": 0.0404,
        "spoiled": {
            "gain 10": {
                "description": "ten times too large",
                "auroc": [0.999, 0.996, 1.0],
                "share_detected": 0.997,
            },
            "arms swapped": {
                "description": "electrodes exchanged",
                "auroc": [0.821, 0.792, 0.85],
                "share_detected": 0.081,
            },
        },
        "hardly_detected": ["arms swapped"],
    }
    (evaluation / "results.json").write_text(json.dumps(results))
    text = page_text([evaluation])
    assert "the 1,979 training records exceeds 0.995, within which 95 % of the validation" in text
    assert "as they are, 4.0 % exceed it" in text
    assert "gain 10 ten times too large 0.999 (0.996 to 1.000) 100 %" in text
    assert "arms swapped electrodes exchanged 0.821 (0.792 to 0.850) 8 %" in text
    assert "Mostly not noticed: arms swapped." in text
