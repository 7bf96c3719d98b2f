"""What probing and fine-tuning write: results, predictions and the classifier's folder."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecgjepa.errors import ConfigError
from ecgjepa.evaluation.model_card import model_card
from ecgjepa.evaluation.out_of_distribution import OutlierDetector, fit_outlier_detector
from ecgjepa.evaluation.requests import (
    begin_request,
    finish_request,
    is_answered,
    refuse_model_itself,
)
from ecgjepa.evaluation.results import Evaluation, TrainingRecipe, write_evaluation
from ecgjepa.evaluation.spoiled import evaluate_spoiled
from ecgjepa.locks import working_in
from ecgjepa.model.answers import AnswersConfig, LeadSetConfig
from ecgjepa.model.folder import MODEL_FOLDER, ModelConfig, save_model
from ecgjepa.model.outputs import CalibrationConfig
from ecgjepa.protocols.encoders import DescribedEncoder
from ecgjepa.protocols.features import encode_parts
from ecgjepa.protocols.outcome import EvaluationResult
from ecgjepa.protocols.request import Workspace
from ecgjepa.results.layout import PRE_TRAINED, TRAINED_WITH_LABELS
from ecgjepa.results.reading import read_results
from ecgjepa.sharing.references import name_of
from ecgjepa.tasks.folds import is_published

logger = logging.getLogger(__name__)


def result_folder(
    model: str | Path | DescribedEncoder, out: str | Path | None, task: str, protocol: str
) -> Path:
    """Return where results go: ``out``, or a folder beside the model named for what was done.

    Of a factory that is imported, that is a folder in the working folder.
    """
    if out is not None:
        return Path(out)
    if isinstance(model, DescribedEncoder):
        model = "model" if model.foreign is None else model.foreign.source.replace(":", "-")
    path = name_of(model)
    return path.with_name(f"{path.name}-{Path(task).stem}-{protocol}")


@dataclass
class Place:
    """A folder for results in which no other process is at work.

    Attributes:
        folder: The folder.
        request: See `ecgjepa.evaluation.requests.describe_request`.
        finished: The evaluation, if the folder holds the finished one of this very request already.
        is_begun: Whether the folder says that this request is worked on.
    """

    folder: Path
    request: Mapping[str, Any]
    finished: Evaluation | None
    is_begun: bool = False

    def begin(self) -> None:
        """Write down what is worked on, once nothing can be refused any more."""
        begin_request(self.folder, self.request)
        self.is_begun = True


@contextmanager
def writing_results(
    folder: Path, model: str | Path | DescribedEncoder, request: Mapping[str, Any]
) -> Iterator[Place]:
    """Keep other processes out of a folder for results while the block fills it.

    Nothing is written before the block begins, so a request that is refused leaves nothing.

    Args:
        folder: The folder.
        model: What is evaluated.
        request: See `ecgjepa.evaluation.requests.describe_request`.

    Yields:
        The place. If it has the finished evaluation, the block has nothing to do.

    Raises:
        ConfigError: If the folder holds the model, the answer to another request or another kind of
            result, or if another process is at work in it.
    """
    refuse_model_itself(folder, model)
    with working_in(folder, ConfigError, "another evaluation"):
        if is_answered(folder, request):
            logger.info("%s: this evaluation is finished, so it is read and not run again", folder)
            yield Place(folder, request, Evaluation(folder, read_results(folder)))
            return
        yield (place := Place(folder, request, None))
        assert place.is_begun, "results were written into a folder that does not tell of what"
        finish_request(folder, request)


def save_evaluation(
    out: Path,
    config: ModelConfig,
    results: Mapping[str, EvaluationResult],
    work: Workspace,
    model: Mapping[str, Any] | None = None,
) -> Evaluation:
    """Score what a protocol made of each model, and write results, predictions and the classifier.

    Args:
        out: Folder of the evaluation.
        config: Description of the encoder.
        results: By model name, `PRE_TRAINED` first: it is compared with each other one, and its
            classifier is kept.
        work: Where its features are computed, to know records unlike the training ones.
        model: What was evaluated; see `ecgjepa.evaluation.requests.describe_model`.
    """
    first = results[PRE_TRAINED]
    records, classifier = first.records, first.classifier
    detector, detection = None, None
    if classifier is not None:
        means = first.means or encode_parts(
            classifier.encoder, config, records, work.device, classifier.reading
        )
        detector = fit_outlier_detector(means.train, means.validation)
        detection = evaluate_spoiled(classifier, config, records, detector, means.test, work)
    written = write_evaluation(
        out,
        records,
        config,
        {name: item.outcome for name, item in results.items()},
        trained={
            name: TrainingRecipe(item.request.protocol, item.settings)
            for name, item in results.items()
        },
        seed=first.request.seed,
        out_of_distribution=detection,
        decision=first.request.decision,
        model=model,
    )
    if detector is not None:
        _save_classifier(first, config, written, detector)
    return written


def _save_classifier(
    trained: EvaluationResult, config: ModelConfig, result: Evaluation, detector: OutlierDetector
) -> None:
    """Write the trained classifier as a model folder with the results in its card.

    Args:
        trained: The classifier, and the records that it was trained on.
        config: Description of the encoder.
        result: How the classifier did.
        detector: What the training records' features look like.
    """
    assert trained.classifier is not None
    records = trained.records
    stages = [
        {
            "database": database,
            "train": list(records.split.train),
            "validation": list(records.split.validation),
            "published": is_published(records.folds[database]),
        }
        for database in records.trained
    ]
    measure, scores = result.results["measure"], result.results["models"][PRE_TRAINED]
    described = config.model_copy(
        update={
            "head": trained.head,
            "task": records.task_config(),
            "preprocessing": records.preprocessing,
            "normalisation": records.normalisation,
            "calibration": _calibration(scores),
            "answers": AnswersConfig.model_validate(scores["answers"]),
            "lead_sets": tuple(
                LeadSetConfig(
                    leads=one["leads"],
                    calibration=_calibration(one),
                    answers=one["answers"],
                    score=None if None in one[measure] else one[measure],
                )
                for one in scores.get("lead_sets", ())
            ),
            "distribution": detector.config,
            "training": {
                "protocol": result.results["protocol"],
                "settings": result.results["settings"],
                "databases": list(records.trained),
                "label_fraction": records.cohort.label_fraction,
                "label_draw": records.cohort.label_draw,
                **{key: True for key in (TRAINED_WITH_LABELS,) if config.training.get(key)},
                "split": {name: list(folds) for name, folds in records.split._asdict().items()},
                "selected": scores["selected"],
                "seen": [*config.training.get("seen", []), *stages],
                f"test_{measure}": scores[measure],
            },
        }
    )
    save_model(
        result.path / MODEL_FOLDER,
        trained.classifier,
        described,
        model_card(described, result.results),
        distribution=detector.distribution,
    )


def _calibration(scores: Mapping[str, Any]) -> CalibrationConfig | None:
    """Return the correction of probabilities that was fitted; None of a regression."""
    found = scores.get("calibration")
    return None if found is None else CalibrationConfig.model_validate(found["applied"])
