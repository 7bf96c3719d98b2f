"""Masked autoencoder: reconstruct hidden patches (https://arxiv.org/abs/2111.06377)."""

from typing import TYPE_CHECKING

import numpy as np

from ecgjepa.errors import ConfigError
from ecgjepa.objectives.costs import (
    INDEX_BYTES,
    Flops,
    Numbers,
    Parameters,
    blocks_flops,
    narrow_parameters,
    patch_values,
)
from ecgjepa.objectives.encoder_costs import (
    embedding_flops,
    encoder_flops,
    encoder_parameters,
    masked_activation_bytes,
)
from ecgjepa.objectives.objective import Objective, rank_sign, spread_sign
from ecgjepa.objectives.words import Panel, Picture, Sign, Span, picture_of_lead_patches
from ecgjepa.sampling.masking import check_random_masks, kept_of, sample_random_masks

if TYPE_CHECKING:
    from torch import Tensor

    from ecgjepa.objectives.networks.mae import Mae

_EXAMPLES = 13  # masks of the picture


class MaeObjective(Objective):
    """The masked autoencoder, with the settings of one run."""

    name = "mae"
    title = "a masked autoencoder"
    source = "He et al. 2021, arXiv 2111.06377"
    others = "decoder"
    loss_note = (
        "The loss tells how well hidden samples are drawn, which is not what a probe needs: "
        "transfer may peak before it stops falling."
    )
    features = "features"
    advice = "Try a lower train.learning_rate, or a higher mae.mask_ratio"

    def check(self) -> None:
        """Refuse a window of which nothing can be hidden, too."""
        super().check()
        try:
            check_random_masks(self.num_maskable)
        except ValueError as error:
            raise ConfigError(f"objective mae {error}") from None

    @property
    def per_lead(self) -> bool:
        """Whether patches of single leads are hidden."""
        return self.config.mae.masking == "lead-time"

    @property
    def num_maskable(self) -> int:
        """Number of patches, or of patches of single leads, of which a part is hidden."""
        return self.config.num_patches * (self.config.encoder.num_leads if self.per_lead else 1)

    @property
    def num_visible(self) -> int:
        """Number of patches that go through the encoder."""
        patches = self.config.num_patches
        return patches if self.per_lead else kept_of(patches, self.config.mae.mask_ratio)

    def draw(self, seed: int, step: int, part: int, *, size: int) -> "tuple[Tensor, ...]":
        """Return the visible and the hidden patches."""
        from ecgjepa.sampling.inputs import draw_random_masks

        ratio = self.config.mae.mask_ratio
        return draw_random_masks(ratio, self.num_maskable, seed, step, part, size=size)

    def networks(self) -> "Mae":
        """Return encoder and decoder with fresh weights."""
        from ecgjepa.objectives.networks.mae import Mae

        return Mae(self.config.encoder, self.config.mae)

    @property
    def loss_name(self) -> str:
        """Name of the loss, by ``mae.normalise_targets``."""
        name = "mean squared error"
        return f"{name}, each patch scaled" if self.config.mae.normalise_targets else name

    @property
    def signs(self) -> tuple[Sign, ...]:
        """Signs of the encoder, and how much of what is hidden is explained."""
        return (
            spread_sign(self.features, alarms=True),
            rank_sign(self.features, self.config.encoder.dim, alarms=True),
            Sign(
                name="reconstruction_r2",
                label="explained share of hidden samples",
                meaning="share of the hidden samples' variance that the reconstruction explains; "
                "0 means no better than the mean",
                most=1,
            ),
        )

    def picture(self) -> Picture:
        """Return masks as they are drawn."""
        draw = self._masks_of_leads if self.per_lead else self._masks_of_time
        return draw(np.random.default_rng(0))

    def _masks_of_time(self, rng: np.random.Generator) -> Picture:
        patches = self.config.num_patches
        masks = sample_random_masks(
            self.config.mae.mask_ratio, rng, batch_size=_EXAMPLES, num_patches=patches
        )
        panels = [
            Panel(spans=tuple(_span(patch, patches) for patch in row))
            for row in masks.target_index.tolist()
        ]
        return Picture(
            caption="Shaded patches are hidden from the encoder, in all leads; the decoder draws "
            "their samples. Below, twelve more masks as they are drawn.",
            panels=tuple(panels[:1]),
            strips=tuple(panels[1:]),
            strips_title="more\nmasks",
        )

    def _masks_of_leads(self, rng: np.random.Generator) -> Picture:
        masks = sample_random_masks(
            self.config.mae.mask_ratio, rng, batch_size=1, num_patches=self.num_maskable
        )
        return picture_of_lead_patches(
            masks.target_index[0].tolist(),
            self.config.data.leads,
            self.config.num_patches,
            "Shaded patches of single leads are hidden: the encoder sees 0 there, and the decoder "
            "draws their samples.",
        )

    def parameters(self) -> Parameters:
        """Return the exact numbers of parameters."""
        config, decoder = self.config, self.config.mae.decoder
        unused = decoder.dim if self.per_lead else 0  # the mask token
        drawing = narrow_parameters(config, decoder, patch_values(config)) - unused
        return Parameters(encoder_parameters(config), drawing, 0)

    def flops(self) -> Flops:
        """Return the operations per record and step: visible patches, then all in the decoder."""
        config, encoder, decoder = self.config, self.config.encoder, self.config.mae.decoder
        visible, patches, ratio = self.num_visible, config.num_patches, encoder.mlp_ratio
        blocks = encoder_flops(config, visible)
        ends = 2 * decoder.dim * (visible * encoder.dim + patches * patch_values(config))
        inner = blocks_flops(decoder, patches, ratio)
        return Flops(
            embedding_flops(config, visible, trained=True) + 3 * blocks, 0.0, 3 * (ends + inner)
        )

    def input_bytes(self) -> int:
        """Return the bytes of the positions of a record's patches."""
        return INDEX_BYTES * self.num_maskable

    def activation_bytes(self, numbers: Numbers) -> float:
        """Return an estimate of the bytes per record."""
        config = self.config
        return masked_activation_bytes(config, config.mae.decoder, self.num_visible, numbers)


def _span(patch: int, patches: int) -> Span:
    return Span(start=patch / patches, end=(patch + 1) / patches)
