"""The windows of many records pass through a model together, and each record gets its own back.

A record has a few windows, and a model takes hardly longer for many: so the windows of a record are
filled up with those of the next ones. Memory is that of two batches and of one record.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import torch
from jaxtyping import Float64, Int16
from torch import Tensor

from ecgjepa.errors import RecordError
from ecgjepa.inference.windows import RecordWindows

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Means = tuple[Float64[np.ndarray, " _"], ...]
Outputs = list[Float64[np.ndarray, "windows _"]]
# A day's recording takes minutes: as long nothing is heard of it, and so often the clock is read.
SILENT_SECONDS = 15.0
_LOOK_AT_CLOCK = 64
Model = Callable[[Int16[Tensor, "windows size leads"]], Sequence[Tensor]]


def mean_outputs(
    records: Iterable[tuple[Item, RecordWindows | None]],
    run: Model,
    count: int,
) -> Iterator[tuple[Item, Means | RecordError | None]]:
    """Run a model on the windows of records, and average what it returns over each record's.

    Args:
        records: Windows of each record, with whatever belongs to it; None passes through.
        run: Returns tensors with a row for each window.
        count: Windows that are run together.

    Yields:
        For each record, in order, what belongs to it and the mean of each of the outputs, or why
        there is none: the file of a long record may change while it is read.
    """
    waiting: deque[_Waiting[Item]] = deque()
    cut: list[np.ndarray] = []
    owners: list[_Waiting[Item]] = []
    with ThreadPoolExecutor(1) as thread:
        running: _Running[Item] | None = None
        for item, windows in records:
            entry = _Waiting(item, None if windows is None else len(windows))
            waiting.append(entry)
            for window in entry.cut(windows):
                cut.append(window)
                owners.append(entry)
                if len(cut) == count:
                    if running is not None:
                        running.collect()
                    # While these are run, the next records are read.
                    running = _Running(owners, thread.submit(_run, run, cut))
                    cut, owners = [], []
            yield from _finished(waiting)
        if running is not None:
            running.collect()
        yield from _finished(waiting)
    if cut:
        _add(owners, _run(run, cut))
        yield from _finished(waiting)


@dataclass
class _Waiting(Generic[Item]):
    """A record some of whose windows have not been run yet.

    Attributes:
        item: What belongs to it.
        num_windows: All of its windows; None where there is nothing to run.
        num_done: Those that have been run.
        sums: Sums of the outputs of these.
        error: Why the others cannot be run.
    """

    item: Item
    num_windows: int | None
    num_done: int = 0
    sums: Means = ()
    error: RecordError | None = None

    def cut(self, windows: RecordWindows | None) -> Iterator[Int16[np.ndarray, "size leads"]]:
        """Yield the windows, or those before the one that cannot be read."""
        number, told = 0, time.monotonic()
        try:
            for window in () if windows is None else windows.cut():
                yield window
                number += 1
                if number % _LOOK_AT_CLOCK == 0 and time.monotonic() - told > SILENT_SECONDS:
                    told = time.monotonic()
                    words = f"{number:,} of {self.num_windows:,} windows"
                    logger.info("a long recording: %s", words)
        except RecordError as error:
            self.error, self.num_windows = error, number


def _finished(
    waiting: "deque[_Waiting[Item]]",
) -> Iterator[tuple[Item, Means | RecordError | None]]:
    """Remove and yield records from the left, as long as they are finished."""
    while waiting and waiting[0].num_windows in (None, waiting[0].num_done):
        entry = waiting.popleft()
        if entry.num_windows is None or entry.error is not None:
            yield entry.item, entry.error
        else:
            yield entry.item, tuple(total / entry.num_done for total in entry.sums)


@dataclass
class _Running(Generic[Item]):
    """Windows that are being run.

    Attributes:
        owners: The record of each window.
        outputs: What comes of them.
    """

    owners: "list[_Waiting[Item]]"
    outputs: "Future[Outputs]"

    def collect(self) -> None:
        """Wait for the outputs and add them up."""
        _add(self.owners, self.outputs.result())


def _run(run: Model, cut: list[np.ndarray]) -> Outputs:
    return [output.double().cpu().numpy() for output in run(torch.from_numpy(np.stack(cut)))]


def _add(owners: "list[_Waiting[Item]]", outputs: Outputs) -> None:
    """Add each window's outputs to its record's sums."""
    starts = [i for i, owner in enumerate(owners) if i == 0 or owner is not owners[i - 1]]
    sums = [np.add.reduceat(output, starts, axis=0) for output in outputs]
    for place, (start, stop) in enumerate(zip(starts, [*starts[1:], len(owners)], strict=True)):
        owner, own = owners[start], tuple(total[place] for total in sums)
        owner.sums = (
            tuple(a + b for a, b in zip(owner.sums, own, strict=True)) if owner.num_done else own
        )
        owner.num_done += stop - start
