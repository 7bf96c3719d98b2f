"""What an encoder that was made elsewhere needs, in a YAML file: `EncoderDescription`.

::

    sampling_rate: 500
    leads: [I, II, III, aVR, aVL, aVF, V1, V2, V3, V4, V5, V6]
    window_seconds: 10
    normalisation: window
    trained_on: {}

Nothing that would change a result without a word is guessed: rate, leads, window, normalisation and
what the encoder was trained on must be stated.
"""

from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveFloat, ValidationError, model_validator

from ecgjepa.config import Section, describe_validation_error, parse_yaml, read_yaml_text
from ecgjepa.config.networks import LEAST_HERTZ, MOST_HERTZ, MOST_WINDOW_SECONDS
from ecgjepa.errors import EncoderError
from ecgjepa.model.facts import PretrainingFacts, WindowConfig
from ecgjepa.model.normalisation import NormalisationConfig
from ecgjepa.signals.preprocessing import PreprocessingConfig
from ecgjepa.signals.units import millivolt_per_unit

# As good as no limit: the amplitudes of a store end at 32.767 mV.
_NO_CLIP = 1e9
# Of a patch of `EncoderConfig`, which a window of an ONNX file is here.
_MOST_SAMPLES = 10_000

Normalisation = Literal["none", "constants", "records", "window", "window-and-leads"]
Axis = Literal["batch", "leads", "samples", "one", "tokens", "dim"]


class OnnxDescription(Section):
    """What an ONNX file does not tell of its input and output.

    Attributes:
        input: Name of the input that takes the signal; may be left out where there is one.
        input_axes: Axes of the input; ``one`` is an axis of length 1.
        output: Name of the output that holds the tokens; may be left out where there is one.
        output_axes: Axes of the output; without ``tokens``, a window is one token.
        num_registers: Tokens before the others that stand for no place in time.
    """

    input: str | None = None
    input_axes: tuple[Axis, ...] = ("batch", "leads", "samples")
    output: str | None = None
    output_axes: tuple[Axis, ...] = ("batch", "tokens", "dim")
    num_registers: int = Field(0, ge=0, le=1024)

    @model_validator(mode="after")
    def _are_axes(self) -> "OnnxDescription":
        _check_axes("input_axes", self.input_axes, {"batch", "leads", "samples"}, {"one"})
        _check_axes("output_axes", self.output_axes, {"batch", "dim"}, {"tokens", "one"})
        return self


class EncoderDescription(Section):
    """What an encoder takes, and what it has seen.

    Attributes:
        sampling_rate (Hz): Rate that it takes.
        leads: Leads that it takes, in order.
        window_seconds (s): Length of the windows that records are cut into.
        stride_seconds (s): From the beginning of a window to that of the next; half a window if
            left out. What is read of a record is averaged over its windows.
        normalisation: ``none``: amplitudes in ``unit``. ``constants``: less ``mean`` and divided by
            ``std``. ``records``: mean 0 and deviation 1 of each lead over the training records of
            the task, as for encoders of this package. ``window``: mean 0 and deviation 1 of each
            lead of each window. ``window-and-leads``: the same over all leads of a window together.
        unit: Unit of the amplitudes, and of ``mean`` and ``std``: V, mV, µV (uV) or nV.
        mean: Of each lead, for ``constants``.
        std: Of each lead, for ``constants``.
        clip (standard deviations): Normalised amplitudes are cut at plus and minus this; with
            ``none`` in units. Without it nothing is cut, but with ``records``: 5.
        highpass_hz (Hz): Cut-off of a zero-phase high-pass, done once to each record; or none.
        trained_on: Each database that the encoder was trained on, with its folds as a list, or
            ``all``; ``{}`` for none. Folds that it has seen are not tested on.
        onnx: Of an ONNX file.
        comment: Anything; it is not used.
    """

    sampling_rate: float = Field(ge=LEAST_HERTZ, le=MOST_HERTZ)
    leads: tuple[str, ...] = Field(min_length=1)
    window_seconds: float = Field(gt=0, le=MOST_WINDOW_SECONDS)
    stride_seconds: float | None = Field(None, ge=0.01, le=MOST_WINDOW_SECONDS)
    normalisation: Normalisation
    unit: str | None = None
    mean: tuple[float, ...] = ()
    std: tuple[PositiveFloat, ...] = ()
    clip: PositiveFloat | None = None
    highpass_hz: float | None = None
    trained_on: dict[str, tuple[int, ...] | Literal["all"]]
    onnx: OnnxDescription | None = None
    comment: str | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> "EncoderDescription":
        self.preprocessing()
        if self.normalisation in ("none", "constants"):
            if self.unit is None:
                raise ValueError(f"unit: missing, for normalisation {self.normalisation}")
            millivolt_per_unit(self.unit)
        for name, values in (("mean", self.mean), ("std", self.std)):
            expected = len(self.leads) if self.normalisation == "constants" else 0
            if len(values) != expected:
                raise ValueError(
                    f"{name}: found {len(values)} numbers, expected {expected} for normalisation "
                    f"{self.normalisation} and {len(self.leads)} leads"
                )
        if self.onnx is not None and self.window_samples > _MOST_SAMPLES:
            raise ValueError(
                f"window_seconds: {self.window_samples:,} samples; expected {_MOST_SAMPLES:,} at "
                "most for an ONNX file"
            )
        return self

    @property
    def window_samples(self) -> int:
        """Length of a window in samples."""
        return max(1, round(self.window_seconds * self.sampling_rate))

    @property
    def is_of_window(self) -> bool:
        """Whether each window is scaled by itself."""
        return self.normalisation.startswith("window")

    def preprocessing(self) -> PreprocessingConfig:
        """Return what is done to every record."""
        return PreprocessingConfig(
            sampling_rate=self.sampling_rate, leads=self.leads, highpass_hz=self.highpass_hz
        )

    def window(self) -> WindowConfig:
        """Return how records are cut."""
        stride = self.window_seconds / 2 if self.stride_seconds is None else self.stride_seconds
        return WindowConfig(seconds=self.window_seconds, stride_seconds=stride)

    def constants(self) -> NormalisationConfig | None:
        """Return the constants that scale the leads; None for those of the task's records."""
        if self.normalisation == "records":
            return None
        count = len(self.leads)
        factor = 1.0 if self.is_of_window else millivolt_per_unit(self.unit or "")
        means, deviations = self.mean or (0.0,) * count, self.std or (1.0,) * count
        return NormalisationConfig(
            mean=tuple(factor * mean for mean in means),
            std=tuple(factor * deviation for deviation in deviations),
            clip=self.clip if self.clip is not None and not self.is_of_window else _NO_CLIP,
        )

    def facts(self, source: str) -> PretrainingFacts:
        """Return what is known of the encoder's training.

        Args:
            source: Where the encoder is from.
        """
        folds = {name: None if seen == "all" else seen for name, seen in self.trained_on.items()}
        return PretrainingFacts(
            objective="elsewhere", steps=None, seed=None, store=source, folds=folds, records={}
        )


def read_description(path: str | Path) -> EncoderDescription:
    """Read the description of an encoder.

    Raises:
        EncoderError: If it is missing, or not as expected; the message names each key.
        ConfigError: If it is not YAML.
    """
    path = Path(path)
    if not path.is_file():
        raise EncoderError(f"no description of the encoder at {path}")
    content = parse_yaml(read_yaml_text(path), source=str(path))
    if not isinstance(content, dict):
        raise EncoderError(
            f"{path}: expected keys and values, such as 'sampling_rate: 500'; found "
            f"{type(content).__name__}"
        )
    try:
        return EncoderDescription.model_validate(content)
    except ValidationError as error:
        raise EncoderError(describe_validation_error(error, str(path))) from None


def _check_axes(name: str, axes: tuple[str, ...], needed: set[str], allowed: set[str]) -> None:
    named = [axis for axis in axes if axis != "one"]
    if not needed <= set(named) <= needed | allowed or len(set(named)) < len(named):
        raise ValueError(
            f"{name}: found {', '.join(axes)}; expected {', '.join(sorted(needed))}, each once, "
            f"and perhaps {', '.join(sorted(allowed))}"
        )
    if axes[0] != "batch":
        raise ValueError(f"{name}: the first axis must be batch, found {axes[0]}")
