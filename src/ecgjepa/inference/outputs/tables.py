"""Tables of predictions as CSV, Parquet or lines of JSON, written in parts and put together."""

import csv
import io
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from ecgjepa.inference.outputs.requests import check_suffix
from ecgjepa.inference.prediction import Prediction
from ecgjepa.inference.schema import Cell, PredictionSchema

SUFFIXES = (".csv", ".parquet", ".jsonl")
_ROWS = "rows"


class TableFormat(NamedTuple):
    """How predictions are written.

    Attributes:
        write: Writes predictions into the folder of a part.
        merge: Writes a table from the folders of its parts.
        reuse: Writes the rows of a finished table into the folder of a part.
    """

    write: Callable[[Sequence[Prediction], Path], None]
    merge: Callable[[IO[bytes], Sequence[Path]], None]
    reuse: Callable[[Path, Path], None]


def table_format(out: Path, schema: PredictionSchema) -> TableFormat:
    """Return how a table is written: its name says it, and the schema its columns.

    Raises:
        OutputError: If the name ends in none of `SUFFIXES`.
    """
    match check_suffix(out, SUFFIXES):
        case ".csv":
            return _as_csv(schema)
        case ".jsonl":
            return _as_lines(schema)
        case _:
            return _as_parquet(schema)


def _as_csv(schema: PredictionSchema) -> TableFormat:
    """Return CSV: UTF-8, commas, ``true`` and ``false``, nothing where nothing is known."""

    def write(predictions: Sequence[Prediction], folder: Path) -> None:
        rows = (schema.row(prediction).values() for prediction in predictions)
        _write_text(folder, _csv_lines([[_as_text(cell) for cell in row] for row in rows]))

    head = _csv_lines([[column.name for column in schema.columns]]).encode()

    def merge(stream: IO[bytes], parts: Sequence[Path]) -> None:
        stream.write(head)
        _join(stream, parts)

    return TableFormat(write, merge, lambda table, folder: _copy(table, folder, len(head)))


def _as_lines(schema: PredictionSchema) -> TableFormat:
    def write(predictions: Sequence[Prediction], folder: Path) -> None:
        contents = map(schema.content, predictions)
        lines = (json.dumps(each, ensure_ascii=False, allow_nan=False) for each in contents)
        _write_text(folder, "".join(f"{line}\n" for line in lines))

    return TableFormat(write, _join, _copy)


def _as_parquet(schema: PredictionSchema) -> TableFormat:
    import pyarrow as pa  # takes longer to import than a prediction takes
    import pyarrow.parquet as pq

    types = {"string": pa.string(), "float64": pa.float64(), "bool": pa.bool_()}
    types["int64"] = pa.int64()
    fields = [
        pa.field(each.name, types[each.type], metadata={"meaning": each.meaning, "unit": each.unit})
        for each in schema.columns
    ]
    columns = pa.schema(fields)

    def write(predictions: Sequence[Prediction], folder: Path) -> None:
        rows = [schema.row(prediction) for prediction in predictions]
        pq.write_table(pa.Table.from_pylist(rows, schema=columns), folder / _ROWS)

    def merge(stream: IO[bytes], parts: Sequence[Path]) -> None:
        with pq.ParquetWriter(stream, columns) as writer:
            for part in parts:
                writer.write_table(pq.read_table(part / _ROWS, schema=columns))

    return TableFormat(write, merge, _copy)


def _as_text(cell: Cell) -> str:
    if isinstance(cell, bool):
        return "true" if cell else "false"
    return "" if cell is None else str(cell)


def _csv_lines(rows: Sequence[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _write_text(folder: Path, text: str) -> None:
    (folder / _ROWS).write_bytes(text.encode())


def _copy(table: Path, folder: Path, skipped: int = 0) -> None:
    with table.open("rb") as stream, (folder / _ROWS).open("wb") as rows:
        stream.seek(skipped)
        shutil.copyfileobj(stream, rows)


def _join(stream: IO[bytes], parts: Sequence[Path]) -> None:
    for part in parts:
        with (part / _ROWS).open("rb") as rows:
            shutil.copyfileobj(rows, stream)
