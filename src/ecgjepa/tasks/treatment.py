"""The one treatment that all records of a task get, in training, scoring and use.

A database whose baseline drifts strongly asks for a high-pass of its own (`Listing.highpass_hz`).
A store for pre-training gives it to that database alone, as the paper does. A classifier meets
records of unknown origin, so all records of its task get the same filter, and its model folder
keeps it.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from ecgjepa.databases import highpass_of
from ecgjepa.errors import TaskError
from ecgjepa.signals.preprocessing import PreprocessingConfig
from ecgjepa.store.manifest import Manifest, read_manifest
from ecgjepa.tasks.cohort import Cohort


def one_treatment(encoder: PreprocessingConfig, databases: Iterable[str]) -> PreprocessingConfig:
    """Return what is done to every record of a task.

    Args:
        encoder: What the encoder's pre-training did to all records.
        databases: Names of all databases of the task, trained on or tested.

    Returns:
        The same with the high-pass of the database that asks for the highest cut-off, unless the
        encoder has a high-pass of its own.
    """
    if encoder.highpass_hz is not None:
        return encoder
    asked = [cutoff for name in databases if (cutoff := highpass_of(name)) is not None]
    return encoder.model_copy(update={"highpass_hz": max(asked, default=None)})


def check_treatment(store: Path, manifest: Manifest, expected: PreprocessingConfig) -> None:
    """Refuse a store whose records were not all treated as expected.

    Raises:
        TaskError: If one field of the preprocessing differs, or one database's high-pass.
    """
    found = manifest.preprocessing
    for name in sorted(set(type(expected).model_fields) - {"highpass_hz"}):
        there, here = getattr(found, name), getattr(expected, name)
        if there != here:
            raise TaskError(
                f"{store}: was prepared with {name} {there}; this encoder needs {name} {here}"
            )
    cutoffs = {name: summary.highpass_hz for name, summary in manifest.databases.items()}
    if set(cutoffs.values()) - {expected.highpass_hz}:
        raise TaskError(
            f"{store}: has {_described(cutoffs)}; this encoder needs "
            f"{_cutoff(expected.highpass_hz)} for all databases of the task. Give the databases' "
            f"folders with --data NAME=DIR, or prepare the store {_remedy(expected.highpass_hz)}"
        )


def _described(cutoffs: Mapping[str, float | None]) -> str:
    return ", ".join(f"{_cutoff(cutoff)} for {name}" for name, cutoff in sorted(cutoffs.items()))


def _cutoff(cutoff: float | None) -> str:
    return "no high-pass" if cutoff is None else f"a high-pass at {cutoff:g} Hz"


def _remedy(cutoff: float | None) -> str:
    return "without --highpass" if cutoff is None else f"with --highpass {cutoff:g}"


def check_folds(data: Mapping[str, str | Path] | str | Path, cohort: Cohort) -> None:
    """Refuse a store for pre-training, which lacks the folds that select and test.

    Raises:
        TaskError: If it is one.
    """
    if isinstance(data, Mapping):
        return
    stored = [one.folds for one in read_manifest(Path(data)).databases.values() if one.stored]
    found = {fold for folds in stored for fold in folds or ()}
    judged = {*cohort.split.validation, *cohort.split.test}
    if None not in stored and not found & judged:
        raise TaskError(
            f"{data}: holds folds {sorted(found)} alone, and this evaluation selects and tests on "
            f"{sorted(judged)}; give the files with --data NAME=DIR, or prepare a store for "
            "evaluation with --folds all"
        )
