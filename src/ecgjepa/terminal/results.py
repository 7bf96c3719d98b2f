"""Evaluations, comparisons and predictions on a terminal."""

from typing import TYPE_CHECKING, Any

from ecgjepa.results.layout import (
    FINE_TUNED,
    LABELLED,
    PRE_TRAINED,
    RAW_SIGNAL,
)
from ecgjepa.results.words import is_fine_tuned
from ecgjepa.terminal.screen import as_folds, print_wrapped

if TYPE_CHECKING:  # the terminal must not import torch just to print
    from collections.abc import Sequence
    from pathlib import Path

    from ecgjepa.evaluation.results import Evaluation
    from ecgjepa.metrics.bootstrap import Interval
    from ecgjepa.metrics.paired import Comparison


def print_comparison(
    comparison: "Comparison",
    first: "Sequence[Path]",
    second: "Sequence[Path]",
    models: tuple[str, str],
) -> None:
    """Print two models' macro scores, their difference and its p-value.

    Args:
        comparison: The two models, compared.
        first: Evaluation folders of the first.
        second: Evaluation folders of the second.
        models: Which model of these folders the first and the second are.
    """
    from ecgjepa.results.compared import METRIC_WORDS

    print(
        f"{METRIC_WORDS[comparison.metric]} on {comparison.records:,} records of "
        f"{comparison.patients:,} patients, 95 % intervals over patients"
    )
    for name, model in (("first", comparison.first), ("second", comparison.second)):
        spread = f", std {model.std_over_runs:.4f}" if len(model.runs) > 1 else ""
        runs = f"{len(model.runs)} run{'s' if len(model.runs) > 1 else ''}{spread}"
        print(f"  {name:<12}{as_interval(model.score)}  {runs}")
    print(f"  {'difference':<12}{as_interval(comparison.difference)}  p = {comparison.p_value:.3g}")
    print_caution(comparison.patients)
    for side, folders, name in (("first", first, models[0]), ("second", second, models[1])):
        print_wrapped(f"  {side}", f"{', '.join(map(str, folders))} ({name})")
    if comparison.less_is_better:
        print("  less is better: below 0, the difference speaks for the first")
    print_wrapped("  difference", f"first minus second; {_verdict(comparison)}")
    if comparison.undefined_labels:
        print_wrapped("  not scored", ", ".join(comparison.undefined_labels))


def _verdict(comparison: "Comparison") -> str:
    """Return what the interval of the difference says."""
    low, high = comparison.difference.low, comparison.difference.high
    if low <= 0 <= high:
        return "its interval holds 0, so neither is shown to be better"
    if not (low > 0 or high < 0):
        return "it is not defined, so neither is shown to be better"
    is_first = (low > 0) != comparison.less_is_better
    return f"its interval excludes 0: the {'first' if is_first else 'second'} is better"


def as_interval(interval: "Interval") -> str:
    """Return a value and its bounds as text."""
    return f"{interval.value:.4f} ({interval.low:.4f} to {interval.high:.4f})"


def print_evaluations(evaluations: "list[Evaluation]") -> None:
    """Print one line per protocol and encoder: score, interval, and what pre-training gained."""
    from ecgjepa.model.outputs import MEASURES

    first = evaluations[0].results
    measure = first["measure"]
    folds = as_folds(first["split"]["test"])
    print(
        f"\ntask {first['task']['name']}: {MEASURES[measure]} on {first['counts']['test']:,} test "
        f"records ({folds})\n"
    )
    short = MEASURES[measure].split()[1]
    is_raw = any(RAW_SIGNAL in item.results["models"] for item in evaluations)
    is_labelled = first.get("pretraining", {}).get("objective") == "none"
    is_tuned = is_fine_tuned(first)
    is_mixed = is_raw or is_labelled or is_tuned
    gained = "gained over it" if is_mixed else "gained by pre-training"
    print(f"{'protocol':<21}{'encoder':<13}{short:<7}{'95 % interval':<15}{gained}")
    for item in evaluations:
        for name, model in item.results["models"].items():
            value, low, high = model[measure]
            gain = item.results["differences"].get(f"{PRE_TRAINED} - {name}")
            words = "" if gain is None else f"{gain[0]:+z.3f} ({gain[1]:+z.3f}, {gain[2]:+z.3f})"
            bounds = f"{low:.3f}, {high:.3f}"
            row = f"{item.results['protocol']:<21}{name:<13}{value:<7.3f}{bounds:<15}"
            print((row + words).rstrip())
    if is_raw:
        print_wrapped(
            RAW_SIGNAL,
            "numbers of the signal itself. An ONNX file cannot be had untrained, so what its "
            "training gained is not known.",
        )
    if is_labelled:
        print_wrapped(PRE_TRAINED, LABELLED)
    if is_tuned:
        print_wrapped(PRE_TRAINED, FINE_TUNED)
    print_caution(first["counts"]["test_patients"], above="\n")
    for item in evaluations:
        _print_whether_trained(item.results)
    undefined = first["models"][PRE_TRAINED]["undefined_labels"]
    if undefined:
        print_wrapped("not scored, without positive or negative test records", ", ".join(undefined))


def _print_whether_trained(results: dict[str, Any]) -> None:
    """Print a caution if the validation score still rose when the training ended."""
    model = results["models"][PRE_TRAINED]
    steps = model.get("settings", {}).get("steps")
    if steps is not None and model.get("selected") == f"step {steps:,}":
        print()
        print_wrapped(
            "caution",
            f"the last of {steps:,} steps was the best on the validation records, so the training "
            "ended before its best. Train longer: --set steps=N",
        )


def print_repeats(summary: dict[str, Any]) -> None:
    """Print mean and standard deviation over the runs of each kind."""
    from ecgjepa.model.outputs import MEASURES

    print(f"\ntask {summary['task']}, {summary['protocol']}: {MEASURES[summary['measure']]}\n")
    print(f"{'tested on':<18}{'labels':>7}  {'encoder':<14}{'runs':>4}  mean     std")
    for row in summary["means"]:
        std = "" if row["std"] is None else f"{row['std']:.4f}"
        print(
            f"{', '.join(row['test_on']) or '(the same)':<18}{100 * row['label_fraction']:>5g} %  "
            f"{row['model']:<14}{row['runs']:>4}  {row['mean']:<7.4f}  {std}".rstrip()
        )
    print("std is over runs, not over patients; intervals are in each run's results.json")


def print_caution(num_patients: int, above: str = "") -> None:
    """Print what is to be said of few test patients, below ``above``."""
    # With its packages, it would double the time that the command takes to start.
    from ecgjepa.metrics.subgroups import too_few_to_tell

    if caution := too_few_to_tell(num_patients):
        print(above, end="")
        print_wrapped("caution", caution)
