"""The report: what was run and what came of it, as one HTML file that needs nothing else."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2

from ecgjepa import __version__
from ecgjepa.errors import CheckpointError
from ecgjepa.files import write_text
from ecgjepa.reporting.figures import as_data_uri, draw_intervals
from ecgjepa.reporting.sections import (
    EvaluationSection,
    PretrainingSection,
    describe_evaluation,
    describe_pretraining,
    draw_example_ecgs,
    draw_mask_example,
    result_rows,
)


def report(runs: Sequence[str | Path], out: str | Path, *, title: str = "") -> Path:
    """Write a report on pre-training runs and evaluations, and return its path.

    Args:
        runs: Folders of pre-training runs, probes and fine-tunings, in the order to show.
        out: HTML file.
        title: Heading; a general one by default.

    Raises:
        CheckpointError: If a folder is neither a pre-training run nor an evaluation.
    """
    folders = [Path(run) for run in runs]
    pretraining = [describe_pretraining(path) for path in folders if _is_pretraining(path)]
    evaluations = [describe_evaluation(path) for path in folders if _is_evaluation(path)]
    for path in folders:
        if not (_is_pretraining(path) or _is_evaluation(path)):
            raise CheckpointError(
                f"{path}: holds neither a pre-training run (metrics.jsonl) nor an evaluation "
                "(results.json)"
            )
    rows = result_rows(evaluations)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("ecgjepa.reporting", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("page.html.j2").render(
        title=title or "ECG representations learned with JEPA",
        version=__version__,
        pretraining=pretraining,
        evaluations=evaluations,
        rows=rows,
        intervals=as_data_uri(draw_intervals(rows)) if rows else None,
        masks=_first_masks(pretraining, evaluations),
        ecgs=draw_example_ecgs(evaluations[-1]) if evaluations else [],
        databases=(databases := _databases(pretraining, evaluations)),
        notices=sorted({(item["name"], text) for item in databases for text in item["notices"]}),
    )
    write_text(Path(out), page)
    return Path(out)


def _is_pretraining(path: Path) -> bool:
    return (path / "metrics.jsonl").is_file()


def _is_evaluation(path: Path) -> bool:
    return (path / "results.json").is_file()


def _first_masks(
    pretraining: list[PretrainingSection], evaluations: list[EvaluationSection]
) -> str | None:
    if not (pretraining and evaluations):
        return None
    return draw_mask_example(pretraining[0], evaluations[0])


def _databases(
    pretraining: list[PretrainingSection], evaluations: list[EvaluationSection]
) -> list[dict[str, Any]]:
    """Return one entry per purpose and database: what was used and what was not, and why."""
    used = [
        {"purpose": "pre-training", "name": name, **summary}
        for section in pretraining[:1]
        for name, summary in section.databases.items()
    ]
    used += [
        {
            "purpose": "evaluation",
            # Results of older versions are all of PTB-XL.
            "name": section.results.get("data", {"tested_on": ["ptb-xl"]})["tested_on"][0],
            **section.results["database"],
        }
        for section in evaluations[:1]
    ]
    return used
