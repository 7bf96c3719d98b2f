"""The same protocol again and again: seeds, shares of the labels, databases left out.

Each time is an evaluation with a folder of its own; ``summary.json`` has a row for each and the
means. A standard deviation over runs says how much training varies, and nothing about patients.
The same command again does only what is left.
"""

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ecgjepa.errors import ConfigError
from ecgjepa.evaluation.cases import CASE_FILE, Case, claim_folder, describe_request, list_cases
from ecgjepa.evaluation.finetune import finetune
from ecgjepa.evaluation.probe import probe
from ecgjepa.evaluation.results import RESULTS_FILE, Evaluation
from ecgjepa.evaluation.saving import result_folder
from ecgjepa.files import as_json, write_json
from ecgjepa.protocols.run import FROZEN, Protocol
from ecgjepa.protocols.settings import WITHOUT_SETTINGS, load_settings
from ecgjepa.store.reading import Store
from ecgjepa.tasks.records import Data
from ecgjepa.tasks.task import check_task
from ecgjepa.version import __version__

logger = logging.getLogger(__name__)

SUMMARY_FILE = "summary.json"
FORMAT_VERSION = 1
# What tells one evaluation from another; the means are over the seeds and draws.
_KEYS = ("test_on", "label_fraction", "model")


class Repeats(NamedTuple):
    """Finished evaluations.

    Attributes:
        path: Their common folder.
        evaluations: In order: databases, then shares, then draws, then seeds.
        summary: Content of ``summary.json``.
    """

    path: Path
    evaluations: list[Evaluation]
    summary: dict[str, Any]

    def table(self) -> pd.DataFrame:
        """Return one row per tested database, share of the labels and model: mean, std, runs."""
        return pd.DataFrame(self.summary["means"])


def repeat(
    model: str | Path,
    data: Data,
    out: str | Path | None = None,
    *,
    task: str = "all",
    protocol: Protocol = "attentive",
    runs: int = 1,
    seed: int = 0,
    label_fractions: Sequence[float] = (1.0,),
    label_draws: int = 1,
    test_on: Sequence[str] = (),
    each_database: bool = False,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,  # noqa: ANN401
) -> Repeats:
    """Run a protocol for several seeds, shares of the labels, or databases left out.

    What is finished in ``out`` is read, and not run again.

    Args:
        model: Run, checkpoint or model folder.
        data: See `ecgjepa.probe`.
        out: Folder for all of it; beside the model by default.
        task: See `ecgjepa.probe`.
        protocol: ``attentive``, ``linear``, ``knn``, ``finetune`` or ``finetune-after-probe``.
        runs: Seeds: ``seed``, ``seed`` + 1 and so on. The paper has ten.
        seed: The first.
        label_fractions: Shares of the training patients whose labels are used.
        label_draws: Choices of those patients; all of the labels are one choice.
        test_on: Databases that are tested and not trained on.
        each_database: Leave each database out in turn: test on it, train on all others.
        progress: Called with (done, in all) within a run.
        options: Passed to `ecgjepa.probe` or `ecgjepa.finetune`.

    Raises:
        ConfigError: If a number is less than 1, the protocol is none of these, or the folder holds
            something else.
        EcgjepaError: As `ecgjepa.probe` and `ecgjepa.finetune`.
    """
    known = (*FROZEN, "finetune", "finetune-after-probe")
    if protocol not in known:
        raise ConfigError(f"unknown protocol {protocol!r}: expected one of {', '.join(known)}")
    if min(runs, label_draws) < 1 or not label_fractions:
        raise ConfigError(f"runs is {runs} and label draws {label_draws}; expected 1 or more")
    check_task(task)
    load_settings(protocol, options.get("overrides", ()))
    out = result_folder(model, out, task, f"{protocol}-repeats")
    if runs > 1 and protocol in WITHOUT_SETTINGS:
        logger.warning(
            "protocol %s is the same with every seed: its %d runs are one, repeated", protocol, runs
        )
    verb: Callable[..., Evaluation] = probe if protocol in FROZEN else finetune
    targets = _targets(data, tuple(test_on), each_database)
    cases = list(list_cases(targets, label_fractions, label_draws, range(seed, seed + runs)))
    settings = {**options, "task": task, "protocol": protocol}
    claim_folder(out, describe_request(verb, model, data, settings, cases), cases)
    evaluations: list[Evaluation] = []
    rows: list[dict[str, Any]] = []
    for number, case in enumerate(cases, start=1):
        folder = out / case.folder()
        if (folder / CASE_FILE).is_file():
            result = _read(folder)
        else:
            logger.info("[%d/%d] %s", number, len(cases), case.folder())
            result = verb(
                model,
                data,
                folder,
                task=task,
                protocol=protocol,
                seed=case.seed,
                label_fraction=case.label_fraction,
                label_draw=case.label_draw,
                test_on=case.test_on,
                progress=progress,
                **options,
            )
            write_json(folder / CASE_FILE, case._asdict())  # last: it says that the case is done
        evaluations.append(result)
        rows += _rows(case, result)
    summary = as_json(
        {
            "format_version": FORMAT_VERSION,
            "software_version": __version__,
            "protocol": protocol,
            "task": evaluations[0].results["task"]["name"],
            "measure": evaluations[0].results["measure"],
            "rows": rows,
            "means": means(rows),
            "std": "over runs and draws, with n - 1; it says nothing about patients",
        }
    )
    write_json(out / SUMMARY_FILE, summary)
    return Repeats(out, evaluations, summary)


def _read(folder: Path) -> Evaluation:
    """Return a finished evaluation."""
    return Evaluation(folder, json.loads((folder / RESULTS_FILE).read_text(encoding="utf-8")))


def means(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return mean and standard deviation over seeds and draws for each kind of run."""
    found = []
    for key in dict.fromkeys(tuple(row[name] for name in _KEYS) for row in rows):
        values = [row["value"] for row in rows if tuple(row[name] for name in _KEYS) == key]
        found.append(
            {
                **dict(zip(_KEYS, key, strict=True)),
                "runs": len(values),
                "mean": float(np.mean(values)),
                "std": float(np.std(values, ddof=1)) if len(values) > 1 else float("nan"),
            }
        )
    return found


def _targets(data: Data, test_on: tuple[str, ...], each: bool) -> list[tuple[str, ...]]:
    if not each:
        return [test_on]
    names = list(data) if isinstance(data, Mapping) else list(Store(data).manifest.databases)
    if len(names) < 2:
        raise ConfigError(
            f"leaving a database out needs two or more; found {', '.join(names) or 'none'}"
        )
    return [(name,) for name in sorted(names)]


def _rows(case: Case, result: Evaluation) -> Iterator[dict[str, Any]]:
    for name in result.results["models"]:
        value, low, high = result.score(name)
        yield {
            "folder": result.path.name,
            "test_on": "+".join(case.test_on),
            "label_fraction": case.label_fraction,
            "label_draw": case.label_draw,
            "seed": case.seed,
            "train_records": result.results["counts"]["train"],
            "model": name,
            "value": value,
            "low": low,
            "high": high,
        }
