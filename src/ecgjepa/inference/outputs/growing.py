"""A finished output grows: of more inputs, only the new ones are predicted, or encoded.

The rows of the finished output come first, in their order, and those of the new inputs behind them.
It grows only if nothing but the inputs differs, none of its inputs is missing among the new ones,
and none of their files has changed.
"""

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from ecgjepa.inference.inputs.records import Files, Inputs
from ecgjepa.inference.outputs.finished import Start, Write, is_unchanged
from ecgjepa.inference.outputs.requests import describe_inputs


class Grown(NamedTuple):
    """Inputs in the order of their rows, and what is there of them.

    Attributes:
        inputs: Those of the finished output, then the others.
        start: The finished output as a part; None if there is nothing to begin with.
    """

    inputs: Inputs
    start: Start | None


def grown(
    out: Path, inputs: Inputs, names_there: Callable[[], Iterable[str]], write: Write
) -> Grown:
    """Return inputs as they continue a finished output, if they do.

    Args:
        out: The output.
        inputs: All that are named.
        names_there: Returns the inputs of the finished output, in their order.
        write: Writes its rows into the folder of a part.
    """
    nothing = Grown(inputs, None)
    if not is_unchanged(out):
        return nothing  # Whatever else lies there need not be a table.
    if not all(isinstance(section, Files) for section in inputs.sections):
        return nothing  # The records of a store have the order of the store.
    there, named = list(names_there()), inputs.names()
    known = set(there)
    if not there or len(known) < len(there) or not known <= set(named):
        return nothing
    earlier = Inputs((Files(there),))
    names = [*there, *(name for name in named if name not in known)]
    ordered = Inputs((Files(names),), inputs.notices)
    if len(names) == len(there):
        return Grown(ordered, None)
    return Grown(ordered, Start(describe_inputs(earlier), write))


def names_in(out: Path) -> Iterator[str]:
    """Yield the file of each row of a table of predictions."""
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
