"""Learning rate, weight decay and momentum as pure functions of the step.

Being pure, they need no state in a checkpoint and cannot run ahead or behind after a resume.
"""

import math

from ecgjepa.config import TrainConfig


def learning_rate(config: TrainConfig, step: int) -> float:
    """Return the rate for ``step``: linear warm-up, then a cosine down to the final rate."""
    if step < config.warmup_steps:
        share = step / config.warmup_steps
        start, peak = config.warmup_learning_rate, config.learning_rate
        return start + (peak - start) * share
    return _cosine(
        config.learning_rate,
        config.final_learning_rate,
        (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps - 1),
    )


def weight_decay(config: TrainConfig, step: int) -> float:
    """Return the weight decay for ``step``: a cosine from start to final value."""
    return _cosine(
        config.weight_decay, config.final_weight_decay, step / max(1, config.steps - 1)
    )


def momentum(config: TrainConfig, step: int) -> float:
    """Return the EMA coefficient after ``step`` optimizer steps: linear."""
    share = min(1.0, step / config.steps)
    return config.momentum + (config.final_momentum - config.momentum) * share


def _cosine(start: float, final: float, share: float) -> float:
    return final + (start - final) * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))
