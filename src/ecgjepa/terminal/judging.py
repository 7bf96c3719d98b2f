"""A classifier that was judged as it is, on a terminal."""

from typing import TYPE_CHECKING, Any

from ecgjepa.results.layout import PRE_TRAINED
from ecgjepa.terminal.results import print_caution
from ecgjepa.terminal.screen import print_line, print_wrapped

if TYPE_CHECKING:  # the terminal must not import torch just to print
    from ecgjepa.evaluation.results import Evaluation

_MOST_LABELS = 25


def print_judged(judged: "Evaluation") -> None:
    """Print score, thresholds and what they do per label, and what was not scored."""
    from ecgjepa.model.outputs import MEASURES

    results = judged.results
    model, counts, measure = results["models"][PRE_TRAINED], results["counts"], results["measure"]
    print(
        f"\ntask {results['task']['name']}: {counts['test']:,} records of "
        f"{counts['test_patients']:,} patients\n"
    )
    print(f"{MEASURES[measure]}: {_interval(model[measure])}, 95 % interval over patients")
    if measure == "r2":
        _print_values(model["labels"])
    else:
        _print_labels(model)
    _print_notes(results, model)


def _print_values(labels: list[dict[str, Any]]) -> None:
    print(f"\n{'value':<16}{'R²':<24}mean absolute error")
    for label in labels[:_MOST_LABELS]:
        error = _interval(label["mean_absolute_error"], "{:.4g}")
        print_line(f"{label['label']:<16}{_interval(label['r2']):<24}{error}")


def _print_labels(model: dict[str, Any]) -> None:
    decisions = model["answers"]["decisions"]
    chosen = None
    if decisions is not None:
        chosen = next(one for one in decisions["rules"] if one["rule"] == decisions["chosen"])
    print(
        f"\n{'label':<14}{'positive':>8}  {'AUROC':<22}{'sens.':>6}{'spec.':>7}{'PPV':>6}{'NPV':>6}"
    )
    for column, label in enumerate(model["labels"][:_MOST_LABELS]):
        numbers = [
            None if chosen is None or not chosen[name] else chosen[name][column]
            for name in ("sensitivity", "specificity", "ppv", "npv")
        ]
        sens, spec, ppv, npv = ("-" if one is None else f"{one[0]:.2f}" for one in numbers)
        print_line(
            f"{label['label']:<14}{label['test_positives']:>8,}  {_interval(label['auroc']):<22}"
            f"{sens:>6}{spec:>7}{ppv:>6}{npv:>6}"
        )
    if len(model["labels"]) > _MOST_LABELS:
        print(f"({len(model['labels']) - _MOST_LABELS} more labels in results.json)")
    if chosen is not None:
        print(f"sensitivity and so on at the thresholds of {chosen['rule']}")


def _print_notes(results: dict[str, Any], model: dict[str, Any]) -> None:
    judged = results["judged"]
    print_caution(results["counts"]["test_patients"])
    print_wrapped("fitted", model["selected"])
    if words := unchecked(results["data"]):
        print_wrapped("not checked", words)
    if lacking := judged["labels_of_model_not_in_table"]:
        print_wrapped("not scored, for the table lacks them", ", ".join(lacking))
    if unknown := judged["labels_of_table_not_in_model"]:
        print_wrapped("not used, for the model lacks them", ", ".join(unknown))
    if left_out := judged["records_of_other_classes_left_out"]:
        print(f"left out: {left_out:,} records of classes that the model lacks")
    if undefined := model["undefined_labels"]:
        print_wrapped("without score, all records being alike", ", ".join(undefined))
    if unlike := results["out_of_distribution"]:
        print(
            f"unlike the training records: {100 * unlike['share_above_threshold']:.1f} % of the "
            f"records; {100 * (1 - unlike['passed']):.0f} % is usual"
        )
    if quality := results["input"]:
        print(f"low signal quality: {100 * quality['share_of_low_quality']:.1f} % of the records")


def unchecked(data: dict[str, Any]) -> str:
    """Return what nobody can tell of records elsewhere, or no words where folds tell it.

    A model folder keeps which folds trained its head, and nothing of the records themselves.

    Args:
        data: The section of ``results.json``.
    """
    trained = [name for name in data["trained_on"] if name not in data["tested_on"]]
    if not trained:
        return ""
    return (
        f"whether some of these records are of {' or '.join(trained)}, on which the model was "
        "trained, under other names; the scores are too good then"
    )


def _interval(values: list[float | None], form: str = "{:.3f}") -> str:
    """Return a value and its bounds as text; a dash where it is not defined."""
    value, low, high = (None if one is None else form.format(one) for one in values)
    if value is None:
        return "-"
    return value if low is None else f"{value} ({low}, {high})"
