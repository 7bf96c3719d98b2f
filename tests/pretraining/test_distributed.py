"""Several processes on the CPU, by gloo, started by torchrun as a user would."""

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from textwrap import dedent
from threading import Barrier

import pytest
import torch
from conftest import write_ptb_xl
from safetensors.torch import load_file

from ecgjepa.config import load_preset
from ecgjepa.errors import ConfigError
from ecgjepa.pretraining.distributed import World
from ecgjepa.pretraining.loop import initial_jepa, pretrain
from ecgjepa.pretraining.monitor import collapse_signs
from ecgjepa.pretraining.origin import describe_changes, origin_here
from ecgjepa.signals.preprocessing import PreprocessingConfig
from ecgjepa.store.prepare import prepare

SETTINGS = [
    "data.window_seconds=2",
    "mask.min_block_size=2",
    "encoder.depth=1",
    "predictor.depth=1",
    "train.steps=8",
    "train.batch_size=24",
    "train.gradient_accumulation_steps=2",
    "train.warmup_steps=2",
    "train.log_every=2",
    "train.checkpoint_every=3",
    "train.gradient_clip=1",
    "train.precision=float32",
]
# Something happens to process 1 right after its third step, at the first attempt only.
INCIDENT = """
import os, signal, sys, torch
from ecgjepa.pretraining import loop

def incident(jepa, number):
    {incident}

steps, real = [], loop.Jepa.update_target
def update(jepa, momentum):
    real(jepa, momentum)
    steps.append(momentum)
    first = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0"
    if len(steps) == 4 and first and os.environ.get("RANK") == "1":
        incident(jepa, len(steps))

loop.Jepa.update_target = update
store, out, *overrides = sys.argv[1:]
loop.pretrain(store, out, overrides=overrides, device="cpu")
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("distributed")
    source = write_ptb_xl(folder / "source", records=30, seconds=3.0)
    prepare(
        {"ptb-xl": source}, folder / "store", preprocessing=PreprocessingConfig(sampling_rate=100.0)
    )
    return folder / "store"


@pytest.fixture(scope="module")
def alone(store, tmp_path_factory) -> Path:
    return pretrain(store, tmp_path_factory.mktemp("alone") / "run", overrides=SETTINGS)


@pytest.fixture(scope="module")
def two(store, tmp_path_factory) -> Path:
    """A run of two processes that nothing happened to."""
    run = tmp_path_factory.mktemp("two") / "run"
    result = torchrun(2, store, run)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count(f"run: {run}") == 1  # of two processes, one speaks
    assert result.stderr.count("step 8/8") == 1
    return run


def torchrun(
    processes: int, store: Path, run: Path, *, incident: str | None = None, restarts: int = 0
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc-per-node={processes}", f"--max-restarts={restarts}"]
    command += ["--monitor-interval=0.1"]
    if incident is None:
        command += ["-m", "ecgjepa", "pretrain", "--store", str(store), "--out", str(run)]
        command += ["--device", "cpu"]
        for setting in SETTINGS:
            command += ["--set", setting]
    else:
        script = run.with_suffix(".py")
        script.write_text(INCIDENT.format(incident=incident))
        command += [str(script), str(store), str(run), *SETTINGS]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ECGJEPA_TIMEOUT": "60"}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, env=environment, check=False
    )


def losses(run: Path) -> list[dict[str, float]]:
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [
        {k: v for k, v in line.items() if k not in ("records_per_second", "data_wait")}
        for line in lines
    ]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "checkpoints/step-000008/weights.safetensors")


def same(a: Path, b: Path) -> bool:
    x, y = weights(a), weights(b)
    return losses(a) == losses(b) and all(torch.equal(x[name], y[name]) for name in x)


def assert_close(a: Path, b: Path) -> None:
    for one, other in zip(losses(a), losses(b), strict=True):
        assert one == pytest.approx(other, rel=1e-4)
    torch.testing.assert_close(weights(a), weights(b), rtol=1e-3, atol=1e-5)


def test_two_processes_train_what_one_does(alone, two):
    """Loss, collapse signs and weights, to rounding."""
    assert_close(alone, two)


@pytest.mark.slow
def test_four_processes_train_what_one_does(alone, store, tmp_path):
    assert torchrun(4, store, tmp_path / "run").returncode == 0
    assert_close(alone, tmp_path / "run")


def test_a_killed_process_is_started_again_and_the_run_is_the_same(two, store, tmp_path):
    kill = "os.kill(os.getpid(), signal.SIGKILL)"
    result = torchrun(2, store, tmp_path / "run", incident=kill, restarts=2)
    assert result.returncode == 0, result.stderr
    assert same(two, tmp_path / "run")


def test_sigterm_to_one_process_stops_all_at_the_same_step(two, store, tmp_path):
    stop = "os.kill(os.getpid(), signal.SIGTERM)"
    run = tmp_path / "run"
    result = torchrun(2, store, run, incident=stop)
    assert result.returncode != 0
    assert result.stderr.count("stopped after step 4") == 2
    assert sorted(path.name for path in (run / "checkpoints").iterdir())[-1] == "step-000004"
    assert torchrun(2, store, run).returncode == 0
    assert same(two, run)


@pytest.mark.slow
def test_the_order_of_summation_survives_a_resume(store, tmp_path):
    """With three processes it shows if DDP adds up in another order than before (decision 0016)."""
    assert torchrun(3, store, tmp_path / "whole").returncode == 0
    stop = "os.kill(os.getpid(), signal.SIGTERM)"
    assert torchrun(3, store, tmp_path / "cut", incident=stop, restarts=1).returncode == 0
    assert same(tmp_path / "whole", tmp_path / "cut")


@pytest.mark.slow
def test_weights_that_drift_apart_are_found_before_they_are_saved(store, tmp_path):
    flip = "next(jepa.target_encoder.parameters()).view(torch.int32).flatten()[0] ^= 1"
    result = torchrun(2, store, tmp_path / "run", incident=flip)
    assert result.returncode != 0
    assert "RankDriftError: step 6: the 2 processes of this run hold different weights" in (
        result.stderr
    )
    assert [path.name for path in (tmp_path / "run/checkpoints").iterdir()] == ["step-000003"]


@pytest.mark.slow
def test_a_process_that_fails_takes_the_others_with_it(store, tmp_path):
    result = torchrun(2, store, tmp_path / "run", incident='raise OSError("the disk is gone")')
    assert result.returncode != 0
    assert "the disk is gone" in result.stderr


def test_a_batch_that_cannot_be_shared_is_refused_before_anything_starts(
    store, tmp_path, monkeypatch
):
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "5"), ("LOCAL_RANK", "0")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MASTER_ADDR", "nowhere.invalid")
    with pytest.raises(ConfigError, match=r"24 in 2 parts is not a multiple of 5 processes"):
        pretrain(store, tmp_path / "run", overrides=SETTINGS, device="cpu")
    assert not (tmp_path / "run").exists()


def test_gradients_are_exchanged_once_per_step():
    """The parts of a batch before the last compute without talking."""
    script = dedent("""
        import torch, torch.distributed as dist
        from torch import nn
        from ecgjepa.pretraining.distributed import World
        world = World.from_environment("cpu")
        with world.group():
            model = world.distribute(nn.Linear(2, 1, bias=False))
            exchanges = []
            def count(state, bucket):
                exchanges.append(1)
                future = torch.futures.Future()
                future.set_result(bucket.buffer())
                return future
            model.register_comm_hook(None, count)
            for part in range(3):
                with world.synchronising(model, part == 2):
                    model(torch.ones(1, 2)).sum().backward()
            assert len(exchanges) == 1, exchanges
    """)
    names = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1"}
    jobs = [
        subprocess.Popen(
            [sys.executable, "-c", script],
            env={**os.environ, **names, "RANK": rank, "MASTER_PORT": "29511"},
        )
        for rank in ("0", "1")
    ]
    assert [job.wait(timeout=60) for job in jobs] == [0, 0]


def test_a_world_of_one_needs_no_group(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    world = World.from_environment("cpu")
    module, values = torch.nn.Linear(1, 1), torch.ones(2)
    with world.group():
        assert not torch.distributed.is_initialized()
        assert world.distribute(module) is module
        assert world.mean(values) is values
        assert world.decide(lambda: "yes") == "yes"
        assert world.any(True) is True
        assert world.is_first


def test_collapse_signs_of_shares_are_those_of_the_batch():
    target = torch.randn(8, 5, 6, generator=torch.Generator().manual_seed(0))
    whole = collapse_signs(target)
    both, slots = Barrier(2), [torch.empty(0)] * 2

    def share(number: int):
        def mean(values):
            slots[number] = values
            both.wait(timeout=10)
            result = (slots[0] + slots[1]) / 2
            both.wait(timeout=10)
            return result

        return collapse_signs(target[number::2], mean)

    with ThreadPoolExecutor(2) as pool:
        halves, other = pool.map(share, (0, 1))
    assert halves == other
    assert halves.spread == pytest.approx(whole.spread, rel=1e-5)
    assert halves.effective_rank == pytest.approx(whole.effective_rank, rel=1e-5)


def test_what_computed_a_checkpoint_is_compared_by_name():
    here = origin_here(World(torch.device("cpu")))
    assert describe_changes(here, here) == ""
    there = {**here, "torch": "1.0", "processes": "4"}
    assert describe_changes(there, here) == (f"torch 1.0 → {torch.__version__}, processes 4 → 1")
    assert describe_changes({}, here) == ""  # a checkpoint that does not say


def test_the_first_networks_are_the_same_in_every_process():
    config = load_preset("tiny", SETTINGS)
    a, b = (initial_jepa(config).state_dict() for _ in range(2))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL  # and nobody left a handler behind
