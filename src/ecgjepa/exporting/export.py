"""The verb: write a model folder as one ONNX file, and prove that it says the same."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from ecgjepa.exporting.tracing import set_metadata, trace
from ecgjepa.files import write_bytes
from ecgjepa.model.folder import find_model, load_distribution, load_model_folder

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
    """

    path: Path
    num_bytes: int
    differences: Mapping[str, float]
    metadata: Mapping[str, str]


def export_onnx(
    model: str | Path,
    path: str | Path,
    *,
    unit: Unit = "mV",
    overwrite: bool = False,
) -> Exported:
    """Write a model folder as one ONNX file, which needs nothing of this package.

    A whole record of any length enters it, at the model's rate and with its leads in order; the
    rounding to 1 µV, normalisation, windows, calibration and distance are inside. Before the file is
    written, onnxruntime and PyTorch are asked about records of several lengths. Needs the extra
    ``onnx``.

    Args:
        model: Model folder, or the folder of a run, probe or fine-tuning that holds one. Of an
            encoder alone, the file gives features.
        path: File to write, ``.onnx``.
        unit: ``mV``: the input is float32 millivolt, NaN where there is no sample. ``uV``: it is
            int16 microvolt, -32768 where there is none.
        overwrite: Replace a file that is there.

    Returns:
        Where the file is, and how far its answers are from PyTorch's.

    Raises:
        ModelFolderError: If the model folder is damaged or is none.
        ConfigError: If the file is there already, or has another ending.
        ExportError: If the extra is missing, the networks have no ONNX form, or the file says
            something else than PyTorch.
    """
    target = Path(path)
    _check_request(target, unit, overwrite)
    require_onnx()
    folder = find_model(model)
    network, config = load_model_folder(folder)
    loaded = Loaded(network, config, load_distribution(folder, config))
    graph = RecordGraph(network, config, loaded.distribution, unit)
    traced = trace(graph)
    differences = _checked(traced.SerializeToString(), graph, loaded)
    properties = properties_of(graph, config) | {"checked": _as_checked(differences)}
    content = finished(traced, properties)
    write_bytes(target, content)
    return Exported(target, len(content), differences, properties)


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
    samples = [record.prepared.samples for record in records]
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
