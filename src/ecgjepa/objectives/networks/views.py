"""What the invariance-based objectives share: two views of each record, a head, failure signals."""

import math
from typing import NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from ecgjepa.model.encoders.encoder import Encoder
from ecgjepa.objectives.networks.signs import MeanOverProcesses, alone, collapse_signs
from ecgjepa.sampling.augmentation import Augmentation


class ViewsOutput(NamedTuple):
    """The loss and what tells of a failure; of all processes' records, the same on each.

    Attributes:
        loss: Value that is minimised.
        features: Features of the first view before the projector, which a probe will read.
        positive_similarity: Mean cosine of a record's two views: low if nothing is learned.
        negative_similarity: Mean cosine of views of different records: near 1 in a collapse.
        uniformity: log mean exp(-2 |u - v|²) over the first views of different records: 0 in a
            collapse, the lower the better spread (Wang & Isola, https://arxiv.org/abs/2005.10242).
    """

    loss: Float[Tensor, ""]
    features: Float[Tensor, "records dim"]
    positive_similarity: Float[Tensor, ""]
    negative_similarity: Float[Tensor, ""]
    uniformity: Float[Tensor, ""]

    def signs(self, mean: MeanOverProcesses = alone) -> dict[str, float]:
        """Return the encoder's signs and those of the embeddings, the same on all processes."""
        found = collapse_signs(self.features.unsqueeze(1))
        return {
            "spread": found.spread,
            "effective_rank": found.effective_rank,
            "positive_similarity": float(self.positive_similarity),
            "negative_similarity": float(self.negative_similarity),
            "uniformity": float(self.uniformity),
        }


def make_views(
    signal: Float[Tensor, "batch leads samples"], augmentation: Augmentation
) -> tuple[Float[Tensor, "batch leads samples"], Float[Tensor, "batch leads samples"]]:
    """Return two views of normalised signals: cropped and stretched, scaled, noisy, blanked."""
    return _view(signal, augmentation, 0), _view(signal, augmentation, 1)


def _view(
    signal: Float[Tensor, "batch leads samples"], augmentation: Augmentation, number: int
) -> Float[Tensor, "batch leads samples"]:
    chosen = Augmentation(*(values[:, number] for values in augmentation))
    samples = signal.shape[2]
    # Where in the window, from 0 to 1, each sample of the view lies.
    place = torch.arange(samples, device=signal.device) / (samples - 1)
    shown = chosen.crop_start[:, None] + chosen.crop_width[:, None] * place
    view = _interpolate(signal, (samples - 1) * shown) * chosen.scale[:, None, None]
    view = view + chosen.noise[:, None, None] * white_noise(chosen.noise_seed, signal.shape)
    after = place - chosen.mask_start[:, None]
    blank = (after >= 0) & (after < chosen.mask_width[:, None])
    return view.masked_fill(blank[:, None, :] | ~chosen.keep_lead[:, :, None], 0.0)


def _interpolate(
    signal: Float[Tensor, "batch leads samples"], place: Float[Tensor, "batch samples"]
) -> Float[Tensor, "batch leads samples"]:
    """Return the signal between its samples, on straight lines."""
    left = place.long().clamp(0, signal.shape[2] - 2)
    share = (place - left).unsqueeze(1)
    left = left.unsqueeze(1).expand(-1, signal.shape[1], -1)
    return torch.lerp(signal.gather(2, left), signal.gather(2, left + 1), share)


def white_noise(
    seed: Int64[Tensor, " batch"], shape: torch.Size
) -> Float[Tensor, "batch leads samples"]:
    """Return noise of mean 0 and deviation 1, a function of each record's 32-bit seed alone.

    Four bytes of a hash of (seed, place) added up are close to normal, and the same on every
    device. The hash is Wellons' lowbias32 (https://nullprogram.com/blog/2018/07/31/).
    """
    place = torch.arange(shape[1:].numel(), device=seed.device)
    bits = _hash(_hash(seed)[:, None] ^ place)
    total = (bits & 0xFF) + (bits >> 8 & 0xFF) + (bits >> 16 & 0xFF) + (bits >> 24)
    deviation = math.sqrt(4 * (256**2 - 1) / 12)
    return ((total - 4 * 127.5) / deviation).view(shape)


def _hash(bits: Int64[Tensor, "*shape"]) -> Int64[Tensor, "*shape"]:
    """Mix 32 bits; what overflows 64 is cut off with the rest."""
    bits = ((bits ^ (bits >> 16)) * 0x7FEB352D) & 0xFFFFFFFF
    bits = ((bits ^ (bits >> 15)) * 0x846CA68B) & 0xFFFFFFFF
    return bits ^ (bits >> 16)


def pooled(
    encoder: Encoder, signal: Float[Tensor, "batch leads samples"]
) -> Float[Tensor, "batch dim"]:
    """Return the mean over the patches, without registers, in float32: as the probes take it."""
    return encoder(signal)[:, encoder.config.num_registers :].float().mean(dim=1)


def projector(dim: int, hidden_dim: int, out_dim: int) -> nn.Sequential:
    """Return the multilayer perceptron of both objectives: linear, batch norm, ReLU, linear.

    Batch norm always uses the batch, in pre-training there is nothing else, and keeps no averages.
    """
    return nn.Sequential(
        nn.Linear(dim, hidden_dim, bias=False),
        nn.BatchNorm1d(hidden_dim, track_running_stats=False),
        nn.ReLU(),
        nn.Linear(hidden_dim, out_dim, bias=False),
    )


def describe_views(
    loss: Float[Tensor, ""],
    features: Float[Tensor, "records dim"],
    first: Float[Tensor, "records width"],
    second: Float[Tensor, "records width"],
) -> ViewsOutput:
    """Return the output with its failure signals, of the embeddings that the loss compares."""
    first, second = F.normalize(first.detach(), dim=1), F.normalize(second.detach(), dim=1)
    similarity, records = first @ second.T, len(first)
    positive = similarity.diagonal().mean()
    pairs = records * (records - 1)
    distance = (2 - 2 * first @ first.T).exp().pow(-2)
    return ViewsOutput(
        loss,
        features.detach(),
        positive,
        (similarity.sum() - similarity.diagonal().sum()) / pairs,
        ((distance.sum() - distance.diagonal().sum()) / pairs).log(),
    )


def gather_records(rows: Float[Tensor, "share dim"]) -> Float[Tensor, "records dim"]:
    """Return the rows of all processes in order; what is computed from them is the same on each.

    Batch norms and the negatives of a loss so see the whole batch, whatever the number of
    processes.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return rows
    return _Gather.apply(rows)  # type: ignore[no-untyped-call]


class _Gather(torch.autograd.Function):
    """All rows forward, and backward this process' part of the gradient.

    Every process computes the same loss of all rows, so each knows the whole gradient. It is
    multiplied by their number, because the processes' gradients will be averaged, not added.
    """

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> Tensor:
        size = dist.get_world_size()
        return gradient.chunk(size)[dist.get_rank()] * size
