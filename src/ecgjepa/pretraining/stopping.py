"""SIGTERM asks a run to save where it stands and to end; the loop looks at the request."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class RunStopped(SystemExit):
    """A run was asked to end, has saved where it stands, and ends its program with status 143.

    Not 0, for the run is not finished: ``torchrun`` starts a stopped process again, and a script
    does not go on to the next command. 143 is what a shell says of any program that SIGTERM ended.

    Attributes:
        step: Optimizer steps done and saved.
    """

    def __init__(self, step: int) -> None:
        """Remember the step."""
        super().__init__(128 + signal.SIGTERM)
        self.step = step


class StopRequest:
    """Whether the run was asked to end.

    Attributes:
        made: It was.
    """

    def __init__(self) -> None:
        """Begin without a request."""
        self.made = False

    def make(self, *_: object) -> None:
        """Ask; fit to be a signal handler, which must do next to nothing."""
        self.made = True


@contextmanager
def stop_on_sigterm() -> Iterator[StopRequest]:
    """Turn SIGTERM into a request while the block runs.

    Outside of the main thread, where Python allows no signal handlers, SIGTERM keeps its meaning.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = signal.signal(signal.SIGTERM, request.make)
    try:
        yield request
    finally:
        # None: a handler that Python did not set and cannot put back.
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)
