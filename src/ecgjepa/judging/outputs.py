"""What a classifier gives for the records of a store: exactly what `ecgjepa.predict` computes."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float64, Int64

from ecgjepa.inference.batches import mean_outputs
from ecgjepa.inference.predict import Model
from ecgjepa.inference.windows import (
    RecordWindows,
    chunk_size,
    find_windows,
    outputs_of_logits,
    window_size,
)
from ecgjepa.metrics.classification import Scores
from ecgjepa.store.reading import Store


class Outputs(NamedTuple):
    """What a classifier gives for some records.

    Attributes:
        values: Probabilities before calibration, or values of a regression, of all its labels.
        distances: Distance of each record's features from those of the training records; None if
            the model folder does not know them.
    """

    values: Scores
    distances: Float64[np.ndarray, " records"] | None


def outputs_of(
    model: Model,
    store: Store,
    rows: Int64[np.ndarray, " records"],
    progress: Callable[[int, int], None] | None = None,
) -> Outputs:
    """Run a classifier on records of a store.

    Args:
        model: The classifier.
        store: Records that were prepared as the classifier needs them.
        rows: Which of them, in this order.
        progress: Called with (records done, records in all).
    """
    size, stride = window_size(model.config)

    def windows() -> Iterator[tuple[int, RecordWindows]]:
        for number, row in enumerate(rows.tolist()):
            yield number, find_windows(store.read_record(row), size=size, stride=stride)

    logits = np.empty((len(rows), len(model.task.labels)))
    features = np.empty((len(rows), model.config.encoder.dim))
    for number, means in mean_outputs(windows(), model.outputs, chunk_size(model.device)):
        assert isinstance(means, tuple), "every record of a store has windows"
        logits[number], features[number] = means
        if progress is not None:
            progress(number + 1, len(rows))
    values = outputs_of_logits(torch.from_numpy(logits), model.task).numpy()
    known = model.distribution
    return Outputs(values, None if known is None else known.distances(features))
