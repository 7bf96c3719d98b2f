"""Train a head or a classifier, and keep what validates best."""

import copy
import logging
import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from ecgjepa.errors import DivergenceError, TaskError
from ecgjepa.evaluation.layer_decay import layer_groups
from ecgjepa.evaluation.metrics import macro_auroc
from ecgjepa.evaluation.protocols import ProtocolConfig
from ecgjepa.model.compute import autocast
from ecgjepa.pretraining.optim import set_hyper_parameters
from ecgjepa.pretraining.schedules import warmup_cosine

logger = logging.getLogger(__name__)


class Validation(NamedTuple):
    """One line of a training's history."""

    step: int
    train_loss: float
    macro_auroc: float


class FitResult(NamedTuple):
    """What the training chose."""

    best_step: int
    best_macro_auroc: float
    history: list[Validation]


def fit(
    model: nn.Module,
    config: ProtocolConfig,
    *,
    inputs: Callable[[Int64[np.ndarray, " batch"], np.random.Generator], Tensor],
    targets: Bool[np.ndarray, "train labels"],
    single_label: bool,
    validate: Callable[[], Float[np.ndarray, "validation labels"]],
    validation_targets: Bool[np.ndarray, "validation labels"],
    seed: int,
    device: torch.device,
) -> FitResult:
    """Train ``model`` in place and leave it at the step with the best validation macro AUROC.

    Args:
        model: Gives logits of what ``inputs`` returns.
        config: The protocol.
        inputs: Returns the model's input for some training records, on the device.
        targets: Labels of the training records.
        single_label: Cross-entropy over the labels instead of one binary loss each.
        validate: Returns the validation records' scores of the model as it is.
        validation_targets: Labels of the validation records.
        seed: Of order and crops.
        device: Where the model is.

    Raises:
        TaskError: If no label has both kinds of validation records, so nothing can be selected.
        DivergenceError: If the loss stops being a number.
    """
    _check_selectable(validation_targets)
    optimizer = torch.optim.AdamW(
        layer_groups(model, weight_decay=config.weight_decay, layer_decay=config.layer_decay),
        lr=config.learning_rate,
        betas=config.betas,
        fused=True,
    )
    best, best_weights = Validation(0, float("nan"), -math.inf), None
    history: list[Validation] = []
    losses: list[Tensor] = []
    model.train()
    for step, chosen in enumerate(_batches(len(targets), config, seed)):
        set_hyper_parameters(
            optimizer,
            learning_rate=warmup_cosine(
                step,
                steps=config.steps,
                warmup_steps=config.warmup_steps,
                start=1e-6,
                peak=config.learning_rate,
                final=config.final_learning_rate,
            ),
            weight_decay=config.weight_decay,
        )
        wanted = torch.from_numpy(targets[chosen]).to(device, torch.float32)
        x = inputs(chosen, np.random.default_rng([seed, 1, step]))
        with autocast(device, "auto"):
            logits = model(x).float()
        loss = _loss(logits, wanted, single_label)
        loss.backward()
        if config.gradient_clip > 0:
            torch.nn.utils.clip_grad_norm_(model.parameters(), config.gradient_clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.detach())

        done = step + 1
        if done % config.validate_every == 0 or done == config.steps:
            model.eval()
            score = macro_auroc(validation_targets, validate())
            model.train()
            history.append(Validation(done, _finite(torch.stack(losses).mean(), done), score))
            losses = []
            logger.info(
                "step %d/%d  loss %.4f  validation macro AUROC %.4f",
                done,
                config.steps,
                history[-1].train_loss,
                score,
            )
            if score > best.macro_auroc:
                best, best_weights = history[-1], copy.deepcopy(model.state_dict())
            elif done - best.step >= config.patience:
                logger.info("no better for %d steps: stopping", config.patience)
                break
    assert best_weights is not None
    model.load_state_dict(best_weights)
    model.eval()
    return FitResult(best.step, best.macro_auroc, history)


def _finite(loss: Tensor, step: int) -> float:
    value = float(loss)
    if not math.isfinite(value):
        raise DivergenceError(
            f"the loss is {value} at step {step}; try a lower learning_rate, or gradient_clip=1"
        )
    return value


def _check_selectable(targets: Bool[np.ndarray, "validation labels"]) -> None:
    positives = targets.sum(axis=0)
    if not ((positives > 0) & (positives < len(targets))).any():
        raise TaskError(
            f"none of the {targets.shape[1]} labels has both positive and negative records among "
            f"the {len(targets)} validation records, so no step can be selected"
        )


def _batches(
    num_records: int, config: ProtocolConfig, seed: int
) -> Iterator[Int64[np.ndarray, " batch"]]:
    """Yield batches from one permutation after another; a short training set is no problem."""
    queue = np.empty(0, np.int64)
    epoch = 0
    size = min(config.batch_size, num_records)
    for _ in range(config.steps):
        while len(queue) < size:
            order = np.random.default_rng([seed, 0, epoch]).permutation(num_records)
            queue, epoch = np.concatenate((queue, order)), epoch + 1
        yield queue[:size]
        queue = queue[size:]


def _loss(
    logits: Float[Tensor, "batch labels"], wanted: Float[Tensor, "batch labels"], single: bool
) -> Float[Tensor, ""]:
    if single:
        return F.cross_entropy(logits, wanted)
    return F.binary_cross_entropy_with_logits(logits, wanted)
