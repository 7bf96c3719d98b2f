"""The command ``ecgjepa``: thin verbs over functions of the same name.

Exit codes: 0 done; 1 it ran, but something fell short; 2 wrong use or unusable input.
"""

import logging
import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ecgjepa.errors import EcgjepaError
from ecgjepa.terminal import (
    Progress,
    database_as_json,
    fetch_as_json,
    named_folders,
    parse_folds,
    parse_share,
    prediction_as_json,
    print_database,
    print_databases,
    print_error,
    print_evaluations,
    print_facts,
    print_fetch,
    print_json,
    print_manifest,
    print_plan,
    print_prediction,
    print_verification,
)

if TYPE_CHECKING:
    from ecgjepa.store.manifest import Manifest

app = typer.Typer(
    name="ecgjepa",
    help="Self-supervised pre-training of ECG models, their evaluation and use.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
)

FELL_SHORT, WRONG_USE = 1, 2

DataOption = Annotated[
    list[str],
    typer.Option("--data", metavar="NAME=DIR", help="Database and its folder, e.g. ptb-xl=DIR."),
]
ModelOption = Annotated[
    Path, typer.Option("--model", help="Run, checkpoint or model folder.", show_default=False)
]
StoreOption = Annotated[Path, typer.Option("--store", help="Folder to write.")]
OutOption = Annotated[
    Path | None,
    typer.Option("--out", help="Folder for results and model [default: beside the model]."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a setting; repeatable."),
]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
TaskOption = Annotated[
    str,
    typer.Option(
        "--task",
        help="all, diagnostic, subdiagnostic, superdiagnostic, form, rhythm or st-mem.",
    ),
]
TrainFolds = Annotated[str, typer.Option("--train-folds", help="Folds to train on.")]
ValidationFolds = Annotated[str, typer.Option("--validation-folds", help="Folds to select on.")]
TestFolds = Annotated[str, typer.Option("--test-folds", help="Folds to report on.")]
SeedOption = Annotated[int, typer.Option("--seed", min=0)]
CacheOption = Annotated[
    Path | None,
    typer.Option("--cache", help="Folder for prepared records [default: $ECGJEPA_CACHE]."),
]


@app.callback()
def _common(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Warnings only.")] = False,
) -> None:
    logging.basicConfig(
        level=logging.WARNING if quiet else logging.INFO,
        format="%(message)s",
        stream=sys.stderr,
        force=True,
    )
    _options["debug"] = debug


_options = {"debug": False}


def main() -> None:
    """Run the command; errors become one readable block and an exit code."""
    try:
        app()
    except EcgjepaError as error:
        _fail(error, WRONG_USE)
    except (OSError, KeyboardInterrupt) as error:
        _fail(error, FELL_SHORT)


def _fail(error: BaseException, code: int) -> None:
    if _options["debug"]:
        traceback.print_exc()
    text = "interrupted" if isinstance(error, KeyboardInterrupt) else str(error)
    print_error(text)
    sys.exit(code)


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
    from ecgjepa.simulation.layouts import simulate as run

    with Progress("simulating") as progress:
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
def fetch(
    database: Annotated[str, typer.Argument(help="Name; `ecgjepa databases` lists them.")],
    to: Annotated[Path, typer.Option("--to", help="Folder; a download in it goes on.")],
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

    with Progress("fetching MB") as progress:
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
    shard: Annotated[
        str | None,
        typer.Option("--shard", metavar="I/N", help="Write one of N shares; then 'merge'."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Read databases into a training store."""
    from ecgjepa.signals.preprocessing import PreprocessingConfig
    from ecgjepa.store.codecs import CODECS
    from ecgjepa.store.ingest import ON_BAD
    from ecgjepa.store.prepare import prepare as run
    from ecgjepa.store.prepare import prepare_share

    for option, value, allowed in (("on-bad", on_bad, ON_BAD), ("codec", codec, CODECS)):
        if value not in allowed:
            raise typer.BadParameter(f"expected {' or '.join(allowed)}", param_hint=f"--{option}")
    share = parse_share(shard) if shard else None
    options: dict[str, Any] = {
        "tables": named_folders(tables or []),
        "folds": folds if folds in ("train", "all") else parse_folds(folds),
        "preprocessing": PreprocessingConfig(sampling_rate=sampling_rate, highpass_hz=highpass),
        "records_per_shard": records_per_shard,
        "codec": codec,
        "on_bad": on_bad,
        "workers": workers,
    }
    with Progress("preparing") as progress:
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
    as_json: JsonOption = False,
) -> None:
    """Re-hash and recount a store; look for leaks and duplicates."""
    from ecgjepa.store.verify import verify as run

    with Progress("verifying") as progress:
        found = run(store, held_out=named_folders(held_out or []), progress=progress)
    if as_json:
        print_json({"store": str(store), **found._asdict()})
    else:
        print_verification(found, store)
    if found.faults:
        raise typer.Exit(FELL_SHORT)


@app.command()
def plan(
    preset: Annotated[str, typer.Option("--preset", help="Preset or YAML file.")] = "tiny",
    store: Annotated[Path | None, typer.Option("--store", help="Store it would read.")] = None,
    overrides: SetOption = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="Time a step here, for some seconds.")
    ] = False,
    tflops: Annotated[
        float | None, typer.Option("--tflops", help="What training sustains on another machine.")
    ] = None,
    memory: Annotated[
        float | None, typer.Option("--memory", help="Of that machine's device, in GB.")
    ] = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Say what a pre-training run costs before anything is spent."""
    from ecgjepa.pretraining.plan import plan as run

    found = run(
        preset,
        overrides=overrides or (),
        store=store,
        measure=measure,
        tflops=tflops,
        memory_gb=memory,
        device=device,
    )
    if as_json:
        print_json(found.as_json())
    else:
        print_plan(found)


@app.command()
def pretrain(
    store: Annotated[Path, typer.Option("--store", help="Store of training records.")],
    out: Annotated[Path, typer.Option("--out", help="Run folder; an interrupted run goes on.")],
    preset: Annotated[str, typer.Option("--preset", help="Preset or YAML file.")] = "tiny",
    overrides: SetOption = None,
    device: DeviceOption = "auto",
    probe_data: Annotated[
        str | None,
        typer.Option(metavar="NAME=DIR", help="Labelled records that choose the best encoder."),
    ] = None,
    probe_task: Annotated[
        str, typer.Option(help="Its task; see 'probe --task'.")
    ] = "superdiagnostic",
    probe_train_folds: Annotated[str, typer.Option(help="Folds it is fitted on.")] = "1-8",
    probe_validation_folds: Annotated[str, typer.Option(help="Folds it is scored on.")] = "9",
    cache: CacheOption = None,
) -> None:
    """Pre-train an encoder with JEPA."""
    from ecgjepa.pretraining.loop import pretrain as run

    follower = None
    if probe_data is not None:
        from ecgjepa.evaluation.online import online_probe

        follower = online_probe(
            named_folders([probe_data]),
            task=probe_task,
            train_folds=parse_folds(probe_train_folds),
            validation_folds=parse_folds(probe_validation_folds),
            cache=cache,
        )
    run(store, out, preset=preset, overrides=overrides or (), device=device, probe=follower)
    if os.environ.get("RANK", "0") == "0":  # of the processes that torchrun started, one speaks
        print(f"run: {out}")


@app.command()
def convert(
    source: Annotated[
        Path, typer.Option("--from", help="Official checkpoint .pt; or run, checkpoint, model.")
    ],
    to: Annotated[Path, typer.Option("--to", help="Model folder to write; or a .pt file.")],
    database: Annotated[
        str, typer.Option("--database", help="Whose published normalisation to fill in.")
    ] = "ptb-xl",
) -> None:
    """Read or write checkpoints of the official implementation."""
    from ecgjepa.pretraining.convert import convert as run

    print(run(source, to, database=database))


@app.command()
def probe(
    model: ModelOption,
    data: DataOption,
    out: OutOption = None,
    task: TaskOption = "all",
    protocol: Annotated[str, typer.Option("--protocol", help="attentive or linear.")] = "attentive",
    train_folds: TrainFolds = "1-8",
    validation_folds: ValidationFolds = "9",
    test_folds: TestFolds = "10",
    overrides: SetOption = None,
    seed: SeedOption = 0,
    cache: CacheOption = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Evaluate a frozen encoder, beside the same one untrained."""
    from ecgjepa.evaluation.probe import probe as run

    if protocol not in ("attentive", "linear"):
        raise typer.BadParameter("expected attentive or linear", param_hint="--protocol")
    with Progress("encoding") as progress:
        result = run(
            model,
            named_folders(data),
            out,
            task=task,
            protocol=protocol,  # type: ignore[arg-type]
            split=_split(train_folds, validation_folds, test_folds),
            overrides=overrides or (),
            seed=seed,
            cache=cache,
            device=device,
            progress=progress,
        )
    if as_json:
        print_json(result.results)
    else:
        print_evaluations([result])
        print(f"\nresults and model: {result.path}")


@app.command()
def finetune(
    model: ModelOption,
    data: DataOption,
    out: OutOption = None,
    task: TaskOption = "all",
    protocol: Annotated[
        str, typer.Option("--protocol", help="finetune-after-probe or finetune.")
    ] = "finetune-after-probe",
    from_scratch: Annotated[
        bool, typer.Option(help="Also train the untrained encoder, to compare.")
    ] = True,
    train_folds: TrainFolds = "1-8",
    validation_folds: ValidationFolds = "9",
    test_folds: TestFolds = "10",
    overrides: SetOption = None,
    seed: SeedOption = 0,
    cache: CacheOption = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Train encoder and head together."""
    from ecgjepa.evaluation.finetune import finetune as run

    if protocol not in ("finetune-after-probe", "finetune"):
        raise typer.BadParameter(
            "expected finetune-after-probe or finetune", param_hint="--protocol"
        )
    with Progress("preparing") as progress:
        result = run(
            model,
            named_folders(data),
            out,
            task=task,
            protocol=protocol,  # type: ignore[arg-type]
            split=_split(train_folds, validation_folds, test_folds),
            overrides=overrides or (),
            from_scratch=from_scratch,
            seed=seed,
            cache=cache,
            device=device,
            progress=progress,
        )
    if as_json:
        print_json(result.results)
    else:
        print_evaluations([result])
        print(f"\nresults and model: {result.path}")


@app.command()
def predict(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...")],
    model: ModelOption,
    top: Annotated[int, typer.Option("--top", min=1, help="Labels shown per file.")] = 10,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Print a model's probabilities for ECG files."""
    from ecgjepa.inference.predict import load_model

    loaded = load_model(model, device=device)
    predictions = loaded.predict(files)
    if as_json:
        print_json([prediction_as_json(prediction) for prediction in predictions])
    else:
        descriptions = dict(zip(loaded.task.labels, loaded.task.descriptions, strict=True))
        for prediction in predictions:
            print_prediction(prediction, descriptions, top)
        print("Research use only. Probabilities are not calibrated.")
    if any(prediction.error for prediction in predictions):
        raise typer.Exit(FELL_SHORT)


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...")],
    out: Annotated[Path, typer.Option("--out", help="HTML file.")] = Path("report.html"),
) -> None:
    """Write one HTML page on pre-training runs and evaluations."""
    from ecgjepa.reporting.page import report as run

    print(run(runs, out))


@app.command()
def plot(
    file: Annotated[Path, typer.Argument(help="ECG file.")],
    out: Annotated[Path, typer.Option("--out", help="Picture: .png, .svg or .pdf.")],
) -> None:
    """Draw a 12-lead ECG on paper, true to size."""
    from ecgjepa.reporting.ecg_paper import plot as run

    print(run(file, out))


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder for everything.")] = Path("demo"),
    data: Annotated[
        str | None,
        typer.Option("--data", metavar="ptb-xl=DIR", help="Real records instead of simulated."),
    ] = None,
    records: Annotated[int, typer.Option("--records", min=100, help="To simulate.")] = 2000,
    preset: Annotated[str, typer.Option("--preset")] = "tiny",
    task: TaskOption = "superdiagnostic",
    train_folds: TrainFolds = "1-8",
    validation_folds: ValidationFolds = "9",
    test_folds: TestFolds = "10",
    seed: SeedOption = 0,
    overrides: SetOption = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Run everything once, small: from ECG files to a report."""
    from ecgjepa.demonstration import demo as run

    with Progress("     ") as progress:
        result = run(
            out,
            data=None if data is None else named_folders([data]),
            records=records,
            preset=preset,
            task=task,
            split=_split(train_folds, validation_folds, test_folds),
            seed=seed,
            overrides=overrides or (),
            device=device,
            progress=progress,
        )
    if as_json:
        print_json([evaluation.results for evaluation in result.evaluations])
    else:
        print_evaluations(result.evaluations)
        print(f"\nreport: {result.report.resolve()}   ({result.seconds / 60:.1f} min)")


@app.command()
def doctor(as_json: JsonOption = False) -> None:
    """Say what is installed and what this machine can do."""
    from ecgjepa.environment import doctor as run

    facts = run()
    if as_json:
        print_json(facts)
        return
    print_facts(facts)


def _split(train: str, validation: str, test: str) -> Any:  # noqa: ANN401
    from ecgjepa.evaluation.tasks import Split

    return Split(parse_folds(train), parse_folds(validation), parse_folds(test))
