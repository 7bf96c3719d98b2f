"""Simulated patients in the HDF5 files of CODE-15% (https://doi.org/10.5281/zenodo.4916206).

All six abnormalities of the database are among what is simulated. Amplitudes are true millivolt,
whatever a unit of the published files may be; death and follow-up are left empty. Needs h5py.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float32

from ecgjepa.databases.code_15 import LEADS, NUM_SAMPLES, SAMPLING_RATE, require_h5py
from ecgjepa.databases.code_15_table import TABLE_FILE
from ecgjepa.files import naming_full_disk, write_text
from ecgjepa.simulation.heart.patients import generator
from ecgjepa.simulation.heart.recorder import (
    INVALID,
    MICROVOLT_PER_MILLIVOLT,
    Tracing,
    quantise,
)
from ecgjepa.simulation.layouts.population import Layout, Population, Visit

_FLAGS = {"1dAVb": "1AVB", "RBBB": "CRBBB", "LBBB": "CLBBB", "SB": "SBRAD", "ST": "STACH",
          "AF": "AFIB"}  # fmt: skip
_COLUMNS = ("exam_id", "age", "is_male", "nn_predicted_age", *_FLAGS, "patient_id", "death",
            "timey", "normal_ecg", "trace_file")  # fmt: skip
_PER_PART = 20_000
# Exams are 7.3 or 10.2 s long; of the published ones, 37 % are of the longer kind.
_SHORT, _SHORT_SHARE = 2934 / SAMPLING_RATE, 0.63
_LONG = NUM_SAMPLES / SAMPLING_RATE
# Published baselines were not removed: median in mV, and spread on a logarithmic scale.
_DRIFT, _DRIFT_SPREAD = 0.3, 0.8


def write(root: Path, plan: Population) -> None:
    """Write a plan as CODE-15%: HDF5 files of up to 20,000 exams, and last ``exams.csv``.

    Raises:
        DatabaseError: If h5py is not installed.
        DiskFullError: If there is no space left.
    """
    require_h5py()
    visits, rows = plan.visits(), []
    for part in range(-(-plan.records // _PER_PART)):
        count = min(_PER_PART, plan.records - part * _PER_PART)
        path = root / f"exams_part{part}.hdf5"
        rows += _write_part(path, plan, itertools.islice(visits, count), count)
    # Asking for one more reports the last exam as done.
    next(visits, None)
    table = pd.DataFrame(rows, columns=list(_COLUMNS))
    write_text(root / TABLE_FILE, table.to_csv(index=False))


LAYOUT = Layout(
    title="CODE-15%",
    contents=(TABLE_FILE, "exams_part*.hdf5"),
    write=write,
    first_patient=20_000_000,
    longest=_LONG,
)


def _write_part(
    path: Path, plan: Population, visits: Iterator[Visit], count: int
) -> list[tuple[object, ...]]:
    """Write an HDF5 file; return its exams' rows of the table."""
    rows, ids = [], []
    with naming_full_disk(path):
        ids_at, tracings_at = _lay_out(path, count + 1)
        with path.open("r+b") as file:
            file.seek(tracings_at)
            for visit in visits:
                rng = generator(plan.seed, visit.patient.number, visit.visit + 1, 1)
                seconds = _SHORT if rng.random() < _SHORT_SHARE else _LONG
                drift = float(_DRIFT * np.exp(_DRIFT_SPREAD * rng.standard_normal()))
                tracing = plan.trace(visit, round(SAMPLING_RATE), seconds, drift=drift)
                file.write(_pad(tracing).tobytes())
                ids.append(visit.number)
                rows.append(_describe(visit, tracing.codes, path.name, float(rng.normal(0, 8))))
            # The last row is a phantom: exam 0, zero throughout.
            file.write(np.zeros((NUM_SAMPLES, len(LEADS)), "<f4").tobytes())
            file.seek(ids_at)
            file.write(np.array([*ids, 0], "<i8").tobytes())
    return rows


def _lay_out(path: Path, num_rows: int) -> tuple[int, int]:
    """Make an HDF5 file without content; return where exam_id and tracings begin, in bytes.

    Ordinary writes then fill it: when the disk is full, HDF5 raises no OSError (a RuntimeError at
    closing instead) and ends the process with a segmentation fault.
    """
    h5py = require_h5py()
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    shapes = {
        b"exam_id": ("<i8", (num_rows,)),
        b"tracings": ("<f4", (num_rows, NUM_SAMPLES, len(LEADS))),
    }
    with h5py.File(path, "w") as file:
        ids_at, tracings_at = (
            h5py.h5d.create(
                file.id,
                name,
                h5py.h5t.py_create(np.dtype(kind)),
                h5py.h5s.create_simple(shape),
                properties,
            ).get_offset()
            for name, (kind, shape) in shapes.items()
        )
    return ids_at, tracings_at


def _pad(tracing: Tracing) -> Float32[np.ndarray, "samples 12"]:
    """Return the leads in mV in the middle of `NUM_SAMPLES`, zero around them."""
    digital = quantise(tracing)
    # There is no mark for "nothing was recorded", only zero; and if one limb lead is lost, all six
    # are zero, or the others would contradict it.
    lost = digital == INVALID
    lost[:, :6] |= lost[:, :6].any(axis=1, keepdims=True)
    digital[lost] = 0
    start = (NUM_SAMPLES - len(digital)) // 2
    padded = np.zeros((NUM_SAMPLES, len(LEADS)), "<f4")
    padded[start : start + len(digital)] = digital / np.float32(MICROVOLT_PER_MILLIVOLT)
    return padded


def _describe(
    visit: Visit, codes: tuple[str, ...], file: str, misjudged: float
) -> tuple[object, ...]:
    """Return an exam's row of the table; ``misjudged`` is how far the age is, in years."""
    traits = visit.patient.traits
    flags = [code in codes for code in _FLAGS.values()]
    return (
        visit.number,
        int(traits.age),
        not traits.female,
        round(traits.age + misjudged, 5),
        *flags,
        visit.patient.number,
        None,
        None,
        "NORM" in codes and not any(flags),
        file,
    )
