"""Verbs that evaluate: probe, finetune, compare, compare-predictions."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from ecgjepa.cli.application import app
from ecgjepa.cli.arguments import (
    check_word,
    evaluated_data,
    evaluated_model,
    named_folders,
    parse_fractions,
    parse_layers,
    with_columns,
)
from ecgjepa.cli.options import (
    AllowSeenOption,
    CacheOption,
    DataOption,
    DecisionOption,
    DeviceOption,
    DivideOption,
    DrawsOption,
    EncoderOption,
    FileOption,
    FractionOption,
    JsonOption,
    KindOption,
    LabelsOption,
    ModelOption,
    OutOption,
    PatientOption,
    RunsOption,
    SeedOption,
    SetOption,
    StoreDataOption,
    TaskOption,
    TestFolds,
    TestOnOption,
    TrainFolds,
    ValidationFolds,
    WorkerOptions,
    split_of_folds,
)
from ecgjepa.cli.sharing import sharing
from ecgjepa.results.layout import PRE_TRAINED
from ecgjepa.terminal.next_steps import after_evaluation, after_repeats, print_next
from ecgjepa.terminal.results import print_comparison, print_evaluations, print_repeats
from ecgjepa.terminal.screen import ProgressBar, print_json

if TYPE_CHECKING:
    from ecgjepa.evaluation.repeats import Repeats
    from ecgjepa.evaluation.results import Evaluation


@dataclass(frozen=True)
class EvaluationOptions:
    """What a probe and a fine-tuning have in common."""

    model: ModelOption
    encoder_description: EncoderOption = None
    data: DataOption = None
    store: StoreDataOption = None
    out: OutOption = None
    task: TaskOption = "all"
    kind: KindOption = "multi-label"
    labels: LabelsOption = None
    divide: DivideOption = "auto"
    patient: PatientOption = None
    file: FileOption = None
    runs: RunsOption = 1
    label_fraction: FractionOption = "100%"
    label_draws: DrawsOption = 1
    test_on: TestOnOption = ""
    allow_seen: AllowSeenOption = False
    decision: DecisionOption = "best-f1"
    train_folds: TrainFolds = "1-8"
    validation_folds: ValidationFolds = "9"
    test_folds: TestFolds = "10"
    overrides: SetOption = None
    seed: SeedOption = 0
    cache: CacheOption = None
    device: DeviceOption = "auto"
    as_json: JsonOption = False

    @property
    def leaves_each_out(self) -> bool:
        """Whether each database is left out in turn."""
        return self.test_on == "each"

    def arguments(self) -> dict[str, Any]:
        """Return what every verb of the package is given.

        Raises:
            BadParameter: If the data, the kind or the folds are not like that.
        """
        from ecgjepa.model.outputs import TaskKind

        check_word(self.kind, get_args(TaskKind), "--kind")
        each = self.leaves_each_out
        return {
            "model": evaluated_model(self.model, self.encoder_description),
            "data": evaluated_data(self.data, self.store),
            "out": self.out,
            "task": with_columns(self.task, self.labels, self.divide, self.patient, self.file),
            "kind": self.kind,
            "split": split_of_folds(self.train_folds, self.validation_folds, self.test_folds),
            "overrides": self.overrides or (),
            "seed": self.seed,
            "test_on": () if each else tuple(name for name in self.test_on.split(",") if name),
            "allow_seen": self.allow_seen,
            "decision": self.decision,
            "cache": self.cache,
            "device": self.device,
        }


@app.command()
@sharing(EvaluationOptions)
def probe(
    shared: EvaluationOptions,
    protocol: Annotated[
        str, typer.Option("--protocol", help="attentive, linear or knn.")
    ] = "attentive",
    layers: Annotated[
        str, typer.Option("--layers", help="Average these layers, e.g. 4 or 5-8.")
    ] = "",
    reading: Annotated[
        str,
        typer.Option("--reading", help="paper: the last block; all-blocks: all side by side."),
    ] = "paper",
) -> None:
    """Judge a frozen encoder beside an untrained one.

    A head is trained on its features, which stay as they are. Writes a model for 'predict'.
    """
    from ecgjepa.evaluation.probe import probe as run
    from ecgjepa.protocols.request import READINGS
    from ecgjepa.protocols.settings import FROZEN

    check_word(protocol, FROZEN, "--protocol")
    check_word(reading, READINGS, "--reading")
    _evaluate(
        run, shared, "  done", protocol=protocol, layers=parse_layers(layers), reading=reading
    )


@app.command()
@sharing(EvaluationOptions)
def finetune(
    shared: EvaluationOptions,
    protocol: Annotated[
        str, typer.Option("--protocol", help="finetune-after-probe or finetune.")
    ] = "finetune-after-probe",
    from_scratch: Annotated[
        bool, typer.Option(help="Also train the untrained encoder, to compare.")
    ] = True,
) -> None:
    """Train encoder and head; write a model for 'predict'."""
    from ecgjepa.evaluation.finetune import finetune as run
    from ecgjepa.protocols.settings import TUNING

    check_word(protocol, TUNING, "--protocol")
    _evaluate(run, shared, "  done", protocol=protocol, from_scratch=from_scratch)


@app.command()
@sharing(WorkerOptions, last=True)
def compare(
    shared: WorkerOptions,
    store: Annotated[Path, typer.Option("--store", help="Store of training records.")],
    out: Annotated[Path, typer.Option("--out", help="Folder; an interrupted comparison resumes.")],
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
    """Compare objectives at equal compute, over seeds."""
    from ecgjepa.comparing.compare import compare as run
    from ecgjepa.results.layout import COMPARISON_TABLE

    with shared.engaged():
        result = run(
            plan,
            store,
            named_folders(data),
            out,
            cache=cache,
            device=device,
            workers=shared.workers,
        )
    print((result.path / COMPARISON_TABLE).read_text(encoding="utf-8"))
    print_next("ecgjepa", "report", result.path, "--out", "report.html")


@app.command("compare-predictions")
def compare_predictions(
    first: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...", help="Evaluation folders of one model; or of two models, one each."
        ),
    ],
    against: Annotated[
        list[Path] | None,
        typer.Option("--against", help="Evaluation folder of the other model; repeatable."),
    ] = None,
    model: Annotated[
        str, typer.Option("--model", help="Model whose predictions are taken from the files.")
    ] = PRE_TRAINED,
    second_model: Annotated[
        str | None,
        typer.Option("--second-model", help="The same for the second side, where it differs."),
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
    """Say which of two models is better, with p.

    Both were tested on the same records; the difference is taken patient by patient.
    """
    from ecgjepa.results.compared import compare_predictions as run

    if not against:
        if len(first) != 2:
            words = "expected two evaluation folders, one of each model, or --against RUN"
            raise typer.BadParameter(words)
        first, against = first[:1], first[1:]
    comparison = run(first, against, model=model, second_model=second_model, metric=metric)
    if as_json:
        print_json(comparison.as_dict())
    else:
        print_comparison(comparison, first, against, (model, second_model or model))
        print_next("ecgjepa", "report", *first, *against, "--out", "report.html")


def _evaluate(
    verb: Callable[..., "Evaluation"],
    shared: EvaluationOptions,
    words: str,
    **own: Any,  # noqa: ANN401
) -> None:
    """Probe or fine-tune, once or repeatedly, and print what came of it."""
    from ecgjepa.evaluation.repeats import repeat
    from ecgjepa.model.folder import MODEL_FOLDER

    given = shared.arguments() | own
    fractions = parse_fractions(shared.label_fraction)
    draws = 1 if fractions == (1.0,) else shared.label_draws
    with ProgressBar(words) as progress:
        if shared.runs * len(fractions) * draws > 1 or shared.leaves_each_out:
            repeated = repeat(
                **given,
                runs=shared.runs,
                label_fractions=fractions,
                label_draws=shared.label_draws,
                each_database=shared.leaves_each_out,
                progress=progress,
            )
            result = None
        else:
            result = verb(**given, label_fraction=fractions[0], progress=progress)
    if result is None:
        _show_repeats(repeated, shared.as_json)
    elif shared.as_json:
        print_json(result.results)
    else:
        print_evaluations([result])
        has_classifier = (result.path / MODEL_FOLDER).is_dir()
        print()
        after_evaluation(shared.model, result.path, has_classifier=has_classifier)


def _show_repeats(repeated: "Repeats", as_json: bool) -> None:
    if as_json:
        print_json(repeated.summary)
    else:
        print_repeats(repeated.summary)
        print()
        after_repeats(repeated.path)
