"""Exact per-lead statistics from the sums in the index."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Float64, Int64

SUM_COLUMNS = ("valid_count", "sum_microvolt", "sum_squares_microvolt")


class LeadStatistics(NamedTuple):
    """Mean and standard deviation per lead, in mV; NaN for a lead without valid samples."""

    mean: Float64[np.ndarray, " leads"]
    std: Float64[np.ndarray, " leads"]


class LeadSums:
    """Exact sums over records, from which the statistics follow.

    They are Python integers of any size, so the result does not depend on the order or grouping of
    records and loses nothing to rounding until the last step. (Reducing in float32, as the official
    fine-tuning code does, gives standard deviations that are 4 to 14 % too small on PTB-XL.)
    """

    def __init__(self) -> None:
        """Start from no record."""
        self._sums: list[list[int]] = []

    def add(self, table: pa.Table) -> None:
        """Add the rows of an index."""
        if table.num_rows:
            new = [_exact_sum(table[name]) for name in SUM_COLUMNS]
            old = self._sums or [[0] * len(new[0])] * len(new)
            self._sums = [
                [a + b for a, b in zip(*pair, strict=True)] for pair in zip(old, new, strict=True)
            ]

    def statistics(self) -> LeadStatistics:
        """Return mean and standard deviation per lead, in mV, over all valid samples."""
        mean, std = [], []
        for n, s, q in zip(*self._sums, strict=True):
            mean.append(s / n / 1e3 if n else float("nan"))
            # n q - s² is exact in integers, so nothing cancels.
            std.append(float(np.sqrt((n * q - s * s) / (n * n))) / 1e3 if n else float("nan"))
        return LeadStatistics(np.array(mean), np.array(std))


def lead_statistics(table: pa.Table) -> LeadStatistics:
    """Return per-lead mean and standard deviation over all valid samples of the rows."""
    sums = LeadSums()
    sums.add(table)
    return sums.statistics()


def _exact_sum(column: pa.ChunkedArray) -> list[int]:
    if not len(column):
        return []
    num_leads = column.type.list_size
    values: Int64[np.ndarray, "records leads"] = np.concatenate(
        [chunk.flatten().to_numpy().reshape(-1, num_leads) for chunk in column.chunks if len(chunk)]
    )
    # 2**31 splits each sum into two parts that cannot overflow 64 bits below 2**32 records.
    high, low = values >> 31, values & (2**31 - 1)
    return [
        int(upper) * 2**31 + int(lower)
        for upper, lower in zip(high.sum(0), low.sum(0), strict=True)
    ]
