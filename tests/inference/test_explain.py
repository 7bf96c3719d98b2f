"""Explanations: equal to predictions of masked records, and sensible on a trained model."""

import copy
import dataclasses
import json

import numpy as np
import pytest
import torch
from conftest import toy_ecg
from small_encoders import save_encoder

import ecgjepa
from ecgjepa import cli
from ecgjepa.errors import ConfigError
from ecgjepa.inference.explain import explain
from ecgjepa.model.heads import AttentiveHead
from ecgjepa.reporting.explanation_figure import draw_explanation

RATE = 100.0


@pytest.fixture(scope="module")
def trained(ptb_xl, tmp_path_factory):
    """An attentive probe of an untrained encoder: enough to tell toy records apart."""
    folder = tmp_path_factory.mktemp("explain")
    ecgjepa.probe(
        save_encoder(folder / "encoder"),
        {"ptb-xl": ptb_xl},
        folder / "probe",
        task="superdiagnostic",
        overrides=["steps=150", "validate_every=50", "batch_size=16"],
        cache=folder / "cache",
    )
    return ecgjepa.load_model(folder / "probe")


@pytest.fixture(scope="module")
def file(ptb_xl):
    return sorted(ptb_xl.rglob("*_hr.hea"))[0]


def log_odds(prediction):
    values = np.array(list(prediction.probabilities.values()))
    return np.log(values) - np.log1p(-values)


def at_model_rate(signal: np.ndarray) -> ecgjepa.Record:
    return ecgjepa.Record(
        signal=(signal / 1000).astype(np.float32),
        valid=np.ones(signal.shape, bool),
        leads=("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"),
        sampling_rate=RATE,
        record_id="toy",
    )


def test_an_effect_is_that_of_a_record_without_the_stretch(trained, rng):
    signal = toy_ecg(rng, num_samples=1000, rate=RATE)
    whole = at_model_rate(signal)
    found = explain(whole, trained, stretch_seconds=0.5)
    assert found.effects.shape == (len(found.labels), 12, 20)
    assert found.edges[[0, -1]].tolist() == [0, 10]
    before = log_odds(trained.predict_record(whole))
    np.testing.assert_allclose(found.scores, before, atol=1e-4)
    for lead, stretch in ((1, 0), (7, 9), (11, 19)):
        valid = np.ones_like(whole.valid)
        valid[50 * stretch : 50 * stretch + 50, lead] = False
        hidden = dataclasses.replace(whole, valid=valid)
        after = log_odds(trained.predict_record(hidden))
        np.testing.assert_allclose(found.effects[:, lead, stretch], before - after, atol=1e-3)


def test_attention_is_relative_to_looking_everywhere_alike(trained, file):
    found = explain(file, trained)
    assert found.attention is not None
    assert found.attention.mean() == pytest.approx(1, abs=0.05)
    alike = trained._replace(classifier=copy.deepcopy(trained.classifier))
    with torch.no_grad():
        alike.classifier.head.query_token.zero_()
    np.testing.assert_allclose(explain(file, alike).attention, 1, atol=1e-5)


def test_a_map_changes_when_weights_are_drawn_anew(trained, file):
    """What does not depend on what was learned explains nothing."""
    found = explain(file, trained)
    others = trained._replace(classifier=copy.deepcopy(trained.classifier))
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in others.classifier.parameters():
            parameter.copy_(parameter.std() * torch.randn_like(parameter) + parameter.mean())
    drawn = explain(file, others)
    for one, other in zip(found.effects, drawn.effects, strict=True):
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.5
    assert np.corrcoef(found.attention, drawn.attention)[0, 1] < 0.95


def test_what_is_marked_matters_more_than_the_rest(trained, rng):
    """Hiding the tenth of the cells with the greatest effects costs more than as many others."""
    record = at_model_rate(toy_ecg(rng, num_samples=1000, rate=RATE))
    found = explain(record, trained)
    label = int(found.scores.argmax())
    order = found.effects[label].ravel().argsort()[::-1]
    count = len(order) // 10

    def cost(cells: np.ndarray) -> float:
        valid = record.valid.copy()
        for lead, stretch in zip(*np.unravel_index(cells, (12, 20)), strict=True):
            valid[50 * stretch : 50 * stretch + 50, lead] = False
        hidden = dataclasses.replace(record, valid=valid)
        return found.scores[label] - log_odds(trained.predict_record(hidden))[label]

    elsewhere = [cost(rng.choice(order[count:], count, replace=False)) for _ in range(20)]
    assert cost(order[:count]) > max(elsewhere)


def test_a_head_s_attention_sums_to_1_and_gives_its_logits():
    torch.manual_seed(0)
    head, tokens = AttentiveHead(16, 2, 3), torch.randn(4, 7, 16)
    weights = head.attention(tokens)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(4))
    alone = AttentiveHead(16, 1, 3)
    _, value = alone.kv(tokens).view(4, 7, 2, 16).unbind(2)
    attended = (alone.attention(tokens).unsqueeze(2) * value).sum(dim=1)
    torch.testing.assert_close(alone(tokens), alone.proj(attended))


def test_it_is_drawn_behind_the_leads(trained, file):
    record = ecgjepa.read_record(file)
    found = explain(record, trained)
    figure = draw_explanation(record, found, found.labels[0])
    (axes,) = figure.axes
    boxes = [patch for patch in axes.patches if patch.get_linewidth() == 0]
    # 20 stretches in the strip, 5 or 6 in each of the twelve leads, and 20 of attention
    assert len(boxes) >= 20 + 12 * 5 + 20
    greatest = max(boxes, key=lambda patch: patch.get_alpha())
    assert 0.2 < greatest.get_alpha() <= 0.75  # that of the whole map may be in no part drawn
    with pytest.raises(ConfigError, match="no label 'AFIB': expected one of CD, HYP"):
        draw_explanation(record, found, "AFIB")


def test_the_command_draws_and_prints(trained, file, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("ecgjepa.inference.predict.load_model", lambda *_args, **_options: trained)
    picture = tmp_path / "why.svg"

    def run(*options: str) -> tuple[int, str]:
        given = ["predict", str(file), "--model", "m", "--explain", str(picture), *options]
        monkeypatch.setattr("sys.argv", ["ecgjepa", *given])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        return stopped.value.code, capsys.readouterr().out

    code, text = run("--label", "MI")
    assert code == 0
    assert picture.stat().st_size > 10_000
    assert "  MI: score" in text
    lines = text.splitlines()
    assert len([line for line in lines if " at most " in line]) == 12
    assert all(
        len(line) <= 80 for line in lines if str(tmp_path) not in line and ".hea" not in line
    )
    code, text = run("--json")
    assert np.shape(json.loads(text)["effects"]["MI"]) == (12, 20)
    assert run(str(file.with_name("00002_hr.hea")))[0] == 2


def test_what_cannot_be_explained_is_refused(trained, file):
    with pytest.raises(ConfigError, match=r"stretch_seconds 0\.1: expected 0\.25 or more"):
        explain(file, trained, stretch_seconds=0.1)
    day = at_model_rate(np.zeros((6100, 12)))
    with pytest.raises(ConfigError, match="61 s are too long to explain; expected 60 s"):
        explain(day, trained)
