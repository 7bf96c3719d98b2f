"""Many records at once are what they are one at a time, in order."""

import logging
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import toy_ecg, write_wfdb
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import cho_solve
from scipy.special import expit, logit, softmax

from ecgjepa.config import EncoderConfig
from ecgjepa.inference import batches
from ecgjepa.inference.batches import mean_outputs
from ecgjepa.inference.predict import load_model
from ecgjepa.inference.windows import find_windows
from ecgjepa.model.distribution import FeatureDistribution
from ecgjepa.model.encoders.vision_transformer import VisionTransformer
from ecgjepa.model.folder import ModelConfig, PretrainingFacts, save_model
from ecgjepa.model.heads import Classifier, HeadConfig, build_head
from ecgjepa.model.normalisation import NormalisationConfig
from ecgjepa.model.outputs import CalibrationConfig, TaskConfig
from ecgjepa.signals.preprocessing import PreprocessingConfig

SIZE = 4


@pytest.fixture
def saved_model(tmp_path):
    torch.manual_seed(0)
    encoder_config = EncoderConfig(patch_size=10, dim=16, depth=1, num_heads=2)
    encoder = VisionTransformer(encoder_config)
    head = HeadConfig(kind="attentive", num_labels=3)
    labels = ("A", "B", "C")
    config = ModelConfig(
        encoder=encoder_config,
        preprocessing=PreprocessingConfig(sampling_rate=100.0),
        normalisation=NormalisationConfig(mean=(0.0,) * 12, std=(0.2,) * 12),
        pretraining=PretrainingFacts(steps=0, seed=0, store="", folds={}, records={}),
        head=head,
        task=TaskConfig(name="t", kind="multi-label", labels=labels, descriptions=labels),
        calibration=CalibrationConfig(
            method="temperature", kind="multi-label", scale=(1.5,) * 3, shift=(0.0,) * 3
        ),
    )
    save_model(tmp_path / "model", Classifier(encoder, build_head(head, encoder)), config, "card")
    return tmp_path / "model"


def outputs(windows):
    values = windows.double()
    return values.mean(dim=1), values[:, :1, 0] ** 2


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.one_of(st.none(), st.integers(1, 40)), max_size=30),
    st.integers(1, 20),
    st.integers(0, 2**31),
)
def test_each_record_gets_the_means_of_its_own_windows(lengths, count, seed):
    rng = np.random.default_rng(seed)
    records = []
    for number, length in enumerate(lengths):
        samples = None if length is None else rng.integers(-99, 99, (length, 2)).astype(np.int16)
        windows = None if samples is None else find_windows(samples, size=SIZE, stride=3)
        records.append((number, windows))
    sizes = []

    def run(windows):
        sizes.append(len(windows))
        return outputs(windows)

    found = list(mean_outputs(records, run, count))
    assert [number for number, _ in found] == list(range(len(lengths)))
    for (_, windows), (_, means) in zip(records, found, strict=True):
        if windows is None:
            assert means is None
            continue
        alone = outputs(torch.from_numpy(np.stack(list(windows.cut()))))
        for mean, expected in zip(means, alone, strict=True):
            np.testing.assert_allclose(mean, expected.mean(dim=0), rtol=1e-12)
    assert all(size == count for size in sizes[:-1])


def test_few_records_are_held_at_a_time():
    taken = []

    def records():
        for number in range(1000):
            taken.append(number)
            yield number, find_windows(np.ones((SIZE, 2), np.int16), size=SIZE, stride=1)

    for number, _ in mean_outputs(records(), outputs, 10):
        assert len(taken) - number <= 31


def test_a_long_recording_is_heard_of(monkeypatch, caplog):
    """A day takes minutes, and is one record of one: the bar would stand still."""
    monkeypatch.setattr(batches, "SILENT_SECONDS", -1.0)
    caplog.set_level(logging.INFO, "ecgjepa")
    windows = find_windows(np.ones((200 + SIZE - 1, 2), np.int16), size=SIZE, stride=1)
    list(mean_outputs([(0, windows)], outputs, 10))
    assert caplog.messages == [f"a long recording: {n} of 200 windows" for n in (64, 128, 192)]


def test_an_error_of_the_model_is_not_swallowed():
    def run(windows):
        raise MemoryError("too large")

    windows = find_windows(np.ones((100, 2), np.int16), size=SIZE, stride=1)
    with pytest.raises(MemoryError, match="too large"):
        list(mean_outputs([(0, windows), (1, windows)], run, 10))


def test_predictions_of_many_files_are_those_of_one(saved_model, tmp_path, rng):
    model = load_model(saved_model, device="cpu")
    files = []
    for number in range(70):
        signal = toy_ecg(rng, num_samples=int(rng.choice([600, 2500, 5000, 5000, 9000])))
        if number % 7 == 3:
            signal[100:900, 2] = -32768
        files.append(
            write_wfdb(tmp_path / f"{number}.hea", signal, rate=int(rng.choice([500, 400])))
        )
    files[5].with_suffix(".dat").write_bytes(b"x")
    files.insert(40, tmp_path / "none.hea")
    together = model.predict(files)
    for file, found in zip(files, together, strict=True):
        alone = model.predict([file])[0]
        assert found.file == str(file)
        assert (found.error, found.reason) == (alone.error, alone.reason)
        assert (found.findings, found.duration) == (alone.findings, alone.duration)
        assert found.probabilities == pytest.approx(alone.probabilities, abs=1e-6)
    assert [found.reason for found in together if found.error] == ["truncated", "missing_file"]


@pytest.mark.parametrize(
    "program",
    [
        "import ecgjepa; found = ecgjepa.load_model(sys.argv[1]).predict([sys.argv[2]])[0]; "
        "assert found.error is None, found.error; ",
        "from ecgjepa.cli import main; "
        "sys.argv = ['ecgjepa', 'predict', sys.argv[2], '--model', sys.argv[1]]; main();",
    ],
)
def test_predict_imports_neither_pandas_nor_scipys_filters(saved_model, tmp_path, rng, program):
    """They take as long as half of PyTorch, for one file that is resampled and calibrated."""
    file = write_wfdb(tmp_path / "x.hea", toy_ecg(rng))
    heavy = "{'pandas', 'scipy', 'sklearn', 'pyarrow', 'matplotlib', 'wfdb'}"
    told = f"atexit.register(lambda: print({heavy} & set(sys.modules)))"
    program = f"import atexit, sys; {told}; {program}"
    command = [sys.executable, "-c", program, str(saved_model), str(file)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert output.splitlines()[-1] == "set()"


def test_distances_are_those_of_a_cholesky_factor(rng):
    mixing = rng.normal(size=(6, 6))
    factor = np.linalg.cholesky(mixing @ mixing.T + np.eye(6))
    known = FeatureDistribution(rng.normal(size=6), rng.uniform(0.5, 2, 6), factor, 0.1)
    features = rng.normal(size=(9, 6))
    standardised = (features - known.mean) / known.scale
    solved = cho_solve((factor, True), standardised.T)
    expected = np.sqrt((standardised * solved.T).sum(axis=1) / 6)
    np.testing.assert_allclose(known.distances(features), expected, rtol=1e-10)


@pytest.mark.parametrize("kind", ["multi-label", "single-label"])
def test_calibration_is_that_of_scipys_functions(kind, rng):
    config = CalibrationConfig(method="platt", kind=kind, scale=(0.4, 2.5), shift=(-1.0, 0.5))
    probabilities = np.concatenate([rng.random((50, 2)), [[0, 1], [1, 0], [1e-300, 1 - 1e-16]]])
    clipped = np.clip(probabilities, 1e-38, 1 - 2.0**-53)
    logits = np.log(clipped) if kind == "single-label" else logit(clipped)
    logits = logits * config.scale + config.shift
    expected = softmax(logits, axis=1) if kind == "single-label" else expit(logits)
    np.testing.assert_allclose(config.apply(probabilities), expected, rtol=1e-12)
