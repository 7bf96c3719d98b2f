"""What ``results.json`` says beside the scores: model, labels, distance and quality of records."""

from typing import Any

import numpy as np
from jaxtyping import Float64

from ecgjepa.inference.predict import Model
from ecgjepa.judging.labels import Matched
from ecgjepa.signals.quality import LOW_SCORE
from ecgjepa.tasks.records import EvaluationData


def describe_judged(model: Model, matched: Matched) -> dict[str, Any]:
    """Return which model was judged, and what became of its labels and the table's.

    Args:
        model: The classifier.
        matched: Labels that both have.
    """
    training = model.config.training
    return {
        "weights_sha256": model.config.weights_sha256,
        "task": model.task.name,
        "protocol": training.get("protocol"),
        "trained_on": training.get("databases", []),
        "map": matched.mapping,
        "labels_of_model_not_in_table": list(matched.lacking),
        "labels_of_table_not_in_model": list(matched.unknown),
        "records_of_other_classes_left_out": matched.num_unknown,
    }


def describe_input(
    model: Model, records: EvaluationData, distances: Float64[np.ndarray, " test"] | None
) -> dict[str, Any]:
    """Return how far the records are from those of the training, and how good their signals are.

    Args:
        model: The classifier.
        records: Those that are scored.
        distances: Of each; None if the model folder does not know the training records.
    """
    found: dict[str, Any] = {"out_of_distribution": {}, "input": {}}
    known = model.config.distribution
    if distances is not None and known is not None:
        found["out_of_distribution"] = {
            **known.model_dump(mode="json", exclude={"sha256"}),
            "share_above_threshold": float((distances > known.threshold).mean()),
            "quantiles": _quantiles(distances),
            "spoiled": {},
            "hardly_detected": [],
        }
    table = records.table.iloc[records.rows(records.parts.test)]
    if "quality" in table:
        quality = table["quality"].dropna().to_numpy(np.float64)
        if quality.size:
            found["input"] = {
                "quality_known": len(quality),
                "quality": _quantiles(quality),
                "share_of_low_quality": float((quality < LOW_SCORE).mean()),
                "low_quality": LOW_SCORE,
            }
    return found


def _quantiles(values: Float64[np.ndarray, " records"]) -> dict[str, float]:
    shares = (0.05, 0.5, 0.95)
    return {f"{share:g}": float(np.quantile(values, share)) for share in shares}
