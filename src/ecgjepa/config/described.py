"""Every setting with its meaning, unit and the paper's value, read from the docstrings."""

import inspect
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel

from ecgjepa.config.keys import sections
from ecgjepa.config.presets import load_preset
from ecgjepa.config.run import PretrainConfig

# An entry of a docstring's list of attributes: ``name (unit): meaning``.
_ENTRY = re.compile(r"    (\w+)(?: \(([^)]*)\))?: (.*)")
_PAPER = {size: f"paper-vit-{size.lower()}-all" for size in ("XS", "S", "B")}
# The paper trains JEPA alone, and says nothing of how a run is logged, probed or kept.
_SECTIONS_OF_THE_PAPER = ("data", "mask", "encoder", "predictor", "train")
_OBJECTIVE = "What is learned: jepa, salt, simclr, byol, mae, cpc or lejepa."
_OURS = {
    "data.resident",
    "encoder.num_positions",
    "encoder.state_dim",
    "encoder.causal",
    "train.precision",
    "train.compile",
    "train.seed",
    "train.stop_on_collapse",
    "train.log_every",
    "train.keep_checkpoints",
    "train.milestone_every",
    "train.trackers",
}


class Meaning(NamedTuple):
    """What a docstring says of one setting.

    Attributes:
        unit: Unit of the value; empty where it has none.
        text: Meaning, as in the docstring.
    """

    unit: str
    text: str


class Setting(NamedTuple):
    """One setting of a preset.

    Attributes:
        key: Name for ``--set``, such as ``train.steps``.
        value: Value of the preset.
        paper: The paper's value as text, or those of its three sizes; empty if it has none.
        unit: Unit of the value; empty where it has none.
        meaning: Explanation of the setting.
        default: Value where a preset says nothing; None where it has to say something.
    """

    key: str
    value: Any
    paper: str
    unit: str
    meaning: str
    default: Any


def preset_settings(name: str | Path, overrides: Sequence[str] = ()) -> list[Setting]:
    """Return every setting of a preset or a YAML file, in the order of the configuration.

    Args:
        name: One of `ecgjepa.config.preset_names`, or the path of a ``.yaml`` file.
        overrides: ``section.key=value`` items that are applied first.

    Raises:
        ConfigError: If the preset, a key or a value is wrong.

    Example:
        >>> import ecgjepa
        >>> steps = {item.key: item for item in ecgjepa.preset_settings("tiny")}["train.steps"]
        >>> steps.value, steps.paper, steps.meaning
        (3000, '100,000', 'Optimizer steps of the run.')
    """
    config = load_preset(name, overrides)
    paper = {size: load_preset(preset) for size, preset in _PAPER.items()}
    return [
        Setting(
            key=key,
            value=value,
            paper=_paper_value(key, paper),
            unit=meaning.unit,
            meaning=meaning.text,
            default=default,
        )
        for key, value, meaning, default in _walk(config)
    ]


def read_meanings(section: type[BaseModel]) -> dict[str, Meaning]:
    """Return what a section's docstring says of each of its keys.

    A section has no meanings where Python was started without docstrings (``-OO``).
    """
    found: dict[str, Meaning] = {}
    name = ""
    lines = inspect.cleandoc(section.__doc__ or "").partition("Attributes:\n")[2].splitlines()
    for line in lines:
        if match := _ENTRY.fullmatch(line):
            name = match[1]
            found[name] = Meaning(match[2] or "", match[3])
        elif name and line.strip():
            found[name] = found[name]._replace(text=f"{found[name].text} {line.strip()}")
    return found


def section_title(section: type[BaseModel]) -> str:
    """Return the first sentence of a section's docstring, without its full stop."""
    return inspect.cleandoc(section.__doc__ or "").partition("\n")[0].removesuffix(".")


def format_value(value: Any) -> str:  # noqa: ANN401
    """Return a setting's value as people read it; nothing for None."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:g}" if abs(value) < 1e5 else f"{value:,g}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {format_value(item)}" for key, item in value.items()) or "empty"
    if isinstance(value, list | tuple):
        return ", ".join(map(format_value, value)) or "none"
    return str(value)


def _walk(config: PretrainConfig) -> Iterator[tuple[str, Any, Meaning, Any]]:
    yield "objective", config.objective, Meaning("", _OBJECTIVE), "jepa"
    for section, kind in sections().items():
        meanings = read_meanings(kind)
        for key, field in kind.model_fields.items():
            default = None if field.is_required() else field.get_default(call_default_factory=True)
            value = getattr(getattr(config, section), key)
            yield f"{section}.{key}", value, meanings.get(key, Meaning("", "")), default


def _paper_value(key: str, paper: dict[str, PretrainConfig]) -> str:
    section, _, name = key.partition(".")
    if not name:
        return "jepa"
    if section not in _SECTIONS_OF_THE_PAPER or key in _OURS:
        return ""
    values = {
        size: format_value(getattr(getattr(config, section), name))
        for size, config in paper.items()
    }
    if len(set(values.values())) == 1:
        return next(iter(values.values()))
    return ", ".join(f"{value} ({size})" for size, value in values.items())
