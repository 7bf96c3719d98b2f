"""SIGTERM or Ctrl-C asks a run to save where it stands and to end; the loop looks at it."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class RunStopped(SystemExit):
    """A run was asked to end, has saved where it stands, and ends with status 143 or 130.

    Not 0, for the run is not finished: ``torchrun`` starts a stopped process again, and a script
    does not continue with the next command. A shell reports the same status for any program that
    SIGTERM or Ctrl-C ended.

    Attributes:
        step: Optimizer steps done and saved.
    """

    def __init__(self, step: int, number: int = signal.SIGTERM) -> None:
        """Remember the step, and end with the status of the signal."""
        super().__init__(128 + number)
        self.step = step


class StopRequest:
    """Whether the run was asked to end.

    Attributes:
        made: Whether the run was asked to end.
        number: Signal that asked.
    """

    def __init__(self) -> None:
        """Begin without a request."""
        self.made = False
        self.number: int = signal.SIGTERM

    def make(self, number: int = signal.SIGTERM, _frame: object = None) -> None:
        """Ask; fit to be a signal handler, which must do next to nothing.

        Raises:
            KeyboardInterrupt: If Ctrl-C comes again: a second Ctrl-C stops at once.
        """
        if self.made and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.made, self.number = True, number


@contextmanager
def stop_on_signal() -> Iterator[StopRequest]:
    """Turn SIGTERM and Ctrl-C into a request while the block runs.

    Outside of the main thread, where Python allows no signal handlers, they keep their meaning; so
    does Ctrl-C where the surrounding program has given it another.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {signal.SIGTERM: signal.signal(signal.SIGTERM, request.make)}
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        before[signal.SIGINT] = signal.signal(signal.SIGINT, request.make)
    try:
        yield request
    finally:
        for number, handler in before.items():
            # None: a handler that Python did not set and cannot put back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
