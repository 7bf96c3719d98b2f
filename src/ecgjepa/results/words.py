"""What the page, the terminal and the tables say of results in the same words."""

from collections.abc import Mapping
from typing import Any

from ecgjepa.results.layout import JUDGED, TRAINED_WITH_LABELS


def is_fine_tuned(results: Mapping[str, Any]) -> bool:
    """Return whether labels had trained a pre-trained encoder before it was evaluated.

    Args:
        results: Content of ``results.json``.
    """
    is_pretrained = results.get("pretraining", {}).get("objective") != "none"
    is_trained_here = results["protocol"] != JUDGED
    return is_pretrained and is_trained_here and bool(results.get(TRAINED_WITH_LABELS))


def column_heading(protocol: str, reading: str, label_fraction: float = 1.0) -> str:
    """Return what heads a column of a comparison.

    Args:
        protocol: Protocol of the arms in the column.
        reading: How their encoders were read.
        label_fraction: Share of the training patients whose labels were used.
    """
    read = "" if reading == "paper" else ", all blocks"
    share = "" if label_fraction == 1 else f", {100 * label_fraction:g} % of labels"
    return protocol + read + share
