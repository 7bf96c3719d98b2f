"""Verbs for what is trained on: prepare, merge, verify."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ecgjepa.cli.application import FELL_SHORT, app
from ecgjepa.cli.arguments import (
    named_columns,
    named_descriptions,
    named_folders,
    named_tables,
    parse_folds,
    parse_share,
    validated,
)
from ecgjepa.cli.options import (
    DivideOption,
    FileOption,
    JsonOption,
    PatientOption,
    StoreOption,
    WorkerOptions,
)
from ecgjepa.cli.sharing import sharing
from ecgjepa.terminal.data import print_manifest, print_verification
from ecgjepa.terminal.next_steps import after_preparation
from ecgjepa.terminal.screen import ProgressBar, print_error, print_json

if TYPE_CHECKING:
    from ecgjepa.signals.preprocessing import PreprocessingConfig
    from ecgjepa.store.manifest import Manifest


@app.command()
@sharing(WorkerOptions, last=True)
def prepare(
    shared: WorkerOptions,
    databases: Annotated[list[str], typer.Argument(metavar="[NAME=]DIR...")],
    store: StoreOption,
    tables: Annotated[
        list[str] | None,
        typer.Option(
            "--table", metavar="[NAME=]FILE", help="Table that describes your own archive."
        ),
    ] = None,
    labels: Annotated[
        list[str] | None,
        typer.Option(
            "--labels", metavar="COLUMN", help="Its labels, and no others; repeatable, or a,b."
        ),
    ] = None,
    divide: DivideOption = "auto",
    patient: PatientOption = None,
    file: FileOption = None,
    describe: Annotated[
        list[str] | None,
        typer.Option(
            "--describe",
            metavar="[NAME=]FILE",
            help="Rate, unit and leads of your archives' arrays and tables, as JSON.",
        ),
    ] = None,
    folds: Annotated[
        str,
        typer.Option(
            "--folds", help="Folds to store: train (the training folds), all, or e.g. 1-7."
        ),
    ] = "train",
    sampling_rate: Annotated[
        float | None,
        typer.Option("--sampling-rate", help="Sampling rate of the store in Hz [default: 500]."),
    ] = None,
    for_preset: Annotated[
        str | None,
        typer.Option(
            "--for", metavar="PRESET", help="Preset whose sampling rate and leads the store gets."
        ),
    ] = None,
    highpass: Annotated[
        float | None, typer.Option("--highpass", help="Remove baseline wander below this, in Hz.")
    ] = None,
    codec: Annotated[
        str, typer.Option("--codec", help="raw, or pcodec: a third of the size.")
    ] = "raw",
    on_bad: Annotated[
        str,
        typer.Option(
            "--on-bad", help="skip records that cannot be used, mask what is damaged, or raise."
        ),
    ] = "skip",
    max_bad: Annotated[
        float,
        typer.Option(
            "--max-bad", help="Share of skipped records above which the exit status is 1."
        ),
    ] = 0.01,
    records_per_shard: Annotated[
        int,
        typer.Option(
            "--records-per-shard", min=1, help="Number of records in a file of the store."
        ),
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
    """Read databases, or your own archive, into a store."""
    from ecgjepa.databases import own_archives
    from ecgjepa.signals.acceptance import ON_BAD
    from ecgjepa.store.codecs import CODECS
    from ecgjepa.store.prepare import prepare as run
    from ecgjepa.store.prepare import prepare_share

    for option, value, allowed in (("on-bad", on_bad, ON_BAD), ("codec", codec, CODECS)):
        if value not in allowed:
            raise typer.BadParameter(f"expected {' or '.join(allowed)}", param_hint=f"--{option}")
    share = parse_share(shard) if shard else None
    named = named_folders(databases)
    options: dict[str, Any] = {
        "tables": named_tables(tables or [], named),
        "labels": named_columns(labels),
        "divide": divide,
        "patient": patient,
        "file": file,
        "descriptions": named_descriptions(describe or [], own_archives(named)),
        "folds": folds if folds in ("train", "all") else parse_folds(folds),
        "preprocessing": _preprocessing(for_preset, sampling_rate, highpass),
        "records_per_shard": records_per_shard,
        "codec": codec,
        "on_bad": on_bad,
        "workers": shared.workers,
        "pseudonymise": pseudonymise,
    }
    with shared.engaged(), ProgressBar("preparing") as progress:
        if share is not None:
            prepare_share(named, store, share, progress=progress, **options)
            print(f"share {shard} of {store} is written; when all are: ecgjepa merge {store}")
            return
        manifest = run(named, store, progress=progress, **options)
    _show_store(manifest, store, max_bad, as_json, for_preset)


def _preprocessing(
    preset: str | None, sampling_rate: float | None, highpass: float | None
) -> "PreprocessingConfig":
    """Return how records are prepared, as options say or as a preset reads them.

    Raises:
        BadParameter: If an option contradicts the preset, or a value is impossible.
    """
    from ecgjepa.config import load_preset
    from ecgjepa.signals.preprocessing import PreprocessingConfig

    if preset is None:
        rate = 500.0 if sampling_rate is None else sampling_rate
        return validated(PreprocessingConfig, sampling_rate=rate, highpass_hz=highpass)
    data = load_preset(preset).data
    if sampling_rate not in (None, data.sampling_rate):
        raise typer.BadParameter(
            f"--sampling-rate {sampling_rate:g} contradicts --for {preset}, which reads "
            f"{data.sampling_rate:g} Hz; leave one of them out"
        )
    return validated(
        PreprocessingConfig,
        sampling_rate=data.sampling_rate,
        leads=data.leads,
        highpass_hz=highpass,
    )


@app.command()
def merge(
    store: Annotated[Path, typer.Argument(help="Folder of the store.")],
    max_bad: Annotated[
        float,
        typer.Option(
            "--max-bad", help="Share of skipped records above which the exit status is 1."
        ),
    ] = 0.01,
    as_json: JsonOption = False,
) -> None:
    """Finish a store that several 'prepare --shard' wrote."""
    from ecgjepa.store.merge import merge as run

    _show_store(run(store), store, max_bad, as_json)


def _show_store(
    manifest: "Manifest",
    store: Path,
    max_bad: float,
    as_json: bool,
    preset: str | None = None,
) -> None:
    if as_json:
        print_json(manifest.model_dump(mode="json"))
    else:
        print_manifest(manifest, store)
        after_preparation(manifest, store, preset)
    if (skipped := manifest.skipped_share) > max_bad:
        print_error(
            f"the store is complete and can be used; exit status {FELL_SHORT} because "
            f"{skipped:.1%} of the records were skipped, more than --max-bad {max_bad:.1%}. Each "
            f"is listed with its reason in {store / 'manifest.json'}"
        )
        raise typer.Exit(FELL_SHORT)


@app.command()
def verify(
    store: Annotated[Path, typer.Argument(help="Folder of the store.")],
    held_out: Annotated[
        list[str] | None,
        typer.Option(
            "--held-out",
            metavar="NAME=DIR",
            help="Database of whose test folds the store must hold no copy.",
        ),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            "--data",
            metavar="NAME=DIR",
            help="Database whose files are compared with what was read.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check a store: bytes, leaks and duplicates."""
    from ecgjepa.checking.verify import verify as run
    from ecgjepa.store.manifest import read_manifest

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
        if not found.faults:
            after_preparation(read_manifest(store), store)
    if found.faults:
        raise typer.Exit(FELL_SHORT)
