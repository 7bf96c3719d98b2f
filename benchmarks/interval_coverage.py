"""How often 95 % intervals of a macro score hold the truth, with rare labels and without.

    python benchmarks/interval_coverage.py [--result benchmarks/results/NAME.json]

150 made-up test sets of 400 records and 30 labels, of a prevalence of 0.4 % to 40 % and an AUROC of
0.64 to 0.92. The truth is the mean, over the labels that a test set has, of their scores on 40,000
records. Rules for labels that a resample lacks: left out (ours), or counted with their own point.
Chance alone moves a share by 0.02. Takes about a minute.
"""

import argparse
from pathlib import Path

import machine
import numpy as np

from ecgjepa.metrics.bootstrap import PatientBootstrap, bca_interval, interval
from ecgjepa.metrics.classification import FEW_POSITIVES, macro, ones, ranking_scores
from ecgjepa.metrics.jackknife import left_out_scores

SETS, RECORDS, LABELS, RESAMPLES, LARGE = 150, 400, 30, 400, 40_000


def draw(rng: np.random.Generator, records: int) -> tuple[np.ndarray, np.ndarray]:
    """Return targets and scores."""
    targets = rng.random((records, LABELS)) < np.geomspace(0.004, 0.4, LABELS)
    return targets, rng.standard_normal((records, LABELS)) + np.linspace(0.5, 2, LABELS) * targets


def main() -> None:
    """Measure, print a table and JSON, write a file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--result", type=Path)
    options = parser.parse_args()
    rng = np.random.default_rng(1)
    truths = ranking_scores(*draw(rng, LARGE), ones(LARGE))._asdict()
    covered: dict[str, int] = {}
    for _ in range(SETS):
        targets, scores = draw(rng, RECORDS)
        bootstrap = PatientBootstrap(np.arange(RECORDS), num_resamples=RESAMPLES)
        points = ranking_scores(targets, scores, ones(RECORDS))._asdict()
        draws = ranking_scores(targets, scores, bootstrap.weights)._asdict()
        for name, point in points.items():
            left_out = left_out_scores(name, targets, scores, bootstrap.patient_of)
            present = np.isfinite(point[:, 0])
            for which, chosen in (
                ("all labels", present),
                ("labels of 10 positives", present & (targets.sum(axis=0) >= FEW_POSITIVES)),
            ):
                truth = truths[name][chosen, 0].mean()
                value, resampled = point[chosen, 0].mean(), macro(draws[name][chosen])
                filled = np.where(np.isfinite(draws[name]), draws[name], point)[chosen].mean(axis=0)
                for rule, found in (
                    ("percentile", interval(value, resampled)),
                    ("percentile, absent as their point", interval(value, filled)),
                    ("bca", bca_interval(value, resampled, macro(left_out[chosen]))),
                ):
                    key = f"{name}, {which}, {rule}"
                    covered[key] = covered.get(key, 0) + int(found.low <= truth <= found.high)
    shares = {name: round(count / SETS, 3) for name, count in covered.items()}
    for name, share in shares.items():
        print(f"{name:<78}{share:.3f}")
    machine.report(options.result, {"sets": SETS, "nominal": 0.95, "covered": shares})


if __name__ == "__main__":
    main()
