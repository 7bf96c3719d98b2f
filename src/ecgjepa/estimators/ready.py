"""`ECGModelClassifier`: a classifier's model folder as it is, as an estimator of scikit-learn."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped
from sklearn.base import ClassifierMixin

from ecgjepa.errors import ModelFolderError, TaskError
from ecgjepa.estimators.classifier import refuse_unlabelled
from ecgjepa.estimators.encoder import EcgInputs, digest_of
from ecgjepa.estimators.inputs import num_rows
from ecgjepa.estimators.labels import read_labels
from ecgjepa.inference.predict import Model, load_model
from ecgjepa.inference.prediction import Prediction


class ECGModelClassifier(ClassifierMixin, EcgInputs):  # type: ignore[misc]
    """Answer as a trained classifier does: the probabilities of `ecgjepa.predict`, as an array.

    Nothing is trained: `fit` notes which model it was and compares labels, and the others may be
    called without it. To train on records of your own, use `ECGClassifier`.

    Args:
        model: Model folder of a classifier, or the folder of a probe or fine-tuning.
        calibrated: See `ecgjepa.load_model`.
        decision: See `ecgjepa.load_model`.
        sampling_rate: See `ECGEncoder`.
        leads: See `ECGEncoder`.
        unit: See `ECGEncoder`.
        axes: See `ECGEncoder`.
        on_bad: ``raise`` stops at the first ECG that cannot be used; with ``nan`` and ``mask``,
            `predict_proba` gives it a row of NaN, and `predict` refuses it.
        description: See `ECGEncoder`.
        device: ``auto``, ``cpu`` or ``cuda``.

    Attributes:
        model_digest_: Hash of the model at the time of `fit`.
        errors_: Row to error of the last call, with ``nan`` or ``mask``.

    Example:
        >>> import ecgjepa
        >>> ready = ecgjepa.ECGModelClassifier("runs/probe")
        >>> ready.classes_.tolist()
        ['CD', 'HYP', 'MI', 'NORM', 'STTC']
        >>> ready.predict_proba(["data/ptb-xl/records500/00000/00001_hr.hea"]).shape
        (1, 5)
    """

    def __init__(
        self,
        model: str | Path,
        *,
        calibrated: bool = True,
        decision: str | None = None,
        sampling_rate: float | None = None,
        leads: Sequence[str] | None = None,
        unit: str = "mV",
        axes: Sequence[str] = ("samples", "leads"),
        on_bad: str = "raise",
        description: str | Path | None = None,
        device: str = "auto",
    ) -> None:
        self.model = model
        self.calibrated = calibrated
        self.decision = decision
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
        tags.classifier_tags.multi_label = True
        return tags

    @property
    def classes_(self) -> Shaped[np.ndarray, " labels"]:
        """Labels in the order of the columns of `predict_proba`."""
        return np.array(self._load().task.labels)

    @property
    def is_single_label_(self) -> bool:
        """Whether each record has exactly one label."""
        return self._load().task.kind == "single-label"

    def fit(self, X: object, y: object = None) -> "ECGModelClassifier":
        """Load the model and note which it is; nothing is trained, and no ECG is read.

        Args:
            X: ECGs, see `ECGEncoder.transform`.
            y: Labels, which must be those of the model; None for none.

        Raises:
            TaskError: If the labels are others than those of the model.
            ModelFolderError: If the model cannot be used.
            ConfigError: If a parameter is wrong.
            InputError: If X is not a collection of ECGs.
        """
        self._reading().check()
        total = num_rows(X)
        self.__dict__.pop("model_digest_", None)
        self.__dict__.pop("_loaded", None)
        model = self._load()
        if y is not None:
            self._compare(y, total, model)
        self.model_digest_ = digest_of(model.config)
        return self

    def _compare(self, y: object, total: int, model: Model) -> None:
        """Refuse labels that the model does not have."""
        given, known = read_labels(y, total), list(model.task.labels)
        names = [str(name) for name in given.names.tolist()]
        numbered = [str(number) for number in range(len(known))]
        is_single = model.task.kind == "single-label"
        fits = set(names) <= set(known) if is_single else names in (known, numbered)
        if given.single != is_single or not fits:
            kind = "one per record" if given.single else "a column each"
            raise TaskError(
                f"y has the labels {', '.join(names)[:300]} ({kind}); {self.model} has "
                f"{', '.join(known)[:300]}, {model.task.kind}, in this order. Nothing is trained "
                "here; to train on labels of your own, use ECGClassifier"
            )

    def predict_proba(self, X: object) -> Float[np.ndarray, "records labels"]:
        """Return the probability of each label, in the order of ``classes_``.

        Args:
            X: ECGs, see `ECGEncoder.transform`.

        Raises:
            RecordError: With ``raise``, at the first ECG that cannot be used.
            EcgjepaError: As `ecgjepa.load_model`.
        """
        return self._table([each.probabilities for each in self._answers(X)])

    def predict(self, X: object) -> Shaped[np.ndarray, "..."]:
        """Return the label of each ECG; with several labels per record a table of 0 and 1.

        With several labels per record, yes is a probability at or above the label's threshold,
        which was fitted on the model's validation records.

        Args:
            X: ECGs, see `ECGEncoder.transform`.

        Raises:
            RecordError: If an ECG cannot be used, whatever ``on_bad`` is: no label says so.
            ModelFolderError: If the model has no threshold for a label.
            EcgjepaError: As `ecgjepa.load_model`.
        """
        answers = self._answers(X)
        refuse_unlabelled(self.errors_, len(answers))
        classes = self.classes_
        if self.is_single_label_:
            return classes[self._table([each.probabilities for each in answers]).argmax(axis=1)]
        decided = [each.decisions or {} for each in answers]
        named = classes.tolist()
        if missing := [one for one in named if any(one not in row for row in decided)]:
            raise ModelFolderError(
                f"{self.model}: has no threshold for {', '.join(missing)[:300]}, so it says "
                "neither yes nor no; use predict_proba"
            )
        return self._table(decided).astype(np.int64)

    def _table(self, rows: list[Any]) -> Float[np.ndarray, "records labels"]:
        labels = self._load().task.labels
        return np.array([[row.get(label, np.nan) for label in labels] for row in rows], np.float64)

    def _answers(self, X: object) -> list[Prediction]:
        model = self._load()
        config = model.config
        usable = self._reading().usable(X, config.preprocessing, config.sets_of_leads)
        answers = list(model.answers(usable, "raise" if self.on_bad == "raise" else "skip"))
        errors = {row: each.error for row, each in enumerate(answers) if each.error is not None}
        self._keep_errors(errors, len(answers), "Their probabilities are NaN")
        return answers

    def _load(self) -> Model:
        """Return the model, loaded once and again when a parameter has changed."""
        key = (str(self.model), self.calibrated, self.decision, self.device)
        before = self.__dict__.get("_loaded")
        if before is None or before[0] != key:
            model = load_model(
                self.model,
                device=self.device,
                calibrated=self.calibrated,
                decision=self.decision,
            )
            self._check_same(model.config)
            self._loaded = before = (key, model)
        found: Model = before[1]
        if found.task.kind == "regression":
            raise TaskError(
                f"{self.model}: predicts {', '.join(found.task.labels)[:200]}, which are values "
                "and not labels; use ecgjepa.predict"
            )
        return found
