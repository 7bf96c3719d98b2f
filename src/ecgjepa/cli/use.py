"""Verbs for what came of it: report, plot, models, export, doctor."""

from pathlib import Path
from typing import Annotated

import typer

from ecgjepa.cli.application import FELL_SHORT, app
from ecgjepa.cli.arguments import named_folders, parse_folds
from ecgjepa.cli.options import (
    CacheOption,
    DataOption,
    DescribeOption,
    JsonOption,
    ModelOption,
    StoreDataOption,
)
from ecgjepa.cli.verbs import START
from ecgjepa.terminal.exports import exported_as_json, print_exported
from ecgjepa.terminal.next_steps import after_report, print_next
from ecgjepa.terminal.screen import (
    ProgressBar,
    print_error,
    print_facts,
    print_json,
    print_line,
    print_wrapped,
)


@app.command()
def report(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Runs, evaluations, or folders that hold them."),
    ],
    out: Annotated[Path, typer.Option("--out", help="HTML file.")] = Path("report.html"),
) -> None:
    """Write one HTML page on runs and evaluations."""
    from ecgjepa.reporting.page import report as run

    page = run(runs, out)
    print_line(f"report: {page}")
    after_report(page)


@app.command()
def plot(
    file: Annotated[Path, typer.Argument(help="ECG file.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="Picture: .png, .svg or .pdf [default: the file's name, here, as .png]."
        ),
    ] = None,
    start: Annotated[
        float, typer.Option("--start", metavar="S", help="Second at which the picture begins.")
    ] = 0.0,
    duration: Annotated[
        float, typer.Option("--duration", metavar="S", help="Seconds drawn: up to 10, a page.")
    ] = 10.0,
    describe: DescribeOption = None,
) -> None:
    """Draw a 12-lead ECG on paper, true to size.

    Of a long recording, no more than a page is read and drawn. What is noticed about the record is
    printed, and marked on the picture.
    """
    from ecgjepa.reporting.ecg_paper import in_words
    from ecgjepa.reporting.plotting import plot_with_findings

    plotted = plot_with_findings(file, out, start=start, duration=duration, description=describe)
    print_line(str(plotted.path))
    for issue in plotted.findings:
        print_wrapped("  input", in_words(issue))
    if plotted.refusal is not None:
        print_error(f"drawn, but not usable: {plotted.refusal}")
        raise typer.Exit(FELL_SHORT)
    print_next("ecgjepa", "predict", file)


@app.command()
def models(as_json: JsonOption = False) -> None:
    """List the models that answer by name.

    Those in the box are installed with the package; those of the Hub lie in the cache. Exit status:
    0 all can be used; 1 one cannot.
    """
    from ecgjepa.sharing.listing import models as run
    from ecgjepa.terminal.models import model_as_json, print_models

    found = run()
    if as_json:
        print_json([model_as_json(model) for model in found])
    else:
        print_models(found)
        for model in [one for one in found if one.task][:1]:
            print_next("ecgjepa", "predict", "FILE", "--model", model.name, instead="use")
    if any(model.error for model in found):
        raise typer.Exit(FELL_SHORT)


@app.command()
def export(
    model: ModelOption,
    onnx: Annotated[Path, typer.Option("--onnx", help="File to write, .onnx.", show_default=False)],
    unit: Annotated[
        str, typer.Option("--unit", help="Of the input: mV (float32) or uV (int16).")
    ] = "mV",
    int8: Annotated[
        bool, typer.Option("--int8", help="Weights of 8 bits; what they cost is measured.")
    ] = False,
    data: DataOption = None,
    store: StoreDataOption = None,
    task: Annotated[
        str | None,
        typer.Option("--task", help="See 'evaluate --task' [default: the model's task]."),
    ] = None,
    test_folds: Annotated[
        str, typer.Option("--test-folds", help="For --int8: all, or folds to score, e.g. 10.")
    ] = "all",
    cache: CacheOption = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a model as one ONNX file.

    A whole record of any length enters the file; probabilities and features leave it. It is
    compared with PyTorch before it is written. docs/onnx.md tells how to use it from Python and
    JavaScript. --data or --store are the labelled records that --int8 is measured on.
    """
    from ecgjepa.exporting.export import export_onnx
    from ecgjepa.exporting.graph import UNITS

    if unit not in UNITS:
        raise typer.BadParameter(f"expected {' or '.join(UNITS)}", param_hint="--unit")
    if data and store is not None:
        raise typer.BadParameter("expected either --data NAME=DIR or --store DIR")
    with ProgressBar("measuring", "record") as bar:
        exported = export_onnx(
            model,
            onnx,
            unit="mV" if unit == "mV" else "uV",
            int8=int8,
            data=named_folders(data) if data else store,
            task=task,
            folds=() if test_folds == "all" else parse_folds(test_folds),
            overwrite=overwrite,
            cache=cache,
            progress=bar,
        )
    if as_json:
        print_json(exported_as_json(exported))
    else:
        print_exported(exported)


@app.command(rich_help_panel=START)
def doctor(as_json: JsonOption = False) -> None:
    """Say what is installed and what this machine can do."""
    from ecgjepa.environment import doctor as run

    facts = run()
    if as_json:
        print_json(facts)
        return
    print_facts(facts)
