"""What a model gives for a record becomes a prediction: calibrated, decided, and compared."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float64

from ecgjepa.inference.prediction import Prediction
from ecgjepa.inference.windows import outputs_of_logits
from ecgjepa.model.distribution import DistributionConfig, FeatureDistribution
from ecgjepa.model.folder import ModelConfig
from ecgjepa.signals.record import Issue


class Facts(NamedTuple):
    """What a prediction says of its file, beside what the model gives."""

    record: str
    duration: float
    sampling_rate: float
    quality_score: float
    findings: tuple[Issue, ...]


def interpret(
    file: str,
    facts: Facts,
    logits: Float64[np.ndarray, " labels"],
    features: Float64[np.ndarray, " dim"],
    config: ModelConfig,
    distribution: FeatureDistribution | None,
) -> Prediction:
    """Return what a classifier's outputs for a record mean.

    Args:
        file: File of the record.
        facts: What is known about the record without the model.
        logits: Mean over the record's windows.
        features: Mean over windows and patches.
        config: Of the model.
        distribution: Distribution of the training records' features, if the model folder has it.
    """
    assert config.task is not None, "an encoder alone predicts nothing"
    values = outputs_of_logits(torch.from_numpy(logits)[None], config.task).numpy()
    if config.calibration is not None:
        values = config.calibration.apply(values)
    distance, findings = None, facts.findings
    if distribution is not None and config.distribution is not None:
        distance = float(distribution.distances(features[None])[0])
        findings += _unlike_training_records(distance, config.distribution)
    probabilities = dict(zip(config.task.labels, values[0].tolist(), strict=True))
    decisions = config.decisions
    return Prediction(
        file=file,
        record=facts.record,
        probabilities=probabilities,
        decisions={} if decisions is None else decisions.apply(probabilities),
        findings=findings,
        duration=facts.duration,
        sampling_rate=facts.sampling_rate,
        quality_score=facts.quality_score,
        distance=distance,
    )


def _unlike_training_records(distance: float, known: DistributionConfig) -> tuple[Issue, ...]:
    if distance <= known.threshold:
        return ()
    return (
        Issue(
            "unlike_training_records",
            f"unlike the training records: distance {distance:.3g}, and {100 * known.passed:g} % "
            f"of the validation records are within {known.threshold:.3g}. The model has hardly "
            "seen such a record: look at its electrodes, gain and noise before you use the "
            "probabilities. If many are like this, test and calibrate the model on them",
        ),
    )


def in_one_line(config: ModelConfig) -> str:
    """Return what a classifier predicts, and of what size it is, on one line."""
    assert config.task is not None
    encoder, labels = config.encoder, config.task.labels
    more = f", … {len(labels)} in all" if len(labels) > 4 else ""
    return (
        f"task={config.task.name!r}, labels: {', '.join(labels[:4])}{more}; encoder of "
        f"{encoder.depth} blocks of width {encoder.dim}, {config.preprocessing.sampling_rate:g} Hz"
    )
