"""`ECGEncoder`: a pre-trained encoder as a transformer of scikit-learn."""

import hashlib
import logging
import operator
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32
from sklearn.base import BaseEstimator, TransformerMixin

from ecgjepa.errors import ConfigError, ModelFolderError, RecordError
from ecgjepa.estimators.inputs import Reading, about_bad_rows, num_rows
from ecgjepa.inference.encoding import Layer, LoadedEncoder, Wanted, load_encoder
from ecgjepa.model.folder import ModelConfig

logger = logging.getLogger(__name__)


class EcgInputs(BaseEstimator):  # type: ignore[misc]
    """What the estimators share: how ECGs are read, and a model that is loaded when needed.

    The model itself is not part of what is pickled: it is loaded again from where it was, and
    refused there if it is another one by then.
    """

    def __sklearn_tags__(self) -> Any:  # noqa: ANN401
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.input_tags.string = True
        tags.input_tags.allow_nan = True
        return tags

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        state.pop("_loaded", None)
        return state

    def _reading(self) -> Reading:
        return Reading(
            self.sampling_rate, self.leads, self.unit, self.axes, self.on_bad, self.description
        )

    def _check_same(self, config: ModelConfig) -> None:
        """Refuse a model that is another one than at the time of `fit`."""
        fitted = getattr(self, "model_digest_", None)
        if fitted is not None and fitted != digest_of(config):
            raise ModelFolderError(
                f"{self.model}: holds another model than when this {type(self).__name__} was "
                "fitted; fit it again"
            )

    def _keep_errors(self, errors: dict[int, str], total: int, outcome: str) -> None:
        """Keep in ``errors_`` and log why rows have no answer."""
        self.errors_ = errors
        if errors:
            logger.warning("%s. %s", about_bad_rows(errors, total), outcome)


class ECGEncoder(TransformerMixin, EcgInputs):  # type: ignore[misc]
    """Turn ECGs into features of a pre-trained encoder, one row per ECG, in their order.

    A row is the mean over the ECG's windows and their patches. Nothing is trained: `fit` notes
    which model it was, and `transform` may be called without it.

    Args:
        model: Model folder, or the folder of a run, probe or fine-tuning that holds one.
        layer: ``last`` for the encoder's output, a block's number from 1, or ``all`` for the
            outputs of all blocks side by side.
        sampling_rate: Rate of arrays in Hz; files and records tell it themselves.
        leads: Names of the leads of arrays, in their order.
        unit: Unit of the amplitudes of arrays: V, mV, µV (uV) or nV.
        axes: Axes of one ECG of an array, ``("samples", "leads")`` or ``("leads", "samples")``.
        on_bad: ``raise`` stops at the first ECG that cannot be used. ``nan`` gives it a row of NaN,
            and ``mask`` also marks damaged leads and missing ends invalid where that is enough.
        description: File that describes arrays and tables on the disk; None for those beside them.
        device: ``auto``, ``cpu`` or ``cuda``.

    Attributes:
        model_digest_: Hash of the model at the time of `fit`.
        errors_: Row to error of the last `transform`, with ``nan`` or ``mask``.

    Example:
        >>> from sklearn.linear_model import LogisticRegression
        >>> from sklearn.pipeline import make_pipeline
        >>> import ecgjepa
        >>> files = [f"data/ptb-xl/records500/00000/{n:05d}_hr.hea" for n in (1, 2, 3, 4)]
        >>> encoder = ecgjepa.ECGEncoder("runs/jepa")
        >>> pipeline = make_pipeline(encoder, LogisticRegression())
        >>> pipeline.fit(files, [0, 1, 0, 1]).predict_proba(files).shape
        (4, 2)
    """

    def __init__(
        self,
        model: str | Path,
        *,
        layer: Layer = "last",
        sampling_rate: float | None = None,
        leads: Sequence[str] | None = None,
        unit: str = "mV",
        axes: Sequence[str] = ("samples", "leads"),
        on_bad: str = "raise",
        description: str | Path | None = None,
        device: str = "auto",
    ) -> None:
        self.model = model
        self.layer = layer
        self.sampling_rate = sampling_rate
        self.leads = leads
        self.unit = unit
        self.axes = axes
        self.on_bad = on_bad
        self.description = description
        self.device = device

    def __sklearn_tags__(self) -> Any:  # noqa: ANN401
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        return tags

    def fit(self, X: object, y: object = None) -> "ECGEncoder":
        """Load the model and note which it is; nothing is trained, and no ECG is read.

        Args:
            X: ECGs, as for `transform`.
            y: Not used.

        Raises:
            ModelFolderError: If the model cannot be used.
            ConfigError: If a parameter is wrong.
            InputError: If X is not a collection of ECGs.
        """
        self._reading().check()
        num_rows(X)
        self.__dict__.pop("model_digest_", None)
        self.__dict__.pop("_loaded", None)
        self.model_digest_ = digest_of(self._load().config)
        return self

    def transform(self, X: object) -> Float32[np.ndarray, "records features"]:
        """Return the features of ECGs.

        Args:
            X: A list of paths, `ecgjepa.Record` or arrays (samples, leads); a column of paths of a
                table; or an array (records, samples, leads). A path is one ECG: of a file that
                holds several, each is named, as in ``x.npy#0``.

        Raises:
            RecordError: With ``raise``, at the first ECG that cannot be used.
            ModelFolderError: If the model cannot be used, or is another one than at `fit`.
            ConfigError: If a parameter is wrong, or rate and leads of arrays are missing.
            InputError: If X is not a collection of ECGs.
            FeatureError: If features are not finite.
        """
        loaded, total = self._load(), num_rows(X)
        out = np.full((total, len(loaded.names())), np.nan, np.float32)
        errors: dict[int, str] = {}
        usable = self._reading().usable(X, loaded.config.preprocessing)
        for row, (_, found) in enumerate(loaded.encode(usable)):
            if not isinstance(found, RecordError):
                out[row] = found.values[0]
            elif self.on_bad == "raise":
                raise found
            else:
                errors[row] = str(found)
        self._keep_errors(errors, total, "Their features are NaN")
        return out

    def get_feature_names_out(self, input_features: object = None) -> np.ndarray:
        """Return the name of each column: ``f0``, or ``layer1_f0`` where all layers are read.

        Args:
            input_features: Not used: an ECG has no columns of its own.
        """
        return np.array(self._load().names(), dtype=object)

    def _load(self) -> LoadedEncoder:
        """Return the model, loaded once and again when a parameter has changed."""
        if not isinstance(self.model, str | Path):
            raise ConfigError(
                f"model is of type {type(self.model).__name__}; expected a folder or a model's "
                "name; an encoder that was made elsewhere is judged by ecgjepa.probe alone"
            )
        try:
            layer = self.layer if isinstance(self.layer, str) else operator.index(self.layer)
        except TypeError:
            raise ConfigError(
                f"layer is {self.layer!r}; expected a number from 1, last or all"
            ) from None
        key = (str(self.model), layer, self.device)
        before = self.__dict__.get("_loaded")
        if before is None or before[0] != key:
            wanted = Wanted(layer=layer)
            loaded = load_encoder(self.model, wanted, device=self.device)
            self._check_same(loaded.config)
            self._loaded = before = (key, loaded)
        return before[1]


def digest_of(config: ModelConfig) -> str:
    """Return a hash of all that a model answers by; the description has that of its weights."""
    return hashlib.sha256(config.model_dump_json().encode()).hexdigest()
