"""Options that several verbs share."""

from pathlib import Path
from typing import Annotated

import typer

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
