"""Write docs/settings.md: every setting with its meaning, unit, default and the paper's value.

    python benchmarks/settings_page.py

Meanings and units are those of the docstrings of `ecgjepa.config` and `ecgjepa.protocols.settings`;
a test compares the page with what this program would write.
"""

from collections.abc import Iterator
from pathlib import Path

from ecgjepa.config import (
    Setting,
    format_value,
    preset_settings,
    read_meanings,
    section_title,
    sections,
)
from ecgjepa.protocols.settings import PROTOCOLS, ProtocolConfig

PAGE = Path(__file__).resolve().parents[1] / "docs" / "settings.md"

_HEAD = """# Every setting

Written by `python benchmarks/settings_page.py` from the docstrings of the configuration classes;
do not edit it by hand. `ecgjepa presets NAME` prints the same for one preset, beside the preset's
own values.

`--set section.key=value` changes a setting of `pretrain`, `plan` and `demo`; values are read as
YAML (`--set train.betas=[0.9,0.95]`). A YAML file in place of a preset's name may begin with
`base: tiny` and give only what differs, and the `config.yaml` of any run is such a file.

*Default* is the value where a preset or a file says nothing; a dash means that it must say
something. *Paper* is the value of the published runs (arXiv 2410.13867, section 3, and their
configurations), which the presets `paper-vit-*` have; a dash means that they have none.
"""
_PROTOCOLS = """## Settings of `probe` and `finetune`

`--set key=value`, without a section. The values are the paper's (section 4.3), but for
`random_crops`, which is true for the paper's attentive probe, and but for `supervised`, the
residual network that a comparison trains from the labels alone. `linear` and `knn` have no
settings. `finetune` takes `--set probe.key=value` for the probe that it runs first.
"""


def page() -> str:
    """Return the page's text."""
    settings = preset_settings("paper-vit-xs-all")
    lines = [_HEAD, *_table("Objective", [settings[0]])]
    for name, kind in sections().items():
        own = [item for item in settings if item.key.startswith(f"{name}.")]
        lines += _table(f"`{name}`: {_lower(section_title(kind))}", own)
    lines += [_PROTOCOLS, *_protocols()]
    return "\n".join(lines).rstrip() + "\n"


def _table(title: str, settings: list[Setting]) -> Iterator[str]:
    yield f"## {title}\n"
    yield "| setting | meaning | unit | default | paper |"
    yield "|---|---|---|---|---|"
    for item in settings:
        default = "" if item.default is None else format_value(item.default)
        yield _row(f"`{item.key}`", item.meaning, item.unit, default or "-", item.paper or "-")
    yield ""


def _protocols() -> Iterator[str]:
    yield _row("setting", "meaning", "unit", *(f"`{name}`" for name in PROTOCOLS))
    yield _row(*["---"] * (3 + len(PROTOCOLS)))
    meanings = read_meanings(ProtocolConfig)
    for key, meaning in meanings.items():
        values = (format_value(getattr(settings, key)) for settings in PROTOCOLS.values())
        yield _row(f"`{key}`", meaning.text, meaning.unit, *values)


def _row(*cells: str) -> str:
    """Return a row of a table; docstrings put code between double backticks."""
    return "| " + " | ".join(cell.replace("``", "`").replace("|", "\\|") for cell in cells) + " |"


def _lower(title: str) -> str:
    """Return a title that follows a colon; names keep their capitals."""
    return (
        title if title[:2].isupper() or "'s" in title.split()[0] else title[0].lower() + title[1:]
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE.name)
