"""SimCLR: two views of a record are to be more alike than views of different records.

Chen et al. 2020, https://arxiv.org/abs/2002.05709; for ECGs Mehari & Strodthoff,
https://arxiv.org/abs/2103.12676.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ecgjepa.config import EncoderConfig, SimclrConfig
from ecgjepa.model.encoders.build import build_encoder
from ecgjepa.model.encoders.encoder import Encoder
from ecgjepa.objectives.networks.base import ObjectiveNetworks
from ecgjepa.objectives.networks.views import (
    ViewsOutput,
    describe_views,
    gather_records,
    make_views,
    pooled,
    projector,
)
from ecgjepa.sampling.augmentation import Augmentation


class SimClr(ObjectiveNetworks):
    """Encoder and projector; the projector is thrown away after training."""

    def __init__(self, encoder: EncoderConfig, config: SimclrConfig) -> None:
        super().__init__()
        self.encoder = build_encoder(encoder)
        self.projector = projector(encoder.dim, config.hidden_dim, config.projection_dim)
        self.temperature = config.temperature

    def forward(
        self, signal: Float[Tensor, "batch leads samples"], *augmentation: Tensor
    ) -> ViewsOutput:
        """Return the contrastive loss of two views of each record; see `Augmentation`."""
        features = pooled(self.encoder, torch.cat(make_views(signal, Augmentation(*augmentation))))
        with torch.autocast(signal.device.type, enabled=False):
            gathered = [gather_records(view) for view in features.chunk(2)]
            first, second = self.projector(torch.cat(gathered)).chunk(2)
            loss = contrastive_loss(first, second, self.temperature)
            return describe_views(loss, gathered[0], first, second)

    @property
    def encoder_to_keep(self) -> Encoder:
        """The encoder that was trained."""
        return self.encoder

    def update_target(self, momentum: float) -> None:
        """There is no target encoder."""


def contrastive_loss(
    first: Float[Tensor, "records dim"], second: Float[Tensor, "records dim"], temperature: float
) -> Float[Tensor, ""]:
    """Return NT-Xent: each view is to find its partner among all other views (equation 1)."""
    views = F.normalize(torch.cat((first, second)), dim=1)
    logits = views @ views.T / temperature
    logits = logits.masked_fill(torch.eye(len(views), dtype=torch.bool, device=views.device), -1e9)
    partner = torch.arange(len(views), device=views.device).roll(len(first))
    return F.cross_entropy(logits, partner)
