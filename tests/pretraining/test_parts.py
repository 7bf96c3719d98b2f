import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ecgjepa.config import load_preset
from ecgjepa.errors import ConfigError
from ecgjepa.model.compute import choose_device
from ecgjepa.objectives.build import objective_of
from ecgjepa.objectives.networks.jepa import JepaOutput
from ecgjepa.objectives.networks.signs import CollapseSigns, collapse_signs
from ecgjepa.pretraining import schedules
from ecgjepa.pretraining.loop import initial_networks
from ecgjepa.pretraining.optim import build_optimizer, set_hyper_parameters
from ecgjepa.pretraining.progress import Stopwatch

TRAIN = load_preset("paper-vit-xs-all").train


@pytest.mark.parametrize(
    ("step", "rate"),
    [
        (0, 1e-6),
        (5_000, (1e-6 + 1e-3) / 2),
        (10_000, 1e-3),
        (99_999, 1e-6),
        (100_000, 1e-6),
        (10**7, 1e-6),
    ],
)
def test_learning_rate(step, rate):
    assert schedules.learning_rate(TRAIN, step) == pytest.approx(rate, rel=1e-9)


def test_learning_rate_is_a_cosine_between():
    share = (40_000 - 10_000) / (100_000 - 10_000 - 1)
    expected = 1e-6 + (1e-3 - 1e-6) * 0.5 * (1 + math.cos(math.pi * share))
    assert schedules.learning_rate(TRAIN, 40_000) == pytest.approx(expected, rel=1e-12)


def test_weight_decay_rises_from_start_to_end():
    values = [schedules.weight_decay(TRAIN, step) for step in (0, 50_000, 99_999, 10**6)]
    assert values[0] == pytest.approx(0.01)
    assert values[1] == pytest.approx(0.055, rel=1e-3)
    assert values[2:] == pytest.approx([0.1, 0.1])


def test_the_steps_that_the_target_averages_over_follow_the_length_of_the_run():
    short = {"steps": 1000, "momentum": 0.98, "target_memory": 0.25}
    run = TRAIN.model_validate({**TRAIN.model_dump(), **short, "warmup_steps": 10})
    memory = [1 / (1 - schedules.momentum(run, step)) for step in (0, 250, 500, 1000, 2000)]
    np.testing.assert_allclose(memory, [50, 100, 150, 250, 250])
    longer = run.model_copy(update={"steps": 10_000})
    assert 1 / (1 - schedules.momentum(longer, 10_000)) == pytest.approx(2500)


@pytest.mark.parametrize("momentum", [0.998, 1.0])
def test_a_target_that_would_forget_is_refused(momentum):
    overrides = ["train.target_memory=0.1", "train.steps=3000", f"train.momentum={momentum}"]
    with pytest.raises(ConfigError, match=r"target_memory 0\.1 of 3,000 steps are 300, but mom"):
        load_preset("tiny", overrides)
    assert load_preset("tiny", overrides[:2]).train.momentum == 0.996


def test_momentum_is_linear_and_clamped():
    values = [schedules.momentum(TRAIN, step) for step in (0, 50_000, 100_000, 200_000)]
    assert values == pytest.approx([0.998, 0.99875, 0.9995, 0.9995])


def test_decay_is_on_weights_of_linear_and_convolution_layers_only():
    jepa = initial_networks(load_preset("tiny"))
    optimizer = build_optimizer(jepa, TRAIN)
    decayed, free = (set(map(id, group["params"])) for group in optimizer.param_groups)
    for name, parameter in jepa.named_parameters():
        if name.startswith("target_encoder"):
            assert id(parameter) not in decayed | free
        elif "norm" in name or "registers" in name or "mask_token" in name:
            assert id(parameter) in free, name
        else:
            assert id(parameter) in decayed, name
    set_hyper_parameters(optimizer, learning_rate=0.5, weight_decay=0.25)
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.5]
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.25, 0.0]
    assert optimizer.param_groups[0]["betas"] == (0.9, 0.99)
    assert optimizer.param_groups[0]["eps"] == 1e-6


def test_the_optimizer_is_adamw_with_decoupled_decay():
    layer = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        layer.weight.fill_(2.0)
    optimizer = build_optimizer(layer, TRAIN)
    set_hyper_parameters(optimizer, learning_rate=0.1, weight_decay=0.5)
    layer.weight.grad = torch.full((1, 1), 3.0)
    optimizer.step()
    # One step: decay 2 (1 - 0.1 * 0.5), then minus the rate times sign-like Adam step of 1.
    assert layer.weight.item() == pytest.approx(2.0 * 0.95 - 0.1 * 3 / (3 + 1e-6), rel=1e-6)


# ---------------------------------------------------------------- collapse monitor


def features(rng, *, batch=32, patches=20, dim=24, rank=24, position=0.0, record=1.0, constant=0.0):
    basis = np.linalg.qr(rng.standard_normal((dim, dim)))[0][:rank]
    values = record * rng.standard_normal((batch, patches, rank)) @ basis
    values += position * rng.standard_normal((1, patches, dim))
    values += constant * rng.standard_normal((1, 1, dim))
    return torch.from_numpy(values.astype(np.float32))


def collapse_warning(signs: CollapseSigns) -> str | None:
    """Return what JEPA says of its target encoder's signs."""
    config = load_preset("tiny", [f"encoder.dim={signs.dim}", "encoder.num_heads=1"])
    return objective_of(config).find_collapse(signs._asdict())


def test_healthy_features_raise_no_alarm(rng):
    signs = collapse_signs(features(rng))
    assert signs.spread > 0.9
    assert 18 < signs.effective_rank <= 24
    assert collapse_warning(signs) is None


def test_identical_features_raise_an_alarm_in_words(rng):
    signs = collapse_signs(features(rng, record=0.01, constant=1.0))
    assert signs.spread < 0.05
    assert "representation is collapsing: only 1%" in collapse_warning(signs)


def test_features_that_only_know_their_position_count_as_collapsed(rng):
    signs = collapse_signs(features(rng, record=0.02, position=1.0))
    assert signs.spread < 0.05
    assert collapse_warning(signs) is not None


def test_few_directions_raise_an_alarm(rng):
    signs = collapse_signs(features(rng, dim=200, rank=3))
    assert signs.effective_rank < 3.1
    assert "vary in 3.0 directions of 200" in collapse_warning(signs)


def test_constant_zero_features_are_collapsed_not_nan():
    signs = collapse_signs(torch.zeros(4, 5, 6))
    assert signs.spread == 0
    assert np.isfinite(signs.effective_rank)
    assert collapse_warning(signs) is not None


def test_effective_rank_is_exp_of_the_entropy(rng):
    values = features(rng, patches=1)
    centred = (values - values.mean(0)).reshape(-1, 24).double().numpy()
    share = np.linalg.svd(centred, compute_uv=False) ** 2
    share /= share.sum()
    expected = np.exp(-(share * np.log(share)).sum())
    assert collapse_signs(values).effective_rank == pytest.approx(expected, rel=1e-4)


def test_positions_are_told_apart_where_records_show_others(rng):
    """The same features, some hidden: still nothing but their position."""
    values = features(rng, record=0.01, position=1.0)
    index = torch.stack([torch.randperm(20)[:12].sort()[0] for _ in range(32)])
    signs = collapse_signs(values.gather(1, index[:, :, None].expand(-1, -1, 24)), index)
    assert signs.spread < 0.03
    whole = torch.arange(20).expand(32, -1)
    assert collapse_signs(values, whole) == pytest.approx(collapse_signs(values), rel=1e-3)


@pytest.mark.parametrize("normalise", [False, True])
def test_predicting_the_mean_has_a_relative_loss_of_one(rng, normalise):
    target = features(rng, position=1.0)
    seen = torch.nn.functional.layer_norm(target, (24,)) if normalise else target
    index = torch.stack([torch.randperm(20) for _ in range(32)])
    context_index, target_index = index[:, :5], index[:, 5:]
    wanted = seen.gather(1, target_index[:, :, None].expand(-1, -1, 24))
    mean = seen.mean(0)[target_index]
    loss = (wanted - mean).abs().mean()
    signs = JepaOutput(
        loss,
        loss,
        target,
        target[:, :5],
        context_index,
        target_index,
        normalise_targets=normalise,
    ).signs()
    assert signs["loss_to_mean"] == pytest.approx(1.0, rel=1e-5)
    assert signs["spread"] == collapse_signs(target).spread


@pytest.mark.parametrize("loss", ["l1", "smooth-l1", "l2"])
def test_the_loss_is_compared_with_the_same_loss_of_the_mean(loss):
    """Predicting half the way from the mean: the ratio of the two losses, whatever the loss."""
    torch.manual_seed(0)
    target = 2 * torch.randn(64, 6, 8)
    index = torch.arange(6).expand(64, -1)
    mean = target.mean(0, keepdim=True).expand_as(target)
    function = {"l1": F.l1_loss, "smooth-l1": F.smooth_l1_loss, "l2": F.mse_loss}[loss]
    loss_value = function((target + mean) / 2, target)
    output = JepaOutput(loss_value, loss_value, target, target, index, index, loss)
    signs = output.signs()
    expected = function((target + mean) / 2, target) / function(mean, target)
    assert signs["loss_to_mean"] == pytest.approx(expected.item(), rel=1e-5)
    if loss != "smooth-l1":
        assert signs["loss_to_mean"] == pytest.approx({"l1": 0.5, "l2": 0.25}[loss], rel=1e-5)


def test_unknown_devices_are_refused():
    with pytest.raises(ConfigError, match="unknown device 'gpu': expected auto, cpu or cuda"):
        choose_device("gpu")
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="sees no GPU"):
            choose_device("cuda")


# ---------------------------------------------------------------- stopwatch


def test_the_stopwatch_tells_waiting_from_working(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])

    def batches():
        for number in range(4):
            now[0] += 2.0
            yield number

    watch, laps = Stopwatch(10), []
    for step, _ in enumerate(watch.waiting(batches()), start=11):
        now[0] += 3.0
        if step % 2 == 0:
            laps.append(watch.lap(step))
    assert laps == [(10.0, 4.0, 2), (10.0, 4.0, 2)]
