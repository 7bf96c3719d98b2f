"""Presets and their settings on a terminal."""

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ecgjepa.config import (
    PretrainConfig,
    Setting,
    format_value,
    load_preset,
    preset_names,
    section_title,
    sections,
)
from ecgjepa.terminal.screen import print_line, print_wrapped

if TYPE_CHECKING:
    from pathlib import Path

_KEY, _VALUE = 26, 24
_DIFFERS = "*"


def print_presets() -> None:
    """Print one line per preset, and what to do with one."""
    print(
        f"{'preset':<20}{'objective':<11}{'Hz':>4}{'window':>8}{'width':>7}{'blocks':>7}"
        f"{'steps':>9}{'batch':>7}"
    )
    for name in preset_names():
        print(_preset_row(name, load_preset(name)))
    print()
    print("'ecgjepa prepare --for NAME' makes a store with the preset's sampling rate (Hz)")
    print("'ecgjepa presets NAME' explains every setting; --set KEY=VALUE changes one")


def presets_as_json() -> list[dict[str, Any]]:
    """Return every preset's name and settings as JSON content."""
    return [{"name": name, **load_preset(name).model_dump(mode="json")} for name in preset_names()]


def print_settings(name: "str | Path", settings: Sequence[Setting]) -> None:
    """Print every setting of a preset: value, the paper's value, unit and meaning."""
    print_line(f"{name}: every setting, {_DIFFERS} where it differs from the paper's")
    print(f"\n{'  setting':<{_KEY}}{'here':<{_VALUE}}paper")
    titles = {section: section_title(kind) for section, kind in sections().items()}
    shown = ""
    for item in settings:
        section, dot, key = item.key.partition(".")
        if dot and section != shown:
            print()
            print_wrapped(section, titles[section])
            shown = section
        _print_setting(key or section, item)
    print("\nchange one with --set, e.g. --set train.steps=500")


def settings_as_json(name: "str | Path", settings: Sequence[Setting]) -> dict[str, Any]:
    """Return every setting of a preset as JSON content."""
    return {"name": str(name), "settings": [item._asdict() for item in settings]}


def _preset_row(name: str, config: PretrainConfig) -> str:
    data, encoder, train = config.data, config.encoder, config.train
    return (
        f"{name:<20}{config.objective:<11}{data.sampling_rate:>4g}"
        f"{f'{data.window_seconds:g} s':>8}{encoder.dim:>7}{encoder.depth:>7}"
        f"{train.steps:>9,}{train.batch_size:>7,}"
    )


def _print_setting(key: str, item: Setting) -> None:
    value = format_value(item.value)
    paper = item.paper or "-"
    same = not item.paper or item.paper == value or f"{value} (" in item.paper
    mark = " " if same else _DIFFERS
    unit = f" {item.unit}" if item.unit else ""
    row = f"{mark} {key:<{_KEY - 2}}{value + unit:<{_VALUE}}{paper}"
    if len(value + unit) < _VALUE and len(row) < 80:
        print_line(row)
    else:
        print_line(f"{mark} {key}")
        if same:
            _print_indented(f"here and in the paper: {paper}")
        else:
            _print_indented(f"here: {value}{unit}")
            _print_indented(f"paper: {paper}")
    _print_indented(item.meaning.replace("``", "'"))


def _print_indented(text: str) -> None:
    indent = " " * 6
    print(
        textwrap.fill(
            text,
            width=79,
            initial_indent=indent,
            subsequent_indent=indent,
            break_on_hyphens=False,
            break_long_words=False,
        )
    )
