"""Verbs that train and evaluate: plan, pretrain, convert, probe, finetune, demo."""

import os
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from ecgjepa.cli.application import app
from ecgjepa.cli.options import (
    AllowSeenOption,
    CacheOption,
    DataOption,
    DeviceOption,
    DrawsOption,
    FractionOption,
    JsonOption,
    KindOption,
    ModelOption,
    OutOption,
    RunsOption,
    SeedOption,
    SetOption,
    StoreDataOption,
    TaskOption,
    TestFolds,
    TestOnOption,
    TrainFolds,
    ValidationFolds,
)
from ecgjepa.terminal import (
    Progress,
    named_folders,
    parse_folds,
    parse_percents,
    print_evaluations,
    print_json,
    print_plan,
    print_repeats,
)


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
    data: DataOption = None,
    store: StoreDataOption = None,
    out: OutOption = None,
    task: TaskOption = "all",
    kind: KindOption = "multi-label",
    protocol: Annotated[
        str, typer.Option("--protocol", help="attentive, linear or knn.")
    ] = "attentive",
    layers: Annotated[
        str, typer.Option("--layers", help="Average these layers, e.g. 4 or 5-8.")
    ] = "",
    runs: RunsOption = 1,
    label_fraction: FractionOption = "100",
    label_draws: DrawsOption = 1,
    test_on: TestOnOption = "",
    allow_seen: AllowSeenOption = False,
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
    _check_word(protocol, ("attentive", "linear", "knn"), "--protocol")
    _check_word(kind, ("multi-label", "single-label", "regression"), "--kind")
    _evaluate(
        "encoding",
        as_json,
        _Repetition(runs, parse_percents(label_fraction), label_draws, seed, test_on),
        model=model,
        data=_data(data, store),
        out=out,
        task=task,
        kind=kind,
        protocol=protocol,
        split=_split(train_folds, validation_folds, test_folds),
        overrides=overrides or (),
        allow_seen=allow_seen,
        cache=cache,
        device=device,
        layers=parse_folds(layers) if layers else (),
    )


@app.command()
def finetune(
    model: ModelOption,
    data: DataOption = None,
    store: StoreDataOption = None,
    out: OutOption = None,
    task: TaskOption = "all",
    kind: KindOption = "multi-label",
    protocol: Annotated[
        str, typer.Option("--protocol", help="finetune-after-probe or finetune.")
    ] = "finetune-after-probe",
    from_scratch: Annotated[
        bool, typer.Option(help="Also train the untrained encoder, to compare.")
    ] = True,
    runs: RunsOption = 1,
    label_fraction: FractionOption = "100",
    label_draws: DrawsOption = 1,
    test_on: TestOnOption = "",
    allow_seen: AllowSeenOption = False,
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
    _check_word(protocol, ("finetune-after-probe", "finetune"), "--protocol")
    _check_word(kind, ("multi-label", "single-label", "regression"), "--kind")
    _evaluate(
        "preparing",
        as_json,
        _Repetition(runs, parse_percents(label_fraction), label_draws, seed, test_on),
        model=model,
        data=_data(data, store),
        out=out,
        task=task,
        kind=kind,
        protocol=protocol,
        split=_split(train_folds, validation_folds, test_folds),
        overrides=overrides or (),
        allow_seen=allow_seen,
        cache=cache,
        device=device,
        from_scratch=from_scratch,
    )


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


def _split(train: str, validation: str, test: str) -> Any:  # noqa: ANN401
    from ecgjepa.evaluation.tasks import Split

    return Split(parse_folds(train), parse_folds(validation), parse_folds(test))


class _Repetition(NamedTuple):
    """How often an evaluation is done."""

    runs: int
    label_fractions: tuple[float, ...]
    label_draws: int
    seed: int
    test_on: str

    @property
    def is_single(self) -> bool:
        """Whether it is one evaluation."""
        draws = 1 if self.label_fractions == (1.0,) else self.label_draws
        return self.runs * len(self.label_fractions) * draws == 1 and self.test_on != "each"


def _evaluate(words: str, as_json: bool, how: _Repetition, **options: Any) -> None:  # noqa: ANN401
    """Probe or fine-tune, once or repeatedly, and print what came of it."""
    from ecgjepa.evaluation.finetune import finetune
    from ecgjepa.evaluation.probe import probe
    from ecgjepa.evaluation.repeats import repeat

    test_on = tuple(name for name in how.test_on.split(",") if name and how.test_on != "each")
    with Progress(words) as progress:
        if not how.is_single:
            found = repeat(
                **options,
                runs=how.runs,
                seed=how.seed,
                label_fractions=how.label_fractions,
                label_draws=how.label_draws,
                test_on=test_on,
                each_database=how.test_on == "each",
                progress=progress,
            )
        else:
            verb: Any = probe if options["protocol"] in ("attentive", "linear", "knn") else finetune
            result = verb(
                **options,
                seed=how.seed,
                label_fraction=how.label_fractions[0],
                test_on=test_on,
                progress=progress,
            )
    if not how.is_single:
        if as_json:
            print_json(found.summary)
        else:
            print_repeats(found.summary)
            print(f"\nresults: {found.path}")
    elif as_json:
        print_json(result.results)
    else:
        print_evaluations([result])
        print(f"\nresults and model: {result.path}")


def _data(data: list[str] | None, store: Path | None) -> Any:  # noqa: ANN401
    if (store is None) == (not data):
        raise typer.BadParameter("expected either --data NAME=DIR or --store DIR")
    return named_folders(data or []) if store is None else store


def _check_word(word: str, known: tuple[str, ...], option: str) -> None:
    if word not in known:
        raise typer.BadParameter(f"expected {' or '.join(known)}", param_hint=option)
