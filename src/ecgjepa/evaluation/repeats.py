"""The same protocol again and again: seeds, shares of the labels, databases left out.

Each time is an evaluation with a folder of its own; ``summary.json`` has a row for each and the
means. A standard deviation over runs says how much training varies, and nothing about patients.
The same command again does only what is left.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ecgjepa.errors import ConfigError
from ecgjepa.evaluation.cases import CASE_FILE, Case, claim_folder, describe_cases, list_cases
from ecgjepa.evaluation.finetune import finetune_cohort, tuning_settings
from ecgjepa.evaluation.probe import probe_cohort
from ecgjepa.evaluation.requests import REPEATS, describe_request, refuse_foreign
from ecgjepa.evaluation.results import Evaluation
from ecgjepa.evaluation.saving import result_folder
from ecgjepa.files import as_json, write_json
from ecgjepa.locks import working_in
from ecgjepa.model.compute import choose_device
from ecgjepa.model.outputs import TaskKind
from ecgjepa.protocols.encoders import DescribedEncoder, load_encoder, refuse_training
from ecgjepa.protocols.request import ProtocolRequest, ReadingName, Workspace, request_protocol
from ecgjepa.protocols.settings import (
    FROZEN,
    TUNING,
    WITHOUT_SETTINGS,
    FrozenProtocol,
    Protocol,
    TuningProtocol,
    check_protocol,
)
from ecgjepa.results.layout import SUMMARY_FILE, SUMMARY_VERSION
from ecgjepa.results.reading import read_results
from ecgjepa.tasks.cohort import Cohort, database_names
from ecgjepa.tasks.early.refusing import refuse_early
from ecgjepa.tasks.opening import Data, names_of
from ecgjepa.tasks.split import PAPER_SPLIT, Split
from ecgjepa.version import __version__

logger = logging.getLogger(__name__)

# What tells one evaluation from another; the means are over the seeds and draws.
_KEYS = ("test_on", "label_fraction", "model")


class Repeats(NamedTuple):
    """Finished evaluations.

    Attributes:
        path: Folder of all the evaluations.
        evaluations: In order: databases, then shares, then draws, then seeds.
        summary: Content of ``summary.json``.
    """

    path: Path
    evaluations: list[Evaluation]
    summary: dict[str, Any]

    def table(self) -> pd.DataFrame:
        """Return one row per tested database, share of the labels and model: mean, std, runs."""
        return pd.DataFrame(
            [{**row, "test_on": tuple(row["test_on"])} for row in self.summary["means"]]
        )


def repeat(
    model: str | Path | DescribedEncoder,
    data: Data,
    out: str | Path | None = None,
    *,
    task: str = "all",
    protocol: FrozenProtocol | TuningProtocol = "attentive",
    runs: int = 1,
    seed: int = 0,
    label_fractions: Sequence[float] = (1.0,),
    label_draws: int = 1,
    test_on: Sequence[str] = (),
    each_database: bool = False,
    split: Split = PAPER_SPLIT,
    overrides: Sequence[str] = (),
    kind: TaskKind = "multi-label",
    layers: tuple[int, ...] = (),
    reading: ReadingName = "paper",
    from_scratch: bool = True,
    allow_seen: bool = False,
    decision: str = "best-f1",
    cache: str | Path | None = None,
    device: str = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> Repeats:
    """Run a protocol for several seeds, shares of the labels, or databases left out.

    What is finished in ``out`` is read, and not run again.

    Args:
        model: Run, checkpoint or model folder; or what `ecgjepa.own_encoder` returned.
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
        split: See `ecgjepa.probe`.
        overrides: See `ecgjepa.probe` and `ecgjepa.finetune`.
        kind: See `ecgjepa.probe`.
        layers: See `ecgjepa.probe`; not for fine-tuning.
        reading: See `ecgjepa.probe`; not for fine-tuning.
        from_scratch: See `ecgjepa.finetune`; not for probes.
        allow_seen: See `ecgjepa.probe`.
        decision: See `ecgjepa.probe`.
        cache: See `ecgjepa.probe`.
        device: ``auto``, ``cpu`` or ``cuda``.
        progress: Called with (done, in all) within a run.

    Raises:
        ConfigError: If a number is less than 1, the protocol is none of these or takes none of the
            options given, or the folder holds something else.
        EcgjepaError: As `ecgjepa.probe` and `ecgjepa.finetune`.

    Example:
        >>> import ecgjepa
        >>> repeats = ecgjepa.repeat(
        ...     "runs/jepa",
        ...     {"ptb-xl": "data/ptb-xl"},
        ...     "runs/repeats",
        ...     task="superdiagnostic",
        ...     protocol="linear",
        ...     label_fractions=[1.0, 0.5],
        ... )
        >>> len(repeats.evaluations)
        2
    """
    check_protocol(protocol, (*FROZEN, *TUNING))
    _check_options(protocol, runs, label_draws, layers, from_scratch)
    if not label_fractions:
        raise ConfigError("no share of the labels is given; expected one or more")
    targets = _targets(data, database_names(test_on), each_database)
    cohort = Cohort(task=task, kind=kind, split=split, test_on=targets[0], allow_seen=allow_seen)
    if reading != "paper" and protocol in TUNING:
        raise ConfigError(f"reading {reading}: protocol {protocol} has that of its probe, or none")
    request = request_protocol(
        protocol, overrides, seed=seed, layers=layers, reading=reading, decision=decision
    )
    work = Workspace(choose_device(device), cache, progress)
    folder = result_folder(model, out, task, f"{protocol}-repeats")
    cases = list(list_cases(targets, label_fractions, label_draws, range(seed, seed + runs)))
    settings = (
        tuning_settings(request, from_scratch=from_scratch)
        if protocol in TUNING
        else request.as_request()
    )
    encoder = load_encoder(model)
    if protocol in TUNING:
        refuse_training(encoder, protocol)
    config = encoder.config
    refuse_foreign(folder, REPEATS)
    for target in targets:
        refuse_early(data, config, replace(cohort, test_on=target))
    asked = describe_request(model, config, data, cohort, settings, work)
    asked |= describe_cases(cases)

    def evaluate(case: Case, to: Path) -> Evaluation:
        one, asked = case.choose(cohort), _seeded(request, case.seed)
        if protocol in FROZEN:
            return probe_cohort(model, data, to, one, asked, work)
        assert not isinstance(model, DescribedEncoder)
        return finetune_cohort(model, data, to, one, asked, work, from_scratch=from_scratch)

    with working_in(folder, ConfigError, "another evaluation"):
        claim_folder(folder, asked, cases)
        evaluations = []
        for number, case in enumerate(cases, start=1):
            place = folder / case.folder()
            if not (place / CASE_FILE).is_file():
                logger.info("[%d/%d] %s", number, len(cases), case.folder())
                evaluations.append(evaluate(case, place))
                write_json(place / CASE_FILE, case._asdict())  # last: it says that the case is done
            else:
                evaluations.append(_read(place))
        summary = _summarise(protocol, cases, evaluations)
        write_json(folder / SUMMARY_FILE, summary)
        return Repeats(folder, evaluations, summary)


def _check_options(
    protocol: Protocol, runs: int, label_draws: int, layers: tuple[int, ...], from_scratch: bool
) -> None:
    """Raise `ConfigError` if a number is less than 1, or a protocol takes no such option."""
    if min(runs, label_draws) < 1:
        raise ConfigError(f"runs is {runs} and label draws {label_draws}; expected 1 or more")
    if layers and protocol in TUNING:
        raise ConfigError(
            f"layers {list(layers)}: protocol {protocol} has those of its probe, or none"
        )
    if not from_scratch and protocol in FROZEN:
        raise ConfigError(f"from_scratch: protocol {protocol} trains no encoder from scratch")
    if runs > 1 and protocol in WITHOUT_SETTINGS:
        logger.warning(
            "protocol %s is the same with every seed: its %d runs are one, repeated", protocol, runs
        )


def _seeded(request: ProtocolRequest, seed: int) -> ProtocolRequest:
    """Return a request with another seed, for the probe before a fine-tuning too."""
    probe = None if request.probe is None else replace(request.probe, seed=seed)
    return replace(request, seed=seed, probe=probe)


def _summarise(
    protocol: Protocol, cases: list[Case], evaluations: list[Evaluation]
) -> dict[str, Any]:
    """Return the content of ``summary.json``."""
    rows = [row for case, one in zip(cases, evaluations, strict=True) for row in _rows(case, one)]
    first = evaluations[0].results
    return as_json(
        {
            "format_version": SUMMARY_VERSION,
            "software_version": __version__,
            "protocol": protocol,
            "task": first["task"]["name"],
            "measure": first["measure"],
            "rows": rows,
            "means": means(rows),
            "std": "over runs and draws, with n - 1; it says nothing about patients",
        }
    )


def _read(folder: Path) -> Evaluation:
    """Return a finished evaluation."""
    return Evaluation(folder, read_results(folder))


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
    names = names_of(data)
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
            "test_on": case.test_on,
            "label_fraction": case.label_fraction,
            "label_draw": case.label_draw,
            "seed": case.seed,
            "train_records": result.results["counts"]["train"],
            "model": name,
            "value": value,
            "low": low,
            "high": high,
        }
