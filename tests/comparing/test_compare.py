"""A whole comparison, as small as it gets, and its numbers against sums written out."""

import json
import time

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import SMALL_MODEL, write_ptb_xl

from ecgjepa.comparing import cells
from ecgjepa.comparing.compare import compare
from ecgjepa.comparing.plan import ComparisonPlan, affordable_steps, load_plan, plan_names
from ecgjepa.config import load_preset
from ecgjepa.errors import ConfigError, ScoreError
from ecgjepa.evaluation.bootstrap import PatientBootstrap
from ecgjepa.evaluation.metrics import macro_auroc
from ecgjepa.evaluation.predictions import compare_predictions
from ecgjepa.files import holding
from ecgjepa.pretraining.costs import count_flops
from ecgjepa.signals.preprocessing import PreprocessingConfig
from ecgjepa.store.prepare import prepare

OVERRIDES = [item for item in SMALL_MODEL if not item.startswith("train.batch")]
OVERRIDES += ["train.batch_size=8", "train.log_every=2"]
NO_REGISTERS = [*OVERRIDES, "encoder.num_registers=0"]
FEW = ["steps=4", "validate_every=2", "batch_size=8", "warmup_steps=0"]
PLAN = {
    "folds": {"train": [1, 2, 3, 4, 5, 6, 7], "validation": [8], "test": [9]},
    "tasks": ["superdiagnostic"],
    "seeds": [0, 1],
    "budget_teraflop": 2e-4,
    "arms": {
        "JEPA": {"preset": "tiny", "overrides": OVERRIDES},
        "MAE": {"preset": "tiny-mae", "overrides": OVERRIDES},
    },
    "baselines": {
        "random": {"kind": "untrained"},
        "scratch": {"kind": "scratch", "like": "MAE"},
        "xresnet1d18": {"kind": "network"},
    },
    "protocols": [
        {"name": "linear", "label_fractions": [1.0, 0.5]},
        {"name": "finetune", "overrides": FEW},
        {"name": "supervised", "overrides": FEW},
    ],
    "min_positives": 1,
}


def with_protocol(**protocol):
    return {"protocols": [protocol]}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_ptb_xl(tmp_path_factory.mktemp("source"), records=90, seconds=4.0)


@pytest.fixture(scope="module")
def setting(tmp_path_factory, source):
    folder = tmp_path_factory.mktemp("compare")
    prepare(
        {"ptb-xl": source},
        folder / "store",
        folds=(1, 2, 3, 4, 5, 6, 7),
        preprocessing=PreprocessingConfig(sampling_rate=100.0),
    )
    path = folder / "plan.yaml"
    path.write_text(yaml.safe_dump(PLAN, sort_keys=False))
    return path, folder / "store", {"ptb-xl": source}, folder / "out"


@pytest.fixture(scope="module")
def done(setting):
    return compare(*setting, cache=setting[3].parent / "cache", device="cpu")


def test_every_model_is_in_the_table_once_with_all_its_runs(done):
    found = {(entry.column, entry.model): entry for entry in done.entries}
    assert set(found) == {
        ("linear", "JEPA"),
        ("linear", "random"),
        ("linear", "MAE"),
        ("linear, 50 % of labels", "JEPA"),
        ("linear, 50 % of labels", "random"),
        ("linear, 50 % of labels", "MAE"),
        ("finetune", "JEPA"),
        ("finetune", "scratch"),
        ("finetune", "MAE"),
        ("supervised", "xresnet1d18"),
    }
    assert len(found) == len(done.entries)
    assert all(len(entry.runs) == 2 for entry in done.entries)
    assert found["linear", "JEPA"].difference is None
    assert found["linear", "MAE"].difference is not None
    # A residual network is compared with the first arm fine-tuned.
    gap = np.mean(found["supervised", "xresnet1d18"].runs) - np.mean(found["finetune", "JEPA"].runs)
    assert found["supervised", "xresnet1d18"].difference.value == pytest.approx(gap)
    text = (done.path / "comparison.md").read_text()
    assert "| model | linear | linear, 50 % of labels | finetune | supervised |" in text
    scores = next(line for line in text.splitlines() if line.startswith("| random |"))
    assert scores.count("| - ") == 2
    value, low, high = found["linear", "random"].macro_auroc
    assert scores.startswith(f"| random | {value:.3f} ({low:.3f} to {high:.3f}) ± ")
    assert "arXiv 2410.13867" in text
    assert (done.path / "comparison.svg").read_text().count("MAE") >= 1


def test_differences_are_paired_and_runs_are_not_patients(done):
    def scores(arm, seed):
        folder = done.path / f"results/superdiagnostic/linear-100/{arm}-{seed}"
        table = pd.read_parquet(folder / "predictions.parquet")
        rows = table[(table["model"] == arm) & (table["part"] == "test")]
        labels = [name[7:] for name in rows.columns if name.startswith("target:")]
        targets = rows[[f"target:{label}" for label in labels]].to_numpy(bool)
        return targets, rows[[f"probability:{label}" for label in labels]].to_numpy(float), rows

    targets, _, rows = scores("MAE", 0)
    bootstrap = PatientBootstrap(rows["patient_id"].to_numpy(dtype=str))
    change, value = 0.0, 0.0
    for seed in (0, 1):
        mae, jepa = scores("MAE", seed)[1], scores("JEPA", seed)[1]
        change += bootstrap.macro_auroc(targets, mae) - bootstrap.macro_auroc(targets, jepa)
        value += macro_auroc(targets, mae) - macro_auroc(targets, jepa)
    entry = next(e for e in done.entries if (e.column, e.model) == ("linear", "MAE"))
    assert entry.difference.value == pytest.approx(value / 2)
    assert entry.difference.low == pytest.approx(np.nanquantile(change / 2, 0.025))


def test_what_is_done_is_not_repeated_and_what_is_missing_is(done, setting, monkeypatch):
    before = (done.path / "comparison.json").read_bytes()
    called = []
    real = cells.run_protocol
    monkeypatch.setattr(
        cells,
        "run_protocol",
        lambda run, *given, **rest: called.append(run.name) or real(run, *given, **rest),
    )
    cache = setting[3].parent / "cache"
    compare(*setting, cache=cache, device="cpu")
    assert called == []
    (done.path / "results/superdiagnostic/linear-100/MAE-1/cell.json").unlink()
    compare(*setting, cache=cache, device="cpu")
    assert called == ["MAE-1"]
    assert (done.path / "comparison.json").read_bytes() == before


def test_what_another_process_is_at_work_on_is_waited_for(done, setting, monkeypatch):
    before = (done.path / "comparison.json").read_bytes()
    cell = done.path / "results/superdiagnostic/linear-100/MAE-1/cell.json"
    content = cell.read_bytes()
    cell.unlink()
    slept = []

    def other_process_finishes(seconds):
        slept.append(seconds)
        cell.write_bytes(content)

    monkeypatch.setattr(time, "sleep", other_process_finishes)
    monkeypatch.setattr(cells, "run_protocol", None)  # nothing is left for this one
    with holding(done.path / "locks" / "results-superdiagnostic-linear-100-MAE-1"):
        compare(*setting, cache=setting[3].parent / "cache", device="cpu")
    assert len(slept) == 1
    assert (done.path / "comparison.json").read_bytes() == before


def test_arms_spend_the_same_operations(done):
    plan = load_plan("small")
    spent = []
    for arm in plan.arms:
        config = plan.config(arm, 0)
        spent.append(config.train.steps * config.train.batch_size * count_flops(config).total)
    assert np.ptp(spent) / np.mean(spent) < 0.001
    assert np.mean(spent) == pytest.approx(plan.budget_teraflop * 1e12, rel=0.001)
    config = load_preset("tiny")
    one = count_flops(config).total * 64 / 1e12
    assert affordable_steps(config, 7.9 * one) == 7
    assert affordable_steps(config, 0.1 * one) == 1


def test_another_comparison_in_the_folder_is_refused(done, setting, tmp_path):
    other = tmp_path / "plan.yaml"
    other.write_text(yaml.safe_dump({**PLAN, "seeds": [0]}, sort_keys=False))
    with pytest.raises(ConfigError, match="holds a comparison of another plan or store"):
        compare(other, *setting[1:], device="cpu")


def test_a_store_with_folds_of_the_test_is_refused_before_anything_is_spent(
    setting, source, tmp_path
):
    prepare(
        {"ptb-xl": source},
        tmp_path / "store",
        preprocessing=PreprocessingConfig(sampling_rate=100.0),
    )
    with pytest.raises(ConfigError, match=r"holds folds \[8\] of ptb-xl, which this plan selects"):
        compare(setting[0], tmp_path / "store", setting[2], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(ConfigError, match="evaluates ptb-xl; found code-15"):
        compare(setting[0], setting[1], {"code-15": source}, tmp_path / "out")


@pytest.mark.parametrize("name", plan_names())
def test_plans_of_the_package_are_sound_and_survive_json(name):
    plan = load_plan(name)
    assert ComparisonPlan.model_validate(json.loads(plan.model_dump_json())) == plan


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"tasks": ["sex"]}, "unknown task 'sex'"),
        ({"arms": {"A": {"preset": "huge"}}, "baselines": {}}, "unknown preset 'huge'"),
        (with_protocol(name="linear", overrides=["steps=3"]), "protocol linear has no settings"),
        (with_protocol(name="attentive", overrides=["stepps=3"]), "stepps: no such key"),
        (with_protocol(name="supervised", overrides=["layer_decay=0.9"]), "layer_decay is 0.9"),
        (
            {"arms": {**PLAN["arms"], "A": {"preset": "tiny", "overrides": NO_REGISTERS}}},
            "num_registers of at least 1, and this one has 0",
        ),
        (with_protocol(name="ridge"), "protocols"),
        (with_protocol(name="linear", label_fractions=[0.0]), "label_fractions"),
        ({"protocols": [{"name": "knn"}, {"name": "knn"}]}, "a protocol comes twice"),
        (with_protocol(name="linear"), "'scratch' .* is evaluated by none of the protocols linear"),
        ({"baselines": {"MAE": {"kind": "untrained"}}}, "'MAE' has the name of an arm"),
        ({"baselines": {"r": {"kind": "untrained", "like": "B"}}}, "like 'B', which is no arm"),
        (
            {"baselines": {"r": {"kind": "network", "network": "lenet"}}},
            "network 'lenet': expected",
        ),
        ({"folds": {"train": [1], "validation": [1], "test": [2]}}, "fold"),
        ({"budget_teraflop": 0}, "budget_teraflop"),
    ],
)
def test_wrong_plans_are_named(tmp_path, change, match):
    path = tmp_path / "plan.yaml"
    path.write_text(yaml.safe_dump({**PLAN, **change}))
    with pytest.raises(ConfigError, match=match):
        load_plan(path)
    with pytest.raises(
        ConfigError, match="unknown plan 'large': expected one of paper, quick, small"
    ):
        load_plan("large")


def test_labels_with_few_positives_are_in_no_mean(done):
    folder = done.path / "results/superdiagnostic/linear-100"
    runs = [folder / "MAE-0"], [folder / "JEPA-0"]
    names = {"model": "MAE", "second_model": "JEPA"}
    table = pd.read_parquet(runs[0][0] / "predictions.parquet")
    table = table[table["part"] == "test"]
    positives = {name[7:]: int(table[name].sum()) for name in table if name.startswith("target:")}
    both = {name: min(count, len(table) - count) for name, count in positives.items()}
    least = sorted(both.values())[2]
    kept = [name for name, count in both.items() if count >= least]
    compared = compare_predictions(*runs, **names, min_positives=least)
    assert [label.label for label in compared.labels] == kept
    assert set(compared.undefined_labels) == set(both) - set(kept)
    aurocs = [
        macro_auroc(
            table[[f"target:{name}"]].to_numpy(bool), table[[f"probability:{name}"]].to_numpy()
        )
        for name in kept
    ]
    assert compared.first.score.value == pytest.approx(np.mean(aurocs))
    with pytest.raises(ScoreError, match="none of 5 labels has 1000 positive and 1000 negative"):
        compare_predictions(*runs, **names, min_positives=1000)
