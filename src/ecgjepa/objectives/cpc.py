"""CPC: predict the patches that follow (https://arxiv.org/abs/1807.03748)."""

from typing import TYPE_CHECKING

from ecgjepa.errors import ConfigError
from ecgjepa.objectives.costs import (
    FLOAT_BYTES,
    Flops,
    Numbers,
    Parameters,
    part_size,
)
from ecgjepa.objectives.encoder_costs import (
    block_bytes,
    embedding_flops,
    encoder_flops,
    encoder_parameters,
    stem_bytes,
)
from ecgjepa.objectives.objective import Objective, rank_sign, spread_sign
from ecgjepa.objectives.words import Panel, Picture, Sign, Span

if TYPE_CHECKING:
    from torch import Tensor

    from ecgjepa.objectives.networks.cpc import Cpc

_SHOWN = 3  # places of the picture


class CpcObjective(Objective):
    """Contrastive predictive coding, with the settings of one run."""

    name = "cpc"
    title = "CPC"
    source = "van den Oord et al. 2018, arXiv 1807.03748"
    others = "linear maps"
    least_records = 2
    loss_note = (
        "The loss tells how well the patches ahead are found among those of the record and of the "
        "batch: it grows with both, and transfer may peak before it stops falling."
    )
    features = "features"
    advice = "Try a lower train.learning_rate, or a larger train.batch_size"

    def check(self) -> None:
        """Refuse an encoder that sees the future, and a window without one."""
        super().check()
        encoder, horizons = self.config.encoder, self.config.cpc.horizons
        if not encoder.causal:
            raise ConfigError(
                "objective cpc predicts the future, so its encoder must not see it: found "
                f"encoder.architecture {encoder.architecture}, encoder.causal false; expected "
                "encoder.architecture=s4d and encoder.causal=true"
            )
        if horizons >= self.config.num_patches:
            raise ConfigError(
                f"cpc.horizons {horizons}: a window has {self.config.num_patches} patches, so at "
                f"most {self.config.num_patches - 1} follow one; take a longer "
                "data.window_seconds, a smaller encoder.patch_size or fewer horizons"
            )

    def draw(self, seed: int, step: int, part: int, *, size: int) -> "tuple[Tensor, ...]":
        """Return nothing: all other patches are told from the right one."""
        return ()

    def networks(self) -> "Cpc":
        """Return encoder and linear maps with fresh weights."""
        from ecgjepa.objectives.networks.cpc import Cpc

        return Cpc(self.config.encoder, self.config.cpc)

    @property
    def loss_name(self) -> str:
        """Name of the loss, with the number of distances ahead."""
        return f"InfoNCE, {self.config.cpc.horizons} patches ahead"

    @property
    def signs(self) -> tuple[Sign, ...]:
        """Signs of the encoder, and how often the right patch is found.

        A wide causal encoder has few directions before its first step, so they raise no alarm.
        """
        horizons = self.config.cpc.horizons
        return (
            spread_sign(self.features, alarms=True),
            rank_sign(self.features, self.config.encoder.dim, alarms=False),
            Sign(
                name="found_next",
                label="right patch found, next",
                meaning="share of the places at which the next patch has the highest score of all",
                least=0,
                most=1,
            ),
            Sign(
                name="found_farthest",
                label=f"right patch found, {horizons} ahead",
                meaning=f"share of the places at which the patch {horizons} ahead has the highest "
                "score of all",
                least=0,
                most=1,
            ),
        )

    def picture(self) -> Picture:
        """Return what is to be found from some places of a window."""
        patches, horizons = self.config.num_patches, self.config.cpc.horizons
        places = [(number + 1) * (patches - horizons) // (_SHOWN + 1) for number in range(_SHOWN)]
        panels = [
            Panel(
                title=f"after patch {place + 1}",
                spans=(Span(start=(place + 1) / patches, end=(place + 1 + horizons) / patches),),
            )
            for place in places
        ]
        return Picture(
            caption="Shaded patches are to be found, from what goes before them alone, among all "
            "patches of the record and among those of other records at the same time. Every patch "
            "has such a stretch ahead; three of them are shown.",
            panels=tuple(panels),
        )

    def parameters(self) -> Parameters:
        """Return the exact numbers of parameters."""
        maps = self.config.cpc.horizons * self.config.encoder.dim**2
        return Parameters(encoder_parameters(self.config), maps, 0)

    def flops(self) -> Flops:
        """Return the operations per record and step: the maps, and each score."""
        config, dim, horizons = self.config, self.config.encoder.dim, self.config.cpc.horizons
        patches = config.num_patches
        maps = 2 * (patches - 1) * horizons * dim**2
        # Each place with all patches of its record and all records at the same time.
        compared = 2 * self._num_predictions * (patches + part_size(config)) * dim
        blocks = encoder_flops(config, patches)
        return Flops(embedding_flops(config, trained=True) + 3 * blocks, 0.0, 3 * (maps + compared))

    @property
    def _num_predictions(self) -> int:
        """Patches that are predicted of a record, at all distances together."""
        patches = self.config.num_patches
        return sum(patches - ahead for ahead in range(1, self.config.cpc.horizons + 1))

    def input_bytes(self) -> int:
        """Return 0, for nothing is drawn."""
        return 0

    def activation_bytes(self, numbers: Numbers) -> float:
        """Return an estimate of the bytes per record: blocks, predictions, and all scores twice."""
        config, encoder, patches = self.config, self.config.encoder, self.config.num_patches
        signal = (FLOAT_BYTES + numbers.copy) * config.data.window_samples * encoder.num_leads
        blocks = encoder.depth * block_bytes(config, encoder, patches, numbers)
        scores = 2 * self._num_predictions * (patches + part_size(config))
        predicted = 2 * patches * config.cpc.horizons * encoder.dim
        blocks += stem_bytes(config, patches, numbers)
        return signal + blocks + FLOAT_BYTES * (scores + predicted + 4 * patches * encoder.dim)
