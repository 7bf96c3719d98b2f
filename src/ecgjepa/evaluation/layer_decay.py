"""Layer-wise learning-rate decay: the deeper a layer, the less fine-tuning moves it.

As in BEiT (Bao et al. 2021, https://arxiv.org/abs/2106.08254, appendix): with depth blocks, block i
(counted from 0) learns at decay^(depth - i) of the full rate; patch embedding, registers and
learned positions at decay^(depth + 1); the encoder's last norm and the head at the full rate.
"""

from typing import Any

from torch import nn

from ecgjepa.model.heads import Classifier
from ecgjepa.pretraining.optim import parameter_groups


def layer_groups(
    model: nn.Module, *, weight_decay: float, layer_decay: float
) -> list[dict[str, Any]]:
    """Return parameter groups in pairs, with weight decay and without, for AdamW.

    Args:
        model: What is trained; layers are told apart in a `Classifier`.
        weight_decay: Of the weights of linear and convolution layers.
        layer_decay: Learning rate of a block relative to the next one's; 1 for one pair in all.
    """
    pair: list[dict[str, Any]] = parameter_groups(model, decay=weight_decay)
    if layer_decay == 1.0:
        return pair
    assert isinstance(model, Classifier)
    depth = len(model.encoder.blocks)
    layer = {id(parameter): _layer(name, depth) for name, parameter in model.named_parameters()}
    return [
        {
            "params": [p for p in group["params"] if layer[id(p)] == number],
            "weight_decay": group["weight_decay"],
            "learning_rate_scale": layer_decay ** (depth + 1 - number),
        }
        for number in range(depth + 2)
        for group in pair
    ]


def _layer(name: str, depth: int) -> int:
    """Return 0 for what comes before the blocks, i + 1 for block i, depth + 1 for what follows."""
    if name.startswith("encoder.blocks."):
        return int(name.split(".")[2]) + 1
    after = name.startswith(("encoder.norm.", "head."))
    return depth + 1 if after else 0
