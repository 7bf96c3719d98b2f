"""Records per second of each format's reader, beside those of an older checkout.

    python benchmarks/readers.py --base DIR [--rounds 5] [--result FILE]

One ECG of 10 s, 12 leads at 500 Hz, is written in each format by the writers of the tests, and read
again and again by two processes in turn: one with this checkout's sources, one with those of
``--base``. The figure of a format is the best of all rounds, in processor time, since noise only
ever slows. A format that the base does not read has no ratio.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from machine import report

HERE = Path(__file__).parents[1]
SECONDS = 0.4
# Runs in a process of its own, with either checkout's sources.
LOOP = """
import json, sys, time
from ecgjepa.io import read_exact
rates = {}
for name, path in json.loads(sys.argv[1]).items():
    try:
        read_exact(path)
    except ValueError:
        continue
    count, begun = 0, time.process_time()
    while (spent := time.process_time() - begun) < float(sys.argv[2]):
        read_exact(path)
        count += 1
    rates[name] = count / spent
print(json.dumps(rates))
"""


def main() -> None:
    """Measure, print, and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", type=Path, help="an older checkout")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--result", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = write_files(Path(folder))
        best: dict[str, dict[str, float]] = {}
        for _ in range(options.rounds):
            for tree in [HERE, *([options.base] if options.base else [])]:
                own = best.setdefault(str(tree), {})
                for name, rate in measure(tree, files).items():
                    own[name] = max(rate, own.get(name, 0.0))
    ours, theirs = best[str(HERE)], best.get(str(options.base), {})
    rows: list[dict[str, Any]] = []
    print(f"{'format':10}{'records/s':>12}{'base':>12}{'ratio':>8}")
    for name, rate in ours.items():
        base = theirs.get(name)
        rows.append({"format": name, "per_second": round(rate, 1), "base_per_second": base})
        beside = f"{base:12.1f}{rate / base:8.2f}" if base else f"{'-':>12}{'-':>8}"
        print(f"{name:10}{rate:12.1f}{beside}")
    report(options.result, {"benchmark": "readers", "rows": rows})


def write_files(folder: Path) -> dict[str, str]:
    """Write the same ECG in each format; return the files by format."""
    sys.path.insert(0, str(HERE / "tests"))
    shared, writers = import_module("conftest"), import_module("ecg_files")
    digital = shared.toy_ecg(np.random.default_rng(0), num_samples=5000)
    files = {"wfdb": str(shared.write_wfdb(folder / "wfdb.hea", digital))}
    # As in MIMIC-IV-ECG: whole microvolts, but not one a step.
    files["wfdb-200"] = str(
        shared.write_wfdb(folder / "w200.hea", digital // 5, gain="200.0(0)/mV")
    )
    for name, writer in writers.WRITERS.items():
        (folder / name).mkdir()
        files[name] = str(folder / name / f"x{writer.suffix}")
        writer.write(Path(files[name]), digital)
    return files


def measure(tree: Path, files: dict[str, str]) -> dict[str, float]:
    """Return records per second of each format with the sources of a checkout."""
    command = [sys.executable, "-c", LOOP, json.dumps(files), str(SECONDS)]
    environment = os.environ | {"PYTHONPATH": str(tree / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


if __name__ == "__main__":
    main()
