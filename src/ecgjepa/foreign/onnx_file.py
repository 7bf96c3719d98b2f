"""An encoder as an ONNX file: `onnxruntime` computes, on the CPU."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ecgjepa.errors import EncoderError
from ecgjepa.files import sha256_of_file
from ecgjepa.foreign.description import EncoderDescription, OnnxDescription
from ecgjepa.foreign.network import ForeignEncoder

if TYPE_CHECKING:
    import onnxruntime

_TYPES = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
}
_BATCH = "batch"


class _Graph(NamedTuple):
    """A session, and what of it is used.

    Attributes:
        session: The session.
        told: Axes and names.
        input: Name of the input.
        output: Name of the output.
        dtype: Type of the input's numbers.
        batch: Windows that the graph takes at once; None for any number.
    """

    session: "onnxruntime.InferenceSession"
    told: OnnxDescription
    input: str
    output: str
    dtype: Any
    batch: int | None


class OnnxEncoder(ForeignEncoder):
    """An ONNX file that was made elsewhere; it has no weights that PyTorch knows.

    Args:
        path: The file.
        description: What it takes.

    Raises:
        EncoderError: If it cannot be read, or is not as it is described.
    """

    def __init__(self, path: Path, description: EncoderDescription) -> None:
        graph = _open(path, description)
        probed = _run(path.name, graph, np.zeros(_size(description), np.float32))
        super().__init__(
            path.name,
            description,
            dim=probed.shape[2],
            patch_size=description.window_samples,
            num_registers=graph.told.num_registers,
        )
        self.identify(sha256_of_file(path))
        self._graph = graph
        self.check_windows_stand_alone()

    def __deepcopy__(self, _: object) -> "OnnxEncoder":
        return self  # nothing in it changes

    def tokens(self, signal: Float[Tensor, "batch leads samples"]) -> Tensor:
        """Return the tokens that the graph gives."""
        found = _run(self.name, self._graph, signal.float().cpu().numpy())
        return torch.from_numpy(found.astype(np.float32, copy=False)).to(signal.device)


def _open(path: Path, description: EncoderDescription) -> _Graph:
    try:
        import onnxruntime
    except ImportError:
        raise EncoderError(
            f"{path}: reading it needs onnxruntime, which is not installed; run pip install "
            "'ecgjepa[onnx]'"
        ) from None
    if not path.is_file():
        raise EncoderError(f"no ONNX file at {path}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4  # what is wrong is raised
    try:
        session = onnxruntime.InferenceSession(
            path, sess_options=options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # of many classes without a base of their own
        raise EncoderError(f"{path}: not readable as ONNX: {str(error)[:500]}") from None
    told = description.onnx or OnnxDescription()
    given = _chosen(path, "input", session.get_inputs(), told.input)
    output = _chosen(path, "output", session.get_outputs(), told.output)
    if len(session.get_inputs()) > 1:
        names = ", ".join(each.name for each in session.get_inputs())
        raise EncoderError(f"{path}: takes {names}; expected the signal as its only input")
    if given.type not in _TYPES:
        raise EncoderError(
            f"{path}: input {given.name} takes {given.type}; expected {', '.join(_TYPES)}"
        )
    batch = _check_input(path, given, told, description)
    return _Graph(session, told, given.name, output.name, _TYPES[given.type], batch)


def _chosen(path: Path, kind: str, there: list[Any], name: str | None) -> Any:  # noqa: ANN401
    names = [each.name for each in there]
    if name is None:
        if len(there) > 1:
            raise EncoderError(
                f"{path}: has {len(there)} {kind}s, {', '.join(names)[:300]}; say in the "
                f"description which is meant, as onnx: {{{kind}: {names[0]}}}"
            )
        return there[0]
    if name not in names:
        raise EncoderError(
            f"{path}: has no {kind} {name!r} (onnx.{kind}); found {', '.join(names)[:300]}"
        )
    return there[names.index(name)]


def _check_input(
    path: Path,
    given: Any,  # noqa: ANN401
    told: OnnxDescription,
    description: EncoderDescription,
) -> int | None:
    """Refuse an input of another form than described; return its fixed batch, if it has one."""
    axes, shape = told.input_axes, given.shape
    if len(shape) != len(axes):
        raise EncoderError(
            f"{path}: input {given.name} has {len(shape)} axes, {shape}; onnx.input_axes names "
            f"{len(axes)}: {', '.join(axes)}"
        )
    expected = {
        "leads": len(description.leads),
        "samples": description.window_samples,
        "one": 1,
    }
    for axis, size in zip(axes, shape, strict=True):
        if axis != _BATCH and isinstance(size, int) and size != expected[axis]:
            named = {"leads": "leads", "samples": "window_seconds times sampling_rate"}
            raise EncoderError(
                f"{path}: input {given.name} takes {size} along the axis of {axis}; the "
                f"description gives {expected[axis]} ({named.get(axis, 'onnx.input_axes')})"
            )
    first = shape[axes.index(_BATCH)]
    return first if isinstance(first, int) else None


def _size(description: EncoderDescription) -> tuple[int, int, int]:
    return 2, len(description.leads), description.window_samples


def _run(
    name: str, graph: _Graph, signal: Float[np.ndarray, "batch leads samples"]
) -> Float[np.ndarray, "batch tokens dim"]:
    """Return the tokens of windows, as many at a time as the graph takes."""
    if graph.batch is None:
        return _run_once(name, graph, signal)
    found = []
    for first in range(0, len(signal), graph.batch):
        part = signal[first : first + graph.batch]
        filled = np.zeros((graph.batch, *part.shape[1:]), part.dtype)
        filled[: len(part)] = part
        found.append(_run_once(name, graph, filled)[: len(part)])
    return np.concatenate(found)


def _run_once(
    name: str, graph: _Graph, signal: Float[np.ndarray, "batch leads samples"]
) -> Float[np.ndarray, "batch tokens dim"]:
    own = ["batch", "leads", "samples"]
    order = [own.index(axis) for axis in graph.told.input_axes if axis != "one"]
    ones = [place for place, axis in enumerate(graph.told.input_axes) if axis == "one"]
    given = np.expand_dims(signal.transpose(order), ones) if ones else signal.transpose(order)
    try:
        (found,) = graph.session.run(
            [graph.output], {graph.input: np.ascontiguousarray(given, graph.dtype)}
        )
    except Exception as error:  # of many classes without a base of their own
        raise EncoderError(
            f"{name}: fails on an input of shape {given.shape}: {str(error)[:500]}"
        ) from None
    return _as_tokens(name, graph, np.asarray(found), len(signal))


def _as_tokens(
    name: str, graph: _Graph, found: np.ndarray, batch: int
) -> Float[np.ndarray, "batch tokens dim"]:
    axes = graph.told.output_axes
    hint = "; one row for each window is [batch, dim]" if found.ndim == 2 else ""
    if found.ndim != len(axes) or found.shape[0] != batch or found.dtype.kind != "f":
        raise EncoderError(
            f"{name}: output {graph.output} has shape {found.shape} and type {found.dtype} for "
            f"{batch} windows; expected numbers with the axes {', '.join(axes)} (onnx.output_axes)"
            f"{hint}"
        )
    ones = [place for place, axis in enumerate(axes) if axis == "one"]
    if wrong := [place for place in ones if found.shape[place] != 1]:
        raise EncoderError(
            f"{name}: output {graph.output} has shape {found.shape}; axis {wrong[0]} is described "
            "as one (onnx.output_axes)"
        )
    kept = [axis for axis in axes if axis != "one"]
    found = found.squeeze(axis=tuple(ones))
    if "tokens" not in kept:
        return found[:, None, :]
    return found.transpose([kept.index(axis) for axis in ("batch", "tokens", "dim")])
