"""Is the representation collapsing? A few numbers that tell.

The loss does not tell: it falls fastest when the target features become the same for every
record, for then they are easy to predict.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from ecgjepa.config import Loss
from ecgjepa.model.layers import gather_tokens
from ecgjepa.objectives.build import ObjectiveOutput
from ecgjepa.objectives.jepa import LOSSES
from ecgjepa.objectives.mae import MaeOutput
from ecgjepa.objectives.views import ViewsOutput
from ecgjepa.pretraining.collapse import CollapseSigns

# Of a tensor, over the processes that share the batch evenly; all of them must ask.
MeanOverProcesses = Callable[[Tensor], Tensor]


def batch_signs(
    output: ObjectiveOutput,
    context_index: Int64[Tensor, "batch context"],
    target_index: Int64[Tensor, "batch target"],
    *,
    normalise_targets: bool,
    loss: Loss = "l1",
    mean_over_processes: MeanOverProcesses = lambda values: values,
) -> dict[str, float]:
    """Return what ``metrics.jsonl`` says of one batch beside its loss.

    ``spread`` and ``effective_rank`` are the target encoder's, ``context_spread`` and
    ``context_effective_rank`` the context encoder's, ``loss_to_mean`` the loss relative to that of
    predicting at every position the mean of all targets there. Other objectives have ``spread``
    and ``effective_rank`` of the encoder they train, and failure signals of their own. All wait
    for the device, so they are for the steps that are logged. What is given is this process' share
    of the batch; what is returned is the same on all.
    """
    mean = mean_over_processes
    if isinstance(output, ViewsOutput):
        return _signs_of_views(output)
    if isinstance(output, MaeOutput):
        return _signs_of_reconstruction(output, mean)
    target = collapse_signs(output.target, mean_over_processes=mean)
    context = collapse_signs(
        output.context,
        context_index,
        num_patches=output.target.shape[1],
        mean_over_processes=mean,
    )
    target_features = output.target
    if normalise_targets:
        target_features = F.layer_norm(target_features, target_features.shape[-1:])
    baseline = mean(_loss_of_mean(target_features, target_index, mean, loss))
    return {
        "spread": target.spread,
        "effective_rank": target.effective_rank,
        "context_spread": context.spread,
        "context_effective_rank": context.effective_rank,
        "loss_to_mean": float(mean(output.loss.detach()) / baseline.clamp_min(1e-12)),
    }


def _signs_of_views(output: ViewsOutput) -> dict[str, float]:
    """Return the signs of an output that covers all processes' records already."""
    signs = collapse_signs(output.features.unsqueeze(1))
    return {
        "spread": signs.spread,
        "effective_rank": signs.effective_rank,
        "positive_similarity": float(output.positive_similarity),
        "negative_similarity": float(output.negative_similarity),
        "uniformity": float(output.uniformity),
    }


def _signs_of_reconstruction(output: MaeOutput, mean: MeanOverProcesses) -> dict[str, float]:
    """Return the encoder's signs, and the share of the hidden variance that is explained."""
    signs = collapse_signs(
        output.features, output.positions, num_patches=output.num_patches, mean_over_processes=mean
    )
    unexplained = mean(output.loss.detach()) / mean(output.baseline).clamp_min(1e-12)
    return {
        "spread": signs.spread,
        "effective_rank": signs.effective_rank,
        "reconstruction_r2": float(1 - unexplained),
    }


def collapse_signs(
    features: Float[Tensor, "batch tokens dim"],
    index: Int64[Tensor, "batch tokens"] | None = None,
    *,
    num_patches: int | None = None,
    mean_over_processes: MeanOverProcesses = lambda values: values,
) -> CollapseSigns:
    """Measure one encoder's features of one batch.

    The mean over the batch is removed position by position: features that depend on the position
    alone say nothing about the heart, and must count as collapsed.

    Args:
        features: Of patches.
        index: Positions of those patches; by default every record has all, in order. Where few
            records share a position, their mean is close to each, and the spread comes out low.
        num_patches: How many positions there are; by default as many as ``index`` names.
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
    # Where no process has a token, nobody looks the quotient up.
    return (sums / count.unsqueeze(1))[index]


def _loss_of_mean(
    target: Float[Tensor, "batch patches dim"],
    target_index: Int64[Tensor, "batch target"],
    mean_over_processes: MeanOverProcesses,
    loss: Loss,
) -> Float[Tensor, ""]:
    """Return the loss of the wanted features' mean at a position as their prediction."""
    mean = mean_over_processes(target.mean(dim=0, keepdim=True))
    difference = gather_tokens(target - mean, target_index)
    return LOSSES[loss](difference, torch.zeros_like(difference))
