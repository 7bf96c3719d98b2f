"""Masked autoencoder: reconstruct the samples of hidden patches.

He et al. 2021, https://arxiv.org/abs/2111.06377. Hidden are patches of all leads (``time``), or of
single leads (``lead-time``), as ST-MEM has it (https://arxiv.org/abs/2402.09450).
"""

from typing import NamedTuple

import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from ecgjepa.config import EncoderConfig, MaeConfig
from ecgjepa.model.decoder import Decoder
from ecgjepa.model.encoders.build import build_encoder
from ecgjepa.model.encoders.encoder import Encoder
from ecgjepa.model.layers import gather_tokens
from ecgjepa.objectives.networks.base import ObjectiveNetworks
from ecgjepa.objectives.networks.blanking import blank_lead_patches
from ecgjepa.objectives.networks.signs import MeanOverProcesses, alone, collapse_signs

_EPS = 1e-6  # of the published code, added to a patch's variance


class MaeOutput(NamedTuple):
    """The loss and what tells of a failure.

    Attributes:
        loss: Mean squared error of the hidden patches.
        baseline: Loss of predicting the mean, which is 0 after normalisation.
        features: Features of the patches that the encoder saw.
        positions: Positions of those patches; None if the encoder saw all of them.
        num_patches: Patches of a window.
    """

    loss: Float[Tensor, ""]
    baseline: Float[Tensor, ""]
    features: Float[Tensor, "batch visible dim"]
    positions: Int64[Tensor, "batch visible"] | None
    num_patches: int

    def signs(self, mean: MeanOverProcesses = alone) -> dict[str, float]:
        """Return the encoder's signs, and the share of the hidden variance that is explained."""
        found = collapse_signs(
            self.features,
            self.positions,
            num_patches=self.num_patches,
            mean_over_processes=mean,
        )
        unexplained = mean(self.loss.detach()) / mean(self.baseline).clamp_min(1e-12)
        return {
            "spread": found.spread,
            "effective_rank": found.effective_rank,
            "reconstruction_r2": float(1 - unexplained),
        }


class Mae(ObjectiveNetworks):
    """Encoder and decoder; the decoder is thrown away after training."""

    def __init__(self, encoder: EncoderConfig, config: MaeConfig) -> None:
        super().__init__()
        self.encoder = build_encoder(encoder)
        self.per_lead = config.masking == "lead-time"
        self.decoder = Decoder(config.decoder, encoder, skips=not self.per_lead)
        self.normalise_targets = config.normalise_targets

    def forward(
        self,
        signal: Float[Tensor, "batch leads samples"],
        context_index: Int64[Tensor, "batch context"],
        target_index: Int64[Tensor, "batch target"],
    ) -> MaeOutput:
        """Return the mean squared error over the hidden patches.

        Args:
            signal: Normalised amplitudes.
            context_index: Visible patches; with ``lead-time``, numbered patch by patch and within
                each lead by lead.
            target_index: Hidden ones, likewise.
        """
        size = self.encoder.config
        patches = self._patches(signal)
        num_patches = signal.shape[2] // size.patch_size
        if self.per_lead:
            seen = blank_lead_patches(signal, target_index, size.patch_size)
            index, features = None, self.encoder(seen)
        else:
            index, features = context_index, self.encoder(signal, context_index)
        features = features[:, size.num_registers :]
        drawn = self.decoder(features, index, num_patches).float().view(patches.shape)
        wanted = gather_tokens(patches, target_index)
        if self.normalise_targets:
            wanted = normalise_patches(wanted)
        return MaeOutput(
            F.mse_loss(gather_tokens(drawn, target_index), wanted),
            wanted.square().mean(),
            features.detach(),
            index,
            num_patches,
        )

    @property
    def encoder_to_keep(self) -> Encoder:
        """The encoder that was trained."""
        return self.encoder

    def update_target(self, momentum: float) -> None:
        """There is no target encoder."""

    def _patches(self, signal: Float[Tensor, "batch leads samples"]) -> Tensor:
        """Return (batch, patches, values): of all leads together, or of each lead."""
        batch, leads, _ = signal.shape
        size = self.encoder.config.patch_size
        cut = signal.unflatten(2, (-1, size)).transpose(1, 2)  # batch, patches, leads, samples
        return cut.reshape(batch, -1, size if self.per_lead else leads * size)


def normalise_patches(
    patches: Float[Tensor, "batch patches values"],
) -> Float[Tensor, "batch patches values"]:
    """Scale each patch to its own mean and deviation; sample variance, as the published code."""
    mean = patches.mean(dim=2, keepdim=True)
    variance = patches.var(dim=2, keepdim=True)
    return (patches - mean) / (variance + _EPS).sqrt()
