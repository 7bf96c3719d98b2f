"""The verb: run what a plan names, step by step, and write one table."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from ecgjepa.claims import claim, differences
from ecgjepa.comparing.figure import draw_comparison
from ecgjepa.comparing.plan import ComparisonPlan, load_plan
from ecgjepa.comparing.table import (
    TableRow,
    as_markdown,
    entries_as_json,
    published_as_json,
    tabulate,
)
from ecgjepa.comparing.work import Comparison, do_all
from ecgjepa.databases import original
from ecgjepa.errors import ConfigError
from ecgjepa.evaluation.requests import A_COMPARISON, refuse_foreign
from ecgjepa.files import write_json, write_text
from ecgjepa.locks import holding
from ecgjepa.metrics.classification import FEW_POSITIVES
from ecgjepa.model.compute import choose_device
from ecgjepa.planning.costs import count_flops
from ecgjepa.reporting.figures import save_figure
from ecgjepa.results.layout import (
    COMPARISON_FIGURE,
    COMPARISON_FILE,
    COMPARISON_PLAN,
    COMPARISON_TABLE,
)
from ecgjepa.store.manifest import read_manifest
from ecgjepa.tasks.cohort import Cohort
from ecgjepa.tasks.early.refusing import refuse_without_labels
from ecgjepa.tasks.label_table import digest_of_table
from ecgjepa.tasks.leakage import relation
from ecgjepa.tasks.opening import fingerprint_of
from ecgjepa.tasks.task import is_table
from ecgjepa.tasks.treatment import one_treatment

logger = logging.getLogger(__name__)


class Benchmark(NamedTuple):
    """A finished comparison.

    Attributes:
        path: Folder with table, JSON and figure, and the runs and results below it.
        entries: What the table says.
    """

    path: Path
    entries: list[TableRow]


def compare(
    plan: str | Path,
    store: str | Path,
    data: Mapping[str, str | Path],
    out: str | Path,
    *,
    cache: str | Path | None = None,
    device: str = "auto",
    workers: int | None = None,
) -> Benchmark:
    """Pre-train every arm with every seed, evaluate them all, and write one table.

    What is finished in ``out`` is not repeated; what was interrupted resumes. Any number of
    processes, on machines that share the folder, may be given the same comparison: each takes what
    no other works on, and all return the finished table.

    Args:
        plan: Name of a plan (``small``, ``paper``) or a YAML file.
        store: Store of training records, for all arms.
        data: The labelled database: name to folder.
        out: Folder for everything.
        cache: Folder for prepared records.
        device: ``auto``, ``cpu`` or ``cuda``.
        workers: Runs, and then evaluations, that are worked on at a time, by processes of this
            machine unless `joblib.parallel_config` names another backend; one by default, in this
            process. Each gets its share of the cores, so numbers are equal to rounding.

    Raises:
        EcgjepaError: A named subclass for whatever does not fit together.

    Example:
        >>> import json
        >>> from pathlib import Path
        >>> import ecgjepa
        >>> few = ["train.steps=4", "train.warmup_steps=1"]
        >>> plan = {
        ...     "folds": {"train": [1, 2, 3, 4, 5, 6, 7, 8], "validation": [9], "test": [10]},
        ...     "tasks": ["superdiagnostic"],
        ...     "seeds": [0],
        ...     "arms": {
        ...         "JEPA": {"preset": "tiny", "overrides": few},
        ...         "MAE": {"preset": "tiny-mae", "overrides": few},
        ...     },
        ...     "protocols": [{"name": "linear"}],
        ... }
        >>> _ = Path("plan.yaml").write_text(json.dumps(plan))  # JSON is YAML, too
        >>> found = ecgjepa.compare(
        ...     "plan.yaml", "data/store", {"ptb-xl": "data/ptb-xl"}, "runs/comparison"
        ... )
        >>> sorted({row.model for row in found.entries})
        ['JEPA', 'MAE']
    """
    chosen, out, store = load_plan(plan), Path(out), Path(store)
    if set(data) != {chosen.database}:
        raise ConfigError(
            f"plan {plan} evaluates {chosen.database}; found {', '.join(data) or 'no data'}. Use "
            f"--data {chosen.database}=DIR"
        )
    _refuse_other_plan(out, chosen)
    refuse_leaking_store(chosen, store)
    for task in chosen.tasks:
        refuse_without_labels(data, Cohort(task=task, kind=chosen.kind, split=chosen.split))
    _claim(out, chosen, _describe_data(chosen, store, data, cache))
    where = str(choose_device(device))
    do_all(Comparison(chosen, store, data, out, where, cache), workers)
    entries = tabulate(chosen, out)
    notes = describe_plan(chosen)
    write_text(out / COMPARISON_TABLE, as_markdown(entries, notes))
    save_figure(draw_comparison(entries), out / COMPARISON_FIGURE)
    write_json(
        out / COMPARISON_FILE,
        {
            "plan": chosen.as_json(),
            "notes": notes,
            "entries": entries_as_json(entries),
            "published": published_as_json(chosen.tasks),
        },
    )
    return Benchmark(out, entries)


def refuse_leaking_store(plan: ComparisonPlan, store: Path) -> None:
    """Refuse to begin if pre-training would see folds that select or test.

    Raises:
        ConfigError: If the store holds one, or records of which nothing tells the fold.
    """
    judged = {*plan.folds.validation, *plan.folds.test}
    advice = f"prepare it with --folds {','.join(map(str, plan.folds.train))}"
    for name, summary in read_manifest(store).databases.items():
        if original(name) != original(plan.database) or not summary.stored:
            continue
        beside = relation(name, plan.database)
        if summary.folds is None:
            raise ConfigError(
                f"{store}: holds {summary.stored:,} records of {name}{beside} whose folds are not "
                f"known, and this plan selects or tests on {plan.database}; {advice} (an archive's "
                f"table tells them in a column 'fold'), or without {name}"
            )
        if leaked := sorted(judged & set(summary.folds)):
            raise ConfigError(
                f"{store}: holds folds {leaked} of {name}{beside}, which this plan selects or "
                f"tests on; {advice}"
            )


def _describe_data(
    plan: ComparisonPlan,
    store: Path,
    data: Mapping[str, str | Path],
    cache: str | Path | None,
) -> dict[str, object]:
    """Return what tells the records, their samples and labels of a comparison from others.

    Raises:
        EcgjepaError: If there are none.
    """
    manifest = read_manifest(store)
    return {
        "store": manifest.model_dump(mode="json"),
        "records": fingerprint_of(data, one_treatment(manifest.preprocessing, data), cache=cache),
        "tables": {task: digest_of_table(task) for task in plan.tasks if is_table(task)},
    }


def _claim(out: Path, plan: ComparisonPlan, data: Mapping[str, object]) -> None:
    """Write down what a folder compares, or make sure that it is the same.

    Raises:
        ConfigError: If the folder holds another comparison, or something else.
    """
    with holding(out / "locks" / "claim", wait=True):
        differing = claim(out / COMPARISON_PLAN, {"plan": plan.as_json(), **data})
    _refuse_other(out, differing)


def _refuse_other_plan(out: Path, plan: ComparisonPlan) -> None:
    """Refuse a folder of another plan, or of something else, before records are prepared.

    Raises:
        ConfigError: If it is one.
    """
    refuse_foreign(out, A_COMPARISON)
    path = out / COMPARISON_PLAN
    if path.is_file():
        there = json.loads(path.read_text(encoding="utf-8")).get("plan")
        _refuse_other(out, differences({"plan": there}, {"plan": plan.as_json()}))


def _refuse_other(out: Path, differing: list[str]) -> None:
    if differing:
        raise ConfigError(
            f"{out}: holds a comparison of another plan, store or records: "
            f"{'; '.join(differing[:5])}. Choose another --out, or repeat the same to resume it"
        )


def describe_plan(plan: ComparisonPlan) -> list[str]:
    """Return what a reader of the table must know, with the operations each arm spent."""
    folds = plan.folds
    notes = [
        f"{plan.database}: folds {list(folds.train)} train, {list(folds.validation)} select, "
        f"{list(folds.test)} test; seeds {list(plan.seeds)}.",
        *_describe_seeds(plan),
        "Intervals: patients resampled 1,000 times, of the mean over runs; the standard deviation "
        "over runs is beside it. Differences are paired on the same resamples; p is not corrected "
        "for several comparisons. Models without pre-training are compared with the first arm "
        "fine-tuned.",
        f"Labels with fewer than {plan.min_positives} positive or negative test records are in no "
        "mean." + _warn_of_rare_labels(plan),
    ]
    for arm in plan.arms:
        config = plan.config(arm, plan.seeds[0])
        train, flops = config.train, count_flops(config).total
        spent = train.steps * train.batch_size * flops / 1e12
        notes.append(
            f"{arm}: {config.objective}, {train.steps:,} steps of {train.batch_size} records, "
            f"{flops / 1e9:.3g} GFLOP each: {spent:.3g} TFLOP."
        )
    return notes


def _describe_seeds(plan: ComparisonPlan) -> list[str]:
    if plan.pretraining_seeds is None:
        return []
    return [
        f"Pre-trained with seeds {list(plan.pretraining_seeds)} only: the deviation over runs is "
        "of their evaluation."
    ]


def _warn_of_rare_labels(plan: ComparisonPlan) -> str:
    if plan.min_positives >= FEW_POSITIVES:
        return ""
    return (
        f" With fewer than {FEW_POSITIVES}, intervals hold the true score less often than they "
        "say (docs/statistics.md)."
    )
