"""What must be known of a whole long record before a stretch of it can be prepared."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from ecgjepa.signals.measures import runs
from ecgjepa.signals.microvolt import as_microvolt_record
from ecgjepa.signals.passes import column_extremes
from ecgjepa.signals.quality import MIN_SATURATED_RANGE_MV, least_rest
from ecgjepa.signals.record import LongRecord, MicrovoltRecord, Record

# Values of a file that are held at a time: almost six minutes of twelve leads at 500 Hz.
PIECE_VALUES = 2_000_000


class Gaps(NamedTuple):
    """The long gaps of one lead, in samples of the file.

    Attributes:
        starts: First sample of each.
        stops: The sample after each.
    """

    starts: list[int]
    stops: list[int]


def pieces(source: LongRecord) -> Iterator[Record | MicrovoltRecord]:
    """Yield consecutive pieces of a record, all of its samples once."""
    step = max(1, PIECE_VALUES // len(source.leads))
    for start in range(0, source.num_samples, step):
        yield source.read(start, min(start + step, source.num_samples))


def is_of_microvolts(source: LongRecord) -> bool:
    """Return whether all samples are valid and whole microvolts."""
    for piece in pieces(source):
        if isinstance(piece, MicrovoltRecord):
            return True  # As all of them are.
        if as_microvolt_record(piece) is None:
            return False
    return True


class Rests:
    """Finds leads that rest at their own extremes, as `quality.saturated_leads` does.

    Pieces come one after the other: of each lead the extremes so far are known, and how long it has
    rested there at most, and up to the end of the last piece.
    """

    def __init__(self, num_leads: int, sampling_rate: float, one_millivolt: float) -> None:
        """Begin; see `quality.saturated_leads` for the arguments."""
        self._length = least_rest(sampling_rate)
        self._least = MIN_SATURATED_RANGE_MV * one_millivolt
        # Of the minimum, and of the maximum as that of what is negated.
        self._lowest = np.full((2, num_leads), np.inf)
        self._longest = np.zeros((2, num_leads), np.int64)
        self._open = np.zeros((2, num_leads), np.int64)

    def add(self, signal: np.ndarray) -> None:
        """Take the next samples, (samples, leads)."""
        low, high = column_extremes(signal)
        for side, (extreme, sign) in enumerate(((low, 1.0), (high, -1.0))):
            for lead, value in enumerate(extreme.tolist()):
                self._follow(side, lead, sign * value, signal[:, lead] == extreme[lead])

    def _follow(self, side: int, lead: int, low: float, is_low: Bool[np.ndarray, " _"]) -> None:
        if low > self._lowest[side, lead]:
            self._open[side, lead] = 0
            return
        before = self._open[side, lead] if low == self._lowest[side, lead] else 0
        longest = self._longest[side, lead] if low == self._lowest[side, lead] else 0
        found = runs(is_low)
        lengths = [stop - start for start, stop in found]
        lengths[0] += before if found[0][0] == 0 else 0
        self._lowest[side, lead] = low
        self._longest[side, lead] = max(longest, *lengths)
        self._open[side, lead] = lengths[-1] if found[-1][1] == len(is_low) else 0

    def saturated(self) -> Bool[np.ndarray, " leads"]:
        """Return which leads rest at an extreme for too long."""
        ranges = -self._lowest.sum(axis=0)
        return (ranges >= self._least) & (self._longest.max(axis=0) >= self._length)


class GapFinder:
    """Finds the gaps of each lead that are longer than some number of samples."""

    def __init__(self, num_leads: int, least: int) -> None:
        """Begin; gaps of ``least`` samples or fewer are not kept."""
        self.gaps = [Gaps([], []) for _ in range(num_leads)]
        self._least = least
        self._since: list[int | None] = [None] * num_leads
        self._place = 0

    def add(self, valid: Bool[np.ndarray, "samples leads"]) -> None:
        """Take the next samples."""
        some: list[bool] = np.logical_not(valid.all(axis=0)).tolist()
        for lead, since in enumerate(self._since):
            if since is None and not some[lead]:
                continue
            found = [(self._place + a, self._place + b) for a, b in runs(~valid[:, lead])]
            if since is not None and found and found[0][0] == self._place:
                found[0] = since, found[0][1]
            elif since is not None:
                found.insert(0, (since, self._place))
            end, self._since[lead] = self._place + len(valid), None
            if found and found[-1][1] == end:
                self._since[lead] = found.pop()[0]
            self._keep(lead, found)
        self._place += len(valid)

    def finish(self) -> list[Gaps]:
        """Return the gaps, after the last samples."""
        for lead, since in enumerate(self._since):
            self._keep(lead, [] if since is None else [(since, self._place)])
        return self.gaps

    def _keep(self, lead: int, found: list[tuple[int, int]]) -> None:
        for start, stop in found:
            if stop - start > self._least:
                self.gaps[lead].starts.append(start)
                self.gaps[lead].stops.append(stop)
