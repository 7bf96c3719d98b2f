"""Probes and fine-tuning on toy records: what they write, and what they refuse."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import SMALL_MODEL, write_ptb_xl
from sklearn.metrics import brier_score_loss, f1_score

import ecgjepa
from ecgjepa.errors import (
    CheckpointError,
    ConfigError,
    DivergenceError,
    ModelFolderError,
    TaskError,
)
from ecgjepa.inference.windows import average_over_windows, window_starts
from ecgjepa.metrics.classification import macro_auroc
from ecgjepa.model.folder import read_model_config
from ecgjepa.pretraining.loop import pretrain
from ecgjepa.protocols.fit import _batches
from ecgjepa.protocols.settings import PROTOCOLS, load_protocol
from ecgjepa.signals.preprocessing import PreprocessingConfig
from ecgjepa.store.prepare import prepare
from ecgjepa.tasks.split import Split

TINY = [
    *SMALL_MODEL,
    "train.steps=4",
    "train.warmup_steps=1",
    "train.checkpoint_every=4",
]
FAST = ["steps=6", "validate_every=3", "batch_size=16"]


@pytest.fixture(scope="module")
def run(ptb_xl, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("protocols")
    prepare(
        {"ptb-xl": ptb_xl}, folder / "store", preprocessing=PreprocessingConfig(sampling_rate=100.0)
    )
    return pretrain(folder / "store", folder / "run", overrides=TINY)


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def attentive(run, ptb_xl, cache, tmp_path_factory):
    out = tmp_path_factory.mktemp("attentive") / "probe"
    return ecgjepa.probe(
        run, {"ptb-xl": ptb_xl}, out, task="superdiagnostic", overrides=FAST, cache=cache
    )


def check(result, ptb_xl, models) -> None:
    """Everything in results.json must follow from predictions.parquet."""
    results = json.loads((result.path / "results.json").read_text())
    assert results == result.results
    assert list(results["models"]) == models
    predictions = pd.read_parquet(result.path / "predictions.parquet")
    table = pd.read_csv(ptb_xl / "ptbxl_database.csv").set_index("ecg_id")
    for name, model in results["models"].items():
        for part, folds in (("validation", [9]), ("test", [10])):
            rows = predictions[(predictions["model"] == name) & (predictions["part"] == part)]
            assert set(rows["fold"]) == set(folds)
            assert (table.loc[rows["record_id"].astype(int), "strat_fold"] == folds[0]).all()
            labels = results["task"]["labels"]
            targets = rows[[f"target:{label}" for label in labels]].to_numpy()
            scores = rows[[f"probability:{label}" for label in labels]].to_numpy()
            assert ((scores >= 0) & (scores <= 1)).all()
            value = macro_auroc(targets, scores)
            stated = (
                model["validation_macro_auroc"] if part == "validation" else model["macro_auroc"][0]
            )
            assert value == pytest.approx(stated, abs=1e-9)
        low, high = model["macro_auroc"][1:]
        assert low <= model["macro_auroc"][0] <= high
        check_details(model, targets, scores)
    assert (
        results["counts"]["test"]
        == (
            predictions[
                (predictions["model"] == models[0]) & (predictions["part"] == "test")
            ].shape[0]
        )
    )


def check_details(model, targets, scores) -> None:
    """What else is said of the test records, from their last columns."""
    defined = [0 < column.sum() < len(column) for column in targets.T]
    assert [label["f1"][0] is not None for label in model["labels"]] == [
        known and label["f1_threshold"] is not None
        for known, label in zip(defined, model["labels"], strict=True)
    ]
    for label, positive, score in zip(model["labels"], targets.T, scores.T, strict=True):
        if label["f1"][0] is not None:
            called = score >= label["f1_threshold"]
            assert label["f1"][0] == pytest.approx(f1_score(positive, called))
    brier = [brier_score_loss(t, s) for t, s in zip(targets.T, scores.T, strict=True)]
    assert model["macro"]["brier"] == pytest.approx(np.array(brier)[defined].mean())
    assert model["macro"]["brier"] == pytest.approx(model["calibration"]["test"]["before"]["brier"])
    assert model["macro_frequent"]["labels"] == 0  # of 8 records
    assert model["macro_frequent"]["brier"] == [None, None, None]
    for groups in model["subgroups"].values():
        assert sum(group["records"] for group in groups) == len(targets)
    assert {"age", "sex", "quality"} <= set(model["subgroups"])
    assert model["label_sets"]["asked"] == 0.9


def test_attentive_probe(attentive, ptb_xl):
    check(attentive, ptb_xl, ["pre-trained", "untrained"])
    history = attentive.results["models"]["pre-trained"]["history"]
    assert [line["step"] for line in history] == [3, 6]
    best = max(history, key=lambda line: line["macro_auroc"])
    assert attentive.results["models"]["pre-trained"]["selected"] == f"step {best['step']}"
    assert attentive.results["models"]["pre-trained"]["validation_macro_auroc"] == pytest.approx(
        best["macro_auroc"]
    )


def test_linear_probe(run, ptb_xl, cache, tmp_path):
    result = ecgjepa.probe(
        run,
        {"ptb-xl": ptb_xl},
        tmp_path / "p",
        task="superdiagnostic",
        protocol="linear",
        cache=cache,
    )
    check(result, ptb_xl, ["pre-trained", "untrained"])
    with np.load(tmp_path / "p/embeddings.npz") as embeddings:
        assert embeddings["pre-trained"].shape == (result.results["counts"]["test"], 16)


def test_the_models_of_both_probes_predict_what_the_probes_scored(
    run, attentive, ptb_xl, cache, tmp_path
):
    """The route from a file through `predict` gives the probabilities of predictions.parquet."""
    linear = ecgjepa.probe(
        run,
        {"ptb-xl": ptb_xl},
        tmp_path / "p",
        task="superdiagnostic",
        protocol="linear",
        cache=cache,
    )
    for result in (attentive, linear):
        predictions = pd.read_parquet(result.path / "predictions.parquet")
        rows = predictions[
            (predictions["model"] == "pre-trained") & (predictions["part"] == "test")
        ]
        labels = result.results["task"]["labels"]
        files = [ptb_xl / f"records500/00000/{int(i):05d}_hr.hea" for i in rows["record_id"]]
        probabilities = ecgjepa.load_model(result.path, calibrated=False).predict_proba(files)
        assert list(probabilities.columns) == labels
        expected = rows[[f"probability:{label}" for label in labels]].to_numpy()
        # Probes store features in half precision.
        np.testing.assert_allclose(probabilities.to_numpy(), expected, atol=2e-3)
        # By default they are calibrated, as the results say.
        applied = result.results["models"]["pre-trained"]["calibration"]["applied"]
        calibration = read_model_config(result.path / "model").calibration
        assert calibration.model_dump(mode="json") == applied
        assert calibration.folds == (9,)
        calibrated = ecgjepa.load_model(result.path).predict_proba(files)
        np.testing.assert_allclose(
            calibrated.to_numpy(), calibration.apply(probabilities.to_numpy()), atol=1e-7
        )
        assert not np.allclose(calibrated, probabilities, atol=1e-5)


def test_finetuning_after_the_probe(attentive, ptb_xl, cache, tmp_path):
    result = ecgjepa.finetune(
        attentive.path,
        {"ptb-xl": ptb_xl},
        tmp_path / "f",
        task="superdiagnostic",
        overrides=[*FAST, "warmup_steps=1"],
        cache=cache,
    )
    check(result, ptb_xl, ["pre-trained", "from scratch"])
    config = read_model_config(tmp_path / "f/model")
    assert config.head.kind == "attentive"
    assert config.task.labels == ("CD", "HYP", "MI", "NORM", "STTC")
    assert config.training["protocol"] == "finetune-after-probe"
    assert config.pretraining.steps == 4


def test_finetuning_runs_its_probe_itself(run, ptb_xl, cache, tmp_path, monkeypatch):
    monkeypatch.setitem(
        PROTOCOLS, "attentive", PROTOCOLS["attentive"].model_copy(update={"steps": 4})
    )
    result = ecgjepa.finetune(
        run,
        {"ptb-xl": ptb_xl},
        tmp_path / "f",
        task="diagnostic",
        overrides=[*FAST, "warmup_steps=1"],
        from_scratch=False,
        cache=cache,
    )
    assert list(result.results["models"]) == ["pre-trained"]
    assert (tmp_path / "f/probe/results.json").is_file()


def test_direct_finetuning_and_a_single_label_task(run, ptb_xl, cache, tmp_path):
    result = ecgjepa.finetune(
        run,
        {"ptb-xl": ptb_xl},
        tmp_path / "f",
        task="st-mem",
        protocol="finetune",
        overrides=[*FAST, "warmup_steps=1"],
        cache=cache,
    )
    check(result, ptb_xl, ["pre-trained", "from scratch"])
    predictions = pd.read_parquet(tmp_path / "f/predictions.parquet")
    sums = predictions.filter(like="probability:").sum(axis=1)
    np.testing.assert_allclose(sums, 1, atol=1e-6)
    assert read_model_config(tmp_path / "f/model").head.kind == "register"


def test_the_papers_random_crops(run, ptb_xl, cache, tmp_path):
    result = ecgjepa.probe(
        run,
        {"ptb-xl": ptb_xl},
        tmp_path / "p",
        task="superdiagnostic",
        overrides=[*FAST, "random_crops=true"],
        cache=cache,
    )
    check(result, ptb_xl, ["pre-trained", "untrained"])


def test_results_are_seeded(run, attentive, ptb_xl, cache, tmp_path):
    again = ecgjepa.probe(
        run, {"ptb-xl": ptb_xl}, tmp_path / "p", task="superdiagnostic", overrides=FAST, cache=cache
    )
    assert again.results["models"] == attentive.results["models"]


@pytest.mark.parametrize(
    "split", [Split((1, 2, 3), (10,), (9,)), Split((1, 2), (3,), (10,)), Split((1,), (9,), (2,))]
)
@pytest.mark.parametrize("verb", ["probe", "finetune"])
def test_folds_an_earlier_head_has_seen_are_refused(
    attentive, ptb_xl, cache, tmp_path, split, verb
):
    """The encoder is made to have seen nothing: only the probe's own folds can be the reason."""
    folder = tmp_path / "model"
    shutil.copytree(attentive.path / "model", folder)
    config = json.loads((folder / "config.json").read_text())
    config["pretraining"]["folds"] = {}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(
        TaskError, match=r"was trained on folds \[1, 2, 3, 4, 5, 6, 7, 8\] of ptb-xl"
    ):
        getattr(ecgjepa, verb)(
            folder,
            {"ptb-xl": ptb_xl},
            tmp_path / "p",
            task="superdiagnostic",
            split=split,
            cache=cache,
        )


def test_a_loss_that_is_no_number_stops(run, ptb_xl, cache, tmp_path):
    with pytest.raises(DivergenceError, match=r"loss is (nan|inf) .* learning_rate"):
        ecgjepa.probe(
            run,
            {"ptb-xl": ptb_xl},
            tmp_path / "p",
            task="superdiagnostic",
            overrides=[*FAST, "learning_rate=1e38", "warmup_steps=0"],
            cache=cache,
        )


def test_any_other_split(run, ptb_xl, cache, tmp_path):
    """Pre-training saw folds 1 to 8, so only 9 and 10 may judge it."""
    split = Split((1, 2, 3), (10,), (9,))
    result = ecgjepa.probe(
        run,
        {"ptb-xl": ptb_xl},
        tmp_path / "p",
        task="superdiagnostic",
        protocol="linear",
        split=split,
        cache=cache,
    )
    assert result.results["split"]["test"] == [9]
    with pytest.raises(TaskError, match=r"was pre-trained on folds .* which include \[8\]"):
        ecgjepa.probe(
            run,
            {"ptb-xl": ptb_xl},
            tmp_path / "q",
            task="superdiagnostic",
            split=Split((1, 2), (9,), (8,)),
            cache=cache,
        )


def test_normalisation_comes_from_the_training_folds(attentive, ptb_xl):
    config = read_model_config(attentive.path / "model")
    table = pd.read_csv(ptb_xl / "ptbxl_database.csv")
    labelled = table["scp_codes"].str.contains("NORM|NDT|CLBBB|IMI|ASMI|LVH")
    chosen = table[(table["strat_fold"] <= 8) & labelled]
    from ecgjepa.signals.preprocessing import preprocess

    signals = [
        preprocess(ecgjepa.read_record(ptb_xl / f"{name}.hea"), config.preprocessing).signal
        for name in chosen["filename_hr"]
    ]
    np.testing.assert_allclose(
        config.normalisation.std, np.concatenate(signals).astype(float).std(axis=0), rtol=1e-3
    )


def test_results_go_beside_the_model_by_default(run, ptb_xl, cache):
    result = ecgjepa.probe(
        run, {"ptb-xl": ptb_xl}, task="superdiagnostic", protocol="linear", cache=cache
    )
    assert result.path == run.with_name("run-superdiagnostic-linear")


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("data", "match"),
    [({}, "found nothing"), ({"georgia": "x"}, "found georgia"), ({"ptb-xl": "a", "b": "c"}, "b")],
)
def test_tasks_are_those_of_ptb_xl(run, tmp_path, data, match):
    with pytest.raises(TaskError, match=match):
        ecgjepa.probe(run, data, tmp_path / "p")


@pytest.mark.parametrize("verb", [ecgjepa.probe, ecgjepa.finetune])
@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"task": "heart"}, "unknown task 'heart'"),
        ({"split": ecgjepa.Split((1, 8), (8,), (10,))}, r"folds overlap: \[8\] more than once"),
    ],
)
def test_an_impossible_request_costs_nothing(run, ptb_xl, tmp_path, verb, options, match):
    with pytest.raises(TaskError, match=match):
        verb(run, {"ptb-xl": ptb_xl}, tmp_path / "p", cache=tmp_path / "new", **options)
    assert not (tmp_path / "new").exists()
    assert not (tmp_path / "p").exists()


def test_a_probe_of_another_task_is_no_start(attentive, ptb_xl, cache, tmp_path):
    with pytest.raises(TaskError, match="is a probe of task 'superdiagnostic', not 'diagnostic'"):
        ecgjepa.finetune(
            attentive.path, {"ptb-xl": ptb_xl}, tmp_path / "f", task="diagnostic", cache=cache
        )


def test_the_encoder_of_a_probe_of_another_task_can_be_tuned(attentive, ptb_xl, cache, tmp_path):
    """Without a probe's head to start from, it does not matter what that head was for."""
    result = ecgjepa.finetune(
        attentive.path,
        {"ptb-xl": ptb_xl},
        tmp_path / "f",
        task="diagnostic",
        protocol="finetune",
        overrides=[*FAST, "warmup_steps=1"],
        from_scratch=False,
        cache=cache,
    )
    assert read_model_config(result.path / "model").task.name == "diagnostic"


def test_no_model(tmp_path, ptb_xl):
    with pytest.raises(ModelFolderError, match="no model folder at"):
        ecgjepa.probe(tmp_path / "none", {"ptb-xl": ptb_xl}, tmp_path / "p")


def test_an_unfinished_run(run, ptb_xl, tmp_path):
    import shutil

    shutil.copytree(run, tmp_path / "run")
    shutil.rmtree(tmp_path / "run/model")
    with pytest.raises(ModelFolderError, match="this run is not finished"):
        ecgjepa.probe(tmp_path / "run", {"ptb-xl": ptb_xl}, tmp_path / "p")
    damaged = tmp_path / "run/checkpoints/step-000004"
    weights = damaged / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(CheckpointError, match="damaged"):
        ecgjepa.probe(damaged, {"ptb-xl": ptb_xl}, tmp_path / "p")


@pytest.mark.parametrize(
    ("override", "match"),
    [
        ("stepps=3", "stepps: no such key; did you mean 'steps'\\?"),
        ("train.steps=3", "train.steps: no such key; did you mean 'steps'\\?"),
        ("steps", "expected key=value"),
        ("steps=0", "steps"),
    ],
)
def test_wrong_overrides(override, match):
    with pytest.raises(ConfigError, match=match):
        load_protocol("attentive", [override])


def test_nothing_to_select_on(run, cache, tmp_path):
    """A validation fold in which no label has both kinds of records."""
    root = write_ptb_xl(tmp_path / "d", records=60, seconds=3.0)
    table = pd.read_csv(root / "ptbxl_database.csv")
    table.loc[table["strat_fold"] == 9, "scp_codes"] = "{'NORM': 100.0}"
    table.to_csv(root / "ptbxl_database.csv", index=False)
    with pytest.raises(TaskError, match="none of the 5 labels has both positive and negative"):
        ecgjepa.probe(
            run,
            {"ptb-xl": root},
            tmp_path / "p",
            task="superdiagnostic",
            overrides=FAST,
            cache=cache,
        )


# ---------------------------------------------------------------- published settings, windows


def test_protocols_are_the_published_ones():
    """Paper, section 4.3."""
    linear, after, direct = (
        PROTOCOLS[name] for name in ("attentive", "finetune-after-probe", "finetune")
    )
    assert (linear.learning_rate, linear.final_learning_rate, linear.warmup_steps) == (
        1e-3,
        1e-3,
        0,
    )
    assert (linear.weight_decay, linear.betas, linear.gradient_clip) == (0.1, (0.9, 0.999), 1)
    assert (linear.steps, linear.patience, linear.dropout) == (5000, 5000, 0)
    assert (after.learning_rate, after.final_learning_rate, after.warmup_steps) == (1e-4, 1e-6, 200)
    assert (after.weight_decay, after.betas, after.gradient_clip) == (0, (0.9, 0.999), 1)
    assert (after.steps, after.patience, after.dropout) == (5000, 2000, 0.1)
    assert (direct.learning_rate, direct.final_learning_rate, direct.warmup_steps) == (
        1e-3,
        1e-5,
        200,
    )
    assert (direct.weight_decay, direct.betas, direct.gradient_clip) == (0.01, (0.9, 0.99), 0)
    assert (direct.steps, direct.patience, direct.dropout) == (10_000, 2000, 0.05)
    assert {p.batch_size for p in PROTOCOLS.values()} == {128}
    assert {p.validate_every for p in PROTOCOLS.values()} == {100}
    assert (linear.head, after.head, direct.head) == ("attentive", "attentive", "register")


def test_ten_seconds_give_the_papers_seven_windows():
    assert window_starts(5000, window=1250, stride=625) == [0, 625, 1250, 1875, 2500, 3125, 3750]
    assert window_starts(1250, window=1250, stride=625) == [0]
    assert window_starts(900, window=1250, stride=625) == [0]
    assert window_starts(2499, window=1250, stride=625) == [0, 625]


def test_average_over_windows():
    values = torch.tensor([[1.0], [3.0], [10.0]])
    index = torch.tensor([1, 1, 0])
    assert average_over_windows(values, index, num_records=2).tolist() == [[10.0], [2.0]]
    with pytest.raises(ValueError, match="1 of 3 records have no window, first index 2"):
        average_over_windows(values, index, num_records=3)


def test_fewer_records_than_a_batch_do_not_hang():
    batches = list(_batches(5, load_protocol("attentive", ["steps=7"]), seed=0))
    assert [len(batch) for batch in batches] == [5] * 7
    assert all(sorted(batch.tolist()) == list(range(5)) for batch in batches)


def test_every_record_comes_up_once_per_epoch():
    batches = list(_batches(10, load_protocol("attentive", ["steps=5", "batch_size=4"]), seed=0))
    assert sorted(np.concatenate(batches).tolist()) == sorted([*range(10)] * 2)


@pytest.mark.parametrize("num_records", [5, 7, 10, 33])
@pytest.mark.parametrize("size", [2, 4, 5, 9])
def test_no_record_comes_twice_in_a_batch(num_records, size):
    """Where one permutation ends and the next begins, both may begin with the same records."""
    settings = load_protocol("attentive", ["steps=200", f"batch_size={size}"])
    batches = list(_batches(num_records, settings, seed=3))
    assert {len(batch) for batch in batches} == {min(size, num_records)}
    assert all(len(set(batch.tolist())) == len(batch) for batch in batches)
    # However it is cut into batches, each epoch has every record once.
    drawn = np.concatenate(batches)
    counts = np.bincount(drawn[: len(drawn) // num_records * num_records], minlength=num_records)
    assert (counts == len(drawn) // num_records).all()
