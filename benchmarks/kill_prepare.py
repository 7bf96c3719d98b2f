"""Kill `ecgjepa prepare` at random moments and prove that what is resumed is the same to the byte.

    python benchmarks/kill_prepare.py DATABASE=DIR ... [--kills 20] [--result FILE]

Prepares without interruption, then ``--kills`` times anew: each time the command and its workers
are killed (SIGKILL) at a moment drawn uniformly from the length of an uninterrupted run, the same
command is started again and, in half of the cases, killed a second time, and then left to finish.
Every file of the store is compared with the uninterrupted one's. Not a timing: run it anywhere.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from machine import report

RECORDS_PER_SHARD = 200


def main() -> None:
    """Run the campaign, print it, and exit with 1 if a store differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("databases", nargs="+", metavar="NAME=DIR")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--result", type=Path)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        command = prepare_command(options.databases, options.workers)
        for name in ("first", "whole"):  # the second is as fast as those that follow
            start = time.monotonic()
            subprocess.run([*command, str(folder / name)], check=True, **QUIET)
            length = time.monotonic() - start
        expected = digests(folder / "whole")
        print(f"uninterrupted: {length:.1f} s, {len(expected)} files", flush=True)
        rows = []
        for number in range(options.kills):
            moments = [rng.uniform(0.05, 1.0) * length]
            if rng.random() < 0.5:
                moments.append(rng.uniform(0.05, 0.6) * length)
            row = one_case(command, folder / "cut", moments) | {"case": number}
            row["same"] = digests(folder / "cut") == expected
            shutil.rmtree(folder / "cut")
            rows.append(row)
            print(json.dumps(row), flush=True)
    same = sum(row["same"] for row in rows)
    print(f"{same} of {len(rows)} stores are byte-identical to the uninterrupted one")
    found = {"benchmark": "kill_prepare", "uninterrupted_seconds": length, "cases": rows}
    report(options.result, found)
    raise SystemExit(same < len(rows))


QUIET: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def prepare_command(databases: list[str], workers: int) -> list[str]:
    """Return the command, up to the folder of the store."""
    command = [sys.executable, "-m", "ecgjepa", "--quiet", "prepare", *databases]
    command += ["--workers", str(workers), "--records-per-shard", str(RECORDS_PER_SHARD)]
    return [*command, "--max-bad", "1", "--store"]


def one_case(command: list[str], store: Path, moments: list[float]) -> dict[str, Any]:
    """Start, kill at each moment, and finish; return what was there at each kill."""
    found = []
    for moment in moments:
        process = subprocess.Popen([*command, str(store)], **QUIET)
        time.sleep(moment)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
        process.wait()
        found.append({"seconds": round(moment, 2), "found": state(store)})
    # Workers of the killed command may still be writing; the next run must not mind.
    subprocess.run([*command, str(store)], check=True, **QUIET)
    return {"kills": found}


def state(store: Path) -> str:
    """Return in words how far a killed run had come."""
    if (store / "manifest.json").exists():
        return "finished"
    parts = len(list(store.glob("parts/[0-9]*.json")))
    return f"{parts} shards written" if store.exists() else "nothing"


def digests(store: Path) -> dict[str, str]:
    """Return the SHA-256 of every file below a folder."""
    return {
        str(path.relative_to(store)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(store.rglob("*"))
        if path.is_file()
    }


if __name__ == "__main__":
    main()
