"""Use a model folder: ECG files in, probabilities out, with what was noticed about each file."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from jaxtyping import Int16
from numpy.typing import ArrayLike
from torch import Tensor

from ecgjepa.errors import RecordError
from ecgjepa.inference.batches import mean_outputs
from ecgjepa.inference.inputs.arrays import records_of_array
from ecgjepa.inference.inputs.named import usable_each
from ecgjepa.inference.inputs.records import warn_of_errors
from ecgjepa.inference.interpretation import (
    as_asked,
    in_one_line,
    interpret,
    with_windows,
    without_head,
)
from ecgjepa.inference.prediction import Prediction
from ecgjepa.inference.windows import chunk_size
from ecgjepa.model.compute import choose_device
from ecgjepa.model.distribution import FeatureDistribution
from ecgjepa.model.folder import ModelConfig, load_distribution, load_model_folder
from ecgjepa.model.heads import Classifier, patch_means
from ecgjepa.model.outputs import TaskConfig
from ecgjepa.sharing.box import DEFAULT_MODEL
from ecgjepa.sharing.references import find_model
from ecgjepa.signals.acceptance import OnBad, Usable, prepare_each
from ecgjepa.signals.record import Record

if TYPE_CHECKING:
    import pandas as pd


class Model(NamedTuple):
    """A classifier ready to use; `load_model` makes one."""

    classifier: Classifier
    config: ModelConfig
    device: torch.device
    distribution: FeatureDistribution | None = None

    def __repr__(self) -> str:
        """Return what the model predicts, and of what size it is, on one line."""
        return f"Model({in_one_line(self.config)}, on {self.device.type})"

    @property
    def task(self) -> TaskConfig:
        """What the outputs mean."""
        assert self.config.task is not None
        return self.config.task

    def predict(
        self,
        files: Iterable[str | Path] | str | Path,
        *,
        on_bad: OnBad = "skip",
        description: str | Path | None = None,
    ) -> list[Prediction]:
        """Return one prediction per file; a file that cannot be used carries its error.

        Args:
            files: ECG files of any format and rate. A folder, a pattern such as ``2024/*.xml``, a
                prepared store and a file of several records stand for all their records.
            on_bad: ``mask`` marks damaged leads and missing ends invalid where that is enough,
                ``raise`` stops at the first unusable file. `ecgjepa.prepare` takes the same files.
            description: File that describes arrays and tables; None for those beside them.

        Raises:
            RecordError: With ``raise``.
            InputError: If a folder holds no ECG, or a store was prepared for another model.
        """
        return list(self.predict_each(files, on_bad=on_bad, description=description))

    def predict_each(
        self,
        files: Iterable[str | Path] | str | Path,
        *,
        on_bad: OnBad = "skip",
        description: str | Path | None = None,
    ) -> Iterator[Prediction]:
        """Yield what `predict` returns one by one, in order; memory does not grow with the files.

        Files are read some ahead, so the last ones before an error may come late; none is lost.
        """
        known, sets = self.config.preprocessing, self.config.sets_of_leads
        found = usable_each(files, known, sets=sets, on_bad=on_bad, description=description)
        yield from self.answers(found, on_bad)

    def answers(
        self, usable: Iterable[tuple[str, Usable | RecordError]], on_bad: OnBad = "skip"
    ) -> Iterator[Prediction]:
        """Yield the prediction of each record that `ecgjepa.inference.inputs` gives.

        Raises:
            RecordError: With ``raise``, at the first that cannot be used.
        """
        for file, found in self._predictions(usable):
            if not isinstance(found, RecordError):
                yield found
            elif on_bad == "raise":
                raise found
            else:
                yield Prediction(file=file, error=str(found), reason=found.reason)

    def predict_proba(
        self,
        files: Iterable[str | Path] | str | Path,
        *,
        on_bad: OnBad = "skip",
        description: str | Path | None = None,
    ) -> "pd.DataFrame":
        """Return probabilities: one row per file, one column per label.

        Files that cannot be used have no row; they are warned of, and ``frame.attrs["errors"]``
        maps each to its error. The arguments are those of `predict`.

        Raises:
            RecordError: With ``raise``, at the first file that cannot be used.
        """
        import pandas as pd  # takes longer to import than a prediction takes

        found = self.predict(files, on_bad=on_bad, description=description)
        used = [each for each in found if each.error is None]
        frame = pd.DataFrame(
            [each.probabilities for each in used],
            index=pd.Index([each.file for each in used], name="file"),
            columns=list(self.task.labels),
        )
        frame.attrs["errors"] = {each.file: each.error for each in found if each.error is not None}
        warn_of_errors(frame.attrs["errors"], len(found))
        return frame

    def predict_signal(
        self,
        signal: ArrayLike,
        *,
        sampling_rate: float,
        leads: Sequence[str],
        unit: str = "mV",
    ) -> Prediction | list[Prediction]:
        """Return the prediction for an array, or those for an array of several records.

        Args:
            signal: Amplitudes (samples, leads) of a record, or (records, samples, leads) of several
                records; what is not finite is invalid.
            sampling_rate: In Hz.
            leads: Name of each column.
            unit: Unit of the amplitudes: V, mV, µV (uV) or nV.

        Returns:
            A prediction, or a list of them for an array of three axes, in which a record that
            cannot be used carries its error.

        Raises:
            RecordError: If the array is not an ECG, or a single record cannot be used.

        Example:
            >>> import ecgjepa
            >>> model = ecgjepa.load_model("runs/probe")
            >>> ecg = ecgjepa.read_record("data/ptb-xl/records500/00000/00001_hr.hea")
            >>> found = model.predict_signal(ecg.signal, sampling_rate=500, leads=ecg.leads)
            >>> found.duration
            10.0
        """
        records = records_of_array(signal, sampling_rate, leads, unit)
        if np.ndim(signal) == 2:
            return self.predict_record(next(records))
        named = ((record.record_id, record) for record in records)
        return list(self.answers(self._prepared(named)))

    def predict_record(self, record: Record) -> Prediction:
        """Return the prediction for a record in memory.

        The record is prepared as the training records were, and its windows' logits are averaged.

        Raises:
            RecordError: If too little of the record is usable, as for `ecgjepa.prepare`.
            ScoreError: If the model gives features that are not finite.
        """
        named = [(record.source or record.record_id, record)]
        ((_, found),) = self._predictions(self._prepared(named))
        if isinstance(found, RecordError):
            raise found
        return found

    def _prepared(
        self, named: Iterable[tuple[str, Record]]
    ) -> Iterator[tuple[str, Usable | RecordError]]:
        return prepare_each(named, self.config.preprocessing, self.config.sets_of_leads)

    def _predictions(
        self, usable: Iterable[tuple[str, Usable | RecordError]]
    ) -> Iterator[tuple[str, Prediction | RecordError]]:
        """Yield the prediction of each record, or why there is none."""
        records, count = with_windows(usable, self.config), chunk_size(self.device)
        known = self.config, self.distribution
        for (file, found), means in mean_outputs(records, self.outputs, count):
            if isinstance(found, RecordError):
                yield file, found
            elif isinstance(means, RecordError):
                yield file, means
            else:
                assert means is not None, "whatever has windows has outputs"
                logits, features = means
                yield file, interpret(file, found, logits, features, *known)

    @torch.inference_mode()
    def outputs(self, windows: Int16[Tensor, "windows size leads"]) -> tuple[Tensor, Tensor]:
        """Return the logits and the mean features of each window."""
        normaliser = self.config.normalisation.build().to(self.device)
        tokens = self.classifier.tokens(normaliser(windows.to(self.device)))
        means = patch_means(self.classifier.encoder, tokens)
        return self.classifier.head(tokens), means


def load_model(
    folder: str | Path,
    *,
    device: str = "auto",
    calibrated: bool = True,
    decision: str | None = None,
) -> Model:
    """Load a classifier from its model folder, or from the folder of a probe or fine-tuning.

    Args:
        folder: Model folder, or folder of a probe or fine-tuning; the name of a model in the box,
            such as ``box-superdiagnostic``; or ``hf:owner/name[@revision]``.
        device: ``auto``, ``cpu`` or ``cuda``.
        calibrated: Correct the probabilities as was fitted on the validation records; folders of
            older versions hold no such correction. Without it there are no decisions and no label
            sets, for they are of corrected probabilities.
        decision: Rule of the thresholds among those that the folder holds: ``best-f1``,
            ``sensitivity``, ``specificity``, or in full, such as ``sensitivity=0.9``. By default
            the one that the model was trained for.

    Raises:
        ModelFolderError: If it is damaged, or is an encoder without labels.
        ConfigError: If it holds no thresholds of the rule.

    Example:
        >>> import ecgjepa
        >>> model = ecgjepa.load_model("runs/probe")
        >>> model.task.labels
        ('CD', 'HYP', 'MI', 'NORM', 'STTC')
        >>> model.predict_proba(["data/ptb-xl/records500/00000/00001_hr.hea"]).shape
        (1, 5)
    """
    path = find_model(folder)
    model, config = load_model_folder(path)
    if not isinstance(model, Classifier) or config.task is None:
        raise without_head(path)
    config = as_asked(config, path, calibrated=calibrated, decision=decision)
    where = choose_device(device)
    return Model(model.to(where), config, where, load_distribution(path, config))


def predict(
    files: Iterable[str | Path] | str | Path,
    model: str | Path = DEFAULT_MODEL,
    *,
    decision: str | None = None,
    on_bad: OnBad = "skip",
    device: str = "auto",
) -> list[Prediction]:
    """Load a model and return one prediction per file.

    Args:
        files: See `Model.predict`: files, or folders, patterns and prepared stores.
        model: Folder or name of a classifier, see `load_model`.
        decision: Rule of the thresholds; see `load_model`.
        on_bad: See `Model.predict`.
        device: ``auto``, ``cpu`` or ``cuda``.

    Raises:
        ModelFolderError: If the model cannot be used.
        ConfigError: If its folder holds no thresholds of the rule.
        RecordError: As `Model.predict`.

    Example:
        >>> import ecgjepa
        >>> file = "data/ptb-xl/records500/00000/00001_hr.hea"
        >>> [prediction] = ecgjepa.predict([file], "runs/probe")
        >>> prediction.error is None, sorted(prediction.probabilities)
        (True, ['CD', 'HYP', 'MI', 'NORM', 'STTC'])
    """
    return load_model(model, device=device, decision=decision).predict(files, on_bad=on_bad)
