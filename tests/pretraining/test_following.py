"""What follows a run: trackers, the line on the terminal, and the probe that chooses the best."""

import json
import sys
from types import ModuleType, SimpleNamespace

import pandas as pd
import pytest
import torch
from conftest import SMALL_MODEL, write_ptb_xl
from safetensors.torch import load_file

import ecgjepa
from ecgjepa.errors import ConfigError, TaskError
from ecgjepa.model.folder import read_model_config
from ecgjepa.pretraining.loop import pretrain
from ecgjepa.pretraining.selection import OnlineProbe
from ecgjepa.protocols.encoders import load_encoder
from ecgjepa.signals.preprocessing import PreprocessingConfig
from ecgjepa.store.prepare import prepare
from ecgjepa.tasks.leakage import refuse_leak

FAST = [
    *SMALL_MODEL,
    "train.steps=10",
    "train.warmup_steps=2",
    "train.log_every=4",
    "train.checkpoint_every=5",
    "probe.every=3",
]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_ptb_xl(tmp_path_factory.mktemp("following"), records=60, seconds=3.0)


@pytest.fixture(scope="module")
def store(source, tmp_path_factory):
    folder = tmp_path_factory.mktemp("store") / "store"
    prepare({"ptb-xl": source}, folder, preprocessing=PreprocessingConfig(sampling_rate=100.0))
    return folder


def metrics(run) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def scripted(scores):
    """Return a probe with these scores, the first for the untrained encoder."""
    left = iter(scores)
    return lambda config: OnlineProbe(lambda encoder: next(left), ("ptb-xl",), "rhythm", (9,))


# ---------------------------------------------------------------- the probe


def test_the_best_encoder_is_kept_and_knows_how_it_was_chosen(store, tmp_path):
    scores = [0.5, 0.6, 0.8, 0.7, 0.75]
    run = pretrain(store, tmp_path / "run", overrides=FAST, probe=scripted(scores))
    lines = metrics(run)
    assert [line["step"] for line in lines] == [3, 4, 6, 8, 9, 10]
    probed = {
        line["step"]: line["probe_macro_auroc"] for line in lines if "probe_macro_auroc" in line
    }
    assert probed == {3: 0.6, 6: 0.8, 9: 0.7, 10: 0.75}
    assert all(line.get("probe_macro_auroc_untrained", 0.5) == 0.5 for line in lines)
    _, config = load_encoder(run / "best")
    assert config.pretraining.steps == 6
    # What selected it is not a test of it.
    unseen = config.pretraining.model_copy(update={"folds": {}})
    elsewhere = config.model_copy(update={"pretraining": unseen})
    refuse_leak(elsewhere, "ptb-xl", ecgjepa.Split())
    with pytest.raises(TaskError, match=r"selected on \[9\]"):
        refuse_leak(elsewhere, "ptb-xl", ecgjepa.Split((1, 2), (8,), (9,)))


def test_probing_changes_nothing_in_the_run(store, source, tmp_path):
    plain = pretrain(store, tmp_path / "plain", overrides=FAST)
    followed = pretrain(
        store,
        tmp_path / "followed",
        overrides=FAST,
        probe=ecgjepa.online_probe({"ptb-xl": source}, cache=tmp_path / "cache"),
    )
    a, b = (load_file(run / "model/model.safetensors") for run in (plain, followed))
    assert all(torch.equal(a[name], b[name]) for name in a)
    lines = metrics(followed)
    scores = [line["probe_macro_auroc"] for line in lines if "probe_macro_auroc" in line]
    assert len(scores) == 4
    assert all(0 <= score <= 1 for score in scores)
    assert not (plain / "best").exists()


def test_a_resumed_run_remembers_the_best(store, tmp_path, monkeypatch):
    class Stop(Exception):
        pass

    def die(encoder):
        raise Stop

    scores = iter([lambda e: 0.5, lambda e: 0.9, lambda e: 0.6, die])
    first = OnlineProbe(lambda encoder: next(scores)(encoder), ("ptb-xl",), "rhythm", (9,))
    with pytest.raises(Stop):
        pretrain(store, tmp_path / "run", overrides=FAST, probe=lambda config: first)
    # It goes on after step 5; step 3 and the untrained score are in its metrics.
    run = pretrain(store, tmp_path / "run", overrides=FAST, probe=scripted([0.6, 0.7, 0.8]))
    assert load_encoder(run / "best")[1].pretraining.steps == 3
    assert metrics(run)[-1]["probe_macro_auroc_untrained"] == 0.5


def test_a_probe_on_records_of_the_store_is_refused_before_the_run(store, source, tmp_path):
    probe = ecgjepa.online_probe({"ptb-xl": source}, validation_folds=(8,), train_folds=(1, 2))
    with pytest.raises(TaskError, match="was pre-trained on folds"):
        pretrain(store, tmp_path / "run", overrides=FAST, probe=probe)
    unknown = ecgjepa.online_probe({"ptb-xl": source}, task="vast")  # it may be a table's column
    with pytest.raises(TaskError, match="unknown task"):
        pretrain(store, tmp_path / "run", overrides=FAST, probe=unknown)
    assert not (tmp_path / "run").exists()


def test_a_probe_on_copies_of_the_stores_records_is_refused_before_the_run(source, tmp_path):
    """Whatever they are called: the run would be chosen by records that it learns from."""
    archive = tmp_path / "clinic"
    archive.mkdir()
    for number, header in enumerate(sorted(source.glob("records500/*/*.hea"))):
        copy = archive / f"patient{number}.hea"
        copy.write_text(header.read_text().replace(header.stem, copy.stem))
        copy.with_suffix(".dat").write_bytes(header.with_suffix(".dat").read_bytes())
    copied = tmp_path / "copied"
    rate = PreprocessingConfig(sampling_rate=100.0)
    prepare({"clinic": archive}, copied, folds="all", preprocessing=rate)
    probe = ecgjepa.online_probe({"ptb-xl": source})
    with pytest.raises(TaskError, match="pre-trained on copies of"):
        pretrain(copied, tmp_path / "run", overrides=FAST, probe=probe)
    assert not (tmp_path / "run/checkpoints").exists()


def test_a_run_may_be_followed_by_a_regression(store, tmp_path):
    """An infant's age of 0 is a value; scores below -1 are scores."""
    data = write_ptb_xl(tmp_path / "infants", records=60, seconds=3.0)
    table = pd.read_csv(data / "ptbxl_database.csv")
    table.loc[::6, "age"] = 0.0
    table.to_csv(data / "ptbxl_database.csv", index=False)
    probe = ecgjepa.online_probe({"ptb-xl": data}, task="age", cache=tmp_path / "cache")
    run = pretrain(store, tmp_path / "run", overrides=FAST, probe=probe)
    scores = {line["step"]: line["probe_r2"] for line in metrics(run) if "probe_r2" in line}
    assert list(scores) == [3, 6, 9, 10]
    assert not any("probe_macro_auroc" in line for line in metrics(run))
    config = read_model_config(run / "best")
    assert scores[config.pretraining.steps] == max(scores.values())
    assert config.training["selected_by"] == {"task": "age", "probe_r2": max(scores.values())}


def test_any_score_is_better_than_none(store, tmp_path):
    probe = scripted([-9.0, -7.0, -5.0, -6.0, -8.0])
    run = pretrain(store, tmp_path / "run", overrides=FAST, probe=probe)
    assert load_encoder(run / "best")[1].pretraining.steps == 6


# ---------------------------------------------------------------- trackers


def test_trackers_get_every_line(store, tmp_path, monkeypatch):
    board, sent, closed = [], [], []

    class SummaryWriter:
        def __init__(self, folder, purge_step):
            board.append((folder, purge_step))

        def add_scalar(self, name, value, step):
            board.append((name, value, step))

        def flush(self):
            pass

        def close(self):
            closed.append("tensorboard")

    def init(**settings):
        sent.append(settings)
        return SimpleNamespace(
            log=lambda values, step: sent.append((step, values)),
            finish=lambda: closed.append("wandb"),
        )

    for name, content in (
        ("torch.utils.tensorboard", {"SummaryWriter": SummaryWriter}),
        ("wandb", {"init": init}),
    ):
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    overrides = [*FAST, "train.trackers=[tensorboard, wandb]"]
    run = pretrain(store, tmp_path / "run", overrides=overrides)
    lines = metrics(run)
    assert board[0] == (str(run / "tensorboard"), 1)
    assert ("loss", lines[-1]["loss"], 10) in board
    assert sent[0]["config"]["encoder"]["dim"] == 16
    assert sent[0]["id"] == (run / "wandb-id.txt").read_text()
    assert [step for step, _ in sent[1:]] == [4, 8, 10]
    assert sent[-1][1] == lines[-1]
    assert sorted(closed) == ["tensorboard", "wandb"]


def test_a_missing_tracker_is_named_before_the_run(store, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ConfigError, match=r"wandb cannot be imported .*'ecgjepa\[track\]'"):
        pretrain(store, tmp_path / "run", overrides=[*FAST, "train.trackers=[wandb]"])
    assert not (tmp_path / "run").exists()
    with pytest.raises(ConfigError, match="trackers"):
        pretrain(store, tmp_path / "run", overrides=[*FAST, "train.trackers=[excel]"])


# ---------------------------------------------------------------- the line on the terminal


def test_the_line_says_loss_speed_waiting_and_time_left(store, tmp_path, caplog):
    caplog.set_level("INFO")
    pretrain(store, tmp_path / "run", overrides=FAST)
    line = next(r.getMessage() for r in caplog.records if r.getMessage().startswith("step 4/10"))
    for word in ("loss ", "spread ", " records/s", "waiting ", " %", "left"):
        assert word in line
    assert len(line) <= 79
