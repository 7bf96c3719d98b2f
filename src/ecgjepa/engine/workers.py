"""What a process or thread does before it works on pieces, and around each of them."""

import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

from threadpoolctl import threadpool_limits

from ecgjepa.errors import EcgjepaError
from ecgjepa.memory import set_malloc

# Seconds between two looks at whether the parent is alive.
_LOOK = 0.3

# Of large arrays, so much freed memory may stay with a process: glibc would give it back to the
# system after each record and ask for cleared memory for the next one, a tenth of the time.
_KEPT_BYTES = 2**26


def begin(parent: int, then: Callable[..., None] | None = None, arguments: Any = ()) -> None:  # noqa: ANN401
    """Make a new process of this machine a worker.

    It ends when its parent has ended, however that came; otherwise a worker outlives a parent that
    was killed, and an idle one waits for minutes. Ctrl-C is the parent's to handle. What a library
    prints goes to stderr: stdout belongs to the parent's answer.

    Args:
        parent: Process number of the parent.
        then: What the user of joblib wants to be done, too.
        arguments: The arguments of that.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.stdout.flush()
    os.dup2(sys.stderr.fileno(), 1)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    set_malloc(
        mmap_threshold=_KEPT_BYTES // 2, trim_threshold=_KEPT_BYTES, top_pad=_KEPT_BYTES // 4
    )
    if then is not None:
        then(*arguments)


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK)
    os._exit(1)


_own = threading.local()


def is_working() -> bool:
    """Return whether this thread is at work on a piece: what it calls starts no workers."""
    return getattr(_own, "is_working", False)


def work(
    task: Callable[[Any], None], number: int, piece: tuple[Any], threads: int
) -> tuple[int, Exception | None]:
    """Do one piece, and return its number and the error that it ended with.

    An error is returned and not raised: what joblib raises is a fault of the workers.

    Args:
        task: What to do.
        number: Number of the piece. Pieces that are equal otherwise differ in it.
        piece: The argument, in a tuple: Dask would leave a large one with a single worker, and lose
            it with that worker, but for tuples.
        threads: Threads of linear algebra. Products are small where there is one for each worker:
            more would only wait for each other.
    """
    _own.is_working = True
    try:
        with threadpool_limits(threads):
            task(piece[0])
    except Exception as error:
        return number, _portable(error)
    finally:
        _own.is_working = False
    return number, None


def _portable(error: Exception) -> Exception:
    """Return an error that another process can read."""
    trace = "".join(traceback.format_exception(error))
    if not isinstance(error, EcgjepaError | OSError):
        error.add_note(f"in a worker:\n{trace}")
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}; in a worker:\n{trace}")
    return error
