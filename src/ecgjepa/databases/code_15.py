"""CODE-15%: 345,779 exams of 233,770 Brazilian patients at 400 Hz, with six abnormalities.

``exams.csv`` and 18 HDF5 files, each with ``exam_id`` and ``tracings``. Exams of about 7 and 10 s
are padded with zeros on both sides to 4096 samples. There are no folds. Reading needs h5py:
``pip install 'ecgjepa[code-15]'``. Licence and citation: see `catalogue`.
"""

import math
import os
import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import repeat
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd

from ecgjepa.databases.code_15_table import TABLE_FILE, read_exams
from ecgjepa.databases.listing import Entry, Listing, Skip, size_notices
from ecgjepa.errors import DatabaseError, RecordFormatError
from ecgjepa.io import Damaged
from ecgjepa.signals.record import Record

NAME = "code-15"
# Baseline wander is strong in this database, and the paper removes it.
HIGHPASS_HZ = 0.5
NUM_EXAMS = 345_779
NUM_PARTS = 18
SAMPLING_RATE = 400.0
NUM_SAMPLES = 4096
LEADS = ("DI", "DII", "DIII", "AVR", "AVL", "AVF", "V1", "V2", "V3", "V4", "V5", "V6")

# The two published descriptions of the scale disagree: one says that the values are "scaled by 2",
# the other that a unit is 1e-4 V. In ten real exams, the median peak-to-peak of a beat over the
# twelve leads is 2.3 units; in PTB-XL, Georgia, Ningbo, Chapman-Shaoxing, CPSC and PTB it is 0.9 to
# 1.2 mV. The standard deviations published with the paper, over all exams of full length, are two
# to three times PTB-XL's. So 0.1 mV a unit is far too little and 0.5 mV would fit best, but neither
# settles it. The values are taken as they are, as in the paper, which normalises each database by
# its own statistics.
MILLIVOLT_PER_UNIT = 1.0

# An exam of 197 kB that is compressed to less, and a chunk that is read whole for one exam and is
# larger, are not what anyone recorded or would write.
_LEAST_BYTES = 64
_MOST_CHUNK_BYTES = 2**28


def list_records(root: Path) -> Listing:
    """List a copy of CODE-15%, whole or partial.

    Args:
        root: Folder that holds ``exams.csv`` and ``exams_part0.hdf5`` to ``exams_part17.hdf5``.

    Raises:
        DatabaseError: If h5py or a file is missing, a file is damaged or not laid out as expected,
            or an exam appears twice.
    """
    exams = read_exams(root / TABLE_FILE)
    rows, num_phantoms = _read_rows(root)
    is_absent = ~exams["exam_id"].isin(rows["exam_id"])
    table = rows.merge(exams, on="exam_id", how="left", validate="one_to_one", indicator=True)
    is_described = table["_merge"] == "both"
    return Listing(
        database=NAME,
        root=root,
        table=pd.DataFrame(
            {
                "record_id": table["exam_id"].astype(str),
                "path": table["file"] + "#" + table["row"].astype(str),
                "patient_id": table["patient_id"],
                "fold": None,
                "age": table["age"],
                "sex": table["sex"],
                "labels": table["labels"].astype(object).fillna("{}"),
            },
            columns=list(Entry._fields),
        ),
        absent=_absent(exams[is_absent], present=set(rows["file"])),
        notices=tuple(_notices(root, table, is_described, num_phantoms)),
        highpass_hz=HIGHPASS_HZ,
        reader=read_exam,
    )


def read_exam(root: Path, entry: Entry, damaged: Damaged = "raise") -> Record:
    """Read one exam, without the zeros that pad all its leads at either end.

    Args:
        root: Folder of the database.
        entry: Entry whose ``path`` names file and row, as in ``exams_part0.hdf5#3``.
        damaged: Without effect: the files carry no checksums.

    Returns:
        The exam in its true length, 12 leads in mV (see `MILLIVOLT_PER_UNIT`); values that are no
        finite number are invalid.

    Raises:
        DatabaseError: If h5py is missing.
        RecordFormatError: If it cannot be read, or is zero throughout (``flat_record``).
    """
    name, _, row = entry.path.partition("#")
    source = f"{root / name}#{row}"
    try:
        # Handles must not be shared after a fork, so each process opens its own.
        file = _open(root / name, os.getpid())
        exam_id = int(file["exam_id"][int(row)])
        values = file["tracings"][int(row)]
    except DatabaseError:
        raise
    except Exception as error:  # h5py raises whatever its parsing runs into
        raise RecordFormatError(f"{source}: not readable: {error}") from None
    if str(exam_id) != entry.record_id:
        raise RecordFormatError(
            f"{source}: holds exam {exam_id}, but held {entry.record_id} when it was listed; has "
            "the file changed?"
        )
    with np.errstate(invalid="ignore"):  # a damaged file may hold NaNs of the kind that signals
        recorded = np.flatnonzero(values.any(axis=1))
    if not recorded.size:
        raise RecordFormatError(
            f"{source}: exam {exam_id} is zero in every sample", reason="flat_record"
        )
    values = values[recorded[0] : recorded[-1] + 1]
    valid = np.isfinite(values)
    return Record(
        signal=np.where(valid, values, np.float32(0.0)) * np.float32(MILLIVOLT_PER_UNIT),
        valid=valid,
        leads=LEADS,
        sampling_rate=SAMPLING_RATE,
        record_id=entry.record_id,
        source=source,
    )


def require_h5py() -> ModuleType:
    """Return the module h5py.

    Raises:
        DatabaseError: If it is not installed.
    """
    try:
        import h5py
    except ImportError:
        raise DatabaseError(
            f"{NAME}: its HDF5 files need h5py, which is not installed; run "
            "pip install 'ecgjepa[code-15]'"
        ) from None
    return h5py


@lru_cache(maxsize=NUM_PARTS)
def _open(path: Path, process: int) -> Any:  # noqa: ANN401
    return require_h5py().File(path, "r")


def _read_rows(root: Path) -> tuple[pd.DataFrame, int]:
    """Return exam_id, file and row of every exam in the HDF5 files, and the number of phantoms."""
    numbered = sorted(
        (int(match[1]), path)
        for path in root.iterdir()
        if (match := re.fullmatch(r"exams_part(\d+)\.hdf5", path.name))
    )
    if not numbered:
        packed = any(root.glob("exams_part*.zip"))
        raise DatabaseError(
            f"{NAME}: no HDF5 file in {root}; expected files such as exams_part0.hdf5"
            + (". Unpack the zip files first" if packed else "")
        )
    parts = []
    for _, path in numbered:
        ids = _read_ids(path)
        parts.append(pd.DataFrame({"exam_id": ids, "file": path.name, "row": np.arange(len(ids))}))
    rows = pd.concat(parts, ignore_index=True)
    is_phantom = rows["exam_id"] == 0
    rows = rows[~is_phantom]
    twice = rows[rows["exam_id"].duplicated(keep=False)]
    if len(twice):
        first = twice[twice["exam_id"] == twice["exam_id"].iloc[0]]
        places = ", ".join(f"{row.file}#{row.row}" for row in first.itertuples())
        raise DatabaseError(
            f"{root}: exam {twice['exam_id'].iloc[0]} appears more than once: {places}"
        )
    if rows.empty:
        raise DatabaseError(f"{NAME}: the HDF5 files in {root} hold no exam")
    return rows.reset_index(drop=True), int(is_phantom.sum())


def _read_ids(path: Path) -> Any:  # noqa: ANN401
    """Return the exam_id of every row of a part, once its layout is known to be right."""
    try:
        with require_h5py().File(path, "r") as file:
            _check_layout(path, file)
            return file["exam_id"][:]
    except DatabaseError:
        raise
    except Exception as error:  # h5py raises whatever its parsing runs into
        raise DatabaseError(
            f"{path}: not readable as HDF5 ({error}); is the download complete?"
        ) from None


def _check_layout(path: Path, file: Any) -> None:  # noqa: ANN401
    found = {name: _describe(file, name) for name in map(str, file)}
    num_rows = file["exam_id"].size if "exam_id" in found else 0
    expected = {
        "exam_id": f"int64 ({num_rows},)",
        "tracings": f"float32 ({num_rows}, {NUM_SAMPLES}, {len(LEADS)})",
    }
    for name, layout in expected.items():
        if found.get(name) != layout:
            raise DatabaseError(
                f"{path}: {name} is {found.get(name, 'missing')}; expected {layout}. Found "
                f"{', '.join(found) or 'no data set'}"
            )
    if num_rows * _LEAST_BYTES > (size := path.stat().st_size):
        raise DatabaseError(f"{path}: announces {num_rows:,} exams, but is only {size:,} bytes")


def _describe(file: Any, name: str) -> str:  # noqa: ANN401
    """Return type and shape of a data set, or what else bears the name.

    A data set may point to any file of the system, or promise what would fill the memory.
    """
    h5py = require_h5py()
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        return "a link to another place"
    item = file[name]
    if not isinstance(item, h5py.Dataset):
        return "no data set"
    if item.external or item.is_virtual:
        return "stored in another file"
    if item.chunks and math.prod(item.chunks) * item.dtype.itemsize > _MOST_CHUNK_BYTES:
        return f"in chunks of {item.chunks}"
    return f"{item.dtype} {item.shape}"


def _absent(missing: pd.DataFrame, present: set[str]) -> tuple[Skip, ...]:
    files = missing["trace_file"].astype(object).fillna("its file")
    details = np.where(
        files.isin(present), files + " has no row for it", files + " is not in this copy"
    )
    ids = missing["exam_id"].astype(str)
    return tuple(map(Skip, ids, repeat("absent_from_copy"), details.tolist()))


def _notices(
    root: Path, table: pd.DataFrame, is_described: pd.Series, num_phantoms: int
) -> Iterator[str]:
    yield from size_notices(root, found=len(table), published=NUM_EXAMS, things="exams")
    yield (
        f"amplitudes are taken as {MILLIVOLT_PER_UNIT:g} mV a unit; the published descriptions of "
        "the scale disagree, and beats are about twice as tall as in other databases"
    )
    if num_phantoms:
        yield (
            f"{num_phantoms:,} phantom rows with exam_id 0 (one at the end of each part) are no "
            "exams"
        )
    if unknown := int((~is_described).sum()):
        yield f"{unknown:,} exams have no row in {TABLE_FILE}; they have no patient and no labels"
    moved = table[is_described & (table["trace_file"] != table["file"])]
    if len(moved):
        yield (
            f"{len(moved):,} exams do not lie in the file that {TABLE_FILE} names, such as "
            f"{moved['exam_id'].iloc[0]}, which lies in {moved['file'].iloc[0]}"
        )
