"""What a terminal shows of a table that was written: rows, failures by reason, what is next."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ecgjepa.terminal.screen import as_records, print_line, print_wrapped

if TYPE_CHECKING:  # the terminal must not import torch just to print
    from ecgjepa.inference.outputs.written import Written


def written_as_json(written: "Written") -> dict[str, Any]:
    """Return what was written as JSON content."""
    return {
        "out": str(written.path),
        "records": written.num_inputs,
        "rows": written.num_rows,
        "with_result": written.num_used,
        "resumed": written.num_resumed,
        "failed": written.reasons,
        "failures": [
            {"file": one.file, "reason": one.reason, "error": one.error} for one in written.failures
        ],
        "notices": list(written.notices),
    }


def print_notices(notices: Iterable[str]) -> None:
    """Print what was found among the inputs and is not a record."""
    for notice in notices:
        print_wrapped("note", notice)


def print_written(written: "Written", done: str) -> None:
    """Print what a table holds, and why records have no result.

    Args:
        written: The table.
        done: What was done to the records, such as ``predicted``.
    """
    print(f"{written.num_used:,} of {as_records(written.num_inputs)} {done}")
    if written.num_resumed:
        print(f"  {as_records(written.num_resumed)} of them by an earlier run")
    if written.num_resumed == written.num_inputs:
        print("  nothing was computed; --overwrite makes it anew")
    for reason, count in written.reasons.items():
        first = next(each for each in written.failures if each.reason == reason)
        print_wrapped(f"  {count:,} {reason.replace('_', ' ')}, such as", first.error)
    print_notices(written.notices)
    rows = "1 row" if written.num_rows == 1 else f"{written.num_rows:,} rows"
    print_line(f"{written.path}: {rows}")
