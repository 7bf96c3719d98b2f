"""Is the representation collapsing? A few numbers that tell.

The loss does not tell: it falls fastest when the target features become the same for every
record, for then they are easy to predict.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

# Mean of a tensor over the processes that share the batch evenly; all of them must ask.
MeanOverProcesses = Callable[[Tensor], Tensor]


def alone(values: Tensor) -> Tensor:
    """Return the mean over the processes where there is only one: the values."""
    return values


class CollapseSigns(NamedTuple):
    """How much an encoder's features tell about a record.

    Attributes:
        spread: Between 0 and 1: root mean square of what differs between records at the same
            position, relative to the features' own. 0 means every record looks the same.
        effective_rank: exp(entropy of the covariance's singular values, as shares of their sum):
            over how many directions those differences are spread (Roy & Vetterli 2007).
        dim: Number of directions there are.
    """

    spread: float
    effective_rank: float
    dim: int


def collapse_signs(
    features: Float[Tensor, "batch tokens dim"],
    index: Int64[Tensor, "batch tokens"] | None = None,
    *,
    num_patches: int | None = None,
    mean_over_processes: MeanOverProcesses = alone,
) -> CollapseSigns:
    """Measure one encoder's features of one batch.

    The mean over the batch is removed position by position: features that depend on the position
    alone say nothing about the heart, and must count as collapsed.

    Args:
        features: Features of patches.
        index: Positions of those patches; by default every record has all, in order. Where few
            records share a position, their mean is close to each, and the spread comes out low.
        num_patches: Number of positions; by default as many as ``index`` names.
        mean_over_processes: If several hold a share of the batch each.
    """
    features = features.detach().float()
    if index is None:
        mean = mean_over_processes(features.mean(dim=0, keepdim=True))
    else:
        positions = num_patches or int(index.max()) + 1
        mean = _position_mean(features, index, positions, mean_over_processes)
    difference = features - mean
    size = mean_over_processes(features.square().mean()).sqrt()
    spread = mean_over_processes(difference.square().mean()).sqrt() / size.clamp_min(1e-12)
    rows = difference.reshape(-1, difference.shape[-1])
    eigenvalues = torch.linalg.eigvalsh(mean_over_processes(rows.T @ rows)).clamp_min(0)
    share = eigenvalues / eigenvalues.sum().clamp_min(1e-12)
    entropy = -(share * share.clamp_min(1e-12).log()).sum()
    return CollapseSigns(float(spread), float(entropy.exp()), int(features.shape[-1]))


def _position_mean(
    features: Float[Tensor, "batch tokens dim"],
    index: Int64[Tensor, "batch tokens"],
    num_patches: int,
    mean_over_processes: MeanOverProcesses,
) -> Float[Tensor, "batch tokens dim"]:
    """Return for every token the mean over the records that have one at its position."""
    places, dim = index.flatten(), features.shape[-1]
    count = torch.bincount(places, minlength=num_patches).to(features.dtype)
    sums = features.new_zeros(num_patches, dim).index_add_(0, places, features.reshape(-1, dim))
    sums, count = mean_over_processes(sums), mean_over_processes(count)
    # The quotient is not a number where no process has a token; no token looks it up there.
    return (sums / count.unsqueeze(1))[index]
