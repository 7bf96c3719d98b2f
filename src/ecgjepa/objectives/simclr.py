"""SimCLR: tell the views of a record from those of others (https://arxiv.org/abs/2002.05709)."""

from typing import TYPE_CHECKING

from ecgjepa.objectives.costs import (
    Flops,
    Parameters,
    head_flops,
    head_parameters,
    part_size,
)
from ecgjepa.objectives.encoder_costs import (
    encoder_parameters,
)
from ecgjepa.objectives.views import ViewsObjective

if TYPE_CHECKING:
    from ecgjepa.objectives.networks.simclr import SimClr


class SimclrObjective(ViewsObjective):
    """SimCLR, with the settings of one run."""

    name = "simclr"
    title = "SimCLR"
    source = "Chen et al. 2020, arXiv 2002.05709"
    loss_note = (
        "The loss tells how well the views of a record are found among those of a batch: it grows "
        "with the batch, and transfer may peak before it stops falling."
    )
    advice = "Try a lower train.learning_rate, a larger train.batch_size, or stronger views"

    def networks(self) -> "SimClr":
        """Return encoder and projector with fresh weights."""
        from ecgjepa.objectives.networks.simclr import SimClr

        return SimClr(self.config.encoder, self.config.simclr)

    @property
    def loss_name(self) -> str:
        """Name of the loss."""
        return "NT-Xent"

    def parameters(self) -> Parameters:
        """Return the exact numbers of parameters."""
        simclr, dim = self.config.simclr, self.config.encoder.dim
        head = head_parameters(dim, simclr.hidden_dim, simclr.projection_dim)
        return Parameters(encoder_parameters(self.config), head, 0)

    def flops(self) -> Flops:
        """Return the operations per record and step: two views, and their comparison."""
        simclr, dim = self.config.simclr, self.config.encoder.dim
        head = head_flops(dim, simclr.hidden_dim, simclr.projection_dim)
        # Each of a record's two views against both views of all records of a part.
        compared = 2 * 2 * 2 * part_size(self.config) * simclr.projection_dim
        return Flops(self.online_flops(), 0.0, 3 * (2 * head + compared))
