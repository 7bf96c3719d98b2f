"""Exact per-lead statistics from the sums in the index."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Float64, Int64


class LeadStatistics(NamedTuple):
    """Mean and standard deviation per lead, in mV; NaN for a lead without valid samples."""

    mean: Float64[np.ndarray, " leads"]
    std: Float64[np.ndarray, " leads"]


def lead_statistics(table: pa.Table) -> LeadStatistics:
    """Return per-lead mean and standard deviation over all valid samples of the rows.

    The sums are integers and are added as Python integers of any size, so the result does not
    depend on the order or grouping of records and loses nothing to rounding until the last step.
    (Reducing in float32, as the official fine-tuning code does, gives standard deviations that
    are 4 to 14 % too small on PTB-XL.)
    """
    count = _exact_sum(table["valid_count"])
    total = _exact_sum(table["sum_microvolt"])
    squares = _exact_sum(table["sum_squares_microvolt"])
    mean, std = [], []
    for n, s, q in zip(count, total, squares, strict=True):
        mean.append(s / n / 1e3 if n else float("nan"))
        # n q - s² is exact in integers, so nothing cancels.
        std.append(float(np.sqrt((n * q - s * s) / (n * n))) / 1e3 if n else float("nan"))
    return LeadStatistics(np.array(mean), np.array(std))


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
