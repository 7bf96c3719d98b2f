"""A long output on its way: parts in a folder beside it, put together at the end.

``table.csv.parts/`` says in ``request.json`` what it is for, and holds a folder for each part:
``part-000000000-000000512`` is of the first 512 inputs. A part appears whole or not at all, so a
killed run resumes with those that are missing; workers write them in any order.
``table.csv.summary.json`` says what a finished table is of.
"""

import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from ecgjepa.claims import claim
from ecgjepa.errors import OutputError
from ecgjepa.files import (
    remove_partial,
    replacing,
    replacing_folder,
    temporary_name,
    write_json,
)
from ecgjepa.inference.outputs.finished import (
    FORMAT_VERSION,
    Newer,
    Start,
    Write,
    beginning,
    changed_files,
    finished,
    summary_file,
    write_summary,
)
from ecgjepa.inference.outputs.written import Failure, Written
from ecgjepa.locks import LOCK_FILE, working_in
from ecgjepa.version import __version__

PARTS, IDS = ".parts", ".ids.csv"
_REQUEST, _FACTS = "request.json", "facts.json"
_PART = re.compile(r"part-(\d{9,})-(\d{9,})")

Merge = Callable[[IO[bytes], list[Path]], None]


class Parts:
    """The parts of an output that is being written; `writing` makes one.

    Attributes:
        out: The output.
        request: What the output is of.
        num_resumed: Inputs whose rows are in a part of an earlier run.
    """

    def __init__(self, out: Path, request: Mapping[str, Any]) -> None:
        """Find the parts of an earlier run."""
        self.out = out
        self.request = dict(request)
        self._folder = parts_folder(out)
        self.num_resumed = sum(stop - first for first, stop in self._spans())

    @property
    def total(self) -> int:
        """Number of inputs."""
        return int(self.request["inputs"]["number"])

    def missing(self, first: int = 0, stop: int | None = None) -> list[tuple[int, int]]:
        """Return the spans of inputs whose rows are in no part yet.

        Args:
            first: Inputs before this one are not looked at.
            stop: Neither are those from this one on; None for all.

        Raises:
            OutputError: If a part is not a part of this output.
        """
        stop, found = self.total if stop is None else stop, []
        for begin, end in [*self._spans(), (stop, stop)]:
            if first < min(begin, stop):
                found.append((first, min(begin, stop)))
            first = max(first, end)
        return found

    def _places(self) -> list[Path]:
        return sorted(self._folder.glob("part-*"), key=_bounds)

    def _spans(self) -> list[tuple[int, int]]:
        expected, found = 0, []
        for place in self._places():
            first, stop = _bounds(place)
            if first < expected or stop <= first:
                raise OutputError(
                    f"{place}: expected a part that begins with input {expected} or a later one; "
                    "the folder is damaged. Begin anew with --restart"
                )
            expected = stop
            found.append((first, stop))
        return found

    def add(
        self, first: int, count: int, num_rows: int, failures: list[Failure], write: Write
    ) -> None:
        """Write a part, unless another worker has done so.

        Args:
            first: The first input that it is of.
            count: Inputs that it is of.
            num_rows: Rows that it holds.
            failures: Inputs of it without a result.
            write: Writes its files into a folder.

        Raises:
            OutputError: If another output is being written here by now: of a command that was
                killed, a worker of a cluster may still be at work.
        """
        place = self._folder / f"part-{first:09d}-{first + count:09d}"
        try:
            with replacing_folder(place) as folder:
                write(folder)
                content = {"rows": num_rows, "failures": [vars(failure) for failure in failures]}
                write_json(folder / _FACTS, content)
                self._check_request()
        except OSError:
            if not place.is_dir():
                raise

    def _check_request(self) -> None:
        path = self._folder / _REQUEST
        there = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
        if there != json.loads(json.dumps(self.request)):
            raise OutputError(
                f"{self._folder}: is not, or no longer, of this output. Every worker needs the "
                "same folders under the same names"
            )

    def finish(self, merge: Merge, notices: tuple[str, ...]) -> Written:
        """Put the parts together, write the summary and remove the parts.

        Args:
            merge: Writes the output from the folders of its parts.
            notices: What was found among the inputs and is not a record.
        """
        places = self._places()
        with replacing(self.out) as stream:
            merge(stream, places)
        facts = [json.loads((place / _FACTS).read_text()) for place in places]
        failures = tuple(Failure(**each) for one in facts for each in one["failures"])
        num_rows = sum(one["rows"] for one in facts)
        written = Written(self.out, self.total, num_rows, failures, notices, self.num_resumed)
        write_summary(written, self.request)
        _remove_parts(self._folder)
        return written


@contextmanager
def writing(
    out: Path,
    request: Mapping[str, Any],
    newer: Newer = lambda _: [],
    *,
    restart: bool = False,
    overwrite: bool = False,
    start: Start | None = None,
) -> Iterator[Parts | Written]:
    """Work on an output alone: on its parts, or not at all where it is finished.

    Args:
        out: The output.
        request: JSON content that says what it is of.
        newer: Returns the inputs' files that were written after a time, for messages.
        restart: Give up all parts, and a finished output of this request.
        overwrite: Replace a finished output.
        start: Output that is there, if it may be the beginning of this one.

    Raises:
        OutputError: If another process writes it, if there is an output of another request, or
            parts of one; the message says how they differ.
    """
    request = {"format_version": FORMAT_VERSION, "software_version": __version__, **request}
    folder = parts_folder(out)
    if out.is_dir():
        raise OutputError(f"{out}: is a folder; expected the name of a file to write")
    with working_in(folder, OutputError, "another run"):
        try:
            begun = None if restart or overwrite else beginning(out, request, start)
            if not (folder / _REQUEST).is_file() and begun is None:
                done = None if overwrite else finished(out, request, newer, restart)
                if done is not None:
                    yield done
                    return
            remove_partial(folder)
            remove_partial(out.parent)
            if restart:
                _remove_parts(folder)
            if found := claim(folder / _REQUEST, request):
                if words := changed_files(found, folder / _REQUEST, newer):
                    raise OutputError(f"{folder}: {words} it was begun; --restart begins anew")
                raise OutputError(
                    f"{folder}: was begun with another request, which differs in "
                    f"{'; '.join(found)}. Finish it with the command that began it, or begin anew "
                    "with --restart"
                )
            if begun is not None and start is not None and not any(folder.glob("part-*")):
                number = start.inputs["number"]
                Parts(out, request).add(0, number, begun.num_rows, begun.failures, start.write)
            yield Parts(out, request)
        finally:
            if not any(folder.glob("part-*")):
                (folder / _REQUEST).unlink(missing_ok=True)


def parts_folder(out: Path) -> Path:
    """Return the folder of an output's parts."""
    return out.with_name(out.name + PARTS)


def ids_file(out: Path) -> Path:
    """Return the file beside an ``.npy`` that says what its rows are of."""
    return out.with_name(out.name.removesuffix(out.suffix) + IDS)


def own_files(out: Path) -> tuple[Path, ...]:
    """Return an output and what lies beside it: no inputs, though a folder may hold them."""
    return out, summary_file(out), parts_folder(out), ids_file(out)


def _remove_parts(folder: Path) -> None:
    """Remove parts, the last first, and what they are for; the lock stays."""
    for place in sorted(folder.glob("part-*"), reverse=True):
        # Whoever kills this leaves a part whole or not at all.
        shutil.rmtree(place.replace(temporary_name(place)))
    (folder / _REQUEST).unlink(missing_ok=True)
    for other in folder.iterdir():
        if other.name != LOCK_FILE:
            raise OutputError(f"{other}: is not part of the output; move it away")


def _bounds(place: Path) -> tuple[int, int]:
    match = _PART.fullmatch(place.name)
    if match is None:
        raise OutputError(f"{place}: is not a part of the output; move it away")
    return int(match[1]), int(match[2])
