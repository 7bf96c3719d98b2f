"""Refuse a request by what is known before a record is prepared: folds, names, labels."""

from collections.abc import Mapping

from ecgjepa.model.folder import ModelConfig
from ecgjepa.tasks.cohort import Cohort, check_test_on
from ecgjepa.tasks.early.listed import list_labels
from ecgjepa.tasks.leakage import refuse_other_folds, refuse_seen
from ecgjepa.tasks.opening import Data, check_databases, divide, names_of
from ecgjepa.tasks.split import check_selectable


def refuse_early(data: Data, config: ModelConfig, cohort: Cohort) -> None:
    """Refuse what `ecgjepa.tasks.leakage.open_unseen` would, as far as no record need be read.

    Raises:
        EcgjepaError: As there; what depends on samples is refused there alone.
    """
    refuse_seen(config, names_of(data), cohort)
    check_databases(data, cohort.task, cohort.kind)
    if isinstance(data, Mapping):  # Of a store, nothing is prepared: opening it is as quick.
        folds = refuse_without_labels(data, cohort)
        refuse_other_folds(config, folds, allow_seen=cohort.allow_seen)


def refuse_without_labels(data: Data, cohort: Cohort) -> dict[str, str]:
    """Refuse databases whose lists and tables do not have what a task and its folds need.

    Args:
        data: Databases, name to folder.
        cohort: Labels, folds and databases.

    Returns:
        Where the folds of each database are from, as `ecgjepa.tasks.folds` says.

    Raises:
        TaskError: If the databases lack the task, or its records cannot be divided or scored.
    """
    assert isinstance(data, Mapping)
    table, folds, task = list_labels(data, cohort)
    check_test_on(cohort.test_on, tuple(folds))
    parts = divide(task, table, cohort)
    for part in ("validation", "test") if cohort.split.test else ("validation",):
        check_selectable(task.targets[getattr(parts, part)], part)
    return folds
