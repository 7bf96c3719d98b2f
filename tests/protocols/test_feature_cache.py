"""Features of frozen encoders: encoded once, under the hash of all they depend on."""

import importlib

import numpy as np
import pytest
import torch
from small_encoders import describe, small_encoder
from torch import nn

from ecgjepa.errors import ConfigError, FeatureError
from ecgjepa.model.encoders.vision_transformer import VisionTransformer
from ecgjepa.model.heads import (
    Classifier,
    HeadConfig,
    Reading,
    build_head,
    check_layers,
    patch_means,
    tokens_of_layers,
)
from ecgjepa.protocols.feature_cache import cached_features
from ecgjepa.protocols.features import encode, grid_windows, standardise
from ecgjepa.protocols.request import Workspace
from ecgjepa.signals.preprocessing import PreprocessingConfig
from ecgjepa.store.prepare import prepare
from ecgjepa.store.reading import Store

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def store(ptb_xl, tmp_path_factory):
    folder = tmp_path_factory.mktemp("features") / "store"
    prepare({"ptb-xl": ptb_xl}, folder, preprocessing=PreprocessingConfig(sampling_rate=100.0))
    with Store(folder) as opened:
        yield opened


@pytest.fixture
def forwards(monkeypatch):
    """Count the windows that encoders encode."""
    counted = [0]
    forward = VisionTransformer.forward

    def counting(self, signal, *args, **options):
        counted[0] += len(signal)
        return forward(self, signal, *args, **options)

    monkeypatch.setattr(VisionTransformer, "forward", counting)
    return counted


def cached(store, cache, *, encoder=None, rows=20, stride=125, **options):
    windows = grid_windows(store, np.arange(rows), size=250, stride=stride)
    normalisation = options.pop("normalisation", describe().normalisation)
    encoder = encoder or small_encoder()
    return cached_features(encoder, normalisation, windows, Workspace(CPU, cache), **options)


def test_the_second_time_costs_no_encoder_pass(store, tmp_path, forwards):
    first = cached(store, tmp_path)
    assert forwards[0] == 20 * 7
    again = cached(store, tmp_path)
    assert forwards[0] == 20 * 7
    assert isinstance(again.tokens, np.memmap)
    np.testing.assert_array_equal(again.tokens, first.tokens)
    plain = encode(small_encoder(), describe().normalisation.build(), first.windows, CPU)
    np.testing.assert_array_equal(again.tokens, plain.tokens)


def changed_weight():
    encoder = small_encoder()
    with torch.no_grad():
        encoder.norm.weight[0] += 1e-6
    return encoder


@pytest.mark.parametrize(
    "change",
    [
        {"encoder": changed_weight()},
        {"rows": 19},
        {"stride": 250},
        {"reading": Reading((1, 2))},
        {"reading": Reading((1, 2), beside=True)},
        {"normalisation": describe().normalisation.model_copy(update={"clip": 4.0})},
    ],
    ids=str,
)
def test_any_change_is_encoded_anew(store, tmp_path, forwards, change):
    cached(store, tmp_path)
    before = forwards[0]
    cached(store, tmp_path, **change)
    assert forwards[0] > before
    assert len(list((tmp_path / "features").glob("*.npy"))) == 2


def test_a_layer_of_other_code_is_encoded_anew(store, tmp_path, forwards, monkeypatch):
    """An encoder of the user's own may have its layers in other files than itself."""
    monkeypatch.syspath_prepend(tmp_path)
    code = tmp_path / "layers_of_a_user.py"
    code.write_text("from torch import nn\n\n\nclass Layer(nn.Identity):\n    pass\n")
    encoder = small_encoder()
    encoder.norm = nn.Sequential(encoder.norm, importlib.import_module(code.stem).Layer())
    encoder.identity = "of the encoder's own file"
    cached(store, tmp_path, encoder=encoder)
    before = forwards[0]
    cached(store, tmp_path, encoder=encoder)
    assert forwards[0] == before
    code.write_text(code.read_text() + "    # another one\n")
    cached(store, tmp_path, encoder=encoder)
    assert forwards[0] > before


def test_a_damaged_file_is_encoded_anew(store, tmp_path, forwards):
    expected = np.array(cached(store, tmp_path).tokens)
    (file,) = (tmp_path / "features").iterdir()
    file.write_bytes(file.read_bytes()[:-10])
    np.testing.assert_array_equal(cached(store, tmp_path).tokens, expected)
    file.write_bytes(b"no array")
    np.testing.assert_array_equal(cached(store, tmp_path).tokens, expected)
    assert forwards[0] == 3 * 20 * 7


def test_the_oldest_files_go_first(store, tmp_path, monkeypatch):
    size = 20 * 7 * 11 * 16 * 2 / 1e9
    monkeypatch.setenv("ECGJEPA_FEATURE_CACHE_GB", str(2.5 * size))
    cached(store, tmp_path)
    (first,) = (tmp_path / "features").iterdir()
    cached(store, tmp_path, reading=Reading((1,)))
    cached(store, tmp_path)  # used again, so it is not the oldest
    cached(store, tmp_path, reading=Reading((2,)))
    assert first.is_file()
    assert len(list((tmp_path / "features").iterdir())) == 2


def test_no_room_means_memory(store, tmp_path, monkeypatch):
    monkeypatch.setenv("ECGJEPA_FEATURE_CACHE_GB", "0.000001")
    features = cached(store, tmp_path)
    assert not isinstance(features.tokens, np.memmap)
    assert not (tmp_path / "features").exists()


def test_features_that_are_not_finite_are_refused(store, tmp_path):
    encoder = small_encoder()
    with torch.no_grad():
        encoder.norm.weight[3] = float("nan")
    with pytest.raises(FeatureError, match="features of 140 windows are not finite, first"):
        cached(store, tmp_path, encoder=encoder)
    assert list((tmp_path / "features").iterdir()) == []


def test_a_layer_is_the_encoder_cut_off_there():
    """Layer k is what the same weights give with k blocks; the last is the output as it is."""
    encoder, signal = small_encoder(), torch.randn(4, 12, 250)
    outputs = []
    for depth in (1, 2, 3):
        shorter = VisionTransformer(describe(depth).encoder)
        shorter.load_state_dict(encoder.state_dict(), strict=False)
        outputs.append(shorter(signal))
        torch.testing.assert_close(
            tokens_of_layers(encoder, signal, Reading((depth,))), outputs[-1]
        )
    torch.testing.assert_close(
        tokens_of_layers(encoder, signal, Reading((1, 3))), (outputs[0] + outputs[2]) / 2
    )
    beside = tokens_of_layers(encoder, signal, Reading((1, 3), beside=True))
    torch.testing.assert_close(beside, torch.cat((outputs[0], outputs[2]), dim=2))
    torch.testing.assert_close(patch_means(encoder, beside), outputs[2][:, 1:].mean(dim=1))
    assert torch.equal(tokens_of_layers(encoder, signal), encoder(signal))
    head = HeadConfig(kind="mean", num_labels=2, layers=(2,))
    classifier = Classifier(encoder, build_head(head, encoder), head.reading)
    torch.testing.assert_close(classifier(signal), classifier.head(outputs[1]))


@pytest.mark.parametrize(
    ("layers", "match"),
    [
        ((4,), "layer 4: the encoder has layers 1 to 3"),
        ((0,), "layer 0"),
        ((1, 1), "one comes twice"),
    ],
)
def test_layers_that_are_none(layers, match):
    with pytest.raises(ConfigError, match=match):
        check_layers(layers, 3)


def test_an_encoder_goes_back_to_its_device(store, monkeypatch):
    """Also when encoding fails, and to training if it was in training."""
    encoder, moves = small_encoder().train(), []
    move = VisionTransformer.to
    monkeypatch.setattr(
        VisionTransformer, "to", lambda self, device: moves.append(device) or move(self, device)
    )
    windows = grid_windows(store, np.arange(2), size=250, stride=250)
    away = torch.device("cpu", 0)
    encode(encoder, describe().normalisation.build(), windows, away)
    assert (moves, encoder.training) == ([away, CPU], True)
    with torch.no_grad():
        encoder.norm.weight[3] = float("nan")
    with pytest.raises(FeatureError):
        encode(encoder, describe().normalisation.build(), windows, away)
    assert (moves, encoder.training) == ([away, CPU] * 2, True)


def test_features_in_units_of_their_deviation(rng):
    features = rng.normal(3, 2, (50, 4)).astype(np.float32)
    features[:, 1] = 7.1  # its deviation is nothing but rounding
    found = standardise(features)
    np.testing.assert_allclose(found.values.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(np.delete(found.values.std(axis=0), 1), 1)
    assert found.scale[1] == 1
    np.testing.assert_allclose(found.values * found.scale + found.mean, features, rtol=1e-6)
