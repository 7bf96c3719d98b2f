"""What a model says of one record: the one form that every output of a prediction is made of."""

from dataclasses import dataclass, field

from ecgjepa.signals.record import Issue


@dataclass(frozen=True)
class Prediction:
    """What a model says of one file.

    Attributes:
        file: As it was given.
        probabilities: Label to probability, in the model's order; empty if the file failed. Of a
            regression, the values.
        decisions: Label to whether its probability is at or above the threshold of greatest F1 on
            the validation records; without labels that have no threshold, and empty for a
            regression, without calibration or in folders of older versions.
        findings: What was noticed about the input.
        duration: Seconds of signal.
        sampling_rate: Of the file, in Hz.
        distance: How far its features are from those of the training records, which are at about 1:
            see `ecgjepa.model.distribution`. None if the model folder does not know them.
        error: Why there is no prediction, or None.
        reason: The same as a short code, for counting.
    """

    file: str
    probabilities: dict[str, float] = field(default_factory=dict)
    decisions: dict[str, bool] = field(default_factory=dict)
    findings: tuple[Issue, ...] = ()
    duration: float | None = None
    sampling_rate: float | None = None
    distance: float | None = None
    error: str | None = None
    reason: str | None = None
