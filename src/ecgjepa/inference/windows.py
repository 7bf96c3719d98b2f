"""Cut records into windows and bring the windows' logits back together."""

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from ecgjepa.model.folder import ModelConfig, TaskConfig


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
