"""What docs/your-archive.md tells people to type works, on a small archive and for a few steps."""

import re
from pathlib import Path

import pandas as pd
import pytest
from hospital import write_hospital
from typed import run

PAGE = (Path(__file__).parents[2] / "docs/your-archive.md").read_text()
SMALLER = {
    "evaluate": ("--labels", "--test-folds 9-10 --labels"),
    "prepare": ("--store", "--workers 1 --store"),
    "plan": ("--measure", ""),
    "pretrain": (
        "--preset tiny",
        "--preset tiny --set train.steps=4 --set train.warmup_steps=1 --set train.batch_size=8",
    ),
    "probe": ("--task", "--set steps=4 --set validate_every=2 --task"),
}
# A file that cannot be used has a row or a line of its own; the exit status tells of it.
FALLS_SHORT = ("predict", "embed")


def commands() -> list[str]:
    blocks = re.findall(r"```\n(ecgjepa .*?)```", PAGE, re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


@pytest.fixture(scope="module")
def hospital(tmp_path_factory):
    """A folder in which every command of the page was run."""
    root = tmp_path_factory.mktemp("hospital")
    write_hospital(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("ECGJEPA_CACHE", str(root / "cache"))
        for line in commands():
            old, new = SMALLER.get(line.split()[1], ("", ""))
            assert old in line
            code = 1 if line.split()[1] in FALLS_SHORT else 0
            run(line.replace(old, new, 1) if old else line, patch, code=code)
    return root


def test_every_command_leaves_what_the_page_says(hospital):
    names = ("00000.png", "store/manifest.json", "runs/jepa/model/config.json", "report.html")
    for name in (*names, "runs/judged/results.json", "runs/probe/model/model.safetensors"):
        assert (hospital / name).is_file(), name


def test_each_file_that_came_in_has_a_row_and_a_decision(hospital):
    table = pd.read_csv(hospital / "decisions.csv")
    assert len(table) == len(set(table["file"])) == 13
    bad = table["error"].notna()
    assert table.loc[bad, "file"].str.endswith("cut.hea").tolist() == [True]
    for label in ("Infarkt", "Normal", "Schenkelblock"):
        assert table.loc[~bad, label].between(0, 1).all()
        assert set(table.loc[~bad, f"{label}_yes"].dropna()) <= {True, False}


def test_the_python_of_the_page(hospital, monkeypatch, capsys):
    monkeypatch.chdir(hospital)
    exec(re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)[1], {})
    said = capsys.readouterr().out
    assert re.fullmatch(r"(\d+) of \1 records have a diagnosis\nAUROC 0\.\d{3}\n", said)
