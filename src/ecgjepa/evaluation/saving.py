"""What probing and fine-tuning share: crops, probabilities, and the classifier's folder."""

import json
from pathlib import Path
from typing import Any

from ecgjepa.errors import ConfigError
from ecgjepa.evaluation.out_of_distribution import OutlierDetector
from ecgjepa.evaluation.results import RESULTS_FILE, Evaluation
from ecgjepa.metrics.scoring import MEASURES
from ecgjepa.model.folder import ModelConfig, save_model
from ecgjepa.model.heads import Classifier, HeadConfig
from ecgjepa.model.outputs import CalibrationConfig
from ecgjepa.tasks.folds import is_published
from ecgjepa.tasks.records import EvaluationData

MODEL_FOLDER = "model"


def result_folder(model: str | Path, out: str | Path | None, task: str, protocol: str) -> Path:
    """Return where results go: ``out``, or a folder beside the model named for what was done."""
    if out is not None:
        return Path(out)
    path = Path(model)
    return path.with_name(f"{path.name}-{Path(task).stem}-{protocol}")


def refuse_to_overwrite(folder: Path, model: str | Path, task: str, protocol: str) -> None:
    """Refuse a folder for results in which something else is.

    Raises:
        ConfigError: If the model is in it, or results of another task or protocol.
    """
    path, name = Path(model), Path(task).stem
    if path.resolve() in (folder.resolve(), (folder / MODEL_FOLDER).resolve()):
        raise ConfigError(f"{folder}: holds the model that is evaluated; choose another --out")
    results = folder / RESULTS_FILE
    if results.is_file():
        content = json.loads(results.read_text(encoding="utf-8"))
        there = (content["task"]["name"], content["protocol"])
        if there != (name, protocol):
            raise ConfigError(
                f"{folder}: holds results of task {there[0]}, protocol {there[1]}; asked is task "
                f"{name}, protocol {protocol}. Choose another --out"
            )


def save_classifier(
    out: Path,
    classifier: Classifier,
    head: HeadConfig,
    config: ModelConfig,
    records: EvaluationData,
    result: Evaluation,
    known: OutlierDetector,
) -> None:
    """Write the trained classifier as a model folder with the results in its card.

    Args:
        out: Folder of the evaluation.
        classifier: What was trained.
        head: Its head.
        config: Of the encoder.
        records: What it was trained on.
        result: How it did.
        known: What the training records' features look like.
    """
    stages = [
        {
            "database": database,
            "train": list(records.split.train),
            "validation": list(records.split.validation),
            "published": is_published(records.facts["folds"][database]),
        }
        for database in records.trained
    ]
    measure, scores = result.results["measure"], result.results["models"]["pre-trained"]
    described = config.model_copy(
        update={
            "head": head,
            "task": records.task_config(),
            "preprocessing": records.preprocessing,
            "normalisation": records.normalisation,
            "calibration": None
            if records.task.kind == "regression"
            else CalibrationConfig.model_validate(scores["calibration"]["applied"]),
            "distribution": known.config,
            "training": {
                "protocol": result.results["protocol"],
                "settings": result.results["settings"],
                "database": "+".join(records.trained),
                "label_fraction": records.facts["label_fraction"],
                "label_draw": records.facts["label_draw"],
                "split": {name: list(folds) for name, folds in records.split._asdict().items()},
                "selected": scores["selected"],
                "seen": [*config.training.get("seen", []), *stages],
                f"test_{measure}": scores[measure],
            },
        }
    )
    card = _card(described, result.results["out_of_distribution"])
    save_model(out / MODEL_FOLDER, classifier, described, card, distribution=known.distribution)


def _card(config: ModelConfig, detection: dict[str, Any]) -> str:
    task, training, calibration = config.task, config.training, config.calibration
    assert task is not None
    measure, words = next(item for item in MEASURES.items() if f"test_{item[0]}" in training)
    value, low, high = training[f"test_{measure}"]
    labels = "\n".join(
        f"- {label}: {text}" for label, text in zip(task.labels, task.descriptions, strict=True)
    )
    return (
        f"# ECG classifier: {task.name} ({training['protocol']})\n\n"
        "For research use only; not a medical device.\n\n"
        f"Trained on {training['database']}, folds {training['split']['train']}; selected on "
        f"{training['split']['validation']}; tested on {training['split']['test']}: {words} "
        f"{value:.3f} (95 % interval over patients {low:.3f} to {high:.3f}).\n\n"
        f"Input: {', '.join(config.preprocessing.leads)} at "
        f"{config.preprocessing.sampling_rate:g} Hz; records of any rate are resampled. "
        "Preprocessing, normalisation and windows are in config.json.\n\n"
        f"{_trust(calibration)}{_limits(detection)}"
        f"Labels, in the order of the outputs:\n\n{labels}\n"
    )


def _trust(calibration: CalibrationConfig | None) -> str:
    if calibration is None:
        return "Intervals and scores per value are in results.json beside this folder.\n\n"
    return (
        f"Probabilities are calibrated on the validation folds ({calibration.method}), for records "
        "like those; elsewhere, calibrate anew. Intervals and scores per label, at thresholds and "
        "in subgroups are in results.json beside this folder.\n\n"
    )


def _limits(detection: dict[str, Any]) -> str:
    missed = ", ".join(detection["hardly_detected"])
    return (
        "A prediction says when a record's features are farther from the training records' than "
        f"{detection['threshold']:.3g}, as {detection['share_above_threshold']:.1%} of the test "
        "records are. What was spoiled on purpose and yet hardly noticed: "
        f"{missed or 'none of what was tried'} (results.json, out_of_distribution).\n\n"
    )
