"""Encoders made elsewhere in the frozen protocols: alike, cached by content, never leaked to."""

import sys
import types

import numpy as np
import pytest
import torch
from torch import nn

import ecgjepa
from ecgjepa.errors import ConfigError, TaskError
from ecgjepa.foreign.description import EncoderDescription
from ecgjepa.protocols import feature_cache
from ecgjepa.signals.leads import LEADS

TOLD = {
    "sampling_rate": 100,
    "leads": LEADS,
    "window_seconds": 2.5,
    "normalisation": "window",
    "trained_on": {"ptb-xl": (1, 2, 3, 4, 5, 6, 7, 8)},
}
SETTINGS = {"attentive": ("steps=20", "validate_every=10"), "linear": (), "knn": ()}


class Moments(nn.Module):
    """Mean and absolute mean of each lead over each 25 samples, scaled; no registers."""

    dim, samples_per_token = 24, 25

    def __init__(self, scale):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, signal):
        parts = signal.unfold(2, 25, 25)
        return torch.cat((parts.mean(3), parts.abs().mean(3)), 1).transpose(1, 2) * self.scale


@pytest.fixture
def own(monkeypatch):
    """Open `Moments` of some scale, as described."""
    module = types.ModuleType("own_moments")
    monkeypatch.setitem(sys.modules, "own_moments", module)

    def opened(scale=1.0, **told):
        module.make = lambda trained: Moments(scale if trained else 0.5)
        description = EncoderDescription.model_validate({**TOLD, **told})
        return ecgjepa.own_encoder("own_moments:make", description)

    return opened


def run(model, ptb_xl, cache, **options):
    options = {"task": "superdiagnostic", "protocol": "linear", **options}
    data = options.pop("data", {"ptb-xl": ptb_xl})
    return ecgjepa.run_protocol(model, data, cache=cache, **options)


@pytest.mark.parametrize("protocol", list(SETTINGS))
def test_every_frozen_protocol_reads_it_and_keeps_no_classifier(own, ptb_xl, cache, protocol):
    found = run(own(), ptb_xl, cache, protocol=protocol, overrides=SETTINGS[protocol])
    assert found.classifier is None
    assert found.head is None
    assert np.isfinite(found.outcome.test).all()
    assert found.embeddings.shape == (len(found.records.parts.test), 24)


def test_scores_do_not_depend_on_the_scale_of_features_or_signal(own, ptb_xl, cache):
    found = run(own(), ptb_xl, cache).outcome.test
    np.testing.assert_allclose(run(own(2.0), ptb_xl, cache).outcome.test, found, atol=1e-3)
    # Each window is scaled by itself, so what the records' constants are makes no difference.
    other = run(own(normalisation="window", clip=100.0), ptb_xl, cache).outcome.test
    np.testing.assert_allclose(other, found, atol=1e-6)
    raw = run(own(normalisation="none", unit="mV"), ptb_xl, cache).outcome.test
    assert np.abs(raw - found).max() > 1e-3


def test_features_are_kept_by_weights_and_description(own, ptb_xl, cache, monkeypatch):
    encoded = []
    before = feature_cache.encode
    monkeypatch.setattr(
        feature_cache, "encode", lambda *a, **k: (encoded.append(1), before(*a, **k))[1]
    )
    for model, new in ((own(3.0), 1), (own(3.0), 0), (own(4.0), 1), (own(3.0, clip=5.0), 1)):
        encoded.clear()
        run(model, ptb_xl, cache)
        assert len(encoded) == new


def test_folds_that_it_has_seen_are_not_tested_on(own, ptb_xl, cache):
    with pytest.raises(TaskError, match=r"pre-trained on folds \[10\] of ptb-xl"):
        run(own(trained_on={"ptb-xl": (10,)}), ptb_xl, cache)
    with pytest.raises(TaskError, match="pre-trained on all records of ptb-xl"):
        run(own(trained_on={"ptb-xl": "all"}), ptb_xl, cache)


def test_it_is_not_trained(own, ptb_xl, cache, tmp_path):
    data = {"ptb-xl": ptb_xl}
    for protocol in ("finetune", "scratch"):
        with pytest.raises(ConfigError, match=f"protocol {protocol} trains encoders of this"):
            run(own(), ptb_xl, cache, protocol=protocol, overrides=["head=attentive"])
    with pytest.raises(ConfigError, match="protocol finetune trains encoders of this package"):
        ecgjepa.finetune(own(), data, tmp_path / "f", protocol="finetune")
    with pytest.raises(ConfigError, match="protocol finetune trains encoders of this package"):
        ecgjepa.repeat(own(), data, tmp_path / "r", protocol="finetune")
    with pytest.raises(ConfigError, match="the encoder has layers 1 to 1"):
        run(own(), ptb_xl, cache, layers=(2,))


def test_repeats_and_the_same_request_is_read_again(own, ptb_xl, cache, tmp_path, caplog):
    options = {"task": "superdiagnostic", "protocol": "linear", "cache": cache}
    data = {"ptb-xl": ptb_xl}
    repeats = ecgjepa.repeat(
        own(), data, tmp_path / "repeats", label_fractions=[1.0, 0.5], **options
    )
    assert len(repeats.evaluations) == 2
    first = ecgjepa.probe(own(), data, tmp_path / "probe", **options)
    with caplog.at_level("INFO", "ecgjepa"):
        again = ecgjepa.probe(own(), data, tmp_path / "probe", **options)
    assert again.results == first.results
    assert "this evaluation is finished, so it is read" in caplog.text
    for other in (own(2.0), own(clip=5.0)):
        with pytest.raises(ConfigError, match="holds another evaluation, which differs in model"):
            ecgjepa.probe(other, data, tmp_path / "probe", **options)


def test_a_regression(own, ptb_xl, cache):
    found = run(own(), ptb_xl, cache, task="age", kind="regression")
    assert found.outcome.test.shape[1] == 1
