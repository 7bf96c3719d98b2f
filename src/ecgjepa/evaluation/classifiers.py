"""What probing and fine-tuning share: crops, probabilities, and the classifier's folder."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ecgjepa.evaluation.data import EvaluationData
from ecgjepa.evaluation.results import Evaluation
from ecgjepa.model.folder import CalibrationConfig, ModelConfig, save_model
from ecgjepa.model.heads import Classifier, HeadConfig

MODEL_FOLDER = "model"


def result_folder(model: str | Path, out: str | Path | None, task: str, protocol: str) -> Path:
    """Return where results go: ``out``, or a folder beside the model named for what was done."""
    if out is not None:
        return Path(out)
    path = Path(model)
    return path.with_name(f"{path.name}-{task}-{protocol}")


def random_crops(
    records: EvaluationData,
    rows: Int64[np.ndarray, " batch"],
    size: int,
    rng: np.random.Generator,
) -> Tensor:
    """Return one crop of ``size`` samples, at any position, of each record, in µV."""
    room = np.maximum(records.store.num_samples[rows] - size, 0)
    out = torch.empty(len(rows), size, records.store.num_leads, dtype=torch.int16)
    records.store.read(rows, rng.integers(0, room + 1), out.numpy())
    return out


def probabilities(logits: Float[Tensor, "records labels"], *, single_label: bool) -> np.ndarray:
    """Return softmax or sigmoid of averaged logits."""
    scores = logits.softmax(dim=1) if single_label else logits.sigmoid()
    return scores.double().cpu().numpy()


def save_classifier(
    out: Path,
    classifier: Classifier,
    head: HeadConfig,
    config: ModelConfig,
    records: EvaluationData,
    result: Evaluation,
) -> None:
    """Write the trained classifier as a model folder with the results in its card."""
    stage = {
        "database": records.database,
        "train": list(records.split.train),
        "validation": list(records.split.validation),
    }
    described = config.model_copy(
        update={
            "head": head,
            "task": records.task_config(),
            "normalisation": records.normalisation,
            "calibration": CalibrationConfig.model_validate(
                result.results["models"]["pre-trained"]["calibration"]["applied"]
            ),
            "training": {
                "protocol": result.results["protocol"],
                "settings": result.results["settings"],
                "database": records.database,
                "split": {name: list(folds) for name, folds in records.split._asdict().items()},
                "selected": result.results["models"]["pre-trained"]["selected"],
                "seen": [*config.training.get("seen", []), stage],
                "test_macro_auroc": result.results["models"]["pre-trained"]["macro_auroc"],
            },
        }
    )
    save_model(out / MODEL_FOLDER, classifier, described, _card(described))


def _card(config: ModelConfig) -> str:
    task, training, calibration = config.task, config.training, config.calibration
    assert task is not None
    assert calibration is not None
    value, low, high = training["test_macro_auroc"]
    labels = "\n".join(
        f"- {label}: {text}" for label, text in zip(task.labels, task.descriptions, strict=True)
    )
    return (
        f"# ECG classifier: {task.name} ({training['protocol']})\n\n"
        "For research use only; not a medical device.\n\n"
        f"Trained on {training['database']}, folds {training['split']['train']}; selected on "
        f"{training['split']['validation']}; tested on {training['split']['test']}: macro AUROC "
        f"{value:.3f} (95 % interval over patients {low:.3f} to {high:.3f}).\n\n"
        f"Input: {', '.join(config.preprocessing.leads)} at "
        f"{config.preprocessing.sampling_rate:g} Hz; records of any rate are resampled. "
        "Preprocessing, normalisation and windows are in config.json.\n\n"
        f"Probabilities are calibrated on the validation folds ({calibration.method}), for records "
        "like those; elsewhere, calibrate anew. Intervals and scores per label, at thresholds and "
        "in subgroups are in results.json beside this folder.\n\n"
        f"Labels, in the order of the outputs:\n\n{labels}\n"
    )
