"""The configuration inside the official checkpoints, to and from ours.

The official code stores its ``configs.pretrain.Config`` as a dictionary: one flat list of fields,
see https://github.com/kweimann/ECG-JEPA/blob/504b4e5/configs/pretrain/__init__.py.
"""

from typing import Any

from pydantic import ValidationError

from ecgjepa.config import (
    EncoderConfig,
    PredictorConfig,
    PretrainConfig,
    describe_validation_error,
    parse_config,
    short_repr,
)
from ecgjepa.config.networks import LEAST_HERTZ, MOST_HERTZ
from ecgjepa.errors import ConfigError, OfficialCheckpointError
from ecgjepa.signals.leads import parse_lead

# Official field, and section and key of the same number here.
_FIELDS = (
    ("sampling_frequency", "data", "sampling_rate"),
    ("datasets", "data", "weights"),
    ("min_block_size", "mask", "min_block_size"),
    ("min_keep_ratio", "mask", "min_keep_ratio"),
    ("max_keep_ratio", "mask", "max_keep_ratio"),
    ("patch_size", "encoder", "patch_size"),
    ("dim", "encoder", "dim"),
    ("depth", "encoder", "depth"),
    ("num_heads", "encoder", "num_heads"),
    ("mlp_ratio", "encoder", "mlp_ratio"),
    ("num_registers", "encoder", "num_registers"),
    ("norm_eps", "encoder", "norm_eps"),
    ("pred_dim", "predictor", "dim"),
    ("pred_depth", "predictor", "depth"),
    ("pred_num_heads", "predictor", "num_heads"),
    ("steps", "train", "steps"),
    ("gradient_accumulation_steps", "train", "gradient_accumulation_steps"),
    ("encoder_momentum", "train", "momentum"),
    ("final_encoder_momentum", "train", "final_momentum"),
    ("learning_rate", "train", "learning_rate"),
    ("final_learning_rate", "train", "final_learning_rate"),
    ("learning_rate_warmup_steps", "train", "warmup_steps"),
    ("weight_decay", "train", "weight_decay"),
    ("final_weight_decay", "train", "final_weight_decay"),
    ("opt_betas", "train", "betas"),
    ("opt_eps", "train", "eps"),
    ("gradient_clip", "train", "gradient_clip"),
    ("checkpoint_interval", "train", "checkpoint_every"),
)
# Said in other words here: leads, length of the window, records per optimizer step.
_REWORDED = ("channels", "channel_size", "batch_size")
# What the published models do without, and our networks do not offer.
_ABSENT = {
    "qkv_bias": False,
    "bias": False,
    "dropout": 0.0,
    "attn_dropout": 0.0,
    "layer_scale_eps": 0.0,
}
# What is used before pydantic could check it.
_KINDS: dict[str, type | tuple[type, ...]] = {
    "channels": (list, tuple),
    "datasets": dict,
    "sampling_frequency": (int, float),
    "depth": int,
    "num_registers": int,
}
# Constants of the official code that are not a field of its configuration: `pretrain.py`, lines 221
# and 292.
_WARMUP_LEARNING_RATE = 1e-6
_CLIP = 5.0

OFFICIAL_FIELDS = frozenset([*(name for name, _, _ in _FIELDS), *_REWORDED, *_ABSENT])


def check_official_config(official: object, *, source: str) -> dict[str, Any]:
    """Return an official configuration if it has the fields of commit 504b4e5 and no others.

    Raises:
        OfficialCheckpointError: If not, or if it asks for parts our networks do not have.
    """
    if not isinstance(official, dict):
        raise OfficialCheckpointError(
            f"{source}: 'config' is a {type(official).__name__}; expected a dictionary"
        )
    for problem, names in (
        ("lacks", OFFICIAL_FIELDS - official.keys()),
        ("has unknown", official.keys() - OFFICIAL_FIELDS),
    ):
        if names:
            raise OfficialCheckpointError(
                f"{source}: its configuration {problem} "
                f"{', '.join(sorted(str(name)[:40] for name in names)[:40])}; "
                "expected the fields of kweimann/ECG-JEPA at 504b4e5"
            )
    for name, kinds in _KINDS.items():
        if not isinstance(official[name], kinds) or isinstance(official[name], bool):
            raise OfficialCheckpointError(f"{source}: {name} is {short_repr(official[name])}")
    if not LEAST_HERTZ <= official["sampling_frequency"] <= MOST_HERTZ:
        raise OfficialCheckpointError(
            f"{source}: sampling_frequency is {official['sampling_frequency']}; expected "
            f"{LEAST_HERTZ:g} to {MOST_HERTZ:g} Hz"
        )
    for name in official["datasets"]:
        # A name becomes part of a model's card, and of messages.
        if not isinstance(name, str) or not name.isprintable() or len(name) > 100:
            raise OfficialCheckpointError(f"{source}: datasets names {short_repr(name)}")
    for name, value in _ABSENT.items():
        if official[name] != value:
            raise OfficialCheckpointError(
                f"{source}: {name} is {short_repr(official[name])}; only {value!r}, as in every "
                "published configuration, can be converted"
            )
    return official


def encoder_config(official: dict[str, Any], *, source: str) -> EncoderConfig:
    """Return the encoder's architecture.

    Raises:
        OfficialCheckpointError: If a number is impossible.
    """
    values = {**_section(official, "encoder"), "num_leads": len(official_leads(official, source))}
    try:
        return EncoderConfig.model_validate(values)
    except ValidationError as error:
        raise OfficialCheckpointError(describe_validation_error(error, source)) from None


def predictor_config(official: dict[str, Any], *, source: str) -> PredictorConfig:
    """Return the predictor's architecture.

    Raises:
        OfficialCheckpointError: If a number is impossible.
    """
    if not isinstance(depth := official["pred_depth"], int):
        raise OfficialCheckpointError(f"{source}: pred_depth is {short_repr(depth)}")
    try:
        return PredictorConfig.model_validate(_section(official, "predictor"))
    except ValidationError as error:
        raise OfficialCheckpointError(describe_validation_error(error, source)) from None


def official_leads(official: dict[str, Any], source: str) -> tuple[str, ...]:
    """Return the leads in our spelling (aVR, where the official code has AVR).

    Raises:
        OfficialCheckpointError: If one is not a standard lead.
    """
    leads = []
    for name in official["channels"]:
        parsed = parse_lead(str(name))
        if parsed is None or parsed.sign < 0:
            raise OfficialCheckpointError(
                f"{source}: channel {short_repr(name)} is no standard lead"
            )
        if parsed.name in leads:
            raise OfficialCheckpointError(f"{source}: channels name lead {parsed.name} twice")
        leads.append(parsed.name)
    return tuple(leads)


def from_official_config(official: dict[str, Any], *, source: str) -> PretrainConfig:
    """Return an official configuration as a whole pre-training run of ours.

    Raises:
        OfficialCheckpointError: If a field is missing, unknown or impossible.
    """
    check_official_config(official, source=source)
    content = {
        name: _section(official, name) for name in ("data", "mask", "encoder", "predictor", "train")
    }
    try:
        content["data"]["window_seconds"] = (
            official["channel_size"] / official["sampling_frequency"]
        )
        content["train"]["batch_size"] = (
            official["batch_size"] * official["gradient_accumulation_steps"]
        )
    except (TypeError, ZeroDivisionError):
        raise OfficialCheckpointError(
            f"{source}: channel_size, sampling_frequency, batch_size and "
            "gradient_accumulation_steps must be numbers; an encoder alone does not say them all"
        ) from None
    content["data"] |= {
        "leads": official_leads(official, source),
        "clip": _CLIP,
        "normalisation": "paper",
    }
    content["encoder"]["num_leads"] = len(content["data"]["leads"])
    content["train"]["warmup_learning_rate"] = _WARMUP_LEARNING_RATE
    try:
        return parse_config(content, source=source)
    except ConfigError as error:
        raise OfficialCheckpointError(str(error)) from None


def check_official_architecture(encoder: EncoderConfig, *, source: str) -> None:
    """Refuse an encoder whose weights the official networks could not hold.

    Raises:
        ConfigError: If a switch is on that changes the networks.
    """
    for name in ("architecture", "stem", "positions", "lead_patches"):
        only = EncoderConfig.model_fields[name].default
        if (value := getattr(encoder, name)) != only:
            raise ConfigError(
                f"{source}: encoder.{name} is {value!r}; the official code has {only!r} only, so "
                "this model has no official checkpoint"
            )


def to_official_config(config: PretrainConfig) -> dict[str, Any]:
    """Return a run's configuration with the official fields; see `lost_settings` for the rest.

    Raises:
        ConfigError: If the official networks cannot hold the run's.
    """
    check_official_architecture(config.encoder, source="configuration")
    sections = config.model_dump(mode="json")
    official = {name: sections[section][key] for name, section, key in _FIELDS}
    accumulation = config.train.gradient_accumulation_steps
    return {
        **official,
        **_ABSENT,
        "sampling_frequency": _whole(config.data.sampling_rate),
        "channels": [lead.upper() for lead in config.data.leads],
        "channel_size": config.data.window_samples,
        "batch_size": config.train.batch_size // accumulation,
    }


def lost_settings(config: PretrainConfig) -> dict[str, Any]:
    """Return the settings that change what is learned and that the official code does not have."""
    back = from_official_config(to_official_config(config), source="configuration")
    kept = back.model_dump()
    return {
        f"{section}.{key}": value
        for section, key, value in (
            ("mask", "sampler", config.mask.sampler),
            ("data", "clip", config.data.clip),
            ("data", "normalisation", config.data.normalisation),
            ("data", "sampling", config.data.sampling),
            ("train", "warmup_learning_rate", config.train.warmup_learning_rate),
            ("train", "normalise_targets", config.train.normalise_targets),
            ("train", "loss", config.train.loss),
            ("train", "target_memory", config.train.target_memory),
            *(("jepa", key, value) for key, value in config.jepa),
        )
        if kept[section][key] != value
    }


def to_official_encoder_config(
    encoder: EncoderConfig, *, sampling_rate: float, leads: tuple[str, ...], window_seconds: float
) -> dict[str, Any]:
    """Return the official fields of an encoder alone; None for what it does not know.

    Args:
        encoder: Architecture.
        sampling_rate: In Hz.
        leads: In order.
        window_seconds: Longest signal that the official code shall be able to encode.

    Raises:
        ConfigError: If the official encoder cannot hold it.
    """
    check_official_architecture(encoder, source="model")
    values = encoder.model_dump(mode="json")
    known = {name: values[key] for name, section, key in _FIELDS if section == "encoder"}
    patches = int(window_seconds * sampling_rate) // encoder.patch_size
    return {
        **dict.fromkeys(sorted(OFFICIAL_FIELDS)),
        **known,
        **_ABSENT,
        "datasets": {},
        "sampling_frequency": _whole(sampling_rate),
        "channels": [lead.upper() for lead in leads],
        "channel_size": patches * encoder.patch_size,
    }


def _section(official: dict[str, Any], wanted: str) -> dict[str, Any]:
    return {key: official[name] for name, section, key in _FIELDS if section == wanted}


def _whole(number: float) -> int | float:
    return int(number) if number == int(number) else number
