"""What calibration does to a model's probabilities of the test records."""

from collections.abc import Mapping
from typing import Any, Literal

from ecgjepa.metrics.calibration import fit_calibration
from ecgjepa.metrics.classification import (
    Scores,
    brier_scores,
    calibration_errors,
    log_losses,
    macro,
    ones,
    reliability,
)
from ecgjepa.metrics.scoring import Part, mean_of_labels
from ecgjepa.model.outputs import ClassificationKind


def calibrate(
    validation: Part,
    test: Part,
    labels: tuple[str, ...],
    kind: ClassificationKind,
    folds: tuple[int, ...],
) -> dict[str, Any]:
    """Fit calibrations on the validation records and say what they do to the test records.

    Returns:
        ``applied``: the configuration that a model folder gets; ``test``: macro log-loss, Brier
        score and calibration error before and after each method; ``reliability``: curves over all
        labels together, before and after the applied one.
    """
    methods: tuple[Literal["temperature", "platt"], ...] = ("temperature",)
    if kind == "multi-label":
        methods = ("temperature", "platt")
    fitted = {
        method: fit_calibration(*validation, labels, kind=kind, method=method, folds=folds)
        for method in methods
    }
    applied = fitted[methods[-1]]
    return {
        "applied": applied.model_dump(mode="json"),
        **describe_calibrated(
            test,
            {name: config.apply(test.probabilities) for name, config in fitted.items()},
            applied.method,
        ),
    }


def describe_calibrated(
    test: Part, calibrated: Mapping[str, Scores], applied: str | None
) -> dict[str, Any]:
    """Return what calibrations do to the test records.

    Args:
        test: The records and their probabilities before.
        calibrated: By method, the probabilities after it.
        applied: Method that predictions are calibrated with; None for none.

    Returns:
        ``test``: macro log-loss, Brier score and calibration error before and after each method;
        ``reliability``: curves over all labels together, before and after the applied one.
    """
    after = {name: Part(test.targets, values) for name, values in calibrated.items()}
    curves = {"before": test} | ({} if applied is None else {"after": after[applied]})
    return {
        "test": {name: _trust(part) for name, part in ({"before": test} | after).items()},
        "reliability": {name: _curve(part) for name, part in curves.items()},
    }


def _trust(part: Part) -> dict[str, float]:
    once = ones(len(part.targets))
    return {
        "log_loss": float(macro(log_losses(*part, once))[0]),
        "brier": float(macro(brier_scores(*part, once))[0]),
        "calibration_error": mean_of_labels(calibration_errors(*part)),
    }


def _curve(part: Part) -> dict[str, list[Any]]:
    curve = reliability(part.targets.ravel(), part.probabilities.ravel())
    filled = curve.num_records > 0
    return {name: values[filled].tolist() for name, values in curve._asdict().items()}
