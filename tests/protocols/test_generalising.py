"""What keeps a fine-tuning from learning its records by heart: each switch against plain code."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import ecgjepa
from ecgjepa.config import EncoderConfig
from ecgjepa.errors import ConfigError
from ecgjepa.model.encoders.build import build_encoder
from ecgjepa.model.encoders.stochastic_depth import DropPath, add_stochastic_depth
from ecgjepa.model.layers import Block
from ecgjepa.model.xresnet import build_xresnet
from ecgjepa.protocols.averaging import WeightAverage
from ecgjepa.protocols.fit import Examples, _loss, fit, smoothed
from ecgjepa.protocols.settings import PROTOCOLS, load_protocol, load_rival
from ecgjepa.sampling.jitter import jitter

SWITCHES = {
    "drop_path": 0.3,
    "weight_average": 0.9,
    "label_smoothing": 0.1,
    "amplitude_jitter": 0.05,
    "baseline_wander": 0.2,
    "lead_dropout": 0.5,
}
NO_JITTER = {"amplitude": 0.0, "wander": 0.0, "lead_dropout": 0.0, "sampling_rate": 100.0}
ALL_OVERRIDES = [f"{name}={value}" for name, value in SWITCHES.items()]


# ---------------------------------------------------------------- settings


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_switch_is_off_by_default(name):
    assert {getattr(PROTOCOLS[name], switch) for switch in SWITCHES} == {0.0}


@pytest.mark.parametrize("name", ["finetune", "finetune-after-probe", "supervised"])
def test_whatever_trains_a_network_takes_every_switch(name):
    found = load_protocol(name, ALL_OVERRIDES)
    assert {switch: getattr(found, switch) for switch in SWITCHES} == SWITCHES


def test_the_rival_from_scratch_is_kept_from_overfitting_in_the_same_way():
    rival = load_rival("finetune-after-probe", ALL_OVERRIDES, num_registers=1)
    assert {switch: getattr(rival, switch) for switch in SWITCHES} == SWITCHES


@pytest.mark.parametrize(
    "switch", ["drop_path", "amplitude_jitter", "baseline_wander", "lead_dropout"]
)
def test_a_frozen_encoder_takes_none_that_would_do_nothing(switch):
    with pytest.raises(ConfigError, match=f"protocol attentive: {switch} is 0.1, but the encoder"):
        load_protocol("attentive", [f"{switch}=0.1"])


@pytest.mark.parametrize(
    "bad", ["drop_path=1", "weight_average=1", "label_smoothing=-0.1", "amplitude_jitter=0.3"]
)
def test_values_without_a_meaning_are_refused_by_name(bad):
    with pytest.raises(ConfigError, match=f"protocol finetune: {bad.partition('=')[0]}: "):
        load_protocol("finetune", [bad])


# ---------------------------------------------------------------- stochastic depth


def encoder_of(architecture):
    torch.manual_seed(0)
    shape = {"num_leads": 2, "patch_size": 5, "dim": 8, "depth": 3, "num_heads": 2}
    return build_encoder(EncoderConfig(architecture=architecture, **shape))


def drops_of(module):
    return [part.rate for part in module.modules() if isinstance(part, DropPath)]


@pytest.mark.parametrize("architecture", ["vit", "s4d", "xresnet"])
def test_rates_grow_to_the_last_block_and_nothing_changes_in_use(architecture):
    plain, dropping = encoder_of(architecture).eval(), encoder_of(architecture)
    add_stochastic_depth(dropping.blocks, 0.4)
    assert drops_of(dropping) == pytest.approx([0.0, 0.2, 0.4])
    for parameter in plain.parameters():
        nn.init.normal_(parameter, std=0.3)
    dropping.load_state_dict(plain.state_dict(), strict=True)
    signal = torch.randn(3, 2, 40)
    assert torch.equal(dropping.eval()(signal), plain(signal))
    dropping.train()
    assert not torch.equal(dropping(signal), plain(signal))


def test_the_residual_network_has_it_too():
    network = build_xresnet("xresnet1d18", 2, 3)
    names = network.state_dict().keys()
    add_stochastic_depth(network.blocks, 0.35)
    assert drops_of(network) == pytest.approx([0.05 * number for number in range(8)])
    assert network.state_dict().keys() == names


def test_a_record_loses_a_branch_or_has_it_scaled_up():
    torch.manual_seed(0)
    drop, x = DropPath(0.25), torch.rand(4000, 2, 3) + 1
    ratio = (drop(x) / x).flatten(1)
    wanted = torch.where(ratio[:, :1] == 0, 0.0, 4 / 3).expand(-1, 6)  # whole records
    torch.testing.assert_close(ratio, wanted)
    assert (ratio[:, 0] == 0).float().mean() == pytest.approx(0.25, abs=0.03)
    assert torch.equal(drop.eval()(x), x)


def test_a_block_in_one_piece_drops_what_its_modules_drop():
    torch.manual_seed(0)
    block = Block(8, 2, mlp_ratio=2, norm_eps=1e-6, dropout=0.2).double()
    add_stochastic_depth([block], 0.5)
    x = torch.randn(6, 5, 8, dtype=torch.float64)
    torch.manual_seed(1)
    found = block(x)
    torch.manual_seed(1)
    wanted = x + block.dropout(block.attn(block.norm1(x)))
    wanted = wanted + block.dropout(block.mlp(block.norm2(wanted)))
    torch.testing.assert_close(found, wanted)


# ---------------------------------------------------------------- averaged weights


def test_the_average_is_that_of_the_recursion_with_statistics_of_batch_norms():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    average = WeightAverage(model, 0.5)
    wanted = {name: value.clone() for name, value in model.state_dict().items()}
    for step in range(6):
        with torch.no_grad():
            model[0].weight.normal_()
        model(torch.randn(4, 3))
        average.follow(step)
        stays = min(0.5, (1 + step) / (10 + step))
        for name, value in model.state_dict().items():
            is_count = name.endswith("num_batches_tracked")
            wanted[name] = value.clone() if is_count else stays * wanted[name] + (1 - stays) * value
    own = {name: value.clone() for name, value in model.state_dict().items()}
    with average.in_place():
        torch.testing.assert_close(dict(model.state_dict()), wanted)
    torch.testing.assert_close(dict(model.state_dict()), own, rtol=0, atol=0)


def examples_of(model, targets, kind="multi-label"):
    seen = []
    inputs = torch.randn(len(targets), 3, generator=torch.Generator().manual_seed(0))

    def validate():
        seen.append(model.weight.detach().clone())
        return [model(inputs).detach().numpy()]

    return Examples(lambda chosen, _: inputs[chosen], targets, kind, validate, targets), seen


@pytest.mark.parametrize("share", [0.0, 0.9])
def test_what_is_validated_is_what_is_kept(share):
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    start = model.weight.detach().clone()
    examples, seen = examples_of(model, np.random.default_rng(0).random((12, 2)) < 0.5)
    config = load_protocol(
        "supervised",
        ["steps=3", "validate_every=1", "warmup_steps=0", f"weight_average={share}"],
    )
    result = fit(model, config, examples, seed=0)
    assert torch.equal(model.weight, seen[result.best_step - 1])
    # The average begins near the first weights: it moves less than they do.
    moved = (seen[0] - start).abs().mean()
    assert moved < 0.95 * 3e-3 if share else moved == pytest.approx(3e-3, rel=0.05)


# ---------------------------------------------------------------- labels


def test_smoothed_labels_of_one_kind_are_pytorchs():
    targets = F.one_hot(torch.tensor([0, 2, 1]), 3).float()
    logits = torch.randn(3, 3)
    found = _loss(logits, smoothed(targets, "single-label", 0.2), "single-label")
    wanted = F.cross_entropy(logits, targets.argmax(1), label_smoothing=0.2)
    torch.testing.assert_close(found, wanted)


def test_a_smoothed_label_is_less_sure():
    targets = torch.tensor([[0.0, 1.0]])
    torch.testing.assert_close(smoothed(targets, "multi-label", 0.2), torch.tensor([[0.1, 0.9]]))
    assert smoothed(targets, "multi-label", 0.0) is targets


def test_values_cannot_be_smoothed():
    model = nn.Linear(3, 1)
    examples, _ = examples_of(model, np.arange(8.0).reshape(8, 1), kind="regression")
    config = load_protocol("supervised", ["steps=1", "label_smoothing=0.1"])
    with pytest.raises(ConfigError, match=r"label_smoothing is 0\.1, but the task predicts values"):
        fit(model, config, examples, seed=0)


# ---------------------------------------------------------------- signals


@settings(max_examples=25, deadline=None)
@given(
    amplitude=st.floats(0, 0.2),
    wander=st.floats(0, 1),
    lead_dropout=st.floats(0, 0.9),
    seed=st.integers(0, 1000),
)
def test_a_changed_signal_keeps_its_axis_and_its_fast_waves(amplitude, wander, lead_dropout, seed):
    signal = torch.randn(4, 3, 250, generator=torch.Generator().manual_seed(seed)).double()
    given = {"amplitude": amplitude, "wander": wander, "lead_dropout": lead_dropout}
    found, again = (
        jitter(signal, np.random.default_rng(seed), **given, sampling_rate=100.0) for _ in range(2)
    )
    assert torch.equal(found, again)
    for record, changed in zip(signal, found, strict=True):
        lost = (changed == 0).all(dim=1)
        assert lost.sum() <= 1
        # From sample to sample, only the amplitude differs, by one factor for all leads.
        steps, steps_changed = record[~lost].diff(dim=1), changed[~lost].diff(dim=1)
        factor = (steps * steps_changed).sum() / steps.square().sum()
        assert abs(float(factor) - 1) <= amplitude + 0.01
        assert (steps_changed - factor * steps).abs().max() <= 2 * np.pi * 0.5 / 100 * wander + 0.02
        assert (changed[~lost] - factor * record[~lost]).abs().max() <= wander + 0.05


def test_without_switches_the_signal_is_untouched_and_nothing_is_drawn():
    signal, rng = torch.randn(2, 3, 50), np.random.default_rng(0)
    assert jitter(signal, rng, **NO_JITTER) is signal
    assert rng.random() == np.random.default_rng(0).random()


def test_a_lead_is_lost_as_often_as_asked_and_each_alike():
    signal = torch.ones(4000, 4, 2)
    found = jitter(signal, np.random.default_rng(0), **(NO_JITTER | {"lead_dropout": 0.5}))
    lost = (found == 0).all(dim=2)
    assert lost.any(dim=1).float().mean() == pytest.approx(0.5, abs=0.03)
    assert lost.float().mean(dim=0).numpy() == pytest.approx([0.125] * 4, abs=0.03)


# ---------------------------------------------------------------- whole trainings


@pytest.mark.parametrize("protocol", ["finetune", "supervised"])
def test_a_training_with_all_switches_is_another_and_repeats_itself(
    protocol, encoder, ptb_xl, cache
):
    short = ["steps=2", "validate_every=1", "batch_size=8", "warmup_steps=0"]
    given = {"task": "superdiagnostic", "protocol": protocol, "cache": cache}
    runs = [
        ecgjepa.run_protocol(encoder, {"ptb-xl": ptb_xl}, overrides=overrides, **given)
        for overrides in (short, [*short, *ALL_OVERRIDES], [*short, *ALL_OVERRIDES])
    ]
    plain, first, second = (run.outcome for run in runs)
    np.testing.assert_array_equal(first.test, second.test)
    assert not np.array_equal(first.test, plain.test)
    losses = [outcome.fit.history[0].train_loss for outcome in (plain, first)]
    assert losses[0] != losses[1]
