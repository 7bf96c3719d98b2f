"""The computation that an ONNX file holds: a whole record in, its answer out.

It is what `ecgjepa.predict` and `ecgjepa.embed` do after a record was prepared: rounding to 1 µV,
normalisation, windows, encoder, head, mean over the windows, calibration, distance. All of it is
written in operations that the exporter of PyTorch can follow with any number of records and
samples; what of the networks it cannot follow is replaced by `with_fixed_kernels`.
"""

import copy
import math
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Num
from torch import Tensor, nn

from ecgjepa.exporting.fixed_kernels import with_fixed_kernels
from ecgjepa.inference.windows import window_size
from ecgjepa.model.distribution import FeatureDistribution
from ecgjepa.model.encoders.encoder import Encoder
from ecgjepa.model.folder import ModelConfig
from ecgjepa.model.heads import Classifier, Reading, outputs_of_layers, patch_means
from ecgjepa.signals.acceptance import MIN_USABLE_LEADS
from ecgjepa.signals.quality import MAX_INVALID_SHARE

# Of the input: float32 millivolt with NaN for "no sample", or int16 microvolt with -32768 for it.
Unit = Literal["mV", "uV"]
UNITS: tuple[Unit, ...] = ("mV", "uV")
_LARGEST = 32_767  # µV, of 16 bits
_ROUNDING = 1e-6  # of a share
# Bounds of a logit in `ecgjepa.model.outputs.logits_of`, which calibration starts from.
_LEAST_LOGIT = math.log(1e-38)
_GREATEST_LOGIT = math.log(1 - 2.0**-53) - math.log(2.0**-53)

Signal = Num[Tensor, "records samples leads"]


class Example(NamedTuple):
    """Size of a model's windows, and the example that its graph is traced with.

    Attributes:
        size: Samples of a window.
        stride: Samples from one window to the next.
    """

    size: int
    stride: int

    def samples(self, windows: int) -> int:
        """Return how many samples have so many windows."""
        return self.size + (windows - 1) * self.stride


class RecordGraph(nn.Module):
    """Records of equal length in, one row for each of them out; see `names` for the outputs.

    Args:
        model: Encoder or classifier, in evaluation mode. It is copied.
        config: What its folder says.
        distribution: Distribution of the training records' features, if the folder has one.
        unit: Unit of the input.
    """

    def __init__(
        self,
        model: Encoder | Classifier,
        config: ModelConfig,
        distribution: FeatureDistribution | None,
        unit: Unit,
    ) -> None:
        super().__init__()
        self.example = Example(*window_size(config))
        self.unit, self.task = unit, config.task
        normaliser = config.normalisation.build()
        self.clip = normaliser.clip
        self.mean, self.scale = _constants(normaliser.mean, normaliser.scale)
        shape = (1, config.encoder.num_leads, self.example.size)
        fixed = with_fixed_kernels(copy.deepcopy(model).eval(), torch.zeros(shape))
        self.encoder = fixed.encoder if isinstance(fixed, Classifier) else fixed
        self.head = fixed.head if isinstance(fixed, Classifier) else None
        self.reading = fixed.reading if isinstance(fixed, Classifier) else Reading()
        self.answer = _answer_of(config) if self.head is not None else None
        self.distance = None
        if self.head is not None and distribution is not None:
            self.distance = _Distance(distribution)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the outputs, in their order."""
        if self.task is None or self.head is None:
            return ("features",)
        first = "values" if self.task.kind == "regression" else "probabilities"
        return (first, "logits", "features") + (() if self.distance is None else ("distance",))

    def forward(self, signal: Signal) -> tuple[Tensor, ...]:
        """Return the outputs, a row for each record."""
        normalised, is_valid = self._normalised(signal)
        tokens, last = self._tokens(self._windows(normalised))
        is_usable = _are_usable(is_valid)
        features = _mean_of_windows(patch_means(self.encoder, last), signal)
        shown = torch.where(is_usable, features, torch.nan)
        if self.head is None or self.answer is None:
            return (shown,)
        logits = _mean_of_windows(self.head(tokens), signal)
        found = (torch.where(is_usable, self.answer(logits), torch.nan), logits, shown)
        if self.distance is None:
            return found
        read = features
        if last is not tokens:
            read = _mean_of_windows(patch_means(self.encoder, tokens), signal)
        return (*found, torch.where(is_usable.squeeze(1), self.distance(read), torch.nan))

    def _normalised(
        self, signal: Signal
    ) -> tuple[Float[Tensor, "records samples leads"], Bool[Tensor, "records samples leads"]]:
        """Return what `ecgjepa.model.normalisation.Normaliser` gives of the stored integers.

        With it comes which samples are valid; the others are 0. The runtimes have neither
        comparisons nor choices of 16-bit integers, so these are floats.
        """
        microvolt = signal.to(torch.float32) if self.unit == "uV" else torch.round(signal * 1000)
        normalised = ((microvolt - self.mean) / self.scale).clamp(-self.clip, self.clip)
        # False of NaN, too. Of integers, only the marker of an invalid sample is larger.
        is_valid = microvolt.abs() <= _LARGEST
        return torch.where(is_valid, normalised, 0.0), is_valid

    def _windows(
        self, normalised: Float[Tensor, "records samples leads"]
    ) -> Float[Tensor, "windows leads size"]:
        """Return all windows of the first record, then those of the next; see `find_windows`."""
        samples, (size, stride) = normalised.shape[1], self.example
        count = torch.sym_max(samples - size, 0) // stride + 1
        starts = torch.arange(count) * stride
        places = (starts.unsqueeze(1) + torch.arange(size)).flatten()
        is_there: Bool[Tensor, "1 places 1"] = (places < samples).view(1, -1, 1)
        cut = normalised[:, places.clamp(max=samples - 1)]
        cut = torch.where(is_there, cut, 0.0)  # a short record is filled up with what is missing
        return cut.reshape(-1, size, normalised.shape[2]).transpose(1, 2)

    def _tokens(self, windows: Float[Tensor, "windows leads size"]) -> tuple[Tensor, Tensor]:
        """Return what the head sees, and the encoder's output; the same tensor where they agree."""
        layers, depth = self.reading.layers, len(self.encoder.blocks)
        if not layers or layers == (depth,):
            tokens = self.encoder(windows)
            return tokens, tokens
        wanted = tuple(dict.fromkeys((*layers, depth)))
        outputs = outputs_of_layers(self.encoder, windows, wanted)
        read = outputs[: len(layers)]
        tokens = torch.cat(read, dim=2) if self.reading.beside else torch.stack(read).mean(dim=0)
        return tokens, outputs[wanted.index(depth)]


class _Probabilities(nn.Module):
    """Calibrated probabilities of logits; see `ecgjepa.inference.interpretation.interpret`."""

    def __init__(self, scale: tuple[float, ...], shift: tuple[float, ...], single: bool) -> None:
        super().__init__()
        self.scale, self.shift = _constants(torch.tensor(scale), torch.tensor(shift))
        self.is_single_label = single

    def forward(self, logits: Float[Tensor, "records labels"]) -> Float[Tensor, "records labels"]:
        """Return probabilities."""
        if self.is_single_label:
            least = logits.log_softmax(dim=1).clamp(min=_LEAST_LOGIT)
            return (least * self.scale + self.shift).softmax(dim=1)
        bounded = logits.clamp(_LEAST_LOGIT, _GREATEST_LOGIT)
        return (bounded * self.scale + self.shift).sigmoid()


class _Values(nn.Module):
    """Values of a regression, in double precision: they may be large beside their spread."""

    def __init__(self, centre: tuple[float, ...], spread: tuple[float, ...]) -> None:
        super().__init__()
        double = torch.float64
        self.centre, self.spread = _constants(
            torch.tensor(centre, dtype=double), torch.tensor(spread, dtype=double)
        )

    def forward(self, logits: Float[Tensor, "records labels"]) -> Float[Tensor, "records labels"]:
        """Return values."""
        return logits.double() * self.spread + self.centre


class _Distance(nn.Module):
    """Distance from the training records; see `ecgjepa.model.distribution`."""

    def __init__(self, known: FeatureDistribution) -> None:
        super().__init__()
        factor = torch.from_numpy(known.factor)
        identity = torch.eye(len(factor), dtype=factor.dtype)
        inverse = torch.linalg.solve_triangular(factor, identity, upper=False)
        self.mean, self.scale, self.inverse = _constants(
            torch.from_numpy(known.mean), torch.from_numpy(known.scale), inverse.t().contiguous()
        )

    def forward(self, features: Float[Tensor, "records dim"]) -> Float[Tensor, " records"]:
        """Return the distance of each record."""
        solved = ((features.double() - self.mean) / self.scale) @ self.inverse
        return (solved * solved).mean(dim=1).sqrt().float()


def _answer_of(config: ModelConfig) -> nn.Module:
    assert config.task is not None, "a head has a task"
    if config.task.kind == "regression":
        return _Values(config.task.centre, config.task.spread)
    count, known = len(config.task.labels), config.calibration
    scale = (1.0,) * count if known is None else known.scale
    shift = (0.0,) * count if known is None else known.shift
    return _Probabilities(scale, shift, config.task.kind == "single-label")


def _are_usable(is_valid: Bool[Tensor, "records samples leads"]) -> Bool[Tensor, "records 1"]:
    """Return which records have as many leads with a signal as predicting asks for.

    Amplitudes in µV where mV are expected are invalid for the most part, and the answer would be
    that of a record without a signal.
    """
    least = min(MIN_USABLE_LEADS, is_valid.shape[2])
    share = is_valid.to(torch.float32).mean(dim=1)
    has_signal = (share >= 1 - MAX_INVALID_SHARE - _ROUNDING).to(torch.float32)
    return has_signal.sum(dim=1, keepdim=True) >= least


def _mean_of_windows(values: Float[Tensor, "windows outputs"], signal: Signal) -> Tensor:
    return values.view(signal.shape[0], -1, values.shape[1]).mean(dim=1)


def _constants(*tensors: Tensor) -> tuple[nn.Parameter, ...]:
    """Return tensors as what a module owns and a file keeps, but nothing trains."""
    return tuple(nn.Parameter(tensor.clone(), requires_grad=False) for tensor in tensors)
