"""A finished evaluation, written by hand, and the words of a page."""

import json
import re

import pandas as pd
import pytest

from ecgjepa.reporting.page import report


@pytest.fixture
def page_text(tmp_path):
    """Write a page as ``r.html`` and return it without its markup."""

    def read(folders):
        page = report(folders, tmp_path / "r.html").read_text()
        text = " ".join(re.sub(r"<[^>]+>", " ", page.partition("</style>")[2]).split())
        return text.replace("\u2013", "-")

    return read


@pytest.fixture
def evaluation(tmp_path, rng):
    """A folder of format version 1, written by hand, with an undefined label and hostile names."""
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
            frame["patient_id"] = frame["record_id"]
            for label, share in zip(labels, (0.5, 0.1, 0), strict=True):
                frame[f"target:{label}"] = rng.random(40) < share
                frame[f"probability:{label}"] = rng.random(40)
            frames.append(frame)
    pd.concat(frames).to_parquet(folder / "predictions.parquet")
    return folder
