"""The verb: write a model folder as one ONNX file, and prove that it says the same."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ecgjepa.errors import ConfigError, ExportError
from ecgjepa.exporting.agreement import (
    WINDOWS,
    Loaded,
    largest_differences,
    open_session,
    outputs_of_file,
    outputs_of_folder,
    simulated_records,
)
from ecgjepa.exporting.graph import UNITS, RecordGraph, Unit
from ecgjepa.exporting.metadata import properties_of
from ecgjepa.exporting.quantised import (
    MOST_LOSS,
    Labelled,
    Measured,
    measure,
    quantise,
    refuse_without_score,
)
from ecgjepa.exporting.tracing import set_metadata, trace
from ecgjepa.files import write_bytes
from ecgjepa.model.folder import load_distribution, load_model_folder
from ecgjepa.sharing.references import find_model
from ecgjepa.tasks.opening import Data

if TYPE_CHECKING:
    from onnx import ModelProto

# The largest difference from PyTorch with which a file is written.
TOLERANCE = 1e-5


@dataclass(frozen=True)
class Exported:
    """An ONNX file that was written.

    Attributes:
        path: The file.
        num_bytes: Size of the file.
        differences: Output to its largest difference from PyTorch, on the records of the check.
        metadata: Metadata properties of the file.
        int8: Cost of the 8 bits; None of a file of 32.
    """

    path: Path
    num_bytes: int
    differences: Mapping[str, float]
    metadata: Mapping[str, str]
    int8: Measured | None = None


def export_onnx(
    model: str | Path,
    path: str | Path,
    *,
    unit: Unit = "mV",
    int8: bool = False,
    data: Data | None = None,
    task: str | None = None,
    folds: tuple[int, ...] = (),
    overwrite: bool = False,
    cache: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Exported:
    """Write a model folder as one ONNX file, which needs nothing of this package.

    A whole record of any length enters it, at the model's rate and with its leads in order; the
    rounding to 1 µV, normalisation, windows, calibration and distance are inside. Before the file
    is written, onnxruntime and PyTorch are asked about records of several lengths. Needs the extra
    ``onnx``.

    Args:
        model: Model folder, the folder of a run, probe or fine-tuning that holds one, or a model's
            name. Of an encoder alone, the file gives features.
        path: File to write, ``.onnx``.
        unit: ``mV``: the input is float32 millivolt, NaN where there is no sample. ``uV``: it is
            int16 microvolt, -32768 where there is none.
        int8: Keep the encoder's weights as 8-bit integers: a smaller file, other answers. What they
            cost is measured on ``data``, and the file is not written if that is too much.
        data: For ``int8``, labelled records that the model has not seen: databases, name to folder,
            or the folder of a store prepared as the model needs it.
        task: Labels of these, see `ecgjepa.evaluate`; by default the task of the model.
        folds: Folds of these that are scored; by default all records.
        overwrite: Replace a file that is there.
        cache: Folder for the prepared records.
        progress: Called with (done, in all) while 8 bits are measured.

    Returns:
        Where the file is, and how far its answers are from PyTorch's.

    Raises:
        ModelFolderError: If the model folder is damaged or is none.
        ConfigError: If the file is there already, or has another ending.
        ExportError: If the extra is missing, the networks have no ONNX form, the file says
            something else than PyTorch, or 8 bits cost too much.

    Example:
        >>> import ecgjepa
        >>> exported = ecgjepa.export_onnx("runs/probe", "runs/ecg.onnx")
        >>> max(exported.differences.values()) < 1e-5
        True
        >>> exported.metadata["labels"]
        '["CD", "HYP", "MI", "NORM", "STTC"]'
    """
    target = Path(path)
    _check_request(target, unit, overwrite)
    if int8 and data is None:
        raise ConfigError(
            "int8 changes the answers, so it needs labelled records to measure by how much: give "
            "--data NAME=DIR or --store DIR of records that the model has not seen"
        )
    if not int8 and (data is not None or folds or task is not None):
        raise ConfigError("labelled records, their task and folds are for --int8 alone")
    require_onnx()
    folder = find_model(model)
    network, config = load_model_folder(folder)
    if int8:
        refuse_without_score(config)
    loaded = Loaded(network, config, load_distribution(folder, config))
    graph = RecordGraph(network, config, loaded.distribution, unit)
    traced = trace(graph)
    differences = _checked(traced.SerializeToString(), graph, loaded)
    properties = properties_of(graph, config) | {"checked": _as_checked(differences)}
    content = finished(traced, properties)
    measured = None
    if data is not None:
        smaller = quantise(traced)
        contents = finished(smaller, properties), content
        measured = measure(contents, graph, loaded, Labelled(data, task, folds, cache, progress))
        _check_loss(measured)
        properties |= {"int8": json.dumps(measured.as_json())}
        content = finished(smaller, properties)
    write_bytes(target, content)
    return Exported(target, len(content), differences, properties, measured)


def _check_loss(measured: Measured) -> None:
    """Refuse 8 bits that cost more than is allowed, or whose cost is not known."""
    if not measured.loss <= MOST_LOSS:
        facts = measured.as_json()
        raise ExportError(
            f"the ONNX file is not written, because 8 bits cost too much: {facts['score']} is "
            f"{facts['int8']} instead of {facts['float32']} on {facts['records']:,} records; "
            f"expected a loss of at most {MOST_LOSS:g}. Leave out --int8"
        )


def require_onnx() -> None:
    """Raise `ExportError` unless the packages of the extra are installed."""
    try:
        import onnx as onnx
        import onnxruntime as onnxruntime
        import onnxscript as onnxscript
    except ImportError as error:
        raise ExportError(
            f"ONNX files need {error.name or 'a package'}, which is not installed; run "
            "pip install 'ecgjepa[onnx]'"
        ) from None


def finished(traced: "ModelProto", properties: Mapping[str, str]) -> bytes:
    """Return the bytes of a file with its metadata."""
    words = (
        f"{properties.get('task', 'features')} of ECGs; how to use it: docs/onnx.md of ecgjepa "
        f"{properties['software_version']}. For research only; not a medical device."
    )
    set_metadata(traced, properties, words)
    return traced.SerializeToString(deterministic=True)


def _check_request(path: Path, unit: str, overwrite: bool) -> None:
    if unit not in UNITS:
        raise ConfigError(f"unit is {unit!r}; expected {' or '.join(UNITS)}")
    if path.suffix.lower() != ".onnx":
        raise ConfigError(f"{path}: expected a file that ends in .onnx")
    if path.is_dir():
        raise ConfigError(f"{path}: is a folder; expected a file to write")
    if path.exists() and not overwrite:
        raise ConfigError(f"{path}: is there already; choose another name, or --overwrite")


def _checked(content: bytes, graph: RecordGraph, loaded: Loaded) -> dict[str, float]:
    """Return the differences between the file and PyTorch, which are small.

    Raises:
        ExportError: If they are not.
    """
    records = simulated_records(graph, loaded.config)
    session = open_session(content)
    samples = [np.asarray(record.prepared.samples) for record in records]
    found = outputs_of_file(session, samples, graph.unit)
    expected = outputs_of_folder(loaded, records)
    differences = largest_differences(found, expected, loaded.config)
    if wrong := {name: gap for name, gap in differences.items() if not gap <= TOLERANCE}:
        words = ", ".join(f"{name} by {gap:.2g}" for name, gap in wrong.items())
        raise ExportError(
            f"the ONNX file is not written, because onnxruntime and PyTorch differ on simulated "
            f"records: {words}; expected at most {TOLERANCE:g}. Other versions of onnxruntime and "
            "PyTorch may agree"
        )
    return differences


def _as_checked(differences: Mapping[str, float]) -> str:
    import onnxruntime
    import torch

    content: dict[str, Any] = {
        "records": "simulated, of half a window and more",
        "windows": [max(windows, 1) for windows in WINDOWS],
        "largest_difference": {name: float(f"{gap:.3g}") for name, gap in differences.items()},
        "allowed": TOLERANCE,
        "onnxruntime": onnxruntime.__version__,
        "torch": torch.__version__,
    }
    return json.dumps(content)
