"""The distance from the training records, from training to prediction."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import write_wfdb
from sklearn.metrics import roc_auc_score
from small_encoders import describe

import ecgjepa
from ecgjepa.errors import ModelFolderError
from ecgjepa.evaluation.out_of_distribution import (
    evaluate_detection,
    fit_distribution,
    fit_outlier_detector,
)
from ecgjepa.evaluation.spoiled import evaluate_spoiled
from ecgjepa.inference.windows import record_windows
from ecgjepa.model.encoders.vision_transformer import VisionTransformer
from ecgjepa.model.folder import load_model_folder, read_model_config
from ecgjepa.model.heads import tokens_of_layers
from ecgjepa.protocols.encoders import load_encoder
from ecgjepa.protocols.request import Workspace
from ecgjepa.signals.faults import (
    FAULTS,
    add_noise,
    amplify,
    reverse_chest,
    shuffle_leads,
    swap_arms,
)
from ecgjepa.signals.units import INVALID_MICROVOLT

TASK = "superdiagnostic"
LAYERS = (1, 3)
TUNE = ["steps=4", "validate_every=2", "batch_size=16", "warmup_steps=1"]


@pytest.fixture(scope="module")
def probed(encoder, ptb_xl, cache, tmp_path_factory):
    """A linear probe of the average of two layers."""
    out = tmp_path_factory.mktemp("probe") / "probe"
    return ecgjepa.probe(
        encoder, {"ptb-xl": ptb_xl}, out, task=TASK, protocol="linear", layers=LAYERS, cache=cache
    )


@pytest.fixture(scope="module")
def tuned(encoder, ptb_xl, cache, tmp_path_factory):
    return ecgjepa.finetune(
        encoder,
        {"ptb-xl": ptb_xl},
        tmp_path_factory.mktemp("tuned") / "tuned",
        task=TASK,
        protocol="finetune",
        overrides=TUNE,
        from_scratch=False,
        cache=cache,
    )


def files_of(evaluation, ptb_xl, part):
    split = pd.read_csv(evaluation.path / "split.csv")
    numbers = split.loc[split["part"] == part, "record_id"]
    return [ptb_xl / f"records500/00000/{number:05d}_hr.hea" for number in numbers]


@torch.no_grad()
def features_of(evaluation, files, change=lambda samples: samples):
    """Mean features from the files, by no function of the evaluation."""
    model, config = load_model_folder(evaluation.path / "model")
    normaliser = config.normalisation.build()
    rows = []
    for file in files:
        windows, _ = record_windows(ecgjepa.read_record(file), config)
        every = next(windows.chunks(len(windows)))
        tokens = tokens_of_layers(model.encoder, normaliser(change(every)), model.reading)
        rows.append(tokens[:, config.encoder.num_registers :].mean(dim=(0, 1)).numpy())
    return np.stack(rows)


@pytest.mark.parametrize("evaluation", ["probed", "tuned"])
def test_predict_gives_the_distance_from_the_training_records(evaluation, ptb_xl, request):
    evaluation = request.getfixturevalue(evaluation)
    parts = {name: files_of(evaluation, ptb_xl, name) for name in ("train", "validation", "test")}
    model = ecgjepa.load_model(evaluation.path)
    fitted = fit_distribution(features_of(evaluation, parts["train"]))
    predictions = model.predict(parts["test"])
    found = [prediction.distance for prediction in predictions]
    expected = fitted.distances(features_of(evaluation, parts["test"]))
    # A probe's features are kept in half precision.
    np.testing.assert_allclose(found, expected, rtol=5e-3)
    assert model.config.distribution.records == len(parts["train"])

    threshold = model.config.distribution.threshold
    validation = np.array([item.distance for item in model.predict(parts["validation"])])
    passed = (validation <= threshold * (1 + 1e-3)).sum()
    assert passed == np.floor(0.95 * (len(validation) - 1)) + 1 + (len(validation) % 20 != 1)
    for prediction in predictions:
        codes = [issue.code for issue in prediction.findings]
        assert ("unlike_training_records" in codes) == (prediction.distance > threshold)
    assert read_model_config(evaluation.path / "model").head.layers == (
        LAYERS if "linear" in evaluation.results["protocol"] else ()
    )


@pytest.mark.parametrize("evaluation", ["probed", "tuned"])
def test_results_say_what_is_detected(evaluation, ptb_xl, request):
    evaluation = request.getfixturevalue(evaluation)
    results = evaluation.results["out_of_distribution"]
    assert list(results["spoiled"]) == list(FAULTS)
    train, test = (
        features_of(evaluation, files_of(evaluation, ptb_xl, name)) for name in ("train", "test")
    )
    fitted = fit_distribution(train)
    upside_down = features_of(
        evaluation, files_of(evaluation, ptb_xl, "test"), lambda windows: -windows
    )
    inside, outside = fitted.distances(test), fitted.distances(upside_down)
    found = results["spoiled"]["upside down"]
    targets = np.r_[np.zeros(len(inside)), np.ones(len(outside))]
    expected = roc_auc_score(targets, np.r_[inside, outside])
    assert found["auroc"][0] == pytest.approx(expected, abs=0.03)
    assert found["auroc"][1] <= found["auroc"][0] <= found["auroc"][2]
    assert found["threshold"] == results["threshold"]
    assert found["inside"] == found["outside"] == len(test)
    above = np.mean(outside > results["threshold"])
    assert found["share_detected"] == pytest.approx(above, abs=1.01 / len(test))
    assert found["false_alarms"] == results["share_above_threshold"]
    missed = [name for name, item in results["spoiled"].items() if item["share_detected"] < 0.5]
    assert results["hardly_detected"] == missed
    card = (evaluation.path / "model/README.md").read_text()
    assert ", ".join(missed) in card


def test_noise_alone_is_a_finding(probed, tmp_path, rng):
    noise = np.rint(rng.standard_normal((5000, 12)) * 5000).astype(np.int16)
    prediction = ecgjepa.predict([write_wfdb(tmp_path / "x.hea", noise)], probed.path)[0]
    issue = prediction.findings[-1]
    assert issue.code == "unlike_training_records"
    assert f"distance {prediction.distance:.3g}, and 95 % of the validation" in issue.message


def test_a_prediction_is_one_pass_of_the_encoder(probed, ptb_xl, monkeypatch):
    model = ecgjepa.load_model(probed.path)
    passes = []
    forward = VisionTransformer.forward

    def counting(self, signal, *arguments, **options):
        passes.append(len(signal))
        return forward(self, signal, *arguments, **options)

    monkeypatch.setattr(VisionTransformer, "forward", counting)
    assert model.predict(files_of(probed, ptb_xl, "test")[:1])[0].distance > 0
    assert passes == [7]


def test_a_folder_from_before_predicts_as_it_did(probed, ptb_xl, tmp_path):
    files = files_of(probed, ptb_xl, "test")
    folder = shutil.copytree(probed.path / "model", tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    del config["distribution"]
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "distribution.safetensors").unlink()
    for old, new in zip(
        ecgjepa.predict(files, folder), ecgjepa.predict(files, probed.path), strict=True
    ):
        assert old.distance is None
        assert old.probabilities == new.probabilities
        assert old.findings == tuple(
            issue for issue in new.findings if issue.code != "unlike_training_records"
        )


def test_damage_stops_a_prediction(probed, tmp_path):
    folder = shutil.copytree(probed.path / "model", tmp_path / "model")
    (folder / "distribution.safetensors").write_bytes(b"")
    with pytest.raises(ModelFolderError, match=r"distribution\.safetensors: is damaged"):
        ecgjepa.load_model(folder)


def test_the_encoder_of_a_classifier_has_no_distribution(probed):
    _, config = load_encoder(probed.path / "model")
    assert (config.head, config.task, config.distribution) == (None, None, None)


def test_neighbours_have_no_model_and_no_distribution(encoder, ptb_xl, cache, tmp_path):
    found = ecgjepa.probe(
        encoder, {"ptb-xl": ptb_xl}, tmp_path / "p", task=TASK, protocol="knn", cache=cache
    )
    assert found.results["out_of_distribution"] == {}


@pytest.mark.parametrize("records", [16, 100, 333])
def test_the_threshold_passes_at_least_its_share(rng, records):
    known = fit_outlier_detector(
        rng.standard_normal((200, 4)), validation := rng.standard_normal((records, 4))
    )
    distances = known.distribution.distances(validation)
    assert known.config.threshold in distances
    assert 0.95 <= np.mean(distances <= known.config.threshold) < 0.95 + 1.05 / records + 1e-9


def test_a_patient_on_both_sides_is_drawn_once(rng):
    """A fault that adds the same to each record's distance: both sides vary together."""
    inside = rng.standard_normal(60) * 2
    names = np.arange(60)
    options = {"inside_patients": names, "outside_patients": names, "threshold": 1.0}
    apart = evaluate_detection(inside, inside + 1, **options)
    paired = evaluate_detection(inside, inside + 1, **options, same_patients=True)
    assert paired["auroc"].value == apart["auroc"].value
    width = [found["auroc"].high - found["auroc"].low for found in (paired, apart)]
    assert width[0] < 0.6 * width[1]
    assert apart["share_detected"] == np.mean(inside + 1 > 1.0)
    assert apart["false_alarms"] == np.mean(inside > 1.0)


def ecg(rng, samples=2000):
    """Leads of random electrode potentials, in µV, and those with the arms exchanged."""
    right, left, foot, *chest = rng.integers(-900, 900, (9, samples)) * 3.0

    def leads(right, left):
        terminal = (right + left + foot) / 3
        limbs = [left - right, foot - right, foot - left]
        limbs += [1.5 * (potential - terminal) for potential in (right, left, foot)]
        return np.stack([*limbs, *(potential - terminal for potential in chest)], axis=1)

    return (np.rint(leads(*pair)).astype(np.int16) for pair in ((right, left), (left, right)))


def test_arms_are_swapped_as_the_electrodes_say(rng):
    plain, swapped = ecg(rng)
    np.testing.assert_array_equal(swap_arms(plain, rng), swapped)


def test_leads_move_as_they_say(rng):
    samples, _ = ecg(rng)
    reversed_chest = reverse_chest(samples, rng)
    np.testing.assert_array_equal(reversed_chest[:, 6:], samples[:, :5:-1])
    np.testing.assert_array_equal(reversed_chest[:, :6], samples[:, :6])
    shuffled = shuffle_leads(samples, rng)
    assert not (shuffled == samples).all(axis=0).any()
    np.testing.assert_array_equal(np.sort(shuffled, axis=1), np.sort(samples, axis=1))


def test_noise_is_as_strong_as_each_lead(rng):
    samples = (rng.standard_normal((20_000, 12)) * 30 * np.arange(12)).astype(np.int16)
    samples[:5000] = -32768
    noise = (add_noise(samples, rng).astype(float) - samples)[5000:]
    np.testing.assert_allclose(noise.std(0), samples[5000:].std(0), rtol=0.03)
    assert noise.mean() == pytest.approx(0, abs=3)


def test_an_empty_lead_or_record_gets_no_noise_and_no_warning(rng):
    """The tests turn every warning of numpy into an error."""
    samples, _ = ecg(rng)
    samples[:, 8] = INVALID_MICROVOLT
    noisy = add_noise(samples, rng)
    assert (noisy[:, 8] == INVALID_MICROVOLT).all()
    assert (noisy[:, :8] != samples[:, :8]).any()
    empty = np.full((100, 12), INVALID_MICROVOLT, np.int16)
    for record in (empty, empty[:0]):
        np.testing.assert_array_equal(add_noise(record, rng), record)


def test_what_the_store_cannot_hold_is_no_sample(rng):
    samples = np.zeros((4, 12), np.int16)
    samples[:, 1] = [3276, 3277, -3277, -32768]
    assert amplify(samples, rng)[:, 1].tolist() == [32760, -32768, -32768, -32768]


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_no_sample_stays_so_and_the_record_is_not_touched(rng, fault):
    samples, _ = ecg(rng)
    samples[::7] = -32768
    before = samples.copy()
    spoiled = fault.spoil(samples, np.random.default_rng(3))
    assert spoiled.dtype == np.int16
    assert (spoiled[::7] == -32768).all()
    assert not np.array_equal(spoiled, samples)
    np.testing.assert_array_equal(samples, before)
    np.testing.assert_array_equal(spoiled, fault.spoil(samples, np.random.default_rng(3)))


def test_other_leads_than_the_twelve_are_not_spoiled(encoder, ptb_xl, cache):
    """Faults are defined by the names of the leads; a model of others gets the threshold alone."""
    result = ecgjepa.run_protocol(
        encoder, {"ptb-xl": ptb_xl}, task=TASK, protocol="linear", cache=cache
    )
    config = describe()
    leads = config.preprocessing.leads
    preprocessing = config.preprocessing.model_copy(update={"leads": leads[::-1]})
    found = evaluate_spoiled(
        result.classifier,
        config.model_copy(update={"preprocessing": preprocessing}),
        result.records,
        fit_outlier_detector(result.means.train, result.means.validation),
        result.means.test,
        Workspace(torch.device("cpu"), cache),
    )
    assert found["spoiled"] == {}
    assert 0 <= found["share_above_threshold"] <= 1
