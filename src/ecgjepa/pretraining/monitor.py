"""Is the representation collapsing? A few numbers that tell.

The loss does not tell: it falls fastest when the target features become the same for every
record, for then they are easy to predict.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from ecgjepa.model.layers import gather_tokens
from ecgjepa.objectives.jepa import JepaOutput
from ecgjepa.pretraining.collapse import CollapseSigns


def batch_signs(
    output: JepaOutput,
    context_index: Int64[Tensor, "batch context"],
    target_index: Int64[Tensor, "batch target"],
    *,
    normalise_targets: bool,
) -> dict[str, float]:
    """Return what ``metrics.jsonl`` says of one batch beside its loss.

    ``spread`` and ``effective_rank`` are the target encoder's, ``context_spread`` and
    ``context_effective_rank`` the context encoder's, ``loss_to_mean`` the loss relative to that of
    predicting at every position the mean of all targets there. All wait for the device, so they
    are for the steps that are logged.
    """
    target = collapse_signs(output.target)
    context = collapse_signs(output.context, context_index)
    baseline = _loss_of_mean(output.target, target_index, normalise_targets=normalise_targets)
    return {
        "spread": target.spread,
        "effective_rank": target.effective_rank,
        "context_spread": context.spread,
        "context_effective_rank": context.effective_rank,
        "loss_to_mean": float(output.loss.detach() / baseline.clamp_min(1e-12)),
    }


def collapse_signs(
    features: Float[Tensor, "batch tokens dim"],
    index: Int64[Tensor, "batch tokens"] | None = None,
) -> CollapseSigns:
    """Measure one encoder's features of one batch.

    The mean over the batch is removed position by position: features that depend on the position
    alone say nothing about the heart, and must count as collapsed.

    Args:
        features: Of patches.
        index: Positions of those patches; by default every record has all, in order. Where few
            records share a position, their mean is close to each, and the spread comes out low.
    """
    features = features.detach().float()
    mean = features.mean(dim=0, keepdim=True) if index is None else _position_mean(features, index)
    difference = features - mean
    size = features.square().mean().sqrt()
    spread = difference.square().mean().sqrt() / size.clamp_min(1e-12)
    rows = difference.reshape(-1, difference.shape[-1])
    eigenvalues = torch.linalg.eigvalsh(rows.T @ rows).clamp_min(0)
    share = eigenvalues / eigenvalues.sum().clamp_min(1e-12)
    entropy = -(share * share.clamp_min(1e-12).log()).sum()
    return CollapseSigns(float(spread), float(entropy.exp()), int(features.shape[-1]))


def _position_mean(
    features: Float[Tensor, "batch tokens dim"], index: Int64[Tensor, "batch tokens"]
) -> Float[Tensor, "batch tokens dim"]:
    """Return for every token the mean over the records that have one at its position."""
    places, dim = index.flatten(), features.shape[-1]
    count = torch.bincount(places)
    sums = features.new_zeros(len(count), dim).index_add_(0, places, features.reshape(-1, dim))
    return (sums / count.clamp_min(1).unsqueeze(1))[index]


def _loss_of_mean(
    target: Float[Tensor, "batch patches dim"],
    target_index: Int64[Tensor, "batch target"],
    *,
    normalise_targets: bool,
) -> Float[Tensor, ""]:
    """Return the mean absolute deviation of the wanted features from their mean at a position."""
    if normalise_targets:
        target = F.layer_norm(target, target.shape[-1:])
    return gather_tokens(target - target.mean(dim=0, keepdim=True), target_index).abs().mean()
