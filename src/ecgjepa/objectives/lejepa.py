"""LeJEPA: views that agree, with Gaussian features (https://arxiv.org/abs/2511.08544)."""

from typing import TYPE_CHECKING

from ecgjepa.errors import ConfigError
from ecgjepa.objectives.costs import (
    FLOAT_BYTES,
    INDEX_BYTES,
    Flops,
    Numbers,
    Parameters,
    head_flops,
    head_parameters,
)
from ecgjepa.objectives.encoder_costs import encoder_parameters
from ecgjepa.objectives.views import ViewsObjective

if TYPE_CHECKING:
    from torch import Tensor

    from ecgjepa.objectives.networks.lejepa import Lejepa

_PLACES = 9  # at which the statistic's integrand is computed


class LejepaObjective(ViewsObjective):
    """LeJEPA on two views of each record, with the settings of one run."""

    name = "lejepa"
    title = "LeJEPA"
    source = "Balestriero & LeCun 2025, arXiv 2511.08544"
    others = "projector and patch map"
    loss_note = (
        "The loss adds the distance between views to a statistic that grows with the records of a "
        "batch: losses of runs with other batches or weights cannot be compared."
    )
    advice = "Try a higher lejepa.weight, or a lower train.learning_rate"

    def check(self) -> None:
        """Refuse a window whose patches cannot differ from their mean, too."""
        super().check()
        if self.config.lejepa.within and self.config.num_patches < 2:
            raise ConfigError(
                "objective lejepa compares the patches of a record, found 1: take a longer "
                "data.window_seconds, a smaller encoder.patch_size, or lejepa.within=0"
            )

    def draw(self, seed: int, step: int, part: int, *, size: int) -> "tuple[Tensor, ...]":
        """Return the seed of the directions, and the fields of the augmentation of two views."""
        from ecgjepa.sampling.inputs import draw_directions

        directions = draw_directions(seed, step, part, size=size)
        return directions, *super().draw(seed, step, part, size=size)

    def networks(self) -> "Lejepa":
        """Return encoder, projector and patch map with fresh weights."""
        from ecgjepa.objectives.networks.lejepa import Lejepa

        return Lejepa(self.config.encoder, self.config.lejepa)

    @property
    def loss_name(self) -> str:
        """Name of the loss, with the share of SIGReg."""
        return f"distance between views, SIGReg of weight {self.config.lejepa.weight:g}"

    def parameters(self) -> Parameters:
        """Return the exact numbers of parameters."""
        lejepa, dim = self.config.lejepa, self.config.encoder.dim
        head = head_parameters(dim, lejepa.hidden_dim, lejepa.projection_dim)
        return Parameters(encoder_parameters(self.config), head + dim * lejepa.projection_dim, 0)

    def flops(self) -> Flops:
        """Return the operations per record and step: two views, projected on all directions."""
        lejepa, dim, patches = self.config.lejepa, self.config.encoder.dim, self.config.num_patches
        head = head_flops(dim, lejepa.hidden_dim, lejepa.projection_dim)
        mapped = 2 * patches * dim * lejepa.projection_dim
        # Directions have no gradient.
        onto = 2 * (1 + patches) * lejepa.projection_dim * lejepa.directions
        return Flops(self.online_flops(), 0.0, 2 * (3 * (head + mapped) + 2 * onto))

    def input_bytes(self) -> int:
        """Return the bytes of the augmentation of two views, and of the directions' seed."""
        return super().input_bytes() + INDEX_BYTES

    def activation_bytes(self, numbers: Numbers) -> float:
        """Return an estimate of the bytes per record: two views, and every angle three times."""
        lejepa, patches = self.config.lejepa, self.config.num_patches
        angles = 2 * (1 + patches) * lejepa.directions * _PLACES
        return super().activation_bytes(numbers) + 3 * FLOAT_BYTES * angles
