"""What a page says of a run is what the run wrote of itself."""

import base64
import json
import re

import numpy as np
import pytest

from ecgjepa.config import load_preset, to_yaml
from ecgjepa.errors import CheckpointError
from ecgjepa.objectives.build import objective_of
from ecgjepa.objectives.words import Panel, Picture, Sign, Span
from ecgjepa.reporting.page import report
from ecgjepa.reporting.training_figures import draw_picture, draw_signs, draw_training

DATABASE = {
    "listed": 9,
    "stored": 9,
    "seconds": 90.0,
    "folds": [1],
    "skipped": {},
    "absent": 0,
    "issues": {},
    "quarantine": [],
    "notices": [],
}
VALUES = {"loss": 0.5, "learning_rate": 1e-3, "momentum": 0.99, "records_per_second": 100.0}


@pytest.fixture
def write_run(tmp_path):
    """Write a run folder as an objective leaves it, with a sign at 3 steps."""

    def write(name: str, *, verdicts=(False, False, False), words=True, **signs):
        config = load_preset("tiny", [f"objective={name}", "train.normalise_targets=false"])
        objective = objective_of(config)
        run = tmp_path / f"run-{name}"
        run.mkdir()
        (run / "config.yaml").write_text(to_yaml(config))
        (run / "store.json").write_text(json.dumps({"databases": {"ptb-xl": DATABASE}}))
        if words:
            content = objective.words().model_dump(mode="json")
            (run / "objective.json").write_text(json.dumps(content))
        values = VALUES | {sign.name: 0.5 for sign in objective.signs} | signs
        lines = [
            {"step": 100 * (number + 1), **values}
            | ({} if verdict is None else {"collapsed": verdict})
            for number, verdict in enumerate(verdicts)
        ]
        (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return run

    return write


def figures(tmp_path) -> str:
    """Return the text of all figures of the page."""
    page = (tmp_path / "r.html").read_text()
    return "".join(
        base64.b64decode(found).decode() for found in re.findall(r"svg\+xml;base64,([^\"]+)", page)
    )


def test_few_directions_of_pooled_features_are_no_collapse(page_text, write_run, tmp_path):
    """SimCLR's own watch is silent at an effective rank of 3 % of the width; so is the page."""
    text = page_text([write_run("simclr", effective_rank=2.9, spread=0.1)])
    assert "no sign of collapse at any of 3 logged steps" in text
    assert "Signs of collapse" not in text
    assert "ECG representations learned with SimCLR" in text
    assert "above 0.9 mean cosine of views of different records" in text
    assert "loss: NT-Xent" in figures(tmp_path)
    for words in (text, figures(tmp_path)):
        for wrong in ("JEPA", "mean absolute error", "predictor", "momentum", "target"):
            assert wrong not in words


def test_the_page_repeats_the_verdicts_of_the_run(page_text, write_run):
    # Whatever the numbers are: the run knew best.
    text = page_text([write_run("jepa", verdicts=(False, True, True))])
    assert "Signs of collapse at 2 of 3 logged steps, first at step 200." in text
    assert "If they last: try a lower train.learning_rate, a train.momentum closer to 1" in text
    assert "learned with JEPA" in text


@pytest.mark.parametrize(
    ("name", "loss", "note"),
    [
        ("jepa", "mean absolute error", "it also falls when features collapse"),
        ("byol", "squared distance of unit vectors", "it also falls when features collapse"),
        ("mae", "mean squared error", "which is not what a probe needs"),
    ],
)
def test_losses_and_schedules_are_those_of_the_run(
    page_text, write_run, tmp_path, name, loss, note
):
    assert note in page_text([write_run(name)])
    assert f"loss: {loss}" in figures(tmp_path)
    # A masked autoencoder has no target network.
    assert ("target momentum" in figures(tmp_path)) == (name != "mae")


def test_a_run_of_an_older_version_gets_neutral_words(page_text, write_run, tmp_path):
    run = write_run("simclr", verdicts=(None,) * 3, words=False, effective_rank=0.1, spread=0.01)
    text = page_text([run])
    assert "logged 3 steps without recording whether their signs meant a collapse" in text
    assert "Signs of collapse" not in text
    assert "no sign of collapse" not in text
    assert text.startswith("ECG representations ecgjepa")
    for words in (text, figures(tmp_path)):
        for wrong in ("JEPA", "SimCLR", "mean absolute error", "below", "target"):
            assert wrong not in words


def test_a_run_that_a_newer_version_finished_says_since_when_it_looked(page_text, write_run):
    text = page_text([write_run("mae", verdicts=(None, None, True))])
    assert "Signs of collapse at 1 of 1 logged steps, first at step 300." in text
    assert "logged 2 steps without recording" in text


def test_runs_of_several_objectives_share_a_page(page_text, write_run):
    text = page_text([write_run("jepa"), write_run("mae")])
    assert text.startswith("ECG representations ecgjepa")  # learned with neither of them alone
    assert "Pre-training: JEPA" in text
    assert "Pre-training: a masked autoencoder" in text


def test_words_cannot_inject_markup(write_run, tmp_path):
    run = write_run("mae")
    words = json.loads((run / "objective.json").read_text())
    words |= {"title": "<b>bold</b>", "loss_note": "<i>note</i>"}
    (run / "objective.json").write_text(json.dumps(words))
    page = report([run], tmp_path / "r.html").read_text()
    assert "<b>bold" not in page
    assert "<i>note" not in page
    assert "&lt;i&gt;note" in page


def test_damaged_words_are_named(write_run, tmp_path):
    run = write_run("mae")
    (run / "objective.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"objective\.json: damaged"):
        report([run], tmp_path / "r.html")


# ---------------------------------------------------------------- figures


def test_levels_of_collapse_are_shaded_where_there_are_any():
    metrics = [{"step": step, "low": 0.5, "high": 0.5, "free": 3.0} for step in (1, 2)]
    signs = [
        Sign(name="low", label="l", meaning="", below=0.2, alarm="a", least=0, most=1),
        Sign(name="high", label="h", meaning="", above=0.9, alarm="a", most=1),
        Sign(name="free", label="f", meaning=""),
    ]
    axes = draw_signs(metrics, signs).axes
    shaded = [[(p.get_y(), p.get_y() + p.get_height()) for p in one.patches] for one in axes]
    assert [np.round(spans, 6).tolist() for spans in shaded] == [[[0, 0.2]], [[0.9, 1.0]], [], []]
    assert [one.get_title(loc="left") for one in axes[:3]] == ["l", "h", "f"]
    assert not axes[3].get_visible()
    low, high = axes[2].get_ylim()
    assert low < 3 < high  # a constant has an axis, too


def test_one_step_can_be_drawn():
    metrics = [VALUES | {"step": 5, "spread": 0.0}]
    draw_signs(metrics, [Sign(name="spread", label="s", meaning="")])
    draw_training(metrics, loss="", warmup_steps=0, with_momentum=True)


def test_spans_are_shaded_in_their_leads(rng):
    picture = Picture(
        caption="",
        panels=(
            Panel(
                title="one",
                spans=(
                    Span(start=0.2, end=0.4),
                    Span(start=0.5, end=0.6, leads=("V2",), kind="lead"),
                    Span(start=0.7, end=0.8, leads=("aVR",), kind="lead"),  # not drawn
                ),
            ),
        ),
        strips=(Panel(spans=(Span(start=0.0, end=0.1),)), Panel(spans=())),
    )
    figure = draw_picture(rng.standard_normal((50, 2)), ["II", "V2"], picture, sampling_rate=10.0)
    ecg, strips = figure.axes
    spans = [(p.get_x(), p.get_x() + p.get_width()) for p in ecg.patches]
    assert spans == [pytest.approx((1, 2)), pytest.approx((2.5, 3))]
    # The second lead's lies around that lead, below the first one.
    bottom = ecg.patches[1].get_y()
    top = bottom + ecg.patches[1].get_height()
    upper, lower = (line.get_ydata() for line in ecg.lines)
    assert bottom <= lower.min() < lower.max() <= top
    assert upper.max() > top
    extents = [c.get_paths()[0].get_extents() for c in strips.collections if c.get_paths()]
    assert (extents[0].x0, extents[0].x1) == pytest.approx((0, 0.5))
    assert figure.legends  # for there are two kinds
