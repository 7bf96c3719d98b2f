"""Have numbered pieces of work done, whatever happens to those who work on them.

joblib starts and feeds the workers; `joblib.parallel_config` chooses which. What it leaves open is
settled here: a piece is done again when its worker has ended, and after some attempts given up with
a named error; pieces are handed out as workers become free, and no more when one has failed.
"""

import logging
import os
import threading
import time
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any, TypeVar

import joblib
from joblib.parallel import get_active_backend
from threadpoolctl import threadpool_limits

from ecgjepa.engine.workers import begin, work
from ecgjepa.engine.workforce import (
    has_processes,
    has_threads,
    in_short,
    is_of_this_machine,
    never_here,
)
from ecgjepa.errors import EngineError

logger = logging.getLogger(__name__)

Piece = TypeVar("Piece")

# Rounds without a new piece after which nothing better is to be expected.
_PATIENCE = 4
# Seconds in which a network file system shows here what was written elsewhere.
_VISIBLE = 30.0


def do_pieces(
    task: Callable[[Piece], None],
    numbers: Sequence[int],
    piece_of: Callable[[int], Piece],
    *,
    at_once: int | None,
    is_done: Callable[[int], bool],
    finished: Callable[[int], None],
    noun: str = "piece",
    threads: int = 1,
) -> None:
    """Do pieces of work in any order, each at least once, on the workers of joblib's backend.

    A task leaves its result on a disk that all workers share. It may be run more than once for a
    piece, even at the same time: a cluster that has lost sight of a worker gives its pieces to
    others.

    Args:
        task: A function of a module; what it is given and what it raises can be pickled.
        numbers: The pieces.
        piece_of: Returns what the task is given for a piece; called when the piece is handed out.
        at_once: Pieces that are worked on at a time; None for as many as the backend can.
        is_done: Whether the result of a piece lies on the disk.
        finished: Called in this thread, once for each piece that is done.
        noun: What a piece is called in messages.
        threads: Threads of linear algebra for each piece.

    Raises:
        EngineError: If workers ended again and again, or wrote where this process cannot see it.
        Exception: The first that a task raises; pieces that nobody has begun are not done then.
    """
    missing, barren, first_cause = list(numbers), 0, ""
    while missing:
        waiting = set(missing)

        def mark(number: int, waiting: set[int] = waiting) -> None:
            waiting.discard(number)
            finished(number)

        # When one process ends, joblib ends all. A piece that is deadly to its worker therefore
        # takes its neighbours with it, unless it is alone.
        alone = barren > 0
        jobs = (joblib.delayed(work)(task, n, (piece_of(n),), threads) for n in missing)
        cause = _do_once(jobs, len(missing), 1 if alone else at_once, is_done, mark)
        for number in sorted(filter(is_done, waiting)):  # finished, but nobody was left to say so
            mark(number)
        if cause is None and waiting:
            cause = "the workers report them as written, but they cannot be seen here"
        barren = barren + 1 if len(waiting) == len(missing) else 0
        if barren <= 1:  # a broken connection shows as something else later
            first_cause = str(cause)
        missing = [number for number in missing if number in waiting]
        if missing and barren == _PATIENCE:
            raise EngineError(_give_up(noun, missing, first_cause))
        if missing:
            logger.warning("workers failed: %s. Done again: %s", cause, _list(noun, missing))
        if alone and barren:  # the others come first now
            missing = [*missing[1:], missing[0]]


def _do_once(
    jobs: Iterable[Any],
    number_of_jobs: int,
    at_once: int | None,
    is_done: Callable[[int], bool],
    mark: Callable[[int], None],
) -> str | None:
    """Hand each piece out once; return in words what ended the workers, if anything did."""
    backend, _ = get_active_backend()
    with_threads = has_threads(backend)
    is_far = not is_of_this_machine(backend)
    stop = threading.Event()
    outcomes = _outcomes(backend, at_once, number_of_jobs, _until(stop, jobs))
    # BLAS has one limit for a process: threads that each set it would lift it for each other.
    held = threadpool_limits(1) if with_threads else nullcontext()
    try:
        with held, never_here(backend):
            for number, error in outcomes:
                if isinstance(error, _WorkersFault):
                    return str(error)
                if error is not None:
                    raise error
                if is_done(number) or (is_far and _becomes_visible(number, is_done)):
                    mark(number)
    finally:
        stop.set()
        if with_threads:  # They cannot be killed: they end what they are at.
            for _ in outcomes:
                pass
        outcomes.close()
    return None


def _until(stop: threading.Event, jobs: Iterable[Any]) -> Iterator[Any]:
    for job in jobs:
        if stop.is_set():
            return
        yield job


class _WorkersFault(Exception):
    """Not a task has failed, but those who do them."""


def _outcomes(
    backend: Any,  # noqa: ANN401
    at_once: int | None,
    number_of_jobs: int,
    jobs: Iterator[Any],
) -> Generator[tuple[int, Exception | None]]:
    """Yield number and error of each job as it ends; last, if workers fail, number -1 and why."""
    results: Any = None
    try:
        results = iter(_parallel(backend, at_once, number_of_jobs)(jobs))
        for outcome in results:  # noqa: UP028 (which would close them outside of what follows)
            yield outcome
    except Exception as error:
        yield -1, _WorkersFault(f"{type(error).__name__}: {in_short(error)}")
    finally:
        close = getattr(results, "close", None)
        if close is not None:
            with warnings.catch_warnings():  # joblib says that results were left; that is meant
                warnings.simplefilter("ignore", UserWarning)
                close()


def _parallel(backend: Any, at_once: int | None, number_of_jobs: int) -> joblib.Parallel:  # noqa: ANN401
    """Return joblib's `Parallel` with the backend unset, so that the user's choice holds."""
    options: dict[str, Any] = {}
    if has_processes(backend):
        chosen = getattr(backend, "backend_kwargs", {})
        also = (chosen.get("initializer"), chosen.get("initargs", ()))
        options = {"initializer": begin, "initargs": (os.getpid(), *also)}
    # Never one: joblib would do it in this process, to which the last piece may be deadly.
    count = at_once if at_once is None else max(2, at_once)
    if is_of_this_machine(backend):
        options["n_jobs"] = max(2, min(count or 2, number_of_jobs))
    else:
        options["n_jobs"] = -1 if count is None else count
    if at_once is not None and (at_once == 1 or not has_processes(backend)):
        # Dask does not look at n_jobs, but it cannot do what it was not given.
        options["pre_dispatch"] = at_once
    streams = getattr(backend, "supports_return_generator", False)
    return joblib.Parallel(
        return_as="generator_unordered" if streams else "list",
        batch_size=1,  # a worker that ends takes one piece with it
        max_nbytes=None,  # no memory maps in a temporary folder
        **options,
    )


def _becomes_visible(number: int, is_done: Callable[[int], bool]) -> bool:
    end = time.monotonic() + _VISIBLE
    while time.monotonic() < end:
        if is_done(number):
            return True
        time.sleep(0.2)
    return False


def _list(noun: str, numbers: Sequence[int]) -> str:
    some = ", ".join(map(str, numbers[:8])) + (" …" if len(numbers) > 8 else "")
    return f"{noun} {some}" if len(numbers) == 1 else f"{len(numbers)} {noun}s ({some})"


def _give_up(noun: str, missing: Sequence[int], cause: str) -> str:
    return (
        f"workers failed {_PATIENCE} times without finishing one more {noun}: {cause}. Not done: "
        f"{_list(noun, missing)}. Was a worker out of memory? What is finished is kept: run the "
        "same command again to resume, with fewer --workers, or with --workers 1 to see the fault"
    )
