"""How many times faster than an older build: both run in turn, on the same files.

    python benchmarks/against_build.py --base COMMIT [--records 10000] [--files 2000] [--rounds 3]
        [--workers 1] [--threads 1] [--only JOB …] [--tree DIR] [--scratch DIR] [--result FILE]

The older commit is exported from this repository's history into a temporary folder and run by the
same Python with the same packages, so that only this package's sources differ. Each round runs the
base and then this build, in processes of their own:

- ``prepare``: ``ecgjepa prepare`` of a tree in MIMIC-IV-ECG's layout (see many_records.py) at its
  recorded rate, start of the program included;
- ``prepare-100``: the same with ``--sampling-rate 100``;
- ``predict``: `Model.predict` of the tree's first files, after a few that are not timed, by a model
  of the preset ``small`` that the base's commands have made;
- ``warm``: the median of ten predictions of one file, after one that is not timed;
- ``cold``: ``ecgjepa predict FILE``, from the start of the program to its end. ``import torch``
  alone is timed beside it.

A ratio is the base's time over this build's, of one round; told are its median, least and greatest.
Processor time (user and system, children included) is told beside the clock's: other programs on
the machine change the clock's time much more. The results of both builds are compared, too: samples
in µV, and probabilities.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from machine import report
from many_records import write_many

HERE = Path(__file__).parents[1]
JOBS = ("prepare", "prepare-100", "predict", "warm", "cold")
# Before the timed files: memory and threads are made ready.
_FIRST_FILES = 16
PREDICT = """
import json, statistics, sys, time
import ecgjepa
model, listed, first, repeats = sys.argv[1:]
files = open(listed).read().splitlines()
loaded = ecgjepa.load_model(model, device="cpu")
loaded.predict(files[: int(first)])
walls, spent, found = [], [], []
for _ in range(int(repeats)):
    wall, cpu = time.perf_counter(), time.process_time()
    found = loaded.predict(files)
    walls.append(time.perf_counter() - wall)
    spent.append(time.process_time() - cpu)
probabilities = [list(each.probabilities.values()) for each in found]
median = statistics.median
print(json.dumps({"wall": median(walls), "cpu": median(spent), "found": probabilities}))
"""


class Build(NamedTuple):
    """One of the two builds: what it is called, and where its sources are."""

    name: str
    tree: Path


class Times(NamedTuple):
    """Seconds of one run: by the clock, and of all processors."""

    wall: float
    cpu: float


class Bench:
    """The files and folders that both builds work on."""

    def __init__(self, options: argparse.Namespace, scratch: Path) -> None:
        """Write what is missing: the base's sources, the records, the model."""
        self.options, self.scratch = options, scratch
        self.base = Build("base", export(options.base, scratch / "base"))
        self.new = Build("new", HERE)
        self.tree = options.tree or scratch / "tree"
        if not self.tree.exists():
            write_many(self.tree, max(options.records, options.files))
        self.files = sorted(map(str, self.tree.rglob("*.hea")))[: options.files]
        self.is_needed = {"predict", "warm", "cold"} & set(options.only)
        self.model = options.model or (make_model(self.base, scratch) if self.is_needed else None)
        self.results: dict[str, list[Any]] = {}

    def run(self, job: str, build: Build) -> Times:
        """Run one job with one build; what it gives is kept to be compared."""
        if job.startswith("prepare"):
            return self._prepare(job, build)
        if job == "cold":
            command = [*ecgjepa("predict"), self.files[0], "--model", str(self.model)]
            return timed(command, build, self.options.threads)[0]
        files, repeats = (self.files, 1) if job == "predict" else (self.files[:1], 10)
        listed = self.scratch / "files.txt"
        listed.write_text("\n".join(files))
        command = [sys.executable, "-c", PREDICT, str(self.model), str(listed)]
        command += [str(_FIRST_FILES if job == "predict" else 1), str(repeats)]
        found = json.loads(timed(command, build, self.options.threads)[1])
        self.results.setdefault(job, []).append(np.array(found["found"]))
        return Times(found["wall"], found["cpu"])

    def _prepare(self, job: str, build: Build) -> Times:
        for path in self.tree.rglob("*.dat"):  # a cold cache would time the disk
            path.read_bytes()
        store = self.scratch / f"store-{build.name}"
        shutil.rmtree(store, ignore_errors=True)
        command = [*ecgjepa("--quiet", "prepare"), f"mimic-iv-ecg={self.tree}"]
        command += ["--store", str(store), "--workers", str(self.options.workers)]
        command += ["--sampling-rate", "100"] if job == "prepare-100" else []
        times, _ = timed(command, build, 1)
        shards = sorted(store.glob("shard-*.i16"))
        self.results.setdefault(job, []).append([np.fromfile(path, "<i2") for path in shards])
        return times

    def largest_difference(self, job: str) -> float | None:
        """Return by how much the last results of both builds differ at most."""
        found = self.results.get(job, [])[-2:]
        if len(found) < 2:
            return None
        pairs = zip(*found, strict=True) if job.startswith("prepare") else [found]
        return max(float(np.abs(a.astype(np.float64) - b).max()) for a, b in pairs)


def ecgjepa(*arguments: str) -> list[str]:
    """Return the command that runs the package's command line."""
    return [sys.executable, "-m", "ecgjepa", *arguments]


def timed(command: list[str], build: Build, threads: int) -> tuple[Times, str]:
    """Run a command with a build's sources; return its times and what it printed.

    Raises:
        SystemExit: If it fails.
    """
    environment = os.environ | {
        "PYTHONPATH": str(build.tree / "src"),
        "OMP_NUM_THREADS": str(threads),
        "ECGJEPA_CACHE": str(build.tree / "cache") if build.name == "base" else "",
    }
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        start = time.perf_counter()
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=errors)
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        if process.returncode:
            raise SystemExit(f"{build.name}: {' '.join(command)[:300]} failed: {errors.read()}")
        return Times(wall, used.ru_utime + used.ru_stime), output.read()


def export(commit: str, folder: Path) -> Path:
    """Write the files of a commit of this repository into a folder."""
    folder.mkdir()
    archive = subprocess.run(
        ["git", "-C", str(HERE), "archive", commit], capture_output=True, check=True
    )
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)
    return folder


def make_model(build: Build, scratch: Path) -> Path:
    """Return a classifier of the preset ``small``; how well it predicts is of no concern here."""
    data, store, run, probe = (scratch / name for name in ("data", "model-store", "run", "probe"))
    settings = ["--set", "train.steps=2", "--set", "train.warmup_steps=1"]
    task = ["--task", "superdiagnostic", "--protocol", "linear"]
    for arguments in (
        ["simulate", "--records", "200", "--to", str(data)],
        ["prepare", f"ptb-xl={data}", "--store", str(store), "--sampling-rate", "100"],
        ["pretrain", "--store", str(store), "--out", str(run), "--preset", "small", *settings],
        ["probe", "--model", str(run), "--data", f"ptb-xl={data}", "--out", str(probe), *task],
    ):
        timed(ecgjepa("--quiet", *arguments), build, 1)
    return probe


def measure(bench: Bench, jobs: list[str], rounds: int) -> list[dict[str, Any]]:
    """Run every job in turn with both builds; return a row for each job."""
    rows = []
    for job in jobs:
        pairs = []
        for _ in range(rounds):
            pairs.append([bench.run(job, build) for build in (bench.base, bench.new)])
            print(job, *(f"{t.wall:.3f} s, {t.cpu:.3f} s CPU;" for t in pairs[-1]), flush=True)
        row: dict[str, Any] = {"job": job}
        for kind in Times._fields:
            base, new = (
                [getattr(times, kind) for times in side] for side in zip(*pairs, strict=True)
            )
            ratios = sorted(b / n for b, n in zip(base, new, strict=True))
            row[kind] = {
                "base_seconds": round(statistics.median(base), 4),
                "new_seconds": round(statistics.median(new), 4),
                "ratio": round(statistics.median(ratios), 2),
                "ratio_from": round(ratios[0], 2),
                "ratio_to": round(ratios[-1], 2),
            }
        row["largest_difference"] = bench.largest_difference(job)
        if job == "cold":
            alone = [sys.executable, "-c", "import torch"]
            found = [timed(alone, bench.new, 1)[0] for _ in range(rounds)]
            row["import_torch_seconds"] = round(statistics.median(t.wall for t in found), 4)
            row["import_torch_cpu_seconds"] = round(statistics.median(t.cpu for t in found), 4)
        rows.append(row)
    return rows


def print_table(rows: list[dict[str, Any]]) -> None:
    """Print the figures for people."""
    print(f"\n{'job':12}{'time':>6}{'base s':>9}{'new s':>9}{'times':>7}{'from':>7}{'to':>7}")
    for row in rows:
        for kind in Times._fields:
            own = row[kind]
            print(
                f"{row['job']:12}{kind:>6}{own['base_seconds']:9.3f}{own['new_seconds']:9.3f}"
                f"{own['ratio']:7.2f}{own['ratio_from']:7.2f}{own['ratio_to']:7.2f}"
            )


def main() -> None:
    """Measure, print, and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", required=True, help="commit to compare with")
    parser.add_argument("--records", type=int, default=10_000, help="[default: 10,000]")
    parser.add_argument("--files", type=int, default=2_000, help="[default: 2,000]")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1, help="of prepare [default: 1]")
    parser.add_argument("--threads", type=int, default=1, help="of predict [default: 1]")
    parser.add_argument("--scratch", type=Path, help="folder for all that is written")
    parser.add_argument("--tree", type=Path, help="records, if they are written already")
    parser.add_argument("--model", type=Path, help="classifier that both builds can open")
    parser.add_argument("--only", nargs="+", default=list(JOBS), choices=JOBS)
    parser.add_argument("--note", default="", help="about the machine, for the result file")
    parser.add_argument("--result", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        bench = Bench(options, Path(scratch))
        load = os.getloadavg()[0]
        rows = measure(bench, options.only, options.rounds)
    print_table(rows)
    asked = {name: getattr(options, name) for name in ("base", "records", "files", "rounds")}
    asked |= {"workers": options.workers, "threads": options.threads}
    shared = {"load_before": round(load, 1), "load_after": round(os.getloadavg()[0], 1)}
    facts = asked | shared | ({"note": options.note} if options.note else {})
    report(options.result, {"benchmark": "against_build"} | facts | {"rows": rows})


if __name__ == "__main__":
    main()
