"""What a model says of one record: the one form that every output of a prediction is made of."""

from dataclasses import dataclass, field

from ecgjepa.signals.quality import QualityWord, quality_word
from ecgjepa.signals.record import Issue, IssueCode


@dataclass(frozen=True)
class Prediction:
    """What a model says of one record. `ecgjepa.inference.schema` writes it as JSON and as a row.

    Attributes:
        file: As it was given.
        record: Name of the record within its file, folder or store; None where it is not known.
        probabilities: Label to probability, in the model's order; empty if the file failed. Of a
            regression, the values.
        decisions: Label to whether its probability is at or above the label's threshold; without
            labels that have no threshold, and empty for a regression, without calibration or in
            folders of older versions.
        rule: Rule of the thresholds, such as ``best-f1``; None without decisions.
        label_set: Labels that cannot be left out at the coverage the model folder states; None
            where the folder holds no label sets.
        intervals: Of a regression, value name to the bounds of its conformal interval; empty where
            the folder holds none.
        findings: What was noticed about the input.
        duration: Seconds of signal.
        sampling_rate: Of the file, in Hz.
        quality_score: From 0 (useless) to 1 (clean), see `ecgjepa.signals.quality`; None if the
            file failed.
        distance: How far its features are from those of the training records, whose mean square is
            about 1; most are nearer, and the model's threshold says what is far: see
            `ecgjepa.model.distribution`. None if the model folder does not know them.
        leads: Set of leads that the answer was made by, all of the model's by default; those of
            them that are masked are gaps.
        error: Why there is no prediction, or None.
        reason: The same as a short code, for counting.
    """

    file: str
    record: str | None = None
    probabilities: dict[str, float] = field(default_factory=dict)
    decisions: dict[str, bool] = field(default_factory=dict)
    rule: str | None = None
    label_set: tuple[str, ...] | None = None
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    findings: tuple[Issue, ...] = ()
    duration: float | None = None
    sampling_rate: float | None = None
    quality_score: float | None = None
    distance: float | None = None
    leads: tuple[str, ...] = ()
    error: str | None = None
    reason: str | None = None

    @property
    def likeliest(self) -> str | None:
        """Label of the greatest probability, or None if the file failed."""
        return max(self.probabilities, key=self.probabilities.__getitem__, default=None)

    @property
    def derived_leads(self) -> tuple[str, ...]:
        """Leads that are not in the file and were computed from others by Einthoven's law."""
        return self._leads("derived_lead")

    @property
    def masked_leads(self) -> tuple[str, ...]:
        """Leads that are missing, or of which more than a fifth is invalid: the model sees gaps."""
        return self._leads("missing_lead", "invalid_lead")

    @property
    def used_leads(self) -> tuple[str, ...]:
        """Leads that the answer rests on."""
        masked = self.masked_leads
        return tuple(lead for lead in self.leads if lead not in masked)

    @property
    def quality(self) -> QualityWord | None:
        """Quality of the recording in one word, or None if the file failed."""
        if self.quality_score is None:
            return None
        return quality_word(self.quality_score, bool(self.masked_leads))

    def _leads(self, *codes: IssueCode) -> tuple[str, ...]:
        found = (issue.lead for issue in self.findings if issue.code in codes)
        return tuple(dict.fromkeys(lead for lead in found if lead is not None))
