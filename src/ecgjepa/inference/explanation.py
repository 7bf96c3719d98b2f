"""What a prediction rests on, as numbers: stretches of leads, and when the model looked."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64


class Explanation(NamedTuple):
    """How each label's score changes where a stretch of a lead is hidden.

    A score is the log-odds of a probability as `ecgjepa.predict` gives it, or the value of a
    regression. A hidden stretch is one that the model sees as missing. The changes of several
    stretches do not add up: what one lead shows, another may show as well.

    Attributes:
        file: The record, as it was given.
        labels: Labels, in the model's order.
        leads: Leads, in the model's order.
        edges: Begin of each stretch and end of the last, in seconds.
        scores: Score of each label when nothing is hidden.
        effects: Score of each label less its score when one stretch of one lead is hidden: what
            speaks for the label is above 0, what speaks against it below.
        lead_effects: The same when a whole lead is hidden.
        attention: How much the attentive head looks at each stretch, relative to looking at all
            times alike; None for other heads.
    """

    file: str
    labels: tuple[str, ...]
    leads: tuple[str, ...]
    edges: Float64[np.ndarray, " edges"]
    scores: Float64[np.ndarray, " labels"]
    effects: Float64[np.ndarray, "labels leads stretches"]
    lead_effects: Float64[np.ndarray, "labels leads"]
    attention: Float64[np.ndarray, " stretches"] | None

    def as_json(self) -> dict[str, object]:
        """Return all of it as JSON content."""
        return {
            "file": self.file,
            "labels": list(self.labels),
            "leads": list(self.leads),
            "edges_seconds": self.edges.tolist(),
            "scores": dict(zip(self.labels, self.scores.tolist(), strict=True)),
            "effects": dict(zip(self.labels, self.effects.tolist(), strict=True)),
            "lead_effects": {
                label: dict(zip(self.leads, row, strict=True))
                for label, row in zip(self.labels, self.lead_effects.tolist(), strict=True)
            },
            "attention": None if self.attention is None else self.attention.tolist(),
        }
