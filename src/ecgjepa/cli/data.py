"""Verbs for what is trained on: simulate, databases, formats, fetch, prepare, merge, verify."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ecgjepa.cli.application import FELL_SHORT, app
from ecgjepa.cli.arguments import named_folders, parse_folds, parse_share, validated
from ecgjepa.cli.options import JsonOption, SeedOption, StoreOption
from ecgjepa.terminal.data import (
    database_as_json,
    fetch_as_json,
    print_database,
    print_databases,
    print_fetch,
    print_format,
    print_formats,
    print_manifest,
    print_verification,
)
from ecgjepa.terminal.screen import ProgressBar, print_error, print_json

if TYPE_CHECKING:
    from ecgjepa.store.manifest import Manifest


@app.command()
def simulate(
    records: Annotated[int, typer.Option("--records", min=1, help="How many.")],
    to: Annotated[Path, typer.Option("--to", help="Folder to write.")],
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
    """Write labelled synthetic ECGs in a real database's layout."""
    from ecgjepa.simulation.database import simulate as run

    with ProgressBar("simulating") as progress:
        path = run(records, to, layout=layout, seed=seed, seconds=seconds, progress=progress)
    print(f"{records:,} simulated ECGs in {path}")


@app.command("databases")
def describe(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="One of them, with citations.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the databases this package reads, and what is known of them."""
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
        str | None, typer.Argument(metavar="[NAME]", help="One of them: what its files can tell.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the file formats this package reads, and what each can and cannot say."""
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
    database: Annotated[str, typer.Argument(help="Name; `ecgjepa databases` lists them.")],
    to: Annotated[Path, typer.Option("--to", help="Folder; a download in it resumes.")],
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="GLOB", help="Records like this, and tables; repeatable."),
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=0, help="Records at most.")] = None,
    jobs: Annotated[int, typer.Option("--jobs", min=1, max=16, help="Files at a time.")] = 4,
    unpack: Annotated[bool, typer.Option(help="Unpack zip files.")] = True,
    recheck: Annotated[bool, typer.Option("--recheck", help="Hash verified files again.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done.")] = False,
    base_url: Annotated[
        str | None,
        typer.Option(help="Mirror, in place of https:// [default: $ECGJEPA_MIRROR]."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Download a database from its publisher, verified file by file."""
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
    if result.failures:
        raise typer.Exit(FELL_SHORT)


@app.command()
def prepare(
    databases: Annotated[list[str], typer.Argument(metavar="NAME=DIR...")],
    store: StoreOption,
    tables: Annotated[
        list[str] | None,
        typer.Option("--table", metavar="NAME=CSV", help="Describes your own archive NAME."),
    ] = None,
    folds: Annotated[
        str,
        typer.Option("--folds", help="train (each database's training folds), all, or e.g. 1-7."),
    ] = "train",
    sampling_rate: Annotated[float, typer.Option("--sampling-rate", help="In Hz.")] = 500.0,
    highpass: Annotated[
        float | None, typer.Option("--highpass", help="Remove baseline wander below this, in Hz.")
    ] = None,
    codec: Annotated[str, typer.Option("--codec", help="raw, or pcodec: a third of it.")] = "raw",
    on_bad: Annotated[
        str, typer.Option("--on-bad", help="skip or mask what is damaged, or raise.")
    ] = "skip",
    max_bad: Annotated[
        float, typer.Option("--max-bad", help="Share of skipped records that exits with 1.")
    ] = 0.01,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Processes [default: one per CPU].")
    ] = None,
    records_per_shard: Annotated[
        int, typer.Option("--records-per-shard", min=1, help="Records in a file.")
    ] = 2048,
    pseudonymise: Annotated[
        Path | None,
        typer.Option(
            "--pseudonymise", metavar="KEYFILE", help="Replace ids by hashes with this key."
        ),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option("--shard", metavar="I/N", help="Write one of N shares; then 'merge'."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Read databases into a training store."""
    from ecgjepa.signals.acceptance import ON_BAD
    from ecgjepa.signals.preprocessing import PreprocessingConfig
    from ecgjepa.store.codecs import CODECS
    from ecgjepa.store.prepare import prepare as run
    from ecgjepa.store.prepare import prepare_share

    for option, value, allowed in (("on-bad", on_bad, ON_BAD), ("codec", codec, CODECS)):
        if value not in allowed:
            raise typer.BadParameter(f"expected {' or '.join(allowed)}", param_hint=f"--{option}")
    share = parse_share(shard) if shard else None
    options: dict[str, Any] = {
        "tables": named_folders(tables or []),
        "folds": folds if folds in ("train", "all") else parse_folds(folds),
        "preprocessing": validated(
            PreprocessingConfig, sampling_rate=sampling_rate, highpass_hz=highpass
        ),
        "records_per_shard": records_per_shard,
        "codec": codec,
        "on_bad": on_bad,
        "workers": workers,
        "pseudonymise": pseudonymise,
    }
    with ProgressBar("preparing") as progress:
        if share is not None:
            prepare_share(named_folders(databases), store, share, progress=progress, **options)
            print(f"share {shard} of {store} is written; when all are: ecgjepa merge {store}")
            return
        manifest = run(named_folders(databases), store, progress=progress, **options)
    _show_store(manifest, store, max_bad, as_json)


@app.command()
def merge(
    store: Annotated[Path, typer.Argument(help="Folder of the store.")],
    max_bad: Annotated[
        float, typer.Option("--max-bad", help="Share of skipped records that exits with 1.")
    ] = 0.01,
    as_json: JsonOption = False,
) -> None:
    """Finish a store that several 'prepare --shard' wrote."""
    from ecgjepa.store.merge import merge as run

    _show_store(run(store), store, max_bad, as_json)


def _show_store(manifest: "Manifest", store: Path, max_bad: float, as_json: bool) -> None:
    if as_json:
        print_json(manifest.model_dump(mode="json"))
    else:
        print_manifest(manifest, store)
    if (skipped := manifest.skipped_share) > max_bad:
        print_error(
            f"{skipped:.1%} of the records were skipped, more than --max-bad {max_bad:.1%}; they "
            f"are listed in {store / 'manifest.json'}"
        )
        raise typer.Exit(FELL_SHORT)


@app.command()
def verify(
    store: Annotated[Path, typer.Argument(help="Folder of the store.")],
    held_out: Annotated[
        list[str] | None,
        typer.Option(
            "--held-out", metavar="NAME=DIR", help="Database whose test folds must not be in it."
        ),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            "--data", metavar="NAME=DIR", help="Are the database's files still as they were read?"
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Re-hash and recount a store; look for leaks and duplicates."""
    from ecgjepa.checking.verify import verify as run

    with ProgressBar("verifying") as progress:
        found = run(
            store,
            held_out=named_folders(held_out or []),
            data=named_folders(data or []),
            progress=progress,
        )
    if as_json:
        print_json({"store": str(store), **found._asdict()})
    else:
        print_verification(found, store)
    if found.faults:
        raise typer.Exit(FELL_SHORT)
