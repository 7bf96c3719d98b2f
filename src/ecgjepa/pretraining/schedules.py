"""Learning rate, weight decay and momentum as pure functions of the step.

Being pure, they need no state in a checkpoint and cannot run ahead or behind after a resume.
"""

import math

from ecgjepa.config import TrainConfig


def learning_rate(config: TrainConfig, step: int) -> float:
    """Return the rate for ``step``: linear warm-up, then a cosine down to the final rate."""
    return warmup_cosine(
        step,
        steps=config.steps,
        warmup_steps=config.warmup_steps,
        start=config.warmup_learning_rate,
        peak=config.learning_rate,
        final=config.final_learning_rate,
    )


def weight_decay(config: TrainConfig, step: int) -> float:
    """Return the weight decay for ``step``: a cosine from start to final value."""
    return warmup_cosine(
        step,
        steps=config.steps,
        warmup_steps=0,
        start=config.weight_decay,
        peak=config.weight_decay,
        final=config.final_weight_decay,
    )


def momentum(config: TrainConfig, step: int) -> float:
    """Return the EMA coefficient after ``step`` optimizer steps.

    It is linear in the step or, with ``target_memory``, the steps that it averages over are.
    """
    share = min(1.0, step / config.steps)
    if config.target_memory:
        first = 1 / (1 - config.momentum)
        return 1 - 1 / (first + (config.target_memory * config.steps - first) * share)
    return config.momentum + (config.final_momentum - config.momentum) * share


def warmup_cosine(
    step: int, *, steps: int, warmup_steps: int, start: float, peak: float, final: float
) -> float:
    """Return a value that rises linearly from ``start`` to ``peak``, then falls as a cosine.

    ``peak`` is reached at ``warmup_steps``, ``final`` at the last step and kept beyond it.
    """
    if step < warmup_steps:
        return start + (peak - start) * step / warmup_steps
    share = min(1.0, (step - warmup_steps) / max(1, steps - warmup_steps - 1))
    return final + (peak - final) * 0.5 * (1 + math.cos(math.pi * share))
