"""Which of joblib's backends is set, and who works therefore."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import joblib
from joblib.parallel import BACKENDS, get_active_backend

from ecgjepa.engine.workers import is_working
from ecgjepa.errors import EngineError

logger = logging.getLogger(__name__)

_OF_THIS_MACHINE = ("loky", "multiprocessing", "sequential", "threading")
_PROCESSES = ("loky", "multiprocessing")


class Workforce(NamedTuple):
    """Who works.

    Attributes:
        at_once: Pieces that are worked on at a time; None for as many as the backend can.
        is_here: Whether this process does it all itself, without joblib.
    """

    at_once: int | None
    is_here: bool

    @property
    def threads(self) -> int:
        """Threads for each piece that takes long: its share of this machine, one on a cluster."""
        return 1 if self.at_once is None else max(1, joblib.cpu_count() // self.at_once)


def choose_workforce(asked: int | None, pieces: int, worthwhile: int) -> Workforce:
    """Return who works: what was asked for, what joblib is set to, or what is worth its while.

    Args:
        asked: Number of workers, None if nobody said.
        pieces: Number of pieces.
        worthwhile: How many workers the work is enough for.

    Raises:
        EngineError: If a cluster has no worker.
    """
    backend, configured = get_active_backend()
    is_nested = is_working() or (getattr(backend, "nesting_level", 0) or 0) > 0
    if is_nested and asked is None and configured is None:
        return Workforce(1, is_here=True)  # whoever works beside has the other cores
    if not is_of_this_machine(backend):
        if _capacity(backend) == 1 and not _is_dask(backend):
            logger.warning("the backend has one worker: joblib leaves the work to this process")
            return Workforce(1, is_here=True)
        return Workforce(asked if asked is not None else _positive(configured), is_here=False)
    if _is_one_of(backend, ("sequential",)):
        return Workforce(1, is_here=True)
    cores = joblib.cpu_count()
    count = asked if asked is not None else configured
    if count is None:
        count = min(cores, worthwhile)
    elif count < 0:
        count += cores + 1
    count = max(1, min(count, pieces))
    return Workforce(count, is_here=count == 1)


def is_of_this_machine(backend: Any) -> bool:  # noqa: ANN401
    """Return whether a backend is one of joblib's own, and not derived from it as Ray's is."""
    return _is_one_of(backend, _OF_THIS_MACHINE)


def has_processes(backend: Any) -> bool:  # noqa: ANN401
    """Return whether a backend starts processes of this machine."""
    return _is_one_of(backend, _PROCESSES)


def _is_dask(backend: Any) -> bool:  # noqa: ANN401
    return type(backend).__name__ == "DaskDistributedBackend"


@contextmanager
def never_here(backend: Any) -> Iterator[None]:  # noqa: ANN401
    """Have a Dask cluster of one core do the work, which joblib would leave to this process.

    A cluster has one core for a moment, too, when one of two workers was killed.
    """
    if not _is_dask(backend):
        yield
        return
    real = backend.effective_n_jobs
    backend.effective_n_jobs = lambda n_jobs: max(2, real(n_jobs))
    try:
        yield
    finally:
        del backend.effective_n_jobs


def has_threads(backend: Any) -> bool:  # noqa: ANN401
    """Return whether a backend's workers are threads of this process."""
    return bool(getattr(backend, "supports_sharedmem", False))


def _capacity(backend: Any) -> int:  # noqa: ANN401
    """Return how many pieces a cluster can work on at a time."""
    try:
        return int(backend.effective_n_jobs(-1))
    except Exception as error:
        raise EngineError(f"the workers cannot be reached: {in_short(error)}") from error


def _positive(configured: int | None) -> int | None:
    return configured if configured is not None and configured > 0 else None


def in_short(error: Exception) -> str:
    """Return the beginning and the end of a message: engines repeat whole tracebacks in theirs."""
    texts = [str(error)]
    if error.__cause__ is not None:  # its last line says what the trace above it led to
        texts += str(error.__cause__).strip().splitlines()[-1:]
    text = " ".join(" ".join(texts).split())
    return text if len(text) <= 400 else f"{text[:200]} … {text[-200:]}"


def _is_one_of(backend: Any, names: Sequence[str]) -> bool:  # noqa: ANN401
    return type(backend) in [BACKENDS[name] for name in names if name in BACKENDS]
