"""The pages of docs/: each is listed, links lead somewhere, and what is generated is current."""

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))


def test_the_index_lists_every_page_once():
    linked = re.findall(r"\]\(([^)]+)\)", (DOCS / "README.md").read_text())
    for page in PAGES:
        if page.name != "README.md":
            assert linked.count(page.name) == 1, page.name
    assert "decisions/README.md" in linked


def _anchor(heading: str) -> str:
    """Return the anchor that a heading gets on the usual sites."""
    kept = re.sub(r"[^\w\- ]", "", heading.strip().lower())
    return kept.replace(" ", "-")


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda page: page.name)
def test_links_lead_to_files_and_headings_that_exist(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = page.parent / name if name else page
        assert path.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
            assert anchor in {_anchor(heading) for heading in headings}, target


def test_the_page_of_settings_is_what_its_program_writes():
    program = runpy.run_path(str(ROOT / "benchmarks/settings_page.py"))
    written = (DOCS / "settings.md").read_text()
    assert program["page"]() == written, "run python benchmarks/settings_page.py"
