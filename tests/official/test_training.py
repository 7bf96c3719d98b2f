"""Schedules, parameter groups and initial weights: the official ones and ours."""

import json
from pathlib import Path

import numpy as np
import official_code
import official_setup as setup
import pytest
import torch
from scipy.stats import ks_2samp

from ecgjepa.config import load_preset
from ecgjepa.objectives.networks.jepa import Jepa
from ecgjepa.official.checkpoint import tensor_names
from ecgjepa.official.config import to_official_config
from ecgjepa.pretraining import schedules
from ecgjepa.pretraining.optim import build_optimizer

RECORDED = json.loads(
    (Path(__file__).parents[1] / "golden/official_outputs.json").read_text(encoding="utf-8")
)["schedules"]
SCHEDULES = ("learning_rate", "weight_decay", "momentum")
PAPER = load_preset("paper-vit-s-all")


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_equal_the_recorded_ones(name):
    ours = [getattr(schedules, name)(PAPER.train, step) for step in RECORDED["steps"]]
    np.testing.assert_allclose(ours, RECORDED[name], rtol=1e-12)


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_equal_the_official_code_at_every_step(official, name):
    config = official.configs.pretrain.Config(**to_official_config(PAPER))
    theirs = getattr(official_code.official_hyper_parameters(official, config), name)
    ours = getattr(schedules, name)
    for step in range(PAPER.train.steps):
        assert ours(PAPER.train, step) == pytest.approx(next(theirs), rel=1e-12, abs=0), step


def test_the_same_parameters_are_decayed_in_the_same_order(official):
    """The order matters too: an optimizer's state is stored by number."""
    config = setup.parity_config("b-like")
    theirs = official_code.build_official(official, "b-like")
    ours = Jepa(config.encoder, config.predictor)
    names = tensor_names(to_official_config(config), complete=True)
    expected = [[names[name] for name in group] for group in groups(theirs, theirs.get_optimizer())]
    optimizer = build_optimizer(ours, config.train)
    assert groups(ours, optimizer) == expected
    for group, reference in zip(
        optimizer.param_groups, theirs.get_optimizer().param_groups, strict=True
    ):
        for key in ("betas", "eps", "weight_decay", "amsgrad", "maximize"):
            assert group[key] == reference[key], key


def groups(model, optimizer) -> list[list[str]]:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return [[names[id(p)] for p in group["params"]] for group in optimizer.param_groups]


@pytest.mark.parametrize("size", ["xs", "s"])
def test_initial_weights_have_the_same_distribution(official, size):
    """Tensor by tensor: constants exactly, else standard deviation and Kolmogorov-Smirnov."""
    torch.manual_seed(0)
    config = setup.parity_config(size)
    ours = Jepa(config.encoder, config.predictor).state_dict()
    theirs = official_code.build_official(official, size).state_dict()
    names = tensor_names(to_official_config(config), complete=True)
    assert set(names) == set(theirs)
    assert set(names.values()) == set(ours)
    for name, our_name in names.items():
        first, second = theirs[name].flatten().numpy(), ours[our_name].flatten().numpy()
        if "norm" in name:
            np.testing.assert_array_equal(first, second)
            continue
        # A sample's standard deviation is off by about 1 / sqrt(2 n) of it; five of those.
        assert second.std() == pytest.approx(first.std(), rel=5 / len(first) ** 0.5), name
        assert ks_2samp(first[:20_000], second[:20_000]).pvalue > 1e-6, name
