import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SMALL_MODEL, write_ptb_xl
from safetensors.torch import load_file

from ecgjepa.config import load_preset
from ecgjepa.errors import CheckpointError, CollapseError, ConfigError, DivergenceError, StoreError
from ecgjepa.locks import LOCK_FILE, working_in
from ecgjepa.objectives.networks.jepa import Jepa, JepaOutput
from ecgjepa.pretraining import loop
from ecgjepa.pretraining.checkpoint import (
    CheckpointState,
    check_checkpoint,
    latest_checkpoint,
    list_checkpoints,
    remove_old_checkpoints,
    save_checkpoint,
)
from ecgjepa.pretraining.loop import initial_networks, pretrain
from ecgjepa.pretraining.optim import build_optimizer
from ecgjepa.pretraining.stopping import RunStopped, stop_on_signal
from ecgjepa.protocols.encoders import load_encoder, untrained_encoder
from ecgjepa.signals.preprocessing import PreprocessingConfig
from ecgjepa.store.prepare import prepare

FAST = [
    *SMALL_MODEL,
    "train.steps=10",
    "train.warmup_steps=2",
    "train.log_every=2",
    "train.checkpoint_every=5",
    "train.keep_checkpoints=0",
]


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pretrain")
    source = write_ptb_xl(folder / "source", records=30, seconds=3.0)
    prepare(
        {"ptb-xl": source}, folder / "store", preprocessing=PreprocessingConfig(sampling_rate=100.0)
    )
    return folder / "store"


def weights(run: Path, step: int) -> dict[str, torch.Tensor]:
    return load_file(run / f"checkpoints/step-{step:06d}/weights.safetensors")


def equal(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


class Stop(Exception):
    pass


def stop_after(monkeypatch, steps: int) -> None:
    """Make the run die right after some optimizer step."""
    real, calls = Jepa.update_target, []

    def update(self, momentum):
        real(self, momentum)
        calls.append(momentum)
        if len(calls) == steps:
            raise Stop

    monkeypatch.setattr(Jepa, "update_target", update)


def test_a_run_folder_is_complete(store, tmp_path):
    run = pretrain(store, tmp_path / "run", overrides=FAST)
    names = {path.name for path in run.iterdir()}
    assert names == {
        "config.yaml",
        "objective.json",
        "store.json",
        "encoder.json",
        "metrics.jsonl",
        "seen.parquet",
        "checkpoints",
        "model",
    }
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 6, 8, 10]
    assert all(np.isfinite(list(line.values())).all() for line in lines)
    assert [path.name for path in list_checkpoints(run / "checkpoints")] == [
        "step-000005",
        "step-000010",
    ]
    assert load_preset(run / "config.yaml") == load_preset("tiny", FAST)
    # The model folder holds the target encoder.
    final = weights(run, 10)
    model = load_file(run / "model/model.safetensors")
    assert equal(
        {f"target_encoder.{k}": v for k, v in model.items()},
        {k: v for k, v in final.items() if k.startswith("target_encoder.")},
    )


def test_the_same_seed_gives_the_same_weights(store, tmp_path):
    a = pretrain(store, tmp_path / "a", overrides=FAST)
    b = pretrain(store, tmp_path / "b", overrides=FAST)
    c = pretrain(store, tmp_path / "c", overrides=[*FAST, "train.seed=1"])
    assert equal(weights(a, 10), weights(b, 10))
    assert not equal(weights(a, 10), weights(c, 10))


@pytest.mark.parametrize("died_after", [5, 7, 9])
@pytest.mark.parametrize("extra", [[], ["train.gradient_accumulation_steps=2"]])
def test_ten_steps_are_five_and_five(store, tmp_path, monkeypatch, died_after, extra):
    """Bit for bit, whatever step the first attempt died after."""
    whole = pretrain(store, tmp_path / "whole", overrides=[*FAST, *extra])
    with monkeypatch.context() as patch:
        stop_after(patch, died_after + 1)
        with pytest.raises(Stop):
            pretrain(store, tmp_path / "cut", overrides=[*FAST, *extra])
    assert not (tmp_path / "cut/model").exists()
    cut = pretrain(store, tmp_path / "cut", overrides=[*FAST, *extra])
    assert equal(weights(cut, 10), weights(whole, 10))
    optimizer = [
        torch.load(run / "checkpoints/step-000010/trainer.pt", weights_only=True)["optimizer"]
        for run in (whole, cut)
    ]
    for key, state in optimizer[0]["state"].items():
        assert equal(state, optimizer[1]["state"][key])
    losses = [
        [
            (line["step"], line["loss"])
            for line in map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
        ]
        for run in (whole, cut)
    ]
    assert [step for step, _ in losses[1]] == [2, 4, 6, 8, 10]  # lines are not repeated
    assert losses[0] == losses[1]


@pytest.mark.parametrize(
    ("asked_at", "number"),
    [(1, signal.SIGTERM), (4, signal.SIGTERM), (5, signal.SIGINT), (9, signal.SIGTERM)],
)
def test_a_signal_saves_at_the_next_step_and_the_run_goes_on(
    store, tmp_path, monkeypatch, asked_at, number
):
    whole = pretrain(store, tmp_path / "whole", overrides=FAST)
    real, calls = Jepa.update_target, []

    def update(self, momentum):
        real(self, momentum)
        calls.append(momentum)
        if len(calls) == asked_at:
            os.kill(os.getpid(), number)

    with monkeypatch.context() as patch:
        patch.setattr(Jepa, "update_target", update)
        with pytest.raises(RunStopped) as stopped:
            pretrain(store, tmp_path / "cut", overrides=FAST)
    assert (stopped.value.code, stopped.value.step) == (128 + number, asked_at)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert latest_checkpoint(tmp_path / "cut/checkpoints").name == f"step-{asked_at:06d}"
    cut = pretrain(store, tmp_path / "cut", overrides=FAST)
    assert equal(weights(cut, 10), weights(whole, 10))
    lines = [
        [
            {
                k: v
                for k, v in json.loads(line).items()
                if k not in ("records_per_second", "data_wait")
            }
            for line in (run / "metrics.jsonl").read_text().splitlines()
        ]
        for run in (whole, cut)
    ]
    assert lines[0] == lines[1]


def test_other_code_is_named(store, tmp_path, monkeypatch, caplog):
    with monkeypatch.context() as patch:
        stop_after(patch, 7)
        with pytest.raises(Stop):
            pretrain(store, tmp_path / "run", overrides=FAST)
    monkeypatch.setattr(loop, "origin_here", lambda world: {"code": "now"})
    pretrain(store, tmp_path / "run", overrides=FAST)
    assert re.search(
        r"step-000005 was computed by something else \(code \w{12} → now\)", caplog.text
    )


def test_the_schedule_continues_instead_of_starting_again(store, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        stop_after(patch, 7)
        with pytest.raises(Stop):
            pretrain(store, tmp_path / "run", overrides=FAST)
    done = []
    real = loop.schedules.learning_rate
    with monkeypatch.context() as patch:
        patch.setattr(
            loop.schedules,
            "learning_rate",
            lambda config, step: done.append(step) or real(config, step),
        )
        pretrain(store, tmp_path / "run", overrides=FAST)
    assert sorted(set(done)) == [5, 6, 7, 8, 9]


def test_the_target_moves_once_per_optimizer_step(store, tmp_path, monkeypatch):
    """The official code moves it once per micro-batch and runs through its schedule twice."""
    moves = []
    real = Jepa.update_target
    monkeypatch.setattr(Jepa, "update_target", lambda self, m: moves.append(m) or real(self, m))
    pretrain(store, tmp_path / "run", overrides=[*FAST, "train.gradient_accumulation_steps=4"])
    config = load_preset("tiny", FAST).train
    assert len(moves) == 10
    assert moves[-1] == pytest.approx(config.final_momentum)
    assert moves[4] == pytest.approx((config.momentum + config.final_momentum) / 2)


def test_accumulated_gradients_are_those_of_the_parts(store, tmp_path):
    """Four parts of two give a mean over all eight records."""
    run = pretrain(
        store,
        tmp_path / "run",
        overrides=[*FAST, "train.gradient_accumulation_steps=4", "train.steps=3"],
    )
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 2


def test_a_loss_that_is_no_number_stops_the_run(store, tmp_path, monkeypatch):
    real = Jepa.forward

    def diverge(self, *batch):
        output = real(self, *batch)
        return output._replace(loss=output.loss * float("nan"))

    monkeypatch.setattr(Jepa, "forward", diverge)
    with pytest.raises(DivergenceError, match=r"the loss is nan at step 2; .*learning_rate"):
        pretrain(store, tmp_path / "run", overrides=FAST)
    assert not (tmp_path / "run/model").exists()
    # Between two lines of the log, it is found before it is saved.
    with pytest.raises(DivergenceError, match="at step 1"):
        pretrain(store, tmp_path / "b", overrides=[*FAST, "train.checkpoint_every=1"])
    assert not (tmp_path / "b/checkpoints").exists()


def read_signs(monkeypatch, spreads: list[float]) -> None:
    """Make the monitor see these spreads."""
    readings = iter(spreads)
    monkeypatch.setattr(
        JepaOutput, "signs", lambda *_: {"spread": next(readings), "effective_rank": 10.0}
    )


def test_a_lasting_collapse_can_stop_the_run(store, tmp_path, monkeypatch):
    stop = [*FAST, "train.stop_on_collapse=true"]
    with monkeypatch.context() as patch:
        read_signs(patch, [0.01, 0.01, 0.5, 0.01, 0.01])
        pretrain(store, tmp_path / "dips", overrides=stop)
    with monkeypatch.context() as patch:
        read_signs(patch, [0.5, 0.01, 0.01, 0.01])
        with pytest.raises(CollapseError, match=r"stopped at step 8: .* only 1% of the target"):
            pretrain(store, tmp_path / "run", overrides=stop)
    # Its checkpoints are there, and the switch may be turned off to go on.
    assert [path.name for path in list_checkpoints(tmp_path / "run/checkpoints")] == ["step-000005"]
    pretrain(store, tmp_path / "run", overrides=FAST)
    assert (tmp_path / "run/model").is_dir()


def test_collapse_is_said_when_it_begins(store, tmp_path, monkeypatch, caplog):
    read_signs(monkeypatch, [0.01, 0.01, 0.5, 0.01, 0.01])
    pretrain(store, tmp_path / "run", overrides=FAST)
    said = [r.getMessage() for r in caplog.records if "collapsing" in r.getMessage()]
    assert [text.split(":")[0] for text in said] == ["step 2", "step 8"]


def test_a_finished_run_is_left_alone(store, tmp_path):
    run = pretrain(store, tmp_path / "run", overrides=FAST)
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}
    pretrain(store, tmp_path / "run", overrides=FAST)
    assert before == {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}


def test_other_settings_are_refused_and_named(store, tmp_path):
    pretrain(store, tmp_path / "run", overrides=FAST)
    with pytest.raises(CheckpointError, match=r"train\.seed: 0 → 4"):
        pretrain(store, tmp_path / "run", overrides=[*FAST, "train.seed=4"])


def test_another_store_is_refused(store, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        stop_after(patch, 7)
        with pytest.raises(Stop):
            pretrain(store, tmp_path / "run", overrides=FAST)
    source = write_ptb_xl(tmp_path / "other", records=30, seconds=3.0, seed=9)
    prepare(
        {"ptb-xl": source},
        tmp_path / "store2",
        preprocessing=PreprocessingConfig(sampling_rate=100.0),
    )
    with pytest.raises(CheckpointError, match="was trained on another store"):
        pretrain(tmp_path / "store2", tmp_path / "run", overrides=FAST)


def test_held_out_records_are_refused(tmp_path):
    source = write_ptb_xl(tmp_path / "source", records=30, seconds=3.0)
    prepare(
        {"ptb-xl": source},
        tmp_path / "store",
        folds="all",
        preprocessing=PreprocessingConfig(sampling_rate=100.0),
    )
    with pytest.raises(StoreError, match=r"holds folds \[9, 10\] of ptb-xl, which are reserved"):
        pretrain(tmp_path / "store", tmp_path / "run", overrides=FAST)
    assert not (tmp_path / "run").exists()


def test_a_claim_cut_short_is_claimed_again(store, tmp_path):
    (tmp_path / "run/.partial-999999999-model").mkdir(parents=True)
    (tmp_path / "run/store.json").write_text("{}")
    run = pretrain(store, tmp_path / "run", overrides=FAST)
    assert (run / "store.json").read_bytes() == (store / "manifest.json").read_bytes()
    assert not (run / ".partial-999999999-model").exists()


def test_a_foreign_folder_is_refused(store, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/a.tex").write_text("x")
    with pytest.raises(CheckpointError, match="is not a pre-training run"):
        pretrain(store, tmp_path / "thesis", overrides=FAST)


def test_impossible_masks_are_refused_before_anything_is_written(store, tmp_path):
    with pytest.raises(ConfigError, match="mask: with 20 patches"):
        pretrain(store, tmp_path / "run", overrides=[*FAST, "mask.min_block_size=19"])
    assert not (tmp_path / "run").exists()


# ---------------------------------------------------------------- checkpoints


@pytest.fixture
def saved(tmp_path):
    config = load_preset("tiny", FAST)
    jepa = initial_networks(config)
    optimizer = build_optimizer(jepa, config.train)
    for step in (5, 10, 15):
        save_checkpoint(tmp_path, jepa, optimizer, CheckpointState(step, "abc"))
    return tmp_path


@pytest.mark.parametrize("name", ["weights.safetensors", "trainer.pt", "state.json", "hashes.json"])
def test_every_single_byte_matters(saved, name):
    path = saved / "step-000015"
    original = (path / name).read_bytes()
    for place in np.random.default_rng(0).integers(0, len(original), 40).tolist():
        data = bytearray(original)
        data[place] ^= 1 << (place % 8)
        (path / name).write_bytes(bytes(data))
        with pytest.raises(CheckpointError):
            check_checkpoint(path)
    (path / name).write_bytes(original)
    assert check_checkpoint(path) == CheckpointState(15, "abc")


def test_a_damaged_checkpoint_is_skipped_by_name(saved, caplog):
    data = saved / "step-000015/weights.safetensors"
    data.write_bytes(data.read_bytes()[:-1])
    (saved / "step-000010/state.json").unlink()
    assert latest_checkpoint(saved) == saved / "step-000005"
    assert "weights.safetensors is damaged" in caplog.text
    assert "state.json is missing" in caplog.text


def test_a_run_goes_on_from_the_last_undamaged_checkpoint(store, tmp_path, monkeypatch, caplog):
    whole = pretrain(store, tmp_path / "whole", overrides=FAST)
    cut = tmp_path / "cut"
    shutil.copytree(whole, cut)
    shutil.rmtree(cut / "model")
    damaged = cut / "checkpoints/step-000010/trainer.pt"
    damaged.write_bytes(damaged.read_bytes()[:-9])
    pretrain(store, cut, overrides=FAST)
    assert "trainer.pt is damaged" in caplog.text
    assert equal(weights(cut, 10), weights(whole, 10))


def test_old_checkpoints_are_removed(saved):
    (saved / ".partial-999999999-step-000020").mkdir()
    remove_old_checkpoints(saved, keep=2)
    assert [path.name for path in sorted(saved.iterdir())] == ["step-000010", "step-000015"]


def test_milestones_stay(saved):
    remove_old_checkpoints(saved, keep=1, newest=15, milestone_every=10)
    assert [path.name for path in list_checkpoints(saved)] == ["step-000010", "step-000015"]
    remove_old_checkpoints(saved, keep=1, newest=15)
    assert [path.name for path in list_checkpoints(saved)] == ["step-000015"]


def test_damaged_later_checkpoints_do_not_push_out_sound_ones(saved):
    """A run that went on from 10 because 15 is damaged has just saved 12."""
    shutil.copytree(saved / "step-000010", saved / "step-000012")
    remove_old_checkpoints(saved, keep=1, newest=12)
    assert [path.name for path in list_checkpoints(saved)] == ["step-000012", "step-000015"]


def test_milestones_fall_on_checkpoints():
    with pytest.raises(
        ConfigError, match="milestone_every 7 is not a multiple of checkpoint_every"
    ):
        load_preset("tiny", [*FAST, "train.milestone_every=7"])


def test_checkpoints_are_sorted_by_number(tmp_path):
    for step in (999_999, 1_000_000, 5):
        (tmp_path / f"step-{step:06d}").mkdir()
    assert [int(path.name[5:]) for path in list_checkpoints(tmp_path)] == [5, 999_999, 1_000_000]


def test_a_checkpoint_can_be_evaluated_and_its_start_rebuilt(store, tmp_path):
    run = pretrain(store, tmp_path / "run", overrides=FAST)
    encoder, config = load_encoder(run / "checkpoints/step-000005")
    assert config.pretraining.steps == 5
    assert equal(
        {f"target_encoder.{k}": v for k, v in encoder.state_dict().items()},
        {k: v for k, v in weights(run, 5).items() if k.startswith("target_encoder.")},
    )
    start = initial_networks(load_preset("tiny", FAST)).context_encoder
    assert equal(untrained_encoder(config).state_dict(), start.state_dict())
    assert load_encoder(run)[1].pretraining.steps == 10


def test_a_resident_store_changes_nothing_in_a_run(store, tmp_path):
    pretrain(store, tmp_path / "files", overrides=FAST)
    pretrain(store, tmp_path / "memory", overrides=[*FAST, "data.resident=true"])
    assert equal(weights(tmp_path / "files", 10), weights(tmp_path / "memory", 10))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_networks_compute_the_same(store, tmp_path):
    settings = [item for override in FAST for item in ("--set", override)]
    for name, value in (("plain", "false"), ("compiled", "true")):
        # In a process of its own: the types that tests check at run time cannot be compiled.
        subprocess.run(
            [
                sys.executable,
                "-m",
                "ecgjepa",
                "pretrain",
                "--store",
                store,
                "--preset",
                "tiny",
                "--out",
                tmp_path / name,
                "--set",
                f"train.compile={value}",
                *settings,
            ],
            check=True,
            capture_output=True,
        )
    plain, compiled = weights(tmp_path / "plain", 10), weights(tmp_path / "compiled", 10)
    assert plain.keys() == compiled.keys()  # no names of a wrapper
    for name, weight in plain.items():
        torch.testing.assert_close(compiled[name], weight, rtol=0, atol=2e-3)


def test_ctrl_c_twice_does_not_wait_for_the_step():
    with stop_on_signal() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert (stop.made, stop.number) == (True, signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_process_is_told_that_another_trains_there(store, tmp_path):
    run = tmp_path / "run"
    with working_in(run, CheckpointError, "a pretrain"):
        with pytest.raises(CheckpointError, match=r"another pretrain is at work .*process \d+ on"):
            pretrain(store, run, overrides=FAST)
        assert [path.name for path in run.iterdir()] == [LOCK_FILE]
    done = pretrain(store, run, overrides=FAST)
    assert not [path for path in done.rglob("*") if path.name.startswith(".")]
    modes = {path.stat().st_mode & 0o777 for path in done.rglob("*") if path.is_file()}
    assert len(modes) == 1, "some files may be read by others, and some may not"
