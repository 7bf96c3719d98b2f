"""Protocol ``knn``, the nearest neighbours: what lies close together without training anything.

Cosine similarity of standardised features, votes weighted by exp(similarity / 0.07) as in Wu et
al. 2018 (https://arxiv.org/abs/1805.01978, section 3.4); k is chosen on the validation records.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Shaped

from ecgjepa.metrics.regression import selection_score
from ecgjepa.model.outputs import TaskKind
from ecgjepa.protocols.features import standardise
from ecgjepa.protocols.frozen import Frozen
from ecgjepa.protocols.outcome import Outcome, ProbeResult

COUNTS = (1, 5, 10, 20, 50, 100, 200)
TEMPERATURE = 0.07
# Records compared with all training records at once.
_CHUNK = 1024


class Neighbours(NamedTuple):
    """Votes of the k nearest training records.

    Attributes:
        features: Training features, standardised, of length one.
        targets: Labels or values of the training records.
        mean: Mean of each raw training feature.
        scale: Standard deviation of each raw training feature; 1 where it is constant.
        k: Number of neighbours that vote.
    """

    features: Float[np.ndarray, "train dim"]
    targets: Float[np.ndarray, "train labels"]
    mean: Float[np.ndarray, " dim"]
    scale: Float[np.ndarray, " dim"]
    k: int

    def predict(
        self, features: Float[np.ndarray, "records dim"]
    ) -> Float[np.ndarray, "records labels"]:
        """Return the weighted mean of the nearest records' labels or values."""
        return self._votes(features, (self.k,))[0]

    def _votes(
        self, features: Float[np.ndarray, "records dim"], counts: Sequence[int]
    ) -> list[Float[np.ndarray, "records labels"]]:
        most = max(counts)
        votes: list[list[np.ndarray]] = [[] for _ in counts]
        lowest, highest = self.targets.min(axis=0), self.targets.max(axis=0)
        for start in range(0, len(features), _CHUNK):
            chunk = _unit((features[start : start + _CHUNK] - self.mean) / self.scale)
            similarity = chunk @ self.features.T
            nearest = np.argsort(-similarity, axis=1, kind="stable")[:, :most]
            value = np.take_along_axis(similarity, nearest, axis=1)
            weight = np.exp((value - value[:, :1]) / TEMPERATURE)
            for place, count in enumerate(counts):
                own = weight[:, :count]
                voted = np.einsum("rk,rkl->rl", own, self.targets[nearest[:, :count]])
                mean = voted / own.sum(axis=1, keepdims=True)
                # Rounding can put a mean of ones above 1, which is not a probability.
                votes[place].append(np.clip(mean, lowest, highest))
        return [np.concatenate(part) for part in votes]


def fit_neighbours(
    features: Float[np.ndarray, "train dim"],
    targets: Shaped[np.ndarray, "train labels"],
    validation_features: Float[np.ndarray, "validation dim"],
    validation_targets: Shaped[np.ndarray, "validation labels"],
    *,
    kind: TaskKind,
) -> Neighbours:
    """Return the votes of as many neighbours as do best on the validation records.

    With fewer training records than neighbours, all vote.
    """
    standardised, mean, scale = standardise(features)
    allowed = sorted({min(count, len(features)) for count in COUNTS})
    found = Neighbours(_unit(standardised), targets.astype(np.float64), mean, scale, allowed[0])
    scores = [
        selection_score(kind, validation_targets, votes)
        for votes in found._votes(validation_features.astype(np.float64), allowed)
    ]
    return found._replace(k=allowed[int(np.argmax(scores))])


def _unit(features: Float[np.ndarray, "records dim"]) -> Float[np.ndarray, "records dim"]:
    length = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.where(length > 0, length, 1.0)


def read_neighbours(frozen: Frozen) -> ProbeResult:
    """Let the nearest training records vote; there is no head, and so no classifier."""
    (train, validation, test), targets = frozen.vectors()
    found = fit_neighbours(train, targets[0], validation, targets[1], kind=frozen.records.task.kind)
    outcome = Outcome(
        validation=found.predict(validation),
        test=found.predict(test),
        fit=None,
        selected=f"k = {found.k}",
    )
    return ProbeResult(outcome, None, None)
