"""State-space layers equal their recurrence, and see nothing of what is hidden."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_encoders import describe
from torch.utils.flop_counter import FlopCounterMode

from ecgjepa.config import EncoderConfig, load_preset
from ecgjepa.errors import ConfigError
from ecgjepa.model.encoders.build import build_encoder
from ecgjepa.model.encoders.s4d import StateSpaceEncoder
from ecgjepa.model.encoders.state_space import StateSpace, by_product, by_transform
from ecgjepa.model.folder import load_model_folder, save_model
from ecgjepa.objectives.build import objective_of
from ecgjepa.objectives.encoder_costs import (
    encoder_flops,
)
from ecgjepa.planning.costs import count_parameters
from ecgjepa.pretraining.loop import initial_networks

S4D = EncoderConfig(architecture="s4d", patch_size=5, dim=16, depth=2, num_heads=4, state_dim=4)


def recurrence(layer: StateSpace, x: torch.Tensor) -> torch.Tensor:
    """Return the outputs of a layer step by step, in double precision, as its definition says."""
    x = x.double()
    poles = torch.complex(-layer.log_decay.double().exp(), layer.frequency.double())
    factor = torch.exp(poles * layer.log_step.double().exp())
    entry = (factor - 1) / poles  # an input that is held for a step
    readout = torch.view_as_complex(layer.readout.double())
    outputs = x * layer.skip.double()
    for direction in range(len(factor)):
        times = range(x.shape[1])
        state = torch.zeros(len(x), *factor.shape[1:], dtype=torch.complex128)
        for time in times if direction == 0 else reversed(times):
            if direction == 1:  # it reads before the input of this time comes in
                outputs[:, time] += 2 * (readout[1] * state).sum(dim=2).real
            state = factor[direction] * state + entry[direction] * x[:, time].unsqueeze(2)
            if direction == 0:
                outputs[:, time] += 2 * (readout[0] * state).sum(dim=2).real
    return outputs


@given(
    steps=st.integers(1, 40),
    is_causal=st.booleans(),
    state_dim=st.integers(1, 5),
    seed=st.integers(0, 100),
)
@settings(max_examples=30, deadline=None)
def test_a_layer_is_its_recurrence(steps, is_causal, state_dim, seed):
    torch.manual_seed(seed)
    layer = StateSpace(3, state_dim, is_causal=is_causal)
    x = torch.randn(2, steps, 3)
    expected = recurrence(layer, x)
    channels, kernels = x.permute(2, 0, 1), layer.kernels(steps)
    for convolve in (by_product, by_transform):
        found = convolve(channels, kernels).permute(1, 2, 0)
        np.testing.assert_allclose(found.detach(), expected.detach(), atol=2e-5)
    np.testing.assert_allclose(layer(x).permute(1, 2, 0).detach(), expected.detach(), atol=2e-5)


@pytest.mark.parametrize("steps", [7, 330])
def test_gradients_are_those_of_the_recurrence(steps):
    torch.manual_seed(0)
    layer = StateSpace(2, 3, is_causal=False)
    x = torch.randn(2, steps, 2)
    wanted = torch.randn(2, steps, 2)
    found = torch.autograd.grad(
        (layer(x).permute(1, 2, 0) * wanted).sum(), list(layer.parameters())
    )
    expected = torch.autograd.grad((recurrence(layer, x) * wanted).sum(), list(layer.parameters()))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=2e-3, atol=2e-3)


def test_a_causal_encoder_sees_no_future():
    torch.manual_seed(0)
    encoder = build_encoder(S4D.model_copy(update={"causal": True}))
    signal = torch.randn(2, 12, 100)
    changed = signal.clone()
    changed[:, :, 50:] = torch.randn(2, 12, 50)
    before, after = encoder(signal), encoder(changed)
    torch.testing.assert_close(before[:, :10], after[:, :10], rtol=0, atol=1e-5)
    assert (before[:, 10:] - after[:, 10:]).abs().max() > 0.01
    both_ways = build_encoder(S4D)
    assert (both_ways(signal)[:, :10] - both_ways(changed)[:, :10]).abs().max() > 0.01


def test_nothing_depends_on_hidden_samples():
    torch.manual_seed(0)
    encoder = build_encoder(S4D)
    signal = torch.randn(2, 12, 100)
    keep = torch.tensor([[3, 4, 9], [0, 1, 19]])
    changed = torch.randn(2, 12, 100)
    for row, patches in enumerate(keep.tolist()):
        for patch in patches:
            where = slice(5 * patch, 5 * patch + 5)
            changed[row, :, where] = signal[row, :, where]
    found = encoder(signal, keep)
    assert found.shape == (2, 3, 16)
    torch.testing.assert_close(found, encoder(changed, keep))
    # What is hidden is not what is there: the features of the same patches differ.
    assert (found - encoder(signal)[0:2, [3, 4, 9]]).abs().max() > 1e-3


@pytest.mark.parametrize("keep", [None, torch.tensor([[3, 4, 9]])])
def test_every_parameter_has_a_gradient(keep):
    """Processes that share a batch wait for all of them: torch's DDP fails without."""
    encoder = build_encoder(S4D)
    encoder(torch.randn(1, 12, 50), keep).square().mean().backward()
    missing = [name for name, value in encoder.named_parameters() if value.grad is None]
    assert missing == []
    assert (encoder.mask_token.grad.abs().sum() == 0) == (keep is None)


@pytest.mark.parametrize(
    "overrides",
    [{"num_registers": 1}, {"lead_patches": True}, {"positions": "rotary"}],
)
def test_what_it_cannot_have_is_refused_by_name(overrides):
    given = {**S4D.model_dump(), **overrides}
    with pytest.raises(ValueError, match=f"{next(iter(overrides))} is .* architecture s4d"):
        EncoderConfig(**given)


def test_a_vision_transformer_is_not_causal():
    with pytest.raises(ConfigError, match="causal is for architecture s4d; vit sees the future"):
        load_preset("tiny", ["encoder.causal=true"])


SETTINGS = ["encoder.architecture=s4d", "encoder.patch_size=5", "mask.min_block_size=4"]


@pytest.mark.parametrize("objective", ["jepa", "simclr", "byol", "mae"])
def test_its_costs_are_counted_exactly(objective):
    preset = "tiny" if objective == "jepa" else f"tiny-{objective}"
    config = load_preset(preset, [*SETTINGS[:2], "train.batch_size=4"])
    networks = initial_networks(config)
    counted = count_parameters(config)
    assert counted.trained == sum(p.numel() for p in networks.parameters() if p.requires_grad)
    assert counted.in_memory == sum(p.numel() for p in networks.parameters())
    assert objective_of(config).flops().total > 0


def test_its_operations_are_those_that_pytorch_counts():
    config = load_preset("tiny", [*SETTINGS, "train.batch_size=4"])
    encoder = build_encoder(config.encoder)
    with FlopCounterMode(display=False) as counter:
        encoder(torch.zeros(4, 12, 250))
    embedding = 2 * config.num_patches * 12 * 5 * 96
    counted = 4 * (encoder_flops(config, 7) + embedding)
    assert counted == pytest.approx(counter.get_total_flops(), rel=1e-6)


def test_a_model_folder_gives_it_back(tmp_path):
    config = describe().model_copy(update={"encoder": S4D})
    encoder = build_encoder(S4D)
    save_model(tmp_path / "model", encoder, config, "card")
    loaded, _ = load_model_folder(tmp_path / "model")
    assert isinstance(loaded, StateSpaceEncoder)
    signal = torch.randn(2, 12, 100)
    torch.testing.assert_close(loaded(signal), encoder(signal))
