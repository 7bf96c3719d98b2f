"""JEPA: predict the latent features of masked stretches of the signal.

Weimann & Conrad, https://arxiv.org/abs/2410.13867, section 3. The target encoder, a moving average
of the context encoder, sees the whole record; the context encoder sees the visible patches; the
predictor fills in the target encoder's features at the masked positions. No augmentation, no
signal reconstruction.
"""

import copy
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from ecgjepa.config import EncoderConfig, Loss, PredictorConfig
from ecgjepa.model.encoder import VisionTransformer
from ecgjepa.model.layers import gather_tokens
from ecgjepa.model.predictor import Predictor

# Of predicted and wanted features, averaged; smooth L1 turns from square to line at an error of 1.
LOSSES = {"l1": F.l1_loss, "smooth-l1": F.smooth_l1_loss, "l2": F.mse_loss}


class JepaOutput(NamedTuple):
    """The loss, and the features of both encoders, for the collapse monitor."""

    loss: Float[Tensor, ""]
    target: Float[Tensor, "batch patches dim"]
    context: Float[Tensor, "batch context dim"]


class Jepa(nn.Module):
    """Context encoder, target encoder and predictor.

    Args:
        encoder: Architecture of both encoders.
        predictor: Architecture of the predictor.
        normalise_targets: Layer norm without parameters on the targets (I-JEPA); off in the paper.
        loss: How far the predicted features are from the wanted ones; ``l1`` in the paper.
    """

    def __init__(
        self,
        encoder: EncoderConfig,
        predictor: PredictorConfig,
        *,
        normalise_targets: bool = False,
        loss: Loss = "l1",
    ) -> None:
        super().__init__()
        self.context_encoder = VisionTransformer(encoder)
        self.predictor = Predictor(predictor, encoder)
        self.target_encoder = copy.deepcopy(self.context_encoder).requires_grad_(False)
        self.normalise_targets = normalise_targets
        self.loss = LOSSES[loss]

    def forward(
        self,
        signal: Float[Tensor, "batch leads samples"],
        context_index: Int64[Tensor, "batch context"],
        target_index: Int64[Tensor, "batch target"],
    ) -> JepaOutput:
        """Return the loss of the predicted features: by default their mean absolute error."""
        num_registers = self.context_encoder.config.num_registers
        with torch.no_grad():
            target = self.target_encoder(signal)[:, num_registers:].float()
            wanted = gather_tokens(target, target_index)
            if self.normalise_targets:
                wanted = F.layer_norm(wanted, wanted.shape[-1:])
        context = self.context_encoder(signal, context_index)[:, num_registers:]
        predicted = self.predictor(context, context_index, target_index, num_tokens=target.shape[1])
        return JepaOutput(self.loss(predicted.float(), wanted), target, context.detach())

    @property
    def encoder_to_keep(self) -> VisionTransformer:
        """The target encoder, which the paper evaluates."""
        return self.target_encoder

    @torch.no_grad()
    def update_target(self, momentum: float) -> None:
        """Move the target encoder towards the context encoder: once per optimizer step."""
        pairs = zip(
            self.target_encoder.parameters(), self.context_encoder.parameters(), strict=True
        )
        for target, context in pairs:
            target.lerp_(context, 1.0 - momentum)
