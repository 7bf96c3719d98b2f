"""Use a model folder: ECG files in, probabilities out, with what was noticed about each file."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from jaxtyping import Float64, Int16
from torch import Tensor

from ecgjepa.errors import ModelFolderError, RecordError
from ecgjepa.inference.batches import mean_outputs
from ecgjepa.inference.prediction import Prediction
from ecgjepa.inference.sources import read_source
from ecgjepa.inference.windows import RecordWindows, chunk_size, outputs_of_logits, windows_of
from ecgjepa.model.compute import choose_device
from ecgjepa.model.distribution import DistributionConfig, FeatureDistribution
from ecgjepa.model.folder import ModelConfig, find_model, load_distribution, load_model_folder
from ecgjepa.model.heads import Classifier
from ecgjepa.model.outputs import TaskConfig
from ecgjepa.signals.acceptance import OnBad, Source, Usable, prepare_each
from ecgjepa.signals.record import Issue, Record

if TYPE_CHECKING:
    import pandas as pd


class _Facts(NamedTuple):
    """What a prediction says of its file, beside what the model gives."""

    record: str
    duration: float
    sampling_rate: float
    quality_score: float
    findings: tuple[Issue, ...]


class Model(NamedTuple):
    """A classifier ready to use; `load_model` makes one."""

    classifier: Classifier
    config: ModelConfig
    device: torch.device
    distribution: FeatureDistribution | None = None

    @property
    def task(self) -> TaskConfig:
        """What the outputs mean."""
        assert self.config.task is not None
        return self.config.task

    def predict(
        self,
        files: Sequence[str | Path],
        *,
        on_bad: OnBad = "skip",
        description: str | Path | None = None,
    ) -> list[Prediction]:
        """Return one prediction per file; a file that cannot be used carries its error.

        What can be used is what `ecgjepa.prepare` would store.

        Args:
            files: ECG files of any format and rate.
            on_bad: ``mask`` marks damaged leads and missing ends invalid where that is enough,
                ``raise`` stops at the first file that cannot be used.
            description: File that describes arrays and tables; None for those beside them.

        Raises:
            RecordError: With ``raise``.
        """
        return list(self.predict_each(files, on_bad=on_bad, description=description))

    def predict_each(
        self,
        files: Iterable[str | Path],
        *,
        on_bad: OnBad = "skip",
        description: str | Path | None = None,
    ) -> Iterator[Prediction]:
        """Yield what `predict` returns one by one, in order; memory does not grow with the files.

        Files are read some ahead, and their windows pass through the model together. So the last
        predictions before a file that cannot be read may come late, and none is lost.

        Example:
            >>> import ecgjepa
            >>> model = ecgjepa.load_model("runs/probe")
            >>> files = ["data/ptb-xl/records500/00000/00001_hr.hea"]
            >>> [prediction.error for prediction in model.predict_each(files)]
            [None]
        """
        sources = ((str(file), read_source(file, on_bad, description)) for file in files)
        for file, found in self._predictions(sources):
            if not isinstance(found, RecordError):
                yield found
            elif on_bad == "raise":
                raise found
            else:
                yield Prediction(file=file, error=str(found), reason=found.reason)

    def predict_proba(self, files: Sequence[str | Path]) -> "pd.DataFrame":
        """Return probabilities: one row per file, one column per label.

        Raises:
            RecordError: At the first file that cannot be used.
        """
        import pandas as pd  # takes longer to import than a prediction takes

        rows = [found.probabilities for found in self.predict_each(files, on_bad="raise")]
        return pd.DataFrame(
            rows, index=[str(file) for file in files], columns=list(self.task.labels)
        )

    def predict_record(self, record: Record) -> Prediction:
        """Return the prediction for a record in memory.

        The record is prepared as the training records were, cut into windows, and the windows'
        logits are averaged. What is far from the training records is a finding.

        Raises:
            RecordError: If too little of the record is usable, as for `ecgjepa.prepare`.
            ScoreError: If the model gives features that are not finite.
        """
        ((_, found),) = self._predictions([(record.source or record.record_id, record)])
        if isinstance(found, RecordError):
            raise found
        return found

    def _predictions(
        self, sources: Iterable[tuple[str, Source | RecordError]]
    ) -> Iterator[tuple[str, Prediction | RecordError]]:
        """Yield the prediction of each source, or why there is none."""
        usable = prepare_each(sources, self.config.preprocessing)
        records, count = self._with_windows(usable), chunk_size(self.device)
        for (file, found), means in mean_outputs(records, self._outputs, count):
            if isinstance(found, RecordError) or means is None:
                assert isinstance(found, RecordError), "whatever has windows has outputs"
                yield file, found
            else:
                yield file, self._prediction(file, found, *means)

    def _with_windows(
        self, usable: Iterable[tuple[str, Usable | RecordError]]
    ) -> Iterator[tuple[tuple[str, _Facts | RecordError], RecordWindows | None]]:
        for file, found in usable:
            if isinstance(found, RecordError):
                yield (file, found), None
            else:
                windows, findings = windows_of(found.prepared, self.config)
                source = found.source
                facts = _Facts(
                    source.record_id,
                    source.duration,
                    source.sampling_rate,
                    found.prepared.quality,
                    findings,
                )
                yield (file, facts), windows

    @torch.inference_mode()
    def _outputs(self, windows: Int16[Tensor, "windows size leads"]) -> tuple[Tensor, Tensor]:
        """Return the logits and the mean features of each window."""
        normaliser = self.config.normalisation.build().to(self.device)
        tokens = self.classifier.tokens(normaliser(windows.to(self.device)))
        means = tokens[:, self.config.encoder.num_registers :].mean(dim=1)
        return self.classifier.head(tokens), means

    def _prediction(
        self,
        file: str,
        facts: "_Facts",
        logits: Float64[np.ndarray, " labels"],
        features: Float64[np.ndarray, " dim"],
    ) -> Prediction:
        values = outputs_of_logits(torch.from_numpy(logits)[None], self.task).numpy()
        if self.config.calibration is not None:
            values = self.config.calibration.apply(values)
        distance, findings = None, facts.findings
        if self.distribution is not None and self.config.distribution is not None:
            distance = float(self.distribution.distances(features[None])[0])
            findings += _unlike_training_records(distance, self.config.distribution)
        probabilities = dict(zip(self.task.labels, values[0].tolist(), strict=True))
        decisions = self.config.decisions
        return Prediction(
            file=file,
            record=facts.record,
            probabilities=probabilities,
            decisions={} if decisions is None else decisions.apply(probabilities),
            findings=findings,
            duration=facts.duration,
            sampling_rate=facts.sampling_rate,
            quality_score=facts.quality_score,
            distance=distance,
        )


def load_model(folder: str | Path, *, device: str = "auto", calibrated: bool = True) -> Model:
    """Load a classifier from its model folder, or from the folder of a probe or fine-tuning.

    Args:
        folder: Model folder, or folder of a probe or fine-tuning.
        device: ``auto``, ``cpu`` or ``cuda``.
        calibrated: Correct the probabilities as was fitted on the validation records; folders of
            older versions hold no such correction.

    Raises:
        ModelFolderError: If it is damaged, or is an encoder without labels.

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
        raise ModelFolderError(
            f"{path}: is an encoder without a head, so it predicts nothing; train one with "
            "'ecgjepa probe' or 'ecgjepa finetune'"
        )
    if not calibrated:
        config = config.model_copy(update={"calibration": None, "decisions": None})
    where = choose_device(device)
    return Model(model.to(where), config, where, load_distribution(path, config))


def predict(
    files: Sequence[str | Path], model: str | Path, *, on_bad: OnBad = "skip", device: str = "auto"
) -> list[Prediction]:
    """Load a model and return one prediction per file.

    Args:
        files: ECG files of any format and rate.
        model: Model folder, or folder of a probe or fine-tuning.
        on_bad: See `Model.predict`.
        device: ``auto``, ``cpu`` or ``cuda``.

    Raises:
        ModelFolderError: If the model cannot be used.
        RecordError: As `Model.predict`.

    Example:
        >>> import ecgjepa
        >>> file = "data/ptb-xl/records500/00000/00001_hr.hea"
        >>> [prediction] = ecgjepa.predict([file], "runs/probe")
        >>> prediction.error is None, sorted(prediction.probabilities)
        (True, ['CD', 'HYP', 'MI', 'NORM', 'STTC'])
    """
    return load_model(model, device=device).predict(files, on_bad=on_bad)


def _unlike_training_records(distance: float, known: DistributionConfig) -> tuple[Issue, ...]:
    if distance <= known.threshold:
        return ()
    return (
        Issue(
            "unlike_training_records",
            f"unlike the training records: distance {distance:.3g}, and {100 * known.passed:g} % "
            f"of the validation records are within {known.threshold:.3g}. The model has hardly "
            "seen such a record: look at its electrodes, gain and noise before you use the "
            "probabilities. If many are like this, test and calibrate the model on them",
        ),
    )
