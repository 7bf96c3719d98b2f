"""An encoder's features of all records of a task: what every frozen protocol reads."""

import copy
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int64, Shaped

from ecgjepa.inference.windows import window_size
from ecgjepa.model.encoders.encoder import Encoder
from ecgjepa.model.folder import ModelConfig
from ecgjepa.protocols.encoders import DescribedEncoder
from ecgjepa.protocols.feature_cache import cached_features
from ecgjepa.protocols.features import Features, PartMeans, grid_windows
from ecgjepa.protocols.request import Workspace
from ecgjepa.tasks.records import EvaluationData


class Frozen(NamedTuple):
    """An encoder's features of all records of a task.

    Attributes:
        encoder: A copy of the encoder, in evaluation mode.
        config: Description of the encoder.
        records: Records, labels and split.
        features: Features of `EvaluationData.whole`: training, validation and test records in this
            order.
        layers: Blocks whose features they are.
    """

    encoder: Encoder
    config: ModelConfig
    records: EvaluationData
    features: Features
    layers: tuple[int, ...]

    def places(self, part: Int64[np.ndarray, " part"]) -> Int64[np.ndarray, " part"]:
        """Return where records of the task are among the features."""
        place = np.full(len(self.records.task.rows), -1, np.int64)
        encoded = np.concatenate(self.records.whole)
        place[encoded] = np.arange(len(encoded))
        return place[part]

    def means(
        self,
    ) -> tuple[list[Float32[np.ndarray, "part dim"]], list[Shaped[np.ndarray, "part labels"]]]:
        """Return mean features and labels of the training, validation and test records."""
        means = self.features.record_means()
        parts = self.records.parts
        return (
            [means[self.places(part)] for part in parts],
            [self.records.targets(part) for part in parts],
        )

    def whole_means(self) -> PartMeans:
        """Return mean features of `EvaluationData.whole`."""
        means = self.features.record_means()
        return PartMeans(*(means[self.places(part)] for part in self.records.whole))


def freeze(
    model: DescribedEncoder, records: EvaluationData, work: Workspace, layers: tuple[int, ...] = ()
) -> Frozen:
    """Return the features of all records of the task, encoded now or before.

    Args:
        model: Encoder; it stays as it is.
        records: Records, labels and split.
        work: Device, cache and progress.
        layers: Blocks, counted from 1, whose outputs are averaged; none for the encoder's output.
    """
    size, stride = window_size(model.config)
    rows = records.rows(np.concatenate(records.whole))
    windows = grid_windows(records.store, rows, size=size, stride=stride)
    features = cached_features(model.encoder, records.normalisation, windows, work, layers=layers)
    own = copy.deepcopy(model.encoder).eval()
    return Frozen(own, model.config, records, features, layers)
