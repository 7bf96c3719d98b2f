"""CPC: tell the patches that follow from all others, at several distances ahead.

van den Oord et al. 2018, https://arxiv.org/abs/1807.03748; for ECGs Mehari & Strodthoff,
https://arxiv.org/abs/2103.12676.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ecgjepa.config import CpcConfig, EncoderConfig
from ecgjepa.model.encoders.build import build_encoder
from ecgjepa.model.encoders.encoder import Encoder
from ecgjepa.model.encoders.masked import MaskedEncoder
from ecgjepa.objectives.networks.base import ObjectiveNetworks
from ecgjepa.objectives.networks.signs import MeanOverProcesses, alone, collapse_signs
from ecgjepa.objectives.networks.views import gather_records


class CpcOutput(NamedTuple):
    """The loss and what tells of a failure.

    Attributes:
        loss: Value that is minimised; of all processes' records, the same on each.
        features: Features of this process' records, which a probe will read.
        found: Shares of the patches that were told from all others, at the least and the greatest
            distance ahead; of all processes' records.
    """

    loss: Float[Tensor, ""]
    features: Float[Tensor, "batch patches dim"]
    found: tuple[Float[Tensor, ""], Float[Tensor, ""]]

    def signs(self, mean: MeanOverProcesses = alone) -> dict[str, float]:
        """Return the encoder's signs, and how often the next and the farthest patch are found."""
        signs = collapse_signs(self.features, mean_over_processes=mean)
        nearest, farthest = self.found
        return {
            "spread": signs.spread,
            "effective_rank": signs.effective_rank,
            "found_next": float(nearest),
            "found_farthest": float(farthest),
        }


class Cpc(ObjectiveNetworks):
    """A causal encoder, and a linear map for each distance; the maps are thrown away."""

    def __init__(self, encoder: EncoderConfig, config: CpcConfig) -> None:
        super().__init__()
        made = build_encoder(encoder)
        assert isinstance(made, MaskedEncoder)  # the objective refuses all others
        self.encoder = made
        self.horizons = config.horizons
        self.maps = nn.Linear(encoder.dim, config.horizons * encoder.dim, bias=False)
        # Scores are sums over the width: of size 1 at the start, so that no patch is ruled out.
        nn.init.normal_(self.maps.weight, std=1 / encoder.dim)

    def forward(self, signal: Float[Tensor, "batch leads samples"]) -> CpcOutput:
        """Return InfoNCE of the patches ahead, averaged over distances and places."""
        embedded = self.encoder.embed(signal)
        features = self.encoder.contextualise(embedded)
        batch, patches, dim = features.shape
        # Nothing is predicted from the last patch.
        predicted = self.maps(features[:, :-1]).view(batch, patches - 1, self.horizons, dim)
        with torch.autocast(signal.device.type, enabled=False):
            wanted = _gather(embedded.float())
            loss, found = predictive_loss(_gather(predicted.float()), wanted)
        return CpcOutput(loss, features.detach(), found)

    @property
    def encoder_to_keep(self) -> Encoder:
        """The encoder that was trained."""
        return self.encoder

    def update_target(self, momentum: float) -> None:
        """There is no target encoder."""


def predictive_loss(
    predicted: Float[Tensor, "records places horizons dim"],
    wanted: Float[Tensor, "records patches dim"],
) -> tuple[Float[Tensor, ""], tuple[Float[Tensor, ""], Float[Tensor, ""]]]:
    """Return InfoNCE, and how often the right patch has the highest score at both ends.

    The patch at distance k from a place is to be told from all other patches of its record, and
    from the patches of all other records at the same time. A score is the product of the
    prediction with a patch's embedding.

    Args:
        predicted: What each place but the last expects at each distance.
        wanted: Embedded patches.
    """
    losses, found = [], []
    for distance in range(1, predicted.shape[2] + 1):
        scores = _scores(predicted[:, : wanted.shape[1] - distance, distance - 1], wanted, distance)
        right = torch.arange(distance, wanted.shape[1], device=wanted.device)
        right = right.expand(len(wanted), -1)
        losses.append(F.cross_entropy(scores.flatten(0, 1), right.flatten()))
        if distance in (1, predicted.shape[2]):
            found.append((scores.detach().argmax(dim=2) == right).float().mean())
    return torch.stack(losses).mean(), (found[0], found[-1])


def _scores(
    predicted: Float[Tensor, "records places dim"],
    wanted: Float[Tensor, "records patches dim"],
    distance: int,
) -> Float[Tensor, "records places candidates"]:
    """Return the scores of a record's own patches, then those of all records at the same time."""
    own = predicted @ wanted.transpose(1, 2)
    others = predicted.transpose(0, 1) @ wanted[:, distance:].permute(1, 2, 0)
    itself = torch.eye(len(wanted), dtype=torch.bool, device=wanted.device)
    others = others.masked_fill(itself, -torch.inf)  # it is among its own patches
    return torch.cat((own, others.transpose(0, 1)), dim=2)


def _gather(
    values: Float[Tensor, "batch patches *rest"],
) -> Float[Tensor, "records patches *rest"]:
    """Return the values of all processes' records."""
    return gather_records(values.flatten(1)).view(-1, *values.shape[1:])
