"""Thresholds on the scale that predict prints, fitted on validation records, in model folders."""

import json
import shutil

import hypothesis
import numpy as np
import pandas as pd
import pytest
from hypothesis import strategies as st
from sklearn.metrics import f1_score
from small_encoders import save_encoder
from typed import run

import ecgjepa
from ecgjepa.errors import ConfigError, ModelFolderError
from ecgjepa.metrics.thresholds import sensitivity_thresholds


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


@pytest.fixture(scope="module")
def probed(ptb_xl, tmp_path_factory):
    folder = tmp_path_factory.mktemp("decisions")
    return ecgjepa.probe(
        save_encoder(folder / "encoder"),
        {"ptb-xl": ptb_xl},
        folder / "probe",
        task="superdiagnostic",
        protocol="linear",
        split=ecgjepa.Split(train=(1, 2), validation=(3, 4, 5, 6), test=(7, 8, 9, 10)),
        decision="specificity=0.8",
        cache=folder / "cache",
    )


@pytest.fixture(scope="module")
def probed_values(probed, ptb_xl):
    """Return a probe of two made-up values on the same features."""
    folder = probed.path.parent
    rng = np.random.default_rng(0)
    table = pd.read_csv(probed.path / "split.csv", dtype=str)[["record_id"]]
    table[["size", "shift"]] = rng.normal(100, 10, (len(table), 2))
    table.to_csv(folder / "values.csv", index=False)
    return ecgjepa.probe(
        folder / "encoder",
        {"ptb-xl": ptb_xl},
        folder / "values",
        task=str(folder / "values.csv"),
        kind="regression",
        protocol="linear",
        split=ecgjepa.Split(train=(1, 2), validation=(3, 4, 5, 6), test=(7, 8, 9, 10)),
        cache=folder / "cache",
    )


def part_of(probed, part):
    """Return record ids, targets and calibrated probabilities of a part, from the table."""
    table = pd.read_parquet(probed.path / "predictions.parquet")
    rows = table[(table["part"] == part) & (table["model"] == "pre-trained")]
    config = ecgjepa.load_model(probed.path).config
    names = config.task.labels
    targets = rows[[f"target:{name}" for name in names]].to_numpy(bool)
    scores = rows[[f"probability:{name}" for name in names]].to_numpy(np.float64)
    return rows["record_id"].tolist(), targets, config.calibration.apply(scores)


def files_of(ptb_xl, records):
    return [ptb_xl / f"records500/00000/{int(name):05d}_hr.hea" for name in records]


def test_thresholds_are_those_of_the_calibrated_validation_records(probed):
    _, targets, values = part_of(probed, "validation")
    answers = ecgjepa.load_model(probed.path).config.answers
    assert answers.decisions.folds == answers.label_sets.folds == (3, 4, 5, 6)
    assert answers.decisions.chosen == "specificity=0.8"
    best, _, specific = answers.decisions.rules
    assert any(one is not None for one in specific.values)
    for column, positive in enumerate(targets.T):
        called = values[:, column]
        if best.values[column] is not None:
            reached = f1_score(positive, called >= best.values[column])
            assert reached == max(f1_score(positive, called >= least) for least in called)
        if specific.values[column] is not None:
            assert (called[~positive] < specific.values[column]).mean() >= 0.8


@pytest.mark.parametrize("rule", [None, "best-f1", "sensitivity", "specificity=0.8"])
def test_decisions_are_those_of_the_thresholds_on_the_calibrated_test_records(probed, ptb_xl, rule):
    records, _, values = part_of(probed, "test")
    model = ecgjepa.load_model(probed.path, decision=rule)
    thresholds = model.config.answers.decisions.thresholds
    assert thresholds.rule.startswith(rule or "specificity=0.8")
    sets = model.config.answers.label_sets
    predictions = model.predict(files_of(ptb_xl, records))
    for told, row in zip(predictions, values, strict=True):
        assert told.rule == thresholds.rule
        for label, value, least in zip(model.task.labels, row, thresholds.values, strict=True):
            # Features of an evaluation are kept in half precision.
            assert told.probabilities[label] == pytest.approx(value, abs=2e-3)
            if least is None:
                assert label not in told.decisions
            elif abs(value - least) > 2e-3:
                assert told.decisions[label] == (value >= least)
        assert told.label_set == sets.apply(told.probabilities)


def test_what_the_folder_claims_of_its_thresholds_is_true_of_the_test_records(probed):
    records, targets, values = part_of(probed, "test")
    answers = ecgjepa.load_model(probed.path).config.answers
    assert answers.tested.records == len(records)
    assert answers.tested.positives == tuple(targets.sum(axis=0).tolist())
    assert answers.tested.databases == ("ptb-xl",)
    for rule in answers.decisions.rules:
        for column, least in enumerate(rule.values):
            told = [getattr(rule, name)[column] for name in ("sensitivity", "specificity", "ppv")]
            if least is None:
                assert told == [None] * 3
                continue
            positive, called = targets[:, column], values[:, column] >= least
            for one, (hits, counted) in zip(
                told,
                [
                    (called & positive, positive),
                    (~called & ~positive, ~positive),
                    (called & positive, called),
                ],
                strict=True,
            ):
                if not counted.any():
                    assert one is None
                    continue
                assert one[0] == pytest.approx(hits.sum() / counted.sum())
                assert one[1] <= one[0] <= one[2]
                assert one[2] - one[1] > 0.1  # 16 records prove little
    names = ecgjepa.load_model(probed.path).task.labels
    told = [dict(zip(names, row, strict=True)) for row in values.tolist()]
    sizes = [len(answers.label_sets.apply(one)) for one in told]
    assert answers.label_sets.mean_size == pytest.approx(np.mean(sizes))


def test_results_hold_what_the_folder_holds(probed):
    answers = ecgjepa.load_model(probed.path).config.answers
    assert probed.results["models"]["pre-trained"]["answers"] == answers.model_dump(mode="json")


def test_without_calibration_there_are_no_decisions_and_no_set(probed, ptb_xl):
    model = ecgjepa.load_model(probed.path, calibrated=False)
    (told,) = model.predict(files_of(ptb_xl, [1]))
    assert (told.decisions, told.rule, told.label_set) == ({}, None, None)
    with pytest.raises(ConfigError, match="holds no thresholds of uncalibrated probabilities, so"):
        ecgjepa.load_model(probed.path, calibrated=False, decision="best-f1")


def older(folder, probed, **changes):
    """Write the model as ecgjepa wrote version 1 of its folder."""
    shutil.copytree(probed.path / "model", folder)
    content = json.loads((folder / "config.json").read_text())
    del content["answers"]
    content |= {"format_version": 1} | changes
    (folder / "config.json").write_text(json.dumps(content))
    return folder


def test_a_folder_of_version_1_opens_and_names_what_it_lacks(probed, ptb_xl, tmp_path):
    old = older(tmp_path / "model", probed)
    (told,) = ecgjepa.predict(files_of(ptb_xl, [1]), old)
    assert told.error is None
    assert (told.decisions, told.label_set) == ({}, None)
    config = ecgjepa.load_model(old).config
    assert config.answers is None
    thresholds = {
        "best_f1": [0.5] * 4 + [None],
        "at_sensitivity": [0.1] * 5,
        "at_specificity": [1.0000000000000002] * 5,
        "sensitivity": 0.9,
        "specificity": 0.9,
        "folds": [9],
    }
    some = older(tmp_path / "some", probed, decisions=thresholds)
    model = ecgjepa.load_model(some)
    assert model.config.answers.lacking("multi-label") == ["label sets", "test scores"]
    (told,) = model.predict(files_of(ptb_xl, [1]))
    assert told.rule == "best-f1"
    assert told.decisions == {
        label: told.probabilities[label] >= 0.5 for label in model.task.labels[:4]
    }
    specific = ecgjepa.load_model(some, decision="specificity").predict(files_of(ptb_xl, [1]))
    assert not any(specific[0].decisions.values())
    thresholds["best_f1"] = [0.5] * 4
    damaged = older(tmp_path / "damaged", probed, decisions=thresholds)
    with pytest.raises(ModelFolderError, match="found 5, for 4 labels of task"):
        ecgjepa.load_model(damaged)


def test_the_card_has_a_row_of_every_label_and_ends_with_two_commands(probed):
    card = (probed.path / "model/README.md").read_text(encoding="utf-8")
    answers = ecgjepa.load_model(probed.path).config.answers
    (head,) = [line for line in card.splitlines() if line.startswith("| label |")]
    assert head.count("|") == 10
    thresholds = answers.decisions.thresholds
    for column, label in enumerate(("CD", "HYP", "MI", "NORM", "STTC")):
        (row,) = [line for line in card.splitlines() if line.startswith(f"| {label} ")]
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert (cells[0].endswith("*"), int(cells[1])) == (
            answers.tested.positives[column] < 10,
            answers.tested.positives[column],
        )
        least, found = thresholds.values[column], thresholds.sensitivity[column]
        assert cells[3] == ("none" if least is None else f"{least:.3g}")
        assert cells[4].startswith("-" if found is None else f"{found[0]:.3g} ({found[1]:.3g} to ")
    assert "threshold by specificity=0.8; the folder also holds best-f1 and sensitivity=0.9" in card
    everywhere = zip(
        ("CD", "HYP", "MI", "NORM", "STTC"), answers.label_sets.thresholds, strict=True
    )
    names = ", ".join(label for label, least in everywhere if least is None)
    assert names
    assert f"In every set, for want of validation records: {names}." in card
    commands = [line.strip().split()[0] for line in card.splitlines() if line.startswith("    ")]
    assert commands == ["pip", "ecgjepa"]


def test_the_command_prints_decisions_by_the_rule_that_is_asked_for(
    probed, ptb_xl, monkeypatch, capsys, tmp_path
):
    (file,), model = files_of(ptb_xl, [1]), f"--model {probed.path}"
    run(f"ecgjepa predict {file} {model} --json", monkeypatch)
    (told,) = json.loads(capsys.readouterr().out)
    assert told["rule"] == "specificity=0.8"
    run(f"ecgjepa predict {file} {model} --decision best-f1", monkeypatch)
    shown = capsys.readouterr().out
    assert "yes: at or above the label's threshold by best-f1 (folds 3 to 6)" in shown
    assert "set: made to hold 90 % of the true labels" in shown
    assert "quality good" in shown
    (loaded,) = ecgjepa.load_model(probed.path, decision="best-f1").predict([file])
    for label, call in loaded.decisions.items():
        row = next(line for line in shown.splitlines() if line.startswith(f"  {label} "))
        assert row.split()[2] == ("yes" if call else "no")
    table = tmp_path / "table.csv"
    run(f"ecgjepa predict {file} {model} --decision best-f1 --out {table}", monkeypatch)
    row = pd.read_csv(table).iloc[0]
    assert row["rule"] == "best-f1"
    assert {label: bool(row[f"{label}_yes"]) for label in loaded.decisions} == loaded.decisions
    run(f"ecgjepa predict {file} {model} --decision specificity --out {table}", monkeypatch, code=2)
    run(f"ecgjepa predict {file} {model} --decision sensitivity=0.5", monkeypatch, code=2)
    assert "holds best-f1, sensitivity=0.9, specificity=0.8" in capsys.readouterr().err


def test_the_command_names_what_an_older_folder_lacks(
    probed, ptb_xl, monkeypatch, capsys, tmp_path
):
    old = older(tmp_path / "model", probed)
    run(f"ecgjepa predict {files_of(ptb_xl, [1])[0]} --model {old}", monkeypatch)
    shown = capsys.readouterr().out
    assert "this model folder holds no: thresholds, label sets, test scores" in shown


def test_the_report_says_what_the_saved_model_answers(probed, tmp_path):
    page = ecgjepa.report([probed.path], tmp_path / "report.html").read_text(encoding="utf-8")
    rule = ecgjepa.load_model(probed.path).config.answers.decisions.thresholds
    column = next(place for place, one in enumerate(rule.ppv) if one is not None)
    value, low, high = rule.ppv[column]
    assert f'{value:.3f} <span class="bounds">({low:.3f} to {high:.3f})</span>' in page
    assert "at or above the label's threshold by specificity=0.8" in page.replace("&#39;", "'")


def test_a_regression_has_intervals_that_hold_what_the_folder_says(
    probed_values, ptb_xl, monkeypatch, capsys
):
    model = ecgjepa.load_model(probed_values.path)
    answers = model.config.answers
    assert answers.decisions is answers.label_sets is None
    table = pd.read_parquet(probed_values.path / "predictions.parquet")
    rows = table[table["model"] == "pre-trained"]
    parts = {part: rows[rows["part"] == part] for part in ("validation", "test")}
    for column, name in enumerate(model.task.labels):
        errors = {
            part: (some[f"target:{name}"] - some[f"value:{name}"]).abs().to_numpy()
            for part, some in parts.items()
        }
        half, number = answers.value_intervals.half_widths[column], len(errors["validation"])
        rank = int(np.ceil(0.9 * (number + 1)))
        assert half == pytest.approx(np.sort(errors["validation"])[rank - 1])
        held = answers.value_intervals.measured[column][0]
        assert held == pytest.approx((errors["test"] <= half).mean())
        assert answers.tested.r2[column] is not None
    (file,) = files_of(ptb_xl, parts["test"]["record_id"].head(1))
    (told,) = model.predict([file])
    for name, half in zip(model.task.labels, answers.value_intervals.half_widths, strict=True):
        value = told.probabilities[name]
        assert told.intervals[name] == pytest.approx((value - half, value + half))
    run(f"ecgjepa predict {file} --model {probed_values.path}", monkeypatch)
    low, high = told.intervals["size"]
    assert f"({low:.4g} to {high:.4g})" in capsys.readouterr().out
    card = (probed_values.path / "model/README.md").read_text(encoding="utf-8")
    assert "| value | R² | mean absolute error | interval of 90 % |" in card
    page = ecgjepa.report([probed_values.path], probed_values.path / "r.html").read_text()
    assert "Intervals of 90 % about each value of the saved model" in page
