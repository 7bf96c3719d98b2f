"""How many times less processor time a training step takes than in an older build.

    python benchmarks/training_steps.py --base COMMIT --data DIR [--steps 60] [--only JOB …]
        [--set KEY=VALUE …] [--scratch DIR] [--result FILE]

The older commit is exported as `against_build.py` does it. Both builds train the same thing in
processes of their own, one step of the one, then one of the other, so that what else the machine
does slows both alike; a step ends with the optimizer's, where each process waits for its turn:

- ``pretrain``: preset ``tiny`` on folds 1 to 5 of a PTB-XL folder, prepared by the base;
- ``finetune``: the encoder of such a run with the paper's register head;
- ``attentive``: the paper's head on stored features.

Told are the medians of the steps' processor time (all threads), their ratio, the ratio of the least
times, and the last losses of both: they are equal to rounding.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from against_build import HERE, Build, ecgjepa, export, timed
from machine import report

JOBS = ("pretrain", "finetune", "attentive")
_FIRST_STEPS = 6  # not counted: memory and caches are made ready
CHILD = """
import json, os, sys, time
import torch
job, first, second, steps, *settings = sys.argv[1:]
out = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
last, original = [time.process_time()], torch.optim.AdamW.step
def step(self, *arguments, **keywords):
    found = original(self, *arguments, **keywords)
    out.write(json.dumps(time.process_time() - last[0]) + "\\n")
    out.flush()
    sys.stdin.readline()
    last[0] = time.process_time()
    return found
torch.optim.AdamW.step = step
import ecgjepa
if job == "pretrain":
    given = [f"train.steps={steps}", "train.warmup_steps=1", f"train.log_every={steps}"]
    run = ecgjepa.pretrain(first, second, preset="tiny", overrides=given + settings, device="cpu")
    loss = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["loss"]
else:
    given = [f"steps={steps}", "warmup_steps=1", f"validate_every={steps}"]
    given = given[:1] + given[2:] if job == "attentive" else given
    found = ecgjepa.run_protocol(
        first, {"ptb-xl": second}, task="superdiagnostic", protocol=job, device="cpu",
        split=ecgjepa.Split((1, 2, 3, 4, 5), (6,), (7,)), overrides=given + settings,
    )
    loss = found.outcome.fit.history[-1].train_loss
out.write(json.dumps({"loss": loss}) + "\\n")
"""


def start(build: Build, arguments: list[str], folder: Path) -> "subprocess.Popen[str]":
    """Start a training that waits at the end of every step."""
    environment = os.environ | {
        "PYTHONPATH": str(build.tree / "src"),
        "OMP_NUM_THREADS": "1",
        "ECGJEPA_CACHE": str(folder / f"cache-{build.name}"),
    }
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, *arguments],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=(folder / f"{build.name}.log").open("w"),
        text=True,
    )


def take_turns(builds: list[Build], jobs: list[list[str]], folder: Path) -> list[dict[str, Any]]:
    """Let the builds train in turn; return the times of each one's steps, and its last loss."""
    processes = [start(*pair, folder) for pair in zip(builds, jobs, strict=True)]
    found: list[dict[str, Any]] = [{"seconds": []} for _ in builds]
    while any("loss" not in each for each in found):
        for build, process, own in zip(builds, processes, found, strict=True):
            if "loss" in own:
                continue
            assert process.stdin is not None
            assert process.stdout is not None
            if own["seconds"]:
                process.stdin.write("\n")
                process.stdin.flush()
            line = process.stdout.readline()
            if not line:
                raise SystemExit(f"{build.name}: {(folder / f'{build.name}.log').read_text()}")
            told = json.loads(line)
            if isinstance(told, dict):
                own |= told
            else:
                own["seconds"].append(told)
    for process in processes:
        process.wait()
    return found


def row_of(job: str, found: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the figures of one job: milliseconds of a step of both builds, and their ratios."""
    base, new = (sorted(each["seconds"][_FIRST_STEPS:]) for each in found)
    return {
        "job": job,
        "steps": len(new),
        "base_ms": round(1000 * median(base), 2),
        "new_ms": round(1000 * median(new), 2),
        "ratio": round(median(base) / median(new), 2),
        "ratio_of_least": round(base[0] / new[0], 2),
        "base_loss": found[0]["loss"],
        "new_loss": found[1]["loss"],
    }


def main() -> None:
    """Measure, print, and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", required=True, help="commit to compare with")
    parser.add_argument("--data", type=Path, required=True, help="a PTB-XL folder")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--only", nargs="+", default=list(JOBS), choices=JOBS)
    parser.add_argument("--set", dest="settings", action="append", default=[])
    parser.add_argument("--scratch", type=Path, help="folder for all that is written")
    parser.add_argument("--result", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        folder = Path(scratch)
        builds = [Build("base", export(options.base, folder / "base")), Build("new", HERE)]
        store, run = folder / "store", folder / "run"
        given = ["--folds", "1-5", "--sampling-rate", "100", "--store", str(store)]
        timed(ecgjepa("--quiet", "prepare", f"ptb-xl={options.data}", *given), builds[0], 1)
        short = ["--set", "train.steps=2", "--set", "train.warmup_steps=1"]
        given = ["--store", str(store), "--out", str(run), "--preset", "tiny", *short]
        timed(ecgjepa("--quiet", "pretrain", *given), builds[0], 1)
        rows = []
        for job in options.only:
            places = [
                [str(store), str(folder / f"run-{build.name}")]
                if job == "pretrain"
                else [str(run), str(options.data)]
                for build in builds
            ]
            asked = [[job, *own, str(options.steps), *options.settings] for own in places]
            rows.append(row_of(job, take_turns(builds, asked, folder)))
            print(json.dumps(rows[-1]), flush=True)
    facts = {"benchmark": "training_steps", "base": options.base, "settings": options.settings}
    report(options.result, facts | {"load": round(os.getloadavg()[0], 1), "rows": rows})


if __name__ == "__main__":
    main()
