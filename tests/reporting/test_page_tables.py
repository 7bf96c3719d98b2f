"""The page: tables of repeats and of comparisons."""

import json

import numpy as np
import pytest


@pytest.mark.parametrize("version", [1, 2])
def test_repeats_are_shown(page_text, tmp_path, version):
    folder = tmp_path / "repeats"
    folder.mkdir()
    rows = [
        {
            "folder": f"labels-{100 * share:g}-draw-0-seed-{seed}",
            "test_on": "a+b" if version == 1 else ["a", "b"],
            "label_fraction": share,
            "label_draw": 0,
            "seed": seed,
            "train_records": int(1234 * share),
            "model": "pre-trained",
            "value": 0.8 + seed / 100,
            "low": 0.7,
            "high": 0.9,
        }
        for share in (0.1, 1.0)
        for seed in (0, 1)
    ]
    means = [
        {
            "test_on": "a+b" if version == 1 else ["a", "b"],
            "label_fraction": share,
            "model": "pre-trained",
            "runs": 2,
            "mean": 0.805,
            "std": std,
        }
        for share, std in ((0.1, 0.0071), (1.0, None))
    ]
    summary = {"format_version": version, "protocol": "linear", "task": "t"}
    summary["measure"] = "macro_auroc"
    (folder / "summary.json").write_text(json.dumps({**summary, "rows": rows, "means": means}))
    text = page_text([folder])
    assert "a, b 10 % pre-trained 2 0.805 0.007" in text
    assert "a, b 100 % pre-trained 2 0.805 -" in text
    assert "labels-100-draw-0-seed-1 pre-trained 1,234 0.810 (0.700 to 0.900)" in text
    assert "Tested on a, b." in text
    assert "over the share of the labels" in (tmp_path / "r.html").read_text()


@pytest.fixture
def comparison(tmp_path):
    folder = tmp_path / "comparison"
    folder.mkdir()
    entries = [
        {
            "model": model,
            "task": "t",
            "protocol": "linear",
            "label_fraction": share,
            "runs": [0.8, 0.84],
            "macro_auroc": [0.82, 0.78, 0.86],
            "difference": None if model == "JEPA" else [-0.012, -0.03, 0.01],
            "p_value": None if model == "JEPA" else 0.27,
            "validation": [0.8, 0.8],
            "labels": 4,
            "left_out": ["HYP"],
        }
        for model, share in (("JEPA", 1.0), ("JEPA", 0.1), ("<MAE>", 1.0))
    ]
    plan = {
        "arms": {"JEPA": {}, "<MAE>": {}},
        "baselines": {},
        "database": "ptb-xl",
        "folds": {"train": [1, 2], "validation": [8], "test": [9]},
        "seeds": [0, 1],
        "budget_teraflop": 12.0,
        "min_positives": 10,
    }
    (folder / "comparison.json").write_text(json.dumps({"plan": plan, "entries": entries}))
    (folder / "comparison.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    return folder


def test_a_comparison_is_shown(page_text, comparison, tmp_path):
    text = page_text([comparison])
    assert "JEPA, &lt;MAE&gt;; ptb-xl, folds 1, 2 train, 8 select, 9 test; seeds 0, 1." in text
    assert "Each was pre-trained with 12 TFLOP." in text
    assert "fewer than 10 positive or negative test records: HYP" in text
    spread = np.std([0.8, 0.84], ddof=1)
    cell = f"0.820 ± {spread:.3f} 0.780-0.860"
    assert f"linear linear, 10 % of labels JEPA {cell} {cell} &lt;MAE&gt; {cell} -" in text
    assert "&lt;MAE&gt; -0.012, p 0.270 -0.030 to +0.010 -" in text
    page = (tmp_path / "r.html").read_text()
    assert page.count("data:image/svg+xml") == 1
    content = json.loads((comparison / "comparison.json").read_text())
    content["notes"] = ["as <it> was"]
    row = {"task": "all", "model": "M", "pretraining": "none", "frozen": 0.7, "finetuned": None}
    content["published"] = {"source": "S", "rows": [row]}
    (comparison / "comparison.json").write_text(json.dumps(content))
    text = page_text([comparison])
    assert "as &lt;it&gt; was" in text
    assert "all M none 0.700 -" in text
    content["published"]["notes"] = {"all": "read <with> care"}
    (comparison / "comparison.json").write_text(json.dumps(content))
    assert "all: read &lt;with&gt; care." in page_text([comparison])
