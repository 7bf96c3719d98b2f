"""BYOL: predict a moving average's embedding of another view (https://arxiv.org/abs/2006.07733)."""

from typing import TYPE_CHECKING

from ecgjepa.objectives.costs import (
    Flops,
    Parameters,
    head_flops,
    head_parameters,
)
from ecgjepa.objectives.encoder_costs import (
    embedding_flops,
    encoder_parameters,
)
from ecgjepa.objectives.views import ViewsObjective

if TYPE_CHECKING:
    from ecgjepa.objectives.networks.byol import Byol


class ByolObjective(ViewsObjective):
    """BYOL, with the settings of one run."""

    name = "byol"
    title = "BYOL"
    source = "Grill et al. 2020, arXiv 2006.07733"
    moving_average = True
    loss_note = (
        "The loss does not measure quality: it also falls when features collapse, and transfer may "
        "peak before it stops falling."
    )
    advice = "Try a lower train.learning_rate, or a train.momentum closer to 1"

    def networks(self) -> "Byol":
        """Return encoder, projector, predictor and the moving averages with fresh weights."""
        from ecgjepa.objectives.networks.byol import Byol

        return Byol(self.config.encoder, self.config.byol)

    @property
    def loss_name(self) -> str:
        """Name of the loss."""
        return "squared distance of unit vectors"

    def parameters(self) -> Parameters:
        """Return the exact numbers of parameters."""
        byol, encoder = self.config.byol, encoder_parameters(self.config)
        width = byol.projection_dim
        head = head_parameters(self.config.encoder.dim, byol.hidden_dim, width)
        second = head_parameters(width, byol.hidden_dim, width)
        return Parameters(encoder, head + second, encoder + head)

    def flops(self) -> Flops:
        """Return the operations per record and step: two views, also by the target networks."""
        byol, width = self.config.byol, self.config.byol.projection_dim
        head = head_flops(self.config.encoder.dim, byol.hidden_dim, width)
        second = head_flops(width, byol.hidden_dim, width)
        target = 2 * (embedding_flops(self.config) + self.encoder_flops() + head)
        return Flops(self.online_flops(), target, 2 * 3 * (head + second))
