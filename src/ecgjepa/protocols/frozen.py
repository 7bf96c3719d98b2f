"""An encoder's features of all records of a task: what every frozen protocol reads."""

import copy
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int64, Shaped

from ecgjepa.inference.windows import window_size
from ecgjepa.model.encoders.encoder import Encoder
from ecgjepa.model.folder import ModelConfig
from ecgjepa.model.heads import LAST_BLOCK, Reading
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
        reading: What was read of the encoder.
    """

    encoder: Encoder
    config: ModelConfig
    records: EvaluationData
    features: Features
    reading: Reading

    def places(self, part: Int64[np.ndarray, " part"]) -> Int64[np.ndarray, " part"]:
        """Return where records of the task are among the features."""
        place = np.full(len(self.records.task.rows), -1, np.int64)
        encoded = np.concatenate(self.records.whole)
        place[encoded] = np.arange(len(encoded))
        return place[part]

    def vectors(
        self,
    ) -> tuple[list[Float32[np.ndarray, "part width"]], list[Shaped[np.ndarray, "part labels"]]]:
        """Return one vector and the labels of each training, validation and test record.

        The vector is the mean over patches and windows; where blocks are read side by side, it is
        mean and standard deviation over the patches.
        """
        vectors = self.features.record_vectors(statistics=self.reading.beside)
        parts = self.records.parts
        return (
            [vectors[self.places(part)] for part in parts],
            [self.records.targets(part) for part in parts],
        )

    def whole_means(self) -> PartMeans:
        """Return mean features of `EvaluationData.whole`, of the last block that was read."""
        means = self.features.record_vectors()[:, -self.config.encoder.dim :]
        return PartMeans(*(means[self.places(part)] for part in self.records.whole))


def freeze(
    model: DescribedEncoder, records: EvaluationData, work: Workspace, reading: Reading = LAST_BLOCK
) -> Frozen:
    """Return the features of all records of the task, encoded now or before.

    Args:
        model: Encoder; it stays as it is.
        records: Records, labels and split.
        work: Device, cache and progress.
        reading: What is read of the encoder.
    """
    size, stride = window_size(model.config)
    rows = records.rows(np.concatenate(records.whole))
    windows = grid_windows(records.store, rows, size=size, stride=stride)
    constants = model.normalisation or records.normalisation
    features = cached_features(model.encoder, constants, windows, work, reading=reading)
    own = copy.deepcopy(model.encoder).eval()
    return Frozen(own, model.config, records, features, reading)
