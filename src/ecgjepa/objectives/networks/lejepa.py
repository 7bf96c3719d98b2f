"""LeJEPA: views of a record agree, and what they say is Gaussian over records; no moving average.

Balestriero & LeCun 2025, https://arxiv.org/abs/2511.08544. Written from the paper: the statistic of
Epps and Pulley (1983) of random projections, SIGReg, keeps features from collapsing.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from ecgjepa.config import EncoderConfig, LejepaConfig
from ecgjepa.model.encoders.build import build_encoder
from ecgjepa.model.encoders.encoder import Encoder
from ecgjepa.objectives.networks.base import ObjectiveNetworks
from ecgjepa.objectives.networks.views import (
    ViewsOutput,
    describe_views,
    gather_records,
    make_views,
    projector,
    white_noise,
)
from ecgjepa.sampling.augmentation import Augmentation

# The integral over -5 to 5 by the trapezoidal rule at 17 places, as in the paper. The integrand is
# even, so half of them do.
_LAST, _PLACES = 5.0, 9


class Lejepa(ObjectiveNetworks):
    """Encoder, projector of records, and a linear map of patches; both are thrown away."""

    def __init__(self, encoder: EncoderConfig, config: LejepaConfig) -> None:
        super().__init__()
        self.encoder = build_encoder(encoder)
        self.projector = projector(encoder.dim, config.hidden_dim, config.projection_dim)
        self.patch_map = nn.Linear(encoder.dim, config.projection_dim, bias=False)
        self.config = config

    def forward(
        self,
        signal: Float[Tensor, "batch leads samples"],
        seeds: Int64[Tensor, " batch"],
        *augmentation: Tensor,
    ) -> ViewsOutput:
        """Return the distance between views and SIGReg, weighed as `LejepaConfig` says.

        Args:
            signal: Normalised amplitudes.
            seeds: What the directions are computed from, the same number for every record.
            augmentation: See `Augmentation`.
        """
        views = torch.cat(make_views(signal, Augmentation(*augmentation)))
        tokens = self.encoder(views)[:, self.encoder.config.num_registers :]
        with torch.autocast(signal.device.type, enabled=False):
            tokens = tokens.float()
            gathered = [gather_records(view) for view in tokens.mean(dim=1).chunk(2)]
            first, second = (self.projector(view) for view in gathered)
            middle = (first + second) / 2
            distance = torch.stack((first - middle, second - middle)).square().mean()
            directions = random_directions(
                seeds[:1], self.config.projection_dim, self.config.directions
            )
            across = (sigreg(first, directions) + sigreg(second, directions)) / 2
            loss = (1 - self.config.weight) * distance + self.config.weight * (
                (1 - self.config.within) * across
                + self.config.within * self._within(tokens, directions)
            )
            return describe_views(loss, gathered[0], first, second)

    def _within(
        self,
        tokens: Float[Tensor, "views patches dim"],
        directions: Float[Tensor, "width directions"],
    ) -> Float[Tensor, ""]:
        """Return SIGReg over the patches of each record, of their differences from its mean."""
        return sigreg(self.patch_map(tokens - tokens.mean(dim=1, keepdim=True)), directions)

    @property
    def encoder_to_keep(self) -> Encoder:
        """The encoder that was trained."""
        return self.encoder

    def update_target(self, momentum: float) -> None:
        """There is no target encoder."""


def random_directions(
    seed: Int64[Tensor, " 1"], width: int, number: int
) -> Float[Tensor, "width number"]:
    """Return unit vectors of about uniform directions, a function of the seed on every device."""
    drawn = white_noise(seed, torch.Size((1, width, number)))[0]
    return F.normalize(drawn.float(), dim=0)


def sigreg(
    values: Float[Tensor, "*groups samples width"], directions: Float[Tensor, "width number"]
) -> Float[Tensor, ""]:
    """Return how far samples are from a standard Gaussian: Epps and Pulley's statistic, averaged.

    For n samples projected on a direction it is n times the integral of the squared distance
    between their empirical characteristic function and exp(-t²/2), weighed by exp(-t²/2).

    Args:
        values: Samples; of several groups, each is compared with the Gaussian by itself.
        directions: Unit vectors.
    """
    places = torch.linspace(0, _LAST, _PLACES, device=values.device)
    wanted = torch.exp(-places.square() / 2)
    angles = (values @ directions).unsqueeze(-1) * places
    found, imaginary = angles.cos().mean(dim=-3), angles.sin().mean(dim=-3)
    integrand = ((found - wanted).square() + imaginary.square()) * wanted
    return values.shape[-2] * 2 * torch.trapezoid(integrand, places).mean()
