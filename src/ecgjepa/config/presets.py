"""Presets by name, YAML files, and ``--set section.key=value``."""

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from ecgjepa.config.run import PretrainConfig
from ecgjepa.config.section import describe_validation_error
from ecgjepa.errors import ConfigError

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


def _read_preset(name: str | Path) -> dict[str, Any]:
    if str(name).endswith((".yaml", ".yml")):
        path = Path(name)
        if not path.is_file():
            raise ConfigError(f"no configuration file {path}")
        return _on_its_base(_load_yaml(path.read_text(encoding="utf-8"), source=str(path)))
    if name in preset_names():
        small = _small_preset_files()
        if name in small:
            return _on_its_base(_load_yaml(small[str(name)], source=str(name)))
        _, _, size, data = str(name).split("-")
        return _paper_preset(size, data)
    raise ConfigError(
        f"unknown preset {str(name)!r}: expected one of {', '.join(preset_names())}, or the path "
        "of a .yaml file"
    )


def _on_its_base(content: dict[str, Any]) -> dict[str, Any]:
    """Return the content over that of the preset it names as ``base``, key by key."""
    if "base" not in content:
        return content
    merged = _read_preset(content.pop("base"))
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
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{source}: not readable as YAML: {error}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{source}: expected sections with keys, found {type(content).__name__}")
    return content


def _apply_override(content: dict[str, Any], override: str) -> None:
    path, separator, text = override.partition("=")
    section, dot, key = path.strip().partition(".")
    if separator and section == "objective" and not dot:
        content["objective"] = text.strip()
        return
    if not (separator and dot and section and key):
        raise ConfigError(f"--set {override!r}: expected section.key=value, e.g. train.steps=500")
    sections = {k: v for k, v in PretrainConfig.model_fields.items() if k != "objective"}
    if section not in sections:
        raise ConfigError(
            f"--set {override!r}: no section {section!r}; expected one of {', '.join(sections)}"
        )
    known = sections[section].annotation
    assert known is not None
    if key not in known.model_fields:
        raise ConfigError(
            f"--set {override!r}: section {section!r} has no key {key!r}; expected one of "
            f"{', '.join(known.model_fields)}"
        )
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {override!r}: value is not readable: {error}") from None
    content.setdefault(section, {})[key] = value
