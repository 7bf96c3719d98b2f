"""How a head, or a whole classifier, is trained: the paper's settings, by name."""

from collections.abc import Sequence
from typing import Any, Literal, get_args

from pydantic import Field, ValidationError, field_validator

from ecgjepa.config import Section, describe_validation_error, parse_yaml, short_repr
from ecgjepa.errors import ConfigError, did_you_mean
from ecgjepa.signals.leads import leads_of_set, name_of_set

# Protocols that read labels from frozen features; ``attentive`` is the paper's "linear".
FrozenProtocol = Literal["attentive", "linear", "knn"]
# Protocols that train a pre-trained encoder with its head, the paper's better one first.
TuningProtocol = Literal["finetune-after-probe", "finetune"]
# Protocols that train from the labels alone: the same encoder, or a residual network.
FromScratchProtocol = Literal["scratch", "supervised"]
Protocol = Literal[FrozenProtocol, TuningProtocol, FromScratchProtocol]

FROZEN: tuple[FrozenProtocol, ...] = get_args(FrozenProtocol)
TUNING: tuple[TuningProtocol, ...] = get_args(TuningProtocol)
FROM_SCRATCH_PROTOCOLS: tuple[FromScratchProtocol, ...] = get_args(FromScratchProtocol)
PROTOCOL_NAMES: tuple[Protocol, ...] = get_args(Protocol)
# Protocols that fit what they have at once.
WITHOUT_SETTINGS: tuple[FrozenProtocol, ...] = ("linear", "knn")


class ProtocolConfig(Section):
    """Settings of one supervised training.

    Attributes:
        head: Kind of head; see `ecgjepa.model.heads.HeadConfig`.
        steps (steps): Optimizer steps at most.
        batch_size (windows): Windows per step, each from a different record.
        learning_rate: Peak learning rate.
        final_learning_rate: Learning rate at the end of the cosine decay; the peak for no decay.
        warmup_steps (steps): Linear warm-up from 1e-6.
        weight_decay: Weight decay of linear and convolution layers.
        betas: Beta coefficients of AdamW.
        gradient_clip: Greatest gradient norm; 0 for none.
        dropout (probability): Dropout in the encoder's blocks, when the encoder is trained.
        layer_decay: Learning rate of each block relative to the next one's, when the encoder is
            trained: the head learns at the full rate, the embedding slowest; 1 for none.
        drop_path (probability): Stochastic depth, when a whole network is trained: probability that
            a branch of the last block is left out for a window; it falls linearly to 0 in the first
            block.
        weight_average (share): Share of the weights' moving average that stays at each step; the
            average is what is validated and kept. 0 for the weights themselves.
        label_smoothing (share): Share of each label that is replaced by no knowledge: one half, or
            all labels alike where each record has one.
        amplitude_jitter (share): Greatest change of a window's amplitude, the same in all leads;
            at most 0.2, for voltages decide diagnoses.
        baseline_wander (standard deviations): Greatest height of a slow wave that is added to each
            lead of a window.
        lead_dropout (probability): Probability that one lead of a window is set to 0.
        lead_sets (names): Sets of leads, such as ``[I, II, I+II]``, of which some windows keep one,
            so that records with these leads alone can be answered; limb leads that follow from the
            named ones are kept with them. The step is selected by the mean score over all leads
            and each set, when a whole network is trained.
        lead_set_share (probability): Probability that a window keeps one of ``lead_sets`` alone,
            each as likely as the others; the other leads are set to 0.
        validate_every (steps): Steps between validations; the best is kept.
        patience (steps): Steps without improvement after which training stops.
        random_crops: Train a frozen encoder's head on crops at any sample, encoded anew at each
            step, as the paper does, instead of on the evaluation windows' stored features.
    """

    head: Literal["attentive", "register", "mean", "pooled"]
    steps: int = Field(ge=1)
    batch_size: int = Field(128, ge=1)
    learning_rate: float = Field(gt=0)
    final_learning_rate: float = Field(gt=0)
    warmup_steps: int = Field(0, ge=0)
    weight_decay: float = Field(ge=0)
    betas: tuple[float, float] = (0.9, 0.999)
    gradient_clip: float = Field(0.0, ge=0)
    dropout: float = Field(0.0, ge=0, lt=1)
    layer_decay: float = Field(1.0, gt=0, le=1)
    drop_path: float = Field(0.0, ge=0, lt=1)
    weight_average: float = Field(0.0, ge=0, lt=1)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    amplitude_jitter: float = Field(0.0, ge=0, le=0.2)
    baseline_wander: float = Field(0.0, ge=0, le=5)
    lead_dropout: float = Field(0.0, ge=0, lt=1)
    lead_sets: tuple[str, ...] = ()
    lead_set_share: float = Field(0.5, gt=0, lt=1)
    validate_every: int = Field(100, ge=1)
    patience: int = Field(ge=1)
    random_crops: bool = False

    @field_validator("lead_sets")
    @classmethod
    def _sets_differ(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        """Give every set the one name that it has in a model folder."""
        found = tuple(name_of_set(leads_of_set(name)) for name in names)
        if doubled := next((name for name in found if found.count(name) > 1), None):
            raise ValueError(f"{doubled} comes more than once")
        return found


# Paper, section 4.3: the configurations "linear", "finetune_after_linear" and "finetune".
PROTOCOLS = {
    "attentive": ProtocolConfig(
        head="attentive",
        steps=5000,
        learning_rate=1e-3,
        final_learning_rate=1e-3,
        weight_decay=0.1,
        gradient_clip=1.0,
        patience=5000,
    ),
    "finetune-after-probe": ProtocolConfig(
        head="attentive",
        steps=5000,
        learning_rate=1e-4,
        final_learning_rate=1e-6,
        warmup_steps=200,
        weight_decay=0.0,
        gradient_clip=1.0,
        dropout=0.1,
        patience=2000,
    ),
    "finetune": ProtocolConfig(
        head="register",
        steps=10_000,
        learning_rate=1e-3,
        final_learning_rate=1e-5,
        warmup_steps=200,
        weight_decay=0.01,
        betas=(0.9, 0.99),
        dropout=0.05,
        patience=2000,
    ),
    # For a residual network from scratch: not the paper's. The learning rate was chosen on a
    # validation fold (docs/log.md, "tuning what JEPA is compared with"). ``head`` is not used.
    "supervised": ProtocolConfig(
        head="register",
        steps=3000,
        learning_rate=3e-3,
        final_learning_rate=1e-5,
        warmup_steps=300,
        weight_decay=0.05,
        patience=1500,
    ),
}

# What is for the training of a whole network only.
_FROZEN = "the encoder is frozen; it is for finetune, finetune-after-probe, scratch and supervised"
_OF_WHOLE_NETWORKS = ("drop_path", "amplitude_jitter", "baseline_wander", "lead_dropout")
_CROPS = "the encoder is trained on random crops in any case; the setting is for attentive"
# What a protocol cannot follow: the only value that it does, if there is one, and why.
_FIXED: dict[str, dict[str, tuple[object, str]]] = {
    "attentive": {
        "head": ("attentive", "this protocol has no other head; protocol linear has one"),
        "dropout": (0.0, "the encoder is frozen and the head has none; it is for finetune"),
        "layer_decay": (
            1.0,
            "the encoder is frozen and the head has no layers; it is for finetune and "
            "finetune-after-probe",
        ),
        **dict.fromkeys(_OF_WHOLE_NETWORKS, (0.0, _FROZEN)),
        "lead_sets": ((), _FROZEN),
    },
    "finetune-after-probe": {"random_crops": (None, _CROPS)},
    "finetune": {"random_crops": (None, _CROPS)},
    "supervised": {
        "head": (None, "a residual network has a head of its own"),
        "dropout": (0.0, "the residual networks have none"),
        "layer_decay": (1.0, "it tells apart the layers of a Vision Transformer only"),
        "random_crops": (
            None,
            "the network is trained on random crops in any case; the setting is for attentive",
        ),
    },
}
# How long, in which batches, and against overfitting: what a rival from scratch has in common with
# any fine-tuning.
_SHARED_WITH_RIVAL = (
    *("steps", "batch_size", "validate_every", "patience"),
    *(*_OF_WHOLE_NETWORKS, "lead_sets", "lead_set_share", "weight_average", "label_smoothing"),
)


def check_protocol(name: str, expected: Sequence[str]) -> None:
    """Raise `ConfigError` if a protocol is not one of those expected."""
    if name not in expected:
        raise ConfigError(f"unknown protocol {name!r}: expected one of {', '.join(expected)}")


def load_protocol(name: str, overrides: Sequence[str] = ()) -> ProtocolConfig:
    """Return a protocol with ``key=value`` overrides applied.

    Raises:
        ConfigError: If the name, a key or a value is wrong, or the protocol cannot follow it.
    """
    check_protocol(name, tuple(PROTOCOLS))
    given = _parse(overrides)
    content = PROTOCOLS[name].model_dump() | given
    try:
        protocol = ProtocolConfig.model_validate(content)
    except ValidationError as error:
        raise ConfigError(describe_validation_error(error, f"protocol {name}")) from None
    for key, (followed, why) in _FIXED[name].items():
        if key in given and getattr(protocol, key) != followed:
            raise ConfigError(f"protocol {name}: {key} is {getattr(protocol, key)}, but {why}")
    return protocol


def load_settings(name: str, overrides: Sequence[str] = ()) -> ProtocolConfig | None:
    """Return the settings of any protocol; None of ``linear`` and ``knn``, which have none.

    ``scratch`` is ``finetune`` of an untrained encoder, and has its settings.

    Raises:
        ConfigError: As `load_protocol`, or if a protocol without settings is given some.
    """
    if name not in WITHOUT_SETTINGS:
        return load_protocol("finetune" if name == "scratch" else name, overrides)
    if overrides:
        raise ConfigError(
            f"protocol {name} has no settings; found {', '.join(overrides)}. Leave --set out, or "
            "use protocol attentive"
        )
    return None


def load_rival(name: str, overrides: Sequence[str] = (), *, num_registers: int) -> ProtocolConfig:
    """Return the settings of protocol ``finetune`` for the same encoder trained from scratch.

    For ``finetune`` they are the same in everything. ``finetune-after-probe`` has a learning
    rate and a weight decay for an encoder that is good already, and begins with a trained head; its
    rival has those of ``finetune``, in as many steps and in the same batches, with a warm-up of at
    most a tenth of the steps and the head of ``finetune`` unless ``warmup_steps`` and ``head`` are
    among the overrides.

    Args:
        name: Protocol of the fine-tuned encoder.
        overrides: ``key=value`` items of that protocol.
        num_registers: Register tokens of the encoder; without any, the rival's head is attentive if
            the overrides name none.

    Raises:
        ConfigError: If the name, a key or a value is wrong.
    """
    beside = load_protocol(name, overrides)
    if name == "finetune":
        return beside
    own = PROTOCOLS["finetune"]
    shared = {key: getattr(beside, key) for key in _SHARED_WITH_RIVAL}
    given = _parse(overrides)
    shared["warmup_steps"] = (
        beside.warmup_steps
        if "warmup_steps" in given
        else min(own.warmup_steps, beside.steps // 10)
    )
    usual = own.head if num_registers else "attentive"
    return own.model_copy(update={**shared, "head": beside.head if "head" in given else usual})


def _unknown(key: str) -> str:
    """Return that a protocol has no such setting, and which may be meant."""
    known = ProtocolConfig.model_fields
    meant = did_you_mean(key.rpartition(".")[2], known)
    return f"{key[:80]}: no such key{meant or ';'} Keys are {', '.join(known)}"


def split_overrides(overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the items of a fine-tuning, and those of the probe before it without ``probe.``."""
    prefix = "probe."
    return (
        [item for item in overrides if not item.startswith(prefix)],
        [item.removeprefix(prefix) for item in overrides if item.startswith(prefix)],
    )


def _parse(overrides: Sequence[str]) -> dict[str, Any]:
    """Return ``key=value`` items as keys and values."""
    content = {}
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator:
            raise ConfigError(f"--set {override!r}: expected key=value, e.g. steps=500")
        if key.strip() not in ProtocolConfig.model_fields:
            raise ConfigError(f"--set {short_repr(override)}: {_unknown(key.strip())}")
        content[key.strip()] = parse_yaml(text, source=f"--set {key.strip()}")
    return content
