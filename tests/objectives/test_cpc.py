"""CPC against its published definition, written out, and the presets at the published size."""

import json

import numpy as np
import pytest
import torch
from conftest import write_ptb_xl
from safetensors.torch import load_file
from torch.utils.flop_counter import FlopCounterMode

import ecgjepa
from ecgjepa.config import load_preset
from ecgjepa.errors import ConfigError
from ecgjepa.objectives.build import objective_of
from ecgjepa.objectives.networks.cpc import Cpc, predictive_loss
from ecgjepa.planning.costs import count_bytes, count_flops, count_parameters
from ecgjepa.protocols.encoders import load_encoder

CAUSAL = ["encoder.architecture=s4d", "encoder.causal=true"]
CPC = ["objective=cpc", *CAUSAL, "encoder.state_dim=4", "cpc.horizons=3"]
# What makes the presets of the published size small enough for a test.
REDUCED = [
    "data.sampling_rate=100",
    "data.window_seconds=2",
    "encoder.dim=16",
    "encoder.depth=2",
    "encoder.num_heads=2",
    "predictor.dim=8",
    "predictor.depth=1",
    "predictor.num_heads=2",
    "train.steps=3",
    "train.warmup_steps=1",
    "train.batch_size=4",
    "train.log_every=1",
    "train.checkpoint_every=1",
    "train.keep_checkpoints=0",
]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cpc")
    source = write_ptb_xl(folder / "source", records=20, seconds=3.0)
    preprocessing = ecgjepa.PreprocessingConfig(sampling_rate=100.0)
    ecgjepa.prepare({"ptb-xl": source}, folder / "store", preprocessing=preprocessing)
    return folder / "store"


def test_the_loss_is_the_published_sum():
    """Equation 4, with one positive among all candidates, averaged over places and distances."""
    rng = np.random.default_rng(0)
    records, patches, horizons, dim = 3, 6, 2, 4
    predicted = rng.normal(size=(records, patches - 1, horizons, dim))
    wanted = rng.normal(size=(records, patches, dim))
    means = []
    for distance in range(1, horizons + 1):
        losses = []
        for record in range(records):
            for place in range(patches - distance):
                guess = predicted[record, place, distance - 1]
                right = place + distance
                candidates = [wanted[record, other] for other in range(patches) if other != right]
                candidates += [wanted[o, right] for o in range(records) if o != record]
                scores = [guess @ wanted[record, right], *(guess @ c for c in candidates)]
                assert len(scores) == patches + records - 1
                losses.append(-scores[0] + np.log(np.exp(scores).sum()))
        means.append(np.mean(losses))
    loss, _ = predictive_loss(torch.from_numpy(predicted), torch.from_numpy(wanted))
    assert loss.item() == pytest.approx(np.mean(means), rel=1e-9)


def test_a_prediction_that_is_right_is_found():
    wanted = 9 * torch.nn.functional.one_hot(torch.arange(12)).float().view(2, 6, 12)
    predicted = torch.stack(
        [torch.stack([wanted[:, min(t + k, 5)] for k in (1, 2)], 1) for t in range(5)], 1
    )
    loss, found = predictive_loss(predicted, wanted)
    assert loss.item() < 1e-3
    assert [float(share) for share in found] == [1.0, 1.0]
    _, found = predictive_loss(predicted.flip(1), wanted)
    assert float(found[1]) < 0.5


@pytest.mark.parametrize("stem", ["linear", "convolutional"])
def test_at_the_start_all_patches_are_as_likely(stem):
    """Whatever the width; scores that grow with it would begin far above the logarithm."""
    torch.manual_seed(0)
    wide = [*CPC, "encoder.dim=256", "encoder.depth=1", f"encoder.stem={stem}"]
    networks = objective_of(load_preset("tiny", wide)).networks()
    loss = networks(torch.randn(4, 12, 250)).loss.item()
    assert loss == pytest.approx(np.log(25 + 3), rel=0.25)


def test_nothing_is_predicted_from_the_future():
    """A patch ahead changes what is wanted, never what is expected of it."""
    torch.manual_seed(0)
    networks = objective_of(load_preset("tiny", [*CPC, "encoder.dim=16"])).networks()
    signal = torch.randn(2, 12, 250)
    changed = signal.clone()
    changed[:, :, 130:] += 1.0
    before, after = networks(signal).features, networks(changed).features
    torch.testing.assert_close(before[:, :13], after[:, :13], rtol=0, atol=1e-5)
    assert (before[:, 13:] - after[:, 13:]).abs().max() > 0.01
    embedded = networks.encoder.embed(signal), networks.encoder.embed(changed)
    assert torch.equal(embedded[0][:, :13], embedded[1][:, :13])


def test_one_batch_can_be_learned():
    torch.manual_seed(0)
    small = [*CPC, "encoder.dim=16", "encoder.depth=1"]
    networks = objective_of(load_preset("tiny", small)).networks()
    optimizer = torch.optim.AdamW(networks.parameters(), lr=2e-2)
    signal = torch.randn(4, 12, 80)
    losses = []
    for _ in range(30):
        output = networks(signal)
        output.loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(output.loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert output.signs()["found_next"] > 0.5


def test_costs_are_those_that_pytorch_counts():
    config = load_preset("tiny", [*CPC, "train.batch_size=4"])
    networks = objective_of(config).networks()
    with FlopCounterMode(display=False) as counter:
        networks(torch.randn(4, 12, 250)).loss.backward()
    assert 4 * count_flops(config).total == pytest.approx(counter.get_total_flops(), rel=0.005)
    parameters = count_parameters(config)
    assert (
        parameters.trained == parameters.in_memory == sum(p.numel() for p in networks.parameters())
    )
    assert count_bytes(config).device == 250 * 12 * 2 + 8


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["objective=cpc"],
            r"found encoder\.architecture vit, .* expected encoder\.architecture=s4d",
        ),
        (
            ["objective=cpc", CAUSAL[0]],
            r"must not see it: found encoder\.architecture s4d, .* false",
        ),
        (
            ["objective=cpc", *CAUSAL, "cpc.horizons=25"],
            r"cpc\.horizons 25: a window has 25 patches, so at most 24 follow one",
        ),
        ([*CPC, "train.gradient_accumulation_steps=64"], "needs at least 2; found 1"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(store, tmp_path, overrides, message):
    with pytest.raises(ConfigError, match=message):
        ecgjepa.plan("tiny", overrides=overrides)
    with pytest.raises(ConfigError, match=message):
        ecgjepa.pretrain(store, tmp_path / "run", overrides=overrides)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("preset", ["s4-cpc", "s4-jepa"])
def test_the_published_size_is_planned(preset):
    config = load_preset(preset)
    encoder = count_parameters(config).encoder
    assert 3.75e6 < encoder < 3.95e6
    assert ecgjepa.plan(preset, tflops=10).speed.seconds > 0
    with torch.device("meta"):
        networks = objective_of(config).networks()
    kept = networks.encoder_to_keep.parameters()
    assert sum(parameter.numel() for parameter in kept) == encoder


@pytest.mark.parametrize("preset", ["s4-cpc", "s4-jepa"])
def test_three_steps_resume_bit_for_bit_and_give_an_encoder(store, tmp_path, monkeypatch, preset):
    whole = ecgjepa.pretrain(store, tmp_path / "whole", preset=preset, overrides=REDUCED)
    networks = type(objective_of(load_preset(preset)).networks())
    calls = []

    def stop(self, momentum):
        calls.append(momentum)
        if len(calls) == 3:
            raise InterruptedError

    if networks is Cpc:
        with monkeypatch.context() as patch:
            patch.setattr(networks, "update_target", stop)
            with pytest.raises(InterruptedError):
                ecgjepa.pretrain(store, tmp_path / "cut", preset=preset, overrides=REDUCED)
        cut = ecgjepa.pretrain(store, tmp_path / "cut", preset=preset, overrides=REDUCED)
        name = "checkpoints/step-000003/weights.safetensors"
        assert (cut / name).read_bytes() == (whole / name).read_bytes()
    lines = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3]
    encoder, config = load_encoder(whole)
    assert config.encoder.architecture == "s4d"
    assert config.encoder.causal == (preset == "s4-cpc")
    kept = "encoder" if preset == "s4-cpc" else "target_encoder"
    saved = load_file(whole / "checkpoints/step-000003/weights.safetensors")
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, saved[f"{kept}.{name}"])
    if preset == "s4-cpc":
        assert all(0 <= line["found_next"] <= 1 for line in lines)
        assert "pre-trained with CPC" in (whole / "model/README.md").read_text()
