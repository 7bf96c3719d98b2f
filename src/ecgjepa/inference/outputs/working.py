"""Have the parts of an output made: in this process, or by the workers of joblib's backend."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from ecgjepa.engine.pieces import do_pieces
from ecgjepa.engine.workforce import Workforce, choose_workforce
from ecgjepa.inference.inputs.records import Files, Inputs
from ecgjepa.inference.inputs.state import changed_after
from ecgjepa.inference.inputs.stored import StoredRecords
from ecgjepa.inference.outputs.finished import Start
from ecgjepa.inference.outputs.parts import Parts, writing
from ecgjepa.inference.outputs.requests import PART_SECONDS, Progress
from ecgjepa.inference.outputs.written import Written
from ecgjepa.model.compute import computing_with

Item = TypeVar("Item")
# Inputs that a worker is given at a time. Fewer leave no worker without work at the end, more fill
# the batches of the model better.
PIECE_INPUTS = 128


class Making(NamedTuple):
    """How a span of an output is made.

    Attributes:
        parts: Parts of the output.
        first: Number of the first input of the span.
        most: Inputs of a part, at most.
        seconds: Seconds' work of a part, at most. A worker does not look at the clock: two that
            make the same span make the same parts.
        tell: Called for each input that is done.
    """

    parts: Parts
    first: int
    most: int
    seconds: float
    tell: Callable[[], None]


# Writes the parts of some inputs; can be pickled.
Make = Callable[[Inputs, Making], None]


class Course(NamedTuple):
    """How an output is worked on; what it holds does not depend on it.

    Attributes:
        restart: Begin anew, whatever a killed or finished run of this request has left.
        overwrite: Replace a finished output, whatever it is of.
        part_inputs: Inputs of a part, at most.
        workers: Pieces that are worked on at a time; None for one, or what joblib is set to.
        progress: Called with the number of inputs that are done, and of all.
    """

    restart: bool
    overwrite: bool
    part_inputs: int
    workers: int | None
    progress: Progress | None


def fulfil(
    request: dict[str, Any],
    inputs: Inputs,
    out: Path,
    make: Make,
    course: Course,
    finish: Callable[[Parts], Written],
    start: Start | None = None,
) -> Written:
    """Make what is missing of an output, and put its parts together.

    Args:
        request: What the output is of.
        inputs: All inputs.
        out: The output.
        make: Makes some of it.
        course: How it is worked on.
        finish: Puts the parts together, once all are there.
        start: Output that is there, if it may be the beginning of this one.

    Raises:
        OutputError: If the output is another request's, or being written.
    """
    newer = partial(changed_after, inputs)
    options = {"restart": course.restart, "overwrite": course.overwrite}
    with writing(out, request, newer, **options, start=start) as parts:
        if isinstance(parts, Written):
            return parts
        _make_parts(make, inputs, parts, course)
        return finish(parts)


def _make_parts(make: Make, inputs: Inputs, parts: Parts, course: Course) -> None:
    done, total = parts.num_resumed, parts.total

    def count(number: int) -> None:
        nonlocal done
        done += number
        if course.progress is not None:
            course.progress(done, total)

    piece = min(course.part_inputs, PIECE_INPUTS)
    missing = parts.missing()
    number = sum(-(-(stop - first) // piece) for first, stop in missing)
    workforce = choose_workforce(course.workers, number, worthwhile=1)
    if not workforce.is_here:
        _hand_out(make, inputs, parts, _spans(missing, piece), workforce, count)
        return
    for first, stop in _spans(missing, course.part_inputs):
        how = Making(parts, first, course.part_inputs, PART_SECONDS, partial(count, 1))
        make(_cut(inputs, first, stop), how)


def telling(rows: Iterable[Item], tell: Callable[[], None]) -> Iterator[Item]:
    """Yield rows, and tell of each that it is done."""
    for row in rows:
        yield row
        tell()


def _spans(missing: Iterable[tuple[int, int]], size: int) -> list[tuple[int, int]]:
    """Cut what is missing at the multiples of a size, so that a resumed run has the same spans."""
    found = []
    for first, stop in missing:
        while first < stop:
            end = min(stop, (first // size + 1) * size)
            found.append((first, end))
            first = end
    return found


def _hand_out(
    make: Make,
    inputs: Inputs,
    parts: Parts,
    spans: list[tuple[int, int]],
    workforce: Workforce,
    count: Callable[[int], None],
) -> None:
    do_pieces(
        partial(
            _make,
            make=make,
            out=parts.out,
            request=parts.request,
            threads=workforce.threads,
        ),
        range(len(spans)),
        lambda number: (spans[number], _cut(inputs, *spans[number])),
        at_once=workforce.at_once,
        is_done=lambda number: not parts.missing(*spans[number]),
        finished=lambda number: count(spans[number][1] - spans[number][0]),
        noun="part",
        threads=workforce.threads,
    )


def _make(
    piece: tuple[tuple[int, int], Inputs],
    make: Make,
    out: Path,
    request: dict[str, Any],
    threads: int,
) -> None:
    """Make what is missing of a span, in a worker."""
    (start, end), inputs = piece
    parts = Parts(out, request)
    with computing_with(threads):
        for first, stop in parts.missing(start, end):
            how = Making(parts, first, end - start, float("inf"), lambda: None)
            make(_cut(inputs, first - start, stop - start), how)


def _cut(inputs: Inputs, first: int, stop: int) -> Inputs:
    """Return some of the inputs, from one to before another."""
    sections: list[Files | StoredRecords] = []
    for section in inputs.sections:
        number = len(section.names)
        begin, end = min(max(first, 0), number), min(max(stop, 0), number)
        if begin < end and isinstance(section, Files):
            sections.append(Files(section.names[begin:end]))
        elif begin < end and isinstance(section, StoredRecords):
            sections.append(section.part(begin, end))
        first, stop = first - number, stop - number
    return Inputs(tuple(sections))
