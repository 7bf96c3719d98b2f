from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ecgjepa.errors import ConfigError, LeadError
from ecgjepa.reporting.ecg_paper import draw_ecg
from ecgjepa.reporting.figures import (
    as_data_uri,
    draw_embeddings,
    save_figure,
)
from ecgjepa.reporting.plotting import plot
from ecgjepa.reporting.score_figures import (
    draw_agreement,
    draw_intervals,
    draw_label_efficiency,
    draw_reliability,
    draw_roc,
)
from ecgjepa.signals.leads import LEADS
from ecgjepa.signals.record import Issue, Record


def record(rng, *, seconds=10.0, leads=LEADS, valid=None):
    signal = rng.standard_normal((int(seconds * 500), len(leads))).astype(np.float32) * 0.1
    return Record(
        signal, np.ones(signal.shape, bool) if valid is None else valid, leads, 500.0, "r"
    )


def lines_of(figure: Figure):
    return [line for line in figure.axes[0].lines if len(line.get_xdata()) > 100]


def test_paper_speed_and_gain_are_true_to_size(rng):
    """One second is 25 mm and one millivolt 10 mm, on the figure itself."""
    ecg = record(rng)
    ecg.signal[:, 0] = 0
    ecg.signal[500:, 0] = 1.0  # a step of 1 mV after one second of lead I
    figure = draw_ecg(ecg)
    axes = figure.axes[0]
    box = axes.get_position()
    width_mm, height_mm = np.array(figure.get_size_inches()) * 25.4 * [box.width, box.height]
    assert width_mm == pytest.approx(np.ptp(axes.get_xlim()))
    assert height_mm == pytest.approx(np.ptp(axes.get_ylim()))
    x, y = lines_of(figure)[0].get_data()
    assert np.ptp(y) == pytest.approx(10.0)
    assert x[-1] - x[0] == pytest.approx(25 * 2.5, abs=0.1)
    assert x[np.argmax(np.diff(y)) + 1] - x[0] == pytest.approx(25.0)


def test_all_leads_and_the_rhythm_strip_are_drawn(rng):
    figure = draw_ecg(record(rng), title="T")
    names = [text.get_text() for text in figure.axes[0].texts]
    assert sorted(names) == sorted([*LEADS, "II"])
    assert len(lines_of(figure)) == 13
    assert len(lines_of(figure)[-1].get_xdata()) == 5000


def test_gaps_are_left_empty_and_marked(rng):
    valid = np.ones((5000, 12), bool)
    valid[100:300, 0] = False
    figure = draw_ecg(record(rng, valid=valid))
    y = lines_of(figure)[0].get_ydata()
    assert np.isnan(y[100:300]).all()
    assert np.isfinite(y[:100]).all()
    assert any("no valid samples (I)" in text.get_text() for text in figure.texts)


def test_no_lead_leaves_its_row_and_what_is_cut_off_is_noted(rng):
    ecg = record(rng)
    ecg.signal[:, LEADS.index("V3")] += 18.0  # an amplifier at its rail
    ecg.signal[100, LEADS.index("I")] = -9.0
    figure = draw_ecg(ecg)
    for line in lines_of(figure)[:12]:
        assert np.ptp(line.get_ydata()) <= 25.0
    (note,) = [text.get_text() for text in figure.texts if "cut off" in text.get_text()]
    assert note == "cut off at the edge of the row, ±1.25 mV: I, V3"
    tall = record(rng)
    tall.signal[::50] = 2.0
    figure = draw_ecg(tall)
    assert not any("cut off" in text.get_text() for text in figure.texts)
    assert max(np.ptp(line.get_ydata()) for line in lines_of(figure)) > 15.0


def test_what_was_noticed_stands_on_the_picture(rng):
    issues = [Issue("flat_lead", "constant at 0.250 mV", "V2"), Issue("low_quality", "scores 0.1")]
    issues += [Issue("noisy_lead", f"noise {number}", "V5") for number in range(20)]
    figure = draw_ecg(record(rng), findings=issues)
    texts = [text.get_text() for text in figure.texts]
    assert {"V2: constant at 0.250 mV", "scores 0.1", "… and 11 more findings"} <= set(texts)
    colours = {text.get_text(): text.get_color() for text in figure.axes[0].texts}
    assert colours["V2"] == colours["V5"] != colours["V1"]


@pytest.mark.parametrize("seconds", [1.0, 2.5, 7.3, 30.0])
def test_any_duration_can_be_drawn(rng, seconds):
    draw_ecg(record(rng, seconds=seconds))


def test_a_record_without_a_valid_sample_is_refused(rng):
    with pytest.raises(LeadError, match="no valid sample to draw"):
        draw_ecg(record(rng, valid=np.zeros((5000, 12), bool)))


@pytest.mark.parametrize(
    ("ending", "magic"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")]
)
def test_plot_writes_what_the_ending_says(ptb_xl, tmp_path, ending, magic):
    out = tmp_path / f"x.{ending}"
    plot(ptb_xl / "records500/00000/00001_hr.hea", out)
    assert out.read_bytes().startswith(magic)


def test_a_picture_without_a_name_overwrites_no_other(ptb_xl, tmp_path, monkeypatch):
    """It is named for its file; a second picture of another ECG of that name gets a number."""
    monkeypatch.chdir(tmp_path)
    first, other = (ptb_xl / f"records500/00000/0000{n}_hr.hea" for n in (1, 2))
    assert plot(first) == plot(first) == Path("00001_hr.png")
    Path("x").mkdir()
    for ending in (".hea", ".dat"):
        content = other.with_suffix(ending).read_bytes().replace(b"00002_hr", b"00001_hr")
        Path(f"x/00001_hr{ending}").write_bytes(content)
    before = Path("00001_hr.png").read_bytes()
    assert plot("x/00001_hr.hea") == plot("x/00001_hr.hea") == Path("00001_hr-2.png")
    assert Path("00001_hr.png").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "00001_hr-2.png",
        "00001_hr.png",
        "x",
    ]


def test_other_endings_are_refused(ptb_xl, tmp_path):
    with pytest.raises(ConfigError, match=r"picture format 'gif'; expected \.png, \.svg or \.pdf"):
        plot(ptb_xl / "records500/00000/00001_hr.hea", tmp_path / "x.gif")
    assert list(tmp_path.iterdir()) == []


def test_the_same_figure_gives_the_same_file(rng, tmp_path):
    ecg = record(rng)
    for name in ("a", "b"):
        save_figure(draw_ecg(ecg), tmp_path / f"{name}.svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert as_data_uri(draw_ecg(ecg)) == as_data_uri(draw_ecg(ecg))


def test_roc_curves_of_the_frequent_labels(rng):
    targets = rng.random((80, 9)) < np.linspace(0.05, 0.5, 9)
    targets[:, 0] = False
    scores = {"a": rng.random((80, 9)), "b": rng.random((80, 9))}
    figure = draw_roc(targets, scores, [f"L{i}" for i in range(9)])
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert len(titles) == 6
    assert not any(title.startswith("L0 ") for title in titles)


def test_figures_survive_a_single_row(rng):
    draw_intervals([{"name": "x", "value": 0.5, "low": 0.4, "high": 0.6, "baseline": True}])
    draw_embeddings({"a": rng.random((3, 2))}, np.array([[True], [False], [True]]), ["L"])
    draw_roc(np.zeros((5, 2), bool), {"a": rng.random((5, 2))}, ["A", "B"])


def test_numbers_of_predictions_are_written_without_markup(tmp_path):
    curve = {"mean_probability": [0.1, 0.9], "share_positive": [0.2, 0.8], "num_records": [300, 4]}
    path = save_figure(draw_reliability({"before": curve}), tmp_path / "reliability.svg")
    assert "mathdefault" not in path.read_text()
    assert "<!-- 100 -->" in path.read_text() or ">100<" in path.read_text()


def test_the_label_of_scores_lies_within_the_figure_beside_long_names():
    row = {"name": "existing classifier, tested on clinic, diagnosis of the table, pre-trained"}
    row |= {"value": 0.5, "low": 0.4, "high": 0.6, "baseline": False}
    figure = draw_intervals([row] * 3)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    label = figure.axes[0].xaxis.label.get_window_extent(canvas.get_renderer())
    assert 0 <= label.x0 < label.x1 <= figure.bbox.width


def test_agreement_is_drawn_on_equal_axes_with_its_line(rng):
    truth = rng.normal(400, 20, (50, 2))
    predicted = truth + rng.normal(0, 5, (50, 2))
    figure = draw_agreement(truth, predicted, ["qt", "pr"])
    panels = [axes for axes in figure.axes if axes.get_title()]
    assert [axes.get_title() for axes in panels] == ["qt", "pr"]
    for column, axes in enumerate(panels):
        (points,) = axes.collections
        np.testing.assert_array_equal(
            points.get_offsets(), np.stack((truth[:, column], predicted[:, column]), axis=1)
        )
        assert axes.get_xlim() == axes.get_ylim()
        assert axes.lines[0].get_slope() == 1
        both = np.stack((truth[:, column], predicted[:, column]))
        assert axes.get_xlim()[0] < both.min() < both.max() < axes.get_xlim()[1]


@pytest.mark.parametrize(("labels", "panels"), [(1, 1), (4, 4), (9, 9), (12, 9)])
def test_agreement_of_up_to_nine_labels(rng, labels, panels):
    values = rng.random((5, labels))
    values[:, 0] = 3.0  # all the same
    figure = draw_agreement(values, values, [f"v{i}" for i in range(labels)])
    assert sum(bool(axes.get_title()) for axes in figure.axes) == panels


def test_label_efficiency_has_a_point_per_share():
    means = [
        {"model": model, "label_fraction": share, "mean": 0.5 + share / 3, "std": std}
        for model in ("pre-trained", "untrained")
        for share, std in ((1.0, 0.02), (0.01, None))
    ]
    axes = draw_label_efficiency(means, "macro AUROC").axes[0]
    line = axes.containers[0].lines[0]
    np.testing.assert_allclose(np.asarray(line.get_xdata(), float), [1, 100])
    np.testing.assert_allclose(np.asarray(line.get_ydata(), float), [0.5 + 0.01 / 3, 0.5 + 1 / 3])
    assert [text.get_text() for text in axes.get_xticklabels()] == ["1", "100"]
    assert axes.get_ylabel() == "macro AUROC"


NAMES = (r"\frac{$", r"rate % $x^$", "price $5 or $6")


@pytest.mark.parametrize("name", NAMES)
def test_what_stands_between_two_dollars_is_text(rng, tmp_path, name):
    """Labels, databases and records may be called anything, in every figure that shows them."""
    targets = np.array([[True], [False], [True]])
    row = {"name": name, "value": 0.5, "low": 0.4, "high": 0.6, "baseline": True}
    mean = {"model": name, "label_fraction": 1.0, "mean": 0.5, "std": None}
    figures = [
        draw_ecg(record(rng, seconds=2.5), title=name, note=name),
        draw_intervals([row], name),
        draw_embeddings({name: rng.random((3, 2))}, targets, [name]),
        draw_roc(targets, {name: rng.random((3, 1))}, [name]),
        draw_agreement(rng.random((9, 1)), rng.random((9, 1)), [name]),
        draw_label_efficiency([mean, mean | {"label_fraction": 0.1}], name),
    ]
    for number, figure in enumerate(figures):
        path = save_figure(figure, tmp_path / f"{number}.svg")
        assert name in path.read_text(), number
