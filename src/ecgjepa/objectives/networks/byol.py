"""BYOL: predict a moving average's embedding of another view of the same record; no negatives.

Grill et al. 2020, https://arxiv.org/abs/2006.07733; for ECGs Mehari & Strodthoff,
https://arxiv.org/abs/2103.12676.
"""

import copy

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ecgjepa.config import ByolConfig, EncoderConfig
from ecgjepa.model.encoders.build import build_encoder
from ecgjepa.model.encoders.encoder import Encoder
from ecgjepa.objectives.networks.base import ObjectiveNetworks, move_average
from ecgjepa.objectives.networks.views import (
    ViewsOutput,
    describe_views,
    gather_records,
    make_views,
    pooled,
    projector,
)
from ecgjepa.sampling.augmentation import Augmentation


class Byol(ObjectiveNetworks):
    """Encoder, projector and predictor; moving averages of the first two."""

    def __init__(self, encoder: EncoderConfig, config: ByolConfig) -> None:
        super().__init__()
        width = config.projection_dim
        self.encoder = build_encoder(encoder)
        self.projector = projector(encoder.dim, config.hidden_dim, width)
        self.predictor = projector(width, config.hidden_dim, width)
        self.target_encoder = copy.deepcopy(self.encoder).requires_grad_(False)
        self.target_projector = copy.deepcopy(self.projector).requires_grad_(False)

    def forward(
        self, signal: Float[Tensor, "batch leads samples"], *augmentation: Tensor
    ) -> ViewsOutput:
        """Return the loss of predicting each view from the other; see `Augmentation`."""
        views = torch.cat(make_views(signal, Augmentation(*augmentation)))
        features = pooled(self.encoder, views)
        with torch.no_grad():
            target_features = pooled(self.target_encoder, views)
        with torch.autocast(signal.device.type, enabled=False):
            # Each view has its own batch statistics, as published.
            gathered = [gather_records(view) for view in features.chunk(2)]
            predicted = [self.predictor(self.projector(view)) for view in gathered]
            with torch.no_grad():
                wanted = [
                    self.target_projector(gather_records(view)) for view in target_features.chunk(2)
                ]
            loss = regression_loss(predicted[0], wanted[1]) + regression_loss(
                predicted[1], wanted[0]
            )
            return describe_views(loss, gathered[0], predicted[0], wanted[1])

    @property
    def encoder_to_keep(self) -> Encoder:
        """The encoder that was trained, as published; not its moving average."""
        return self.encoder

    def update_target(self, momentum: float) -> None:
        """Move the target's encoder and projector: once per optimizer step."""
        move_average(self.target_encoder, self.encoder, momentum)
        move_average(self.target_projector, self.projector, momentum)


def regression_loss(
    predicted: Float[Tensor, "records dim"], wanted: Float[Tensor, "records dim"]
) -> Float[Tensor, ""]:
    """Return the mean squared distance of the normalised vectors: 2 - 2 cosine (equation 2)."""
    return (2 - 2 * F.cosine_similarity(predicted, wanted, dim=1)).mean()
