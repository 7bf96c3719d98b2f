"""A network that is trained for sets of leads sees in training what it sees in a prediction."""

import numpy as np
import pytest
import torch
from conftest import write_wfdb
from hypothesis import given, settings
from hypothesis import strategies as st

import ecgjepa
from ecgjepa.errors import ConfigError
from ecgjepa.evaluation.saving import save_evaluation
from ecgjepa.model.compute import choose_device
from ecgjepa.model.folder import CARD_FILE, MODEL_FOLDER
from ecgjepa.model.normalisation import NormalisationConfig
from ecgjepa.protocols.encoders import load_encoder
from ecgjepa.protocols.request import Workspace, request_protocol
from ecgjepa.protocols.run import run
from ecgjepa.protocols.settings import load_protocol, load_rival
from ecgjepa.results.layout import PRE_TRAINED
from ecgjepa.sampling.jitter import hide_leads, keep_sets
from ecgjepa.signals.leads import LEADS, leads_of_set
from ecgjepa.signals.units import INVALID_MICROVOLT
from ecgjepa.tasks.cohort import Cohort
from ecgjepa.tasks.leakage import open_unseen
from ecgjepa.tasks.split import Split

SETS = np.array([[lead in leads_of_set(name) for lead in LEADS] for name in ("I", "II", "I+II")])
SHORT = ("steps=2", "validate_every=1", "batch_size=8", "warmup_steps=0")


# ---------------------------------------------------------------- settings


def test_sets_get_the_name_that_a_model_folder_gives_them():
    found = load_protocol("finetune", ["lead_sets=[II + I, III+V1]"])
    assert found.lead_sets == ("I+II", "III+V1")
    assert load_rival("finetune-after-probe", ["lead_sets=[I]"], num_registers=1).lead_sets == (
        "I",
    )


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("lead_sets=[I, X]", "'X': 'X' is not one of I, II"),
        ("lead_sets=[I+II, II+I+III]", r"I\+II comes more than once"),
        ("lead_set_share=1", "lead_set_share"),
    ],
)
def test_what_names_no_sets_is_refused(asked, words):
    with pytest.raises(ConfigError, match=words):
        load_protocol("finetune", [asked])


def test_a_frozen_encoder_is_trained_for_no_set():
    with pytest.raises(ConfigError, match=r"lead_sets is \('I',\), but the encoder is frozen"):
        load_protocol("attentive", ["lead_sets=[I]"])


# ---------------------------------------------------------------- windows


@settings(max_examples=25, deadline=None)
@given(share=st.floats(0.01, 0.99), seed=st.integers(0, 1000))
def test_a_window_keeps_all_leads_or_one_set(share, seed):
    signal = torch.randn(40, 12, 5, generator=torch.Generator().manual_seed(seed))
    found = keep_sets(signal, np.random.default_rng(seed), SETS, share)
    kept = (found != 0).all(dim=2).numpy()
    assert all(row.all() or (row == SETS).all(axis=1).any() for row in kept)
    assert torch.equal(found[kept], signal[kept])
    assert (found[~kept] == 0).all()


def test_sets_come_as_often_as_asked_and_each_alike():
    found = keep_sets(torch.ones(6000, 12, 1), np.random.default_rng(0), SETS, 0.6)
    kept = (found != 0).all(dim=2).numpy()
    shares = [(kept == one).all(axis=1).mean() for one in SETS]
    assert shares == pytest.approx([0.2] * 3, abs=0.02)
    assert kept.all(axis=1).mean() == pytest.approx(0.4, abs=0.02)


def test_without_sets_nothing_is_drawn():
    signal, rng = torch.ones(3, 12, 5), np.random.default_rng(0)
    assert keep_sets(signal, rng, np.zeros((0, 12), bool), 0.5) is signal
    assert rng.random() == np.random.default_rng(0).random()


def test_a_hidden_lead_is_what_the_normalisation_makes_of_a_missing_one():
    rng = np.random.default_rng(0)
    samples = torch.from_numpy(rng.integers(-4000, 4000, (4, 50, 12)).astype(np.int16))
    known = NormalisationConfig(mean=tuple(rng.random(12)), std=tuple(rng.random(12)))
    missing = samples.clone()
    missing[:, :, ~SETS[2]] = INVALID_MICROVOLT
    normaliser = known.build()
    assert torch.equal(hide_leads(normaliser(samples), ~SETS[2:]), normaliser(missing))


# ---------------------------------------------------------------- from training to prediction


@pytest.fixture(scope="module")
def trained(encoder, ptb_xl, cache, tmp_path_factory):
    """A short fine-tuning for sets, what it predicts, and the folder of its evaluation."""
    model = load_encoder(encoder)
    request = request_protocol("finetune", (*SHORT, "lead_sets=[I, I+II]"), seed=0)
    work = Workspace(choose_device("cpu"), cache)
    cohort = Cohort(task="superdiagnostic", split=Split((1, 2, 3, 4, 5, 6, 7, 8), (9,), (10,)))
    with open_unseen({"ptb-xl": ptb_xl}, model.config, cohort, cache=cache) as records:
        result = run(model, records, request, work)
        out = tmp_path_factory.mktemp("trained") / "evaluation"
        saved = save_evaluation(out, model.config, {PRE_TRAINED: result}, work)
        rows = records.rows(records.parts.test).tolist()
        signals = [np.array(records.store.read_record(row)) for row in rows]
    return result.outcome, saved, signals


def test_a_prediction_from_a_set_is_what_the_training_measured(trained, tmp_path):
    outcome, saved, signals = trained
    model = ecgjepa.load_model(saved.path, device="cpu", calibrated=False)
    for found in outcome.lead_sets:
        columns = [LEADS.index(lead) for lead in found.leads]
        for wanted, signal in zip(found.test[:3], signals, strict=False):
            few = {"sampling_rate": 100, "leads": found.leads, "unit": "uV"}
            predicted = model.predict_signal(signal[:, columns], **few)
            assert predicted.used_leads == found.leads
            assert list(predicted.probabilities.values()) == pytest.approx(wanted, abs=1e-6)
    whole = model.predict_signal(signals[0], sampling_rate=100, leads=LEADS, unit="uV")
    assert list(whole.probabilities.values()) == pytest.approx(outcome.test[0], abs=1e-6)
    write_wfdb(tmp_path / "x.hea", signals[0][:, :1], leads=("I",), rate=100)
    [from_file] = model.predict(tmp_path / "x.hea")
    few = model.predict_signal(signals[0][:, :1], sampling_rate=100, leads=("I",), unit="uV")
    assert from_file.probabilities == few.probabilities


def test_the_folder_has_calibration_thresholds_and_scores_of_every_set(trained):
    outcome, saved, _ = trained
    config = ecgjepa.load_model(saved.path, device="cpu").config
    assert config.sets_of_leads == (LEADS, LEADS[:6], ("I",))
    of_results = saved.results["models"][PRE_TRAINED]["lead_sets"]
    for one, found, told in zip(config.lead_sets, outcome.lead_sets, of_results, strict=True):
        assert one.leads == found.leads == tuple(told["leads"])
        assert list(one.score) == pytest.approx(told["macro_auroc"])
        assert one.answers.decisions.folds == one.calibration.folds == (9,)
        assert one.answers.tested.records == len(found.test)
    scales = {each.calibration.scale for each in (*config.lead_sets, config)}
    assert len(scales) == 3
    card = (saved.path / MODEL_FOLDER / CARD_FILE).read_text()
    assert "| I+II | 6 |" in card
    assert "| I | 1 |" in card


def test_the_step_is_selected_by_the_mean_over_all_leads_and_the_sets(trained):
    outcome, saved, _ = trained
    scores = saved.results["models"][PRE_TRAINED]
    of_sets = [one["validation_macro_auroc"] for one in scores["lead_sets"]]
    mean = np.mean([scores["validation_macro_auroc"], *of_sets])
    assert outcome.fit.best_score == pytest.approx(mean, abs=1e-6)


@pytest.mark.parametrize(
    ("sets", "words"),
    [("I+II+V1+V2+V3+V4+V5+V6", "has all leads of the model"), ("V1", None)],
)
def test_a_set_must_be_a_part_of_the_leads(encoder, ptb_xl, cache, sets, words):
    given = {"task": "superdiagnostic", "protocol": "finetune", "cache": cache}
    asked = [*SHORT, "steps=1", f"lead_sets=[{sets}]"]
    if words is None:
        found = ecgjepa.run_protocol(encoder, {"ptb-xl": ptb_xl}, overrides=asked, **given)
        assert [one.leads for one in found.outcome.lead_sets] == [("V1",)]
        return
    with pytest.raises(ConfigError, match=words):
        ecgjepa.run_protocol(encoder, {"ptb-xl": ptb_xl}, overrides=asked, **given)
