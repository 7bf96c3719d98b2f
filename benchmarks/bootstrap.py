"""Seconds for 1,000 resamples of the patients of PTB-XL's test fold, all 71 labels.

    python benchmarks/bootstrap.py [--result benchmarks/results/NAME.json]

Scores are made up; label supports are like those of fold 10 (2,198 records): 22 labels with fewer
than 10 positives, 10 of them with one or two. One call gives AUROC and average precision of every
label and their means in every resample; the plain loop beside it calls scikit-learn on a few
resamples and is scaled up. Run it on an idle machine.
"""

import argparse
import time
from pathlib import Path

import machine
import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from ecgjepa.metrics.bootstrap import NUM_RESAMPLES, PatientBootstrap, bca_interval, interval
from ecgjepa.metrics.classification import macro, macro_auroc, ranking_scores
from ecgjepa.metrics.jackknife import left_out_scores

RECORDS, PATIENTS, LABELS = 2198, 1887, 71
AIM_SECONDS = 30.0
LOOPED = 5


def made_up_fold() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return targets, scores and patients with supports from 1 to about 1,670 positives."""
    rng = np.random.default_rng(0)
    rare = np.r_[np.repeat([1, 2], 5), np.linspace(3, 9, 12).astype(int)]
    common = np.geomspace(10, 1670, LABELS - len(rare)).astype(int)
    targets = np.zeros((RECORDS, LABELS), bool)
    for column, support in enumerate(np.r_[rare, common]):
        targets[rng.choice(RECORDS, support, replace=False), column] = True
    scores = rng.standard_normal((RECORDS, LABELS)) + 1.8 * targets
    patients = np.r_[np.arange(PATIENTS), rng.integers(0, PATIENTS, RECORDS - PATIENTS)]
    return targets, scores, patients


def main() -> None:
    """Measure, print a table and JSON, write a file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--result", type=Path)
    options = parser.parse_args()
    targets, scores, patients = made_up_fold()

    seconds: dict[str, float] = {}
    start = time.perf_counter()
    bootstrap = PatientBootstrap(patients)
    seconds["draw"] = time.perf_counter() - start
    start = time.perf_counter()
    ranking = ranking_scores(targets, scores, bootstrap.weights)
    value = macro_auroc(targets, scores)
    found = interval(value, macro(ranking.auroc))
    seconds["auroc_and_average_precision"] = time.perf_counter() - start
    start = time.perf_counter()
    left_out = macro(left_out_scores("auroc", targets, scores, bootstrap.patient_of))
    bca = bca_interval(value, macro(ranking.auroc), left_out)
    seconds["jackknife_for_bca"] = time.perf_counter() - start
    start = time.perf_counter()
    for weights in bootstrap.weights.T[:LOOPED].astype(int):
        rows = np.repeat(np.arange(RECORDS), weights)
        for column in range(LABELS):
            if 0 < targets[rows, column].sum() < len(rows):
                roc_auc_score(targets[rows, column], scores[rows, column])
                average_precision_score(targets[rows, column], scores[rows, column])
    seconds["scikit_learn_scaled_up"] = (time.perf_counter() - start) * NUM_RESAMPLES / LOOPED

    for name, value in seconds.items():
        print(f"{name:<30}{value:>9.2f} s")
    machine.report(
        options.result,
        {
            "records": RECORDS,
            "patients": PATIENTS,
            "labels": LABELS,
            "resamples": NUM_RESAMPLES,
            "aim_seconds": AIM_SECONDS,
            "seconds": {name: round(value, 3) for name, value in seconds.items()},
            "percentile": [round(bound, 5) for bound in found],
            "bca": [round(bound, 5) for bound in bca],
        },
    )


if __name__ == "__main__":
    main()
