"""What a store for pre-training should not hold: records that a later evaluation is judged by."""

import logging

from ecgjepa.databases import database_names
from ecgjepa.databases.folds import HELD_OUT_FOLDS
from ecgjepa.errors import StoreError
from ecgjepa.store.manifest import DatabaseSummary
from ecgjepa.store.reading import Store

logger = logging.getLogger(__name__)


def refuse_held_out(store: Store) -> None:
    """Refuse to pre-train on what a database reserves; of an archive, report what that will cost.

    Raises:
        StoreError: If records of a database are reserved for selection and test.
    """
    known = database_names()
    for name, summary in store.manifest.databases.items():
        leaked = sorted(set(summary.folds or ()) & set(summary.held_out_folds))
        if leaked and name in known:
            raise StoreError(
                f"{store.path}: holds folds {leaked} of {name}, which are reserved for selection "
                "and test; prepare a store for pre-training with --folds train"
            )
        if name not in known and (words := _cost_of_later(name, summary)):
            logger.warning("%s: %s", store.path, words)


def _cost_of_later(name: str, summary: DatabaseSummary) -> str:
    """Return which evaluation an encoder that is pre-trained on an archive cannot have later."""
    if not summary.stored:
        return ""
    if reserved := sorted(set(summary.folds or ()) & set(HELD_OUT_FOLDS)):
        return (
            f"holds folds {reserved} of {name}. An encoder that is pre-trained on it is refused "
            f"where these folds of {name} select or test, as they do by default; to evaluate it "
            "there, stop now and prepare a store with --folds train, or later choose other folds "
            "with --validation-folds and --test-folds"
        )
    if summary.folds is None and summary.label_columns:
        return (
            f"holds all records of {name}, and no folds. An encoder that is pre-trained on it is "
            f"evaluated on {name} with --allow-seen only; to evaluate it there without, stop now "
            "and prepare a store with --folds train"
        )
    if summary.folds is None:
        return (
            f"holds all records of {name}, which no table labels. An encoder that is pre-trained "
            f"on it is evaluated on {name} with --allow-seen only; to keep records apart for that, "
            "stop now and prepare a store with --folds 1-8"
        )
    return ""
