"""Cut records into windows and bring the windows' logits back together."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64, Int, Int16
from torch import Tensor

from ecgjepa.model.folder import ModelConfig
from ecgjepa.model.outputs import TaskConfig
from ecgjepa.signals.acceptance import refuse_unusable
from ecgjepa.signals.preprocessing import Prepared, prepare_record
from ecgjepa.signals.record import Issue, Record
from ecgjepa.signals.stretches.samples import Samples
from ecgjepa.signals.units import INVALID_MICROVOLT

# Windows that pass through a model at once: the memory of a day's recording is that of its samples.
CHUNK = 256
# On a processor fewer are faster, because what is between layers stays in its cache.
CHUNK_ON_CPU = 32


def chunk_size(device: torch.device) -> int:
    """Return how many windows should pass through a model at once."""
    return CHUNK_ON_CPU if device.type == "cpu" else CHUNK


class RecordWindows(NamedTuple):
    """A prepared record, and where a model's windows begin in it.

    Attributes:
        samples: Amplitudes in µV, at least one window long; those of a long record are prepared
            when they are used.
        starts: First sample of each window.
        size: Samples of a window.
        hidden: Columns of leads that the model is not to see.
    """

    samples: Samples
    starts: list[int]
    size: int
    hidden: tuple[int, ...] = ()

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self.starts)

    def cut(self) -> Iterator[Int16[np.ndarray, "size leads"]]:
        """Yield the windows in their order."""
        for start in self.starts:
            yield self.at(start)

    def at(self, start: int) -> Int16[np.ndarray, "size leads"]:
        """Return the window that begins at a sample; hidden leads are invalid."""
        window = self.samples[start : start + self.size]
        if self.hidden:
            window = window.copy()
            window[:, self.hidden] = INVALID_MICROVOLT
        return window

    def chunks(self, count: int = CHUNK) -> Iterator[Int16[Tensor, "_ size leads"]]:
        """Yield the windows, at most ``count`` at a time, in their order."""
        for first in range(0, len(self.starts), count):
            starts = self.starts[first : first + count]
            yield torch.from_numpy(np.stack([self.at(start) for start in starts]))


def record_windows(
    record: Record, config: ModelConfig, leads: Sequence[str] | None = None
) -> tuple[RecordWindows, tuple[Issue, ...]]:
    """Prepare a record as the training records were, and find a model's windows in it.

    Args:
        record: Any record.
        config: Of the model.
        leads: Those that are needed; by default all of the model's.

    Returns:
        Windows with all of the model's leads, and what was noticed.

    Raises:
        RecordFormatError: If too little of them can be used, see `ecgjepa.signals.acceptance`.
    """
    needed = config.preprocessing.leads if leads is None else tuple(leads)
    prepared = prepare_record(record, config.preprocessing)
    refuse_unusable(prepared, record.source or record.record_id, needed)
    return windows_of(prepared, config)


def windows_of(
    prepared: Prepared, config: ModelConfig, leads: tuple[str, ...] = ()
) -> tuple[RecordWindows, tuple[Issue, ...]]:
    """Find a model's windows in a prepared record; see `record_windows`.

    Args:
        prepared: The record.
        config: Of the model.
        leads: Leads that the model is to see; none for all.
    """
    findings = prepared.issues
    size, stride = window_size(config)
    if (length := len(prepared.samples)) < size:
        rate = config.preprocessing.sampling_rate
        findings += (
            Issue(
                "short_record",
                f"{length / rate:.2f} s is shorter than the model's window of "
                f"{size / rate:.2f} s; the rest is treated as missing",
            ),
        )
    found = find_windows(prepared.samples, size=size, stride=stride)
    known = config.preprocessing.leads
    hidden = tuple(column for column, lead in enumerate(known) if leads and lead not in leads)
    return RecordWindows(found.samples, found.starts, found.size, hidden), findings


def cut_windows(
    samples: Int16[np.ndarray, "samples leads"], *, size: int, stride: int
) -> Int16[Tensor, "windows size leads"]:
    """Return all windows of a record at once, as `find_windows` finds them."""
    found = find_windows(samples, size=size, stride=stride)
    return next(found.chunks(len(found)))


def find_windows(samples: Samples, *, size: int, stride: int) -> RecordWindows:
    """Find a record's windows; a record shorter than one is filled up with the invalid marker."""
    missing = max(size - len(samples), 0)
    if missing:
        assert isinstance(samples, np.ndarray), "a long record has windows"
        samples = np.pad(samples, ((0, missing), (0, 0)), constant_values=INVALID_MICROVOLT)
    return RecordWindows(samples, window_starts(len(samples), window=size, stride=stride), size)


def window_starts(num_samples: int, *, window: int, stride: int) -> list[int]:
    """Return the first sample of each whole window; one at 0 if the record is shorter than one.

    Ten seconds cut into 2.5 s at a stride of 1.25 s give the paper's seven windows. What a last
    incomplete stride leaves over is not used, as in the paper.
    """
    return list(range(0, max(num_samples - window, 0) + 1, stride))


def window_size(config: ModelConfig) -> tuple[int, int]:
    """Return window and stride in samples: whole patches for the window."""
    rate, patch = config.preprocessing.sampling_rate, config.encoder.patch_size
    window = max(1, round(config.window.seconds * rate / patch)) * patch
    return window, max(1, round(config.window.stride_seconds * rate))


def outputs_of_logits(
    logits: Float[Tensor, "records labels"], task: TaskConfig
) -> Float64[Tensor, "records labels"]:
    """Return what averaged logits mean: probabilities, or the values of a regression."""
    if task.kind == "regression":
        centre, spread = (torch.tensor(x, dtype=torch.float64) for x in (task.centre, task.spread))
        return logits.double().cpu() * spread + centre
    scores = logits.softmax(dim=1) if task.kind == "single-label" else logits.sigmoid()
    return scores.double().cpu()


def average_over_windows(
    values: Float[Tensor, "windows outputs"],
    record_index: Int[Tensor, " windows"],
    *,
    num_records: int,
) -> Float[Tensor, "{num_records} outputs"]:
    """Average one row per window into one row per record.

    Records of different durations give different numbers of windows, so windows arrive flat.

    Args:
        values: Logits before the sigmoid, or features.
        record_index: The record each window came from, in ``[0, num_records)``.
        num_records: Number of rows to return.

    Raises:
        ValueError: If a record has no window; its score would otherwise be a silent NaN.
    """
    windows_per_record = torch.bincount(record_index, minlength=num_records)
    if (missing := (windows_per_record == 0).nonzero().flatten()).numel():
        raise ValueError(
            f"{missing.numel()} of {num_records} records have no window, first index "
            f"{int(missing[0])}"
        )
    sums = values.new_zeros(num_records, values.shape[1]).index_add_(0, record_index, values)
    return sums / windows_per_record.unsqueeze(1)
