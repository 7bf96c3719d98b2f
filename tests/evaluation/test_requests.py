"""A folder of results answers one request: it is read again, resumed, or refused."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from conftest import write_ptb_xl, write_wfdb
from small_encoders import save_encoder

import ecgjepa
from ecgjepa.errors import ConfigError, ModelFolderError, TaskError
from ecgjepa.evaluation import finetune, probe
from ecgjepa.tasks.split import Split

STEPS = ("steps=2", "validate_every=1")


@pytest.fixture(scope="module")
def ask(encoder, ptb_xl, cache):
    """Probe with all arguments but those given."""

    def run(out, model=encoder, data=None, **options):
        settings = {"task": "superdiagnostic", "protocol": "knn", "cache": cache}
        return ecgjepa.probe(model, data or {"ptb-xl": ptb_xl}, out, **(settings | options))

    return run


@pytest.fixture(scope="module")
def done(ask, tmp_path_factory):
    return ask(tmp_path_factory.mktemp("done") / "probe")


@pytest.fixture
def never(monkeypatch):
    """Nothing may be computed."""

    def fail(*_, **__):
        raise AssertionError("something was computed")

    monkeypatch.setattr(probe, "run", fail)
    monkeypatch.setattr(finetune, "run", fail)


def test_the_same_again_is_read(ask, encoder, done, never, tmp_path):
    """Neither the model's path nor the cache is what is asked."""
    before = {path: path.stat().st_mtime_ns for path in done.path.rglob("*")}
    copy = shutil.copytree(encoder, tmp_path / "copy")
    again = ask(done.path, model=copy, split=Split())
    assert again == done
    assert {path: path.stat().st_mtime_ns for path in done.path.rglob("*")} == before


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"task": "diagnostic"}, r'task \("superdiagnostic" there, "diagnostic" asked for\)'),
        ({"protocol": "linear"}, r'protocol \("knn" there, "linear" asked for\)'),
        ({"protocol": "attentive", "overrides": ("steps=3",)}, r"overrides \(\[\] there"),
        ({"split": Split((1, 2, 3), (9,), (10,))}, r"split\.train \(\[1, 2, 3, 4, 5, 6, 7, 8\]"),
        ({"layers": (1,)}, r"layers \(\[\] there, \[1\] asked for\)"),
        ({"seed": 1}, r"seed \(0 there, 1 asked for\)"),
        ({"label_fraction": 0.5}, r"label_fraction \(1\.0 there, 0\.5 asked for\)"),
        ({"allow_seen": True}, r"allow_seen \(false there, true asked for\)"),
    ],
)
def test_another_request_is_refused_by_name(ask, done, never, options, named):
    """And told what to type."""
    before = json.loads((done.path / "request.json").read_text())
    expected = f"holds another evaluation, which differs in .*{named}.*; choose another --out, or d"
    with pytest.raises(ConfigError, match=expected):
        ask(done.path, **options)
    assert json.loads((done.path / "request.json").read_text()) == before


def test_another_model_other_records_and_other_labels_are_refused(ask, ptb_xl, done, tmp_path):
    with pytest.raises(
        ConfigError, match=r'differs in model.*model\.safetensors \("[0-9a-f]{12}… there, '
    ):
        ask(done.path, model=save_encoder(tmp_path / "other", seed=1))
    others = write_ptb_xl(tmp_path / "ptb-xl", records=30, seed=9)
    with pytest.raises(ConfigError, match=r"differs in records \("):
        ask(done.path, data={"ptb-xl": others})
    ids = pd.read_csv(ptb_xl / "ptbxl_database.csv")["ecg_id"]
    table = pd.DataFrame({"record": ids, "even": 1 - ids % 2})
    table.to_csv(tmp_path / "labels.csv", index=False)
    first = ask(tmp_path / "r", task=str(tmp_path / "labels.csv"))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    table.to_csv(elsewhere / "labels.csv", index=False)
    assert ask(tmp_path / "r", task=str(elsewhere / "labels.csv")) == first
    table.assign(even=ids % 2).to_csv(elsewhere / "labels.csv", index=False)
    with pytest.raises(ConfigError, match=r"differs in labels \("):
        ask(tmp_path / "r", task=str(elsewhere / "labels.csv"))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"split": Split((1, 2), (9,), (12,))}, TaskError, "no record with a label is in the test"),
        ({"task": "{table}"}, TaskError, "none of the 1 labels has both positive and negative"),
        ({"task": "{table}.csv"}, TaskError, "no table of labels at"),
        ({"test_on": ("mimic-iv-ecg",)}, TaskError, "cannot test on mimic-iv-ecg; found ptb-xl"),
    ],
)
def test_what_is_refused_costs_and_leaves_nothing(
    encoder, ptb_xl, options, error, message, tmp_path
):
    """A probe, a fine-tuning and repeats prepare nothing and write nothing before they refuse."""
    table = tmp_path / "all.csv"
    ids = pd.read_csv(ptb_xl / "ptbxl_database.csv")["ecg_id"]
    pd.DataFrame({"record": ids, "yes": 1}).to_csv(table, index=False)
    if "task" in options:
        options = {"task": options["task"].format(table=table)}
    asked = {"task": "superdiagnostic", "cache": tmp_path / "cache"} | options
    for verb in (ecgjepa.probe, ecgjepa.finetune, ecgjepa.repeat):
        with pytest.raises(error, match=message):
            verb(encoder, {"ptb-xl": ptb_xl}, tmp_path / "out", **asked)
        assert [path.name for path in tmp_path.iterdir()] == ["all.csv"], verb


def test_a_folder_that_is_taken_is_refused_before_records_are_prepared(ask, done, never, tmp_path):
    """Which records they are, is then of no matter."""
    others = write_ptb_xl(tmp_path / "ptb-xl", records=30, seed=9)
    cache = tmp_path / "cache"
    for options in ({"protocol": "linear"}, {"seed": 3}):
        with pytest.raises(ConfigError, match="holds another evaluation"):
            ask(done.path, data={"ptb-xl": others}, cache=cache, **options)
    with pytest.raises(ConfigError, match="holds an evaluation; choose another --out"):
        ecgjepa.repeat(
            save_encoder(tmp_path / "other", seed=1), {"ptb-xl": others}, done.path, cache=cache
        )
    assert not cache.exists()


def test_a_refused_request_leaves_what_an_interrupted_one_had_done(ask, tmp_path, monkeypatch):
    folder = tmp_path / "r"
    with monkeypatch.context() as patched:
        patched.setattr(
            probe, "write_embeddings", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        with pytest.raises(KeyboardInterrupt):
            ask(folder, protocol="linear")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert folder / "model/config.json" in before
    with pytest.raises(TaskError, match="no record with a label is in the test folds"):
        ask(folder, split=Split((1, 2), (9,), (12,)))
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_an_interrupted_evaluation_leaves_the_folder_free(ask, tmp_path, monkeypatch):
    """What another request had written before it was interrupted is not left beside the results."""
    folder = tmp_path / "r"

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(probe, "write_embeddings", stop)
        with pytest.raises(KeyboardInterrupt):
            ask(folder, protocol="linear")
    assert (folder / "model/config.json").is_file()
    assert (folder / "results.json").is_file()
    found = ask(folder)
    assert found.results["protocol"] == "knn"
    assert not (folder / "model").exists()
    assert sorted(path.name for path in folder.iterdir()) == [
        "embeddings.npz",
        "predictions.parquet",
        "request.json",
        "results.json",
        "split.csv",
    ]


def test_an_interrupted_fine_tuning_keeps_its_probe(encoder, ptb_xl, cache, tmp_path, monkeypatch):
    asked = {
        "task": "superdiagnostic",
        "cache": cache,
        "overrides": (*STEPS, "warmup_steps=1"),
        "from_scratch": False,
    }
    protocol = finetune.request_protocol
    monkeypatch.setattr(
        finetune,
        "request_protocol",
        lambda *args, **kwargs: protocol(*args, **kwargs, probe_overrides=STEPS),
    )
    with monkeypatch.context() as patched:
        patched.setattr(finetune, "run", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            ecgjepa.finetune(encoder, {"ptb-xl": ptb_xl}, tmp_path / "r", **asked)
    weights = tmp_path / "r/probe/model/model.safetensors"
    before = weights.stat().st_mtime_ns
    found = ecgjepa.finetune(encoder, {"ptb-xl": ptb_xl}, tmp_path / "r", **asked)
    assert found.results["protocol"] == "finetune-after-probe"
    assert weights.stat().st_mtime_ns == before
    with pytest.raises(ConfigError, match=r"differs in from_scratch \(false there, true asked"):
        ecgjepa.finetune(
            encoder, {"ptb-xl": ptb_xl}, tmp_path / "r", **(asked | {"from_scratch": True})
        )


@pytest.mark.parametrize(
    ("file", "there"),
    [
        ("config.yaml", "a pre-training run"),
        ("repeats.json", "repeats of an evaluation"),
        ("plan.json", "a comparison"),
        ("manifest.json", "a store"),
        ("config.json", "a model"),
    ],
)
def test_a_folder_of_something_else_is_refused(ask, never, tmp_path, file, there):
    (tmp_path / file).write_text("{}")
    with pytest.raises(ConfigError, match=f"holds {there}; choose another --out"):
        ask(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [file]


def test_the_model_and_results_of_unknown_origin_are_not_written_over(ask, encoder, done, tmp_path):
    with pytest.raises(ConfigError, match="holds the model that is evaluated"):
        ask(encoder)
    shutil.copytree(done.path, tmp_path / "old")
    (tmp_path / "old/request.json").unlink()
    with pytest.raises(ConfigError, match=r"no request\.json tells of what \(an older ecgjepa"):
        ask(tmp_path / "old")


def test_a_model_is_not_imported_over_another_one(encoder, tmp_path):
    ecgjepa.convert(encoder, tmp_path / "official.pt")
    with pytest.raises(ModelFolderError, match=r"official\.pt: exists"):
        ecgjepa.convert(encoder, tmp_path / "official.pt")
    ecgjepa.convert(tmp_path / "official.pt", tmp_path / "imported")
    ecgjepa.convert(tmp_path / "official.pt", tmp_path / "imported")
    other = shutil.copytree(encoder, tmp_path / "other")
    before = (other / "model.safetensors").read_bytes()
    with pytest.raises(ModelFolderError, match="holds another model"):
        ecgjepa.convert(tmp_path / "official.pt", other)
    assert (other / "model.safetensors").read_bytes() == before


def test_changed_samples_under_the_same_names_are_another_request(
    ask, done, never, ptb_xl, tmp_path
):
    """A list of records is not the records; a copy of them is."""
    copy = shutil.copytree(ptb_xl, tmp_path / "ptb-xl")
    assert ask(done.path, data={"ptb-xl": copy}) == done
    header = next(copy.glob("records500/*/00003_hr.hea"))
    digital = np.fromfile(header.with_suffix(".dat"), "<i2").reshape(-1, 12)
    write_wfdb(header, digital[::-1])
    with pytest.raises(ConfigError, match="differs in records"):
        ask(done.path, data={"ptb-xl": copy})
