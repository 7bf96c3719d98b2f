"""Kill `ecgjepa pretrain` at random moments and prove that what is resumed is the same to the bit.

    python benchmarks/kill_pretrain.py [--kills 50] [--processes 1] [--elastic] [--result FILE]

Trains a small run without interruption, then ``--kills`` times anew: each time it is ended by
SIGKILL or SIGTERM at a moment drawn from the length of an uninterrupted run, or at the next write
of a checkpoint after that moment, and, in a third of the cases, a second time; then the same
command is left to finish. Final weights, optimizer, model folder and every line of the metrics
(but for its timings) are compared with the uninterrupted run's. With several ``--processes``,
SIGKILL hits one of them, and the same command has to resume; SIGTERM hits torchrun. With
``--elastic``, torchrun itself has to start them again, and only SIGKILL is sent. Linux or
macOS; with several processes, Linux. Not a timing.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from machine import report

import ecgjepa
import ecgjepa.cli  # loaded once: single processes are forked from here
import ecgjepa.pretraining.loop

STEPS = 24
SETTINGS = {
    "encoder.depth": 1,
    "predictor.depth": 1,
    "train.steps": STEPS,
    "train.batch_size": 16,
    "train.gradient_accumulation_steps": 2,
    "train.warmup_steps": 4,
    "train.log_every": 3,
    "train.checkpoint_every": 2,
    "train.milestone_every": 8,
    "train.keep_checkpoints": 3,
}
TIMINGS = ("records_per_second", "data_wait")
SAME_BYTES = (
    "config.yaml",
    "store.json",
    "encoder.json",
    "model/model.safetensors",
    "model/config.json",
    f"checkpoints/step-{STEPS:06d}/weights.safetensors",
    f"checkpoints/step-{STEPS:06d}/trainer.pt",
)


def main() -> None:
    """Run the campaign, print it, and exit with 1 if a run differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--elastic", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--result", type=Path)
    options = parser.parse_args()
    if options.elastic and options.processes == 1:
        parser.error("--elastic needs several --processes")
    with tempfile.TemporaryDirectory() as scratch:
        rows = campaign(
            Path(scratch), options.kills, options.processes, options.seed, options.elastic
        )
    same = sum(row["same"] for row in rows)
    print(f"{same} of {len(rows)} runs equal the uninterrupted one bit for bit")
    kills = [kill for row in rows for kill in row["kills"]]
    summary = {
        "benchmark": "kill_pretrain",
        "processes": options.processes,
        "elastic": options.elastic,
        "same": same,
        "runs": len(rows),
        "kills": len(kills),
        "kills_in_a_write": sum(kill["writing"] for kill in kills),
        "cases": rows,
    }
    report(options.result, summary)
    raise SystemExit(same < len(rows))


def campaign(
    folder: Path, kills: int, processes: int, seed: int, elastic: bool
) -> list[dict[str, Any]]:
    """Return one row per run that was killed and resumed."""
    rng = random.Random(seed)
    # In a process of its own: what is forked later must not inherit the threads of `prepare`.
    assert Job(lambda: make_store(folder)).wait() == 0, "no store"
    whole = start(folder, "whole", processes)
    whole.wait_for((folder / "whole/config.yaml").is_file)
    claimed = time.monotonic()
    assert whole.wait() == 0, "the uninterrupted run failed"
    length = time.monotonic() - claimed
    expected = outcome(folder / "whole")
    print(f"uninterrupted: {length:.1f} s after the start-up", flush=True)
    rows = []
    for number in range(kills):
        times = 1 + (rng.random() < 1 / 3)
        if elastic:
            found, code = kill_workers(folder, rng, length, processes, times)
        else:
            found = [kill_once(folder, rng, length, processes) for _ in range(times)]
            code = start(folder, "cut", processes).wait()
        same = code == 0 and outcome(folder / "cut") == expected
        row = {"case": number, "kills": found, "finished": code == 0, "same": same}
        shutil.rmtree(folder / "cut")
        rows.append(row)
        print(json.dumps(row), flush=True)
    return rows


def make_store(folder: Path) -> None:
    """Write a small store of simulated ECGs."""
    ecgjepa.simulate(40, folder / "ptb-xl", seconds=4.0)
    preprocessing = ecgjepa.PreprocessingConfig(sampling_rate=100.0)
    ecgjepa.prepare({"ptb-xl": folder / "ptb-xl"}, folder / "store", preprocessing=preprocessing)


class Job:
    """A forked process that does something in silence; its exit status tells how it went."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._code: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            silence = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silence, 1)
            os.dup2(silence, 2)
            code = 1
            try:
                work()
                code = 0
            except SystemExit as exit:
                code = int(exit.code or 0)
            finally:
                os._exit(code)

    def poll(self) -> int | None:
        """Return the exit status, negative after a signal, or None if it still runs."""
        if self._code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._code = os.waitstatus_to_exitcode(status) if pid else None
        return self._code

    def wait(self) -> int:
        """Wait for the end and return the exit status."""
        if self._code is None:
            self._code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self._code

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition, or for the end."""
        while self.poll() is None and not condition():
            time.sleep(0.001)


def start(folder: Path, name: str, processes: int, restarts: int = 0) -> Job:
    """Start or resume a run; torchrun may start it again by itself."""
    arguments = ["ecgjepa", "--quiet", "pretrain", "--store", str(folder / "store")]
    arguments += ["--out", str(folder / name), "--device", "cpu"]
    for key, value in SETTINGS.items():
        arguments += ["--set", f"{key}={value}"]
    if processes == 1:
        return Job(lambda: run_command(arguments))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    torchrun += [f"--nproc-per-node={processes}", "--monitor-interval=0.1"]
    torchrun += [f"--max-restarts={restarts}", "-m", *arguments]
    return Job(lambda: os.execv(sys.executable, torchrun))


def run_command(arguments: list[str]) -> None:
    """Do what the command line does."""
    sys.argv = arguments
    ecgjepa.cli.main()


def kill_once(folder: Path, rng: random.Random, length: float, processes: int) -> dict[str, Any]:
    """Start or resume the run, end it at a random moment, and return what was found then."""
    name = rng.choice(("SIGKILL", "SIGTERM"))
    moment, aim = rng.uniform(0, length), rng.random() < 0.5
    run, job = folder / "cut", start(folder, "cut", processes)
    job.wait_for((run / "config.yaml").is_file)
    deadline = time.monotonic() + moment
    job.wait_for(lambda: time.monotonic() > deadline)
    if aim:
        job.wait_for(lambda: is_writing(run))
    victim = job.pid
    if processes > 1 and name == "SIGKILL" and (workers := children(job.pid)):
        victim = rng.choice(workers)
    if job.poll() is None:
        os.kill(victim, signal.Signals[name])
    writing = is_writing(run)
    # Of several, the others end too.
    code = job.wait()
    return {
        "signal": name,
        "seconds": round(moment, 2),
        "writing": writing,
        "exit": code,
        "saved": last_step(run),
    }


def kill_workers(
    folder: Path, rng: random.Random, length: float, processes: int, times: int
) -> tuple[list[dict[str, Any]], int]:
    """Kill processes of a run that torchrun starts again, and return what was found and its end."""
    run, job = folder / "cut", start(folder, "cut", processes, restarts=times)
    found = []
    for _ in range(times):
        rank, moment = rng.randrange(processes), rng.uniform(0, length)
        job.wait_for((run / "config.yaml").is_file)
        deadline = time.monotonic() + moment
        # Between two attempts there is nobody to kill.
        job.wait_for(lambda: time.monotonic() > deadline and rank in ranks(job.pid))  # noqa: B023
        if job.poll() is not None:
            break
        os.kill(ranks(job.pid)[rank], signal.SIGKILL)
        found.append({"signal": "SIGKILL", "rank": rank, "seconds": round(moment, 2)})
        found[-1] |= {"writing": is_writing(run), "saved": last_step(run)}
    return found, job.wait()


def ranks(pid: int) -> dict[int, int]:
    """Return the process of each rank that torchrun has started."""
    found = {}
    for child in children(pid):
        with suppress(OSError):
            for item in Path(f"/proc/{child}/environ").read_bytes().split(b"\0"):
                if item.startswith(b"RANK="):
                    found[int(item[5:])] = child
    return found


def last_step(run: Path) -> int:
    """Return the step of the last checkpoint, 0 if there is none."""
    return max((int(path.name[5:]) for path in run.glob("checkpoints/step-*")), default=0)


def is_writing(run: Path) -> bool:
    """Return whether part of a checkpoint is on the disk."""
    return any(run.glob("checkpoints/.partial-*"))


def children(pid: int) -> list[int]:
    """Return the processes that a process has started (Linux)."""
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    return [int(word) for word in text.split()]


def outcome(run: Path) -> list[Any]:
    """Return all that must be equal of a finished run."""
    lines = map(json.loads, (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    metrics = [{k: v for k, v in line.items() if k not in TIMINGS} for line in lines]
    leftovers = [path.name for path in run.rglob(".partial-*")]
    return [metrics, leftovers, *((run / name).read_bytes() for name in SAME_BYTES)]


if __name__ == "__main__":
    main()
