"""A whole comparison, as small as it gets, and its numbers against sums written out."""

import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import SMALL_MODEL, copy_as_challenge, toy_ecg, write_ptb_xl, write_wfdb
from joblib import parallel_config
from pydantic import ValidationError
from resampling import macro_aurocs

from ecgjepa.comparing import cells
from ecgjepa.comparing.compare import compare, refuse_leaking_store
from ecgjepa.comparing.plan import ComparisonPlan, affordable_steps, load_plan, plan_names
from ecgjepa.config import load_preset
from ecgjepa.errors import ConfigError, EcgjepaError, ScoreError
from ecgjepa.locks import holding
from ecgjepa.metrics.bootstrap import PatientBootstrap
from ecgjepa.metrics.classification import macro_auroc
from ecgjepa.planning.costs import count_flops
from ecgjepa.results.compared import compare_predictions
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
        {"name": "linear", "reading": "all-blocks"},
        {"name": "finetune", "overrides": FEW},
        {"name": "supervised", "overrides": FEW},
    ],
    "min_positives": 1,
}

LINEAR = [{"name": "linear", "label_fractions": [1.0]}]


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
        ("linear, all blocks", "JEPA"),
        ("linear, all blocks", "random"),
        ("linear, all blocks", "MAE"),
        ("finetune", "JEPA"),
        ("finetune", "scratch"),
        ("finetune", "MAE"),
        ("finetune", "xresnet1d18"),
    }
    assert len(found) == len(done.entries)
    assert all(len(entry.runs) == 2 for entry in done.entries)
    assert found["linear", "JEPA"].difference is None
    assert found["linear", "MAE"].difference is not None
    # A residual network is compared with the first arm fine-tuned, in its column.
    network = found["finetune", "xresnet1d18"]
    gap = np.mean(network.runs) - np.mean(found["finetune", "JEPA"].runs)
    assert network.protocol == "supervised"
    assert network.difference.value == pytest.approx(gap)
    text = (done.path / "comparison.md").read_text()
    heads = "linear | linear, 50 % of labels | linear, all blocks | finetune"
    assert f"| model | {heads} |" in text
    assert found["linear, all blocks", "MAE"].runs != found["linear", "MAE"].runs
    scores = next(line for line in text.splitlines() if line.startswith("| random |"))
    assert scores.count("| - ") == 1
    value, low, high = found["linear", "random"].macro_auroc
    assert scores.startswith(f"| random | {value:.3f} ({low:.3f} to {high:.3f}) ± ")
    assert "## Published: superdiagnostic" in text
    assert "| ViT | JEPA | - | 0.928 |" in text
    rows = json.loads((done.path / "comparison.json").read_text())["published"]["rows"]
    assert {row["task"] for row in rows} == {"superdiagnostic"}
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
        change += macro_aurocs(bootstrap, targets, mae)
        change -= macro_aurocs(bootstrap, targets, jepa)
        value += macro_auroc(targets, mae) - macro_auroc(targets, jepa)
    entry = next(e for e in done.entries if (e.column, e.model) == ("linear", "MAE"))
    assert entry.difference.value == pytest.approx(value / 2)
    assert entry.difference.low == pytest.approx(np.nanquantile(change / 2, 0.025))


def test_what_is_done_is_not_repeated_and_what_is_missing_is(done, setting, monkeypatch):
    before = (done.path / "comparison.json").read_bytes()
    called = []
    real = cells.load_encoder
    monkeypatch.setattr(cells, "load_encoder", lambda run: called.append(run.name) or real(run))
    cache = setting[3].parent / "cache"
    compare(*setting, cache=cache, device="cpu")
    assert called == []
    (done.path / "results/superdiagnostic/linear-100/MAE-1/cell.json").unlink()
    compare(*setting, cache=cache, device="cpu")
    assert called == ["MAE-1"]
    assert (done.path / "comparison.json").read_bytes() == before


def test_workers_get_the_same_predictions(done, setting, tmp_path):
    """With one thread for each, as here: another number of threads rounds otherwise."""
    _, store, data, out = setting
    plan = PLAN | {"arms": {"MAE": PLAN["arms"]["MAE"]}, "baselines": {}, "protocols": LINEAR}
    path = tmp_path / "plan.yaml"
    path.write_text(yaml.safe_dump(plan, sort_keys=False))
    with parallel_config("threading"):
        compare(path, store, data, tmp_path / "out", cache=out.parent / "cache", workers=2)
    found = sorted((tmp_path / "out").rglob("predictions.parquet"))
    assert len(found) == 2
    for file in found:
        expected = done.path / file.relative_to(tmp_path / "out")
        assert file.read_bytes() == expected.read_bytes()


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
    monkeypatch.setattr(cells, "run", None)  # nothing is left for this one
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
    with pytest.raises(ConfigError, match="holds a comparison of another plan, store or records"):
        compare(other, *setting[1:], device="cpu")


def test_other_records_in_the_folder_are_refused(done, setting, tmp_path):
    fewer = write_ptb_xl(tmp_path, records=80, seconds=4.0)
    with pytest.raises(ConfigError, match="another plan, store or records: records"):
        compare(*setting[:2], {"ptb-xl": fewer}, done.path, device="cpu")


def test_what_cannot_be_evaluated_is_refused_before_anything_is_spent(setting, tmp_path):
    def refused(change, data=None):
        path = tmp_path / "plan.yaml"
        path.write_text(yaml.safe_dump({**PLAN, **change}, sort_keys=False))
        with pytest.raises(EcgjepaError) as caught:
            compare(path, setting[1], data or setting[2], tmp_path / "out", device="cpu")
        assert not (tmp_path / "out").exists()
        return str(caught.value)

    assert "no table of labels at" in refused({"tasks": [str(tmp_path / "labels.csv")]})
    assert "is defined on ptb-xl" in refused({"database": "code-15"}, {"code-15": tmp_path})
    assert "does not exist" in refused({}, {"ptb-xl": tmp_path / "nowhere"})


def test_one_pretraining_may_be_evaluated_with_several_seeds_and_on_own_labels(
    setting, source, tmp_path
):
    table = pd.read_csv(source / "ptbxl_database.csv")
    words = np.random.default_rng(0).choice(["here", "there"], len(table))
    own = pd.DataFrame({"ecg_id": table["ecg_id"], "place": words})
    own.to_csv(tmp_path / "own labels.csv", index=False)
    change = {
        "tasks": [str(tmp_path / "own labels.csv")],
        "kind": "single-label",
        "pretraining_seeds": [1],
        "arms": {"JEPA": PLAN["arms"]["JEPA"]},
        "baselines": {},
        "protocols": [{"name": "finetune", "overrides": FEW}],
    }
    plan = tmp_path / "plan.yaml"
    plan.write_text(yaml.safe_dump({**PLAN, **change}, sort_keys=False))
    found = compare(plan, *setting[1:3], tmp_path / "out", cache=tmp_path / "cache", device="cpu")
    assert [path.name for path in (found.path / "runs").iterdir()] == ["JEPA-1"]
    cells = sorted(path.parent.name for path in found.path.glob("results/own-labels/*/*/cell.json"))
    assert cells == ["JEPA-0", "JEPA-1"]
    (entry,) = found.entries
    assert entry.runs[0] != entry.runs[1]
    assert entry.labels == 2
    assert "Pre-trained with seeds [1] only" in (found.path / "comparison.md").read_text()


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


@pytest.mark.parametrize("table", [True, False])
def test_a_store_of_copies_of_the_test_is_refused_too(setting, source, tmp_path, table):
    """Whatever the copies' folds are, or if nothing tells them."""
    rows = pd.read_csv(source / "ptbxl_database.csv")
    chosen = rows.loc[rows["strat_fold"].isin([1, 8, 9]), "ecg_id"].tolist()[:12]
    copy_as_challenge(source, chosen, tmp_path / "copies/ptb-xl")
    tables = {"challenge-ptb-xl": source / "ptbxl_database.csv"} if table else None

    def refuse(folds):
        store = tmp_path / f"store-{folds}"
        manifest = prepare(
            {"challenge-ptb-xl": tmp_path / "copies"}, store, tables=tables, folds=folds
        )
        assert manifest.databases["challenge-ptb-xl"].stored
        refuse_leaking_store(load_plan(setting[0]), store)

    found = r"folds \[8, 9\]" if table else "12 records"
    related = r"challenge-ptb-xl \(which shares patients and folds with ptb-xl\)"
    with pytest.raises(ConfigError, match=rf"holds {found} of {related}"):
        refuse("all")
    if table:
        refuse((1,))


def test_a_database_of_which_nothing_was_stored_is_no_leak(setting, source, tmp_path):
    """Without PTB-XL's table, no copy is for training."""
    copy_as_challenge(source, [1, 2], tmp_path / "copies/ptb-xl")
    write_wfdb(tmp_path / "mine/a.hea", toy_ecg(np.random.default_rng(0), num_samples=2000))
    databases = {"challenge-ptb-xl": tmp_path / "copies", "mine": tmp_path / "mine"}
    manifest = prepare(databases, tmp_path / "store")
    assert manifest.databases["challenge-ptb-xl"].stored == 0
    refuse_leaking_store(load_plan(setting[0]), tmp_path / "store")
    with pytest.raises(ConfigError, match="evaluates ptb-xl; found code-15"):
        compare(setting[0], setting[1], {"code-15": source}, tmp_path / "out")


@pytest.mark.parametrize(
    ("protocols", "column"),
    [
        (["linear", "finetune-after-probe", "scratch", "supervised"], "finetune-after-probe"),
        (["supervised", "finetune", "finetune-after-probe"], "finetune-after-probe"),
        (["finetune", "supervised"], "finetune"),
        (["linear", "supervised"], "supervised"),
    ],
)
def test_models_without_pretraining_stand_beside_the_best_fine_tuning(protocols, column):
    baselines = {"scratch": {"kind": "scratch"}, "network": {"kind": "network"}}
    if not {"scratch", "finetune"} & set(protocols):
        del baselines["scratch"]
    listed = [{"name": name} for name in protocols]
    plan = ComparisonPlan.model_validate({**PLAN, "baselines": baselines, "protocols": listed})
    shown = {one.name: plan.shown_with(one) for one in plan.protocols}
    assert shown["supervised"].name == column
    assert "linear" not in shown or shown["linear"].name == "linear"
    assert plan.arms_of("supervised") == ["network"]
    if "scratch" in protocols:
        assert shown["scratch"].name == column
        assert plan.arms_of("scratch") == ["scratch"]
        assert plan.arms_of("finetune-after-probe") == ["JEPA", "MAE"]


def test_the_probe_before_a_fine_tuning_is_the_plans():
    protocols = [
        {"name": "attentive", "overrides": ["steps=7"]},
        {"name": "finetune-after-probe", "overrides": ["steps=9"]},
    ]
    plan = ComparisonPlan.model_validate({**PLAN, "baselines": {}, "protocols": protocols})
    cell = cells.Cell("JEPA", 0, "superdiagnostic", "finetune-after-probe", 1.0)
    request = cells.request_of(plan, cell)
    assert request.settings.steps == 9
    assert (request.probe.protocol, request.probe.settings.steps) == ("attentive", 7)
    assert plan.specification("linear", "paper").overrides == ()


def test_a_fine_tuning_may_have_settings_of_its_probe():
    tuning = {"name": "finetune-after-probe", "overrides": ["steps=9", "probe.steps=7"]}
    plan = ComparisonPlan.model_validate({**PLAN, "baselines": {}, "protocols": [tuning]})
    cell = cells.Cell("JEPA", 0, "superdiagnostic", "finetune-after-probe", 1.0)
    request = cells.request_of(plan, cell)
    assert (request.settings.steps, request.probe.settings.steps) == (9, 7)
    linear = {"name": "linear", "overrides": ["probe.steps=7"]}
    with pytest.raises(ValidationError, match="protocol linear runs no probe first"):
        ComparisonPlan.model_validate({**PLAN, "protocols": [linear]})


@pytest.mark.parametrize("name", plan_names())
def test_plans_of_the_package_are_sound_and_survive_json(name):
    plan = load_plan(name)
    assert ComparisonPlan.model_validate(json.loads(plan.model_dump_json())) == plan


def test_the_plan_in_the_documentation_is_sound(tmp_path):
    text = (Path(__file__).parents[2] / "docs/evaluation.md").read_text()
    path = tmp_path / "plan.yaml"
    path.write_text(text.split("```yaml\n")[1].split("```")[0])
    plan = load_plan(path)
    shown = {one.name: plan.shown_with(one).name for one in plan.protocols}
    assert shown["supervised"] == "finetune-after-probe"


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"tasks": ["sex"]}, "unknown task 'sex'"),
        ({"tasks": ["age"]}, "task 'age' is a regression"),
        ({"tasks": ["form", "form"]}, "tasks: form more than once"),
        ({"tasks": ["a/x.csv", "b/x.csv"]}, "tasks: x more than once"),
        ({"seeds": [0, 1, 0]}, "seeds: 0 more than once"),
        ({"pretraining_seeds": []}, "pretraining_seeds"),
        (with_protocol(name="linear", label_fractions=[0.1, 0.1]), "of linear: 0.1 more than once"),
        (
            {"arms": {"A 1": {"preset": "tiny"}, "A-1": {"preset": "tiny-mae"}}, "baselines": {}},
            "folders of arms: A-1 more than once",
        ),
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
        (with_protocol(name="supervised", reading="all-blocks"), "has no other reading"),
        ({"protocols": [{"name": "finetune"}, {"name": "scratch"}]}, "leave scratch"),
        (with_protocol(name="linear"), "'scratch' .* is evaluated by none of the protocols linear"),
        ({"baselines": {"MAE": {"kind": "untrained"}}}, "'MAE' has the name of an arm"),
        ({"baselines": {"r": {"kind": "untrained", "like": "B"}}}, "like 'B', which is not an arm"),
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
        ConfigError,
        match="unknown plan 'large': expected one of paper, paper-mimic, paper-ptb-xl, quick",
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
