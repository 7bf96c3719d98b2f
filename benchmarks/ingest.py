"""Records per second and memory of `ecgjepa prepare`, beside a loop of `wfdb.rdrecord`.

    python benchmarks/ingest.py [--records 1000 10000 100000] [--scratch DIR] [--result FILE]

For each size, a tree in MIMIC-IV-ECG's layout (12 leads of 5000 samples at 500 Hz, 200 per mV; see
many_records.py) is written, read once so that the page cache holds what it can, and prepared by the
command `ecgjepa prepare` with all checks: checksums, flags, quality, SHA-256, signatures. The wfdb
package reads the first thousand of the same files in the same run. Memory is the proportional set
size of the command and its workers together, which counts shared pages once, sampled ten times a
second. A hundred thousand records need 24 GB of disk.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import wfdb
from machine import report
from many_records import write_many

WFDB_RECORDS = 1000
# Small enough that even a thousand records are work for two.
RECORDS_PER_SHARD = 500


def main() -> None:
    """Measure, print, and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--trees", type=Path, help="folder where trees are kept for the next time")
    parser.add_argument("--scratch", type=Path, help="folder for the stores, else a temporary one")
    parser.add_argument("--result", type=Path)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for count in options.records:
        with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
            tree = (options.trees or Path(scratch)) / f"mimic-iv-ecg-{count}"
            if not tree.exists():
                write_many(tree, count)
            package = wfdb_rate(tree)
            # One worker on the largest tree would take minutes and say nothing new.
            for workers in options.workers if count <= 10_000 else options.workers[-1:]:
                row = {"records": count, "workers": workers, "wfdb_per_second": package}
                row |= prepare(tree, Path(scratch) / "store", workers)
                rows.append(row)
                print(json.dumps(row), flush=True)
    print_table(rows)
    report(options.result, {"benchmark": "ingest", "rows": rows})


def wfdb_rate(tree: Path) -> float:
    """Return how many records a second a loop of `wfdb.rdrecord` reads, files in memory."""
    names = [str(path.with_suffix("")) for path in sorted(tree.rglob("*.hea"))[:WFDB_RECORDS]]
    for name in names:
        Path(f"{name}.dat").read_bytes()
    start = time.perf_counter()
    for name in names:
        wfdb.rdrecord(name)
    return round(len(names) / (time.perf_counter() - start), 1)


def prepare(tree: Path, store: Path, workers: int) -> dict[str, float]:
    """Run the command on a tree and return its speed and memory."""
    for path in tree.rglob("*.dat"):
        path.read_bytes()
    shutil.rmtree(store, ignore_errors=True)
    command = [sys.executable, "-m", "ecgjepa", "--quiet", "prepare", f"mimic-iv-ecg={tree}"]
    command += ["--store", str(store), "--workers", str(workers), "--json"]
    command += ["--records-per-shard", str(RECORDS_PER_SHARD)]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    memory = Memory(process.pid)
    output, _ = process.communicate()
    seconds = time.perf_counter() - start
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed with {process.returncode}")
    stored = json.loads(output)["num_records"]
    return {
        "stored": stored,
        "seconds": round(seconds, 2),
        "per_second": round(stored / seconds, 1),
        "per_second_and_worker": round(stored / seconds / workers, 1),
        "peak_memory_mb": round(memory.peak() / 1e6, 1),
    }


class Memory:
    """Watches the memory of a process and all its children."""

    def __init__(self, pid: int) -> None:
        """Begin to watch."""
        self._pid, self._peak = pid, 0
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def peak(self) -> int:
        """Return the most bytes seen, once the process has ended."""
        self._thread.join()
        return self._peak

    def _watch(self) -> None:
        while Path(f"/proc/{self._pid}/smaps_rollup").exists():
            self._peak = max(self._peak, sum(map(_pss, _family(self._pid))))
            time.sleep(0.1)
            if not _pss(self._pid):
                return


def _family(pid: int) -> list[int]:
    found = [pid]
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += _family(int(child))
    except OSError:
        pass
    return found


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def print_table(rows: list[dict[str, Any]]) -> None:
    """Print the figures for people."""
    print(f"\n{'records':>9}{'workers':>9}{'records/s':>11}{'wfdb/s':>8}{'times':>7}{'peak MB':>9}")
    for row in rows:
        times = row["per_second"] / row["wfdb_per_second"]
        print(
            f"{row['records']:>9,}{row['workers']:>9}{row['per_second']:>11,.0f}"
            f"{row['wfdb_per_second']:>8,.0f}{times:>7.1f}{row['peak_memory_mb']:>9,.0f}"
        )


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
