"""Write many WFDB records in MIMIC-IV-ECG's layout quickly, to time what reads them.

    python benchmarks/many_records.py --records 100000 --to DIR [--gain 200]

The files are as `ecgjepa simulate --layout mimic-iv-ecg` writes them (12 leads of 5000 samples at
500 Hz, format 16, right checksums, ``record_list.csv``), but the signals are few: a pool of
simulated 20-second tracings, of which every record is ten seconds from another moment, made smaller
by up to a third in whole steps. No two records are the same bytes, yet thousands show the same
heart, overlap, and are not a sample of anything. There are no labels, no lost electrodes, and five
records in a row make a patient whatever heart they show. Measure speed, memory and file handling on
such a tree, nothing else: compression and duplicate detection, too, would mislead.

A record takes about 0.3 ms of one core and three new files and folders, so what decides is how fast
the disk makes files.
"""

import argparse
import itertools
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Int16

from ecgjepa.databases.listing import SIMULATED_FILE
from ecgjepa.databases.mimic_iv_ecg import TABLE_FILE
from ecgjepa.errors import ConfigError
from ecgjepa.files import naming_full_disk, write_text
from ecgjepa.signals.leads import LEADS
from ecgjepa.simulation.heart.recorder import quantise
from ecgjepa.simulation.heart.records import trace_visit
from ecgjepa.simulation.layouts.mimic_iv_ecg import STORED_LEADS
from ecgjepa.simulation.layouts.population import population

RATE, SAMPLES = 500, 5000
PER_PATIENT = 5
# Coprime to `SAMPLES`, so that a signal starts at every moment once before it repeats.
STRIDE = 1237
# Coprime to ten million: patients spread over all folders p1000 to p1999, as the real ones do.
SCATTER = 6_180_339
# A signal loses these parts of itself, as powers of 1/2. None enlarges it: nothing overflows.
LOSSES = tuple(itertools.combinations(range(3, 10), 2))
NOTE = (
    "These ECGs are SYNTHETIC and repeat themselves: a few simulated signals, shifted and scaled.\n"
    "They imitate the layout of MIMIC-IV-ECG 1.0 to time programs that read it, nothing else.\n"
)


def write_many(
    root: str | Path,
    count: int,
    *,
    gain: int = 200,
    signals: int = 200,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write ``count`` records, and last the table that names them.

    Args:
        root: Folder to write, absent or empty.
        count: Records, at most 5000 for each signal of the pool.
        gain: Steps per mV, 200 as in MIMIC-IV-ECG or up to 1000.
        signals: Different simulated signals.
        seed: Of the simulated population.
        progress: Called with (records done, records in all) now and then.

    Returns:
        The folder.

    Raises:
        ConfigError: If the folder is not empty, or a number is out of range.
        DiskFullError: If there is no space left; what was written stays.
    """
    root = Path(root)
    if not 1 <= count <= signals * SAMPLES:
        raise ConfigError(f"cannot write {count:,} records; expected 1 to {signals * SAMPLES:,}")
    if not 1 <= gain <= 1000:
        raise ConfigError(f"gain is {gain}; expected 1 to 1000 steps per mV")
    if root.exists() and any(root.iterdir()):
        raise ConfigError(f"{root} is not empty; choose another folder")
    root.mkdir(parents=True, exist_ok=True)
    write_text(root / SIMULATED_FILE, NOTE)
    pool = make_pool(min(signals, count), gain, seed)
    rows = []
    for number in range(count):
        subject = 10_000_000 + number // PER_PATIENT * SCATTER % 10_000_000
        study = 40_000_000 + number
        path = f"files/p{subject // 10_000}/p{subject}/s{study}/{study}"
        write_record(root / path, vary(pool, number), gain)
        rows.append((subject, study, study, "2180-07-23 08:44:00", path))
        if progress is not None and number % 1000 == 999:
            progress(number + 1, count)
    columns = ["subject_id", "study_id", "file_name", "ecg_time", "path"]
    write_text(root / TABLE_FILE, pd.DataFrame(rows, columns=columns).to_csv(index=False))
    return root


def make_pool(signals: int, gain: int, seed: int) -> Int16[np.ndarray, "signals 12 samples"]:
    """Simulate signals of twice the length of a record, in steps, in the order of the files."""
    pool = np.empty((signals, 12, 2 * SAMPLES), np.int16)
    order = [LEADS.index(lead) for lead in STORED_LEADS]
    tracings = (
        trace_visit(seed, patient, visit, num_samples=2 * SAMPLES, sampling_rate=float(RATE))
        for patient, visit in population(seed)
    )
    whole = (tracing for tracing in tracings if tracing.lost is None)
    for row, tracing in enumerate(itertools.islice(whole, signals)):
        pool[row] = quantise(tracing, float(gain))[:, order].T
    return pool


def vary(
    pool: Int16[np.ndarray, "signals 12 samples"], number: int
) -> Int16[np.ndarray, "12 samples"]:
    """Return record ``number``: ten seconds of a signal, made smaller.

    The limb leads are derived anew, so their algebra holds to half a step.
    """
    turn, row = divmod(number, len(pool))
    start = turn * STRIDE % SAMPLES
    window = pool[row, :, start : start + SAMPLES]
    one, other = LOSSES[turn % len(LOSSES)]
    digital = window - (window >> one) - (window >> other)
    first, second = digital[0].astype(np.int32), digital[1].astype(np.int32)
    digital[2] = second - first
    digital[3] = -(first + second) >> 1
    # aVF comes before aVL.
    digital[4] = (2 * second - first) >> 1
    digital[5] = (2 * first - second) >> 1
    return digital


def write_record(path: Path, digital: Int16[np.ndarray, "12 samples"], gain: int) -> None:
    """Write a record as ``wfdb_files.write_record`` of the simulation does, in half the time."""
    name, (num_leads, num_samples) = path.name, digital.shape
    # Sums modulo 2**16 are what a header states.
    sums = digital.view(np.uint16).sum(axis=1, dtype=np.uint16).tolist()
    lines = [f"{name} {num_leads} {RATE} {num_samples}"]
    lines += [
        f"{name}.dat 16 {gain:.1f}(0)/mV 16 0 {first} {total} 0 {lead}"
        for first, total, lead in zip(digital[:, 0].tolist(), sums, STORED_LEADS, strict=True)
    ]
    with naming_full_disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        for ending, content in (
            ("dat", digital.T.astype("<i2", order="C").tobytes()),
            ("hea", ("\n".join(lines) + "\n").encode()),
        ):
            Path(f"{path}.{ending}").write_bytes(content)


def main() -> None:
    """Write the records and say how long it took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, required=True)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--gain", type=int, default=200, help="steps per mV [default: 200]")
    parser.add_argument("--signals", type=int, default=200, help="in the pool [default: 200]")
    options = parser.parse_args()
    start = time.perf_counter()
    write_many(options.to, options.records, gain=options.gain, signals=options.signals)
    seconds = time.perf_counter() - start
    speed = options.records / seconds
    print(f"{options.records:,} records in {seconds:.0f} s: {speed:,.0f} a second")


if __name__ == "__main__":
    main()
