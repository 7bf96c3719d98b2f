"""Does an ONNX file say what `ecgjepa.predict` and `ecgjepa.embed` say? Both are asked."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Int16, Num

from ecgjepa.errors import ExportError, RecordError
from ecgjepa.exporting.graph import RecordGraph, Unit
from ecgjepa.exporting.tracing import INPUT
from ecgjepa.inference.encoding import LoadedEncoder, Wanted
from ecgjepa.inference.predict import Model
from ecgjepa.model.compute import choose_device
from ecgjepa.model.distribution import FeatureDistribution
from ecgjepa.model.encoders.encoder import Encoder
from ecgjepa.model.folder import ModelConfig
from ecgjepa.model.heads import Classifier
from ecgjepa.signals.acceptance import Usable
from ecgjepa.signals.preprocessing import prepare_record
from ecgjepa.signals.units import INVALID_MICROVOLT
from ecgjepa.simulation.heart.records import simulate_record

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

# Windows of the records that a file is checked on; 0 stands for half a window.
WINDOWS = (0, 1, 2, 7)
_SIMULATED = (("NORM",), ("IMI", "SR"), ("AFIB",))
Outputs = Mapping[str, np.ndarray]


class Loaded(NamedTuple):
    """A model folder that was read.

    Attributes:
        model: Encoder or classifier.
        config: What the folder says.
        distribution: Distribution of the training records' features, if it holds one.
    """

    model: Encoder | Classifier
    config: ModelConfig
    distribution: FeatureDistribution | None


def open_session(content: bytes) -> "InferenceSession":
    """Return a session of onnxruntime on the processor.

    Raises:
        ExportError: If it cannot open the file.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # of warnings, most are on what it leaves out of the graph
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no base of their own
        raise ExportError(
            f"the ONNX file is not written, because onnxruntime {onnxruntime.__version__} cannot "
            f"open it: {str(error)[:300]}"
        ) from error


def as_input(samples: Int16[np.ndarray, "samples leads"], unit: Unit) -> Num[np.ndarray, "1 _ _"]:
    """Return prepared samples as the input of a file.

    Args:
        samples: In µV, -32768 where invalid.
        unit: Unit of the input.
    """
    if unit == "uV":
        return samples[None]
    millivolt = samples.astype(np.float32) / np.float32(1000.0)
    millivolt[samples == INVALID_MICROVOLT] = np.nan
    return millivolt[None]


def outputs_of_file(
    session: "InferenceSession", records: Iterable[Int16[np.ndarray, "_ leads"]], unit: Unit
) -> Outputs:
    """Return what a file gives for prepared records, one after the other."""
    names = [output.name for output in session.get_outputs()]
    rows = [session.run(names, {INPUT: as_input(samples, unit)}) for samples in records]
    columns = zip(*rows, strict=True)
    return {name: np.concatenate(column) for name, column in zip(names, columns, strict=True)}


def outputs_of_folder(loaded: Loaded, records: Sequence[Usable]) -> Outputs:
    """Return what predicting and encoding give for prepared records, by the same names."""
    model, config, cpu = loaded.model, loaded.config, choose_device("cpu")
    named: list[tuple[str, Usable | RecordError]] = [
        (str(number), record) for number, record in enumerate(records)
    ]
    encoder = model.encoder if isinstance(model, Classifier) else model
    encoded = LoadedEncoder(encoder, config, cpu, Wanted()).encode(named)
    features = [_there(found).values for _, found in encoded]
    outputs: dict[str, Any] = {"features": np.concatenate(features)}
    if isinstance(model, Classifier):
        answers = list(Model(model, config, cpu, loaded.distribution).answers(named))
        first = "values" if config.task and config.task.kind == "regression" else "probabilities"
        outputs[first] = np.array([list(answer.probabilities.values()) for answer in answers])
        if loaded.distribution is not None:
            outputs["distance"] = np.array([answer.distance for answer in answers])
    return outputs


def _there(found: Any) -> Any:  # noqa: ANN401
    assert not isinstance(found, RecordError), "a prepared record has features"
    return found


def simulated_records(graph: RecordGraph, config: ModelConfig) -> list[Usable]:
    """Return simulated records that have the numbers of windows in `WINDOWS`.

    The longest one has a lead with gaps, and all are a little longer than their windows.
    """
    rate, example = config.preprocessing.sampling_rate, graph.example
    found = []
    for number, windows in enumerate(WINDOWS):
        length = example.samples(windows) + example.stride // 3 if windows else example.size // 2
        duration = min(max(length / rate + 0.5, 1.0), 60.0)
        codes = _SIMULATED[number % len(_SIMULATED)]
        source = simulate_record(codes, seed=number, duration=duration)
        prepared = prepare_record(source, config.preprocessing)
        assert isinstance(prepared.samples, np.ndarray), "only long files are read in stretches"
        repeats = -(-length // len(prepared.samples))
        samples = np.tile(prepared.samples, (repeats, 1))[: max(length, 1)]
        if windows == max(WINDOWS):
            samples[length // 4 : length // 3, 0] = INVALID_MICROVOLT
        found.append(Usable(source, prepared._replace(samples=samples)))
    return found


def largest_differences(found: Outputs, expected: Outputs, config: ModelConfig) -> dict[str, float]:
    """Return the largest difference of each output.

    Probabilities differ by their difference. Values of a regression are told in standard deviations
    of the training values; features and distances, which have no scale of their own, relative to
    the expected one where that is above 1.
    """
    return {
        name: _difference(found[name], expected[name], name, config) for name in sorted(expected)
    }


def _difference(found: Any, expected: Any, name: str, config: ModelConfig) -> float:  # noqa: ANN401
    gap = np.abs(found.astype(np.float64) - expected)
    if name == "values" and config.task is not None:
        gap = gap / np.array(config.task.spread)
    elif name != "probabilities":
        gap = gap / np.maximum(1.0, np.abs(expected))
    # A number that is not finite must not pass: comparisons with NaN are false.
    return float(np.nan_to_num(gap, nan=np.inf).max())
