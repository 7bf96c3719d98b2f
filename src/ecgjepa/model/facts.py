"""What a model folder says beside the architecture: windows, and where the weights come from."""

from typing import Any

from pydantic import Field

from ecgjepa.config import Section
from ecgjepa.config.networks import MOST_WINDOW_SECONDS

# Version of a model folder's layout, and those that are read. 3: may have ``lead_sets``; 1 had no
# ``answers``, but at most ``decisions`` without test scores.
FORMAT_VERSION, READABLE_VERSIONS = 3, {1, 2, 3}


class WindowConfig(Section):
    """How a record is cut for the classifier; logits of its windows are averaged."""

    seconds: float = Field(2.5, gt=0, le=MOST_WINDOW_SECONDS)
    stride_seconds: float = Field(1.25, ge=0.01, le=MOST_WINDOW_SECONDS)


def with_single_databases(training: dict[str, Any]) -> dict[str, Any]:
    """Give every database a stage of its own; older folders joined their names by plus signs.

    The leak guard compares whole names, and no database has a plus sign in its name.
    """
    stages = training.get("seen", ())
    if not all(isinstance(stage, dict) and "database" in stage for stage in stages):
        return training
    apart = [
        {**stage, "database": name}
        for stage in stages
        for name in str(stage["database"]).split("+")
    ]
    return {**training, "seen": apart} if apart else training


class PretrainingFacts(Section):
    """Where an encoder's weights come from.

    Attributes:
        objective: Name of the objective they were trained for.
        steps: Optimizer steps; 0 for random weights, None if unknown.
        seed: Seed of the initial weights; None if unknown.
        store: Fingerprint of the store, or what is known instead of it.
        folds: Folds seen, per database; None if it has none, or they are not known.
        records: Records seen, per database, where the number is known; 0 if it gave none.
        official: Configuration of the official checkpoint that the weights were taken from.
        seen: SHA-256 of the file that says what the records seen hold; empty if there is none.
        teacher: Frozen encoder that took part in training: its ``sha256`` and ``objective``; empty
            without one. What it had seen is part of ``folds``, ``records`` and ``seen``.
        hashed_folds: Databases whose folds are a hash, and of what: see `ecgjepa.databases.folds`.
    """

    objective: str = "jepa"
    steps: int | None
    seed: int | None
    store: str
    folds: dict[str, tuple[int, ...] | None]
    records: dict[str, int]
    official: dict[str, Any] = Field(default_factory=dict)
    seen: str = ""
    teacher: dict[str, str] = Field(default_factory=dict)
    hashed_folds: dict[str, str] = Field(default_factory=dict)
