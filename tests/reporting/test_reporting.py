import json
import re

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from ecgjepa.errors import CheckpointError, ConfigError, LeadError
from ecgjepa.reporting.ecg_paper import draw_ecg, plot
from ecgjepa.reporting.figures import (
    as_data_uri,
    draw_embeddings,
    draw_intervals,
    draw_masks,
    draw_roc,
    save_figure,
)
from ecgjepa.reporting.page import report
from ecgjepa.sampling.masking import MaskIndices
from ecgjepa.signals.leads import LEADS
from ecgjepa.signals.record import Record


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


def test_masked_patches_are_the_shaded_ones(rng):
    masks = MaskIndices(np.array([[0, 4], [3, 4]]), np.array([[1, 2, 3], [0, 1, 2]]))
    figure = draw_masks(
        rng.standard_normal((50, 1)), ["II"], masks, sampling_rate=10.0, patch_size=10
    )
    spans = sorted(patch.get_x() for patch in figure.axes[0].patches)
    assert spans == [1.0, 2.0, 3.0]


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


# ---------------------------------------------------------------- page


@pytest.fixture
def evaluation(tmp_path, rng):
    """A hand-written evaluation folder with an undefined label and hostile names."""
    folder = tmp_path / "evaluation"
    folder.mkdir()
    labels = ["<b>A</b>", "B", "C"]
    model = {
        "macro_auroc": [0.81234, 0.7, 0.9],
        "validation_macro_auroc": 0.8,
        "labels_scored": 2,
        "undefined_labels": ["C"],
        "selected": "step 5",
        "history": [],
        "test_records": 40,
        "labels": [
            {
                "label": label,
                "description": "d",
                "train_positives": 9,
                "test_positives": n,
                "auroc": [None, None, None] if label == "C" else [0.8, 0.7, 0.9],
                "average_precision": None if label == "C" else 0.5,
                "few_positives": n < 10,
            }
            for label, n in zip(labels, (20, 5, 0), strict=True)
        ],
    }
    results = {
        "format_version": 1,
        "protocol": "linear",
        "seed": 0,
        "settings": {},
        "task": {"name": "t", "kind": "multi-label", "labels": labels, "descriptions": labels},
        "split": {"train": [1], "validation": [2], "test": [3]},
        "counts": {
            "train": 1000,
            "validation": 30,
            "test": 40,
            "test_patients": 39,
            "without_label": 7,
        },
        "database": {
            "listed": 1080,
            "stored": 1077,
            "seconds": 10770.0,
            "folds": [1, 2, 3],
            "skipped": {"truncated": 3},
            "absent": 20719,
            "issues": {"flat_lead": 2},
            "quarantine": [{"record_id": "17", "reason": "truncated", "detail": "half"}] * 3,
            "notices": ["partial copy"],
        },
        "store": str(tmp_path / "gone"),
        "models": {"pre-trained": model, "untrained": model},
        "differences": {"pre-trained - untrained": [0.05, 0.01, 0.09]},
        "interval": "x",
    }
    (folder / "results.json").write_text(json.dumps(results))
    frames = []
    for name in results["models"]:
        for part in ("validation", "test"):
            frame = pd.DataFrame({"model": name, "part": part, "record_id": map(str, range(40))})
            for label, share in zip(labels, (0.5, 0.1, 0), strict=True):
                frame[f"target:{label}"] = rng.random(40) < share
                frame[f"probability:{label}"] = rng.random(40)
            frames.append(frame)
    pd.concat(frames).to_parquet(folder / "predictions.parquet")
    return folder


def test_the_page_needs_nothing_but_itself(evaluation, tmp_path):
    page = report([evaluation], tmp_path / "r.html").read_text()
    addresses = re.findall(r'(?:src|href)="([^"]{0,40})', page)
    assert addresses
    assert all(address.startswith("data:image/svg+xml;base64,") for address in addresses)
    assert "http://" not in page
    assert "<script" not in page
    assert "url(" not in page


def test_the_page_says_what_was_left_out(evaluation, tmp_path):
    page = report([evaluation], tmp_path / "r.html").read_text()
    text = " ".join(re.sub(r"<[^>]+>", " ", page).split())
    assert "partial copy" in text
    assert "3 truncated" in text
    assert "17: half" in text
    assert "20,719" in text
    assert "7 records have no label of the task" in text
    assert "Not scored, because the test records hold only positives or only negatives: C" in text
    assert "fewer than 10 positive test records" in text
    assert "+0.050" in text
    assert "0.812" in text
    assert "research use only" in text.lower()


def test_the_page_shows_calibration_label_sets_and_subgroups(evaluation, tmp_path):
    """Of results that have them; those above are from before."""
    path = evaluation / "results.json"
    results = json.loads(path.read_text())
    numbers = {"log_loss": 0.3, "brier": 0.1234, "calibration_error": None}
    curve = {"num_records": [90, 30], "mean_probability": [0.1, 0.8], "share_positive": [0.2, 0.7]}
    results["subgroups_need_patients"] = 50
    results["models"]["pre-trained"] |= {
        "calibration": {
            "applied": {"method": "platt", "fallback": {"C": "0 positive validation records"}},
            "test": {"before": numbers, "platt": numbers},
            "reliability": {"before": curve, "after": curve},
        },
        "label_sets": {
            "asked": 0.9,
            "measured": [0.91, 0.88, 0.94],
            "mean_size": 1.5,
            "in_every_set": ["C"],
        },
        "subgroups": {
            "sex": [
                {
                    "group": group,
                    "records": records,
                    "patients": records,
                    "labels_scored": 2,
                    "macro_auroc": score,
                }
                for group, records, score in (("female", 60, [0.77, 0.7, 0.8]), ("<i>", 9, None))
            ]
        },
    }
    path.write_text(json.dumps(results))
    page = report([evaluation], tmp_path / "r.html").read_text()
    text = " ".join(re.sub(r"<[^>]+>", " ", page).split())
    assert "0.3000 0.1234 \u2013" in text
    assert "With the common temperature, for want of validation records: C." in text
    assert "91.0 % of them on the test records (95 % interval 88.0 to 94.0)" in text
    assert "sex female 60 60 2 0.770 0.700\u20130.800" in text
    assert "fewer than 50 patients are not scored: sex &lt;i&gt; (9)" in text


def test_names_from_files_cannot_inject_markup(evaluation, tmp_path):
    page = report([evaluation], tmp_path / "r.html", title="<i>x</i>").read_text()
    assert "<b>A</b>" not in page
    assert "&lt;b&gt;A&lt;/b&gt;" in page
    assert "<i>x</i>" not in page


def test_a_page_without_the_records_does_without_their_pictures(evaluation, tmp_path):
    page = report([evaluation], tmp_path / "r.html").read_text()
    assert "Test records" not in page


def test_a_folder_that_is_no_run(tmp_path):
    with pytest.raises(CheckpointError, match="holds neither a pre-training run"):
        report([tmp_path], tmp_path / "r.html")
