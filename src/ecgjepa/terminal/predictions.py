"""What a model answers, on a terminal: each record by itself, and what the answers rest on."""

from typing import TYPE_CHECKING

from ecgjepa.terminal.screen import as_folds, as_records, print_line, print_wrapped

if TYPE_CHECKING:  # the terminal must not import torch just to print
    from pathlib import Path

    from ecgjepa.inference.explanation import Explanation
    from ecgjepa.inference.prediction import Prediction
    from ecgjepa.model.answers import AnswersConfig, LabelSetConfig
    from ecgjepa.model.folder import ModelConfig
    from ecgjepa.model.outputs import Thresholds
    from ecgjepa.signals.record import Issue

# A column of labels is at most so wide; a longer label is shown whole, and moves its own row.
_LONGEST_LABEL = 32


def print_prediction(prediction: "Prediction", config: "ModelConfig", top: int) -> None:
    """Print the likeliest labels of one file and what was noticed about it.

    Args:
        prediction: Of the file.
        config: Of the model.
        top: Labels shown at most.
    """
    print_line(prediction.file)
    if prediction.error:
        print_wrapped("  error", prediction.error)
        return
    _print_labels(prediction, config, top)
    if prediction.label_set is not None:
        print_wrapped("  set", ", ".join(prediction.label_set) or "empty: no label fits")
    facts = [f"{prediction.duration:g} s at {prediction.sampling_rate:g} Hz"]
    if prediction.quality is not None:
        facts.append(f"quality {prediction.quality}")
    if prediction.distance is not None:
        known = config.distribution
        far = "" if known is None else f" (far: above {known.threshold:.3g})"
        facts.append(f"distance {prediction.distance:.3g}{far}")
    print(f"  input: {', '.join(facts)}")
    if prediction.derived_leads:
        print_wrapped("  input", f"derived leads: {', '.join(prediction.derived_leads)}")
    for issue in prediction.findings:
        # What is resampled is told once of all, by `print_resampled`.
        if issue.code != "derived_lead" and not _is_resampled(issue):
            where = f"lead {issue.lead}: " if issue.lead else ""
            print_wrapped("  input", f"{where}{issue.message}")


def count_resampled(prediction: "Prediction") -> int:
    """Return 1 if a record was resampled to the model's rate, and 0 if not."""
    return int(any(map(_is_resampled, prediction.findings)))


def print_resampled(count: int, total: int, config: "ModelConfig") -> None:
    """Print how many records were brought to the model's sampling rate."""
    if count:
        rate = config.preprocessing.sampling_rate
        print(f"resampled to the model's {rate:g} Hz: {count:,} of {as_records(total)}")


def _is_resampled(issue: "Issue") -> bool:
    return issue.code == "resampled" and issue.lead is None


def _print_labels(prediction: "Prediction", config: "ModelConfig", top: int) -> None:
    assert config.task is not None
    descriptions = dict(zip(config.task.labels, config.task.descriptions, strict=True))
    ranked = sorted(prediction.probabilities.items(), key=lambda item: -item[1])
    if config.task.kind == "regression":
        ranked = list(prediction.probabilities.items())
    width = min(max(10, *(len(label) for label, _ in ranked[:top])), _LONGEST_LABEL)
    for label, value in ranked[:top]:
        if config.task.kind == "regression":
            bounds = prediction.intervals.get(label)
            between = "" if bounds is None else f" ({bounds[0]:.4g} to {bounds[1]:.4g})"
            row = f"  {label:<{width}} {value:.4g}{between} "
        else:
            call = prediction.decisions.get(label)
            word = "" if call is None else "yes" if call else "no"
            row = f"  {label:<{width}} {value:6.3f}  {word:<3} "
        meaning = "" if descriptions[label] == label else descriptions[label]
        print_line((row + meaning[: max(79 - len(row), 0)]).rstrip())
    if len(ranked) > top:
        print(f"  ({len(ranked) - top} less likely labels not shown; --top {len(ranked)})")


def print_notes(config: "ModelConfig") -> None:
    """Print what the answers of a model rest on, and what its folder lacks."""
    from ecgjepa.model.answers import AnswersConfig
    from ecgjepa.sharing.listing import score_of

    assert config.task is not None
    answers = config.answers or AnswersConfig()
    if config.task.kind == "regression":
        print("Research use only. Values are in the units of the labels it was trained with.")
        _print_intervals(answers)
    elif config.calibration is None:
        print("Research use only. Probabilities are not calibrated.")
    else:
        method, folds = config.calibration.method, as_folds(config.calibration.folds)
        print(f"Research use only. Probabilities are calibrated ({method}, {folds}).")
    if answers.decisions is not None:
        thresholds, folds = answers.decisions.thresholds, as_folds(answers.decisions.folds)
        print(f"yes: at or above the label's threshold by {thresholds.rule} ({folds})")
        _print_remarks(config.task.labels, thresholds)
    if answers.label_sets is not None:
        print_wrapped("set", _words_of_sets(answers.label_sets))
    if (score := score_of(config)) is not None:
        print_wrapped("tested, all leads" if config.lead_sets else "tested", score.in_words())
    if lacking := answers.lacking(config.task.kind):
        words = f"{', '.join(lacking)}: an older ecgjepa wrote it. Probe or fine-tune again"
        print_wrapped("this model folder holds no", words)


def _print_remarks(labels: tuple[str, ...], thresholds: "Thresholds") -> None:
    """Print which labels have no threshold and whose is in doubt, each with the reason."""
    without = {name for name, one in zip(labels, thresholds.values, strict=True) if one is None}
    for words, has_none in (("no threshold, so no decision", True), ("threshold in doubt", False)):
        named = [
            f"{name} ({why})"
            for name, why in thresholds.remarks.items()
            if (name in without) == has_none
        ]
        if named:
            print_wrapped(words, ", ".join(named))


def print_notes_of(model: "str | Path", decision: str | None) -> None:
    """Print the notes on a model folder whose decisions follow a rule."""
    from ecgjepa.inference.interpretation import as_asked
    from ecgjepa.model.folder import read_model_config
    from ecgjepa.sharing.references import find_model

    folder = find_model(model)
    print_notes(as_asked(read_model_config(folder), folder, calibrated=True, decision=decision))


def _words_of_sets(sets: "LabelSetConfig") -> str:
    asked = f"made to hold {100 * sets.coverage:g} % of the true labels"
    if sets.measured is None:
        return asked
    value, low, high = (100 * one for one in sets.measured)
    return f"{asked}; holds {value:.1f} % ({low:.1f} to {high:.1f}) in the test"


def _print_intervals(answers: "AnswersConfig") -> None:
    if answers.value_intervals is not None:
        share = 100 * answers.value_intervals.coverage
        print(f"In brackets: made to hold {share:g} % of the true values.")


def print_explanation(found: "Explanation", label: str) -> None:
    """Print what each lead does to a label's score, and the stretches of greatest effect."""
    number = found.labels.index(label)
    print_line(found.file)
    print_wrapped(
        f"  {label}",
        f"score {found.scores[number]:+z.2f}. Each line: the score less the score when the lead, "
        "or a stretch of it, is hidden; above 0 it speaks for the label",
    )
    whole, parts = found.lead_effects[number], found.effects[number]
    for lead in (-abs(whole)).argsort():
        stretch = int(abs(parts[lead]).argmax())
        first, last = found.edges[stretch : stretch + 2]
        print_line(
            f"  {found.leads[lead]:<5}{whole[lead]:+z8.3f}   at most {parts[lead, stretch]:+z.3f} "
            f"at {first:g} to {last:g} s"
        )
