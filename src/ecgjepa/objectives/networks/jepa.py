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
from torch import Tensor

from ecgjepa.config import EncoderConfig, Loss, PredictorConfig
from ecgjepa.model.encoders.build import build_encoder
from ecgjepa.model.encoders.encoder import Encoder
from ecgjepa.model.layers import gather_tokens
from ecgjepa.model.predictor import Predictor
from ecgjepa.objectives.networks.base import ObjectiveNetworks
from ecgjepa.objectives.networks.signs import MeanOverProcesses, alone, collapse_signs

# Of predicted and wanted features, averaged; smooth L1 turns from square to line at an error of 1.
LOSSES = {"l1": F.l1_loss, "smooth-l1": F.smooth_l1_loss, "l2": F.mse_loss}


class JepaOutput(NamedTuple):
    """The loss, and the features of both encoders, which tell of a failure.

    Attributes:
        loss: Value that is minimised.
        target: Features of the target encoder, of all patches.
        context: Features of the context encoder, of the patches it saw.
        context_index: Positions of the patches that the context encoder saw.
        target_index: Positions of the patches that were predicted.
        loss_name: Name of the loss in the configuration.
        normalise_targets: Whether the predicted targets were normalised.
    """

    loss: Float[Tensor, ""]
    target: Float[Tensor, "batch patches dim"]
    context: Float[Tensor, "batch context dim"]
    context_index: Int64[Tensor, "batch context"]
    target_index: Int64[Tensor, "batch target"]
    loss_name: Loss = "l1"
    normalise_targets: bool = False

    def signs(self, mean: MeanOverProcesses = alone) -> dict[str, float]:
        """Return the signs of both encoders, and the loss beside that of predicting the mean.

        ``loss_to_mean`` is the loss relative to that of predicting at every position the mean of
        all targets there.
        """
        target = collapse_signs(self.target, mean_over_processes=mean)
        context = collapse_signs(
            self.context,
            self.context_index,
            num_patches=self.target.shape[1],
            mean_over_processes=mean,
        )
        baseline = mean(self._loss_of_mean(mean)).clamp_min(1e-12)
        return {
            "spread": target.spread,
            "effective_rank": target.effective_rank,
            "context_spread": context.spread,
            "context_effective_rank": context.effective_rank,
            "loss_to_mean": float(mean(self.loss.detach()) / baseline),
        }

    def _loss_of_mean(self, mean: MeanOverProcesses) -> Float[Tensor, ""]:
        """Return the loss of the wanted features' mean at a position as their prediction."""
        wanted = self.target
        if self.normalise_targets:
            wanted = F.layer_norm(wanted, wanted.shape[-1:])
        average = mean(wanted.mean(dim=0, keepdim=True))
        difference = gather_tokens(wanted - average, self.target_index)
        return LOSSES[self.loss_name](difference, torch.zeros_like(difference))


class Jepa(ObjectiveNetworks):
    """Context encoder, target encoder and predictor.

    Args:
        encoder: Architecture of both encoders.
        predictor: Architecture of the predictor.
        normalise_targets: Layer norm without parameters on the targets (I-JEPA); off in the paper.
        loss: Measure of the distance from predicted to wanted features; ``l1`` in the paper.
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
        self.context_encoder = build_encoder(encoder)
        self.predictor = Predictor(predictor, encoder)
        self.target_encoder = copy.deepcopy(self.context_encoder).requires_grad_(False)
        self.normalise_targets = normalise_targets
        self.loss_name: Loss = loss

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
        return JepaOutput(
            LOSSES[self.loss_name](predicted.float(), wanted),
            target,
            context.detach(),
            context_index,
            target_index,
            self.loss_name,
            self.normalise_targets,
        )

    @property
    def encoder_to_keep(self) -> Encoder:
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
