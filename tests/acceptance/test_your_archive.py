"""What docs/your-archive.md tells people to type works, on a small archive and for a few steps."""

import re
from pathlib import Path

import pytest
from hospital import write_hospital
from typed import run

PAGE = (Path(__file__).parents[2] / "docs/your-archive.md").read_text()
SMALLER = {
    # Toy ECGs resemble each other, so some count as copies of those that select and test.
    "prepare": ("--max-bad 0.05", "--workers 1 --max-bad 0.1"),
    "plan": ("--measure", ""),
    "pretrain": ("--preset tiny", "--preset tiny --set train.steps=4 --set train.warmup_steps=1"),
    "probe": ("--task", "--set steps=4 --set validate_every=2 --task"),
}


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
            run(line.replace(old, new, 1) if old else line, patch)
    return root


def test_every_command_leaves_what_the_page_says(hospital):
    for name in ("00000.png", "store/manifest.json", "runs/jepa/model/config.json"):
        assert (hospital / name).is_file(), name
