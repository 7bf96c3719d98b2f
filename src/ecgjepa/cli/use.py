"""Verbs for what came of it: report, plot, models, doctor."""

from pathlib import Path
from typing import Annotated

import typer

from ecgjepa.cli.application import FELL_SHORT, app
from ecgjepa.cli.options import DescribeOption, JsonOption
from ecgjepa.cli.verbs import START
from ecgjepa.terminal.next_steps import after_report, print_next
from ecgjepa.terminal.screen import (
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


@app.command(rich_help_panel=START)
def doctor(as_json: JsonOption = False) -> None:
    """Say what is installed and what this machine can do."""
    from ecgjepa.environment import doctor as run

    facts = run()
    if as_json:
        print_json(facts)
        return
    print_facts(facts)
