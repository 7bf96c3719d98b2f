"""From a graph of PyTorch to the bytes of one ONNX file that holds its weights."""

import ast
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from ecgjepa.errors import ExportError
from ecgjepa.exporting.graph import RecordGraph

if TYPE_CHECKING:
    from onnx import ModelProto

# Of ONNX's operators; every runtime since onnxruntime 1.17 (2024) has it.
OPSET = 20
# Of these loggers, which tell of packages for pictures that are not installed.
_TALKATIVE = ("torch.onnx", "onnxscript", "onnx_ir")
INPUT = "signal"


@torch.no_grad()
def trace(graph: RecordGraph) -> "ModelProto":
    """Return a graph as an ONNX model, for any number of records and samples.

    Raises:
        ExportError: If the exporter cannot follow the networks.
    """
    example = graph.example
    shape = (2, example.samples(2), graph.mean.shape[-1])
    signal = torch.zeros(shape, dtype=torch.float32 if graph.unit == "mV" else torch.int16)
    with _quietly():
        try:
            program = torch.onnx.export(
                graph.eval(),
                (signal,),
                input_names=[INPUT],
                output_names=list(graph.names),
                dynamic_shapes={"signal": {0: "records", 1: "samples"}},
                opset_version=OPSET,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            raise ExportError(
                f"the model cannot be exported: PyTorch {torch.__version__} does not find an ONNX "
                f"form of its networks ({str(error).strip().splitlines()[0][:200]})"
            ) from error
    assert program is not None, "the exporter returns a program unless it writes a file"
    found = program.model_proto
    _check_shapes(found)
    _strip(found)
    return found


def _check_shapes(model: "ModelProto") -> None:
    """Refuse a model in which the number of records or samples became a constant.

    The exporter does not always tell: a number that the networks look at may be frozen.
    """
    for value, names in ((model.graph.input[0], ("records", "samples")),):
        found = [axis.dim_param for axis in value.type.tensor_type.shape.dim[: len(names)]]
        if found != list(names):
            raise ExportError(
                f"the model cannot be exported: its networks fix the number of records or samples "
                f"(input {value.name} of shape {found}, expected {list(names)})"
            )


def _strip(model: "ModelProto") -> None:
    """Remove what the exporter notes about this machine: lines and places of source files.

    Each operation keeps the name of the module that it belongs to, in front of its own.
    """
    for node in _nodes(model):
        node.name = f"{_module_of(node)}/{node.name}"
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        del value.metadata_props[:]
    for tensor in model.graph.initializer:
        del tensor.metadata_props[:]
        tensor.doc_string = ""
    # Shapes within are for readers; a quantiser stumbles over those of the exporter.
    del model.graph.value_info[:]
    del model.graph.metadata_props[:], model.metadata_props[:]
    model.graph.doc_string = model.doc_string = ""


def _module_of(node: Any) -> str:  # noqa: ANN401
    """Return the name of the module that an operation was traced in, such as ``encoder.norm``."""
    noted = {prop.key: prop.value for prop in node.metadata_props}
    scopes = ast.literal_eval(noted.get("pkg.torch.onnx.name_scopes", "[]"))
    return str(scopes[-2]) if len(scopes) > 1 else ""


def _nodes(model: "ModelProto") -> Iterator[Any]:
    yield from model.graph.node
    for function in model.functions:
        del function.metadata_props[:], function.value_info[:]
        function.doc_string = ""
        yield from function.node


def set_metadata(model: "ModelProto", properties: Mapping[str, str], doc: str) -> None:
    """Write a model's metadata properties, and who made it; what it had of them is replaced."""
    from ecgjepa.version import __version__

    del model.metadata_props[:]
    for key, value in properties.items():
        model.metadata_props.add(key=key, value=value)
    model.producer_name, model.producer_version = "ecgjepa", __version__
    model.doc_string, model.graph.name = doc, "ecg"


@contextmanager
def _quietly() -> Iterator[None]:
    """Hide the exporter's remarks on other packages and on its own future."""
    loggers = [logging.getLogger(name) for name in _TALKATIVE]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
