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

from ecgjepa.config import EncoderConfig, JepaConfig, Loss, PredictorConfig
from ecgjepa.model.encoders.build import build_encoder
from ecgjepa.model.encoders.encoder import Encoder
from ecgjepa.model.heads import outputs_of_layers
from ecgjepa.model.layers import gather_tokens
from ecgjepa.model.predictor import Predictor
from ecgjepa.objectives.networks.base import ObjectiveNetworks, move_average
from ecgjepa.objectives.networks.blanking import blank_lead_patches
from ecgjepa.objectives.networks.signs import MeanOverProcesses, alone, collapse_signs
from ecgjepa.objectives.networks.views import gather_records

# Of predicted and wanted features, averaged; smooth L1 turns from square to line at an error of 1.
LOSSES = {"l1": F.l1_loss, "smooth-l1": F.smooth_l1_loss, "l2": F.mse_loss}


_PAPER = JepaConfig()


class JepaOutput(NamedTuple):
    """The loss, and the features of both encoders, which tell of a failure.

    Attributes:
        loss: Value that is minimised.
        prediction_loss: Loss of the hidden patches' features alone.
        target: Targets of all patches: the target encoder's features, or an average over its last
            blocks.
        context: Features of the context encoder, of the patches it saw.
        context_index: Positions of the patches that the context encoder saw.
        target_index: Positions of the patches that were predicted.
        loss_name: Name of the loss in the configuration.
        normalise_targets: Whether the predicted targets were normalised.
    """

    loss: Float[Tensor, ""]
    prediction_loss: Float[Tensor, ""]
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
            "loss_to_mean": float(mean(self.prediction_loss) / baseline),
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
        config: What differs from the paper; nothing by default.
        normalise_targets: Layer norm without parameters on the targets (I-JEPA); off in the paper.
        loss: Measure of the distance from predicted to wanted features; ``l1`` in the paper.
        target: Target encoder to begin with; a copy of the context encoder by default.
    """

    def __init__(
        self,
        encoder: EncoderConfig,
        predictor: PredictorConfig,
        config: JepaConfig = _PAPER,
        *,
        normalise_targets: bool = False,
        loss: Loss = "l1",
        target: Encoder | None = None,
    ) -> None:
        super().__init__()
        self.context_encoder = build_encoder(encoder)
        target = copy.deepcopy(self.context_encoder) if target is None else target
        self.per_lead = config.masking == "lead-time"
        self.predictor = Predictor(
            predictor, encoder, target.config.dim, fills_in=not self.per_lead
        )
        self.target_encoder = target.requires_grad_(False)
        self.config = config
        self.normalise_targets = normalise_targets
        self.loss_name: Loss = loss

    def forward(
        self,
        signal: Float[Tensor, "batch leads samples"],
        context_index: Int64[Tensor, "batch context"],
        target_index: Int64[Tensor, "batch target"],
    ) -> JepaOutput:
        """Return the loss of the predicted features: by default their mean absolute error.

        Args:
            signal: Normalised amplitudes.
            context_index: Visible patches; with ``lead-time``, patches of single leads, numbered
                patch by patch and within each lead by lead.
            target_index: Hidden ones, likewise.
        """
        target = self._targets(signal)
        if self.per_lead:
            seen = blank_lead_patches(signal, target_index, self.context_encoder.config.patch_size)
            every = torch.arange(target.shape[1], device=signal.device).expand(len(signal), -1)
            context, predicted, _ = self._predict(seen, every, every[:, :0], with_context=True)
            context_index = target_index = every
            loss = prediction_loss = self._distance(predicted, target, every)
        else:
            weight = self.config.visible_loss
            context, at_visible, at_hidden = self._predict(
                signal, context_index, target_index, with_context=weight > 0
            )
            loss = prediction_loss = self._distance(at_hidden, target, target_index)
            if weight:
                loss = loss + weight * self._distance(at_visible, target, context_index)
        if self.config.variance or self.config.covariance:
            records = gather_records(context.float().mean(dim=1))
            variance, covariance = variance_and_covariance(records)
            loss = loss + self.config.variance * variance + self.config.covariance * covariance
        return JepaOutput(
            loss,
            prediction_loss.detach(),
            target,
            context.detach(),
            context_index,
            target_index,
            self.loss_name,
            self.normalise_targets,
        )

    def _predict(
        self,
        signal: Float[Tensor, "batch leads samples"],
        context_index: Int64[Tensor, "batch context"],
        target_index: Int64[Tensor, "batch target"],
        *,
        with_context: bool,
    ) -> tuple[
        Float[Tensor, "batch context dim"],
        Float[Tensor, "batch answered width"],
        Float[Tensor, "batch target width"],
    ]:
        """Return the context's features, and predicted ones at its positions and at the others.

        Those at the context's positions are none unless ``with_context``.
        """
        size = self.context_encoder.config
        skips = None if self.per_lead else context_index
        context = self.context_encoder(signal, skips)[:, size.num_registers :]
        predicted = self.predictor(
            context,
            context_index,
            target_index,
            num_tokens=signal.shape[2] // size.patch_size * size.tokens_per_patch,
            with_context=with_context,
        ).float()
        seen = context.shape[1] if with_context else 0
        return context, predicted[:, :seen], predicted[:, seen:]

    @torch.no_grad()
    def _targets(
        self, signal: Float[Tensor, "batch leads samples"]
    ) -> Float[Tensor, "batch patches dim"]:
        """Return the targets of all patches, before `normalise_targets`."""
        encoder, count = self.target_encoder, self.config.target_layers
        num_registers = encoder.config.num_registers
        if count == 1:
            return encoder(signal)[:, num_registers:].float()
        depth = len(encoder.blocks)
        blocks = tuple(range(depth - count + 1, depth + 1))
        outputs = outputs_of_layers(encoder, signal, blocks, normalised=False)
        normal = [F.layer_norm(found.float(), found.shape[-1:]) for found in outputs]
        return torch.stack(normal).mean(dim=0)[:, num_registers:]

    def _distance(
        self,
        predicted: Float[Tensor, "batch chosen width"],
        target: Float[Tensor, "batch patches width"],
        index: Int64[Tensor, "batch chosen"],
    ) -> Float[Tensor, ""]:
        """Return the loss of predicted features at some positions."""
        wanted = gather_tokens(target, index)
        if self.normalise_targets:
            wanted = F.layer_norm(wanted, wanted.shape[-1:])
        return LOSSES[self.loss_name](predicted, wanted)

    @property
    def encoder_to_keep(self) -> Encoder:
        """The target encoder, which the paper evaluates."""
        return self.target_encoder

    def update_target(self, momentum: float) -> None:
        """Move the target encoder towards the context encoder: once per optimizer step."""
        move_average(self.target_encoder, self.context_encoder, momentum)


def variance_and_covariance(
    records: Float[Tensor, "records dim"],
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Return VICReg's two terms (https://arxiv.org/abs/2105.04906, section 4.1).

    The first is the mean shortfall of each dimension's standard deviation below 1, the second the
    mean per dimension of the squared covariances with the others; both use sample variances.
    """
    centred = records - records.mean(dim=0)
    deviation = (centred.square().sum(dim=0) / (len(records) - 1) + 1e-4).sqrt()
    covariance = centred.T @ centred / (len(records) - 1)
    others = covariance.square().sum() - covariance.diagonal().square().sum()
    return F.relu(1 - deviation).mean(), others / records.shape[1]
