"""What a model gives for a record becomes a prediction: calibrated, decided, and compared."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float64

from ecgjepa.errors import ConfigError, ModelFolderError, RecordError
from ecgjepa.inference.lead_sets import advised, note_of_leads
from ecgjepa.inference.prediction import Prediction
from ecgjepa.inference.windows import RecordWindows, outputs_of_logits, windows_of
from ecgjepa.model.answers import AnswersConfig
from ecgjepa.model.distribution import DistributionConfig, FeatureDistribution
from ecgjepa.model.folder import ModelConfig
from ecgjepa.signals.acceptance import Usable
from ecgjepa.signals.record import Issue


class Facts(NamedTuple):
    """What a prediction says of its file, beside what the model gives.

    Attributes:
        record: Name of the record.
        duration: Seconds of signal.
        sampling_rate: Of the file, in Hz.
        quality_score: From 0 (useless) to 1 (clean).
        findings: What was noticed about it, until it was cut into windows.
        leads: Leads that the model sees; none for all.
    """

    record: str
    duration: float
    sampling_rate: float
    quality_score: float
    findings: tuple[Issue, ...]
    leads: tuple[str, ...]


def with_windows(
    usable: Iterable[tuple[str, Usable | RecordError]], config: ModelConfig
) -> Iterator[tuple[tuple[str, Facts | RecordError], RecordWindows | None]]:
    """Yield the windows of each record, with its file and what is known of it without the model.

    A record that cannot be used has no windows; its error tells what would answer it.

    Args:
        usable: Records, each with its file.
        config: Of the model.
    """
    for file, found in usable:
        if isinstance(found, RecordError):
            yield (file, advised(found, config)), None
            continue
        windows, findings = windows_of(found.prepared, config, found.leads)
        findings += note_of_leads(found, config)
        source, quality = found.source, found.prepared.quality
        known = (source.record_id, source.duration, source.sampling_rate)
        yield (file, Facts(*known, quality, findings, found.leads)), windows


def as_asked(
    config: ModelConfig, folder: Path, *, calibrated: bool, decision: str | None
) -> ModelConfig:
    """Return a classifier's description as its predictions are asked for.

    Args:
        config: Description of the model.
        folder: Its folder, for the message.
        calibrated: Whether probabilities are corrected. Without that there are no thresholds and no
            label sets, for they are of corrected probabilities.
        decision: Rule of the thresholds; None for the one of the folder.

    Raises:
        ConfigError: If the folder holds no thresholds of the rule.
    """
    assert config.task is not None, "an encoder alone predicts nothing"
    if not calibrated and config.task.kind != "regression":
        sets = tuple(
            each.model_copy(update={"calibration": None, "answers": AnswersConfig()})
            for each in config.lead_sets
        )
        changed = {"calibration": None, "answers": None, "lead_sets": sets}
        config = config.model_copy(update=changed)
    if decision is None:
        return config
    answers = config.answers
    if answers is None or answers.decisions is None:
        why = " of uncalibrated probabilities" if not calibrated else ""
        raise ConfigError(
            f"{folder}: holds no thresholds{why}, so nothing is decided by {decision[:80]!r}"
        )
    sets = tuple(
        each.model_copy(update={"answers": _decided_by(each.answers, decision)})
        for each in config.lead_sets
    )
    return config.model_copy(update={"answers": _decided_by(answers, decision), "lead_sets": sets})


def _decided_by(answers: AnswersConfig, decision: str) -> AnswersConfig:
    if answers.decisions is None:
        return answers
    return answers.model_copy(update={"decisions": answers.decisions.choose(decision)})


def rule_of(config: ModelConfig) -> str | None:
    """Return the rule that a classifier's decisions follow; None where it decides nothing."""
    decisions = None if config.answers is None else config.answers.decisions
    return None if decisions is None else decisions.chosen


def undecided(config: ModelConfig) -> tuple[str, ...]:
    """Return a sentence on the labels that a classifier's rule has no threshold for, if any."""
    decisions = None if config.answers is None else config.answers.decisions
    if decisions is None or config.task is None:
        return ()
    found = decisions.thresholds
    pairs = zip(config.task.labels, found.values, strict=True)
    if not (names := [label for label, value in pairs if value is None]):
        return ()
    words = "1 label has" if len(names) == 1 else f"{len(names):,} labels have"
    return (f"{words} no threshold by {found.rule}, so no decision: {', '.join(names)}",)


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
        distribution: Distribution of the training records' features, if the model folder has it;
            of features from all leads, so that fewer leads have no distance.
    """
    config = config.for_leads(facts.leads)
    assert config.task is not None, "an encoder alone predicts nothing"
    values = outputs_of_logits(torch.from_numpy(logits)[None], config.task).numpy()
    if config.calibration is not None:
        values = config.calibration.apply(values)
    distance, findings = None, facts.findings
    if distribution is not None and config.distribution is not None:
        distance = float(distribution.distances(features[None])[0])
        findings += _unlike_training_records(distance, config.distribution)
    probabilities = dict(zip(config.task.labels, values[0].tolist(), strict=True))
    answers = config.answers or AnswersConfig()
    decisions, sets, widths = answers.decisions, answers.label_sets, answers.value_intervals
    return Prediction(
        file=file,
        record=facts.record,
        probabilities=probabilities,
        decisions={} if decisions is None else decisions.apply(probabilities),
        rule=None if decisions is None else decisions.chosen,
        label_set=None if sets is None else sets.apply(probabilities),
        intervals={} if widths is None else widths.apply(probabilities),
        findings=findings,
        duration=facts.duration,
        sampling_rate=facts.sampling_rate,
        quality_score=facts.quality_score,
        distance=distance,
        leads=facts.leads or config.preprocessing.leads,
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


def without_head(folder: Path) -> ModelFolderError:
    """Return what is to be said of an encoder that should predict."""
    return ModelFolderError(
        f"{folder}: is an encoder without a head, so it predicts nothing; train one with "
        "'ecgjepa probe' or 'ecgjepa finetune'"
    )
