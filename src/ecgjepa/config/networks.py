"""What one training example is, and the networks that see it."""

import re
from typing import Any, Literal

from pydantic import Field, NonNegativeFloat, field_validator, model_validator

from ecgjepa.config.section import Section

# Far above what any ECG or network of this field has. What exceeds a limit is an error or an
# attack, and would only be noticed after it has taken all memory.
LEAST_HERTZ, MOST_HERTZ = 25.0, 50_000.0
MOST_LEADS = 64
MOST_WINDOW_SECONDS = 3600.0
MOST_WINDOW_SAMPLES = 1_000_000
# How state-space layers compute: the network and its costs must agree. Above this number of steps a
# Fourier transform is faster than a matrix product, below it is slower (benchmarks/state_space.py).
LONGEST_PRODUCT = 320
# Steps whose powers are computed one by one; the powers of whole blocks of steps are multiplied on.
KERNEL_BLOCK = 16
# Samples, or tokens, that a convolution of an xresnet sees at once.
CONVOLUTION_KERNEL = 5
_MOST_WIDTH = 16_384
# Before the name of an architecture that is not of this package.
OWN_PREFIX = "own:"
_OWN = re.compile(rf"{OWN_PREFIX}[\w.:-]{{1,96}}")
_ARCHITECTURES = ("vit", "s4d", "xresnet")
_MOST_BLOCKS = 512


def check_width(dim: int, num_heads: int) -> None:
    """Refuse a width that heads or position embeddings cannot share evenly."""
    if dim % num_heads:
        raise ValueError(f"dim {dim} is not a multiple of num_heads {num_heads}")
    if dim % 2:
        raise ValueError(f"dim {dim} is odd; position embeddings pair sines with cosines")


def check_rotary(dim: int, num_heads: int) -> None:
    """Refuse heads whose width cannot be turned in pairs."""
    if dim // num_heads % 2:
        raise ValueError(
            f"positions rotary turn pairs of numbers: the {dim // num_heads} of each head (dim "
            f"{dim}, num_heads {num_heads}) must be even"
        )


def _divisors(number: int) -> list[int]:
    return [divisor for divisor in range(1, number + 1) if number % divisor == 0]


class DataConfig(Section):
    """What one training example is.

    Attributes:
        sampling_rate (Hz): Rate of the store that is read.
        leads: Leads of the store, in order.
        window_seconds (s): Length of the random crop.
        clip (standard deviations): Normalised amplitudes are cut at plus and minus this.
        normalisation: Constants that scale the leads of each database: ``store`` for those of its
            training records, ``paper`` for the published ones (docs/decisions/0014).
        weights: Sampling weight of each database; empty means in proportion to its records.
        sampling: How records of a database are drawn: ``with-replacement``, as in the paper, or by
            ``shuffle``, each once before any comes again (docs/decisions/0012).
        resident: Whether all samples are held in the memory of the device: yes, no, or
            ``auto``, on a GPU with room for them. It changes nothing in the batches.
    """

    sampling_rate: float = Field(ge=LEAST_HERTZ, le=MOST_HERTZ)
    leads: tuple[str, ...] = Field(min_length=1, max_length=MOST_LEADS)
    window_seconds: float = Field(gt=0, le=MOST_WINDOW_SECONDS)
    clip: float = Field(5.0, gt=0)
    normalisation: Literal["store", "paper"] = "store"
    weights: dict[str, NonNegativeFloat] = Field(default_factory=dict)
    sampling: Literal["with-replacement", "shuffle"] = "with-replacement"
    resident: bool | Literal["auto"] = "auto"

    @model_validator(mode="after")
    def _bounded(self) -> "DataConfig":
        if self.window_samples > MOST_WINDOW_SAMPLES:
            raise ValueError(
                f"a window of {self.window_seconds} s at {self.sampling_rate} Hz has "
                f"{self.window_samples:,} samples; expected {MOST_WINDOW_SAMPLES:,} at most"
            )
        return self

    @property
    def window_samples(self) -> int:
        """Length of the crop in samples."""
        return round(self.window_seconds * self.sampling_rate)


class MaskConfig(Section):
    """How much of a record the context encoder sees.

    Attributes:
        min_keep_ratio (share): Least share of patches that stay visible; a mask ratio is 1 minus
            the keep ratio.
        max_keep_ratio (share): Greatest share of patches that stay visible.
        min_block_size (patches): Least number of consecutive patches masked together.
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
                f"min_keep_ratio {self.min_keep_ratio} exceeds max_keep_ratio "
                f"{self.max_keep_ratio}; set both, and remember that a mask ratio is 1 minus the "
                "keep ratio"
            )
        return self


class EncoderConfig(Section):
    """The network over time patches.

    Attributes:
        architecture: ``vit`` is the paper's Vision Transformer. ``s4d`` is a stack of diagonal
            state-space layers (docs/decisions/0034), ``xresnet`` one of residual convolutions
            (docs/decisions/0039): they have no registers and no positions, and see a learned token
            in place of each hidden patch, so that hidden patches cost as much as visible ones.
            ``own:CLASS`` is a class of the user's own (docs/your-encoder.md).
        stem: How a patch becomes a token: ``linear`` (one linear map, the paper) or
            ``convolutional`` (three strided convolutions over each patch alone, with GELU between;
            docs/decisions/0039).
        num_leads: Leads of the input; one patch spans all of them, unless ``lead_patches``.
        patch_size (samples): Length of a patch.
        dim: Width of the encoder.
        depth: Number of blocks of the encoder.
        num_heads: Attention heads of a block of a ``vit``, and of the attentive head of any
            encoder; they share the width evenly.
        mlp_ratio: Width of the MLP relative to ``dim``, in a ``vit``, predictor and decoder.
        state_dim: Complex states of each channel and direction of an ``s4d``.
        causal: Whether the features of an ``s4d`` depend on the past and present alone.
        num_registers: Learned tokens without a position, put before the patches; of a ``vit``.
        norm_eps: Epsilon of the layer norms.
        positions: How tokens know their place in time, here and in the predictor: ``sinusoidal``
            (fixed, added; the paper), ``learned`` (a table, added) or ``rotary`` (queries and keys
            are turned by it in every block). See docs/decisions/0022.
        num_positions: Rows of the learned table, those of a training window; filled in.
        lead_patches: A token is one lead's stretch of ``patch_size`` samples, not all leads'.
    """

    architecture: str = "vit"
    stem: Literal["linear", "convolutional"] = "linear"
    num_leads: int = Field(12, ge=1, le=MOST_LEADS)
    patch_size: int = Field(25, ge=1, le=10_000)
    dim: int = Field(ge=2, le=_MOST_WIDTH)
    depth: int = Field(ge=1, le=_MOST_BLOCKS)
    num_heads: int = Field(ge=1, le=_MOST_WIDTH)
    mlp_ratio: float = Field(4.0, gt=0, le=64)
    state_dim: int = Field(32, ge=1, le=1024)
    causal: bool = False
    num_registers: int = Field(1, ge=0, le=1024)
    norm_eps: float = Field(1e-6, gt=0, le=0.1)
    positions: Literal["sinusoidal", "learned", "rotary"] = "sinusoidal"
    num_positions: int = Field(0, ge=0, le=MOST_WINDOW_SAMPLES)
    lead_patches: bool = False

    @field_validator("architecture")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name not in _ARCHITECTURES and not _OWN.fullmatch(name):
            raise ValueError(
                f"expected {', '.join(_ARCHITECTURES)}, or {OWN_PREFIX}CLASS for a class of your "
                "own"
            )
        return name

    @model_validator(mode="before")
    @classmethod
    def _no_registers_to_fill_in(cls, given: Any) -> Any:  # noqa: ANN401
        if isinstance(given, dict) and given.get("architecture", "vit") != "vit":
            return {"num_registers": 0, **given}
        return given

    @model_validator(mode="after")
    def _suits_architecture(self) -> "EncoderConfig":
        if self.is_own:
            return self
        if self.causal and self.architecture != "s4d":
            raise ValueError(
                f"causal is for architecture s4d; {self.architecture} sees the future, too"
            )
        if self.stem != "linear" and self.lead_patches:
            raise ValueError("stem convolutional spans all leads, so lead_patches must be false")
        if self.architecture == "vit":
            return self
        for name, found, expected in (
            ("num_registers", self.num_registers, 0),
            ("lead_patches", self.lead_patches, False),
            ("positions", self.positions, "sinusoidal"),
        ):
            if found != expected:
                raise ValueError(
                    f"{name} is {found}, which architecture {self.architecture} cannot have: "
                    f"expected {expected}"
                )
        return self

    @model_validator(mode="after")
    def _divisible(self) -> "EncoderConfig":
        if not self.is_own:
            check_width(self.dim, self.num_heads)
        if self.positions == "rotary":
            check_rotary(self.dim, self.num_heads)
        if self.num_positions and self.positions != "learned":
            raise ValueError(
                f"num_positions {self.num_positions} is for positions learned, not {self.positions}"
            )
        return self

    @property
    def is_own(self) -> bool:
        """Whether the network is code of the user's own, which no file of this package names."""
        return self.architecture.startswith(OWN_PREFIX)

    @property
    def title(self) -> str:
        """Name of the architecture for people, as at the beginning of a line."""
        if self.architecture == "s4d":
            return f"{'Causal' if self.causal else 'Bidirectional'} state-space layers (S4D)"
        if self.architecture == "xresnet":
            return "Residual convolutions"
        if self.is_own:
            return f"Network of its author's own ({self.architecture})"
        return f"Vision Transformer, {self.num_heads} heads"

    @property
    def stem_strides(self) -> tuple[int, int, int]:
        """Strides of a convolutional stem, the largest first: as alike as their product allows."""
        size = self.patch_size
        return min(
            (first, second, size // (first * second))
            for first in _divisors(size)
            for second in _divisors(size // first)
            if first >= second >= size // (first * second)
        )

    @property
    def num_directions(self) -> int:
        """Directions in time of an ``s4d``: forward, and backward unless it is causal."""
        return 1 if self.causal else 2

    @property
    def tokens_per_patch(self) -> int:
        """Tokens that begin at the same time: one, or one per lead."""
        return self.num_leads if self.lead_patches else 1


class PredictorConfig(Section):
    """The narrow transformer that predicts masked features; the rest follows the encoder.

    Attributes:
        dim: Width of the predictor.
        depth: Number of blocks of the predictor.
        num_heads: Attention heads of a block; they share the width evenly.
    """

    dim: int = Field(ge=2, le=_MOST_WIDTH)
    depth: int = Field(ge=1, le=_MOST_BLOCKS)
    num_heads: int = Field(ge=1, le=_MOST_WIDTH)

    @model_validator(mode="after")
    def _divisible(self) -> "PredictorConfig":
        check_width(self.dim, self.num_heads)
        return self
