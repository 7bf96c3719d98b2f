"""The model of the service: records that were read go in, predictions and features come out."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, cast

import numpy as np

from ecgjepa.errors import RecordError
from ecgjepa.inference.encoding import Encoded, LoadedEncoder, Wanted, load_encoder
from ecgjepa.inference.predict import Model, load_model
from ecgjepa.inference.prediction import Prediction
from ecgjepa.model.folder import CARD_FILE, ModelConfig, read_model_config
from ecgjepa.serving.reading import ReadRecord
from ecgjepa.serving.together import Together
from ecgjepa.sharing.references import find_model
from ecgjepa.signals.acceptance import Usable
from ecgjepa.signals.preprocessing import Prepared
from ecgjepa.signals.record import MicrovoltRecord

Item = tuple[str, ReadRecord | RecordError]
# What a row of features is of; single tokens would be too many for an answer.
RowsOf = Literal["record", "window"]
ROWS_OF: tuple[RowsOf, ...] = ("record", "window")
_MOST_CARD_BYTES = 4_000_000


class ServedModel:
    """A model that answers requests, one thread for all of them.

    Attributes:
        config: Description of the model.
        card: Text of its card, or nothing.
        model: The classifier, or None for an encoder alone.
    """

    config: ModelConfig
    card: str
    model: Model | None

    def __init__(
        self, folder: str | Path, *, device: str = "auto", decision: str | None = None
    ) -> None:
        """Load a model; see `ecgjepa.inference.predict.load_model`.

        Raises:
            ModelFolderError: If it cannot be used.
            ConfigError: If it holds no thresholds of the rule.
        """
        place = find_model(folder)
        is_classifier = read_model_config(place).head is not None
        if is_classifier:
            self.model = load_model(place, device=device, decision=decision)
            config, where = self.model.config, self.model.device
            loaded = LoadedEncoder(self.model.classifier.encoder, config, where, Wanted())
        else:
            self.model = None
            loaded = load_encoder(place, device=device)
        self.config = loaded.config
        self.card = _card(place)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._encoders = {
            pool: Together(loaded._replace(wanted=Wanted(pool)).encode, self._thread)
            for pool in ROWS_OF
        }
        self._predictor = Together(self._answers, self._thread)

    async def predict(self, items: list[Item]) -> list[Prediction]:
        """Return the prediction of each record; one that cannot be used carries its error.

        Raises:
            ScoreError: If the model gives what is not finite.
        """
        return await self._predictor.answers([_usable(*item) for item in items])

    async def embed(self, items: list[Item], pool: RowsOf) -> list[Encoded | RecordError]:
        """Return the features of each record, or why there are none.

        Raises:
            FeatureError: If the encoder gives what is not finite.
        """
        found = await self._encoders[pool].answers([_usable(*item) for item in items])
        return [features for _, features in found]

    def stop(self) -> None:
        """End the thread, when it has finished its work."""
        self._thread.shutdown()

    def _answers(self, usable: Iterable[tuple[str, Usable | RecordError]]) -> Iterator[Prediction]:
        assert self.model is not None, "an encoder alone predicts nothing"
        yield from self.model.answers(usable)


def _usable(name: str, found: ReadRecord | RecordError) -> tuple[str, Usable | RecordError]:
    """Return a record as if it had been read and prepared in this process.

    Its raw samples stay in the other one: nothing but their number and rate is told of them.
    """
    if isinstance(found, RecordError):
        return name, found
    raw = MicrovoltRecord(
        samples=np.broadcast_to(np.int16(0), (found.num_samples, 1)),
        leads=("I",),
        sampling_rate=found.sampling_rate,
        record_id=found.record,
        source=name,
        issues=found.issues,
    )
    # No model looks at the measures, which the judgement of quality rests on.
    measures = cast(object, None)
    prepared = Prepared(found.samples, found.issues, measures, found.quality)  # type: ignore[arg-type]
    return name, Usable(raw, prepared, found.leads)


def _card(folder: Path) -> str:
    path = folder / CARD_FILE
    if not path.is_file():
        return ""
    with path.open("rb") as stream:
        return stream.read(_MOST_CARD_BYTES).decode("utf-8", "replace")
