"""AdamW with weight decay on the weights of linear and convolution layers only."""

from typing import Any

import torch
from torch import nn

from ecgjepa.config import TrainConfig


def parameter_groups(model: nn.Module, *, decay: float) -> list[dict[str, Any]]:
    """Return two groups of trainable parameters: with weight decay and without.

    Layer norms, registers, mask token and queries are never decayed.
    """
    decayed_ids = {
        id(part.weight) for part in model.modules() if isinstance(part, nn.Linear | nn.Conv1d)
    }
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in trainable if id(p) in decayed_ids], "weight_decay": decay},
        {"params": [p for p in trainable if id(p) not in decayed_ids], "weight_decay": 0.0},
    ]


def build_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """Return the optimizer of a pre-training run, before the first step."""
    return torch.optim.AdamW(
        parameter_groups(model, decay=config.weight_decay),
        lr=config.warmup_learning_rate,
        betas=config.betas,
        eps=config.eps,
        fused=True,
    )


def set_hyper_parameters(
    optimizer: torch.optim.Optimizer, *, learning_rate: float, weight_decay: float
) -> None:
    """Set the rate of all groups, each times its own scale, and the decay of every other one.

    Groups come in pairs, as from `parameter_groups`: with weight decay and without.
    """
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group.get("learning_rate_scale", 1.0)
    for group in optimizer.param_groups[::2]:
        group["weight_decay"] = weight_decay
