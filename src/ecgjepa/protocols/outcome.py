"""What a protocol returns: predictions, the history of a training, the trained classifier."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32

from ecgjepa.model.heads import Classifier, HeadConfig
from ecgjepa.protocols.features import PartMeans
from ecgjepa.protocols.request import ProtocolRequest
from ecgjepa.tasks.records import EvaluationData


class Validation(NamedTuple):
    """One line of a training's history.

    Attributes:
        step: Steps that were done.
        train_loss: Mean loss since the line before.
        score: Macro AUROC of the validation records; in a regression, their mean R².
    """

    step: int
    train_loss: float
    score: float


class FitResult(NamedTuple):
    """What the training chose.

    Attributes:
        best_step: Step whose weights are kept.
        best_score: Score of the validation records at that step; see `Validation`.
        history: One line per validation.
    """

    best_step: int
    best_score: float
    history: list[Validation]


class LeadSetOutcome(NamedTuple):
    """What a model predicts for the validation and test records from some of their leads.

    Attributes:
        leads: The leads; the others were 0.
        validation: Probabilities or values, one row per validation record.
        test: Probabilities or values, one row per test record.
    """

    leads: tuple[str, ...]
    validation: Float[np.ndarray, "validation labels"]
    test: Float[np.ndarray, "test labels"]


class Outcome(NamedTuple):
    """What one trained model predicts for the validation and test records.

    Attributes:
        validation: Probabilities or values, one row per validation record.
        test: Probabilities or values, one row per test record.
        fit: How the training went; None for a closed-form or convex fit.
        selected: What was selected by the score on the validation records, for people.
        lead_sets: The same for each set of leads that the model was trained for beside all leads.
    """

    validation: Float[np.ndarray, "validation labels"]
    test: Float[np.ndarray, "test labels"]
    fit: FitResult | None
    selected: str
    lead_sets: tuple[LeadSetOutcome, ...] = ()

    def history(self, measure: str) -> list[dict[str, float]]:
        """Return the training's history as JSON content, empty for a fit in closed form.

        Args:
            measure: Name of the score, a key of `ecgjepa.model.outputs.MEASURES`.
        """
        lines = [] if self.fit is None else self.fit.history
        return [
            {"step": line.step, "train_loss": line.train_loss, measure: line.score}
            for line in lines
        ]


class ProbeResult(NamedTuple):
    """What was read from frozen features.

    Attributes:
        outcome: Predictions.
        classifier: Encoder with the trained head, or None where there is no head.
        head: Description of the head.
    """

    outcome: Outcome
    classifier: Classifier | None
    head: HeadConfig | None


class EvaluationResult(NamedTuple):
    """What one protocol made of one model.

    Attributes:
        records: Records, labels and split; labels of the test records are
            ``records.targets(records.parts.test)``, their patients
            ``records.patients(records.parts.test)``. Their store is closed where `run_protocol`
            opened it; give it open records to read signals afterwards.
        outcome: Predictions of the validation and test records, and how the training went.
        request: Protocol, settings and seed.
        classifier: Encoder with head; None for nearest neighbours and residual networks.
        head: Description of the head, if there is a classifier.
        means: Mean features of `EvaluationData.whole`; None where the encoder was trained.
    """

    records: EvaluationData
    outcome: Outcome
    request: ProtocolRequest
    classifier: Classifier | None
    head: HeadConfig | None
    means: PartMeans | None

    @property
    def settings(self) -> dict[str, object]:
        """The protocol's settings as ``results.json`` has them."""
        return self.request.described_settings

    @property
    def embeddings(self) -> Float32[np.ndarray, "test dim"] | None:
        """Mean features of the test records; None where the encoder was trained."""
        return None if self.means is None else self.means.test
