"""The official implementation and ours: same weights, batches and masks, same numbers.

Once against what was recorded from it, and, where ECGJEPA_OFFICIAL names a checkout, against the
code itself.
"""

import json
from pathlib import Path

import numpy as np
import official_code
import official_setup as setup
import pytest
import torch
from make_official_outputs import sample

from ecgjepa.objectives.networks.jepa import Jepa
from ecgjepa.pretraining import schedules
from ecgjepa.pretraining.optim import build_optimizer, set_hyper_parameters

RECORDED = json.loads(
    (Path(__file__).parents[1] / "golden/official_outputs.json").read_text(encoding="utf-8")
)
TOLERANCE = 1e-5


def our_jepa(size: str, weights: dict[str, torch.Tensor]) -> Jepa:
    config = setup.parity_config(size)
    jepa = Jepa(config.encoder, config.predictor)
    jepa.load_state_dict(weights)
    return jepa


@torch.no_grad()
def our_outputs(size: str) -> dict[str, torch.Tensor]:
    jepa = our_jepa(size, setup.seeded_weights(official_code.shapes_of(size)))
    signal, context_index, target_index = setup.batch_of(size, 0)
    context = jepa.context_encoder(signal, context_index)[:, 1:]  # without the register
    return {
        "target": jepa.target_encoder(signal)[:, 1:],
        "context": context,
        "predicted": jepa.predictor(context, context_index, target_index),
        "loss": jepa(signal, context_index, target_index).loss,
    }


def our_losses(size: str, steps: int, *, parts: int = 1, momentum: float | None = None):
    train = setup.parity_config(size).train
    jepa = our_jepa(size, setup.training_weights(official_code.shapes_of(size)))
    optimizer = build_optimizer(jepa, train)
    losses = []
    for step in range(steps):
        set_hyper_parameters(
            optimizer,
            learning_rate=schedules.learning_rate(train, step),
            weight_decay=schedules.weight_decay(train, step),
        )
        total = 0.0
        for part in range(parts):
            loss = jepa(*setup.batch_of(size, step * parts + part)).loss / parts
            loss.backward()
            total += loss.item()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        jepa.update_target(schedules.momentum(train, step + 1) if momentum is None else momentum)
        losses.append(total)
    return losses


@pytest.mark.parametrize("size", setup.BATCH)
def test_networks_and_loss_equal_the_recorded_ones(size):
    for name, value in our_outputs(size).items():
        expected = RECORDED["outputs"][size][name]
        np.testing.assert_allclose(sample(value), expected, rtol=0, atol=TOLERANCE, err_msg=name)


def test_fifty_losses_equal_the_recorded_ones():
    recorded = RECORDED["losses"]["tiny"]
    assert len(recorded) == 50
    assert recorded[-1] < recorded[0]
    np.testing.assert_allclose(our_losses("tiny", 50), recorded, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("size", setup.BATCH)
def test_networks_and_loss_equal_the_official_code(official, size):
    weights = setup.seeded_weights(official_code.shapes_of(size))
    model = official_code.build_official(official, size, weights)
    expected = official_code.official_outputs(model, size)
    for name, value in our_outputs(size).items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=TOLERANCE, msg=name)


@pytest.mark.parametrize("size", ["tiny", "xs"])
def test_fifty_losses_equal_the_official_code(official, size):
    expected = official_code.official_losses(official, size, 50)
    np.testing.assert_allclose(our_losses(size, 50), expected, rtol=0, atol=TOLERANCE)


def test_accumulated_gradients_equal_the_official_ones(official):
    """With a target at rest; a moving one moves once per part there (decision 0001)."""
    options = {"parts": 2, "momentum": 1.0}
    expected = official_code.official_losses(official, "tiny", 20, **options)
    np.testing.assert_allclose(our_losses("tiny", 20, **options), expected, rtol=0, atol=TOLERANCE)
    moving = official_code.official_losses(official, "tiny", 20, parts=2)
    assert np.abs(np.subtract(our_losses("tiny", 20, parts=2), moving)).max() > TOLERANCE
