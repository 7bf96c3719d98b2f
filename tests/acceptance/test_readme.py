"""What the README tells people to type works, in smaller numbers."""

import json
import logging
import re
import runpy
from pathlib import Path

import pytest
from typed import run

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
SMALLER = {
    "simulate": ("--records 2000", "--records 200"),
    "pretrain": ("--preset tiny", "--preset tiny --set train.steps=20 --set train.warmup_steps=2"),
    "probe": ("--task", "--set steps=10 --set validate_every=5 --task"),
    "finetune": (
        "--task",
        "--set steps=4 --set validate_every=2 --set warmup_steps=1 --task",
    ),
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ECGJEPA_CACHE", str(tmp_path / "cache"))
    before = logging.getLogger().handlers[:]
    yield tmp_path
    logging.getLogger().handlers[:] = before


def commands() -> list[str]:
    block = re.search(r"<!-- test: .*?-->\n```\n(.*?)```", README, re.DOTALL)
    return block[1].splitlines()


def test_the_commands_in_their_order(folder, monkeypatch, capsys):
    lines = commands()
    assert len(lines) == 10
    for line in lines:
        old, new = SMALLER.get(line.split()[1], ("", ""))
        assert old in line
        run(line.replace(old, new, 1) if old else line, monkeypatch)
    assert (folder / "report.html").stat().st_size > 100_000
    assert (folder / "ecg.png").is_file()
    assert "normal ECG" in capsys.readouterr().out


def test_the_python(folder, monkeypatch, capsys):
    run("ecgjepa simulate --records 200 --to data/ptb-xl", monkeypatch)
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL)[1]
    smaller = code.replace(
        'preset="tiny"', 'preset="tiny", overrides=["train.steps=20", "train.warmup_steps=2"]'
    )
    assert smaller != code
    exec(smaller, {})
    assert "Interval(value=" in capsys.readouterr().out


@pytest.mark.parametrize("data", ["simulated", "ptb-xl-2730"])
def test_the_tables_are_the_committed_results(data):
    newest = sorted((ROOT / "benchmarks/results").glob(f"*-demo-{data}.json"))[-1]
    table = runpy.run_path(str(ROOT / "benchmarks/demo_seeds.py"))["table"]
    assert table(json.loads(newest.read_text())) in README
