"""What is fitted to a clinic is fitted to one part of its patients, and scored on the others."""

import json
import sys

import numpy as np
import pandas as pd
import pytest
from conftest import content
from hypothesis import given, settings
from hypothesis import strategies as st
from judged_records import KINDS, kinds_of, write_kinds

from ecgjepa import Split, cli, evaluate, load_model, probe
from ecgjepa.errors import ConfigError, TaskError
from ecgjepa.judging.answers import Fit, fit_answers
from ecgjepa.model.folder import read_model_config
from ecgjepa.model.outputs import parse_rule
from ecgjepa.results.layout import PRE_TRAINED
from ecgjepa.results.predictions import read_predictions, read_table


@pytest.fixture(scope="module")
def fit(probed, clinic, cache, tmp_path_factory):
    """Fit the probe to the clinic, whose labels may be changed before."""
    folder = tmp_path_factory.mktemp("fits")

    def run(out="fit", change=None, **options):
        path = write_kinds(clinic, folder / f"{out}.csv", archive=True)
        if change is not None:
            change(pd.read_csv(path)).to_csv(path, index=False)
        asked = {"fit_thresholds": "best-f1", "fit_calibration": True} | options
        return evaluate(
            probed.path, {"clinic": clinic}, folder / out, task=str(path), cache=cache, **asked
        )

    return run


def answers_of(evaluation):
    """Return what was fitted, without what it does on the records that were scored."""
    config = read_model_config(evaluation.path / "model")
    rules = [(one.rule, one.values) for one in config.answers.decisions.rules]
    return config.calibration, rules, config.answers.label_sets.thresholds


def test_labels_of_the_scored_part_change_nothing_that_is_fitted(fit):
    first = fit()
    split = pd.read_csv(first.path / "split.csv")
    scored = set(split.loc[split["part"] == "test", "record_id"])

    def turn(table):
        there = table["record"].isin(scored)
        table.loc[there, list(KINDS)] = 1 - table.loc[there, list(KINDS)]
        return table

    turned = fit("turned", turn)
    assert pd.read_csv(turned.path / "split.csv").equals(split)
    assert answers_of(turned) == answers_of(first)
    assert turned.score().value == pytest.approx(1 - first.score().value)

    def turn_others(table):
        there = ~table["record"].isin(scored)
        table.loc[there, list(KINDS)] = 1 - table.loc[there, list(KINDS)]
        return table

    assert answers_of(fit("others", turn_others)) != answers_of(first)


def test_the_new_model_has_the_old_weights_and_the_new_answers(probed, fit, clinic):
    before = content(probed.path)
    judged = fit()
    assert content(probed.path) == before
    old, new = read_model_config(probed.path / "model"), read_model_config(judged.path / "model")
    assert new.weights_sha256 == old.weights_sha256
    assert new.calibration != old.calibration
    model = load_model(judged.path)
    found = read_predictions(judged.path)
    predictions = model.predict([clinic / f"{name}.hea" for name in found.record_ids])
    printed = np.array([list(one.probabilities.values()) for one in predictions])
    assert np.allclose(new.calibration.apply(found.outputs), printed, atol=1e-9)
    rule = new.answers.decisions.thresholds
    calls = np.array([[one.decisions[label] for label in KINDS] for one in predictions])
    assert np.array_equal(calls, printed >= np.array(rule.values))
    for column in range(len(KINDS)):
        hit = calls[found.targets[:, column], column].mean()
        assert rule.sensitivity[column][0] == pytest.approx(hit)
    assert new.answers.tested.records == len(found.record_ids)
    assert "Fitted to clinic" in (judged.path / "model/README.md").read_text()


def test_a_patient_is_in_one_part_and_the_seed_draws_it(fit):
    def parts(evaluation):
        table = read_table(evaluation.path)[1]
        return {part: set(rows["record_id"]) for part, rows in table.groupby("part")}

    first, other = parts(fit()), parts(fit("seed", seed=1))
    assert not first["validation"] & first["test"]
    assert len(first["validation"]) == 60
    assert len(first["test"]) == 60
    assert other["test"] != first["test"]
    quarter = parts(fit("quarter", fit_share=0.25))
    assert len(quarter["validation"]) == 30
    assert quarter["validation"] <= first["validation"], "a share lies in a greater one"


def test_patients_of_several_records_stay_together(encoder, ptb_xl, table, cache, tmp_path):
    """Patients of fold 9 have two records each."""
    asked = {"task": str(table), "cache": cache}
    split = Split(validation=(10,), test=(9,))
    data = {"ptb-xl": ptb_xl}
    trained = probe(encoder, data, tmp_path / "p", protocol="linear", split=split, **asked)
    out = tmp_path / "r"
    judged = evaluate(trained.path, data, out, folds=(9,), fit_calibration=True, **asked)
    parts = pd.read_csv(judged.path / "split.csv")
    assert parts["patient_id"].duplicated().any()
    assert (parts.groupby("patient_id")["part"].nunique() == 1).all()
    # What it was fitted to, it has seen: it is not judged there again.
    with pytest.raises(TaskError, match=r"selected on \[9\]"):
        evaluate(judged.path, data, tmp_path / "again", folds=(9,), **asked)


def test_thresholds_alone_leave_the_calibration(probed, fit):
    judged = fit("thresholds", fit_calibration=False, fit_thresholds="sensitivity=0.8")
    new = read_model_config(judged.path / "model")
    assert new.calibration == read_model_config(probed.path / "model").calibration
    assert new.answers.decisions.chosen == "sensitivity=0.8"


def test_labels_that_the_table_lacks_keep_their_answers(probed, fit):
    judged = fit("lacking", lambda table: table.drop(columns="CD"))
    old, new = (read_model_config(one.path / "model") for one in (probed, judged))
    place = KINDS.index("CD")
    assert new.calibration.scale[place] == old.calibration.scale[place]
    for one in new.answers.decisions.rules:
        before = {rule.rule: rule.values for rule in old.answers.decisions.rules}
        assert one.values[place] == before[one.rule][place]
        assert "CD" in one.remarks
    assert new.answers.label_sets.thresholds[place] == old.answers.label_sets.thresholds[place]
    assert new.answers.tested.auroc[place] is None
    assert load_model(judged.path).task.labels == KINDS


def test_one_class_a_record_gets_a_temperature(encoder, ptb_xl, clinic, cache, tmp_path):
    asked = {"task": str(tmp_path / "kinds.csv"), "cache": cache}
    kinds_of(ptb_xl).to_csv(tmp_path / "kinds.csv", index=False)
    trained = probe(
        encoder,
        {"ptb-xl": ptb_xl},
        tmp_path / "probe",
        kind="single-label",
        protocol="linear",
        **asked,
    )
    kinds_of(clinic, archive=True).to_csv(tmp_path / "theirs.csv", index=False)
    judged = evaluate(
        trained.path,
        {"clinic": clinic},
        tmp_path / "judged",
        task=str(tmp_path / "theirs.csv"),
        fit_calibration=True,
        cache=cache,
    )
    new = read_model_config(judged.path / "model")
    assert new.calibration.method == "temperature"
    assert len(set(new.calibration.scale)) == 1
    assert new.answers.label_sets.kind == "lac"
    tested = judged.results["models"][PRE_TRAINED]["calibration"]["test"]
    assert tested["temperature"]["log_loss"] < tested["before"]["log_loss"] + 0.05


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fit_folds": (9,), "fit_share": 0.5}, "one of the two"),
        ({"fit_folds": (9,)}, "no test folds are given"),
        ({"fit_folds": (9,), "folds": (9, 10)}, r"folds \[9\]: what answers are fitted to cannot"),
        ({"fit_share": 1.0}, "none is left to score"),
        ({"fit_share": 1.5}, "expected more than 0, up to 1"),
        ({"fit_thresholds": "accuracy"}, "unknown decision rule 'accuracy'"),
        ({"fit_thresholds": None, "fit_calibration": False, "fit_share": 0.5}, "nothing to fit"),
    ],
)
def test_what_cannot_be_fitted_is_refused(fit, options, message):
    with pytest.raises((ConfigError, TaskError), match=message):
        fit("refused", **options)


def test_folds_to_fit_to_are_those_that_are_given(fit):
    judged = fit("folds", fit_folds=(1, 2, 3, 4, 5), folds=(6, 7, 8, 9, 10))
    split = pd.read_csv(judged.path / "split.csv")
    assert split.groupby("part")["fold"].agg(["min", "max"]).to_numpy().tolist() == [
        [6, 10],
        [1, 5],
    ]
    assert json.loads((judged.path / "results.json").read_text())["split"]["train"] == []


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), calibrates=st.booleans())
def test_order_of_records_is_of_no_matter(probed, seed, calibrates):
    config = read_model_config(probed.path / "model")
    rng = np.random.default_rng(seed)
    targets, values = rng.random((60, 4)) < 0.4, rng.uniform(0.01, 0.99, (60, 4))
    order = rng.permutation(60)
    rule = Fit(parse_rule("specificity=0.8"), calibrates)
    first, again = (
        fit_answers(config, [0, 1, 2, 3], targets[rows], values[rows], rule, folds=())
        for rows in (np.arange(60), order)
    )
    assert np.allclose(first.calibration.scale, again.calibration.scale, rtol=1e-4)
    assert np.array_equal(
        first.calibrate(values) >= first.thresholds("best-f1"),
        again.calibrate(values) >= again.thresholds("best-f1"),
    )


def test_the_command(probed, clinic, cache, tmp_path, monkeypatch, capsys):
    names = {"MI": "infarct", "CD": "x=y"}
    table = write_kinds(clinic, tmp_path / "theirs.csv", names, archive=True)
    words = ["evaluate", "--model", probed.path, "--data", f"clinic={clinic}", "--task", table]
    words += ["--map", "MI=infarct", "--map", "CD=x=y", "--fit-thresholds", "specificity=0.8"]
    words += ["--fit-share", "0.4", "--out", tmp_path / "judged", "--cache", cache]

    def run(*more):
        monkeypatch.setattr(sys, "argv", ["ecgjepa", *map(str, [*words, *more])])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return stop.value.code, *capsys.readouterr()

    code, out, _ = run()
    assert not code
    # A path is never broken.
    assert max(len(line) for line in out.splitlines() if str(tmp_path) not in line) <= 79
    assert "task theirs: 72 records of 72 patients" in out
    assert "thresholds of specificity=0.8" in out
    assert "use: ecgjepa predict FOLDER" in out
    for number in ("MI", "CD", "NORM", "STTC"):
        assert f"\n{number}" in out
    code, out, _ = run("--json")
    assert json.loads(out)["judged"]["map"] == {"MI": "infarct", "CD": "x=y"}
    assert run("--map", "NORM")[0] == 2
    code, _, error = run("--test-folds", "1-5", "--fit-folds", "5")
    assert code == 2
    assert "expected one of the two" in " ".join(error.split())
