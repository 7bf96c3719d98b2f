import json

import numpy as np
import pytest
import torch
import wfdb
from conftest import toy_ecg, write_wfdb
from ecg_files import WRITERS
from scipy.special import softmax

import ecgjepa
from ecgjepa.config import EncoderConfig
from ecgjepa.errors import ModelFolderError, RecordFormatError
from ecgjepa.inference import sources
from ecgjepa.inference.windows import CHUNK_ON_CPU, record_windows
from ecgjepa.model.encoders.vision_transformer import VisionTransformer
from ecgjepa.model.folder import ModelConfig, PretrainingFacts, save_model
from ecgjepa.model.heads import Classifier, HeadConfig, build_head
from ecgjepa.model.normalisation import NormalisationConfig
from ecgjepa.model.outputs import CalibrationConfig, TaskConfig
from ecgjepa.reporting.plotting import plot_with_findings
from ecgjepa.signals.leads import LEADS
from ecgjepa.signals.preprocessing import PreprocessingConfig


def save(folder, kind="multi-label", head=True):
    torch.manual_seed(0)
    config = ModelConfig(
        encoder=EncoderConfig(patch_size=10, dim=16, depth=1, num_heads=2),
        preprocessing=PreprocessingConfig(sampling_rate=100.0),
        normalisation=NormalisationConfig(mean=(0.0,) * 12, std=(0.2,) * 12),
        pretraining=PretrainingFacts(steps=0, seed=0, store="", folds={}, records={}),
    )
    encoder = VisionTransformer(config.encoder)
    model = encoder
    if head:
        config = config.model_copy(
            update={
                "head": HeadConfig(kind="attentive", num_labels=3),
                "task": TaskConfig(
                    name="t", kind=kind, labels=("A", "B", "C"), descriptions=("a", "b", "c")
                ),
            }
        )
        model = Classifier(encoder, build_head(config.head, encoder))
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    save_model(folder, model, config, "card")
    return folder


@pytest.fixture
def model(tmp_path):
    return ecgjepa.load_model(save(tmp_path / "model"))


@pytest.fixture
def signal(rng):
    return toy_ecg(rng)


def test_a_model_is_shown_on_one_line(model):
    assert repr(model) == (
        "Model(task='t', labels: A, B, C; encoder of "
        f"{model.config.encoder.depth} blocks of width {model.config.encoder.dim}, 100 Hz, on cpu)"
    )


def test_every_label_gets_a_probability(model, tmp_path, signal):
    prediction = model.predict([write_wfdb(tmp_path / "x.hea", signal)])[0]
    assert list(prediction.probabilities) == ["A", "B", "C"]
    assert all(0 < value < 1 for value in prediction.probabilities.values())
    assert (prediction.duration, prediction.sampling_rate) == (10.0, 500.0)
    assert [issue.code for issue in prediction.findings] == ["resampled"]


def test_every_format_gets_the_same_prediction(model, tmp_path, signal):
    expected = model.predict_proba([write_wfdb(tmp_path / "x.hea", signal)]).to_numpy()
    for kind, own in WRITERS.items():
        (tmp_path / kind).mkdir()
        found = model.predict_proba([own.write(tmp_path / kind / f"x{own.suffix}", signal)])
        # MUSE stores eight leads; the others follow.
        atol = 1e-2 if kind == "muse" else 1e-5
        np.testing.assert_allclose(found.to_numpy(), expected, atol=atol)


def test_single_label_probabilities_sum_to_one(tmp_path, signal):
    model = ecgjepa.load_model(save(tmp_path / "m", kind="single-label"))
    prediction = model.predict([write_wfdb(tmp_path / "x.hea", signal)])[0]
    assert sum(prediction.probabilities.values()) == pytest.approx(1)


def test_the_logits_of_the_windows_are_averaged(model, tmp_path, signal):
    path = write_wfdb(tmp_path / "x.hea", signal)
    from ecgjepa.signals.preprocessing import preprocess

    record = preprocess(ecgjepa.read_record(path), model.config.preprocessing)
    windows = torch.stack(
        [torch.from_numpy(record.signal[s : s + 250].T) for s in range(0, 751, 125)]
    )
    logits = model.classifier((windows / 0.2).clamp(-5, 5)).mean(dim=0)
    found = list(model.predict([path])[0].probabilities.values())
    # The store's 1 µV steps round the resampled signal.
    np.testing.assert_allclose(found, logits.sigmoid().tolist(), atol=5e-3)


def test_files_say_the_same_in_any_lead_order_unit_and_gain(model, tmp_path, signal):
    plain = model.predict_proba([write_wfdb(tmp_path / "a.hea", signal)])
    order = np.array([0, 1, 2, 3, 5, 4, *range(6, 12)])  # MIMIC-IV-ECG
    mimic = write_wfdb(tmp_path / "b.hea", signal[:, order], leads=[LEADS[i] for i in order])
    micro = write_wfdb(tmp_path / "c.hea", signal, gain="1(0)/uV")
    named = write_wfdb(tmp_path / "d.hea", signal, leads=[f"MDC_ECG_LEAD_{lead}" for lead in LEADS])
    others = model.predict_proba([mimic, micro, named])
    np.testing.assert_allclose(others.to_numpy(), np.tile(plain.to_numpy(), (3, 1)), atol=1e-6)


def test_another_rate_gives_nearly_the_same(model, tmp_path, rng):
    """1000 Hz and 500 Hz of the same band-limited signal."""
    time = np.arange(10_000) / 1000
    wave = np.outer(np.sin(2 * np.pi * 3 * time) * 400, rng.uniform(0.5, 1.5, 12))
    fast = np.rint(wave).astype(np.int16)
    fine = model.predict_proba([write_wfdb(tmp_path / "a.hea", fast, rate=1000)])
    coarse = model.predict_proba([write_wfdb(tmp_path / "b.hea", fast[::2], rate=500)])
    np.testing.assert_allclose(fine.to_numpy(), coarse.to_numpy(), atol=0.01)


def test_eight_leads_are_enough(model, tmp_path, signal):
    signal = signal.copy()
    signal[:, 3] = -((signal[:, 0].astype(int) + signal[:, 1]) // 2)
    keep = [0, 1, *range(6, 12)]
    eight = write_wfdb(tmp_path / "e.hea", signal[:, keep], leads=[LEADS[i] for i in keep])
    twelve = write_wfdb(tmp_path / "t.hea", signal)
    found = model.predict_proba([eight, twelve]).to_numpy()
    np.testing.assert_allclose(found[0], found[1], atol=2e-3)
    codes = [issue.code for issue in model.predict([eight])[0].findings]
    assert codes.count("derived_lead") == 4


def test_a_lead_that_is_missing_counts_like_one_that_is_empty(model, tmp_path, signal):
    absent = write_wfdb(tmp_path / "x.hea", signal[:, :11], leads=LEADS[:11])
    signal[:, 11] = -32768
    empty = write_wfdb(tmp_path / "y.hea", signal)
    first, second = model.predict([absent, empty])
    assert first.probabilities == second.probabilities
    assert ("missing_lead", "V6") in {(issue.code, issue.lead) for issue in first.findings}
    assert ("invalid_lead", "V6") in {(issue.code, issue.lead) for issue in second.findings}


def unusable(folder, signal) -> dict[str, str]:
    """Write records of which too little can be used; return name to the reason."""
    flat = np.full_like(signal, 17)
    ten_empty = signal.copy()
    ten_empty[:, 2:] = -32768
    hole = signal.copy()
    hole[1000:2500] = -32768
    four = signal[:, [0, 6, 7, 8]]
    write_wfdb(folder / "flat.hea", flat)
    write_wfdb(folder / "ten-empty.hea", ten_empty)
    write_wfdb(folder / "hole.hea", hole)
    write_wfdb(folder / "four.hea", four, leads=("I", "V1", "V2", "V3"))
    write_wfdb(folder / "volts.hea", signal, gain="0.001(0)/mV")
    return {
        "flat": "every lead is flat",
        "four": "only 4 of 12 leads are usable: II, III, aVR, aVL, aVF, V4, V5, V6: not in",
        "hole": "only 0 of 12 leads are usable: I, II, III, aVR, aVL, aVF, V1, V2, V3, V4, V5, "
        "V6: more than a fifth of the samples invalid",
        "ten-empty": "only 2 of 12 leads are usable: III, aVR, aVL, aVF, V1, V2, V3, V4, V5, V6",
        "volts": "beyond ±32.767 mV (is the unit right?)",
    }


def test_what_prepare_refuses_is_refused_everywhere_for_the_same_reason(
    model, tmp_path, signal, caplog
):
    expected = unusable(tmp_path / "clinic", signal)
    write_wfdb(tmp_path / "clinic/good.hea", signal)
    manifest = ecgjepa.prepare({"clinic": tmp_path / "clinic"}, tmp_path / "store")
    skipped = {skip.record_id: skip for skip in manifest.databases["clinic"].quarantine}
    assert set(skipped) == set(expected)
    for name, words in expected.items():
        path = tmp_path / f"clinic/{name}.hea"
        assert words in skipped[name].detail
        (found,) = model.predict([path])
        assert (found.probabilities, found.reason) == ({}, skipped[name].reason)
        assert words in found.error
        with pytest.raises(RecordFormatError) as refusal:
            ecgjepa.embed([path], tmp_path / "model", on_bad="raise")
        assert words in str(refusal.value)
        plotted = plot_with_findings(path, tmp_path / "x.png")
        assert words in plotted.refusal
        assert plotted.findings
        caplog.clear()
        ecgjepa.plot(path, tmp_path / "x.png")
        assert words in caplog.text


def test_damaged_samples_can_be_masked_as_prepare_does(model, tmp_path, signal):
    path = write_wfdb(tmp_path / "x.hea", signal)
    whole = path.with_suffix(".dat").read_bytes()
    path.with_suffix(".dat").write_bytes(whole[: len(whole) * 9 // 10])
    assert model.predict([path])[0].reason == "truncated"
    (masked,) = model.predict([path], on_bad="mask")
    assert len(masked.probabilities) == 3
    assert "truncated" in {issue.code for issue in masked.findings}
    with pytest.raises(RecordFormatError, match=r"x\.hea|x\.dat"):
        model.predict([path], on_bad="raise")
    with pytest.raises(RecordFormatError):
        ecgjepa.embed([path], tmp_path / "model", on_bad="raise")
    assert ecgjepa.embed([path], tmp_path / "model", on_bad="mask").shape == (1, 16)


def test_what_no_one_foresaw_is_an_error_of_one_file(model, tmp_path, signal, monkeypatch):
    good, odd = (write_wfdb(tmp_path / f"{name}.hea", signal) for name in ("good", "odd"))
    real = sources.open_record

    def read(path, **options):
        if path == odd:
            raise ZeroDivisionError("Fraction(1, 0)")
        return real(path, **options)

    monkeypatch.setattr(sources, "open_record", read)
    first, second = model.predict([odd, good])
    assert first.reason == "internal"
    assert "odd.hea" in first.error
    assert "ZeroDivisionError: Fraction(1, 0)" in first.error
    assert len(second.probabilities) == 3


def test_a_short_record_is_padded_and_said_so(model, tmp_path, signal):
    path = write_wfdb(tmp_path / "x.hea", signal[:600])
    prediction = model.predict([path])[0]
    assert len(prediction.probabilities) == 3
    assert "1.20 s is shorter than the model's window of 2.50 s" in prediction.findings[-1].message


def test_gaps_and_flat_leads_are_findings(model, tmp_path, signal):
    signal = signal.copy()
    signal[1000:1500, 7] = -32768
    signal[:, 9] = 5
    prediction = model.predict([write_wfdb(tmp_path / "x.hea", signal)])[0]
    found = {(issue.code, issue.lead) for issue in prediction.findings}
    assert {("invalid_samples", "V2"), ("flat_lead", "V4")} <= found
    assert np.isfinite(list(prediction.probabilities.values())).all()


def test_nothing_but_gaps_is_refused(model, tmp_path):
    path = write_wfdb(tmp_path / "x.hea", np.full((5000, 12), -32768, np.int16))
    assert "only 0 of 12 leads are usable" in model.predict([path])[0].error


def test_one_bad_file_does_not_stop_the_others(model, tmp_path, signal):
    good = write_wfdb(tmp_path / "g.hea", signal)
    bad = write_wfdb(tmp_path / "b.hea", signal)
    bad.with_suffix(".dat").write_bytes(b"")
    first, second, third = model.predict([bad, good, tmp_path / "none.hea"])
    assert "truncated" in first.error
    assert second.error is None
    assert "no such file" in third.error


def test_a_file_in_another_wfdb_format(model, tmp_path, signal):
    wfdb.wrsamp(
        "o",
        500,
        ["mV"] * 12,
        list(LEADS),
        d_signal=signal.astype(int),
        fmt=["24"] * 12,
        adc_gain=[1000.0] * 12,
        baseline=[0] * 12,
        write_dir=str(tmp_path),
    )
    plain = write_wfdb(tmp_path / "p.hea", signal)
    found = model.predict_proba([tmp_path / "o.hea", plain]).to_numpy()
    np.testing.assert_allclose(found[0], found[1], atol=1e-7)


@pytest.mark.parametrize("kind", ["multi-label", "single-label"])
def test_a_calibration_in_the_folder_is_applied(tmp_path, signal, kind):
    folder = save(tmp_path / "m", kind=kind)
    path = write_wfdb(tmp_path / "x.hea", signal)
    plain = ecgjepa.load_model(folder).predict_proba([path]).to_numpy()
    calibration = CalibrationConfig(
        method="platt", kind=kind, scale=(0.5, 2.0, 1.0), shift=(0.0, 0.1, -0.3), folds=(9,)
    )
    config = json.loads((folder / "config.json").read_text())
    config["calibration"] = calibration.model_dump(mode="json")
    (folder / "config.json").write_text(json.dumps(config))
    found = ecgjepa.load_model(folder).predict_proba([path]).to_numpy()
    logits = np.log(plain) if kind == "single-label" else np.log(plain / (1 - plain))
    logits = logits * [0.5, 2, 1] + [0, 0.1, -0.3]
    expected = softmax(logits, axis=1) if kind == "single-label" else 1 / (1 + np.exp(-logits))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    unchanged = ecgjepa.load_model(folder, calibrated=False).predict_proba([path])
    np.testing.assert_array_equal(unchanged.to_numpy(), plain)


def test_a_folder_from_before_calibration_predicts_as_it_did(tmp_path, signal):
    folder = save(tmp_path / "m")
    path = write_wfdb(tmp_path / "x.hea", signal)
    expected = ecgjepa.load_model(folder).predict_proba([path])
    config = json.loads((folder / "config.json").read_text())
    assert config.pop("calibration") is None
    (folder / "config.json").write_text(json.dumps(config))
    assert ecgjepa.load_model(folder).predict_proba([path]).equals(expected)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"scale": [0.0, 1.0, 1.0]}, "scale"),
        ({"slope": 1}, "slope"),
        ({"scale": [1.0]}, "3 labels"),
    ],
)
def test_a_calibration_that_does_not_fit_is_refused(tmp_path, change, match):
    folder = save(tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    config["calibration"] = {
        "method": "platt",
        "kind": "multi-label",
        "scale": [1.0] * 3,
        "shift": [0.0] * 3,
    } | change
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelFolderError, match=match):
        ecgjepa.load_model(folder)


def test_an_encoder_predicts_nothing(tmp_path):
    with pytest.raises(ModelFolderError, match="is an encoder without a head"):
        ecgjepa.load_model(save(tmp_path / "m", head=False))


def test_the_function_is_the_method(tmp_path, signal):
    folder = save(tmp_path / "m")
    path = write_wfdb(tmp_path / "x.hea", signal)
    assert ecgjepa.predict([path], folder) == ecgjepa.load_model(folder).predict([path])


@pytest.mark.realdata
def test_real_records_of_every_challenge_database(model, real_data):
    for folder in sorted((real_data / "challenge-2021").iterdir()):
        path = sorted(folder.glob("g1/*.hea"))[0]
        prediction = model.predict([path])[0]
        assert prediction.error is None, path
        assert len(prediction.probabilities) == 3


def holter(minutes: float, rng) -> ecgjepa.Record:
    signal = np.tile(toy_ecg(rng), (round(6 * minutes), 1)).astype(np.float32) / 1000
    return ecgjepa.Record(signal, np.ones(signal.shape, bool), LEADS, 500.0, "holter")


def test_a_long_record_passes_the_model_in_parts(model, rng, monkeypatch):
    record = holter(6, rng)
    windows, _ = record_windows(record, model.config)
    with torch.no_grad():
        every = model.config.normalisation.build()(next(windows.chunks(len(windows))))
        logits = model.classifier(every).mean(dim=0)
    sizes = []
    tokens = Classifier.tokens

    def counted(self, signal):
        sizes.append(len(signal))
        return tokens(self, signal)

    monkeypatch.setattr(Classifier, "tokens", counted)
    found = model.predict_record(record).probabilities
    assert sum(sizes) == len(windows) > max(sizes) == CHUNK_ON_CPU
    np.testing.assert_allclose(list(found.values()), logits.sigmoid().numpy(), atol=1e-6)
