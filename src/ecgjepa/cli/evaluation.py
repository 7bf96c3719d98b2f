"""Verbs that evaluate: probe, finetune, compare, compare-predictions."""

from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from ecgjepa.cli.application import app
from ecgjepa.cli.arguments import named_folders, parse_fractions, parse_layers
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
    split_of_folds,
)
from ecgjepa.terminal.results import print_comparison, print_evaluations, print_repeats
from ecgjepa.terminal.screen import Progress, print_json


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
    label_fraction: FractionOption = "100%",
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
        _Repetition(runs, parse_fractions(label_fraction), label_draws, seed, test_on),
        model=model,
        data=_data(data, store),
        out=out,
        task=task,
        kind=kind,
        protocol=protocol,
        split=split_of_folds(train_folds, validation_folds, test_folds),
        overrides=overrides or (),
        allow_seen=allow_seen,
        cache=cache,
        device=device,
        layers=parse_layers(layers),
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
    label_fraction: FractionOption = "100%",
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
        _Repetition(runs, parse_fractions(label_fraction), label_draws, seed, test_on),
        model=model,
        data=_data(data, store),
        out=out,
        task=task,
        kind=kind,
        protocol=protocol,
        split=split_of_folds(train_folds, validation_folds, test_folds),
        overrides=overrides or (),
        allow_seen=allow_seen,
        cache=cache,
        device=device,
        from_scratch=from_scratch,
    )


@app.command()
def compare(
    store: Annotated[Path, typer.Option("--store", help="Store of training records.")],
    out: Annotated[Path, typer.Option("--out", help="Folder; an interrupted comparison goes on.")],
    data: Annotated[
        list[str],
        typer.Option("--data", metavar="NAME=DIR", help="The labelled database, e.g. ptb-xl=DIR."),
    ],
    plan: Annotated[
        str,
        typer.Option(
            "--plan",
            help="quick, small, paper, paper-mimic, paper-ptb-xl, rivals, or a YAML file.",
        ),
    ] = "small",
    cache: CacheOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Compare objectives at equal compute, over seeds and protocols."""
    from ecgjepa.comparing.compare import TABLE_FILE
    from ecgjepa.comparing.compare import compare as run

    result = run(plan, store, named_folders(data), out, cache=cache, device=device)
    print((result.path / TABLE_FILE).read_text(encoding="utf-8"))


@app.command("compare-predictions")
def compare_predictions(
    first: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Runs of one model: evaluation folders.")
    ],
    against: Annotated[
        list[Path], typer.Option("--against", help="Run of the other model; repeatable.")
    ],
    model: Annotated[
        str, typer.Option("--model", help="Whose predictions to take from the files.")
    ] = "pre-trained",
    second_model: Annotated[
        str | None, typer.Option("--second-model", help="The same in --against, if it differs.")
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            "--metric",
            help="auroc (the default), average_precision, brier or log_loss; of a regression r2 "
            "(the default) or mean_absolute_error.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say whether one model is better than another on the same test records."""
    from ecgjepa.evaluation.predictions import compare_predictions as run

    comparison = run(first, against, model=model, second_model=second_model, metric=metric)
    if as_json:
        print_json(comparison.as_dict())
    else:
        print_comparison(comparison)


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
        what = "results" if options["protocol"] == "knn" else "results and model"
        print(f"\n{what}: {result.path}")


def _data(data: list[str] | None, store: Path | None) -> Any:  # noqa: ANN401
    if (store is None) == (not data):
        raise typer.BadParameter("expected either --data NAME=DIR or --store DIR")
    return named_folders(data or []) if store is None else store


def _check_word(word: str, known: tuple[str, ...], option: str) -> None:
    if word not in known:
        raise typer.BadParameter(f"expected {' or '.join(known)}", param_hint=option)
