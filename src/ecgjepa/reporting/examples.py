"""ECGs on the page: what an objective hides of one, and test records with their predictions."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd

from ecgjepa.errors import StoreError
from ecgjepa.reporting.ecg_paper import draw_ecg
from ecgjepa.reporting.evaluation_section import EvaluationSection, columns
from ecgjepa.reporting.figures import as_data_uri
from ecgjepa.reporting.training_figures import draw_picture
from ecgjepa.reporting.training_section import PretrainingSection
from ecgjepa.signals.microvolt import from_microvolt
from ecgjepa.signals.record import Record
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
    row = int(np.flatnonzero(table["record_id"] == test["record_id"].iloc[0])[0])
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
    value that was predicted worst.
    """
    store = _open_store(evaluation)
    if store is None:
        return []
    test = evaluation.predictions
    test = test[(test["part"] == "test") & (test["model"] == "pre-trained")].reset_index(drop=True)
    choose = _worst_values if evaluation.is_regression else _hits_and_misses
    table = store.table()
    pictures = []
    for example in choose(test, evaluation.labels):
        record_id = str(test["record_id"].iloc[example.place])
        row = int(np.flatnonzero(table["record_id"] == record_id)[0])
        figure = draw_ecg(
            _record(store, row, record_id),
            title=f"Record {record_id}: {example.why}",
            note=example.note,
        )
        pictures.append({"why": example.why, "record_id": record_id, "image": as_data_uri(figure)})
    store.close()
    return pictures


class _Example(NamedTuple):
    """A test record, why it is shown, and what is said of it."""

    place: int
    why: str
    note: str


def _hits_and_misses(test: pd.DataFrame, labels: list[str]) -> Iterator[_Example]:
    targets = columns(test, "target", labels).astype(bool)
    scores = columns(test, "probability", labels)

    def example(place: int, why: str) -> _Example:
        truth = ", ".join(np.array(labels)[targets[place]]) or "none"
        guess = ", ".join(
            f"{labels[i]} {scores[place, i]:.2f}" for i in np.argsort(-scores[place])[:4]
        )
        return _Example(place, why, f"labels: {truth}  ·  predicted: {guess}")

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
    truth, values = columns(test, "target", labels), columns(test, "value", labels)
    for column, label in enumerate(labels[:_EXAMPLES]):
        place = int(np.nanargmax(np.abs(values[:, column] - truth[:, column])))
        note = f"true: {truth[place, column]:.4g}  ·  predicted: {values[place, column]:.4g}"
        yield _Example(place, f"worst prediction of {label}", note)


def _open_store(evaluation: EvaluationSection) -> Store | None:
    """Return the records of an evaluation, or None where the cache was emptied since."""
    try:
        return Store(evaluation.results["store"])
    except StoreError:
        return None


def _record(store: Store, row: int, record_id: str) -> Record:
    signal, valid = from_microvolt(store.read_record(row))
    preprocessing = store.manifest.preprocessing
    return Record(signal, valid, preprocessing.leads, preprocessing.sampling_rate, record_id)
