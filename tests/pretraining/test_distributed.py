"""Several processes on the CPU, by gloo, started by torchrun as a user would."""

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from threading import Barrier

import pytest
import torch
import torch.distributed as dist
from conftest import write_ptb_xl
from safetensors.torch import load_file

from ecgjepa.config import load_preset
from ecgjepa.errors import ConfigError
from ecgjepa.objectives.networks.signs import collapse_signs
from ecgjepa.pretraining.checkpoint import list_checkpoints
from ecgjepa.pretraining.distributed import World
from ecgjepa.pretraining.loop import initial_networks, pretrain
from ecgjepa.pretraining.origin import describe_changes, origin_here
from ecgjepa.pretraining.rendezvous import agree
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
# What every process of a run does; something may happen to process 1 right after its fourth step.
PROGRAM = """
import os, signal, sys, torch
from ecgjepa.objectives.networks.jepa import Jepa
from ecgjepa.pretraining import loop

def incident(jepa):
    {incident}

steps, real = [], Jepa.update_target
def update(jepa, momentum):
    real(jepa, momentum)
    steps.append(momentum)
    if len(steps) == 4 and os.environ.get("RANK") == "1":
        incident(jepa)

def main():
    store, out, *overrides = sys.argv[1:]
    Jepa.update_target = update
    loop.pretrain(store, out, overrides=overrides, device="cpu")
"""
# Which process of which attempt is killed, after how many steps of its own. Under torchrun.
# Checkpoints are written after steps 3 and 6.
KILLED = """
import os, signal, sys
from ecgjepa.objectives.networks.jepa import Jepa
from ecgjepa.pretraining import loop

fate = {"0": ("1", 2), "1": ("0", 5), "2": ("1", 4)}.get(os.environ["TORCHELASTIC_RESTART_COUNT"])
steps, real = [], Jepa.update_target
def update(jepa, momentum):
    real(jepa, momentum)
    steps.append(momentum)
    if (os.environ["RANK"], len(steps)) == fate:
        os.kill(os.getpid(), signal.SIGKILL)

store, out, *overrides = sys.argv[1:]
Jepa.update_target = update
loop.pretrain(store, out, overrides=overrides, device="cpu")
"""
# Process 1 asks torchrun to end, and goes on when torchrun has told it to.
ASKED = """
import os, signal, sys, time
from ecgjepa.objectives.networks.jepa import Jepa
from ecgjepa.pretraining import loop, stopping

asked, make = [], stopping.StopRequest.make
def made(request, *arguments):
    make(request)
    asked.append(True)

steps, real = [], Jepa.update_target
def update(jepa, momentum):
    real(jepa, momentum)
    steps.append(momentum)
    if os.environ["RANK"] == "1" and len(steps) == 4:
        os.kill(os.getppid(), signal.SIGTERM)
        while not asked:
            time.sleep(0.01)

store, out, *overrides = sys.argv[1:]
stopping.StopRequest.make = made
Jepa.update_target = update
loop.pretrain(store, out, overrides=overrides, device="cpu")
"""
# A model of one layer, three parts of a batch, and a count of exchanges.
EXCHANGE = """
import os, sys, torch
from torch import nn
from ecgjepa.pretraining.distributed import World

def main():
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
        # As the loop has it with train.compile; traced, but run as it is.
        compiled = torch.compile(model, backend="eager", dynamic=True)
        for given in (model, compiled):
            exchanges.clear()
            for part in range(3):
                with world.synchronising(given, part == 2):
                    given(torch.ones(1, 2)).sum().backward()
            assert len(exchanges) == 1, (given, exchanges)
"""
# What torchrun does, without its second import of PyTorch for each process: one that forks.
FORK = """
import socket, traceback
with socket.socket() as listener:
    listener.bind(("127.0.0.1", 0))
    port = listener.getsockname()[1]
os.environ.update(WORLD_SIZE="{processes}", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
for rank in range({processes}):
    if os.fork() == 0:
        os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank))
        try:
            main()
        except SystemExit as error:
            os._exit(error.code)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
codes = [os.waitstatus_to_exitcode(os.wait()[1]) for _ in range({processes})]
sys.exit(max(map(abs, codes)))
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
def three(store, tmp_path_factory) -> Path:
    """A run of three processes that nothing happened to."""
    run = tmp_path_factory.mktemp("three") / "run"
    result = fork(3, store, run)
    assert result.returncode == 0, result.stderr
    return run


def fork(
    processes: int, store: Path, run: Path, incident: str = "pass", extra: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    script = run.with_suffix(".py")
    program = PROGRAM.format(incident=incident) + FORK.format(processes=processes)
    script.write_text(program)
    return finish([str(script), str(store), str(run), *SETTINGS, *extra])


def torchrun(processes: int, store: Path, run: Path) -> subprocess.CompletedProcess[str]:
    command = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command += ["-m", "ecgjepa", "pretrain", "--store", str(store), "--out", str(run)]
    command += ["--device", "cpu"]
    for setting in SETTINGS:
        command += ["--set", setting]
    return finish(command)


def elastic(
    processes: int, program: str, store: Path, run: Path, restarts: int
) -> subprocess.CompletedProcess[str]:
    """Let torchrun start a program again when one of its processes ends."""
    script = run.with_suffix(".py")
    script.write_text(program)
    command = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command += [f"--max-restarts={restarts}", "--monitor-interval=0.1"]
    return finish([*command, str(script), str(store), str(run), *SETTINGS], seconds=150)


def finish(command: list[str], seconds: float = 50) -> subprocess.CompletedProcess[str]:
    """Run Python to its end; whatever happens, none of its processes is left long after that."""
    job = subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "ECGJEPA_TIMEOUT": "30",
        },
        start_new_session=True,
    )
    try:
        stdout, stderr = job.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        job.terminate()  # torchrun ends its processes, which have sessions of their own
        with suppress(subprocess.TimeoutExpired):
            job.communicate(timeout=5)
        raise
    finally:
        with suppress(ProcessLookupError):
            os.killpg(job.pid, signal.SIGKILL)
        job.wait()
    return subprocess.CompletedProcess(command, job.returncode, stdout, stderr)


def losses(run: Path) -> list[dict[str, float]]:
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [
        {k: v for k, v in line.items() if k not in ("records_per_second", "data_wait")}
        for line in lines
    ]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "checkpoints/step-000008/weights.safetensors")


def assert_same(a: Path, b: Path) -> None:
    x, y = weights(a), weights(b)
    assert losses(a) == losses(b)
    assert [name for name in x if not torch.equal(x[name], y[name])] == []


def assert_close(a: Path, b: Path) -> None:
    for one, other in zip(losses(a), losses(b), strict=True):
        assert one == pytest.approx(other, rel=1e-4)
    torch.testing.assert_close(weights(a), weights(b), rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_four_processes_train_what_one_does(alone, store, tmp_path):
    """Loss, signs of collapse and weights, to rounding."""
    result = fork(4, store, tmp_path / "run")
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("step 8/8") <= 1  # of four processes, one speaks
    assert_close(alone, tmp_path / "run")


@pytest.mark.slow
def test_two_processes_share_the_choices_beyond_the_paper(store, tmp_path):
    """Learned tables get gradients in every process; leads are dropped for the batch as a whole."""
    extra = (
        "encoder.dim=16",
        "predictor.dim=8",
        "encoder.patch_size=20",
        "train.batch_size=8",
        "encoder.positions=learned",
        "encoder.lead_patches=true",
        "train.lead_dropout=0.5",
        "train.loss=smooth-l1",
        "mask.sampler=uniform",
    )
    alone = pretrain(store, tmp_path / "alone", overrides=[*SETTINGS, *extra])
    result = fork(2, store, tmp_path / "run", extra=extra)
    assert result.returncode == 0, result.stderr
    assert_close(alone, tmp_path / "run")


@pytest.mark.slow
def test_whatever_ends_a_run_the_same_command_goes_on(three, store, tmp_path):
    """Bit for bit: three gradients are added in the same order as before (decision 0016)."""
    run = tmp_path / "run"
    # SIGTERM to one process: all save the same step.
    result = fork(3, store, run, "os.kill(os.getpid(), signal.SIGTERM)")
    assert result.returncode == 143, result.stderr
    assert result.stderr.count("stopped after step 4") == 3
    assert [path.name for path in list_checkpoints(run / "checkpoints")][-1] == "step-000004"
    # kill -9 of one process, at step 8: the others end too, and save nothing.
    result = fork(3, store, run, "os.kill(os.getpid(), signal.SIGKILL)")
    assert result.returncode != 0
    assert [path.name for path in list_checkpoints(run / "checkpoints")][-1] == "step-000006"
    # The third time, as a user would.
    result = torchrun(3, store, run)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count(f"run: {run}") == 1  # of three processes, one speaks
    assert result.stderr.count("step 8/8") == 1
    assert_same(three, run)


@pytest.mark.slow
def test_killed_processes_are_started_again(store, tmp_path):
    """Killed before the first checkpoint, between two, after the last, and of both ranks."""
    result = fork(2, store, tmp_path / "whole")
    assert result.returncode == 0, result.stderr
    result = elastic(2, KILLED, store, tmp_path / "run", restarts=3)
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("(exitcode: -9)") == 3
    assert_same(tmp_path / "whole", tmp_path / "run")


@pytest.mark.slow
def test_sigterm_to_torchrun_saves_once_and_starts_nothing_again(store, tmp_path):
    result = elastic(2, ASKED, store, tmp_path / "run", restarts=3)
    assert result.returncode == 1, result.stderr
    assert result.stderr.count("stopped after step 4") == 2
    checkpoints = list_checkpoints(tmp_path / "run/checkpoints")
    assert [path.name for path in checkpoints] == ["step-000003", "step-000004"]


def test_attempts_that_share_a_store_meet_apart():
    """A store of torchrun: what dead processes left there is still there."""
    store, timeout = dist.HashStore(), timedelta(seconds=10)
    names = set()
    for _ in range(3):
        with ThreadPoolExecutor(4) as pool:
            found = set(pool.map(lambda rank: agree(store, rank, 4, timeout), range(4)))
        assert len(found) == 1  # all of one attempt meet
        names |= found
    assert len(names) == 3


def test_whoever_does_not_come_is_named():
    store, timeout = dist.HashStore(), timedelta(seconds=0.1)
    store.set("ecgjepa/word/1", "of a dead process")
    with pytest.raises(TimeoutError, match=r"process 1 of 2 did not come within 0\.1 s"):
        agree(store, 0, 2, timeout)


def test_weights_that_drift_apart_are_found_before_they_are_saved(store, tmp_path):
    flip = "next(jepa.target_encoder.parameters()).view(torch.int32).flatten()[0] ^= 1"
    result = fork(2, store, tmp_path / "run", flip)
    assert result.returncode != 0
    assert "RankDriftError: step 6: the 2 processes of this run hold different weights" in (
        result.stderr
    )
    assert [path.name for path in (tmp_path / "run/checkpoints").iterdir()] == ["step-000003"]


def test_a_batch_that_cannot_be_shared_is_refused_before_anything_starts(
    store, tmp_path, monkeypatch
):
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "5"), ("LOCAL_RANK", "0")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MASTER_ADDR", "nowhere.invalid")
    with pytest.raises(ConfigError, match=r"24 in 2 parts is not a multiple of 5 processes"):
        pretrain(store, tmp_path / "run", overrides=SETTINGS, device="cpu")
    assert not (tmp_path / "run").exists()


def test_gradients_are_exchanged_once_per_step(tmp_path):
    """The parts of a batch before the last compute without talking."""
    script = tmp_path / "exchange.py"
    script.write_text(EXCHANGE + FORK.format(processes=2))
    result = finish([str(script)])
    assert result.returncode == 0, result.stderr


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated")  # PyTorch's own
def test_a_compiled_model_averages_no_gradients_before_the_last_part():
    """`torch.compile` wraps the module that holds the switch; nothing is compiled before a call."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        world = World(torch.device("cpu"), 0, 2)
        distributed = world.distribute(torch.nn.Linear(2, 1))
        compiled = torch.compile(distributed)
        for model in (distributed, compiled):
            with world.synchronising(model, False):
                assert not distributed.require_backward_grad_sync
            with world.synchronising(model, True):
                assert distributed.require_backward_grad_sync
    finally:
        dist.destroy_process_group()


def test_a_world_of_one_needs_no_group(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    world = World.from_environment("cpu")
    module, values = torch.nn.Linear(1, 1), torch.ones(2)
    with world.group():
        assert not dist.is_initialized()
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

        return collapse_signs(target[number::2], mean_over_processes=mean)

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
    a, b = (initial_networks(config).state_dict() for _ in range(2))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL  # and nobody left a handler behind


@pytest.mark.parametrize(
    "objective",
    [
        "simclr",
        *(pytest.param(x, marks=pytest.mark.slow) for x in ("byol", "mae", "cpc", "lejepa")),
    ],
)
def test_every_objective_is_the_same_for_any_number_of_processes(store, tmp_path, objective):
    """Batch norms and negatives see the whole batch: records are gathered with their gradient."""
    causal = ("encoder.architecture=s4d", "encoder.causal=true") if objective == "cpc" else ()
    extra = (f"objective={objective}", *causal)
    result = fork(2, store, tmp_path / "two", extra=extra)
    assert result.returncode == 0, result.stderr
    one = pretrain(store, tmp_path / "one", overrides=[*SETTINGS, *extra])
    assert_close(one, tmp_path / "two")
