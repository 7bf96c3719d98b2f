"""A finished output: what it is of, whether it is another request's, and what it may begin."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ecgjepa.claims import differences
from ecgjepa.errors import OutputError
from ecgjepa.files import read_versioned, sha256_of_file, write_json
from ecgjepa.inference.outputs.written import Failure, Written

FORMAT_VERSION = 1
SUMMARY = ".summary.json"
_REMEDY = "Choose another file, or replace this one with --overwrite"

Write = Callable[[Path], None]
# Returns the inputs' files that were written after a time in ns.
Newer = Callable[[int], list[str]]


class Start(NamedTuple):
    """A finished output that another one begins with.

    Attributes:
        inputs: What its request tells of its inputs, which are the first ones of the other.
        write: Writes its rows into the folder of a part.
    """

    inputs: dict[str, Any]
    write: Write


def summary_file(out: Path) -> Path:
    """Return the file that says what an output is of."""
    return out.with_name(out.name + SUMMARY)


def is_unchanged(out: Path) -> bool:
    """Return whether an output is the file that its summary is of."""
    try:
        content, _ = read_versioned(summary_file(out), (FORMAT_VERSION,), OutputError)
    except OutputError:
        return False
    return out.is_file() and content.get("sha256") == sha256_of_file(out)


def failures_of(out: Path) -> list[Failure]:
    """Return the inputs of a finished output without a result."""
    return [Failure(**each) for each in _summary_of(out)["failures"]]


def number_of_inputs(out: Path) -> int:
    """Return the number of inputs of a finished output."""
    return int(_summary_of(out)["inputs"])


def _summary_of(out: Path) -> dict[str, Any]:
    return read_versioned(summary_file(out), (FORMAT_VERSION,), OutputError, remedy=_REMEDY)[0]


def finished(out: Path, request: Mapping[str, Any], newer: Newer, is_anew: bool) -> Written | None:
    """Return what a finished output holds, or None if it is to be written.

    Raises:
        OutputError: If it is another request's, and may not be replaced.
    """
    if not out.exists():
        return None
    if not (place := summary_file(out)).is_file():
        raise OutputError(f"{out}: is there already, and nothing tells what it is of. {_REMEDY}")
    content, _ = read_versioned(place, (FORMAT_VERSION,), OutputError, remedy=_REMEDY)
    try:
        failures = tuple(Failure(**each) for each in content["failures"])
        total, rows, notices = content["inputs"], content["rows"], tuple(content["notices"])
        there, sha256 = content["request"], content["sha256"]
    except (KeyError, TypeError):
        raise OutputError(f"{place}: damaged. {_REMEDY}") from None
    found = differences(there, json.loads(json.dumps(request)))
    is_changed = sha256 != sha256_of_file(out)
    words = "" if is_changed else changed_files(found, place, newer)
    if not is_changed and (not found or words) and is_anew:
        return None
    if not found and not is_changed:
        return Written(out, total, rows, failures, notices, num_resumed=total)
    if words:
        raise OutputError(f"{out}: {words} it was written; --overwrite makes it anew")
    words = "was changed since it was written" if is_changed else _other(found, there, request)
    raise OutputError(f"{out}: is there already, and {words}. {_REMEDY}")


def _other(found: list[str], there: Mapping[str, Any], request: Mapping[str, Any]) -> str:
    """Return in what an output differs from a request; of the inputs, their number is enough."""
    before, now = (one.get("inputs") for one in (there, request))
    if not isinstance(before, dict) or not isinstance(now, Mapping):
        return f"differs in {'; '.join(found)}"
    others = [line for line in found if not line.startswith("inputs.")]
    numbers = [one.get("number") for one in (before, now)]
    if len(others) < len(found) and numbers[0] != numbers[1]:
        others.append(f"inputs ({numbers[0]:,} records there, {numbers[1]:,} asked for)")
    elif len(others) < len(found):
        others.append(f"inputs ({numbers[0]:,} records in both, but not the same)")
    return f"differs in {'; '.join(others)}"


def changed_files(found: list[str], place: Path, newer: Newer) -> str:
    """Return that input files have changed, if requests differ in nothing else, or no words."""
    if len(found) != 1 or not found[0].startswith("inputs.files"):
        return ""
    if not (files := newer(place.stat().st_mtime_ns)):  # replaced by older ones, or gone
        return "sizes or times of input files have changed since"
    words = "1 input file has" if len(files) == 1 else f"{len(files):,} input files have"
    return f"{words} changed, such as {files[0]}, since"


def write_summary(written: Written, request: Mapping[str, Any]) -> None:
    """Write the file beside an output that says what it is of."""
    content = {
        "format_version": FORMAT_VERSION,
        "file": written.path.name,
        "sha256": sha256_of_file(written.path),
        "inputs": written.num_inputs,
        "rows": written.num_rows,
        "with_result": written.num_used,
        "failed": written.reasons,
        "failures": [vars(failure) for failure in written.failures],
        "notices": list(written.notices),
        "request": dict(request),
    }
    write_json(summary_file(written.path), content)


class Beginning(NamedTuple):
    """What is known of a finished output with which another one begins.

    Attributes:
        num_rows: Its rows.
        failures: Its inputs without a result.
    """

    num_rows: int
    failures: list[Failure]


def beginning(out: Path, request: Mapping[str, Any], start: Start | None) -> Beginning | None:
    """Return what is known of a finished output that is the beginning of another, or None."""
    if start is None or not summary_file(out).is_file():
        return None
    content, _ = read_versioned(summary_file(out), (FORMAT_VERSION,), OutputError, remedy=_REMEDY)
    try:
        same = content["request"] == json.loads(json.dumps({**request, "inputs": start.inputs}))
        failures = [Failure(**each) for each in content["failures"]]
        found = Beginning(int(content["rows"]), failures)
        return found if same and content["sha256"] == sha256_of_file(out) else None
    except (KeyError, TypeError):
        return None  # `finished` says that it is damaged.
