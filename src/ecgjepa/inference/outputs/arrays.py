"""Features as Parquet or NumPy arrays, written in parts and put together row by row.

- ``.parquet``: a table with the column ``file``, of windows and tokens ``start`` and ``token``, and
  a column for each feature.
- ``.npy``: the array, with what its rows are of in ``.ids.csv`` beside it.
- ``.npz``: array ``features``; ``file``, the names of the records; ``record``, the place of each
  row's record among them; of windows and tokens ``start`` and ``token``.
"""

import csv
import shutil
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from ecgjepa.errors import FeatureError
from ecgjepa.files import replacing
from ecgjepa.inference.encoding import Encoded
from ecgjepa.inference.outputs.parts import ids_file

SUFFIXES = (".parquet", ".npz", ".npy")
# Files of a part.
VALUES, _IDS = "values.npy", "ids.npz"
_COPIED = 1 << 20


@runtime_checkable
class _Writable(Protocol):
    """A file, or a member of an archive."""

    def write(self, content: bytes, /) -> int: ...


class Layout(NamedTuple):
    """What the arrays of an output look like.

    Attributes:
        names: Name of each feature.
        levels: What a row is of: ``file``, then ``start``, then ``token``.
        dtype: ``float32`` or ``float16``.
    """

    names: list[str]
    levels: tuple[str, ...]
    dtype: np.dtype[Any]


class Ids(NamedTuple):
    """What the rows of a part are of.

    Attributes:
        files: Its records with rows.
        counts: Rows of each of them.
        levels: ``start`` and ``token`` of each row, where rows are not of records.
    """

    files: list[str]
    counts: np.ndarray
    levels: dict[str, np.ndarray]


def write_part(some: Sequence[tuple[str, Encoded]], layout: Layout, folder: Path) -> None:
    """Write features of some records into the folder of a part.

    Raises:
        FeatureError: If one is too large for half precision.
    """
    rows = [each.values for _, each in some] or [np.empty((0, len(layout.names)), np.float32)]
    values = np.concatenate(rows)
    with np.errstate(over="ignore"):
        kept = values.astype(layout.dtype)
    if not np.isfinite(kept).all():
        raise FeatureError(
            f"a feature of {np.abs(values).max():.3g} is too large for {layout.dtype}; write "
            "float32"
        )
    np.save(folder / VALUES, kept)
    levels = {}
    if "start" in layout.levels:
        levels["start"] = _joined([each.starts for _, each in some])
    if "token" in layout.levels:
        levels["token"] = _joined([each.tokens for _, each in some])
    counts = np.array([len(each.values) for _, each in some], np.int64)
    write_ids(Ids([file for file, _ in some], counts, levels), folder)


def write_ids(ids: Ids, folder: Path) -> None:
    """Write into the folder of a part what its rows are of."""
    # A name may hold bytes that are not UTF-8, which text of NumPy cannot.
    names = "\0".join(map(_clean, ids.files)).encode()
    files = np.frombuffer(names, np.uint8)
    np.savez(folder / _IDS, allow_pickle=False, files=files, counts=ids.counts, **ids.levels)


def _joined(levels: Sequence[np.ndarray | None]) -> np.ndarray:
    return np.concatenate([level for level in levels if level is not None] or [np.empty(0)])


def merge(stream: IO[bytes], parts: Sequence[Path], out: Path, layout: Layout) -> None:
    """Write the output from the folders of its parts, one part at a time."""
    writers: dict[str, Callable[[], None]] = {
        ".parquet": lambda: _merge_parquet(stream, parts, layout),
        ".npz": lambda: _merge_npz(stream, parts, layout),
        ".npy": lambda: _merge_npy(stream, parts, out, layout),
    }
    writers[out.suffix.lower()]()


def _merge_parquet(stream: IO[bytes], parts: Sequence[Path], layout: Layout) -> None:
    import pyarrow as pa  # takes longer to import than a record takes
    import pyarrow.parquet as pq

    types = {"file": pa.string(), "start": pa.float64(), "token": pa.int64()}
    value_type = pa.from_numpy_dtype(layout.dtype)
    fields = [(name, types[name]) for name in layout.levels]
    schema = pa.schema([*fields, *((name, value_type) for name in layout.names)])
    with pq.ParquetWriter(stream, schema) as writer:
        for part in parts:
            ids, values = _read_ids(part, layout), np.load(part / VALUES)
            columns = [pa.array(np.repeat(np.array(ids.files, object), ids.counts), pa.string())]
            columns += [pa.array(ids.levels[name], types[name]) for name in layout.levels[1:]]
            columns += [pa.array(np.ascontiguousarray(column)) for column in values.T]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))


def _merge_npy(stream: IO[bytes], parts: Sequence[Path], out: Path, layout: Layout) -> None:
    with replacing(ids_file(out)) as ids_stream:
        for text in _id_lines(parts, layout):
            ids_stream.write(text)
    _write_array(stream, parts, layout)


def _merge_npz(stream: IO[bytes], parts: Sequence[Path], layout: Layout) -> None:
    every = [_read_ids(part, layout) for part in parts]
    files = [file for ids in every for file in ids.files]
    counts = np.concatenate([ids.counts for ids in every])
    arrays = {
        "file": np.array(files, dtype=np.str_) if files else np.empty(0, "<U1"),
        "record": np.arange(len(files), dtype=np.int64).repeat(counts),
        **{name: np.concatenate([ids.levels[name] for ids in every]) for name in layout.levels[1:]},
    }
    with zipfile.ZipFile(stream, "w", allowZip64=True) as archive:
        with archive.open(_member("features"), "w", force_zip64=True) as member:
            _write_array(member, parts, layout)
        for name, array in arrays.items():
            with archive.open(_member(name), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def _member(name: str) -> zipfile.ZipInfo:
    # With one date for all, the same features give the same bytes.
    return zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))


def _write_array(stream: _Writable, parts: Sequence[Path], layout: Layout) -> None:
    """Write the rows of all parts as one array of NumPy's format."""
    rows = sum(int(_read_ids(part, layout).counts.sum()) for part in parts)
    head = {
        "descr": np.lib.format.dtype_to_descr(layout.dtype),
        "fortran_order": False,
        "shape": (rows, len(layout.names)),
    }
    np.lib.format.write_array_header_2_0(stream, head)
    for part in parts:
        with (part / VALUES).open("rb") as values:
            if np.lib.format.read_magic(values) == (1, 0):
                np.lib.format.read_array_header_1_0(values)
            else:  # A finished array that became a part has a head of its own.
                np.lib.format.read_array_header_2_0(values)
            shutil.copyfileobj(values, stream, _COPIED)


def _id_lines(parts: Sequence[Path], layout: Layout) -> Iterator[bytes]:
    yield _csv_line(layout.levels)
    for part in parts:
        ids = _read_ids(part, layout)
        files = (file for file, n in zip(ids.files, ids.counts, strict=True) for _ in range(n))
        levels = [ids.levels[name].tolist() for name in layout.levels[1:]]
        for row in zip(files, *levels, strict=True):
            yield _csv_line(row)


class _Line:
    """Takes a line of CSV where the writer expects a file."""

    def write(self, text: str) -> bytes:
        return text.encode()


def _csv_line(cells: Sequence[object]) -> bytes:
    return csv.writer(_Line(), lineterminator="\n").writerow(cells)


def _read_ids(part: Path, layout: Layout) -> Ids:
    with np.load(part / _IDS) as known:
        names = known["files"].tobytes().decode()
        levels = {name: known[name] for name in layout.levels[1:]}
        return Ids(names.split("\0") if len(known["counts"]) else [], known["counts"], levels)


def _clean(text: str) -> str:
    """Return text that UTF-8 can hold, as `ecgjepa.inference.schema` does."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
