"""The models that are at hand by name: those in the box, and those that came from the Hub."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ecgjepa.errors import ModelFolderError
from ecgjepa.model.outputs import MEASURES
from ecgjepa.sharing.box import box_folder, box_names
from ecgjepa.sharing.cards import licence_in
from ecgjepa.sharing.hub_cache import cached_models

if TYPE_CHECKING:
    from ecgjepa.model.folder import ModelConfig

_MOST_OF_CARD = 100_000


class Score(NamedTuple):
    """How a classifier did on its test records.

    Attributes:
        measure: Name of the measure, such as ``macro_auroc``.
        value: The score.
        low: Lower bound of its 95 % interval over patients.
        high: Upper bound.
        records: Number of test records; 0 where the folder does not tell.
        patients: Number of their patients.
        databases: Names of the databases they are from.
    """

    measure: str
    value: float
    low: float
    high: float
    records: int = 0
    patients: int = 0
    databases: tuple[str, ...] = ()

    def in_words(self) -> str:
        """Return the score with its interval and what it was measured on."""
        words = f"{MEASURES[self.measure]} {self.value:.3f} ({self.low:.3f} to {self.high:.3f})"
        if not self.records:
            return words
        return (
            f"{words} on {self.records:,} test records of {self.patients:,} patients of "
            f"{', '.join(self.databases)}"
        )


class KnownModel(NamedTuple):
    """A model that is at hand by name.

    Attributes:
        name: What ``--model`` takes.
        folder: Place of the model folder.
        source: ``box``, or ``hub`` for one in the cache.
        task: Name of the task; empty for an encoder alone.
        labels: Labels of the task, in the order of the outputs.
        leads: Leads it was trained on.
        lead_sets: Sets of leads that it answers by; the first is all of its leads.
        sampling_rate: Rate in Hz to which records are resampled for it.
        score: How it did on its test records, where the folder tells.
        licence: Licence of the weights; empty where the folder does not tell.
        trained_on: Databases that its labels came from.
        data_licences: Licence of each of them that the catalogue knows.
        num_bytes: Size of the folder's files.
        error: Why the folder cannot be used; empty where it can.
    """

    name: str
    folder: Path
    source: str
    task: str = ""
    labels: tuple[str, ...] = ()
    leads: tuple[str, ...] = ()
    lead_sets: tuple[tuple[str, ...], ...] = ()
    sampling_rate: float = 0.0
    score: Score | None = None
    licence: str = ""
    trained_on: tuple[str, ...] = ()
    data_licences: dict[str, str] = {}  # noqa: RUF012 - a NamedTuple's default, never changed
    num_bytes: int = 0
    error: str = ""


def models() -> list[KnownModel]:
    """Return the models in the box, then those of the Hub that lie in the cache.

    A folder that cannot be read is in the list with its error.

    Example:
        >>> import ecgjepa
        >>> [model.name for model in ecgjepa.models() if model.source == "box"]
        ['box-statements', 'box-superdiagnostic', 'box-superdiagnostic-leads']
    """
    return [_described(*found) for found in _places()]


def _places() -> Iterator[tuple[str, Path, str]]:
    for name in box_names():
        yield name, box_folder(name), "box"
    for cached in cached_models():
        yield f"hf:{cached.name}@{cached.commit}", cached.folder, "hub"


def score_of(config: "ModelConfig") -> Score | None:
    """Return how a classifier did on its test records, or None where its folder does not tell."""
    for measure in MEASURES:
        values = config.training.get(f"test_{measure}")
        if not isinstance(values, list | tuple) or len(values) != 3:
            continue
        if not all(isinstance(one, int | float) and math.isfinite(one) for one in values):
            continue
        value, low, high = map(float, values)
        tested = None if config.answers is None else config.answers.tested
        if tested is None:
            return Score(measure, value, low, high)
        on = (tested.records, tested.patients, tested.databases)
        return Score(measure, value, low, high, *on)
    return None


def _described(name: str, folder: Path, source: str) -> KnownModel:
    # Pandas, and torch: a prediction asks for a score alone.
    from ecgjepa.databases.catalogue import CATALOGUE
    from ecgjepa.model.folder import CARD_FILE, read_model_config

    size = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
    try:
        config = read_model_config(folder)
    except ModelFolderError as error:
        return KnownModel(name, folder, source, num_bytes=size, error=str(error))
    trained = tuple(map(str, config.training.get("databases", ())))
    return KnownModel(
        name=name,
        folder=folder,
        source=source,
        task="" if config.task is None else config.task.name,
        labels=() if config.task is None else config.task.labels,
        leads=config.preprocessing.leads,
        lead_sets=config.sets_of_leads,
        sampling_rate=config.preprocessing.sampling_rate,
        score=score_of(config),
        licence=_licence(folder / CARD_FILE),
        trained_on=trained,
        data_licences={one: CATALOGUE[one].licence for one in trained if one in CATALOGUE},
        num_bytes=size,
    )


def _licence(card: Path) -> str:
    """Return the licence that the head of a card names, as the Hub reads it."""
    if not card.is_file():
        return ""
    with card.open(encoding="utf-8", errors="replace") as stream:
        return licence_in(stream.read(_MOST_OF_CARD)) or ""
