import pytest
import torch

from ecgjepa.errors import ConfigError
from ecgjepa.model.xresnet import build_xresnet


def convolution(inputs, outputs, kernel):
    """Weights without bias, then scale and shift of the batch norm."""
    return inputs * outputs * kernel + 2 * outputs


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


STEM = convolution(12, 32, 5) + convolution(32, 32, 5) + convolution(32, 64, 5)


def test_parameters_of_the_small_network_are_those_counted_by_hand():
    first = convolution(64, 92, 5) + convolution(92, 92, 5) + convolution(64, 92, 1)
    others = 7 * 2 * convolution(92, 92, 5)
    expected = STEM + first + others + (2 * 92 * 5 + 5)
    assert count(build_xresnet("xresnet1d18", 12, 5)) == expected
    assert 0.6e6 < expected < 0.8e6


def test_parameters_of_the_deep_network_are_those_counted_by_hand():
    def block(inputs):
        return convolution(inputs, 64, 1) + convolution(64, 64, 5) + convolution(64, 256, 1)

    expected = STEM + block(64) + convolution(64, 256, 1) + 15 * block(256) + 512 * 71 + 71
    assert count(build_xresnet("xresnet1d50", 12, 71)) == expected
    # Counted in the benchmark's own network (helme/ecg_ptbxl_benchmarking), without its classifier.
    network = build_xresnet("xresnet1d50", 12, 5)
    assert count(network) - count(network.head) == 886_400


@pytest.mark.parametrize("name", ["xresnet1d18", "xresnet1d50"])
@pytest.mark.parametrize("samples", [250, 1000, 257])
def test_any_length_gives_logits_and_the_rate_is_halved_five_times(name, samples):
    model = build_xresnet(name, 12, 5).eval()
    signal = torch.randn(2, 12, samples)
    assert model(signal).shape == (2, 5)
    assert model.blocks(model.stem(signal)).shape[2] == -(-samples // 32)


def test_blocks_start_as_their_shortcuts():
    model = build_xresnet("xresnet1d18", 12, 5)
    x = torch.rand(3, 92, 40)  # positive: the last ReLU changes nothing
    torch.testing.assert_close(model.blocks[1](x), x)


def test_unknown_networks_are_named():
    with pytest.raises(ConfigError, match="unknown network 'resnet': expected one of xresnet1d18"):
        build_xresnet("resnet", 12, 5)
