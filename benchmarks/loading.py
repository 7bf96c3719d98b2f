"""Records per second from a store to a batch, beside the published loader.

    python benchmarks/loading.py [--official CHECKOUT] [--result benchmarks/results/NAME.json]

Both sides hold the same 10,000 records of noise, 10 s at 500 Hz, 120 kB each: ours in a store in a
temporary folder (TMPDIR; 1.2 GB), the published one in memory. The best of several, all in one run
of about two minutes; run it on an idle machine.

- reading: windows into one buffer. Cold: the system's copy of the shards is dropped before, which
  is checked; what is then measured is mostly the disk.
- batches: signals, masks and all, as the loop of pre-training gets them, one step ahead. Ours are
  whole microvolts, for the device to normalise; "normalised" does that here, on the processor.
- first batch: of 2,048 records of a store with 1,000,000, in a new process, shards and index cold.
"""

import argparse
import ctypes
import json
import mmap
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import machine
import made_store
import numpy as np
import official

from ecgjepa.config import PretrainConfig, load_preset
from ecgjepa.model.normalisation import Normaliser
from ecgjepa.objectives.build import objective_of
from ecgjepa.sampling.batches import BatchReader, normalisation_tables
from ecgjepa.store.reading import Store

RECORDS, ROWS_OF_LARGE_INDEX = 10_000, 1_000_000
WINDOWS = {"10 s": 5000, "2.5 s": 1250}
THREADS = (1, 2, 4)
BATCH = 2048
SKIPPED, TIMED = 5, 12  # batches; the published loader makes four before it is asked for one
AIMS = {
    "records/s warm": 25_000, "times published": 10, "first batch, s": 2, "first batch, MB": 1000,
}  # fmt: skip

_FIRST_BATCH = """
import json, sys, time
start = time.perf_counter()
import torch
after_torch = time.perf_counter()
from ecgjepa.config import load_preset
from ecgjepa.objectives.build import objective_of
from ecgjepa.sampling.batches import BatchReader
from ecgjepa.store.reading import Store
imported = time.perf_counter()
config = load_preset("paper-vit-s-ptbxl")
BatchReader(Store(sys.argv[1]), config, objective_of(config).draw).read(0, 0)
end = time.perf_counter()
# Not getrusage: its maximum counts the process this one was forked from.
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps({
    "s with all imports": end - start,
    "s without importing torch": end - after_torch,
    "s without imports": end - imported,
    "MB resident at most": int(status["VmHWM"].split()[0]) / 1000,
}))
"""


def make_cold(store: Path) -> None:
    """Drop the system's copy of a store's files; stop if it does not."""
    for path in store.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())  # what is not yet written cannot be dropped
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        share = resident_share(path)
        if share > 0.01:
            raise SystemExit(f"{path}: {share:.0%} stays in memory, so nothing cold can be timed")


def resident_share(path: Path) -> float:
    """Return which share of a file's pages the system holds in memory."""
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        pages = (ctypes.c_ubyte * -(-len(mapped) // mmap.PAGESIZE))()
        view = ctypes.c_char.from_buffer(mapped)
        failed = ctypes.CDLL(None, use_errno=True).mincore(
            ctypes.c_void_p(ctypes.addressof(view)), ctypes.c_size_t(len(mapped)), pages
        )
        del view
    if failed:
        raise OSError(ctypes.get_errno(), f"mincore of {path}")
    return float((np.frombuffer(bytes(pages), np.uint8) & 1).mean())


def reading(folder: Path) -> dict[str, float]:
    """Return records per second of `Store.read`."""
    rng = np.random.default_rng(0)
    rates = {}
    for name, window in WINDOWS.items():
        out = np.ones((BATCH, window, 12), np.int16)
        for threads in THREADS:
            with Store(folder, num_threads=threads) as store:
                for state in ("warm", "cold"):
                    seconds = []
                    for _ in range(9 if state == "warm" else 3):
                        rows = rng.permutation(RECORDS)[:BATCH]
                        starts = rng.integers(0, made_store.SAMPLES - window + 1, BATCH)
                        if state == "cold":
                            make_cold(folder)
                        start = time.perf_counter()
                        store.read(rows, starts, out)
                        seconds.append(time.perf_counter() - start)
                    rates[f"read {name}, {state}, {threads} threads"] = BATCH / min(seconds)
                    read_all(folder)
    return rates


def read_all(folder: Path) -> None:
    """Make a store warm."""
    for path in folder.iterdir():
        path.read_bytes()


def batches(folder: Path, config: PretrainConfig) -> dict[str, float]:
    """Return records per second of `BatchReader.steps`, warm."""
    rates = {}
    for threads in THREADS:
        with Store(folder, num_threads=threads) as store:
            reader = BatchReader(store, config, objective_of(config).draw, pin_memory=True)
            steps = reader.steps(0, SKIPPED + TIMED)
            rates[f"batches, {threads} threads"] = steady_rate(steps)
    with Store(folder) as store:
        reader = BatchReader(store, config, objective_of(config).draw, pin_memory=True)
        normalise = Normaliser(*normalisation_tables(store), clip=config.data.clip)
        steps = reader.steps(0, SKIPPED + TIMED)
        rates["batches, normalised"] = steady_rate(
            normalise(batch.signal, batch.database) for (batch,) in steps
        )
    shuffled = config.data.model_copy(update={"sampling": "shuffle"})
    with Store(folder) as store:
        config = config.model_copy(update={"data": shuffled})
        reader = BatchReader(store, config, objective_of(config).draw, pin_memory=True)
        rates["batches, shuffled"] = steady_rate(reader.steps(0, SKIPPED + TIMED))
    return rates


def steady_rate(made: Iterable[object]) -> float:
    """Return records per second of batches after the first few."""
    iterator: Iterator[object] = iter(made)
    for _ in islice(iterator, SKIPPED):
        pass
    start = time.perf_counter()
    count = sum(1 for _ in islice(iterator, TIMED))
    return BATCH * count / (time.perf_counter() - start)


def published(folder: Path, config: PretrainConfig, checkout: Path | None) -> float:
    """Return records per second of the published loader over the same records in memory."""
    shards = [np.fromfile(path, "<i2") for path in sorted(folder.glob("shard-*"))]
    records = np.concatenate([(shard / np.float32(300)).astype(np.float16) for shard in shards])
    records = records.reshape(RECORDS, made_store.SAMPLES, 12)
    return steady_rate(official.loader(records, config, BATCH, checkout))


def first_batch(folder: Path) -> dict[str, float]:
    """Return seconds and megabytes up to the first batch, the best of three processes."""
    found: list[dict[str, float]] = []
    for _ in range(3):
        make_cold(folder)
        command = [sys.executable, "-c", _FIRST_BATCH, str(folder)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found.append(json.loads(done.stdout))
    return {name: min(values[name] for values in found) for name in found[0]}


def measure(folder: Path, checkout: Path | None) -> dict[str, Any]:
    """Return all figures."""
    config = load_preset("paper-vit-s-ptbxl", [f"train.batch_size={BATCH}"])
    store, large = folder / "store", folder / "large"
    made_store.write_store(store, RECORDS)
    made_store.index_copy(store, large, ROWS_OF_LARGE_INDEX, RECORDS)
    rates = reading(store) | batches(store, config)
    rates["published loader"] = published(store, config, checkout)
    return {
        "aims": AIMS,
        "batch_size": BATCH,
        "published_is": "its own code" if checkout else "written from a description",
        "first_batch": {name: round(value, 2) for name, value in first_batch(large).items()},
        "records_per_second": {name: round(value) for name, value in rates.items()},
    }


def main() -> None:
    """Measure, print a table and JSON, write a file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--official", type=Path, help="checkout of kweimann/ECG-JEPA, 504b4e5")
    parser.add_argument("--result", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), options.official)
    rates = figures["records_per_second"]
    for name, value in rates.items():
        times = f"{value / rates['published loader']:>8.1f} x published"
        print(f"{name:<32}{value:>10,} records/s" + ("" if name.startswith("read") else times))
    for name, value in figures["first_batch"].items():
        print(f"first batch: {value:.2f} {name}")
    machine.report(options.result, figures)


if __name__ == "__main__":
    main()
