"""A classifier is judged as it is: the probe's own numbers on its own records, and elsewhere."""

import json

import numpy as np
import pandas as pd
import pytest
from judged_records import KINDS, kinds_of, write_kinds
from typer.testing import CliRunner

import ecgjepa
from ecgjepa import compare_predictions, evaluate, finetune, load_model, probe, report
from ecgjepa.cli import app
from ecgjepa.errors import ConfigError, ModelFolderError, TaskError
from ecgjepa.judging.records import Choice, refuse_early
from ecgjepa.model.outputs import CalibrationConfig
from ecgjepa.protocols.encoders import load_encoder
from ecgjepa.results.layout import PRE_TRAINED
from ecgjepa.results.predictions import read_predictions
from ecgjepa.sharing.references import find_model


@pytest.fixture(scope="module")
def on_test_fold(probed, ptb_xl, table, cache, tmp_path_factory):
    """The probe, judged on its own test records."""
    out = tmp_path_factory.mktemp("own") / "judged"
    return evaluate(probed.path, {"ptb-xl": ptb_xl}, out, task=str(table), folds=(10,), cache=cache)


@pytest.fixture(scope="module")
def elsewhere(probed, clinic, cache, tmp_path_factory):
    """Judge the probe on the clinic, whose table calls the labels as it likes."""
    folder = tmp_path_factory.mktemp("elsewhere")

    def run(names=None, change=None, out="judged", **options):
        path = write_kinds(clinic, folder / f"{out}.csv", names, archive=True)
        if change is not None:
            change(pd.read_csv(path)).to_csv(path, index=False)
        return evaluate(
            probed.path, {"clinic": clinic}, folder / out, task=str(path), cache=cache, **options
        )

    return run


def scores(evaluation):
    return evaluation.results["models"][PRE_TRAINED]


def test_the_probes_own_model_has_the_probes_own_scores(probed, on_test_fold):
    """A probe keeps frozen features in half precision, so probabilities differ by a little."""
    ours, theirs = read_predictions(on_test_fold.path), read_predictions(probed.path)
    assert ours.record_ids.tolist() == theirs.record_ids.tolist()
    assert np.array_equal(ours.targets, theirs.targets)
    assert np.allclose(ours.outputs, theirs.outputs, atol=2e-3)
    found, expected = scores(on_test_fold), scores(probed)
    assert found["macro_auroc"] == expected["macro_auroc"]
    assert found["macro"]["auroc_bca"] == expected["macro"]["auroc_bca"]
    for mine, its in zip(found["labels"], expected["labels"], strict=True):
        assert mine["label"] == its["label"]
        assert mine["auroc"] == its["auroc"]
        assert mine["average_precision_interval"] == its["average_precision_interval"]
        assert mine["f1"] == its["f1"]
        assert mine["brier"] == pytest.approx(its["brier"], abs=1e-3)
    assert found["subgroups"] == expected["subgroups"]
    for name in ("before", "platt"):
        mine, its = (one["calibration"]["test"][name] for one in (found, expected))
        assert mine == pytest.approx(its, abs=2e-3)
    assert on_test_fold.score() == probed.score()


def test_a_fine_tuned_model_has_its_own_scores_to_the_digit(
    encoder, ptb_xl, table, cache, tmp_path
):
    few = ("steps=2", "warmup_steps=1", "validate_every=1")
    asked = {"task": str(table), "cache": cache}
    tuned = finetune(
        encoder,
        {"ptb-xl": ptb_xl},
        tmp_path / "tuned",
        protocol="finetune",
        overrides=few,
        from_scratch=False,
        **asked,
    )
    judged = evaluate(tuned.path, {"ptb-xl": ptb_xl}, tmp_path / "j", folds=(10,), **asked)
    ours, theirs = read_predictions(judged.path), read_predictions(tuned.path)
    assert np.allclose(ours.outputs, theirs.outputs, atol=1e-6)
    assert scores(judged)["macro_auroc"] == scores(tuned)["macro_auroc"]
    again = probe(tuned.path, {"ptb-xl": ptb_xl}, tmp_path / "p", protocol="linear", **asked)
    assert again.results["encoder_trained_with_labels"]  # whatever head is put on it
    assert load_encoder(again.path).config.training["encoder_trained_with_labels"]
    assert not tuned.results["encoder_trained_with_labels"]


def test_results_tell_the_model_by_name_and_hash(probed, encoder, on_test_fold, elsewhere):
    """Its name is no path; what a probe was of is the encoder, what is judged the probe."""
    for found, model, name in (
        (probed, encoder, f"{encoder.parent.name}/model"),
        (on_test_fold, probed.path, "probe"),
        (elsewhere(), probed.path, "probe"),
    ):
        config = json.loads((find_model(model) / "config.json").read_text())
        told = found.results["model"]
        assert told["weights_sha256"] == config["weights_sha256"]
        assert told["name"].endswith(name.rpartition("/")[2])
        assert str(probed.path.parent) not in told["name"]
    assert not probed.results["encoder_trained_with_labels"]


def test_outputs_and_calls_are_those_of_predictions(probed, elsewhere, clinic):
    """What is judged is what `predict` prints for the same files."""
    judged = elsewhere()
    found = read_predictions(judged.path)
    model = load_model(probed.path)
    files = [clinic / f"{name}.hea" for name in found.record_ids]
    predictions = model.predict(files)
    printed = np.array([list(one.probabilities.values()) for one in predictions])
    assert model.config.calibration is not None
    assert np.allclose(model.config.calibration.apply(found.outputs), printed, atol=1e-9)
    decisions = scores(judged)["answers"]["decisions"]
    chosen = next(one for one in decisions["rules"] if one["rule"] == decisions["chosen"])
    for column, label in enumerate(found.labels):
        calls = np.array([one.decisions[label] for one in predictions])
        positive = found.targets[:, column]
        assert chosen["sensitivity"][column][0] == pytest.approx(calls[positive].mean())
        assert chosen["specificity"][column][0] == pytest.approx((~calls[~positive]).mean())
        if calls.any():
            assert chosen["ppv"][column][0] == pytest.approx(positive[calls].mean())
    far = judged.results["out_of_distribution"]["share_above_threshold"]
    known = model.config.distribution
    assert known is not None
    assert far == np.mean([one.distance > known.threshold for one in predictions])
    assert judged.results["input"]["quality_known"] == len(files)


def test_results_have_every_field_of_a_probes(probed, elsewhere):
    """So whatever reads a probe's results reads these."""
    ours, theirs = elsewhere().results, probed.results
    assert set(theirs) <= set(ours)
    mine, its = (one["models"][PRE_TRAINED] for one in (ours, theirs))
    assert set(its) <= set(mine)
    assert set(its["labels"][0]) == set(mine["labels"][0])
    assert set(its["macro"]) == set(mine["macro"])
    assert set(its["calibration"]) <= set(mine["calibration"])
    assert "NaN" not in (elsewhere().path / "results.json").read_text()


def test_what_reads_a_probe_reads_it(probed, on_test_fold, elsewhere, tmp_path):
    found = compare_predictions(probed.path, on_test_fold.path)
    assert found.difference.value == 0
    page = report([probed.path, on_test_fold.path, elsewhere().path], tmp_path / "report.html")
    text = page.read_text()
    assert "existing classifier" in text
    assert "slope" in text
    assert elsewhere().table()["label"].tolist() == list(KINDS)
    assert "evaluate" in repr(elsewhere())


def test_a_table_with_other_names_is_mapped(elsewhere):
    names = {"MI": "infarct", "CD": "block", "NORM": "NORM"}
    plain = elsewhere()
    mapped = elsewhere(names, out="mapped", mapping={"MI": "infarct", "CD": "block"})
    assert scores(mapped)["macro_auroc"] == scores(plain)["macro_auroc"]
    assert mapped.results["judged"]["map"] == {"MI": "infarct", "CD": "block"}
    partly = elsewhere(names, out="partly", mapping={"MI": "infarct"})
    assert partly.results["task"]["labels"] == ["NORM", "STTC", "MI"]
    assert partly.results["judged"]["labels_of_model_not_in_table"] == ["CD"]
    assert partly.results["judged"]["labels_of_table_not_in_model"] == ["block"]
    expected = {label["label"]: label["auroc"] for label in scores(plain)["labels"]}
    for label in scores(partly)["labels"]:
        assert label["auroc"] == expected[label["label"]]


def test_a_report_takes_a_table_that_lacks_labels_of_the_model(probed, elsewhere, clinic, tmp_path):
    """The calibration that results hold is that of the labels scored, in their order."""
    names = {"STTC": "STTC", "CD": "block"}
    partly = elsewhere(names, out="lacking")
    applied = CalibrationConfig.model_validate(scores(partly)["calibration"]["applied"])
    found = read_predictions(partly.path)
    predictions = load_model(probed.path).predict(
        [clinic / f"{name}.hea" for name in found.record_ids]
    )
    printed = [[one.probabilities[label] for label in found.labels] for one in predictions]
    assert np.allclose(applied.apply(found.outputs), printed, atol=1e-9)
    assert "ECG of record clinic/" in report([partly.path], tmp_path / "report.html").read_text()


def test_labels_may_change_places(elsewhere):
    """A name that the mapping gives to one label is not another's, too."""
    swapped = {"MI": "CD", "CD": "MI"}
    judged = elsewhere(swapped, out="swapped", mapping=swapped)
    assert scores(judged)["macro_auroc"] == scores(elsewhere())["macro_auroc"]
    half = elsewhere(swapped, out="half", mapping={"MI": "CD"})
    assert half.results["judged"]["labels_of_model_not_in_table"] == ["CD"]


@pytest.mark.parametrize(
    ("names", "mapping", "message"),
    [
        (
            dict.fromkeys(KINDS) | {kind: f"x{kind}" for kind in KINDS},
            {},
            r"none of its labels \(xNORM, xSTTC, xCD, xMI\) is one of the model's \(NORM, .*--map",
        ),
        ({}, {"AFIB": "MI"}, r"--map AFIB=MI: the model has no label 'AFIB'; it has NORM"),
        ({}, {"MI": "infarct"}, r"has no label 'infarct'; it has NORM"),
        ({}, {"MI": "CD", "CD": "CD"}, r"'CD' of the table is given to two labels"),
    ],
)
def test_labels_that_do_not_fit_are_refused(elsewhere, names, mapping, message):
    with pytest.raises(TaskError, match=message):
        elsewhere(names, out="refused", mapping=mapping)


def test_labels_that_nobody_has_have_no_score_and_are_named(elsewhere):
    def nobody(table):
        return table.assign(**dict.fromkeys(KINDS, 0))

    judged = elsewhere(change=nobody, out="nobody")
    found = scores(judged)
    assert found["macro_auroc"] == [None, None, None]
    assert found["undefined_labels"] == list(KINDS)
    rule = found["answers"]["decisions"]["rules"][0]
    assert rule["sensitivity"] == [None] * 4
    assert all(low <= value <= high for value, low, high in rule["specificity"])
    assert np.isnan(judged.score().value)


def test_records_that_were_seen_are_refused(probed, ptb_xl, table, cache, tmp_path):
    """By training, selection or pre-training; the message tells which folds to choose."""
    asked = {"task": str(table), "cache": cache}
    for folds in ((), (8,), (9,), (9, 10)):
        with pytest.raises(TaskError, match=r"which include .* choose others with --test-folds"):
            evaluate(probed.path, {"ptb-xl": ptb_xl}, tmp_path / "r", folds=folds, **asked)
    with pytest.raises(TaskError, match=r"choose others with --test-folds 10$"):
        evaluate(probed.path, {"ptb-xl": ptb_xl}, tmp_path / "r", **asked)
    with pytest.raises(TaskError, match="model was trained on folds"):
        evaluate(
            probed.path,
            {"ptb-xl": ptb_xl},
            tmp_path / "r",
            folds=(10,),
            fit_folds=(8,),
            fit_calibration=True,
            **asked,
        )
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (None, {}, r"model was trained on folds .* choose others with --test-folds 10$"),
        (None, {"folds": (12,)}, "no labelled record is left to score"),
        (None, {"folds": (10,), "mapping": {"NORM": "normal"}}, "has no label 'normal'"),
        (lambda table: table.assign(record=0), {}, "record '0' comes twice"),
        (lambda table: table.rename(columns={"record": "name"}), {}, "column"),
        (lambda table: table.add_prefix("x").rename(columns={"xrecord": "record"}), {}, "none of"),
    ],
)
def test_what_is_refused_costs_and_leaves_nothing(
    probed, ptb_xl, table, change, options, message, tmp_path
):
    """Refused by lists and tables alone: no record is prepared, and no folder is made."""
    theirs = tmp_path / "theirs.csv"
    (change or pd.DataFrame.copy)(pd.read_csv(table)).to_csv(theirs, index=False)
    asked = {"task": str(theirs), "cache": tmp_path / "cache"} | options
    with pytest.raises(TaskError, match=message):
        evaluate(probed.path, {"ptb-xl": ptb_xl}, tmp_path / "out", **asked)
    assert [path.name for path in tmp_path.iterdir()] == ["theirs.csv"]


def test_the_same_again_is_read_and_another_is_refused(elsewhere):
    first = elsewhere()
    before = (first.path / "results.json").stat().st_mtime_ns
    assert elsewhere() == first
    assert (first.path / "results.json").stat().st_mtime_ns == before
    with pytest.raises(ConfigError, match=r"differs in folds \(\[\] there, \[1\] asked for\)"):
        elsewhere(folds=(1,))


def test_a_prepared_store_gives_the_same(probed, elsewhere, clinic, cache, tmp_path):
    judged = elsewhere()
    (store,) = cache.glob("clinic-*")
    table = write_kinds(clinic, tmp_path / "kinds.csv", archive=True)
    asked = {"task": str(table), "cache": tmp_path / "none"}
    again = evaluate(probed.path, store, tmp_path / "r", **asked)
    assert scores(again) == scores(judged)
    other = ecgjepa.prepare({"clinic": clinic}, tmp_path / "store", workers=1)
    assert other.preprocessing.sampling_rate == 500
    with pytest.raises(TaskError, match="was prepared with sampling_rate 500"):
        evaluate(probed.path, tmp_path / "store", tmp_path / "q", **asked)


def test_an_encoder_without_a_head_is_refused(encoder, clinic, tmp_path):
    with pytest.raises(ModelFolderError, match="predicts nothing"):
        evaluate(encoder, {"clinic": clinic}, tmp_path / "r", task="codes")


def test_one_class_a_record(encoder, ptb_xl, clinic, cache, tmp_path):
    """A class that the model lacks cannot be right, so its records are left out and counted."""
    kinds_of(ptb_xl).to_csv(tmp_path / "kinds.csv", index=False)
    trained = probe(
        encoder,
        {"ptb-xl": ptb_xl},
        tmp_path / "probe",
        task=str(tmp_path / "kinds.csv"),
        kind="single-label",
        protocol="linear",
        cache=cache,
    )
    table = kinds_of(clinic, archive=True)
    table["kind"] = table["kind"].replace({"CD": "unheard of"})
    table.to_csv(tmp_path / "theirs.csv", index=False)
    asked = {"task": str(tmp_path / "theirs.csv"), "cache": cache}
    judged = evaluate(trained.path, {"clinic": clinic}, tmp_path / "judged", **asked)
    assert judged.results["task"]["kind"] == "single-label"
    assert judged.results["judged"]["records_of_other_classes_left_out"] == 30
    assert judged.results["counts"]["test"] == 90
    found = read_predictions(judged.path)
    assert np.allclose(found.outputs.sum(axis=1), 1)
    right = (found.outputs.argmax(axis=1) == found.targets.argmax(axis=1)).mean()
    assert scores(judged)["macro"]["record_accuracy"][0] == pytest.approx(right)
    assert scores(judged)["undefined_labels"] == ["CD"]


def test_values_of_a_regression(encoder, ptb_xl, clinic, cache, tmp_path):
    def write(root, path, **options):
        table = kinds_of(root, **options)
        values = table["kind"].map({kind: 10.0 * i for i, kind in enumerate(KINDS)})
        table.drop(columns="kind").assign(qt=400 + values).to_csv(path, index=False)
        return str(path)

    trained = probe(
        encoder,
        {"ptb-xl": ptb_xl},
        tmp_path / "probe",
        task=write(ptb_xl, tmp_path / "qt.csv"),
        kind="regression",
        protocol="linear",
        cache=cache,
    )
    theirs = write(clinic, tmp_path / "theirs.csv", archive=True)
    judged = evaluate(trained.path, {"clinic": clinic}, tmp_path / "j", task=theirs, cache=cache)
    found = read_predictions(judged.path)
    error = np.abs(found.outputs - found.targets).mean()
    assert scores(judged)["labels"][0]["mean_absolute_error"][0] == pytest.approx(error)
    assert 300 < found.outputs.mean() < 500
    with pytest.raises(ConfigError, match="neither thresholds nor a calibration"):
        evaluate(trained.path, {"clinic": clinic}, tmp_path / "k", fit_calibration=True)
    with pytest.raises(TaskError, match=r"none of its labels|expected a number"):
        evaluate(
            trained.path,
            {"clinic": clinic},
            tmp_path / "k",
            task=str(write_kinds(clinic, tmp_path / "kinds.csv", archive=True)),
            cache=cache,
        )
    assert json.loads((judged.path / "results.json").read_text())["measure"] == "r2"


def test_a_model_of_a_table_asks_for_the_table(probed, tmp_path):
    """The table is not kept with the model: its name is no task."""
    model = load_model(probed.path)
    task = model.config.task.model_copy(update={"name": "diagnoses-diagnosis"})
    choice = Choice(task=task.name)
    config = model.config.model_copy(update={"task": task})
    with pytest.raises(TaskError, match=r"trained on a table .* give --task TABLE\.csv:COLUMN"):
        refuse_early(config, {"clinic": tmp_path}, choice)


def test_evaluate_takes_columns_of_a_table_and_of_nothing_else(tmp_path):
    given = ["evaluate", "--model", "m", "--data", "a=.", "--labels", "x"]
    told = CliRunner().invoke(app, given)
    assert told.exit_code == 2
    assert "expected --task FILE.csv" in " ".join(told.output.replace("│", " ").split())
