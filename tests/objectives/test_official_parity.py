"""The published implementation and ours: same weights, batches and masks, same losses."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from ecgjepa.objectives.jepa import Jepa
from ecgjepa.pretraining import schedules
from ecgjepa.pretraining.optim import build_optimizer, set_hyper_parameters

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture
def setup(monkeypatch):
    monkeypatch.syspath_prepend(GOLDEN)
    import official_setup

    return official_setup


def our_losses(setup) -> list[float]:
    config = setup.parity_config()
    model = Jepa(config.encoder, config.predictor)
    setup.fill_weights(
        {n: p for n, p in model.named_parameters() if not n.startswith("target_encoder.")}
    )
    model.target_encoder.load_state_dict(model.context_encoder.state_dict())
    optimizer = build_optimizer(model, config.train)
    losses = []
    for step in range(setup.STEPS):
        set_hyper_parameters(
            optimizer,
            learning_rate=schedules.learning_rate(config.train, step),
            weight_decay=schedules.weight_decay(config.train, step),
        )
        loss = model(*setup.batch_of(step, config)).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        model.update_target(schedules.momentum(config.train, step + 1))
        losses.append(loss.item())
    return losses


def test_losses_equal_the_recorded_ones(setup):
    recorded = json.loads((GOLDEN / "official_losses.json").read_text())
    np.testing.assert_allclose(our_losses(setup), recorded, atol=1e-5)
    assert recorded[-1] < recorded[0]


def test_losses_equal_a_checkout_of_the_official_code(setup):
    """Runs the official code itself, where ECGJEPA_OFFICIAL names a checkout."""
    checkout = os.environ.get("ECGJEPA_OFFICIAL")
    if not checkout:
        pytest.skip("ECGJEPA_OFFICIAL does not name a checkout of kweimann/ECG-JEPA")
    import make_official_losses

    before = list(sys.path)
    try:
        official = make_official_losses.official_losses(checkout)
    finally:
        sys.path[:] = before
    np.testing.assert_allclose(our_losses(setup), official, atol=1e-5)
