"""`ECGClassifier`: logistic regression on a frozen encoder, fitted on records of one's own."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped
from scipy.special import expit, softmax
from sklearn.base import ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from ecgjepa.errors import ConfigError, RecordFormatError, TaskError
from ecgjepa.estimators.encoder import ECGEncoder, EcgInputs
from ecgjepa.estimators.inputs import about_bad_rows, num_rows
from ecgjepa.estimators.labels import Labels, read_labels
from ecgjepa.inference.encoding import Layer
from ecgjepa.protocols.features import standardise
from ecgjepa.protocols.linear import fit_logistic

_OF_READING = ("sampling_rate", "leads", "unit", "axes", "on_bad", "description", "device")


class ECGClassifier(ClassifierMixin, EcgInputs):  # type: ignore[misc]
    """Fit logistic regression on the features of a frozen encoder.

    It is the protocol ``linear`` of `ecgjepa.probe` as an estimator: the same features and the same
    regression, without validation folds, so ``C`` is yours to choose. The probabilities are not
    calibrated.

    Args:
        model: Model folder, or the folder of a run, probe or fine-tuning that holds one.
        C: Inverse of the regularisation, as in scikit-learn; features are standardised before.
        layer: See `ECGEncoder`.
        sampling_rate: See `ECGEncoder`.
        leads: See `ECGEncoder`.
        unit: See `ECGEncoder`.
        axes: See `ECGEncoder`.
        on_bad: ``raise`` stops at the first ECG that cannot be used. With ``nan`` and ``mask``,
            `fit` leaves such ECGs out, `predict_proba` gives them a row of NaN, and `predict`
            refuses them.
        description: See `ECGEncoder`.
        device: ``auto``, ``cpu`` or ``cuda``.

    Attributes:
        classes_: Labels in the order of the columns of `predict_proba`; of a table of labels
            without names their numbers.
        is_single_label_: Whether each record has exactly one label.
        encoder_: The `ECGEncoder`.
        coef_: Weight of each feature, a row per label.
        intercept_: A number per label.
        errors_: Row to error of the last call, with ``nan`` or ``mask``.

    Example:
        >>> import ecgjepa
        >>> files = [f"data/ptb-xl/records500/00000/{n:05d}_hr.hea" for n in (1, 2, 3, 4)]
        >>> classifier = ecgjepa.ECGClassifier("runs/jepa", C=0.1)
        >>> classifier.fit(files, ["MI", "NORM", "MI", "NORM"]).classes_.tolist()
        ['MI', 'NORM']
        >>> classifier.predict_proba(files).shape
        (4, 2)
    """

    def __init__(
        self,
        model: str | Path,
        *,
        C: float = 1.0,
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
        self.C = C
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
        tags.classifier_tags.multi_label = True
        return tags

    def fit(self, X: object, y: object) -> "ECGClassifier":
        """Encode ECGs and fit the regression.

        Args:
            X: ECGs, see `ECGEncoder.transform`.
            y: A label per ECG (text or whole numbers); or a table of 0 and 1, a row per ECG and a
                column per label, whose names are those of a pandas frame.

        Raises:
            TaskError: If the labels do not fit the ECGs, or all ECGs have the same one.
            EcgjepaError: As `ECGEncoder.transform`.
        """
        if not (isinstance(self.C, int | float | np.number) and 0 < self.C < np.inf):
            raise ConfigError(f"C is {self.C!r}; expected a number above 0")
        labels = read_labels(y, num_rows(X))
        parameters = self.get_params(deep=False)
        del parameters["C"]
        self.encoder_ = ECGEncoder(**parameters)
        features = self.encoder_.fit_transform(X)
        self.errors_ = self.encoder_.errors_
        usable = np.isfinite(features).all(axis=1)
        labels = labels._replace(targets=labels.targets[usable])
        _refuse_nothing_to_learn(labels, self.errors_, len(features))
        fitted = fit_logistic(
            standardise(features[usable]),
            labels.targets,
            strength=float(self.C),
            single_label=labels.single,
        )
        self.classes_, self.is_single_label_ = labels.names, labels.single
        self.coef_, self.intercept_ = fitted.weight, fitted.bias
        return self

    def decision_function(self, X: object) -> Float[np.ndarray, "records labels"]:
        """Return the logits of ECGs, a column per label.

        Raises:
            NotFittedError: If `fit` was not called.
            EcgjepaError: As `ECGEncoder.transform`.
        """
        check_is_fitted(self)
        # How ECGs are read may be set anew after `fit`; model and layer may not.
        self.encoder_.set_params(**{name: getattr(self, name) for name in _OF_READING})
        features = self.encoder_.transform(X).astype(np.float64)
        self.errors_ = self.encoder_.errors_
        return features @ self.coef_.T + self.intercept_

    def predict_proba(self, X: object) -> Float[np.ndarray, "records labels"]:
        """Return the probability of each label, in the order of ``classes_``.

        With one label per record, also with two, a row adds up to 1. With several labels per record
        each column stands for itself, as in scikit-learn's ``OneVsRestClassifier``.

        Raises:
            NotFittedError: If `fit` was not called.
            EcgjepaError: As `ECGEncoder.transform`.
        """
        logits = self.decision_function(X)
        return softmax(logits, axis=1) if self.is_single_label_ else expit(logits)

    def predict(self, X: object) -> Shaped[np.ndarray, "..."]:
        """Return the label of each ECG; with several labels per record a table of 0 and 1.

        Raises:
            NotFittedError: If `fit` was not called.
            RecordError: If an ECG cannot be used, whatever ``on_bad`` is: no label says so.
            EcgjepaError: As `ECGEncoder.transform`.
        """
        probabilities = self.predict_proba(X)
        refuse_unlabelled(self.errors_, len(probabilities))
        if self.is_single_label_:
            return self.classes_[probabilities.argmax(axis=1)]
        return (probabilities >= 0.5).astype(np.int64)


def refuse_unlabelled(errors: dict[int, str], total: int) -> None:
    """Refuse to give labels to ECGs of which some cannot be used.

    Raises:
        RecordFormatError: If some cannot be used.
    """
    if errors:
        raise RecordFormatError(
            f"{about_bad_rows(errors, total)}. No label says that; predict_proba gives such ECGs "
            "rows of NaN"
        )


def _refuse_nothing_to_learn(labels: Labels, errors: dict[int, str], total: int) -> None:
    if not len(labels.targets):
        raise TaskError(f"there is no ECG to learn from: {about_bad_rows(errors, total)}")
    present = labels.names[labels.targets.any(axis=0)]
    if labels.single and len(present) == 1:
        raise TaskError(
            f"y: all {len(labels.targets)} usable ECGs have the label {present[0]!r}; expected two "
            "labels or more"
        )
