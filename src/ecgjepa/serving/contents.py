"""What the service answers, as its OpenAPI page describes it.

A prediction is what `ecgjepa.inference.schema.PredictionSchema.content` makes of it, key by key.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class _Content(BaseModel):
    """What must be there, and nothing else."""

    model_config = ConfigDict(extra="forbid")


class FindingContent(_Content):
    """Something that was noticed about a record."""

    code: str = Field(description="Short code, for counting.")
    message: str = Field(description="What was noticed.")
    lead: str | None = Field(description="Lead that it is about, or null.")


class PredictionContent(_Content):
    """What is said of one record, as `ecgjepa predict --json` says it."""

    schema_: int = Field(alias="schema", description="Version of this schema.")
    file: str = Field(description="Name of the file; of one of several records with #KEY.")
    record: str | None = Field(description="Name of the record within its file.")
    error: str | None = Field(description="Why there is no prediction, or null.")
    reason: str | None = Field(description="The error as a short code, for counting.")
    likeliest: str | None = Field(description="Label of the greatest probability, of one-of-many.")
    probabilities: dict[str, float | None] = Field(description="Probability of each label.")
    values: dict[str, float | None] = Field(description="Value of each output of a regression.")
    intervals: dict[str, list[float | None]] = Field(description="Bounds of each value.")
    decisions: dict[str, bool] = Field(description="Whether each label is at its threshold.")
    rule: str | None = Field(description="Rule of the thresholds.")
    set: list[str] | None = Field(description="Labels that cannot be left out.")
    distance: float | None = Field(description="Distance from the training records.")
    quality: str | None = Field(description="good, poor or incomplete.")
    quality_score: float | None = Field(description="From 0 (useless) to 1 (clean).")
    findings: list[FindingContent] = Field(description="What was noticed about the input.")
    derived_leads: list[str] = Field(description="Leads computed from others.")
    masked_leads: list[str] = Field(description="Leads that are missing or mostly unusable.")
    used_leads: list[str] = Field(description="Leads that the answer rests on.")
    duration: float | None = Field(description="Duration in seconds.")
    sampling_rate: float | None = Field(description="Sampling rate of the file, in Hz.")


class Predictions(_Content):
    """Predictions of all records of a request, in the order of their files."""

    predictions: list[PredictionContent]
    beside: list[str] = Field(
        description="Files that are no records: signals, annotations or descriptions of some."
    )


class FeaturesContent(_Content):
    """Features of one record."""

    file: str = Field(description="Name of the file; of one of several records with #KEY.")
    record: str | None = Field(description="Name of the record within its file.")
    error: str | None = Field(description="Why there are no features, or null.")
    reason: str | None = Field(description="The error as a short code, for counting.")
    starts: list[float] | None = Field(description="Second at which each window begins.")
    values: list[list[float]] = Field(description="A row for the record, or for each window.")


class Features(_Content):
    """Features of all records of a request, in the order of their files."""

    features: list[FeaturesContent]
    beside: list[str] = Field(
        description="Files that are no records: signals, annotations or descriptions of some."
    )


class LabelContent(_Content):
    """What an output of the model means."""

    name: str
    description: str
    threshold: float | None = Field(description="The label is decided from here on, or null.")


class ModelContent(_Content):
    """What the model is."""

    kind: str = Field(description="multi-label, single-label, regression, or encoder.")
    task: str | None
    labels: list[LabelContent]
    rule: str | None = Field(description="Rule of the thresholds.")
    leads: list[str]
    lead_sets: list[list[str]] = Field(
        description="Sets of leads, any of which a record is answered by; the first is all leads."
    )
    sampling_rate: float = Field(description="Rate to which records are resampled, in Hz.")
    window_seconds: float
    weights_sha256: str
    software_version: str = Field(description="Version of ecgjepa that wrote the model.")
    limits: dict[str, int | float] = Field(description="What one request may take.")
    training: dict[str, Any] = Field(description="Where the head comes from.")
    card: str = Field(description="The model's card, as Markdown.")


class Health(_Content):
    """Whether the service works."""

    status: str = Field(description="ok")
    version: str = Field(description="Version of ecgjepa that serves.")


class Refusal(_Content):
    """Why a request was refused as a whole."""

    detail: str
