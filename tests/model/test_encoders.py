"""Every encoder and stem: what is hidden stays hidden, costs are exact, all objectives train it."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from small_encoders import describe
from torch.utils.flop_counter import FlopCounterMode

from ecgjepa.config import EncoderConfig, load_preset
from ecgjepa.errors import ConfigError, ModelFolderError
from ecgjepa.model import layers
from ecgjepa.model.encoders.build import build_encoder
from ecgjepa.model.encoders.residual import ResidualBlock
from ecgjepa.model.encoders.stem import ConvolutionalStem
from ecgjepa.model.folder import load_model_folder, save_model
from ecgjepa.objectives.build import objective_of
from ecgjepa.official.config import check_official_architecture
from ecgjepa.planning.costs import count_flops, count_parameters, estimate_memory

SHAPES = {
    "vit": {"num_registers": 1},
    "vit, convolutional stem": {"num_registers": 1, "stem": "convolutional"},
    "s4d, convolutional stem": {"architecture": "s4d", "state_dim": 4, "stem": "convolutional"},
    "xresnet": {"architecture": "xresnet"},
    "xresnet, convolutional stem": {"architecture": "xresnet", "stem": "convolutional"},
}
OBJECTIVES = ["jepa", "simclr", "byol", "mae"]
shapes = pytest.mark.parametrize("shape", SHAPES)


def config_of(shape: str, **more) -> EncoderConfig:
    return EncoderConfig(
        **{"patch_size": 6, "dim": 16, "depth": 2, "num_heads": 4} | SHAPES[shape] | more
    )


def trained(shape: str, objective: str, *more: str):
    overrides = [f"encoder.{name}={value}" for name, value in SHAPES[shape].items()]
    preset = "tiny" if objective == "jepa" else f"tiny-{objective}"
    return load_preset(preset, [*overrides, "train.batch_size=4", "encoder.depth=2", *more])


def moved(encoder: torch.nn.Module) -> torch.nn.Module:
    """Return the encoder away from its start, where the last norm of a branch is 0."""
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return encoder


@shapes
def test_nothing_depends_on_hidden_samples(shape):
    torch.manual_seed(0)
    encoder = moved(build_encoder(config_of(shape)))
    signal, changed = torch.randn(2, 12, 60), torch.randn(2, 12, 60)
    keep = torch.tensor([[3, 4, 9], [0, 1, 7]])
    for row, patches in enumerate(keep.tolist()):
        for patch in patches:
            changed[row, :, 6 * patch : 6 * patch + 6] = signal[row, :, 6 * patch : 6 * patch + 6]
    registers = encoder.config.num_registers
    found = encoder(signal, keep)
    assert found.shape == (2, 3 + registers, 16)
    torch.testing.assert_close(found, encoder(changed, keep))
    # What is hidden is not what is there.
    whole = encoder(signal)[:, registers:]
    kept = torch.stack([whole[row, keep[row]] for row in range(2)])
    assert (found[:, registers:] - kept).abs().max() > 1e-3


@shapes
@pytest.mark.parametrize("hides", [False, True])
def test_every_parameter_has_a_gradient(shape, hides):
    """Processes that share a batch wait for all of them: torch's DDP fails without."""
    encoder = moved(build_encoder(config_of(shape)))
    keep = torch.tensor([[3, 4, 9]]) if hides else None
    encoder(torch.randn(1, 12, 60), keep).square().sum().backward()
    assert [name for name, value in encoder.named_parameters() if value.grad is None] == []


@given(size=st.integers(1, 400))
@settings(max_examples=60, deadline=None)
def test_the_strides_of_a_stem_make_a_patch(size):
    strides = EncoderConfig(patch_size=size, dim=2, depth=1, num_heads=1).stem_strides
    assert np.prod(strides) == size
    assert sorted(strides, reverse=True) == list(strides)


def test_strides_are_as_alike_as_they_can_be():
    found = {
        size: EncoderConfig(patch_size=size, dim=2, depth=1, num_heads=1).stem_strides
        for size in (1, 2, 7, 8, 10, 25, 50)
    }
    assert found == {
        1: (1, 1, 1),
        2: (2, 1, 1),
        7: (7, 1, 1),
        8: (2, 2, 2),
        10: (5, 2, 1),
        25: (5, 5, 1),
        50: (5, 5, 2),
    }


def test_a_stem_is_three_convolutions_of_each_patch_alone():
    torch.manual_seed(0)
    config = EncoderConfig(patch_size=12, dim=4, depth=1, num_heads=1, stem="convolutional")
    stem = ConvolutionalStem(config)
    signal = torch.randn(2, 12, 36)
    expected = []
    for patch in range(3):
        found = signal[:, :, 12 * patch : 12 * patch + 12]
        for number, stride in enumerate((3, 2, 2)):
            weight = stem.layers[2 * number].weight
            assert weight.shape[2] == 2 * stride - 1
            found = F.conv1d(found, weight, stride=stride, padding=stride - 1)
            found = F.gelu(found) if number < 2 else found
        expected.append(found[:, :, 0])
    found = stem(signal)
    torch.testing.assert_close(found, torch.stack(expected, dim=1))
    keep = torch.tensor([[2, 0], [1, 1]])
    chosen = torch.stack([found[row, keep[row]] for row in range(2)])
    torch.testing.assert_close(stem(signal, keep), chosen)
    assert 0.3 < found.std() < 3  # tokens are as large as their samples


def test_a_residual_block_is_what_it_says():
    torch.manual_seed(0)
    block = ResidualBlock(8, norm_eps=1e-6)
    x = torch.randn(2, 9, 8)
    torch.testing.assert_close(block(x), F.relu(x))  # its last norm starts at 0
    moved(block)
    turned = x.transpose(1, 2)
    found = F.conv1d(turned, block.conv1.weight, padding=2).transpose(1, 2)
    found = F.relu(F.layer_norm(found, (8,), block.norm1.weight, eps=1e-6))
    found = F.conv1d(found.transpose(1, 2), block.conv2.weight, padding=2).transpose(1, 2)
    found = F.layer_norm(found, (8,), block.norm2.weight, eps=1e-6)
    torch.testing.assert_close(block(x), F.relu(x + found))
    # A record's features are its own, whatever the batch.
    torch.testing.assert_close(block(x)[:1], block(x[:1]))


@shapes
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_costs_are_those_that_pytorch_counts(monkeypatch, shape, objective):
    monkeypatch.setattr(
        layers, "attend", lambda q, k, v: (q @ k.transpose(-2, -1)).softmax(dim=-1) @ v
    )
    config = trained(shape, objective, "predictor.depth=1", "mae.masking=time")
    networks = objective_of(config).networks()
    inputs = objective_of(config).draw(0, 0, 0, size=4)
    with FlopCounterMode(display=False) as counter:
        networks(torch.randn(4, 12, 250), *inputs).loss.backward()
    counted = count_flops(config).total
    if objective == "jepa":
        counted = objective_of(config).flops_with(inputs[0].shape[1]).total
    found = counter.get_total_flops()
    if objective in ("simclr", "byol"):  # of the failure signals, which no loss needs
        found -= 2 * 2 * 4 * 4 * getattr(config, objective).projection_dim
    assert 4 * counted == pytest.approx(found, rel=0.02)
    parameters = count_parameters(config)
    assert parameters.in_memory == sum(p.numel() for p in networks.parameters())
    assert estimate_memory(config, "float32").activations > 0


@shapes
def test_a_model_folder_gives_it_back_and_an_older_one_opens(shape, tmp_path):
    encoder = moved(build_encoder(config_of(shape))).eval()
    described = describe().model_copy(update={"encoder": encoder.config})
    save_model(tmp_path / "model", encoder, described, "card")
    loaded, _ = load_model_folder(tmp_path / "model")
    signal = torch.randn(2, 12, 60)
    torch.testing.assert_close(loaded(signal), encoder(signal))
    path = tmp_path / "model/config.json"
    content = json.loads(path.read_text())
    for name in ("architecture", "stem", "state_dim", "causal"):  # of before there were others
        del content["encoder"][name]
    path.write_text(json.dumps(content))
    if shape == "vit":
        torch.testing.assert_close(
            load_model_folder(tmp_path / "model")[0](signal), encoder(signal)
        )
    else:
        with pytest.raises(ModelFolderError):
            load_model_folder(tmp_path / "model")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["encoder.stem=wavelets"], "Input should be 'linear' or 'convolutional'"),
        (["encoder.stem=convolutional", "encoder.lead_patches=true"], "lead_patches must be false"),
        (["encoder.architecture=xresnet", "encoder.causal=true"], "xresnet sees the future, too"),
        (
            ["encoder.architecture=xresnet", "encoder.num_registers=1"],
            "architecture xresnet cannot",
        ),
        (
            ["encoder.architecture=xresnet", "encoder.positions=rotary"],
            "architecture xresnet cannot",
        ),
    ],
)
def test_what_cannot_be_is_refused_by_name(overrides, message):
    with pytest.raises(ConfigError, match=message):
        load_preset("tiny", overrides)


@pytest.mark.parametrize("shape", [name for name in SHAPES if name != "vit"])
def test_other_networks_have_no_official_checkpoint(shape):
    with pytest.raises(ConfigError, match=r"encoder\.(architecture|stem) is .* no official"):
        check_official_architecture(config_of(shape), source="model")
