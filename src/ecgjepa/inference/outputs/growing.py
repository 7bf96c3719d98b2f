"""A finished table of predictions grows: of more inputs, only the new ones are predicted.

The rows of the finished table come first, in their order, and those of the new inputs behind them.
It grows only if nothing but the inputs differs, none of its inputs is missing among the new ones,
and none of their files has changed.
"""

import csv
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ecgjepa.inference.inputs.records import Files, Inputs
from ecgjepa.inference.outputs.finished import Start, is_unchanged
from ecgjepa.inference.outputs.requests import describe_inputs
from ecgjepa.inference.outputs.tables import TableFormat


class Grown(NamedTuple):
    """Inputs in the order of their rows, and what is there of them.

    Attributes:
        inputs: Those of the finished table, then the others.
        start: The finished table as a part; None if there is nothing to begin with.
    """

    inputs: Inputs
    start: Start | None


def grown(out: Path, inputs: Inputs, layout: TableFormat) -> Grown:
    """Return inputs as they continue a finished table, if they do.

    Args:
        out: The table.
        inputs: All that are named.
        layout: How the table is written.
    """
    nothing = Grown(inputs, None)
    if not is_unchanged(out):
        return nothing  # Whatever else lies there need not be a table.
    if not all(isinstance(section, Files) for section in inputs.sections):
        return nothing  # The records of a store have the order of the store.
    there, named = list(_names_in(out)), inputs.names()
    known = set(there)
    if len(known) < len(there) or not known <= set(named):
        return nothing
    earlier = Inputs((Files(there),))
    names = [*there, *(name for name in named if name not in known)]
    ordered = Inputs((Files(names),), inputs.notices)
    if len(names) == len(there):
        return Grown(ordered, None)
    return Grown(ordered, Start(describe_inputs(earlier), partial(layout.reuse, out)))


def _names_in(out: Path) -> Iterator[str]:
    """Yield the file of each row of a table."""
    match out.suffix.lower():
        case ".csv":
            with out.open(encoding="utf-8", newline="") as stream:
                yield from (row.get("file") or "" for row in csv.DictReader(stream))
        case ".jsonl":
            with out.open(encoding="utf-8") as stream:
                yield from (str(json.loads(line).get("file")) for line in stream)
        case _:
            import pyarrow.parquet as pq  # takes longer to import than a prediction takes

            yield from pq.read_table(out, columns=["file"]).column(0).to_pylist()
