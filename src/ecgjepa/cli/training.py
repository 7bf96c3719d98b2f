"""Verbs that train: plan, pretrain, convert, demo."""

import os
from pathlib import Path
from typing import Annotated

import typer

from ecgjepa.cli.application import app
from ecgjepa.cli.arguments import named_folders, parse_folds
from ecgjepa.cli.options import (
    CacheOption,
    DeviceOption,
    JsonOption,
    SeedOption,
    SetOption,
    TaskOption,
    TestFolds,
    TrainFolds,
    ValidationFolds,
    split_of_folds,
)
from ecgjepa.cli.verbs import START
from ecgjepa.terminal.next_steps import after_pretraining, after_report, print_next
from ecgjepa.terminal.plans import print_plan
from ecgjepa.terminal.results import print_evaluations
from ecgjepa.terminal.screen import ProgressBar, print_json
from ecgjepa.terminal.settings import (
    presets_as_json,
    print_presets,
    print_settings,
    settings_as_json,
)
from ecgjepa.terminal.training import print_run, trained_on


@app.command("presets")
def preset_settings(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="One of them, or a YAML file.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the presets; of one, explain every setting.

    With a name: each setting's value, the paper's value, its unit and meaning.
    """
    from ecgjepa.config import preset_settings as run

    if name is None:
        print_json(presets_as_json()) if as_json else print_presets()
        return
    settings = run(name)
    if as_json:
        print_json(settings_as_json(name, settings))
    else:
        print_settings(name, settings)


@app.command()
def plan(
    preset: Annotated[str, typer.Option("--preset", help="Preset or YAML file.")] = "tiny",
    store: Annotated[
        Path | None, typer.Option("--store", help="Store that the run would read.")
    ] = None,
    overrides: SetOption = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="Time a step here, for some seconds.")
    ] = False,
    tflops: Annotated[
        float | None,
        typer.Option("--tflops", help="TFLOP/s that training sustains on another machine."),
    ] = None,
    memory: Annotated[
        float | None, typer.Option("--memory", help="Memory of that machine's device in GB.")
    ] = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Say what a run costs before anything is spent."""
    from ecgjepa.planning.plan import plan as run

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
        if store is not None:
            sets = [word for item in overrides or () for word in ("--set", item)]
            print_next(
                "ecgjepa", "pretrain", "--store", store, "--preset", preset, *sets,
                "--out", f"runs/{found.config.objective}",
            )  # fmt: skip


@app.command()
def pretrain(
    store: Annotated[Path, typer.Option("--store", help="Store of training records.")],
    out: Annotated[Path, typer.Option("--out", help="Run folder; an interrupted run resumes.")],
    preset: Annotated[str, typer.Option("--preset", help="Preset or YAML file.")] = "tiny",
    overrides: SetOption = None,
    device: DeviceOption = "auto",
    probe_data: Annotated[
        str | None,
        typer.Option(metavar="NAME=DIR", help="Labelled records that choose the best encoder."),
    ] = None,
    probe_task: Annotated[
        str, typer.Option(help="Task of those records; see 'probe --task'.")
    ] = "superdiagnostic",
    probe_train_folds: Annotated[
        str, typer.Option(help="Folds that the probe is fitted on.")
    ] = "1-8",
    probe_validation_folds: Annotated[
        str, typer.Option(help="Folds that the probe is scored on.")
    ] = "9",
    cache: CacheOption = None,
) -> None:
    """Pre-train an encoder on a store."""
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
        print_run(out)
        given = named_folders([probe_data] if probe_data else [])
        after_pretraining(out, trained_on(out), given)


@app.command()
def convert(
    source: Annotated[
        Path,
        typer.Option(
            "--from", help="Published code's checkpoint .pt; or a run, checkpoint or model folder."
        ),
    ],
    to: Annotated[
        Path, typer.Option("--to", help="Model folder to write; or a .pt file, for the way back.")
    ],
    database: Annotated[
        str, typer.Option("--database", help="Database whose published normalisation is filled in.")
    ] = "ptb-xl",
) -> None:
    """Read or write checkpoints of the paper's code."""
    from ecgjepa.official.convert import convert as run

    print(run(source, to, database=database))


@app.command(rich_help_panel=START)
def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder for everything.")] = Path("demo"),
    data: Annotated[
        str | None,
        typer.Option(
            "--data", metavar="ptb-xl=DIR", help="Folder of PTB-XL, in place of simulated records."
        ),
    ] = None,
    records: Annotated[
        int, typer.Option("--records", min=100, help="Number of records to simulate.")
    ] = 2000,
    preset: Annotated[str, typer.Option("--preset", help="Preset or YAML file.")] = "tiny",
    task: TaskOption = "superdiagnostic",
    train_folds: TrainFolds = "1-8",
    validation_folds: ValidationFolds = "9",
    test_folds: TestFolds = "10",
    seed: SeedOption = 0,
    overrides: SetOption = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Run everything once, small: from ECGs to a report."""
    from ecgjepa.demonstration import demo as run

    with ProgressBar("     ") as progress:
        result = run(
            out,
            data=None if data is None else named_folders([data]),
            records=records,
            preset=preset,
            task=task,
            split=split_of_folds(train_folds, validation_folds, test_folds),
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
        after_report(result.report)
        source = out / "ptb-xl" if data is None else named_folders([data])["ptb-xl"]
        tuned = result.evaluations[-1].path
        print_next("ecgjepa", "predict", source, "--model", tuned, instead="use")
