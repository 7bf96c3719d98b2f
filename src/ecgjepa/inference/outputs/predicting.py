"""`predict_table`: whatever a user names in, one table out, with a row for each record."""

from collections.abc import Iterable
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

from ecgjepa.inference.inputs.records import Inputs
from ecgjepa.inference.interpretation import as_asked, rule_of, undecided, without_head
from ecgjepa.inference.outputs.growing import grown, names_in
from ecgjepa.inference.outputs.parts import own_files
from ecgjepa.inference.outputs.requests import (
    PART_INPUTS,
    Progress,
    as_inputs,
    check_suffix,
    describe_request,
    hash_of_description,
    in_parts,
)
from ecgjepa.inference.outputs.tables import SUFFIXES, table_format
from ecgjepa.inference.outputs.working import Course, Making, fulfil, telling
from ecgjepa.inference.outputs.written import Failure, Written
from ecgjepa.inference.predict import Model, load_model
from ecgjepa.inference.schema import SCHEMA_VERSION, PredictionSchema
from ecgjepa.model.folder import read_model_config
from ecgjepa.sharing.references import find_model
from ecgjepa.signals.acceptance import OnBad


def predict_table(
    inputs: Iterable[str | Path] | str | Path | Inputs,
    model: str | Path,
    out: str | Path,
    *,
    decision: str | None = None,
    on_bad: OnBad = "skip",
    description: str | Path | None = None,
    device: str = "auto",
    restart: bool = False,
    overwrite: bool = False,
    part_inputs: int = PART_INPUTS,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Written:
    """Predict every record and write a table with a row for each; a killed run resumes.

    Rows are written in parts beside the table and put together at the end, so memory does not grow
    with the records. The same call resumes behind the last part. A call with more inputs than a
    finished table has predicts the new ones and adds their rows. If size or time of a file has
    changed in the meantime, the call is refused; ``restart`` or ``overwrite`` begins anew.

    Args:
        inputs: Files, folders, patterns, lists and prepared stores, see
            `ecgjepa.inference.inputs.named`; each record has one row.
        model: Model folder, or folder of a probe or fine-tuning.
        out: Table to write: ``.csv``, ``.parquet`` or ``.jsonl`` (a JSON object a line).
        decision: Rule of the thresholds; see `ecgjepa.load_model`.
        on_bad: See `ecgjepa.inference.predict.Model.predict`.
        description: File that describes arrays and tables; None for those beside them.
        device: ``auto``, ``cpu`` or ``cuda``.
        restart: Begin anew, whatever a killed or finished run of this request has left.
        overwrite: Replace a finished table, whatever it is of.
        part_inputs: Records of a part, at most.
        workers: Pieces of the table that are worked on at a time, by processes of this machine
            unless `joblib.parallel_config` names another backend; one by default, in this process
            and with all its threads. Numbers are equal to rounding.
        progress: Called with the number of records that are done, and of all.

    Returns:
        Where the table is, and which records have no prediction.

    Raises:
        InputError: If nothing is named.
        OutputError: If the table is another request's, or being written.
        ModelFolderError: If the model cannot be used.
        ConfigError: If the model has no thresholds of the rule.
        RecordError: With ``on_bad="raise"``.

    Example:
        >>> import ecgjepa
        >>> written = ecgjepa.predict_table("data/ptb-xl/records500", "runs/probe", "table.csv")
        >>> written.num_inputs == written.num_rows
        True
    """
    out = Path(out)
    check_suffix(out, SUFFIXES)
    found = as_inputs(inputs, own_files(out), description)
    folder = find_model(model)
    config = read_model_config(folder)
    if config.task is None:
        raise without_head(folder)
    layout = table_format(out, PredictionSchema(config.task))
    found, start = grown(out, found, partial(names_in, out), partial(layout.reuse, out))
    asked = as_asked(config, folder, calibrated=True, decision=decision)
    request = describe_request(
        "predict",
        folder,
        found,
        decision=rule_of(asked),
        on_bad=on_bad,
        description=hash_of_description(description),
        schema=SCHEMA_VERSION,
    )
    try:
        return fulfil(
            request,
            found,
            out,
            _Predictor(folder, request["model_sha256"], device, decision, on_bad, description).make,
            Course(restart, overwrite, part_inputs, workers, progress),
            lambda parts: parts.finish(layout.merge, (*found.notices, *undecided(asked))),
            start,
        )
    finally:
        _loaded.cache_clear()


class _Predictor(NamedTuple):
    """Makes parts of a table of predictions."""

    model: Path
    sha256: str
    device: str
    decision: str | None
    on_bad: OnBad
    description: str | Path | None

    def make(self, inputs: Inputs, how: Making) -> None:
        """Predict some records."""
        loaded = _loaded(self.model, self.sha256, self.device, self.decision)
        usable = inputs.usable(
            loaded.config.preprocessing,
            sets=loaded.config.sets_of_leads,
            on_bad=self.on_bad,
            description=self.description,
        )
        rows = telling(loaded.answers(usable, self.on_bad), how.tell)
        first = how.first
        write = table_format(how.parts.out, PredictionSchema(loaded.task)).write
        for some in in_parts(rows, most=how.most, seconds=how.seconds):
            failures = [
                Failure(each.file, each.reason or "", each.error, place)
                for place, each in enumerate(some, start=first)
                if each.error is not None
            ]
            how.parts.add(first, len(some), len(some), failures, partial(write, some))
            first += len(some)


@lru_cache(maxsize=1)
def _loaded(folder: Path, sha256: str, device: str, decision: str | None) -> Model:
    """Return a model; a worker loads it once, and again when its folder holds another."""
    return load_model(folder, device=device, decision=decision)
