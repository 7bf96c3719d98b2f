"""Finished features as the first part of an output that grows: read back without the whole memory.

The files of `ecgjepa.inference.outputs.arrays` become the files of one of its parts.
"""

import csv
import itertools
import shutil
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from jaxtyping import Shaped

from ecgjepa.errors import OutputError
from ecgjepa.inference.outputs.arrays import VALUES, Ids, Layout, write_ids
from ecgjepa.inference.outputs.parts import ids_file

_ROWS = 1 << 16
_COPIED = 1 << 20
_TYPES = {"start": np.float64, "token": np.int64}


def read_ids(out: Path, layout: Layout) -> Ids:
    """Return what the rows of a finished output are of.

    Raises:
        OutputError: If it is not an output of this layout.
    """
    try:
        match out.suffix.lower():
            case ".npz":
                return _ids_of_npz(out, layout)
            case ".npy":
                return _grouped(_lines_beside(out, layout), layout)
            case _:
                return _grouped(_rows_of_parquet(out, layout), layout)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise OutputError(f"{out}: not readable as features: {error}") from None


def reuse(out: Path, layout: Layout, folder: Path) -> None:
    """Write the rows of a finished output into the folder of a part.

    Raises:
        OutputError: If it is not an output of this layout.
    """
    ids = read_ids(out, layout)
    write_ids(ids, folder)
    rows = int(ids.counts.sum())
    with (folder / VALUES).open("wb") as stream:
        match out.suffix.lower():
            case ".npz":
                with zipfile.ZipFile(out) as archive, archive.open("features.npy") as member:
                    shutil.copyfileobj(member, stream, _COPIED)
            case ".npy":
                with out.open("rb") as array:
                    shutil.copyfileobj(array, stream, _COPIED)
            case _:
                _copy_parquet(out, layout, stream, rows)
    shape = np.load(folder / VALUES, mmap_mode="r").shape if rows else (0, len(layout.names))
    if shape != (rows, len(layout.names)):
        raise OutputError(f"{out}: has {shape} features for {rows} rows of {len(layout.names)}")


def _ids_of_npz(out: Path, layout: Layout) -> Ids:
    with np.load(out) as content:
        files = [str(name) for name in content["file"]]
        counts = np.bincount(content["record"], minlength=len(files)).astype(np.int64)
        return Ids(files, counts, {name: content[name] for name in layout.levels[1:]})


def _grouped(rows: Iterable[tuple[Any, ...]], layout: Layout) -> Ids:
    """Return ids of rows, those of a record one after the other."""
    files, counts = [], []
    levels: dict[str, list[Any]] = {name: [] for name in layout.levels[1:]}
    for file, group in itertools.groupby(rows, key=lambda row: row[0]):
        some = list(group)
        files.append(file)
        counts.append(len(some))
        for place, name in enumerate(levels, start=1):
            levels[name] += [row[place] for row in some]
    arrays = {name: np.array(values, _TYPES[name]) for name, values in levels.items()}
    return Ids(files, np.array(counts, np.int64), arrays)


def _lines_beside(out: Path, layout: Layout) -> Iterator[tuple[Any, ...]]:
    with ids_file(out).open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            yield tuple(row[name] for name in layout.levels)


def _rows_of_parquet(out: Path, layout: Layout) -> Iterator[tuple[Any, ...]]:
    import pyarrow.parquet as pq  # takes longer to import than a record takes

    with pq.ParquetFile(out) as file:
        for batch in file.iter_batches(_ROWS, columns=list(layout.levels)):
            columns = (batch.column(name).to_pylist() for name in layout.levels)
            yield from zip(*columns, strict=True)


def _copy_parquet(out: Path, layout: Layout, stream: IO[bytes], rows: int) -> None:
    """Write the features of a table as an array, some rows at a time."""
    import pyarrow.parquet as pq

    head = {
        "descr": np.lib.format.dtype_to_descr(layout.dtype),
        "fortran_order": False,
        "shape": (rows, len(layout.names)),
    }
    np.lib.format.write_array_header_1_0(stream, head)
    with pq.ParquetFile(out) as file:
        for batch in file.iter_batches(_ROWS, columns=layout.names):
            stream.write(_values(batch, layout).tobytes())


def _values(batch: Any, layout: Layout) -> Shaped[np.ndarray, "rows features"]:  # noqa: ANN401
    columns = [batch.column(name).to_numpy(zero_copy_only=False) for name in layout.names]
    return np.stack(columns, axis=1).astype(layout.dtype, copy=False)
