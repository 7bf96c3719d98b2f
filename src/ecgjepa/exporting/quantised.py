"""Weights of 8 bits: a smaller file, and what that costs, measured on real records.

Dynamic quantisation of onnxruntime: the weights of the products in the encoder's blocks become
8-bit integers with a scale for each column; what they multiply is rounded to 8 bits as it comes.
Head, calibration and distance stay as they are, as does the layer that sees amplitudes.
"""

import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ecgjepa.errors import ExportError
from ecgjepa.exporting.agreement import Loaded, open_session, outputs_of_file
from ecgjepa.exporting.graph import RecordGraph
from ecgjepa.inference.predict import Model
from ecgjepa.judging.records import Choice, JudgedRecords, open_judged, refuse_early
from ecgjepa.metrics.bootstrap import PatientBootstrap
from ecgjepa.metrics.paired import Comparison, compare_models
from ecgjepa.model.compute import choose_device
from ecgjepa.model.folder import ModelConfig
from ecgjepa.model.heads import Classifier
from ecgjepa.protocols.request import Workspace
from ecgjepa.results.compared import METRIC_WORDS
from ecgjepa.tasks.opening import Data

if TYPE_CHECKING:
    from onnx import ModelProto

# The macro AUROC, or R², that 8 bits may cost at most: the value, not the bound of its interval.
MOST_LOSS = 0.005


class Measured(NamedTuple):
    """What 8 bits do to the answers for labelled records.

    Attributes:
        comparison: Macro scores of 8 bits and of 32, and their difference with its interval.
        mean_difference: Mean difference of an output, without its sign; of a regression in standard
            deviations of the training values.
        largest_difference: The largest.
        changed: Share of the decisions that change; None where nothing is decided.
        databases: Where the records are from.
    """

    comparison: Comparison
    mean_difference: float
    largest_difference: float
    changed: float | None
    databases: tuple[str, ...]

    @property
    def loss(self) -> float:
        """How much lower the macro score is."""
        return -self.comparison.difference.value

    def as_json(self) -> dict[str, Any]:
        """Return the same as JSON content, rounded."""
        found = self.comparison
        named = {"int8": found.first.score.value, "float32": found.second.score.value}
        return {
            "method": "dynamic quantisation of the products in the encoder's blocks",
            "measured_on": list(self.databases),
            "records": found.records,
            "patients": found.patients,
            "score": METRIC_WORDS[found.metric],
            **{name: round(value, 4) for name, value in named.items()},
            "difference": [round(value, 4) for value in found.difference],
            "mean_difference": float(f"{self.mean_difference:.3g}"),
            "largest_difference": float(f"{self.largest_difference:.3g}"),
            "changed_decisions": None if self.changed is None else float(f"{self.changed:.3g}"),
        }


def quantise(traced: "ModelProto") -> "ModelProto":
    """Return a traced model with weights of 8 bits in the products of its encoder's blocks.

    Raises:
        ExportError: If there are none.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    # The quantiser turns Gemm into MatMul, under another name, before it looks for MatMul.
    kept = [
        name
        for node in traced.graph.node
        if not node.name.startswith("encoder.blocks.")
        for name in (node.name, f"{node.name}_MatMul")
    ]
    with tempfile.TemporaryDirectory() as folder, _quietly():
        path = Path(folder) / "int8.onnx"
        quantize_dynamic(
            traced,
            path,
            op_types_to_quantize=["MatMul"],
            nodes_to_exclude=kept,
            weight_type=QuantType.QInt8,
            per_channel=True,
        )
        found = onnx.load(path)
    if not any(node.op_type == "MatMulInteger" for node in found.graph.node):
        raise ExportError(
            "int8: the encoder's blocks hold no matrix products, whose weights would become 8-bit "
            "integers; leave int8 out"
        )
    return found


@contextmanager
def _quietly() -> Iterator[None]:
    """Hide advice to preprocess the model, which fails on a model of any number of records."""
    root, before = logging.getLogger(), logging.getLogger().level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(before)


class Labelled(NamedTuple):
    """Labelled records that 8 bits are measured on.

    Attributes:
        data: Databases, name to folder; or the folder of a store prepared as the model needs it.
        task: See `ecgjepa.evaluate`; None for the model's.
        folds: Folds to score; all records if there are none.
        cache: Folder for the prepared records.
        progress: Called with (records done, in all).
    """

    data: Data
    task: str | None = None
    folds: tuple[int, ...] = ()
    cache: str | Path | None = None
    progress: Callable[[int, int], None] | None = None


def refuse_without_score(config: ModelConfig) -> None:
    """Raise `ExportError` if the model is an encoder alone: nothing would tell what 8 bits cost."""
    if config.head is None:
        raise ExportError(
            "int8: the model is an encoder without a head, so there is no score that would tell "
            "what 8 bits cost; export a classifier, or leave int8 out"
        )


def measure(
    contents: tuple[bytes, bytes], graph: RecordGraph, loaded: Loaded, labelled: Labelled
) -> Measured:
    """Compare two files on labelled records that the model has not seen.

    Args:
        contents: Bytes of the file of 8 bits, and of the one of 32.
        graph: What both compute.
        loaded: The model.
        labelled: The records.

    Raises:
        TaskError: If the records have no labels of the model's, or it has seen them.
    """
    config, network = loaded.config, loaded.model
    assert config.task is not None, "see refuse_without_score"
    assert isinstance(network, Classifier)
    model = Model(network, config, choose_device("cpu"), loaded.distribution)
    choice = Choice(task=labelled.task or config.task.name, folds=labelled.folds)
    refuse_early(config, labelled.data, choice)
    work = Workspace(model.device, labelled.cache, None)
    opened = open_judged(model, labelled.data, choice, work)
    with opened.records as records:
        rows = records.rows(records.parts.test)

        def samples() -> Iterable[Any]:
            for number, row in enumerate(rows.tolist()):
                yield records.store.read_record(row)
                if labelled.progress is not None:
                    labelled.progress(number + 1, len(rows))

        first, second = (
            outputs_of_file(open_session(content), samples(), graph.unit) for content in contents
        )
        return _compared(first, second, opened, loaded)


def _compared(
    first: Mapping[str, Any], second: Mapping[str, Any], opened: JudgedRecords, loaded: Loaded
) -> Measured:
    records, columns = opened.records, opened.matched.columns
    task, answers = loaded.config.task, loaded.config.answers
    assert task is not None
    name = "values" if task.kind == "regression" else "probabilities"
    int8, float32 = (one[name][:, columns].astype(np.float64) for one in (first, second))
    part = records.parts.test
    patients = PatientBootstrap(records.patients(part))
    comparison = compare_models(
        records.targets(part), [int8], [float32], records.task.labels, patients
    )
    gap = np.abs(int8 - float32)
    if task.kind == "regression":
        gap = gap / np.array(task.spread)[columns]
    changed = None
    if answers is not None and answers.decisions is not None:
        values = np.array(answers.decisions.thresholds.values, np.float64)[columns]
        decided = ~np.isnan(values)
        calls = [(one >= values)[:, decided] for one in (int8, float32)]
        changed = float((calls[0] != calls[1]).mean()) if decided.any() else None
    return Measured(comparison, float(gap.mean()), float(gap.max()), changed, records.tested)
