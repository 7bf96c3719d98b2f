"""`OwnObjective`: an objective whose loss is all that has to be written."""

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar, NamedTuple, NoReturn

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ecgjepa.errors import ConfigError, EncoderError
from ecgjepa.model.encoders.build import build_encoder
from ecgjepa.model.encoders.encoder import Encoder
from ecgjepa.objectives.networks.base import ObjectiveNetworks
from ecgjepa.objectives.networks.signs import MeanOverProcesses, collapse_signs
from ecgjepa.objectives.objective import Objective, rank_sign, spread_sign
from ecgjepa.objectives.words import Sign

if TYPE_CHECKING:
    from ecgjepa.objectives.costs import Flops, Numbers, Parameters


class OwnOutput(NamedTuple):
    """A loss, and the features whose spread tells whether they collapse.

    Attributes:
        loss: What is minimised.
        features: Features of the records, a row per record and token.
    """

    loss: Float[Tensor, ""]
    features: Float[Tensor, "batch tokens dim"]

    def signs(self, mean: MeanOverProcesses) -> dict[str, float]:
        """Return spread and effective rank of the features."""
        found = collapse_signs(self.features, mean_over_processes=mean)
        return {"spread": found.spread, "effective_rank": found.effective_rank}


class OwnNetworks(ObjectiveNetworks):
    """The encoder of the configuration, and the objective's heads.

    Args:
        objective: Gives the heads and the loss.
    """

    def __init__(self, objective: "OwnObjective") -> None:
        super().__init__()
        self.encoder = build_encoder(objective.config.encoder)
        self.heads = objective.heads()
        self._objective = objective

    def forward(self, signal: Float[Tensor, "batch leads samples"], *drawn: Tensor) -> OwnOutput:
        """Return the objective's loss.

        Raises:
            EncoderError: If the objective gives something else than a loss and features.
        """
        found = self._objective.loss(self.encoder, self.heads, signal, *drawn)
        return _checked(self._objective.name, found, len(signal))

    @property
    def encoder_to_keep(self) -> Encoder:
        """The encoder that was trained."""
        return self.encoder

    def update_target(self, momentum: float) -> None:
        """There is no target encoder."""


class OwnObjective(Objective):
    """An objective of one's own: `loss`, and where they are needed `heads` and `draw`.

    The class has a ``name``, which ``--set objective=`` is given, and a ``title``, as in
    "pre-trained with …". `ecgjepa.use` makes it known. Resuming, the log, the collapse alarm and
    the report are those of every objective; `ecgjepa.plan` cannot count what it costs.

    Attributes:
        config: Settings of the run; ``config.encoder`` has ``dim``, ``num_leads``, ``patch_size``
            and ``num_registers``.

    Example:
        >>> import ecgjepa
        >>> class Shrink(ecgjepa.OwnObjective):
        ...     name, title = "shrink", "shrinking features"
        ...
        ...     def loss(self, encoder, heads, signal):
        ...         tokens = encoder(signal)
        ...         return tokens.square().mean(), tokens
        >>> ecgjepa.use(Shrink)
        >>> ecgjepa.preset_settings("tiny", ["objective=shrink"])[0].key
        'objective'
    """

    source: ClassVar[str] = "its author"
    any_tokens: ClassVar[bool] = True

    @abstractmethod
    def loss(
        self, encoder: Encoder, heads: nn.Module, signal: Tensor, *drawn: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the loss of a batch, and features that tell whether they collapse.

        Args:
            encoder: Encoder: signals to tokens (batch, tokens, dim), registers first.
            heads: What `heads` returned.
            signal: Normalised windows (batch, leads, samples).
            drawn: What `draw` returned.

        Returns:
            A number, and features (batch, dim) or (batch, tokens, dim).
        """

    def heads(self) -> nn.Module:
        """Return what is trained beside the encoder and thrown away after; by default nothing."""
        return nn.Identity()

    def draw(self, seed: int, step: int, part: int, *, size: int) -> tuple[Tensor, ...]:
        """Return what is random in a part of a batch of ``size`` records; by default nothing.

        What is random must come from here and depend on nothing but the arguments, so that a
        resumed run equals the uninterrupted one: `generator` makes such a generator.
        """
        return ()

    @staticmethod
    def generator(seed: int, step: int, part: int) -> torch.Generator:
        """Return a generator of random numbers of a part of a step."""
        numbers = (seed * 1_000_003 + step) * 1_009 + part
        return torch.Generator().manual_seed(numbers % 2**63)

    def networks(self) -> OwnNetworks:
        """Return encoder and heads with fresh weights."""
        return OwnNetworks(self)

    @property
    def loss_name(self) -> str:
        """Name of the loss."""
        return f"loss of {self.title}"

    @property
    def signs(self) -> tuple[Sign, ...]:
        """Spread and effective rank of the features that `loss` returns."""
        return (
            spread_sign(self.features, alarms=True),
            rank_sign(self.features, self.config.encoder.dim, alarms=False),
        )

    def parameters(self) -> "Parameters":
        """Refuse: costs are counted for objectives of this package."""
        self._refuse()

    def flops(self) -> "Flops":
        """Refuse: costs are counted for objectives of this package."""
        self._refuse()

    def input_bytes(self) -> int:
        """Refuse: costs are counted for objectives of this package."""
        self._refuse()

    def activation_bytes(self, numbers: "Numbers") -> float:
        """Refuse: costs are counted for objectives of this package."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise ConfigError(
            f"objective {self.name} is not of this package, so its costs cannot be counted; train "
            "a few steps to measure them, with --set train.steps=20"
        )


def _checked(name: str, found: object, batch: int) -> OwnOutput:
    if not (isinstance(found, tuple) and len(found) == 2):
        raise EncoderError(
            f"objective {name}: loss returns {type(found).__name__}; expected a "
            "tuple of a loss and features"
        )
    loss, features = found
    if not isinstance(loss, Tensor) or loss.ndim:
        raise EncoderError(f"objective {name}: the loss is {_shown(loss)}; expected one number")
    if not isinstance(features, Tensor) or features.ndim not in (2, 3) or len(features) != batch:
        raise EncoderError(
            f"objective {name}: the features are {_shown(features)}; expected a tensor ({batch}, "
            f"dim) or ({batch}, tokens, dim)"
        )
    detached = features.detach()
    return OwnOutput(loss, detached if detached.ndim == 3 else detached[:, None])


def _shown(value: object) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    return f"of type {type(value).__name__}"
