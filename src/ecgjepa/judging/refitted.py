"""The classifier with answers that were fitted to other records, as a model folder of its own."""

from pathlib import Path
from typing import Any

from ecgjepa.evaluation.results import Evaluation
from ecgjepa.inference.predict import Model
from ecgjepa.judging.answers import Answers, for_folder
from ecgjepa.judging.records import JudgedRecords
from ecgjepa.model.answers import AnswersConfig, Tested
from ecgjepa.model.folder import CARD_FILE, MODEL_FOLDER, save_model
from ecgjepa.results.layout import PRE_TRAINED
from ecgjepa.sharing.cards import split_card
from ecgjepa.sharing.references import find_model
from ecgjepa.tasks.folds import is_published


def save_refitted(
    written: Evaluation,
    path: str | Path,
    model: Model,
    opened: JudgedRecords,
    answers: Answers,
    measured: AnswersConfig,
) -> None:
    """Write the classifier with its new answers; its weights, and the folder it had, stay.

    Args:
        written: How it did.
        path: Where the classifier is.
        model: The classifier.
        opened: What the answers were fitted to, and scored on.
        answers: Calibration, thresholds and label sets that were fitted.
        measured: Thresholds and label sets with what they do on the records that were scored.
    """
    config, columns = model.config, opened.matched.columns
    complete = answers._replace(decisions=measured.decisions, sets=measured.label_sets)
    held = for_folder(complete, config, columns)
    count = len(model.task.labels)
    measure = written.results["measure"]
    training = {
        **config.training,
        "seen": [*config.training.get("seen", []), *_stages(opened)],
        "refitted": written.results["judged"],
        f"test_{measure}": written.results["models"][PRE_TRAINED][measure],
    }
    described = config.model_copy(
        update={
            "calibration": answers.calibration,
            "answers": held.model_copy(
                update={"tested": _for_all_labels(measured.tested, columns, count)}
            ),
            "training": training,
        }
    )
    place = find_model(path)
    card = place / CARD_FILE
    before = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    head, body = split_card(before)
    save_model(
        written.path / MODEL_FOLDER,
        model.classifier.cpu(),
        described,
        f"{head}{_card(written, opened)}{body}",
        distribution=model.distribution,
    )


def _stages(opened: JudgedRecords) -> list[dict[str, Any]]:
    """Return what was seen of each database, for the guard against leaks: nothing was trained."""
    records = opened.records
    rows = records.table.iloc[records.rows(records.parts.validation)]
    return [
        {
            "database": str(database),
            "train": [],
            "validation": sorted({int(fold) for fold in part["fold"]}),
            "published": is_published(records.folds[str(database)]),
        }
        for database, part in rows.groupby("database", sort=True)
    ]


def _for_all_labels(tested: Tested | None, columns: list[int], count: int) -> Tested | None:
    """Return scores with a place for every label of the classifier.

    A label that was not in the table has no score and no positive record.
    """
    if tested is None:
        return None

    def spread(values: tuple[Any, ...], missing: Any) -> tuple[Any, ...]:  # noqa: ANN401
        found = [missing] * count
        for column, value in zip(columns, values, strict=True):
            found[column] = value
        return tuple(found)

    return tested.model_copy(
        update={
            "positives": spread(tested.positives, 0),
            "auroc": spread(tested.auroc, None),
            "average_precision": spread(tested.average_precision, None),
        }
    )


def _card(written: Evaluation, opened: JudgedRecords) -> str:
    records, judged = opened.records, written.results["judged"]
    value, low, high = written.score()
    fitted = written.results["models"][PRE_TRAINED]["selected"]
    left = judged["labels_of_model_not_in_table"]
    return (
        f"# Fitted to {', '.join(records.databases)}\n\n"
        "For research use only; not a medical device.\n\n"
        f"The classifier below, with the same weights. Fitted: {fitted}. Scored on "
        f"{len(records.parts.test):,} records of other patients: macro AUROC {value:.3f} (95 % "
        f"interval over patients {low:.3f} to {high:.3f}).\n\n"
        + (f"Not fitted, for want of labels: {', '.join(left)}.\n\n" if left else "")
        + "What follows was written when the classifier was trained.\n\n"
    )
