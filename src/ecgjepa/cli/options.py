"""Options that several verbs share."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from ecgjepa.cli.arguments import parse_folds
from ecgjepa.sharing.box import DEFAULT_MODEL

DataOption = Annotated[
    list[str] | None,
    typer.Option("--data", metavar="NAME=DIR", help="Database and its folder, e.g. ptb-xl=DIR."),
]
ModelOption = Annotated[
    str,
    typer.Option(
        "--model", help="Run, checkpoint or model folder, or a model's name.", show_default=False
    ),
]
AnyModelOption = Annotated[
    str | None,
    typer.Option("--model", help=f"Folder or name of a classifier [default: {DEFAULT_MODEL}]."),
]
EncoderOption = Annotated[
    Path | None,
    typer.Option(
        "--encoder-description",
        metavar="FILE",
        help="Of --model encoder.onnx or package.module:factory, in YAML.",
    ),
]
StoreOption = Annotated[Path, typer.Option("--store", help="Folder of the store to write.")]
OutOption = Annotated[
    Path | None,
    typer.Option("--out", help="Folder for results and model [default: beside the model]."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a setting; repeatable."),
]
InputsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="INPUT...",
        help="Files, folders, patterns in quotes, stores, @list.txt; - reads a list.",
        show_default=False,
    ),
]
ListOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--list", metavar="FILE", help="Names of files, one a line, or a table with column file."
    ),
]
OnBadOption = Annotated[
    str,
    typer.Option("--on-bad", help="skip unusable records, mask what is damaged, or raise."),
]
RestartOption = Annotated[
    bool, typer.Option("--restart", help="Begin anew, whatever a run has left.")
]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace a finished output.")]
DescribeOption = Annotated[
    Path | None,
    typer.Option(
        "--describe", metavar="FILE", help="Rate, unit and leads of arrays and tables, as JSON."
    ),
]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
TaskOption = Annotated[
    str,
    typer.Option(
        "--task",
        help="all, diagnostic, subdiagnostic, superdiagnostic, form, rhythm or st-mem of ptb-xl; "
        "challenge-2021, code-15, codes or age; a table of labels; or a column of the table that "
        "--store was prepared with.",
    ),
]
LabelsOption = Annotated[
    list[str] | None,
    typer.Option("--labels", metavar="COLUMN", help="Of a table of labels; repeatable, or a,b."),
]
DivideOption = Annotated[
    str,
    typer.Option(
        "--divide", metavar="SIGNS", help="Signs between labels in a cell, e.g. ';', or none."
    ),
]
PatientOption = Annotated[
    str | None, typer.Option("--patient", metavar="COLUMN", help="Column that tells the patient.")
]
FileOption = Annotated[
    str | None,
    typer.Option("--file", metavar="COLUMN", help="Column that names the file of a record."),
]
KindOption = Annotated[
    str, typer.Option("--kind", help="Of a table: multi-label, single-label or regression.")
]
StoreDataOption = Annotated[
    Path | None, typer.Option("--store", help="A prepared store instead of --data.")
]
RunsOption = Annotated[
    int, typer.Option("--runs", min=1, help="Number of seeds; the paper has 10.")
]
FractionOption = Annotated[
    str,
    typer.Option(
        "--label-fraction",
        help="Share of training patients whose labels are used, e.g. 1%,10%,100% or 0.1.",
    ),
]
DrawsOption = Annotated[
    int, typer.Option("--label-draws", min=1, help="Number of draws of those patients.")
]
TestOnOption = Annotated[
    str,
    typer.Option("--test-on", help="Test on this database, train on the others; or 'each'."),
]
AllowSeenOption = Annotated[
    bool,
    typer.Option(
        "--allow-seen",
        help="Test even where pre-training saw all signals (no labels) of a database.",
    ),
]
DecisionOption = Annotated[
    str,
    typer.Option(
        "--decision",
        metavar="RULE",
        help="When the model says yes: best-f1, sensitivity=X or specificity=X.",
    ),
]
TrainFolds = Annotated[str, typer.Option("--train-folds", help="Folds to train on.")]
ValidationFolds = Annotated[str, typer.Option("--validation-folds", help="Folds to select on.")]
TestFolds = Annotated[str, typer.Option("--test-folds", help="Folds to report on.")]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Seed of all that is random.")]
CacheOption = Annotated[
    Path | None,
    typer.Option("--cache", help="Folder for prepared records [default: $ECGJEPA_CACHE]."),
]


@dataclass(frozen=True)
class WorkerOptions:
    """Who does what can be done in pieces."""

    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, help="Pieces worked on at a time [default: one per CPU]."),
    ] = None
    backend: Annotated[
        str | None,
        typer.Option("--backend", help="loky (processes), threading or dask. [default: loky]"),
    ] = None
    scheduler: Annotated[
        str | None,
        typer.Option("--scheduler", metavar="ADDRESS", help="Of Dask, e.g. tcp://node:8786."),
    ] = None

    @property
    def are_given(self) -> bool:
        """Whether any of the options was given."""
        return (self.workers, self.backend, self.scheduler) != (None, None, None)

    def engaged(self) -> AbstractContextManager[None]:
        """Return a context in which these workers do what is done in pieces.

        Raises:
            EngineError: On entry, if they cannot be reached.
        """
        from ecgjepa.engine.backends import using_backend

        return using_backend(self.backend, self.scheduler)


def split_of_folds(train: str, validation: str, test: str) -> Any:  # noqa: ANN401
    """Return the `Split` that three options name."""
    from ecgjepa.tasks.split import Split

    return Split(parse_folds(train), parse_folds(validation), parse_folds(test))
