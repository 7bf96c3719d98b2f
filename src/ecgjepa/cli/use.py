"""Verbs for what came of it: predict, report, plot, doctor."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ecgjepa.cli.application import FELL_SHORT, app
from ecgjepa.cli.options import DescribeOption, DeviceOption, JsonOption, ModelOption
from ecgjepa.cli.verbs import START
from ecgjepa.terminal.results import print_prediction
from ecgjepa.terminal.screen import (
    print_error,
    print_facts,
    print_json,
    print_line,
    print_wrapped,
)

if TYPE_CHECKING:
    from ecgjepa.model.folder import ModelConfig


@app.command()
def predict(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...")],
    model: ModelOption,
    top: Annotated[int, typer.Option("--top", min=1, help="Labels shown per file.")] = 10,
    on_bad: Annotated[
        str,
        typer.Option(
            "--on-bad", help="skip files that cannot be used, mask what is damaged, or raise."
        ),
    ] = "skip",
    describe: DescribeOption = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Print a model's probabilities for ECG files."""
    from ecgjepa.inference.predict import load_model
    from ecgjepa.inference.schema import PredictionSchema
    from ecgjepa.signals.acceptance import ON_BAD

    if on_bad not in ON_BAD:
        raise typer.BadParameter(f"expected {' or '.join(ON_BAD)}", param_hint="--on-bad")
    loaded = load_model(model, device=device)
    predictions = loaded.predict(files, on_bad=on_bad, description=describe)
    if as_json:
        print_json([*map(PredictionSchema(loaded.task).content, predictions)])
    else:
        descriptions = dict(zip(loaded.task.labels, loaded.task.descriptions, strict=True))
        for prediction in predictions:
            print_prediction(prediction, descriptions, top)
        print(_note(loaded.config))
    if any(prediction.error for prediction in predictions):
        raise typer.Exit(FELL_SHORT)


def _note(config: "ModelConfig") -> str:
    if config.task is not None and config.task.kind == "regression":
        return "Research use only. Values are in the units of the labels it was trained with."
    calibration = config.calibration
    if calibration is None:
        return "Research use only. Probabilities are not calibrated."
    folds = ", ".join(map(str, calibration.folds))
    note = f"Research use only. Probabilities are calibrated ({calibration.method}, folds {folds})."
    if config.decisions is None:
        return note
    return f"{note}\nyes: at or above the label's threshold of best F1 on those folds"


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...")],
    out: Annotated[Path, typer.Option("--out", help="HTML file.")] = Path("report.html"),
) -> None:
    """Write one HTML page on runs and evaluations."""
    from ecgjepa.reporting.page import report as run

    print(run(runs, out))


@app.command()
def plot(
    file: Annotated[Path, typer.Argument(help="ECG file.")],
    out: Annotated[Path, typer.Option("--out", help="Picture: .png, .svg or .pdf.")],
    describe: DescribeOption = None,
) -> None:
    """Draw a 12-lead ECG on paper, true to size.

    What is noticed about the record is printed, and marked on the picture.
    """
    from ecgjepa.reporting.ecg_paper import in_words, plot_with_findings

    plotted = plot_with_findings(file, out, description=describe)
    print_line(str(plotted.path))
    for issue in plotted.findings:
        print_wrapped("  input", in_words(issue))
    if plotted.refusal is not None:
        print_error(f"drawn, but not usable: {plotted.refusal}")
        raise typer.Exit(FELL_SHORT)


@app.command(rich_help_panel=START)
def doctor(as_json: JsonOption = False) -> None:
    """Say what is installed and what this machine can do."""
    from ecgjepa.environment import doctor as run

    facts = run()
    if as_json:
        print_json(facts)
        return
    print_facts(facts)
