"""ECGs on the page: what an objective hides of one, and test records with their predictions."""

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd

from ecgjepa.errors import StoreError
from ecgjepa.metrics.classification import Scores
from ecgjepa.model.answers import AnswersConfig
from ecgjepa.model.outputs import CalibrationConfig, DecisionConfig
from ecgjepa.reporting.ecg_paper import draw_ecg
from ecgjepa.reporting.evaluation_section import EvaluationSection
from ecgjepa.reporting.figures import as_data_uri
from ecgjepa.reporting.training_figures import draw_picture
from ecgjepa.reporting.training_section import PretrainingSection
from ecgjepa.results.layout import PRE_TRAINED
from ecgjepa.results.predictions import PROBABILITY, TARGET, UNKNOWN_DATABASE, VALUE, columns
from ecgjepa.signals.microvolt import from_microvolt
from ecgjepa.signals.record import Record
from ecgjepa.store.manifest import find_store
from ecgjepa.store.reading import Store

_SHOWN_LEADS = ("II", "V2", "V5")
_EXAMPLES = 3  # labels of which a record is shown


def draw_hidden(pretraining: PretrainingSection, evaluation: EvaluationSection) -> str | None:
    """Return a picture of what a run's objective hides, on the first test record.

    None if the run does not say what it hides, or the records are gone.
    """
    picture = None if pretraining.words is None else pretraining.words.picture
    store = None if picture is None else _open_store(evaluation)
    if picture is None or store is None:
        return None
    data = pretraining.config.data
    table = store.table()
    test = evaluation.predictions[evaluation.predictions["part"] == "test"]
    row = _row_of(table, test.iloc[0])
    if row is None:
        store.close()
        return None
    signal, _ = from_microvolt(store.read_record(row)[: data.window_samples])
    shown = [lead for lead in _SHOWN_LEADS if lead in data.leads] or list(data.leads[:3])
    store.close()
    figure = draw_picture(
        signal[:, [data.leads.index(lead) for lead in shown]],
        shown,
        picture,
        sampling_rate=data.sampling_rate,
    )
    return as_data_uri(figure)


def draw_example_ecgs(evaluation: EvaluationSection) -> list[dict[str, str]]:
    """Return a few test records on ECG paper, those that say most about the model.

    Of a classification per label the surest hit, and the worst miss; of a regression per label the
    value that was predicted worst. A record that the store does not have, or has twice under names
    that an old file of predictions does not tell apart, is not shown.
    """
    store = _open_store(evaluation)
    if store is None:
        return []
    test = evaluation.predictions
    test = test[(test["part"] == "test") & (test["model"] == PRE_TRAINED)].reset_index(drop=True)
    choose = _worst_values
    if not evaluation.is_regression:
        scores, decisions = _answers(evaluation, test)
        choose = partial(_hits_and_misses, scores=scores, decisions=decisions)
    table = store.table()
    pictures = []
    for example in choose(test, evaluation.labels):
        row = _row_of(table, test.iloc[example.place])
        if row is None:
            continue
        name = f"{table['database'].iloc[row]}/{table['record_id'].iloc[row]}"
        figure = draw_ecg(
            _record(store, row, name), title=f"Record {name}: {example.why}", note=example.note
        )
        pictures.append({"why": example.why, "record": name, "image": as_data_uri(figure)})
    store.close()
    return pictures


def _row_of(table: pd.DataFrame, prediction: pd.Series) -> int | None:
    """Return the row of a predicted record in a store's index, or None if it is not known."""
    chosen = table["record_id"] == str(prediction["record_id"])
    if prediction["database"] != UNKNOWN_DATABASE:
        chosen &= table["database"] == prediction["database"]
    rows = np.flatnonzero(chosen)
    return int(rows[0]) if len(rows) == 1 else None


class _Example(NamedTuple):
    """A test record, the reason to show it, and the note beside it."""

    place: int
    why: str
    note: str


def _answers(
    evaluation: EvaluationSection, test: pd.DataFrame
) -> tuple[Scores, DecisionConfig | None]:
    """Return what the saved model answers for the test records: probabilities, and how it decides.

    Results of older versions know no calibration or no thresholds. A calibration of more labels
    than were scored cannot be applied; the probabilities are those before it then, and not decided,
    for thresholds belong to those after it.
    """
    model = evaluation.results["models"][PRE_TRAINED]
    scores = columns(test, PROBABILITY, evaluation.labels)
    applied = model.get("calibration", {}).get("applied") or {}
    if len(applied.get("scale", evaluation.labels)) != len(evaluation.labels):
        return scores, None
    if "scale" in applied:
        scores = CalibrationConfig.model_validate(applied).apply(scores)
    return scores, AnswersConfig.model_validate(model.get("answers", {})).decisions


def _hits_and_misses(
    test: pd.DataFrame, labels: list[str], scores: Scores, decisions: DecisionConfig | None
) -> Iterator[_Example]:
    targets = columns(test, TARGET, labels).astype(bool)

    def told(place: int) -> str:
        named = dict(zip(labels, scores[place].tolist(), strict=True))
        calls = {} if decisions is None else decisions.apply(named)
        words = [
            f"{labels[i]} {scores[place, i]:.2f}"
            + ("" if labels[i] not in calls else " yes" if calls[labels[i]] else " no")
            for i in np.argsort(-scores[place])[:4]
        ]
        return ", ".join(words)

    def example(place: int, why: str) -> _Example:
        truth = ", ".join(np.array(labels)[targets[place]]) or "none"
        return _Example(place, why, f"labels: {truth}  ·  predicted: {told(place)}")

    for label in np.argsort(-targets.sum(axis=0))[:_EXAMPLES]:
        if targets[:, label].any():
            hit = int(np.argmax(np.where(targets[:, label], scores[:, label], -1.0)))
            yield example(hit, f"surest true {labels[label]}")
    defined = np.flatnonzero(targets.any(axis=0))
    if defined.size:
        # The positive record ranked lowest, relative to its label's own scores.
        rank = scores[:, defined].argsort(axis=0).argsort(axis=0)
        place, label = divmod(
            int(np.argmin(np.where(targets[:, defined], rank, len(test)))), len(defined)
        )
        yield example(place, f"worst miss of {labels[defined[label]]}")


def _worst_values(test: pd.DataFrame, labels: list[str]) -> Iterator[_Example]:
    targets, values = columns(test, TARGET, labels), columns(test, VALUE, labels)
    for column, label in enumerate(labels[:_EXAMPLES]):
        place = int(np.nanargmax(np.abs(values[:, column] - targets[:, column])))
        note = f"true: {targets[place, column]:.4g}  ·  predicted: {values[place, column]:.4g}"
        yield _Example(place, f"worst prediction of {label}", note)


def _open_store(evaluation: EvaluationSection) -> Store | None:
    """Return the records of an evaluation, or None where the cache was emptied since."""
    results = evaluation.results
    # Older results name the store's folder.
    found = find_store(results["store_fingerprint"]) if "store" not in results else results["store"]
    try:
        return None if found is None else Store(found)
    except StoreError:
        return None


def _record(store: Store, row: int, record_id: str) -> Record:
    signal, valid = from_microvolt(store.read_record(row))
    preprocessing = store.manifest.preprocessing
    return Record(signal, valid, preprocessing.leads, preprocessing.sampling_rate, record_id)
