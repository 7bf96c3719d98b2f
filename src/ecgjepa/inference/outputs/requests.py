"""What an output is of: a model, its options, and a list of inputs, told apart by hashes."""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ecgjepa.errors import InputError, OutputError
from ecgjepa.files import sha256_of_file
from ecgjepa.inference.inputs.named import find_inputs
from ecgjepa.inference.inputs.records import Inputs
from ecgjepa.inference.inputs.state import hash_of_state
from ecgjepa.model.folder import CONFIG_FILE

Item = TypeVar("Item")
Progress = Callable[[int, int], None]

# Inputs, seconds and bytes after which a part is written: no more is lost when a run is killed.
PART_INPUTS, PART_SECONDS, PART_BYTES = 512, 20.0, 64_000_000


def describe_request(
    what: str,
    model: Path,
    inputs: Inputs,
    **options: Any,  # noqa: ANN401
) -> dict[str, Any]:
    """Return what tells an output from others, as content of JSON.

    Args:
        what: Verb that writes it.
        model: Model folder; its description holds the hashes of all of its files.
        inputs: The records. Sizes and times of their files are noted, contents are not read.
        options: All that changes rows.
    """
    return {
        "verb": what,
        "model_sha256": sha256_of_file(model / CONFIG_FILE),
        "inputs": describe_inputs(inputs),
        "options": options,
    }


def describe_inputs(inputs: Inputs) -> dict[str, Any]:
    """Return what tells records from others: names, and sizes and times of their files."""
    names, digest = inputs.names(), hashlib.sha256()
    for name in names:
        digest.update(name.encode(errors="surrogateescape") + b"\0")
    return {
        "number": len(names),
        "sha256": digest.hexdigest(),
        "files": hash_of_state(inputs),
    }


def hash_of_description(description: str | Path | None) -> str | None:
    """Return the hash of the file that describes arrays and tables, if one is given.

    Raises:
        InputError: If there is no such file.
    """
    if description is None:
        return None
    if not (path := Path(description)).is_file():
        raise InputError(f"{path}: no such file; expected one that describes arrays or tables")
    return sha256_of_file(path)


def in_parts(
    items: Iterable[Item],
    num_bytes: Callable[[Item], int] = lambda _: 0,
    most: int = PART_INPUTS,
    seconds: float = PART_SECONDS,
) -> Iterator[list[Item]]:
    """Yield items in lists that are worth writing: enough of them, or enough time's work."""
    waiting: list[Item] = []
    size, since = 0, time.monotonic()
    for item in items:
        waiting.append(item)
        size += num_bytes(item)
        is_late = time.monotonic() - since >= seconds
        if len(waiting) >= most or size >= PART_BYTES or is_late:
            yield waiting
            waiting, size, since = [], 0, time.monotonic()
    if waiting:
        yield waiting


def as_inputs(
    inputs: Iterable[str | Path] | str | Path | Inputs,
    without: Iterable[Path],
    description: str | Path | None,
) -> Inputs:
    """Return what is named as a list of records, without the files of the output."""
    if isinstance(inputs, Inputs):
        return inputs
    several = (inputs,) if isinstance(inputs, str | Path) else inputs
    return find_inputs(several, without=without, description=description)


def check_suffix(out: Path, suffixes: Sequence[str]) -> str:
    """Return how a file's name ends, in lower case.

    Raises:
        OutputError: If that is none of the suffixes.
    """
    suffix = out.suffix.lower()
    if suffix not in suffixes:
        raise OutputError(
            f"{out}: its name ends in {suffix or 'no suffix'}; expected "
            f"{', '.join(suffixes[:-1])} or {suffixes[-1]}, which says how it is written"
        )
    return suffix
