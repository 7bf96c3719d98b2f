"""Frozen configuration models, the presets, and ``--set section.key=value``.

A run is described by its objective and sections of settings. `load_preset` reads one by name or
from a YAML file; the resolved whole is saved beside every run, so that a model is rebuilt from its
own files alone.
"""

from ecgjepa.config.described import (
    Meaning,
    Setting,
    format_value,
    preset_settings,
    read_meanings,
    section_title,
)
from ecgjepa.config.keys import keys_named, sections
from ecgjepa.config.networks import DataConfig, EncoderConfig, MaskConfig, PredictorConfig
from ecgjepa.config.objectives import (
    AugmentConfig,
    ByolConfig,
    CpcConfig,
    JepaConfig,
    LejepaConfig,
    MaeConfig,
    SaltConfig,
    SimclrConfig,
)
from ecgjepa.config.presets import load_preset, parse_config, preset_names, to_yaml
from ecgjepa.config.run import PretrainConfig
from ecgjepa.config.section import Section, describe_validation_error, short_repr
from ecgjepa.config.training import Loss, OnlineProbeConfig, TrainConfig
from ecgjepa.config.yaml_text import parse_yaml, read_yaml_text

__all__ = [
    "AugmentConfig",
    "ByolConfig",
    "CpcConfig",
    "DataConfig",
    "EncoderConfig",
    "JepaConfig",
    "LejepaConfig",
    "Loss",
    "MaeConfig",
    "MaskConfig",
    "Meaning",
    "OnlineProbeConfig",
    "PredictorConfig",
    "PretrainConfig",
    "SaltConfig",
    "Section",
    "Setting",
    "SimclrConfig",
    "TrainConfig",
    "describe_validation_error",
    "format_value",
    "keys_named",
    "load_preset",
    "parse_config",
    "parse_yaml",
    "preset_names",
    "preset_settings",
    "read_meanings",
    "read_yaml_text",
    "section_title",
    "sections",
    "short_repr",
    "to_yaml",
]
