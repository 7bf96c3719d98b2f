"""Verbs for where data come from: simulate, databases, formats, fetch."""

from pathlib import Path
from typing import Annotated

import typer

from ecgjepa.cli.application import FELL_SHORT, app
from ecgjepa.cli.options import JsonOption, SeedOption
from ecgjepa.terminal.data import (
    database_as_json,
    fetch_as_json,
    print_database,
    print_databases,
    print_fetch,
    print_format,
    print_formats,
)
from ecgjepa.terminal.next_steps import after_obtaining
from ecgjepa.terminal.screen import ProgressBar, print_json


@app.command()
def simulate(
    records: Annotated[int, typer.Option("--records", min=1, help="Number of records.")],
    to: Annotated[Path, typer.Option("--to", help="Folder to write the files into.")],
    layout: Annotated[
        str,
        typer.Option(
            "--layout", help="Database to imitate: ptb-xl, mimic-iv-ecg, code-15, georgia, …"
        ),
    ] = "ptb-xl",
    seconds: Annotated[
        float | None,
        typer.Option("--seconds", help="Length of every record [default: as published]."),
    ] = None,
    seed: SeedOption = 0,
) -> None:
    """Write labelled synthetic ECGs in a database's layout."""
    from ecgjepa.simulation.database import simulate as run

    with ProgressBar("simulating") as progress:
        path = run(records, to, layout=layout, seed=seed, seconds=seconds, progress=progress)
    print(f"{records:,} simulated ECGs in {path}")
    after_obtaining(layout, path)


@app.command("databases")
def describe(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Name of one of them.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the databases that are read.

    With a name: size, licence, access, citations, and where each fact is from.
    """
    from ecgjepa.databases.catalogue import CATALOGUE
    from ecgjepa.databases.catalogue import describe as run

    found = list(CATALOGUE.values()) if name is None else [run(name)]
    if as_json:
        print_json([database_as_json(item) for item in found])
    elif name is None:
        print_databases(found)
    else:
        print_database(found[0])


@app.command()
def formats(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Name of one of them.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the file formats that are read.

    With a name: what a file of that format can and cannot say.
    """
    from ecgjepa.io.catalogue import NOT_READ, find_format
    from ecgjepa.io.catalogue import formats as run

    found = run() if name is None else (find_format(name),)
    if as_json:
        not_read = [{"name": each.name, "advice": each.advice} for each in NOT_READ]
        read = [each._asdict() for each in found]
        print_json({"read": read, "not_read": not_read} if name is None else read[0])
    elif name is None:
        print_formats(found, NOT_READ)
    else:
        print_format(found[0])


@app.command()
def fetch(
    database: Annotated[str, typer.Argument(help="Name, as 'ecgjepa databases' lists it.")],
    to: Annotated[Path, typer.Option("--to", help="Folder to write; a download in it resumes.")],
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only", metavar="GLOB", help="Fetch records of such names, and tables; repeatable."
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=0, help="Greatest number of records.")
    ] = None,
    jobs: Annotated[
        int, typer.Option("--jobs", min=1, max=16, help="Number of files fetched at a time.")
    ] = 4,
    unpack: Annotated[bool, typer.Option(help="Unpack zip files.")] = True,
    recheck: Annotated[bool, typer.Option("--recheck", help="Hash verified files again.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done.")] = False,
    base_url: Annotated[
        str | None,
        typer.Option(help="Address of a mirror [default: $ECGJEPA_MIRROR]."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Download a database, each file verified."""
    from ecgjepa.fetching.fetch import fetch as run

    with ProgressBar("fetching MB") as progress:
        result = run(
            database,
            to,
            only=tuple(only or ()),
            limit=limit,
            jobs=jobs,
            unpack=unpack,
            recheck=recheck,
            dry_run=dry_run,
            base_url=base_url,
            progress=progress,
        )
    if as_json:
        print_json(fetch_as_json(result))
    else:
        print_fetch(result, dry_run)
        if not dry_run and not result.failures:
            after_obtaining(database, result.folder)
    if result.failures:
        raise typer.Exit(FELL_SHORT)
