"""What an ONNX file says of itself: its metadata properties, all of them text.

Whoever has the file alone must be able to feed it and to read its answer. Lists and tables are
JSON, the rest is plain text. ``docs/onnx.md`` repeats the names. Raise `ONNX_SCHEMA` when a name,
an input, an output or a meaning changes, not for a new property.
"""

import json
from typing import Any

from ecgjepa.databases import catalogue, database_names
from ecgjepa.exporting.graph import RecordGraph
from ecgjepa.exporting.tracing import INPUT
from ecgjepa.model.folder import ModelConfig
from ecgjepa.signals.preprocessing import PreprocessingConfig
from ecgjepa.version import __version__

ONNX_SCHEMA = 1
_INPUTS = {
    "mV": ("float32", "mV", "NaN, and whatever is beyond ±32.767 mV"),
    "uV": ("int16", "µV", "-32768"),
}
_OUTPUTS = {
    "probabilities": "probability of each label, calibrated if the model folder is; as all outputs "
    "but logits NaN for a record with fewer than 8 leads that hold a signal",
    "values": "value of each output of the regression, as in the training labels",
    "logits": "outputs of the head, mean over the windows, before calibration and scaling",
    "features": "mean over windows and patches of the encoder's output, as embed gives it",
    "distance": "distance from the training records, whose mean square is about 1",
}


def properties_of(graph: RecordGraph, config: ModelConfig) -> dict[str, str]:
    """Return the metadata properties of a file, but for what was measured of it.

    Args:
        graph: What the file computes.
        config: What the model folder says.
    """
    preprocessing, example = config.preprocessing, graph.example
    kind, unit, missing = _INPUTS[graph.unit]
    found: dict[str, Any] = {
        "schema": str(ONNX_SCHEMA),
        "software_version": __version__,
        "model_weights_sha256": config.weights_sha256,
        "licence": _licences(config),
        "intended_use": "research only; not a medical device",
        "input": {
            "name": INPUT,
            "type": kind,
            "axes": ["records", "samples", "leads"],
            "unit": unit,
            "missing": missing,
        },
        "outputs": {name: _OUTPUTS[name] for name in graph.names},
        "leads": list(preprocessing.leads),
        "sampling_rate": f"{preprocessing.sampling_rate:.15g}",
        "window_samples": str(example.size),
        "stride_samples": str(example.stride),
        "preprocessing_outside": _outside(preprocessing),
    }
    if config.task is not None and config.head is not None:
        found |= _answers(config)
    return {
        name: value if isinstance(value, str) else _json(value) for name, value in found.items()
    }


def _answers(config: ModelConfig) -> dict[str, Any]:
    """Return what the outputs of a classifier mean and decide."""
    task, answers = config.task, config.answers
    assert task is not None
    found: dict[str, Any] = {
        "task": task.name,
        "kind": task.kind,
        "labels": list(task.labels),
        "descriptions": list(task.descriptions),
        "calibration": "none" if config.calibration is None else config.calibration.method,
    }
    if answers is not None and answers.decisions is not None:
        chosen = answers.decisions.thresholds
        found |= {"rule": chosen.rule, "thresholds": list(chosen.values)}
    if answers is not None and answers.label_sets is not None:
        sets = answers.label_sets
        found["label_sets"] = {
            "kind": sets.kind,
            "coverage": sets.coverage,
            "thresholds": list(sets.thresholds),
        }
    if answers is not None and answers.value_intervals is not None:
        widths = answers.value_intervals
        found["value_intervals"] = {
            "coverage": widths.coverage,
            "half_widths": list(widths.half_widths),
        }
    if config.distribution is not None:
        found["distance_threshold"] = f"{config.distribution.threshold:.6g}"
    return found


def _outside(preprocessing: PreprocessingConfig) -> list[dict[str, Any]]:
    """Return what is done to a record before it enters the file, in order, each by its name."""
    steps: list[dict[str, Any]] = [
        {"name": "read", "does": "reads the file, checks it, and turns its unit into the input's"},
        {
            "name": "leads",
            "does": "finds the leads by name and puts them in order; derives limb leads that are "
            "not in the file by Einthoven's law; others stay missing",
        },
        {
            "name": "bridge_gaps",
            "does": "draws a line through gaps of missing samples up to this duration",
            "max_gap_seconds": preprocessing.max_gap_seconds,
        },
    ]
    if preprocessing.highpass_hz is not None:
        steps.append(
            {
                "name": "highpass",
                "does": "Butterworth high-pass of order 4, run forward and backward",
                "cutoff_hz": preprocessing.highpass_hz,
            }
        )
    return [
        *steps,
        {
            "name": "resample",
            "does": "polyphase filter, the signal continued by a line beyond its ends (scipy."
            "signal.resample_poly with padtype='line')",
            "sampling_rate": preprocessing.sampling_rate,
        },
        {
            "name": "quality",
            "does": "refuses records with fewer than 8 usable leads or without any signal, and "
            "notes faults",
        },
    ]


def _licences(config: ModelConfig) -> str:
    """Return on what the weights were trained, and the licence of each database that is known."""
    trained = {*config.pretraining.records, *config.training.get("databases", ())}
    if not trained:
        return "not known: the model folder names no database that its weights were trained on"
    known = set(database_names())
    words = [
        f"{name} ({catalogue.describe(name).licence})"
        if name in known
        else f"{name} (licence not known)"
        for name in sorted(trained)
    ]
    return f"weights trained on {', '.join(words)}; they are subject to what these licences ask"


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
