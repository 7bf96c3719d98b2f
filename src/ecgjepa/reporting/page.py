"""The report: what was run and what came of it, as one HTML file that needs nothing else."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2

from ecgjepa.errors import CheckpointError
from ecgjepa.files import write_text
from ecgjepa.metrics.subgroups import too_few_to_tell
from ecgjepa.reporting.evaluation_section import (
    EvaluationSection,
    describe_evaluation,
    distinct_data,
    group_results,
    tell_apart,
)
from ecgjepa.reporting.examples import draw_example_ecgs, draw_hidden
from ecgjepa.reporting.paired_section import compare_evaluations
from ecgjepa.reporting.tables import describe_comparison, describe_repeats
from ecgjepa.reporting.training_section import PretrainingSection, describe_pretraining
from ecgjepa.results.layout import COMPARISON_FILE, METRICS_FILE, RESULTS_FILE, SUMMARY_FILE
from ecgjepa.version import __version__

# What tells the kinds of folders apart.
_KINDS = {
    METRICS_FILE: "pre-training run",
    RESULTS_FILE: "evaluation",
    SUMMARY_FILE: "repeats of an evaluation",
    COMPARISON_FILE: "comparison",
}


def report(runs: Sequence[str | Path], out: str | Path, *, title: str = "") -> Path:
    """Write a report on what was run, and return its path.

    Args:
        runs: Folders of pre-training runs, probes, fine-tunings, repeats and comparisons, in the
            order to show; or a folder that holds such folders, which are shown by name.
        out: HTML file.
        title: Heading; a general one by default.

    Raises:
        CheckpointError: If a folder is none of these.

    Example:
        >>> import ecgjepa
        >>> ecgjepa.report(["runs/jepa", "runs/probe", "runs/tuned"], "report.html")
        PosixPath('report.html')
    """
    folders = [folder for run in runs for folder in _reported(Path(run))]
    pretraining = [describe_pretraining(path) for path in _having(METRICS_FILE, folders)]
    evaluations = tell_apart([describe_evaluation(path) for path in _having(RESULTS_FILE, folders)])
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("ecgjepa.reporting", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("page.html.j2").render(
        title=title or _title(pretraining),
        version=__version__,
        too_few=too_few_to_tell,
        pretraining=pretraining,
        evaluations=evaluations,
        data=distinct_data(evaluations),
        groups=group_results(evaluations),
        paired=compare_evaluations(evaluations),
        repeats=[describe_repeats(path) for path in _having(SUMMARY_FILE, folders)],
        comparisons=[describe_comparison(path) for path in _having(COMPARISON_FILE, folders)],
        hidden=[draw_hidden(run, evaluations[0]) if evaluations else None for run in pretraining],
        ecgs=draw_example_ecgs(evaluations[-1]) if evaluations else [],
        databases=(databases := _databases(pretraining, evaluations)),
        notices=sorted({(item["name"], text) for item in databases for text in item["notices"]}),
    )
    write_text(Path(out), page)
    return Path(out)


def _reported(path: Path) -> list[Path]:
    """Return a folder that can be reported, or those in it that can.

    Raises:
        CheckpointError: If there are none.
    """
    if _is_reported(path):
        return [path]
    inside = sorted(path.iterdir()) if path.is_dir() else []
    if found := [folder for folder in inside if _is_reported(folder)]:
        return found
    known = ", ".join(f"{kind} ({name})" for name, kind in _KINDS.items())
    raise CheckpointError(
        f"{path}: holds none of what can be reported: {known}; nor does any folder in it"
    )


def _is_reported(path: Path) -> bool:
    return any((path / name).is_file() for name in _KINDS)


def _having(name: str, folders: Sequence[Path]) -> list[Path]:
    return [path for path in folders if (path / name).is_file()]


def _title(pretraining: list[PretrainingSection]) -> str:
    """Return a heading that names the objective if all runs share one."""
    titles = {run.title for run in pretraining}
    shared = titles.pop() if len(titles) == 1 else None
    return f"ECG representations learned with {shared}" if shared else "ECG representations"


def _databases(
    pretraining: list[PretrainingSection], evaluations: list[EvaluationSection]
) -> list[dict[str, Any]]:
    """Return one entry per purpose and database: what was used and what was not, and why."""
    used = [
        {"purpose": "pre-training", "name": name, **summary}
        for section in pretraining[:1]
        for name, summary in section.databases.items()
    ]
    evaluated: dict[str, dict[str, Any]] = {}
    for evaluation in evaluations:
        evaluated = {**evaluation.results["databases"], **evaluated}
    used += [{"purpose": "evaluation", "name": name, **found} for name, found in evaluated.items()]
    return used
