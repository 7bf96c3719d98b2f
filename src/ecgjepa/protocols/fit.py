"""Train a head or a classifier, and keep what validates best."""

import copy
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, Shaped
from torch import Tensor, nn

from ecgjepa.errors import ConfigError, DivergenceError
from ecgjepa.metrics.regression import selection_score
from ecgjepa.model.compute import autocast
from ecgjepa.model.heads import Classifier
from ecgjepa.model.outputs import TaskKind
from ecgjepa.pretraining.optim import parameter_groups, set_hyper_parameters
from ecgjepa.pretraining.schedules import warmup_cosine
from ecgjepa.protocols.averaging import WeightAverage
from ecgjepa.protocols.outcome import FitResult, Validation
from ecgjepa.protocols.settings import ProtocolConfig
from ecgjepa.tasks.split import check_selectable

logger = logging.getLogger(__name__)

# Lines of a training's log; all validations are in ``results.json``.
_SHOWN = 10


class Examples(NamedTuple):
    """What a model is trained and judged by.

    Attributes:
        inputs: Returns the model's input for some training records, on the device.
        targets: Labels of the training records; of a regression, values of mean 0 and spread 1.
        kind: Chooses the loss: binary cross-entropy of each label, cross-entropy over the labels,
            or squared error; and the score, macro AUROC or mean R².
        validate: Returns the validation records' scores of the model as it is, once or for each set
            of leads; their mean score selects the step.
        validation_targets: Labels of the validation records.
    """

    inputs: Callable[[Int64[np.ndarray, " batch"], np.random.Generator], Tensor]
    targets: Shaped[np.ndarray, "train labels"]
    kind: TaskKind
    validate: Callable[[], Sequence[Float[np.ndarray, "validation labels"]]]
    validation_targets: Shaped[np.ndarray, "validation labels"]


def fit(
    model: nn.Module,
    config: ProtocolConfig,
    examples: Examples,
    *,
    seed: int,
) -> FitResult:
    """Train ``model`` in place and leave it at the step with the best validation score.

    Args:
        model: Gives logits of what ``examples.inputs`` returns.
        config: The protocol.
        examples: Inputs, labels and what the model is judged by.
        seed: Seed of the order of records and of crops.

    Raises:
        TaskError: If no label has both kinds of validation records, so nothing can be selected.
        ConfigError: If labels are to be smoothed where there are none.
        DivergenceError: If the loss, or every validation score, is not finite.
    """
    check_selectable(examples.validation_targets, "validation")
    if config.label_smoothing and examples.kind == "regression":
        raise ConfigError(
            f"label_smoothing is {config.label_smoothing:g}, but the task predicts values, which "
            "have no labels to smooth; leave it out"
        )
    optimizer = _optimizer(model, config)
    best, best_weights = Validation(0, float("nan"), -math.inf), None
    history: list[Validation] = []
    losses: list[Tensor] = []
    average = WeightAverage(model, config.weight_average)
    model.train()
    for step, chosen in enumerate(_batches(len(examples.targets), config, seed)):
        rng = np.random.default_rng([seed, 1, step])
        _set_rates(optimizer, config, step)
        losses.append(_train_step(model, optimizer, config, examples, (chosen, rng)))
        average.follow(step)
        done = step + 1
        if done % config.validate_every and done != config.steps:
            continue
        model.eval()
        with average.in_place():
            found = examples.validate()
            validated = copy.deepcopy(model.state_dict())
        targets = examples.validation_targets
        scores = [selection_score(examples.kind, targets, values) for values in found]
        score = sum(scores) / len(scores)
        model.train()
        history.append(Validation(done, _finite(torch.stack(losses).mean(), done), score))
        losses = []
        if _is_shown(done, config):
            logger.info(
                "step %d/%d  loss %.4f  validation score %.4f",
                done,
                config.steps,
                history[-1].train_loss,
                score,
            )
        if score > best.score:
            best, best_weights = history[-1], validated
        elif done - best.step >= config.patience:
            logger.info("no better for %d steps: stopped after step %d", config.patience, done)
            break
    if best_weights is None:
        raise DivergenceError(
            "the validation score was not finite at any step; try a lower learning_rate"
        )
    logger.info("best validation score %.4f, at step %d: kept", best.score, best.step)
    model.load_state_dict(best_weights)
    model.eval()
    return FitResult(best.step, best.score, history)


def _is_shown(done: int, config: ProtocolConfig) -> bool:
    """Return whether a validation is logged: about ten are, evenly apart, and the last one."""
    every = config.validate_every * max(1, round(config.steps / config.validate_every / _SHOWN))
    return done % every == 0 or done == config.steps


def _optimizer(model: nn.Module, config: ProtocolConfig) -> torch.optim.AdamW:
    if config.warmup_steps >= config.steps:
        logger.warning(
            "warmup_steps is %d of %d steps: the learning rate never reaches its peak",
            config.warmup_steps,
            config.steps,
        )
    return torch.optim.AdamW(
        layer_groups(model, weight_decay=config.weight_decay, layer_decay=config.layer_decay),
        lr=config.learning_rate,
        betas=config.betas,
        fused=True,
    )


def _set_rates(optimizer: torch.optim.AdamW, config: ProtocolConfig, step: int) -> None:
    rate = warmup_cosine(
        step,
        steps=config.steps,
        warmup_steps=config.warmup_steps,
        start=1e-6,
        peak=config.learning_rate,
        final=config.final_learning_rate,
    )
    set_hyper_parameters(optimizer, learning_rate=rate, weight_decay=config.weight_decay)


def _train_step(
    model: nn.Module,
    optimizer: torch.optim.AdamW,
    config: ProtocolConfig,
    examples: Examples,
    batch: tuple[Int64[np.ndarray, " batch"], np.random.Generator],
) -> Float[Tensor, ""]:
    """Take one step on some training records and return their loss before it."""
    x = examples.inputs(*batch)
    targets = torch.from_numpy(examples.targets[batch[0]]).to(x.device, torch.float32)
    with autocast(x.device, "auto"):
        logits = model(x).float()
    loss = _loss(logits, smoothed(targets, examples.kind, config.label_smoothing), examples.kind)
    loss.backward()
    if config.gradient_clip > 0:
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.gradient_clip)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.detach()


def _finite(loss: Tensor, step: int) -> float:
    value = float(loss)
    if not math.isfinite(value):
        raise DivergenceError(
            f"the loss is {value} at step {step}; try a lower learning_rate, or gradient_clip=1"
        )
    return value


def _batches(
    num_records: int, config: ProtocolConfig, seed: int
) -> Iterator[Int64[np.ndarray, " batch"]]:
    """Yield batches from one permutation after another, in none of which a record comes twice.

    A batch may begin with the last records of one permutation; those of them that come first in the
    next one are put off until the batch is full. A training set may be shorter than a batch.
    """
    queue = np.empty(0, np.int64)
    epoch = 0
    size = min(config.batch_size, num_records)
    for _ in range(config.steps):
        if len(queue) >= size:
            yield queue[:size]
            queue = queue[size:]
            continue
        order = np.random.default_rng([seed, 0, epoch]).permutation(num_records)
        epoch += 1
        others = order[~np.isin(order, queue)][: size - len(queue)]
        yield np.concatenate((queue, others))
        queue = order[~np.isin(order, others)]


def smoothed(
    targets: Float[Tensor, "batch labels"], kind: TaskKind, share: float
) -> Float[Tensor, "batch labels"]:
    """Return labels of which a share is that of no knowledge: one half, or all labels alike."""
    if share == 0:
        return targets
    unknown = 1 / targets.shape[1] if kind == "single-label" else 0.5
    return targets * (1 - share) + share * unknown


def _loss(
    logits: Float[Tensor, "batch labels"], targets: Float[Tensor, "batch labels"], kind: TaskKind
) -> Float[Tensor, ""]:
    if kind == "regression":
        return F.mse_loss(logits, targets)
    if kind == "single-label":
        return F.cross_entropy(logits, targets)
    return F.binary_cross_entropy_with_logits(logits, targets)


def layer_groups(
    model: nn.Module, *, weight_decay: float, layer_decay: float
) -> list[dict[str, Any]]:
    """Return parameter groups in pairs, with weight decay and without, for AdamW.

    Args:
        model: Network to train; only a `Classifier` has layers with rates of their own.
        weight_decay: Weight decay of linear and convolution layers.
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
