"""Seconds for the scores without each patient in turn, from 1,000 to 100,000 patients.

    python benchmarks/jackknife.py [--result benchmarks/results/NAME.json]

Scores are made up: one label, positive in a tenth of the records; every fifth patient has a second
record. The plain definition beside it scores the remaining records anew for each patient, up to
4,000 patients. Every time is the best of three. Run it on an idle machine.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import machine
import numpy as np

from ecgjepa.metrics.bootstrap import PatientBootstrap
from ecgjepa.metrics.classification import ranking_scores
from ecgjepa.metrics.jackknife import left_out_scores

PATIENTS = (1_000, 2_000, 4_000, 10_000, 30_000, 100_000)
METRICS = ("auroc", "average_precision", "brier", "log_loss", "r2", "mean_absolute_error")
OF_VALUES = METRICS[-2:]
MOST_PLAIN = 4_000
REPEATS = 3
# Columns of weights that the plain definition makes at a time.
CHUNK = 512


def plain(targets: np.ndarray, scores: np.ndarray, patient_of: np.ndarray) -> np.ndarray:
    """Return the AUROC without each patient by the definition."""
    count = int(patient_of.max()) + 1
    parts = []
    for start in range(0, count, CHUNK):
        chosen = np.arange(start, min(start + CHUNK, count))
        weights = (patient_of[:, None] != chosen).astype(np.float32)
        parts.append(ranking_scores(targets, scores, weights).auroc)
    return np.concatenate(parts, axis=1)


def seconds(job: Callable[[], object]) -> float:
    """Return the best time of a few."""
    found = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        job()
        found.append(time.perf_counter() - start)
    return min(found)


def measure(count: int) -> dict[str, float]:
    """Return the seconds of each score for a number of patients."""
    rng = np.random.default_rng(0)
    patients = np.r_[np.arange(count), np.arange(0, count, 5)]
    targets = rng.random((len(patients), 1)) < 0.1
    scores = np.clip(0.5 * rng.random(targets.shape) + 0.3 * targets, 0, 1)
    numbers = PatientBootstrap(patients, num_resamples=1).patient_of
    row: dict[str, float] = {"patients": count, "records": len(patients)}
    for metric in METRICS:
        truth = targets + scores if metric in OF_VALUES else targets
        row[metric] = seconds(partial(left_out_scores, metric, truth, scores, numbers))
    if count <= MOST_PLAIN:
        by_definition = partial(plain, targets, scores, numbers)
        gap = by_definition() - left_out_scores("auroc", targets, scores, numbers)
        row["auroc_by_definition"] = seconds(by_definition)
        row["largest_difference"] = float(np.abs(gap).max())
    return row


def main() -> None:
    """Measure, print a table and JSON, write a file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--result", type=Path)
    options = parser.parse_args()
    rows = []
    for count in PATIENTS:
        row = {name: float(f"{value:.3g}") for name, value in measure(count).items()}
        print("  ".join(f"{name} {value:g}" for name, value in row.items()))
        rows.append(row)
    machine.report(options.result, {"repeats": REPEATS, "rows": rows})


if __name__ == "__main__":
    main()
