"""What an ONNX file will compute is what predicting and encoding compute, for every model."""

import numpy as np
import pytest
import torch
from exported_models import LABELS, save_model_of

from ecgjepa.exporting.agreement import (
    Loaded,
    as_input,
    largest_differences,
    outputs_of_folder,
    simulated_records,
)
from ecgjepa.exporting.graph import RecordGraph
from ecgjepa.model.folder import load_distribution, load_model_folder

MODELS = {
    "attentive": {},
    "rotary": {"encoder": {"positions": "rotary"}, "head": "mean"},
    "learned": {"encoder": {"positions": "learned", "num_positions": 25}, "head": "register"},
    "lead patches": {"encoder": {"lead_patches": True}, "head": "pooled", "kind": "single-label"},
    "s4": {"encoder": {"architecture": "s4d"}, "head": "mean"},
    "causal s4": {"encoder": {"architecture": "s4d", "causal": True}, "kind": "single-label"},
    "fine s4": {"encoder": {"architecture": "s4d", "patch_size": 1}, "head": "statistics"},
    "long s4": {"encoder": {"architecture": "s4d", "patch_size": 1}, "seconds": 3.5},
    "xresnet": {"encoder": {"architecture": "xresnet", "stem": "convolutional"}},
    "convolutional stem": {"encoder": {"stem": "convolutional"}, "head": "mean"},
    "one layer of two": {"encoder": {"depth": 2}, "layers": (1,), "head": "statistics"},
    "layers beside": {
        "encoder": {"depth": 2},
        "layers": (1, 2),
        "beside": True,
        "head": "mean",
        "kind": "regression",
    },
    "regression": {"kind": "regression", "highpass_hz": 0.5},
    "three leads": {"encoder": {"num_leads": 3}, "leads": ("II", "V1", "I")},
    "encoder alone": {"head": None},
}


def graph_of(folder, unit="mV"):
    model, config = load_model_folder(folder)
    loaded = Loaded(model, config, load_distribution(folder, config))
    return loaded, RecordGraph(model, config, loaded.distribution, unit).eval()


@torch.no_grad()
def run(graph, samples):
    signal = torch.from_numpy(as_input(samples, graph.unit))
    outputs = [output.numpy() for output in graph(signal)]
    return dict(zip(graph.names, outputs, strict=True))


@pytest.mark.parametrize("name", MODELS)
def test_the_graph_says_what_the_folder_says(name, tmp_path):
    unit = "uV" if list(MODELS).index(name) % 2 else "mV"
    loaded, graph = graph_of(save_model_of(tmp_path / "model", **MODELS[name]), unit)
    records = simulated_records(graph, loaded.config)
    rows = [run(graph, record.prepared.samples) for record in records]
    found = {key: np.concatenate([row[key] for row in rows]) for key in rows[0]}
    gaps = largest_differences(found, outputs_of_folder(loaded, records), loaded.config)
    assert gaps.keys() == found.keys() - {"logits"}
    assert max(gaps.values()) < 1e-5, gaps
    if "probabilities" in found:  # what is compared is not all the same
        assert found["probabilities"].shape == (4, len(LABELS))
        assert np.ptp(found["probabilities"], axis=0).max() > 0.01


def test_what_is_no_sample_counts_as_missing_in_both_units(tmp_path):
    _, millivolt = graph_of(save_model_of(tmp_path / "model"))
    _, microvolt = graph_of(tmp_path / "model", "uV")
    samples = np.random.default_rng(0).integers(-900, 900, (300, 12)).astype(np.int16)
    samples[40:90, 3] = -32768
    expected = run(microvolt, samples)["probabilities"]
    signal = as_input(samples, "mV")
    for other in (np.nan, np.inf, -np.inf, 32.768, -40.0):
        signal[0, 40:90, 3] = other
        with torch.no_grad():
            found = millivolt(torch.from_numpy(signal))[0].numpy()
        np.testing.assert_allclose(found, expected, atol=1e-7)


def test_a_record_without_enough_leads_or_in_another_unit_has_no_answer(tmp_path):
    loaded, graph = graph_of(save_model_of(tmp_path / "model"))
    [record] = simulated_records(graph, loaded.config)[1:2]
    samples = np.array(record.prepared.samples)
    assert np.isfinite(run(graph, samples)["probabilities"]).all()
    for leads, has_answer in ((4, True), (5, False), (12, False)):
        missing = samples.copy()
        missing[:, :leads] = -32768
        for name, values in run(graph, missing).items():
            assert np.isfinite(values).all() == (has_answer or name == "logits"), name
    with torch.no_grad():
        microvolt = graph(torch.from_numpy(samples[None].astype(np.float32)))
    assert np.isnan(microvolt[0].numpy()).all()


def test_pieces_of_a_long_record_have_the_windows_of_the_whole(tmp_path):
    _, graph = graph_of(save_model_of(tmp_path / "model"), "uV")
    size, stride = graph.example
    samples = np.random.default_rng(0).integers(-900, 900, (2000, 12)).astype(np.int16)
    whole = run(graph, samples)["logits"][0]
    num_windows = (len(samples) - size) // stride + 1
    step, sums, count = 4, 0.0, 0
    for first in range(0, num_windows, step):
        windows = min(step, num_windows - first)
        start = first * stride
        piece = samples[start : start + windows * stride + size - stride]
        sums = sums + windows * run(graph, piece)["logits"][0]
        count += windows
    assert count == num_windows
    np.testing.assert_allclose(sums / count, whole, atol=1e-6)
