"""JEPA: predict the latent features of masked stretches (https://arxiv.org/abs/2410.13867)."""

from typing import TYPE_CHECKING

import numpy as np

from ecgjepa.config import PretrainConfig
from ecgjepa.errors import ConfigError
from ecgjepa.objectives.costs import (
    INDEX_BYTES,
    Flops,
    Numbers,
    Parameters,
    blocks_flops,
    narrow_parameters,
)
from ecgjepa.objectives.encoder_costs import (
    embedding_flops,
    encoder_flops,
    encoder_parameters,
    masked_activation_bytes,
)
from ecgjepa.objectives.objective import Objective, rank_sign, spread_sign
from ecgjepa.objectives.words import Panel, Picture, Sign, Span, picture_of_lead_patches
from ecgjepa.sampling.lead_dropout import mean_leads
from ecgjepa.sampling.masking import (
    check_mask_size,
    check_random_masks,
    sample_masks,
    sample_random_masks,
)

if TYPE_CHECKING:
    from torch import Tensor

    from ecgjepa.objectives.networks.jepa import Jepa

_LOSS_NAMES = {
    "l1": "mean absolute error",
    "smooth-l1": "smooth L1",
    "l2": "mean squared error",
}
_EXAMPLES = 13  # masks of the picture: one on an ECG and twelve strips


class JepaObjective(Objective):
    """JEPA, with the settings of one run."""

    name = "jepa"
    title = "JEPA"
    source = "Weimann & Conrad 2025, arXiv 2410.13867"
    kept_encoder = "target_encoder"
    kept_weights = "the target encoder (moving average of the context encoder)"
    others = "predictor"
    moving_average = True
    any_tokens = True
    loss_note = (
        "The loss does not measure quality: it also falls when features collapse, and transfer may "
        "peak before it stops falling."
    )
    features = "target features"
    advice = (
        "Try a lower train.learning_rate, a train.momentum closer to 1, or "
        "train.normalise_targets=true"
    )

    def check(self) -> None:
        """Refuse a window that is too short for its masks, too."""
        super().check()
        layers, depth = self.config.jepa.target_layers, self.target.encoder.depth
        if layers > depth:
            raise ConfigError(f"jepa.target_layers {layers}: the encoder has {depth} blocks")
        if self.per_lead:
            self._check_lead_patches()
            return
        try:
            check_mask_size(self.config.mask, self.config.num_patches)
        except ValueError as error:
            raise ConfigError(f"mask: {error}") from None

    def _check_lead_patches(self) -> None:
        """Refuse settings under which no patch of a single lead can be hidden."""
        if self.config.encoder.lead_patches:
            raise ConfigError(
                "jepa.masking lead-time hides patches of single leads, and encoder.lead_patches "
                "makes a token of each; leave one of the two out"
            )
        if self.config.jepa.visible_loss:
            raise ConfigError(
                "jepa.masking lead-time predicts all patches in any case; leave out "
                "jepa.visible_loss"
            )
        try:
            check_random_masks(self.num_maskable)
        except ValueError as error:
            raise ConfigError(f"jepa.masking lead-time {error}") from None

    @property
    def per_lead(self) -> bool:
        """Whether patches of single leads are hidden."""
        return self.config.jepa.masking == "lead-time"

    @property
    def num_maskable(self) -> int:
        """Number of patches of single leads, of which a part is hidden."""
        return self.config.num_patches * self.config.encoder.num_leads

    @property
    def target(self) -> PretrainConfig:
        """The settings, with the encoder whose features are predicted: here the same."""
        return self.config

    def draw(self, seed: int, step: int, part: int, *, size: int) -> "tuple[Tensor, ...]":
        """Return the tokens that the context encoder sees, and those to predict."""
        from ecgjepa.sampling.inputs import draw_block_masks, draw_random_masks

        if self.per_lead:
            ratio = self.config.jepa.mask_ratio
            return draw_random_masks(ratio, self.num_maskable, seed, step, part, size=size)
        return draw_block_masks(self.config, seed, step, part, size=size)

    def networks(self) -> "Jepa":
        """Return context encoder, target encoder and predictor with fresh weights."""
        from ecgjepa.objectives.networks.jepa import Jepa

        train = self.config.train
        return Jepa(
            self.config.encoder,
            self.config.predictor,
            self.config.jepa,
            normalise_targets=train.normalise_targets,
            loss=train.loss,
        )

    @property
    def loss_name(self) -> str:
        """Name of the loss, by ``train.loss``."""
        name = _LOSS_NAMES[self.config.train.loss]
        return f"{name}, normalised targets" if self.config.train.normalise_targets else name

    @property
    def signs(self) -> tuple[Sign, ...]:
        """Signs of both encoders, and how the loss compares with predicting the mean."""
        dim, context = self.config.encoder.dim, "context encoder's features"
        return (
            spread_sign(self.features, alarms=True),
            rank_sign(self.features, dim, alarms=True),
            spread_sign(context, alarms=False).model_copy(
                update={"name": "context_spread", "label": "spread, context encoder"}
            ),
            rank_sign(context, dim, alarms=False).model_copy(
                update={
                    "name": "context_effective_rank",
                    "label": f"effective rank (of {dim}), context encoder",
                }
            ),
            Sign(
                name="loss_to_mean",
                label="loss relative to predicting the mean",
                meaning="loss divided by that of predicting the mean at every position; "
                "1 means that nothing about a record was predicted",
                least=0,
            ),
        )

    def picture(self) -> Picture:
        """Return masks as they are drawn, first the one of most visible stretches."""
        return self._masks_of_leads() if self.per_lead else self._masks_of_time()

    def _masks_of_leads(self) -> Picture:
        config = self.config
        masks = sample_random_masks(
            config.jepa.mask_ratio,
            np.random.default_rng(0),
            batch_size=1,
            num_patches=self.num_maskable,
        )
        return picture_of_lead_patches(
            masks.target_index[0].tolist(),
            config.data.leads,
            config.num_patches,
            "Shaded patches of single leads are hidden: the context encoder sees 0 there, and the "
            "predictor tells the features of all patches, not the signal.",
        )

    def _masks_of_time(self) -> Picture:
        config = self.config
        masks = sample_masks(
            config.mask,
            np.random.default_rng(0),
            batch_size=_EXAMPLES,
            num_patches=config.num_patches,
        )
        # A picture of a single block explains little.
        stretches = (np.diff(masks.context_index, axis=1) > 1).sum(axis=1)
        order = np.argsort(-stretches, kind="stable")
        panels = [
            Panel(
                spans=tuple(
                    Span(start=patch / config.num_patches, end=(patch + 1) / config.num_patches)
                    for patch in row.tolist()
                )
            )
            for row in masks.target_index[order]
        ]
        dropped = (
            f" Each lead is also left out with probability {config.train.lead_dropout:g}."
            if config.train.lead_dropout
            else ""
        )
        return Picture(
            caption="Shaded patches are hidden from the context encoder; the predictor fills in "
            "their features, not the signal. Below, twelve more masks as they are drawn." + dropped,
            panels=tuple(panels[:1]),
            strips=tuple(panels[1:]),
            strips_title="more\nmasks",
        )

    def parameters(self) -> Parameters:
        """Return the exact numbers of parameters."""
        encoder = encoder_parameters(self.config)
        unused = self.config.predictor.dim if self.per_lead else 0  # the mask token
        predictor = narrow_parameters(self.config, self.config.predictor, self.target.encoder.dim)
        return Parameters(encoder, predictor - unused, encoder_parameters(self.target))

    def flops(self) -> Flops:
        """Return the operations per record and step, with the mean number of visible patches."""
        if self.per_lead:
            return self.flops_with(self.config.num_patches)
        mask = self.config.mask
        ratio = (mask.min_keep_ratio + mask.max_keep_ratio) / 2
        # A uniform share of all patches, rounded up.
        return self.flops_with(ratio * self.config.num_patches + 0.5)

    def flops_with(self, visible: float) -> Flops:
        """Return the operations per record with this number of visible patches."""
        config, encoder, predictor = self.config, self.config.encoder, self.config.predictor
        context = visible * self._mean_context_leads()
        hidden = (config.num_patches - visible) * encoder.tokens_per_patch
        tokens = context + hidden  # of the predictor
        embedding = embedding_flops(config, visible, trained=True)
        with_context = config.jepa.visible_loss or self.per_lead
        answered = context + hidden if with_context else hidden
        ends = context * encoder.dim + answered * self.target.encoder.dim
        return Flops(
            # A backward pass is two products for each of the forward pass.
            context_encoder=embedding + 3 * encoder_flops(config, context),
            target_encoder=embedding_flops(self.target)
            + encoder_flops(self.target, config.num_tokens),
            predictor=3
            * (2 * predictor.dim * ends + blocks_flops(predictor, tokens, encoder.mlp_ratio)),
        )

    def _mean_context_leads(self) -> float:
        """Return the mean number of the context's tokens for a visible patch."""
        encoder = self.config.encoder
        if not encoder.lead_patches:
            return 1
        return mean_leads(self.config.train.lead_dropout, encoder.num_leads)

    def input_bytes(self) -> int:
        """Return the bytes of the positions of a record's tokens."""
        return INDEX_BYTES * self.config.num_tokens

    def activation_bytes(self, numbers: Numbers) -> float:
        """Return the bytes per record at the largest number of visible patches."""
        config = self.config
        context = config.mask.max_keep_ratio * config.num_tokens + config.encoder.tokens_per_patch
        if self.per_lead:
            context = config.num_tokens
        return masked_activation_bytes(config, config.predictor, context, numbers)
