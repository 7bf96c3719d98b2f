"""Frozen configuration models, the presets, and ``--set section.key=value``.

A run is described by its objective and sections of settings. `load_preset` reads one by name or
from a YAML file; the resolved whole is saved beside every run, so that a model is rebuilt from its
own files alone.
"""

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ecgjepa.errors import ConfigError

Loss = Literal["l1", "smooth-l1", "l2"]
ObjectiveName = Literal["jepa", "simclr", "byol", "mae"]

_PAPER_SIZES = ("xs", "s", "b")
_PAPER_DATA = ("ptbxl", "mimic", "all")


class Section(BaseModel):
    """Base of all configuration models: immutable, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _check_width(dim: int, num_heads: int) -> None:
    if dim % num_heads:
        raise ValueError(f"dim {dim} is not a multiple of num_heads {num_heads}")
    if dim % 2:
        raise ValueError(f"dim {dim} is odd; position embeddings pair sines with cosines")


def _check_rotary(dim: int, num_heads: int) -> None:
    if dim // num_heads % 2:
        raise ValueError(
            f"positions rotary turn pairs of numbers: the {dim // num_heads} of each head (dim "
            f"{dim}, num_heads {num_heads}) must be even"
        )


class DataConfig(Section):
    """What one training example is.

    Attributes:
        sampling_rate: Rate in Hz of the store that is read.
        leads: Leads of the store, in order.
        window_seconds: Length of the random crop.
        clip: Normalised amplitudes are cut to plus or minus this many standard deviations.
        normalisation: Constants that scale the leads of each database: ``store`` for those of its
            training records, ``paper`` for the published ones (docs/decisions/0014).
        weights: Sampling weight of each database; empty means in proportion to its records.
        sampling: How records of a database are drawn: ``with-replacement``, as in the paper, or by
            ``shuffle``, each once before any comes again (docs/decisions/0012).
        resident: Whether all samples are held in the memory of the device: yes, no, or
            ``auto``, on a GPU with room for them. It changes nothing in the batches.
    """

    sampling_rate: float = Field(gt=0)
    leads: tuple[str, ...] = Field(min_length=1)
    window_seconds: float = Field(gt=0)
    clip: float = Field(5.0, gt=0)
    normalisation: Literal["store", "paper"] = "store"
    weights: dict[str, float] = Field(default_factory=dict)
    sampling: Literal["with-replacement", "shuffle"] = "with-replacement"
    resident: bool | Literal["auto"] = "auto"

    @property
    def window_samples(self) -> int:
        """Length of the crop in samples."""
        return round(self.window_seconds * self.sampling_rate)


class MaskConfig(Section):
    """How much of a record the context encoder sees.

    Attributes:
        min_keep_ratio: Least share of patches that stay visible.
        max_keep_ratio: Greatest share of patches that stay visible.
        min_block_size: Least number of consecutive patches masked together.
        sampler: ``paper``, which masks the middle of a window more often than its ends, or
            ``uniform``, which masks every position equally often (docs/decisions/0023).
    """

    min_keep_ratio: float = Field(0.15, gt=0, lt=1)
    max_keep_ratio: float = Field(0.25, gt=0, lt=1)
    min_block_size: int = Field(10, ge=1)
    sampler: Literal["paper", "uniform"] = "paper"

    @model_validator(mode="after")
    def _ordered(self) -> "MaskConfig":
        if self.min_keep_ratio > self.max_keep_ratio:
            raise ValueError(
                f"min_keep_ratio {self.min_keep_ratio} exceeds max_keep_ratio {self.max_keep_ratio}"
            )
        return self


class EncoderConfig(Section):
    """The Vision Transformer over time patches.

    Attributes:
        num_leads: Leads of the input; one patch spans all of them, unless ``lead_patches``.
        patch_size: Samples per patch.
        dim: Width.
        depth: Number of blocks.
        num_heads: Attention heads.
        mlp_ratio: Width of the MLP relative to ``dim``.
        num_registers: Learned tokens without a position, put before the patches.
        norm_eps: Epsilon of the layer norms.
        positions: How tokens know their place in time, here and in the predictor: ``sinusoidal``
            (fixed, added; the paper), ``learned`` (a table, added) or ``rotary`` (queries and keys
            are turned by it in every block). See docs/decisions/0022.
        num_positions: Rows of the learned table, those of a training window; filled in.
        lead_patches: A token is one lead's stretch of ``patch_size`` samples, not all leads'.
    """

    num_leads: int = Field(12, ge=1)
    patch_size: int = Field(25, ge=1)
    dim: int = Field(ge=2)
    depth: int = Field(ge=1)
    num_heads: int = Field(ge=1)
    mlp_ratio: float = Field(4.0, gt=0)
    num_registers: int = Field(1, ge=0)
    norm_eps: float = Field(1e-6, gt=0)
    positions: Literal["sinusoidal", "learned", "rotary"] = "sinusoidal"
    num_positions: int = Field(0, ge=0)
    lead_patches: bool = False

    @model_validator(mode="after")
    def _divisible(self) -> "EncoderConfig":
        _check_width(self.dim, self.num_heads)
        if self.positions == "rotary":
            _check_rotary(self.dim, self.num_heads)
        if self.num_positions and self.positions != "learned":
            raise ValueError(
                f"num_positions {self.num_positions} is for positions learned, not {self.positions}"
            )
        return self

    @property
    def tokens_per_patch(self) -> int:
        """Tokens that begin at the same time: one, or one per lead."""
        return self.num_leads if self.lead_patches else 1


class PredictorConfig(Section):
    """The narrow transformer that predicts masked features; the rest follows the encoder."""

    dim: int = Field(ge=2)
    depth: int = Field(ge=1)
    num_heads: int = Field(ge=1)

    @model_validator(mode="after")
    def _divisible(self) -> "PredictorConfig":
        _check_width(self.dim, self.num_heads)
        return self


class AugmentConfig(Section):
    """How the two views of a record differ, for the invariance-based objectives.

    Attributes:
        min_crop: Least share of the window that a view shows, stretched to the whole window; 1 for
            none. The share is uniform up to 1, as in Mehari & Strodthoff
            (https://arxiv.org/abs/2103.12676).
        max_time_mask: Greatest share of the window that is set to 0, uniform from 0.
        noise: Greatest standard deviation of white noise, in standard deviations of the signal.
        max_scale: A view's amplitudes are multiplied by a factor between this and its inverse.
        lead_mask: Probability that a lead is set to 0; one lead always stays.
    """

    min_crop: float = Field(0.5, gt=0, le=1)
    max_time_mask: float = Field(0.5, ge=0, lt=1)
    noise: float = Field(0.1, ge=0)
    max_scale: float = Field(1.5, ge=1)
    lead_mask: float = Field(0.2, ge=0, lt=1)


class SimclrConfig(Section):
    """SimCLR's projection head and loss (https://arxiv.org/abs/2002.05709)."""

    temperature: float = Field(0.1, gt=0)
    hidden_dim: int = Field(256, ge=1)
    projection_dim: int = Field(128, ge=1)


class ByolConfig(Section):
    """BYOL's projector and predictor (https://arxiv.org/abs/2006.07733); momentum is in train."""

    hidden_dim: int = Field(256, ge=1)
    projection_dim: int = Field(128, ge=1)


class MaeConfig(Section):
    """The masked autoencoder (https://arxiv.org/abs/2111.06377).

    Attributes:
        masking: ``time`` hides patches of all leads, which the encoder skips; ``lead-time`` hides
            patches of single leads, which the encoder sees as 0 (docs/decisions/0027).
        mask_ratio: Share that is hidden.
        normalise_targets: Reconstruct each patch scaled to its own mean and deviation.
        decoder_dim: Width of the decoder.
        decoder_depth: Its blocks.
        decoder_heads: Its attention heads.
    """

    masking: Literal["time", "lead-time"] = "time"
    mask_ratio: float = Field(0.75, gt=0, lt=1)
    normalise_targets: bool = True
    decoder_dim: int = Field(48, ge=2)
    decoder_depth: int = Field(2, ge=1)
    decoder_heads: int = Field(4, ge=1)

    @model_validator(mode="after")
    def _divisible(self) -> "MaeConfig":
        _check_width(self.decoder_dim, self.decoder_heads)
        return self

    @property
    def decoder(self) -> PredictorConfig:
        """The decoder has the predictor's architecture."""
        return PredictorConfig(
            dim=self.decoder_dim, depth=self.decoder_depth, num_heads=self.decoder_heads
        )


class TrainConfig(Section):
    """Optimisation.

    Attributes:
        steps: Optimizer steps.
        batch_size: Records per optimizer step.
        gradient_accumulation_steps: Equal parts a batch is computed in.
        learning_rate: Peak, reached after ``warmup_steps``.
        warmup_learning_rate: Start of the linear warm-up.
        final_learning_rate: End of the cosine decay.
        warmup_steps: Steps of linear warm-up.
        weight_decay: Start of its cosine schedule (weights of linear and convolution layers).
        final_weight_decay: End of it.
        momentum: Start of the linear schedule of the target encoder's EMA coefficient.
        final_momentum: End of it.
        betas: AdamW.
        eps: AdamW.
        gradient_clip: Greatest gradient norm; 0 for none.
        normalise_targets: Layer norm without parameters on the targets, as in I-JEPA; the paper
            does without.
        loss: Of the predicted features: ``l1`` (mean absolute error, the paper), ``smooth-l1``
            (squared below an error of 1) or ``l2`` (mean squared error).
        lead_dropout: Probability with which each lead is hidden from the context encoder; needs
            ``encoder.lead_patches``. At least one lead always stays.
        precision: ``auto`` is bfloat16 autocast where the hardware computes in it, else float32.
        compile: Compile the networks with `torch.compile` before the first step.
        seed: Of weights, data order and masks.
        stop_on_collapse: End the run with an error when the collapse monitor's alarm persists.
        log_every: Steps between lines of ``metrics.jsonl``.
        checkpoint_every: Steps between checkpoints.
        keep_checkpoints: How many of the latest checkpoints stay on disk; 0 keeps all.
        milestone_every: Checkpoints at multiples of this stay for ever; 0 for none.
        trackers: Writers of the metrics beside ``metrics.jsonl``: ``tensorboard``, ``wandb``.
    """

    steps: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    gradient_accumulation_steps: int = Field(1, ge=1)
    learning_rate: float = Field(gt=0)
    warmup_learning_rate: float = Field(1e-6, ge=0)
    final_learning_rate: float = Field(1e-6, ge=0)
    warmup_steps: int = Field(ge=0)
    weight_decay: float = Field(0.01, ge=0)
    final_weight_decay: float = Field(0.1, ge=0)
    momentum: float = Field(ge=0, le=1)
    final_momentum: float = Field(ge=0, le=1)
    betas: tuple[float, float] = (0.9, 0.99)
    eps: float = Field(1e-6, gt=0)
    gradient_clip: float = Field(0.0, ge=0)
    normalise_targets: bool = False
    loss: Loss = "l1"
    lead_dropout: float = Field(0.0, ge=0, lt=1)
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    compile: bool = False
    seed: int = Field(0, ge=0)
    stop_on_collapse: bool = False
    log_every: int = Field(100, ge=1)
    checkpoint_every: int = Field(10_000, ge=1)
    keep_checkpoints: int = Field(0, ge=0)
    milestone_every: int = Field(0, ge=0)
    trackers: tuple[Literal["tensorboard", "wandb"], ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> "TrainConfig":
        if self.batch_size % self.gradient_accumulation_steps:
            raise ValueError(
                f"batch_size {self.batch_size} is not a multiple of "
                f"gradient_accumulation_steps {self.gradient_accumulation_steps}"
            )
        if self.warmup_steps >= self.steps:
            raise ValueError(f"warmup_steps {self.warmup_steps} must be below steps {self.steps}")
        if self.milestone_every % self.checkpoint_every:
            raise ValueError(
                f"milestone_every {self.milestone_every} is not a multiple of checkpoint_every "
                f"{self.checkpoint_every}: there would be no checkpoint to keep"
            )
        return self


class OnlineProbeConfig(Section):
    """The frozen probe that follows a run, if labelled records are given to it.

    Attributes:
        every: Steps between probes; the last step is always probed.
    """

    every: int = Field(1000, ge=1)


class PretrainConfig(Section):
    """A whole pre-training run.

    ``mask`` and ``predictor`` are JEPA's, ``augment`` is SimCLR's and BYOL's, ``simclr``, ``byol``
    and ``mae`` are what their names say; the objective decides which of them are used.
    """

    objective: ObjectiveName = "jepa"
    data: DataConfig
    mask: MaskConfig = MaskConfig()
    encoder: EncoderConfig
    predictor: PredictorConfig
    train: TrainConfig
    probe: OnlineProbeConfig = OnlineProbeConfig()
    augment: AugmentConfig = AugmentConfig()
    simclr: SimclrConfig = SimclrConfig()
    byol: ByolConfig = ByolConfig()
    mae: MaeConfig = MaeConfig()

    @model_validator(mode="after")
    def _consistent(self) -> "PretrainConfig":
        part = self.train.batch_size // self.train.gradient_accumulation_steps
        if self.compares_views and part < 2:
            raise ValueError(
                f"objective {self.objective} compares the records of a batch (or of a part, with "
                f"gradient accumulation), so it needs at least 2; found {part}"
            )
        if len(self.data.leads) != self.encoder.num_leads:
            raise ValueError(
                f"encoder.num_leads is {self.encoder.num_leads} but data.leads names "
                f"{len(self.data.leads)}"
            )
        if self.data.window_samples % self.encoder.patch_size:
            raise ValueError(
                f"a window of {self.data.window_seconds} s at {self.data.sampling_rate} Hz has "
                f"{self.data.window_samples} samples, which patches of "
                f"{self.encoder.patch_size} samples do not fill evenly"
            )
        if self.objective != "jepa" and (
            self.encoder.lead_patches or self.encoder.positions != "sinusoidal"
        ):
            raise ValueError(
                f"objective {self.objective} with encoder.lead_patches or other "
                "encoder.positions than sinusoidal: these choices are for jepa only"
            )
        if self.encoder.positions == "rotary":
            _check_rotary(self.predictor.dim, self.predictor.num_heads)
        if self.encoder.num_positions not in (0, self.num_patches):
            raise ValueError(
                f"encoder.num_positions is {self.encoder.num_positions}, but a window has "
                f"{self.num_patches} patches; leave it out, and it is filled in"
            )
        if self.train.lead_dropout and not self.encoder.lead_patches:
            raise ValueError(
                f"train.lead_dropout is {self.train.lead_dropout}, but a patch spans all leads; "
                "it needs encoder.lead_patches=true"
            )
        return self

    @property
    def num_patches(self) -> int:
        """Patches per training window."""
        return self.data.window_samples // self.encoder.patch_size

    @property
    def num_tokens(self) -> int:
        """Tokens per training window, registers aside."""
        return self.num_patches * self.encoder.tokens_per_patch

    @property
    def num_maskable(self) -> int:
        """What a masked autoencoder chooses from: patches, or patches of single leads."""
        per_lead = self.mae.masking == "lead-time"
        return self.num_patches * (self.encoder.num_leads if per_lead else 1)

    @property
    def compares_views(self) -> bool:
        """Whether the objective compares two augmented views of each record."""
        return self.objective in ("simclr", "byol")


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


def describe_validation_error(error: ValidationError, source: str) -> str:
    """Return pydantic's findings as one line per key, without its links."""
    lines = []
    for item in error.errors(include_url=False):
        key = ".".join(str(part) for part in item["loc"]) or "(whole)"
        found = "" if item["type"] == "missing" else f", found {item['input']!r}"
        if item["type"] == "extra_forbidden":
            lines.append(f"{key}: no such key{found}")
        else:
            lines.append(
                f"{key}: {item['msg'].removeprefix('Value error, ')}"
                + (found if not isinstance(item["input"], dict) else "")
            )
    return f"{source}: " + "; ".join(lines)


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
