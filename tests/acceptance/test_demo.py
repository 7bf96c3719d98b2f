"""The demo, small, from simulated ECGs to a report."""

import doctest
import json
import re

import pytest

import ecgjepa
from ecgjepa import demonstration
from ecgjepa.errors import ConfigError

EXAMPLE = ["train.steps=4", "train.warmup_steps=1"]
SMALL = ["train.steps=30", "train.warmup_steps=3", "train.log_every=10"]


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(demonstration, "_PROBE", ("steps=20", "validate_every=10"))
    monkeypatch.setattr(
        demonstration, "_FINETUNE", ("steps=4", "validate_every=2", "warmup_steps=1")
    )


def test_from_nothing_to_a_report(tmp_path, quick, monkeypatch):
    """The example of the docstring; then what it leaves on the disk."""
    monkeypatch.chdir(tmp_path)
    example = doctest.DocTestParser().get_doctest(ecgjepa.demo.__doc__, {}, "demo", None, 0)
    said: list[str] = []
    runner = doctest.DocTestRunner(verbose=False)
    result = runner.run(example, out=said.append, clear_globs=False)
    assert result.attempted
    assert not result.failed, "".join(said)
    found = example.globs["found"]
    assert [item.results["protocol"] for item in found.evaluations] == [
        "linear",
        "attentive",
        "finetune-after-probe",
    ]
    text = " ".join(re.sub(r"<[^>]+>", " ", found.report.read_text()).split())
    for heading in (
        "Data",
        "Pre-training",
        "Collapse monitor",
        "What is hidden",
        "Results",
        "Frozen, linear probe: per label",
        "Test records",
    ):
        assert heading in text
    assert found.report.read_text().count("data:image/svg+xml") >= 10

    # Pre-training saw the training folds only, and no selection or score the others' labels.
    manifest = json.loads((tmp_path / "demo/store/manifest.json").read_text())
    assert manifest["databases"]["ptb-xl"]["folds"] == [1, 2, 3, 4, 5, 6, 7, 8]
    for item in found.evaluations:
        assert item.results["split"] == {
            "train": [1, 2, 3, 4, 5, 6, 7, 8],
            "validation": [9],
            "test": [10],
        }

    # A second call repeats neither simulation, preparation nor pre-training.
    kept = [tmp_path / f"demo/{name}" for name in ("ptb-xl", "store", "pretrain")]
    before = {p: p.stat().st_mtime_ns for folder in kept for p in folder.rglob("*") if p.is_file()}
    ecgjepa.demo(tmp_path / "demo", records=300, overrides=EXAMPLE)
    assert before == {
        p: p.stat().st_mtime_ns for folder in kept for p in folder.rglob("*") if p.is_file()
    }

    # Another population is not mixed with what was made of the first.
    with pytest.raises(ConfigError, match="holds a demo of other records than 301"):
        ecgjepa.demo(tmp_path / "demo", records=301, overrides=EXAMPLE)
    assert all(path.is_file() for path in before)


@pytest.mark.slow
@pytest.mark.realdata
def test_on_real_records(real_data, tmp_path, quick):
    found = ecgjepa.demo(tmp_path / "demo", data={"ptb-xl": real_data / "ptb-xl"}, overrides=SMALL)
    text = " ".join(re.sub(r"<[^>]+>", " ", found.report.read_text()).split())
    assert "partial copy: its table has 500 records; version 1.0.3 has 21,799" in text
    # 66 records in fold 10, two of which (PACE alone, AFLT alone) belong to no superclass.
    assert found.evaluations[0].results["counts"]["test"] == 64
