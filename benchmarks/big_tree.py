"""Write a big tree of a database quickly, to time what reads it.

    python benchmarks/big_tree.py mimic-iv-ecg --records 100000 --to DIR [--pool 200] [--seconds 10]

Names, tables, headers and checksums are those of `ecgjepa.simulate`, but the signals are few: a
pool of simulated ones, which a record takes up at a random moment (with a jump where the end meets
the beginning) and scales by a random factor. So no two records are the same bytes, and each has the
labels of its signal, but the age, sex, patient and measurements of somebody else, and no electrode
is ever lost. Measure nothing on such a tree but the speed and memory of what reads it.
"""

import argparse
import time
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from ecgjepa.simulation.layouts import LAYOUTS, write_plan
from ecgjepa.simulation.patients import Patient, generator
from ecgjepa.simulation.plan import Plan, population
from ecgjepa.simulation.recorder import Tracing
from ecgjepa.simulation.records import trace_visit


class Pool:
    """A tracer for a `Plan` that simulates a few records of each length, and varies them.

    Args:
        size: Different signals of one length and rate.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._simulate = lru_cache(maxsize=2 * size)(_simulate)

    def __call__(
        self,
        seed: int,
        patient: Patient,
        visit: int,
        *,
        num_samples: int,
        sampling_rate: float,
        drift: float,
    ) -> Tracing:
        """Return a variation of one of the pool's signals."""
        rng = generator(seed, patient.number, visit + 1, 3)
        which = int(rng.integers(0, self._size))
        tracing = self._simulate(seed, which, num_samples, sampling_rate, drift > 0)
        moved = np.roll(tracing.leads, rng.integers(0, num_samples), axis=0)
        moved *= np.float32(rng.uniform(0.8, 1.25))
        return replace(tracing, leads=moved)


def _simulate(
    seed: int, which: int, num_samples: int, sampling_rate: float, drifts: bool
) -> Tracing:
    patient, visit = next(population(seed, which))
    tracing = trace_visit(
        seed, patient, visit, num_samples=num_samples, sampling_rate=sampling_rate,
        drift=1.0 if drifts else 0.0,
    )  # fmt: skip
    return replace(tracing, lost=None)


def main() -> None:
    """Write the tree and say how long it took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("layout", choices=LAYOUTS)
    parser.add_argument("--records", type=int, required=True)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--pool", type=int, default=200, help="different signals")
    parser.add_argument("--seconds", type=float, help="of every record; needed where they vary")
    options = parser.parse_args()
    layout = LAYOUTS[options.layout]
    if options.records > layout.most_records:
        parser.error(f"{options.layout} has names for {layout.most_records:,} records")
    plan = Plan(
        options.records,
        seed=0,
        seconds=options.seconds,
        first_patient=layout.first_patient,
        tracer=Pool(options.pool),
    )
    start = time.perf_counter()
    write_plan(options.to, options.layout, plan)
    speed = options.records / (time.perf_counter() - start)
    print(f"{options.records:,} records in {options.to}, {speed:,.0f} a second")


if __name__ == "__main__":
    main()
