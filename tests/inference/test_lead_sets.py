"""Records with some of the leads: which set answers, by which thresholds, and what is refused."""

import json

import numpy as np
import pytest
import torch
from conftest import toy_ecg, write_wfdb
from tiny_model import save_tiny_model

import ecgjepa
from ecgjepa.errors import FewLeadsError, ModelFolderError
from ecgjepa.inference.schema import PredictionSchema
from ecgjepa.inference.windows import cut_windows, outputs_of_logits, window_size
from ecgjepa.model.answers import AnswersConfig, LeadSetConfig
from ecgjepa.model.folder import CONFIG_FILE, load_model_folder, save_model
from ecgjepa.model.outputs import CalibrationConfig, DecisionConfig, Thresholds
from ecgjepa.serving import frames, models, parser, reading
from ecgjepa.signals import acceptance
from ecgjepa.signals.leads import LEADS, leads_of_set, name_of_set
from ecgjepa.signals.preprocessing import prepare_record
from ecgjepa.signals.units import INVALID_MICROVOLT

LIMB = LEADS[:6]


def calibration(shift):
    return CalibrationConfig(
        method="platt", kind="multi-label", scale=(1.0,) * 3, shift=(shift,) * 3, folds=(8,)
    )


def answers(threshold):
    rules = [
        Thresholds(rule=rule, values=(value,) * 3)
        for rule, value in (("best-f1", threshold), ("sensitivity=0.9", 0.0))
    ]
    return AnswersConfig(decisions=DecisionConfig(chosen="best-f1", rules=tuple(rules), folds=(8,)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model of twelve leads that was made for I, II and the limb leads too."""
    place = tmp_path_factory.mktemp("model") / "model"
    model, config = load_model_folder(save_tiny_model(place))
    sets = [
        LeadSetConfig(
            leads=leads_of_set(name),
            calibration=calibration(shift),
            answers=answers(threshold),
            score=(0.8, 0.7, 0.9),
        )
        for name, shift, threshold in (("I", 1.0, 1.0), ("II", 2.0, 0.0), ("I+II", 3.0, 0.0))
    ]
    changed = {
        "lead_sets": tuple(sets),
        "calibration": calibration(0.0),
        "answers": answers(0.0),
    }
    save_model(place, model, config.model_copy(update=changed), "card")
    return place


@pytest.fixture(scope="module")
def model(folder):
    return ecgjepa.load_model(folder, device="cpu")


@pytest.fixture(scope="module")
def signal():
    return toy_ecg(np.random.default_rng(5), num_samples=1000, rate=100)


def given(signal, *leads):
    """Return an ECG of these leads alone."""
    columns = [LEADS.index(lead) for lead in leads]
    return {"signal": signal[:, columns], "sampling_rate": 100, "leads": leads, "unit": "uV"}


def expected(model, signal, leads, shift):
    """Return the probabilities by plain code: the other leads hold no sample."""
    record = ecgjepa.Record(
        signal=signal.astype(np.float32) / 1000,
        valid=np.ones(signal.shape, bool),
        leads=LEADS,
        sampling_rate=100.0,
        record_id="x",
    )
    samples = np.array(prepare_record(record, model.config.preprocessing).samples)
    samples[:, [lead not in leads for lead in LEADS]] = INVALID_MICROVOLT
    size, stride = window_size(model.config)
    with torch.inference_mode():
        logits = model.outputs(cut_windows(samples, size=size, stride=stride))[0].double()
    moved = torch.logit(outputs_of_logits(logits.mean(dim=0, keepdim=True), model.task)) + shift
    return moved.sigmoid()[0].tolist()


@pytest.mark.parametrize(
    ("leads", "used", "shift"),
    [
        (LEADS, LEADS, 0.0),
        (("I", "II", *LEADS[6:]), LEADS, 0.0),
        (LIMB, LIMB, 3.0),
        (("II", "I"), LIMB, 3.0),
        (("I", "II", "V1"), LIMB, 3.0),
        (("I",), ("I",), 1.0),
        (("V5", "I"), ("I",), 1.0),
        (("II", "III"), ("II",), 2.0),
    ],
)
def test_the_largest_set_that_a_record_has_answers(model, signal, leads, used, shift):
    found = model.predict_signal(**given(signal, *leads))
    # The derived leads differ from the stored ones by the rounding to whole microvolts.
    near = 1e-6 if set(used) <= set(leads) else 2e-3
    wanted = expected(model, signal, used, shift)
    assert list(found.probabilities.values()) == pytest.approx(wanted, abs=near)
    assert found.used_leads == used
    codes = [issue.code for issue in found.findings]
    assert codes.count("lead_set") == (len(used) < 12)
    assert (found.quality == "incomplete") == (len(used) < 12)


def test_a_lead_outside_of_the_set_changes_nothing_and_is_named(model, signal):
    alone = model.predict_signal(**given(signal, "I", "II"))
    beside = model.predict_signal(**given(signal, "I", "II", "V1"))
    assert beside.probabilities == alone.probabilities
    [note] = [issue.message for issue in beside.findings if issue.code == "lead_set"]
    assert note == (
        "answered from leads I, II, III, aVR, aVL, aVF alone, for which the model was trained; its "
        "test: macro AUROC 0.800 (0.700 to 0.900). Leads that it was not trained to use with "
        "these: V1"
    )


def test_flat_lines_in_the_place_of_leads_are_no_leads(model, signal):
    padded = signal.copy()
    padded[:, 1:] = 0
    found = model.predict_signal(**given(padded, *LEADS))
    assert found.used_leads == ("I",)
    alone = model.predict_signal(**given(signal, "I"))
    assert found.probabilities == pytest.approx(alone.probabilities, abs=1e-6)


def test_a_record_with_one_bad_lead_is_answered_from_all_as_before(model, signal):
    broken = signal.astype(float)
    broken[:, 8] = np.nan
    found = model.predict_signal(**given(broken, *LEADS))
    assert found.masked_leads == ("V3",)
    assert found.used_leads == tuple(lead for lead in LEADS if lead != "V3")


def test_thresholds_of_the_set_decide_by_the_rule_that_is_asked(folder, model, signal):
    assert set(model.predict_signal(**given(signal, "I")).decisions.values()) == {False}
    assert set(model.predict_signal(**given(signal, "II")).decisions.values()) == {True}
    asked = ecgjepa.load_model(folder, device="cpu", decision="sensitivity")
    found = asked.predict_signal(**given(signal, "I"))
    assert (found.rule, set(found.decisions.values())) == ("sensitivity=0.9", {True})
    bare = ecgjepa.load_model(folder, device="cpu", calibrated=False)
    found = bare.predict_signal(**given(signal, "I"))
    assert (found.decisions, found.rule) == ({}, None)
    assert list(found.probabilities.values()) == pytest.approx(
        expected(model, signal, ("I",), 0.0), abs=1e-6
    )


def test_no_set_is_refused_with_all_sets(model, signal):
    with pytest.raises(FewLeadsError) as refused:
        model.predict_signal(**given(signal, "V1", "III"))
    assert (refused.value.reason, refused.value.leads) == ("too_few_leads", ("III", "V1"))
    assert (
        "only 2 of 12 leads are usable: I, II, aVR, aVL, aVF, V2, V3, V4, V5, V6: not in the file. "
        "The model needs at least 8 of its 12 leads, or I+II, or I, or II; limb leads that follow "
        "from I and II count" in str(refused.value)
    )


def test_a_long_record_is_cut_to_the_set_too(model, signal, monkeypatch):
    few = given(np.tile(signal, (3, 1)), "I", "II", "V1")
    whole = model.predict_signal(**few)
    monkeypatch.setattr(acceptance, "_LONG_SAMPLES", 1)
    assert model.predict_signal(**few).probabilities == whole.probabilities


def test_every_way_of_asking_gives_the_same(folder, model, signal, tmp_path):
    write_wfdb(tmp_path / "limb.hea", signal[:, :6], leads=LIMB, rate=100)
    write_wfdb(tmp_path / "chest.hea", signal[:, 6:8], leads=LEADS[6:8], rate=100)
    files = [str(tmp_path / "limb.hea"), str(tmp_path / "chest.hea")]
    first, second = model.predict(files)
    schema = PredictionSchema(model.task)
    assert schema.row(first)["used_leads"] == "I;II;III;aVR;aVL;aVF"
    assert schema.content(first)["used_leads"] == list(LIMB)
    assert (schema.content(second)["reason"], schema.row(second)["used_leads"]) == (
        "too_few_leads",
        None,
    )
    out = tmp_path / "out.jsonl"
    ecgjepa.predict_table(files, folder, out)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    ready = ecgjepa.ECGModelClassifier(folder, on_bad="nan")
    by_estimator = ready.predict_proba(files)
    values = list(first.probabilities.values())
    assert list(rows[0]["probabilities"].values()) == pytest.approx(values, abs=1e-6)
    assert by_estimator[0].tolist() == pytest.approx(values, abs=1e-6)
    assert rows[0]["used_leads"] == list(LIMB)
    assert rows[1]["error"] == second.error
    assert np.isnan(by_estimator[1]).all()


def test_the_service_gives_the_same_by_the_process_that_reads_its_files(model, signal, tmp_path):
    write_wfdb(tmp_path / "limb.hea", signal[:, :6], leads=LIMB, rate=100)
    write_wfdb(tmp_path / "chest.hea", signal[:, 6:8], leads=LEADS[6:8], rate=100)
    settings = {"signal_seconds": 60, "lead_sets": model.config.sets_of_leads}
    read = []
    for name in ("limb.hea", "chest.hea"):
        place = str(tmp_path / name)
        told = parser._read(place, "skip", settings, model.config.preprocessing, 10**6)
        message = frames.packed(*told)
        length, size = frames.check_lengths(message[: frames.LENGTHS.size], 10**6)
        rest = message[frames.LENGTHS.size :]
        found = reading._as_record(name, *frames.unpacked(rest[:length], rest[length:]))
        assert len(rest) == length + size
        read.append(models._usable(place, found))
    served = list(model.answers(read))
    commanded = model.predict([tmp_path / "limb.hea", tmp_path / "chest.hea"])
    assert served == commanded
    assert [one.reason for one in served] == [None, "too_few_leads"]


def test_what_is_hidden_explains_nothing(model, signal):
    record = ecgjepa.Record(
        signal=signal[:, :7].astype(np.float32) / 1000,
        valid=np.ones((1000, 7), bool),
        leads=LEADS[:7],
        sampling_rate=100.0,
        record_id="x",
    )
    found = ecgjepa.explain(record, model)
    assert np.abs(found.lead_effects[:, 6:]).max() < 1e-5
    assert np.abs(found.lead_effects[:, :6]).max(axis=0).min() > 1e-3
    wanted = torch.logit(torch.tensor(expected(model, signal, LIMB, 3.0)))
    assert found.scores == pytest.approx(wanted.numpy(), abs=1e-4)


# ---------------------------------------------------------------- names and folders


def test_a_set_is_named_by_the_leads_that_the_others_follow_from():
    assert leads_of_set("I+II") == LIMB
    assert leads_of_set(" II + I ") == LIMB
    assert (leads_of_set("V2+II"), name_of_set(LEADS)) == (("II", "V2"), "I+II+V1+V2+V3+V4+V5+V6")
    assert [name_of_set(leads_of_set(name)) for name in ("I", "I+II", "II+V2")] == [
        "I",
        "I+II",
        "II+V2",
    ]
    with pytest.raises(ecgjepa.EcgjepaError, match=r"'I\+X': 'X' is not one of I, II"):
        leads_of_set("I+X")


def test_a_folder_of_an_older_version_answers_by_all_leads(tmp_path):
    folder = save_tiny_model(tmp_path / "model")
    content = json.loads((folder / CONFIG_FILE).read_text())
    del content["lead_sets"]
    content["format_version"] = 2
    (folder / CONFIG_FILE).write_text(json.dumps(content))
    assert ecgjepa.load_model(folder).config.sets_of_leads == (LEADS,)


@pytest.mark.parametrize(
    ("leads", "words"),
    [(["II", "I"], "found II, I; expected"), (["X"], "found X;"), (list(LEADS), "expected some")],
)
def test_a_folder_with_other_leads_is_refused(tmp_path, leads, words):
    folder = save_tiny_model(tmp_path / "model")
    content = json.loads((folder / CONFIG_FILE).read_text())
    content["lead_sets"] = [{"leads": leads}]
    (folder / CONFIG_FILE).write_text(json.dumps(content))
    with pytest.raises(ModelFolderError, match=words):
        ecgjepa.load_model(folder)
