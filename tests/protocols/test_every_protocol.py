"""Every protocol and kind of task, from simulated files to results."""

import json
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import mean_absolute_error, r2_score
from small_encoders import save_encoder

import ecgjepa
from ecgjepa import cli
from ecgjepa.errors import ConfigError, DivergenceError, TaskError
from ecgjepa.evaluation.repeats import means
from ecgjepa.model.encoders.vision_transformer import VisionTransformer
from ecgjepa.protocols.encoders import load_encoder
from ecgjepa.protocols.request import _check_reading
from ecgjepa.signals.preprocessing import PreprocessingConfig
from ecgjepa.store.prepare import prepare
from ecgjepa.store.reading import Store
from ecgjepa.tasks.cohort import Cohort
from ecgjepa.tasks.folds import hashed_fold
from ecgjepa.tasks.opening import open_data

FAST = ["steps=4", "validate_every=2", "batch_size=16"]
TUNE = [*FAST, "warmup_steps=1"]
PROTOCOLS = ("attentive", "linear", "knn", "finetune", "finetune-after-probe", "scratch")


@pytest.fixture(scope="module")
def georgia(tmp_path_factory):
    return ecgjepa.simulate(120, tmp_path_factory.mktemp("g") / "georgia", layout="georgia")


@pytest.fixture(scope="module")
def ningbo(tmp_path_factory):
    return ecgjepa.simulate(100, tmp_path_factory.mktemp("n") / "ningbo", layout="ningbo")


@pytest.fixture(scope="module")
def table(ptb_xl, tmp_path_factory):
    """Labels of each kind for the toy records; the number follows from the label."""
    folder = tmp_path_factory.mktemp("tables")
    rows = pd.read_csv(ptb_xl / "ptbxl_database.csv")
    kind = rows["ecg_id"] % 4
    record = pd.DataFrame({"record": rows["ecg_id"]})
    record.assign(wide=(kind > 1).astype(int), inverted=kind % 2).to_csv(
        folder / "multi-label.csv", index=False
    )
    record.assign(shape=kind.map({0: "a", 1: "b", 2: "c", 3: "d"})).to_csv(
        folder / "single-label.csv", index=False
    )
    record.assign(qt=400 + 20 * kind, pr=150 - 5 * kind + rows["ecg_id"] % 3).to_csv(
        folder / "regression.csv", index=False
    )
    return folder


def overrides(protocol):
    return () if protocol in ("linear", "knn") else FAST if protocol == "attentive" else TUNE


def run(encoder, data, cache, protocol, **options):
    return ecgjepa.run_protocol(
        encoder,
        data,
        protocol=protocol,
        overrides=overrides(protocol),
        probe_overrides=FAST,
        cache=cache,
        **options,
    )


@pytest.mark.parametrize("kind", ["multi-label", "single-label", "regression"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_protocol_on_every_kind_of_table(encoder, ptb_xl, cache, table, protocol, kind):
    result = run(
        encoder, {"ptb-xl": ptb_xl}, cache, protocol, task=str(table / f"{kind}.csv"), kind=kind
    )
    records, outcome = result.records, result.outcome
    assert records.task.kind == kind
    for part in ("validation", "test"):
        outputs = getattr(outcome, part)
        assert outputs.shape == records.targets(getattr(records.parts, part)).shape
        assert np.isfinite(outputs).all()
        if kind == "single-label":
            np.testing.assert_allclose(outputs.sum(axis=1), 1, atol=1e-6)
        if kind == "multi-label":
            assert ((outputs >= 0) & (outputs <= 1)).all()
    if kind == "regression":  # in the units of the table
        assert np.abs(outcome.test.mean(axis=0) - [430, 143.5]).max() < 25
    assert (result.classifier is None) == (protocol == "knn")
    assert (result.embeddings is not None) == (protocol in ("attentive", "linear", "knn"))


def test_run_protocol_is_what_probe_writes(encoder, ptb_xl, cache, tmp_path):
    written = ecgjepa.probe(
        encoder,
        {"ptb-xl": ptb_xl},
        tmp_path / "p",
        task="superdiagnostic",
        overrides=FAST,
        cache=cache,
    )
    frame = pd.read_parquet(written.path / "predictions.parquet")
    for untrained, name in ((False, "pre-trained"), (True, "untrained")):
        result = run(
            encoder,
            {"ptb-xl": ptb_xl},
            cache,
            "attentive",
            task="superdiagnostic",
            untrained=untrained,
        )
        rows = frame[(frame["model"] == name) & (frame["part"] == "test")]
        np.testing.assert_array_equal(
            rows.filter(like="probability:").to_numpy(), result.outcome.test
        )
    split = pd.read_csv(written.path / "split.csv")
    assert set(split["part"]) == {"train", "validation", "test"}
    assert (split.loc[split["part"] == "test", "fold"] == 10).all()
    assert written.results["data"]["folds"] == {"ptb-xl": "published"}


def test_a_frozen_probe_again_costs_no_encoder_pass(ptb_xl, cache, tmp_path, monkeypatch):
    encoder = save_encoder(tmp_path / "model", seed=5)
    counted = [0]
    forward = VisionTransformer.forward

    def counting(self, signal, keep_index=None):
        counted[0] += len(signal)
        return forward(self, signal, keep_index)

    monkeypatch.setattr(VisionTransformer, "forward", counting)
    results = []
    for protocol, seed in (
        ("linear", 0),
        ("linear", 0),
        ("attentive", 0),
        ("attentive", 1),
        ("knn", 0),
    ):
        ecgjepa.probe(
            encoder,
            {"ptb-xl": ptb_xl},
            tmp_path / str(len(results)),
            task="superdiagnostic",
            protocol=protocol,
            overrides=overrides(protocol),
            seed=seed,
            cache=cache,
        )
        results.append(counted[0])
    assert results[0] > 0
    assert results == [results[0]] * 5


def test_regression_results(encoder, ptb_xl, cache, table, tmp_path):
    result = ecgjepa.probe(
        encoder,
        {"ptb-xl": ptb_xl},
        tmp_path / "p",
        task=str(table / "regression.csv"),
        kind="regression",
        protocol="linear",
        cache=cache,
    )
    frame = pd.read_parquet(result.path / "predictions.parquet")
    rows = frame[(frame["part"] == "test") & (frame["model"] == "pre-trained")]
    truth, value = (rows.filter(like=f"{name}:").to_numpy() for name in ("target", "value"))
    score = result.score()
    assert score.value == pytest.approx(r2_score(truth, value))
    assert score.low <= score.value <= score.high
    numbers = result.table().select_dtypes("number")
    assert list(numbers) == ["r2", "low", "high", "mean_absolute_error"]
    row = result.table().query("model == 'pre-trained'").iloc[0]
    assert row["low"] <= row["r2"] <= row["high"]
    assert row["mean_absolute_error"] == pytest.approx(
        mean_absolute_error(truth[:, 0], value[:, 0])
    )
    # The model folder gives the same values, in the same units, from the files.
    files = [ptb_xl / f"records500/00000/{int(i):05d}_hr.hea" for i in rows["record_id"]]
    predicted = ecgjepa.load_model(result.path, calibrated=False).predict_proba(files)
    np.testing.assert_allclose(predicted.to_numpy(), value, rtol=1e-2)
    assert "mean R²" in (result.path / "model/README.md").read_text()
    page = ecgjepa.report([result.path], tmp_path / "report.html").read_text()
    assert f"{score.value:.3f}" in page
    assert "Mean R² on the test records" in page
    assert "12-lead ECG of record" in page
    assert 'alt="ROC curves"' not in page


def test_age_of_any_database(encoder, georgia, cache):
    result = run(encoder, {"georgia": georgia}, cache, "linear", task="age")
    assert result.records.task.kind == "regression"
    assert 20 < result.outcome.test.mean() < 90


@pytest.mark.parametrize("protocol", ["linear", "finetune"])
def test_a_database_without_folds_gets_them_by_hash(encoder, georgia, cache, protocol):
    result = run(encoder, {"georgia": georgia}, cache, protocol, task="challenge-2021")
    records = result.records
    table = records.table
    assert table["fold"].tolist() == [hashed_fold("georgia", name) for name in table["record_id"]]
    assert set(table["fold"].iloc[records.rows(records.parts.test)]) == {10}
    assert records.folds["georgia"].startswith("ten, by SHA-256")


def test_code_15(encoder, cache, tmp_path):
    pytest.importorskip("h5py")
    folder = ecgjepa.simulate(110, tmp_path / "code-15", layout="code-15")
    result = run(encoder, {"code-15": folder}, cache, "linear", task="code-15")
    records = result.records
    assert records.task.labels == ("1dAVb", "AF", "LBBB", "RBBB", "SB", "ST")
    patients = [set(records.patients(part)) for part in records.parts]
    assert not patients[0] & (patients[1] | patients[2])


def test_transfer_trains_on_one_and_tests_on_another(encoder, georgia, ningbo, cache, tmp_path):
    data = {"georgia": georgia, "ningbo": ningbo}
    result = ecgjepa.probe(
        encoder,
        data,
        tmp_path / "p",
        task="challenge-2021",
        protocol="linear",
        test_on=["ningbo"],
        cache=cache,
    )
    split = pd.read_csv(result.path / "split.csv")
    assert set(split.loc[split["part"] == "test", "database"]) == {"ningbo"}
    assert set(split.loc[split["part"] != "test", "database"]) == {"georgia"}
    assert result.results["data"]["trained_on"] == ["georgia"]
    assert result.results["data"]["tested_on"] == ["ningbo"]
    seen = json.loads((result.path / "model/config.json").read_text())["training"]["seen"]
    assert [stage["database"] for stage in seen] == ["georgia"]


def test_each_database_is_left_out_once(encoder, georgia, ningbo, cache, tmp_path):
    found = ecgjepa.repeat(
        encoder,
        {"georgia": georgia, "ningbo": ningbo},
        tmp_path / "r",
        task="challenge-2021",
        protocol="knn",
        each_database=True,
        cache=cache,
    )
    tested = [item.results["data"]["tested_on"] for item in found.evaluations]
    assert tested == [["georgia"], ["ningbo"]]
    with pytest.raises(ConfigError, match="needs two or more; found georgia"):
        ecgjepa.repeat(encoder, {"georgia": georgia}, tmp_path / "s", each_database=True)


def test_runs_and_shares_of_the_labels(encoder, ptb_xl, cache, tmp_path):
    found = ecgjepa.repeat(
        encoder,
        {"ptb-xl": ptb_xl},
        tmp_path / "r",
        task="superdiagnostic",
        runs=2,
        label_fractions=(0.2, 1.0),
        label_draws=2,
        overrides=FAST,
        cache=cache,
    )
    summary = json.loads((tmp_path / "r/summary.json").read_text())
    assert summary == found.summary
    names = [row["folder"] for row in summary["rows"][::2]]
    assert names == [
        "labels-20-draw-0-seed-0",
        "labels-20-draw-0-seed-1",
        "labels-20-draw-1-seed-0",
        "labels-20-draw-1-seed-1",
        "labels-100-draw-0-seed-0",
        "labels-100-draw-0-seed-1",
    ]
    splits = [pd.read_csv(tmp_path / "r" / name / "split.csv") for name in names]
    train = [set(split.loc[split["part"] == "train", "record_id"]) for split in splits]
    assert train[0] == train[1]
    assert train[0] != train[2]
    assert train[0] < train[4]
    tested = [split.loc[split["part"] == "test", "record_id"].tolist() for split in splits]
    assert all(test == tested[0] for test in tested)
    values = [row["value"] for row in summary["rows"] if row["model"] == "pre-trained"]
    few = next(row for row in summary["means"] if row["label_fraction"] == 0.2)
    assert few["runs"] == 4
    assert few["mean"] == pytest.approx(np.mean(values[:4]))
    assert few["std"] == pytest.approx(np.std(values[:4], ddof=1))


def test_one_run_has_no_spread():
    (row,) = means([{"test_on": "", "label_fraction": 1.0, "model": "m", "value": 0.7}])
    assert row["mean"] == 0.7
    assert np.isnan(row["std"])


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        ({"layers": (1, 2)}, {"layers": [1, 2]}),
        ({"reading": "all-blocks"}, {"reading": "all-blocks"}),
    ],
)
def test_what_is_read_is_kept_in_the_model(encoder, ptb_xl, cache, tmp_path, options, settings):
    result = ecgjepa.probe(
        encoder,
        {"ptb-xl": ptb_xl},
        tmp_path / "p",
        task="superdiagnostic",
        protocol="linear",
        cache=cache,
        **options,
    )
    assert result.results["settings"] == settings
    frame = pd.read_parquet(result.path / "predictions.parquet")
    rows = frame[(frame["part"] == "test") & (frame["model"] == "pre-trained")]
    files = [ptb_xl / f"records500/00000/{int(i):05d}_hr.hea" for i in rows["record_id"]]
    predicted = ecgjepa.load_model(result.path, calibrated=False).predict_proba(files)
    np.testing.assert_allclose(
        predicted.to_numpy(), rows.filter(like="probability:").to_numpy(), atol=5e-3
    )


def test_all_blocks_are_read_by_every_protocol(encoder, ptb_xl, cache, tmp_path):
    """Fine-tuning reads as its probe does; neighbours see mean and deviation of every block."""
    options = {"task": "superdiagnostic", "cache": cache}
    data = {"ptb-xl": ptb_xl}
    found = ecgjepa.run_protocol(encoder, data, protocol="knn", reading="all-blocks", **options)
    usual = ecgjepa.run_protocol(encoder, data, protocol="knn", **options)
    assert found.embeddings.shape == usual.embeddings.shape
    assert not np.array_equal(found.outcome.test, usual.outcome.test)
    tuned = ecgjepa.run_protocol(
        encoder,
        data,
        protocol="finetune-after-probe",
        reading="all-blocks",
        overrides=TUNE,
        probe_overrides=FAST,
        **options,
    )
    assert tuned.classifier.reading == ((1, 2, 3), True)
    with pytest.raises(ConfigError, match="choose one of the two"):
        ecgjepa.run_protocol(encoder, data, reading="all-blocks", layers=(1,), **options)
    with pytest.raises(ConfigError, match="unknown reading 'best': expected paper or all-blocks"):
        _check_reading("best", ())


def test_a_prepared_store_serves_too(encoder, georgia, cache, tmp_path):
    prepare(
        {"georgia": georgia},
        tmp_path / "store",
        folds="all",
        preprocessing=PreprocessingConfig(sampling_rate=100.0),
    )
    from_store = run(encoder, tmp_path / "store", cache, "linear", task="challenge-2021")
    from_folder = run(encoder, {"georgia": georgia}, cache, "linear", task="challenge-2021")
    np.testing.assert_allclose(from_store.outcome.test, from_folder.outcome.test, atol=1e-6)
    with pytest.raises(TaskError, match="task 'form' is defined on ptb-xl"):
        run(encoder, tmp_path / "store", cache, "linear", task="form")


def test_labels_opened_once_serve_many_runs(encoder, ptb_xl, cache):
    loaded = load_encoder(encoder)
    records = open_data(
        {"ptb-xl": ptb_xl},
        loaded[1],
        Cohort(task="superdiagnostic"),
        cache=cache,
    )
    half = run(loaded, records, cache, "linear", label_fraction=0.5)
    whole = run(loaded, records, cache, "linear")
    assert len(half.records.parts.train) < len(whole.records.parts.train)
    assert np.abs(half.outcome.test - whole.outcome.test).max() > 0.01


@pytest.mark.parametrize("protocol", ["attentive", "linear", "knn", "finetune-after-probe"])
def test_the_callers_encoder_stays_as_it_was(encoder, ptb_xl, cache, protocol):
    """It may be in training elsewhere: its mode and weights are not the protocol's to change."""
    loaded = load_encoder(encoder)
    loaded.encoder.train()
    before = {name: value.clone() for name, value in loaded.encoder.state_dict().items()}
    result = run(loaded, {"ptb-xl": ptb_xl}, cache, protocol, task="superdiagnostic")
    assert all(module.training for module in loaded.encoder.modules())
    for name, value in loaded.encoder.state_dict().items():
        assert torch.equal(value, before[name]), name
    if result.classifier is not None:
        assert not result.classifier.encoder.training
        own = {id(parameter) for parameter in loaded.encoder.parameters()}
        assert not own & {id(parameter) for parameter in result.classifier.parameters()}


def test_a_store_that_a_verb_opened_is_closed(encoder, ptb_xl, cache, tmp_path, monkeypatch):
    opened, closed = [], []
    for name, seen in (("__init__", opened), ("close", closed)):
        real = getattr(Store, name)
        monkeypatch.setattr(
            Store,
            name,
            lambda self, *args, real=real, seen=seen, **options: (
                seen.append(id(self)),
                real(self, *args, **options),
            )[1],
        )
    data, given = {"ptb-xl": ptb_xl}, {"task": "superdiagnostic", "cache": cache}
    run(encoder, data, cache, "linear", task="superdiagnostic")
    with pytest.raises(DivergenceError):
        ecgjepa.probe(
            encoder, data, tmp_path / "p", **given, overrides=[*FAST, "learning_rate=1e38"]
        )
    with pytest.raises(TaskError, match=r"share|copies|fold"):
        run(encoder, data, cache, "linear", split=ecgjepa.Split((1,), (2,), (30,)))
    assert len(opened) >= 3
    assert set(opened) == set(closed)


def test_all_labels_again_are_said_to_be_all(encoder, ptb_xl, cache):
    """Whoever goes back from a share to all of the labels must not be told of the share."""
    records = open_data(
        {"ptb-xl": ptb_xl},
        load_encoder(encoder)[1],
        Cohort(task="superdiagnostic"),
        cache=cache,
    )
    again = records.with_labels(0.5, draw=2).with_labels(1.0, draw=3)
    assert len(again.parts.train) == len(records.parts.train)
    assert again.facts == records.facts
    assert (again.cohort.label_fraction, again.cohort.label_draw) == (1.0, 0)


def test_the_command(encoder, georgia, ningbo, cache, tmp_path, monkeypatch, capsys):
    words = (
        f"ecgjepa probe --model {encoder} --data georgia={georgia} --data ningbo={ningbo} "
        f"--task challenge-2021 --protocol knn --label-fraction 50%,100% --test-on each "
        f"--layers 1-2 --cache {cache} --out {tmp_path / 'r'} --json"
    )
    monkeypatch.setattr(sys, "argv", words.split())
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert not stop.value.code
    summary = json.loads(capsys.readouterr().out)
    assert len(summary["rows"]) == 2 * 2 * 2
    assert {tuple(row["test_on"]) for row in summary["means"]} == {("georgia",), ("ningbo",)}
