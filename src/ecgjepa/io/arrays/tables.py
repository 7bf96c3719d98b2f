"""Tables with a column a lead: text (``.csv``, ``.tsv``, ``.txt``) and Parquet."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from ecgjepa.errors import LeadError, RecordError, RecordFormatError
from ecgjepa.io.arrays.columns import Choice, choose_columns, is_counted, rate_of_time
from ecgjepa.io.arrays.description import Description, find_description, not_described
from ecgjepa.io.arrays.layout import record_of_columns
from ecgjepa.io.arrays.text import MISSING, Layout, decode, find_layout
from ecgjepa.io.content import accept_size
from ecgjepa.io.opening import open_file, read_bytes
from ecgjepa.signals.record import Issue, Record

# A row of twelve leads takes some 80 characters: more than half an hour at 500 Hz.
_MOST_TEXT = 100_000_000
_SMALL_PARQUET = 16_000_000
_BLANKS = re.compile(r"[ \t]+")
_MISSING = [*MISSING, *(word.upper() for word in MISSING), "NaN", "Inf", "-Inf", "None", "Null"]
Content = bytes | memoryview


def read_text(path: Path, place: Path | None = None) -> Record:
    """Read a table of text; how it is written is found from its first lines.

    Args:
        path: The file.
        place: Its description; None for the one beside it, or for none if the names of its
            columns tell all.

    Returns:
        The leads in mV; cells that hold no finite number are invalid.

    Raises:
        RecordFormatError: If it is not described, or not a table of numbers.
        LeadError: If a lead has no column, or no column is a lead.
        UnitError: If the unit is not a voltage.
    """
    described = find_description(path, place)
    content = read_bytes(path, _MOST_TEXT)
    try:
        text = decode(path, content)
        layout = find_layout(path, text)
    except RecordError:
        if described is None:  # It may be any file: nothing says that it is an ECG.
            raise not_described(path) from None
        raise
    body = _body(content, text, layout)
    del content, text
    if layout.names is None:
        if described is None:
            raise not_described(path)
        return _without_names(path, body, layout, described)
    choice, described = _choose(path, layout.names, described)
    wanted = {*choice.positions, *([choice.time.position] if choice.time else [])}
    columns = _parse(path, body, layout, wanted)
    return _from_columns(path, columns, choice, described)


def read_parquet(path: Path, place: Path | None = None) -> Record:
    """Read a Parquet file with a column a lead; arguments and errors as `read_text`."""
    import pyarrow as pa
    from pyarrow import parquet

    described = find_description(path, place)
    # From memory, and by one thread, twice as fast; only large files are worth anything else.
    is_small = path.stat().st_size <= _SMALL_PARQUET
    with (
        pa.BufferReader(read_bytes(path)) if is_small else open_file(path) as stream,
        parquet.ParquetFile(stream, pre_buffer=not is_small) as file,
    ):
        schema, num_rows = file.schema_arrow, file.metadata.num_rows
        choice, described = _choose(path, schema.names, described)
        wanted = [*choice.positions, *([choice.time.position] if choice.time else [])]
        # Runs of equal values take no room in the file.
        accept_size(path, num_rows, len(wanted))
        _require_numbers(path, schema, choice.positions)
        wanted = [each for each in wanted if _is_numeric(schema.field(each).type)]
        # By name: columns that are not read take no memory, whatever they hold.
        names = [schema.names[each] for each in dict.fromkeys(wanted)]
        table = file.read(columns=names, use_threads=not is_small)
    columns = {each: _numbers(table.column(schema.names[each])) for each in wanted}
    return _from_columns(path, columns, choice, described)


def _choose(
    path: Path, names: Sequence[str], described: Description | None
) -> tuple[Choice, Description]:
    """Return the columns that are used, and what describes them: at least their own names.

    Raises:
        RecordFormatError: If nothing describes the file, and its names do not tell all.
        LeadError: As `choose_columns`.
        UnitError: As `choose_columns`.
    """
    if described is not None:
        return choose_columns(path, names, described), described
    nothing = Description(path)
    try:
        choice = choose_columns(path, names, nothing)
    except LeadError:
        raise not_described(path) from None
    if choice.lacking:
        raise not_described(path, *choice.lacking)
    return choice, nothing


def _from_columns(
    path: Path,
    columns: dict[int, Float64[np.ndarray, " samples"]],
    choice: Choice,
    described: Description,
) -> Record:
    time, rate = choice.time, None
    if time is not None and time.position in columns:
        rate = rate_of_time(path, time, columns[time.position], described.sampling_rate)
    values = _side_by_side([columns[position] for position in choice.positions])
    return record_of_columns(
        path, values, choice.leads, described, unit=choice.unit, sampling_rate=rate,
        issues=choice.issues(),
    )  # fmt: skip


def _side_by_side(
    columns: list[Float64[np.ndarray, " samples"]],
) -> Float64[np.ndarray, "samples leads"]:
    """Return columns as one array, without another array of each."""
    values = np.empty((len(columns[0]), len(columns)))
    for place, column in enumerate(columns):
        values[:, place] = column
    return values


def _without_names(path: Path, body: Content, layout: Layout, described: Description) -> Record:
    """Read a table without a line of names, whose leads the description tells in their order."""
    leads, num_columns = described.leads, layout.num_columns
    if leads is None or num_columns not in (len(leads), len(leads) + 1):
        told = "no leads" if leads is None else f"{len(leads)} leads"
        raise LeadError(
            f"{path}: has {num_columns} columns and no line of names, and its description tells "
            f"{told}; expected a lead for each column"
        )
    columns = _parse(path, body, layout, set(range(num_columns)))
    issues: list[Issue] = []
    first = num_columns - len(leads)
    if first:
        if not is_counted(columns[0]):
            raise LeadError(
                f"{path}: has {num_columns} columns, of which the first is neither time nor a "
                f"count, but its description tells {len(leads)} leads"
            )
        issues.append(Issue("other_channel", "column 1, a time or count, is not used"))
    values = _side_by_side([columns[first + each] for each in range(len(leads))])
    return record_of_columns(path, values, leads, described, issues=issues)


def _body(content: bytes, text: str, layout: Layout) -> Content:
    """Return the rows of values of a table in UTF-8, cells apart by the layout's delimiter or tabs.

    Args:
        content: Of the file.
        text: The same, decoded, with lines that end in line feeds.
        layout: How it is written.
    """
    at = 0
    for _ in range(layout.first):
        at = text.index("\n", at) + 1
    if layout.delimiter == " ":
        lines = (_BLANKS.sub("\t", line.strip()) for line in text[at:].splitlines())
        return "\n".join(lines).encode()
    # As nearly all are written: what was read is what is to be parsed.
    is_plain = text.isascii() and len(text) == len(content) and b"\r" not in content
    return memoryview(content)[at:] if is_plain else text[at:].encode()


def _parse(
    path: Path, body: Content, layout: Layout, wanted: set[int]
) -> dict[int, Float64[np.ndarray, " samples"]]:
    """Return the wanted columns, NaN where a cell is empty."""
    import pyarrow as pa
    from pyarrow import csv

    names = [str(position) for position in range(layout.num_columns)]
    chosen = [names[position] for position in sorted(wanted)]
    try:
        table = csv.read_csv(
            pa.BufferReader(body),
            csv.ReadOptions(column_names=names, use_threads=False),
            csv.ParseOptions(delimiter="\t" if layout.delimiter == " " else layout.delimiter),
            csv.ConvertOptions(
                column_types=dict.fromkeys(chosen, pa.float64()),
                include_columns=chosen,
                null_values=_MISSING,
                decimal_point=layout.decimal,
            ),
        )
    except pa.ArrowInvalid as error:
        raise RecordFormatError(
            f"{path}: after line {layout.first}: {str(error)[:500]}; expected "
            f"{layout.num_columns} numbers a row, separated by {layout.delimiter!r}, with "
            f"{layout.decimal!r} as decimal sign"
        ) from None
    return {position: _numbers(table.column(str(position))) for position in wanted}


def _numbers(column: Any) -> Float64[np.ndarray, " samples"]:  # noqa: ANN401
    """Return a column as numbers, NaN where there is none."""
    import pyarrow as pa

    if column.null_count:
        column = column.cast(pa.float64(), safe=False)
    return column.to_numpy().astype(np.float64, copy=False)


def _require_numbers(path: Path, schema: Any, positions: list[int]) -> None:  # noqa: ANN401
    for position in positions:
        field = schema.field(position)
        if not _is_numeric(field.type):
            raise RecordFormatError(f"{path}: column {field.name} holds {field.type} values")
    twice = {name for name in schema.names if schema.names.count(name) > 1}
    if used := sorted({schema.names[position] for position in positions} & twice):
        raise LeadError(f"{path}: column {used[0]} appears twice")


def _is_numeric(kind: Any) -> bool:  # noqa: ANN401
    import pyarrow as pa

    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_null(kind)
