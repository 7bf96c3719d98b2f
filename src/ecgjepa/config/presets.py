"""Presets by name, YAML files, and ``--set section.key=value``."""

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from ecgjepa.config.keys import describe_unknown
from ecgjepa.config.run import PretrainConfig
from ecgjepa.config.section import describe_validation_error, short_repr
from ecgjepa.config.yaml_text import parse_yaml, read_yaml_text
from ecgjepa.errors import ConfigError, did_you_mean

_PAPER_SIZES = ("xs", "s", "b")
_PAPER_DATA = ("ptbxl", "mimic", "all")


def preset_names() -> list[str]:
    """Return the names of all presets."""
    paper = [f"paper-vit-{size}-{data}" for size in _PAPER_SIZES for data in _PAPER_DATA]
    return sorted(_small_preset_files()) + paper


def load_preset(name: str | Path, overrides: Sequence[str] = ()) -> PretrainConfig:
    """Return a preset, or the configuration in a YAML file, with overrides applied.

    Args:
        name: One of `preset_names`, or the path of a ``.yaml`` file.
        overrides: ``section.key=value`` items, or ``objective=…``; values are read as YAML.

    Raises:
        ConfigError: If the preset, a key or a value is wrong.
    """
    content = _read_preset(name)
    for override in overrides:
        _apply_override(content, override)
    return parse_config(content, source=str(name))


def parse_config(content: dict[str, Any], *, source: str) -> PretrainConfig:
    """Validate a nested dictionary; errors name the key and ``source``."""
    try:
        config = PretrainConfig.model_validate(content)
    except ValidationError as error:
        raise ConfigError(describe_validation_error(error, source)) from None
    if config.encoder.positions != "learned":
        return config
    # An encoder is rebuilt from its own section alone, so that has to say how long its table is.
    encoder = config.encoder.model_copy(update={"num_positions": config.num_patches})
    return config.model_copy(update={"encoder": encoder})


def to_yaml(config: PretrainConfig) -> str:
    """Return the configuration as YAML text that `load_preset` reads back."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def _small_preset_files() -> dict[str, str]:
    folder = resources.files("ecgjepa") / "presets"
    return {
        entry.name.removesuffix(".yaml"): entry.read_text(encoding="utf-8")
        for entry in folder.iterdir()
        if entry.name.endswith(".yaml") and entry.name != "paper.yaml"
    }


def _read_preset(name: str | Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Return a preset's content; ``above`` are the files that name it as their base."""
    if str(name).endswith((".yaml", ".yml")):
        path = Path(name)
        if not path.is_file():
            raise ConfigError(f"no configuration file {path}")
        if any(path.samefile(other) for other in above):
            raise ConfigError(f"{path}: is its own base, by way of {above[-1]}")
        return _on_its_base(_load_yaml(read_yaml_text(path), source=str(path)), (*above, path))
    if name in preset_names():
        small = _small_preset_files()
        if name in small:
            return _on_its_base(_load_yaml(small[str(name)], source=str(name)), above)
        _, _, size, data = str(name).split("-")
        return _paper_preset(size, data)
    names = ", ".join(preset_names())
    meant = did_you_mean(str(name), preset_names())
    listed = f"{meant} Presets are {names}" if meant else f": expected one of {names}"
    raise ConfigError(
        f"unknown preset {short_repr(str(name))}{listed}; or give the path of a .yaml file"
    )


def _on_its_base(content: dict[str, Any], above: tuple[Path, ...]) -> dict[str, Any]:
    """Return the content over that of the preset it names as ``base``, key by key."""
    if "base" not in content:
        return content
    base = content.pop("base")
    if not isinstance(base, str):
        raise ConfigError(f"base is {short_repr(base)}; expected the name of a preset or a file")
    merged = _read_preset(base, above)
    for section, values in content.items():
        if isinstance(values, dict) and isinstance(known := merged.get(section), dict):
            values = {**known, **values}
        merged[section] = values
    return merged


def _paper_preset(size: str, data: str) -> dict[str, Any]:
    text = (resources.files("ecgjepa") / "presets" / "paper.yaml").read_text(encoding="utf-8")
    paper = _load_yaml(text, source="paper.yaml")
    content: dict[str, Any] = paper["common"]
    for section, values in paper["sizes"][size].items():
        content[section] = {**content.get(section, {}), **values}
    content["data"]["weights"] = paper["weights"][data]
    return content


def _load_yaml(text: str, *, source: str) -> dict[str, Any]:
    content = parse_yaml(text, source=source)
    if not isinstance(content, dict):
        raise ConfigError(f"{source}: expected sections with keys, found {type(content).__name__}")
    return content


def _apply_override(content: dict[str, Any], override: str) -> None:
    path, separator, text = override.partition("=")
    section, dot, key = path.strip().partition(".")
    if separator and section == "objective" and not dot:
        content["objective"] = text.strip()
        return
    if problem := describe_unknown(path.strip(), has_value=bool(separator)):
        raise ConfigError(f"--set {short_repr(override)}: {problem}")
    value = parse_yaml(text, source=f"--set {path.strip()}")
    there = content.setdefault(section, {})
    if not isinstance(there, dict):
        raise ConfigError(f"{section} is {short_repr(there)}; expected a section with keys")
    there[key] = value
