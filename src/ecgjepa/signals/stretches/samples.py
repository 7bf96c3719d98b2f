"""Samples of a long record that are prepared stretch by stretch, whenever they are looked at."""

from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Int16


class LongSamples:
    """Prepared samples of a record that would fill the memory; slices of it are arrays.

    Slices that are asked for in their order are prepared once, those of another order anew.
    """

    def __init__(
        self,
        make: Callable[[int, int], Int16[np.ndarray, "samples leads"]],
        shape: tuple[int, int],
        step: int,
    ) -> None:
        """Take what prepares samples.

        Args:
            make: Returns the samples from one to before another.
            shape: Samples and leads of the whole.
            step: Samples that are prepared at a time, more if more are asked for.
        """
        self.shape = shape
        self._make = make
        self._step = step
        self._first = 0
        self._held = np.empty((0, shape[1]), np.int16)

    def __len__(self) -> int:
        """Return the number of samples per lead."""
        return self.shape[0]

    def __getitem__(self, part: slice) -> Int16[np.ndarray, "samples leads"]:
        """Return consecutive samples."""
        start, stop, step = part.indices(len(self))
        assert step == 1, "consecutive samples are asked for"
        if start < self._first or stop > self._first + len(self._held):
            end = min(len(self), max(stop, start + self._step))
            self._held = np.empty((0, self.shape[1]), np.int16)  # two are never held
            self._first, self._held = start, self._make(start, end)
        return self._held[start - self._first : max(stop, start) - self._first]

    def stretches(self) -> Iterator[Int16[np.ndarray, "samples leads"]]:
        """Yield all samples in their order."""
        for start in range(0, len(self), self._step):
            yield self[start : start + self._step]


# Prepared samples in µV: an array, or what takes the place of one that would fill the memory.
Samples = Int16[np.ndarray, "samples leads"] | LongSamples


def stretches_of(
    samples: Samples,
) -> Iterator[Int16[np.ndarray, "samples leads"]]:
    """Yield all samples in their order: at once, where they are in the memory anyway."""
    if isinstance(samples, LongSamples):
        yield from samples.stretches()
    else:
        yield samples


class Blocks:
    """Cuts stretches of samples into whole blocks, wherever the stretches end.

    Attributes:
        size: Samples of a block.
        shared: Samples that each block shares with the next.
    """

    def __init__(self, size: int, shared: int = 0) -> None:
        """Begin with the first block."""
        self.size, self.shared = size, shared
        self._rest: np.ndarray | None = None

    def add(self, stretch: np.ndarray) -> np.ndarray:
        """Return the samples of the blocks that are whole by now, with what the last one shares."""
        joined = stretch if self._rest is None else np.concatenate([self._rest, stretch])
        whole = max(0, len(joined) - self.shared) // self.size * self.size
        self._rest = joined[whole:].copy()
        return joined[: whole + self.shared] if whole else joined[:0]
