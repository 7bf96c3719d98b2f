"""Is the representation collapsing? Two numbers that tell.

The loss does not tell: it falls fastest when the target features become the same for every
record, for then they are easy to predict.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from ecgjepa.pretraining.collapse import CollapseSigns


def collapse_signs(
    target: Float[Tensor, "batch patches dim"],
    mean_over_processes: Callable[[Tensor], Tensor] = lambda values: values,
) -> CollapseSigns:
    """Measure target features of one batch.

    The mean over the batch is removed position by position: features that depend on the position
    alone say nothing about the heart, and must count as collapsed.

    Args:
        target: This process' share of the batch.
        mean_over_processes: Of a tensor, if there are several; all of them must ask.
    """
    target = target.detach().float()
    difference = target - mean_over_processes(target.mean(dim=0, keepdim=True))
    size = mean_over_processes(target.square().mean()).sqrt()
    spread = mean_over_processes(difference.square().mean()).sqrt() / size.clamp_min(1e-12)
    rows = difference.reshape(-1, difference.shape[-1])
    eigenvalues = torch.linalg.eigvalsh(mean_over_processes(rows.T @ rows)).clamp_min(0)
    share = eigenvalues / eigenvalues.sum().clamp_min(1e-12)
    entropy = -(share * share.clamp_min(1e-12).log()).sum()
    return CollapseSigns(float(spread), float(entropy.exp()), int(target.shape[-1]))
