"""What an objective is: its words, what it draws, what it costs, and when its run is failing.

An objective is one class. Those that come with the package keep the networks that compute in
`ecgjepa.objectives.networks` and import them late, so that planning a run loads no torch.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ecgjepa.config import PretrainConfig
from ecgjepa.errors import ConfigError
from ecgjepa.objectives.costs import Flops, Numbers, Parameters
from ecgjepa.objectives.words import ObjectiveWords, Picture, Sign
from ecgjepa.signals.preprocessing import PreprocessingConfig

if TYPE_CHECKING:  # planning a run needs no torch
    from torch import Tensor

    from ecgjepa.objectives.networks.base import ObjectiveNetworks

# Set by the experiments in docs/log.md: healthy runs stay well above both.
MIN_SPREAD = 0.15
MIN_RANK_SHARE = 0.04


class Objective(ABC):
    """One way to pre-train an encoder, with the settings of one run.

    Attributes:
        name: Name in the configuration (``objective``).
        title: Name for people, as in "pre-trained with …".
        source: Who published the objective, and where.
        kept_encoder: Name under which a checkpoint holds the encoder to keep.
        kept_weights: Description of those weights, for a model card.
        others: Name of the networks that are trained beside the encoder, for the log.
        moving_average: Whether the momentum of the schedules moves a target network.
        least_records: Fewest records of a part of a batch that the loss can be computed of.
        any_tokens: Whether the objective works with per-lead patches and every kind of positions.
        loss_note: Sentence on what the loss does not tell.
        features: Name of the features that the signs describe.
        advice: Sentence on what to try against a collapse, without its full stop.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    source: ClassVar[str]
    kept_encoder: ClassVar[str] = "encoder"
    kept_weights: ClassVar[str] = "the trained encoder"
    others: ClassVar[str] = "heads"
    moving_average: ClassVar[bool] = False
    least_records: ClassVar[int] = 1
    any_tokens: ClassVar[bool] = False
    loss_note: ClassVar[str] = "The loss does not measure the features' quality."
    features: ClassVar[str] = "features"
    advice: ClassVar[str] = "Try a lower train.learning_rate"

    def __init__(self, config: PretrainConfig) -> None:
        """Take the settings of a run, if they suit the objective.

        Raises:
            ConfigError: If they do not, with the keys to change.
        """
        self.config = config
        self.check()

    def check(self) -> None:
        """Refuse settings that the objective cannot be trained with.

        Raises:
            ConfigError: If there are any, with the keys to change.
        """
        encoder, train = self.config.encoder, self.config.train
        part = train.batch_size // train.gradient_accumulation_steps
        if part < self.least_records:
            raise ConfigError(
                f"objective {self.name} compares the records of a batch (or of a part, with "
                f"gradient accumulation), so it needs at least {self.least_records}; found {part}"
            )
        if not self.any_tokens and (encoder.lead_patches or encoder.positions != "sinusoidal"):
            raise ConfigError(
                f"objective {self.name} works neither with encoder.lead_patches nor with other "
                "encoder.positions than sinusoidal; leave both out, or choose objective jepa"
            )

    def check_records(self, preprocessing: PreprocessingConfig) -> None:  # noqa: B027
        """Refuse records that were prepared in a way that the objective cannot train on.

        Raises:
            ConfigError: If they were, with what to change.
        """

    @property
    def teacher(self) -> Path | None:
        """Model folder that takes part in training: what it has seen, the run has seen."""
        return None

    # ------------------------------------------------------------ training

    @abstractmethod
    def draw(self, seed: int, step: int, part: int, *, size: int) -> "tuple[Tensor, ...]":
        """Return what the networks take beside the signals of a part of a batch.

        The same arguments must give the same tensors. The first axis of each is the records', so
        that processes that share a batch can each take their rows.
        """

    @abstractmethod
    def networks(self) -> "ObjectiveNetworks":
        """Return the networks with fresh weights.

        The encoder must be made first: the same seed then gives every objective the same one.
        """

    # ------------------------------------------------------------ words

    @property
    @abstractmethod
    def loss_name(self) -> str:
        """Name of the loss, which may depend on the settings."""

    @property
    @abstractmethod
    def signs(self) -> tuple[Sign, ...]:
        """Numbers that the networks' output reports, ``spread`` among them."""

    def find_collapse(self, values: Mapping[str, float]) -> str | None:
        """Return a warning if a step's signs mean that the features collapse, else None."""
        for sign in (sign for sign in self.signs if sign.alarm):
            found = sign.alarm_of(values[sign.name])
            if found is not None:
                return (
                    f"representation is collapsing: {found}. A falling loss means nothing now. "
                    f"{self.advice}"
                )
        return None

    def picture(self) -> Picture | None:
        """Return examples of what the objective hides, or None if it hides nothing."""
        return None

    def words(self) -> ObjectiveWords:
        """Return all words of the objective, for the run's folder."""
        return ObjectiveWords(
            name=self.name,
            title=self.title,
            source=self.source,
            loss=self.loss_name,
            loss_note=self.loss_note,
            moving_average=self.moving_average,
            features=self.features,
            signs=self.signs,
            advice=self.advice,
            picture=self.picture(),
        )

    # ------------------------------------------------------------ costs

    @abstractmethod
    def parameters(self) -> Parameters:
        """Return the exact numbers of parameters."""

    @abstractmethod
    def flops(self) -> Flops:
        """Return the operations per record and step."""

    @abstractmethod
    def input_bytes(self) -> int:
        """Return the bytes per record of what `draw` gives."""

    @abstractmethod
    def activation_bytes(self, numbers: Numbers) -> float:
        """Return the bytes per record that the backward pass needs, at the most."""


def spread_sign(features: str, *, alarms: bool) -> Sign:
    """Return the sign that every objective has: how much features differ between records.

    Args:
        features: Name of the features, such as "target features".
        alarms: Whether a small spread means a collapse.
    """
    return Sign(
        name="spread",
        label="spread between records",
        meaning=f"share of the {features}' size that differs between records",
        below=MIN_SPREAD if alarms else None,
        alarm=f"only {{value:.0%}} of the {features} differs between records" if alarms else "",
        least=0,
        most=1,
    )


def rank_sign(features: str, dim: int, *, alarms: bool) -> Sign:
    """Return the sign that every objective has: over how many directions features differ.

    Args:
        features: Name of the features, such as "target features".
        dim: Width of the features.
        alarms: Whether few directions mean a collapse.
    """
    return Sign(
        name="effective_rank",
        label=f"effective rank (of {dim})",
        meaning=f"number of directions in which the {features} differ between records",
        below=MIN_RANK_SHARE * dim if alarms else None,
        alarm=f"{features} vary in {{value:.1f}} directions of {dim}" if alarms else "",
        least=0,
    )
