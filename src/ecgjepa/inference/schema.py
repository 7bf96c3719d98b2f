"""The one schema of what is said of one record: columns of a table, and content of JSON.

Text on a terminal, ``--json``, CSV and Parquet all come from here. ``docs/predictions.md`` repeats
the columns. Raise `SCHEMA_VERSION` when a name, a type or a meaning changes, not for a new column.
"""

import math
from collections.abc import Iterable, Iterator
from typing import Any, Literal, NamedTuple

from ecgjepa.inference.prediction import Prediction
from ecgjepa.model.outputs import TaskConfig

SCHEMA_VERSION = 1
# Names of Arrow's types.
ColumnType = Literal["string", "float64", "bool", "int64"]
Cell = str | float | bool | int | None
Row = dict[str, Cell]


class Column(NamedTuple):
    """A column of the table. Every column may hold nothing (null).

    Attributes:
        name: Name, not twice in a table, however large or small its letters.
        type: Type of the values, as Arrow names it.
        meaning: What a value says, in words.
        unit: Unit of the values, or nothing for words and shares.
    """

    name: str
    type: ColumnType
    meaning: str
    unit: str = ""


# Which record it is, and why there is nothing more to say of it.
WHICH_RECORD = (
    Column("file", "string", "file as it was given, or as it was found in a folder"),
    Column("record", "string", "name of the record within its file, folder or store"),
    Column("error", "string", "why there is no prediction; nothing if there is one"),
    Column("reason", "string", "the error as a short code, for counting"),
)
# What was noticed about the input.
ABOUT_INPUT = (
    Column(
        "distance", "float64", "distance from the training records; their mean square is about 1"
    ),
    Column("quality", "string", "good, poor, or incomplete where leads are masked"),
    Column("quality_score", "float64", "0 (useless) to 1 (clean); below 0.85 is poor"),
    Column("findings", "string", "codes of what was noticed about the input, joined with ;"),
    Column("derived_leads", "string", "leads computed from others, joined with ;"),
    Column("masked_leads", "string", "leads missing or mostly unusable, joined with ;"),
    Column("used_leads", "string", "leads that the answer rests on, joined with ;"),
    Column("duration", "float64", "duration of the recording", "s"),
    Column("sampling_rate", "float64", "sampling rate of the file", "Hz"),
)
_LIKELIEST = Column("likeliest", "string", "label of the greatest probability")
_SETS = (
    Column("set", "string", "labels that cannot be left out at the stated coverage, joined with ;"),
    Column("set_size", "int64", "number of labels in the set; 0 is an empty set"),
)
_RULE = Column("rule", "string", "rule of the thresholds that the decisions follow")
_SCHEMA = Column("schema", "int64", "version of this schema")
# What a column of a label adds to the label's name.
_YES, _LOW, _HIGH = "_yes", "_low", "_high"
_BEFORE_COLLIDING = "label:"


class PredictionSchema:
    """How predictions of one task are written: the columns and their order depend on it alone.

    Attributes:
        columns: Columns of the table, in their order.

    Example:
        >>> from ecgjepa.inference.prediction import Prediction
        >>> from ecgjepa.inference.schema import PredictionSchema
        >>> from ecgjepa.model.outputs import TaskConfig
        >>> task = TaskConfig(name="t", kind="multi-label", labels=("MI",), descriptions=("",))
        >>> schema = PredictionSchema(task)
        >>> [column.name for column in schema.columns][3:7]
        ['reason', 'MI', 'MI_yes', 'set']
        >>> schema.row(Prediction("a.hea", probabilities={"MI": 0.75}))["MI"]
        0.75
    """

    columns: tuple[Column, ...]

    def __init__(self, task: TaskConfig) -> None:
        """Lay out the columns of a model's task."""
        self._task = task
        self._is_regression = task.kind == "regression"
        around = [*WHICH_RECORD, _LIKELIEST, *_SETS, *ABOUT_INPUT, _RULE, _SCHEMA]
        self._names = _column_names(
            task.labels,
            (_LOW, _HIGH) if self._is_regression else (_YES,),
            {column.name for column in around},
        )
        self.columns = tuple(self._lay_out())

    def _lay_out(self) -> Iterator[Column]:
        yield from WHICH_RECORD
        if self._task.kind == "single-label":
            yield _LIKELIEST
        described = zip(self._task.labels, self._task.descriptions, strict=True)
        for label, words in described:
            name, what = self._names[label], _clean(words or label)
            if self._is_regression:
                yield Column(name, "float64", f"value of {what}", "as in the training labels")
                yield Column(name + _LOW, "float64", f"lower bound of the interval of {what}")
                yield Column(name + _HIGH, "float64", f"upper bound of the interval of {what}")
            else:
                yield Column(name, "float64", f"probability of {what}")
                yield Column(name + _YES, "bool", f"whether {what} is at or above its threshold")
        yield from () if self._is_regression else _SETS
        yield from ABOUT_INPUT
        yield from () if self._is_regression else (_RULE,)
        yield _SCHEMA

    def row(self, prediction: Prediction) -> Row:
        r"""Return a prediction as a row: the name of every column, in order, to its value.

        A value that is not finite is None, as is all that a failed file does not have. Within a
        list that is joined with ``;``, a ``;`` of a name is written as ``\;``.
        """
        row: Row = dict.fromkeys(column.name for column in self.columns)
        row |= {
            "file": _clean(prediction.file),
            "record": _clean_or_none(prediction.record),
            "error": _clean_or_none(prediction.error),
            "reason": _clean_or_none(prediction.reason),
            "schema": SCHEMA_VERSION,
        }
        if prediction.error is not None:
            return row
        if self._task.kind == "single-label":
            row["likeliest"] = _clean_or_none(prediction.likeliest)
        for label, value in prediction.probabilities.items():
            row[self._names[label]] = _finite(value)
        for label, (low, high) in prediction.intervals.items():
            name = self._names[label]
            row[name + _LOW], row[name + _HIGH] = _finite(low), _finite(high)
        for label, call in prediction.decisions.items():
            row[self._names[label] + _YES] = call
        if not self._is_regression:
            row["rule"] = prediction.rule
            if (labels := prediction.label_set) is not None:
                row |= {"set": _join(labels), "set_size": len(labels)}
        codes = dict.fromkeys(issue.code for issue in prediction.findings)
        return row | {
            "distance": _finite(prediction.distance),
            "quality": prediction.quality,
            "quality_score": _finite(prediction.quality_score),
            "findings": _join(codes),
            "derived_leads": _join(prediction.derived_leads),
            "masked_leads": _join(prediction.masked_leads),
            "used_leads": _join(prediction.used_leads),
            "duration": _finite(prediction.duration),
            "sampling_rate": _finite(prediction.sampling_rate),
        }

    def content(self, prediction: Prediction) -> dict[str, Any]:
        """Return a prediction as the content of JSON; what is not finite is None."""
        outputs = {_clean(k): _finite(v) for k, v in prediction.probabilities.items()}
        labels = prediction.label_set
        return {
            "schema": SCHEMA_VERSION,
            "file": _clean(prediction.file),
            "record": _clean_or_none(prediction.record),
            "error": _clean_or_none(prediction.error),
            "reason": _clean_or_none(prediction.reason),
            "likeliest": _clean_or_none(prediction.likeliest)
            if self._task.kind == "single-label"
            else None,
            "probabilities": {} if self._is_regression else outputs,
            "values": outputs if self._is_regression else {},
            "intervals": {
                _clean(name): [_finite(bound) for bound in bounds]
                for name, bounds in prediction.intervals.items()
            },
            "decisions": {_clean(name): call for name, call in prediction.decisions.items()},
            "rule": prediction.rule,
            "set": None if labels is None else [_clean(label) for label in labels],
            "distance": _finite(prediction.distance),
            "quality": prediction.quality,
            "quality_score": _finite(prediction.quality_score),
            "findings": [
                {"code": code, "message": _clean(message), "lead": _clean_or_none(lead)}
                for code, message, lead in prediction.findings
            ],
            "derived_leads": [_clean(lead) for lead in prediction.derived_leads],
            "masked_leads": [_clean(lead) for lead in prediction.masked_leads],
            "used_leads": [_clean(lead) for lead in prediction.used_leads],
            "duration": _finite(prediction.duration),
            "sampling_rate": _finite(prediction.sampling_rate),
        }


def _column_names(
    labels: Iterable[str], suffixes: tuple[str, ...], taken: set[str]
) -> dict[str, str]:
    """Return each label's column, none of which is another's, nor with one of the suffixes.

    Small and large letters count alike, because databases that read the table do not tell them
    apart. A label that comes later gets words before it.
    """
    names, taken = {}, {name.casefold() for name in taken}
    for label in labels:
        name = _clean(label)
        while any((name + end).casefold() in taken for end in ("", *suffixes)):
            name = _BEFORE_COLLIDING + name
        taken |= {(name + end).casefold() for end in ("", *suffixes)}
        names[label] = name
    return names


def _clean(text: str) -> str:
    """Return text that UTF-8 can hold: bytes of a file's name that are not UTF-8 are written out.

    JSON, CSV and Parquet cannot hold what Python keeps for such bytes.
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _clean_or_none(text: str | None) -> str | None:
    return None if text is None else _clean(text)


def _join(names: Iterable[str]) -> str:
    return ";".join(_clean(name).replace(";", "\\;") for name in names)


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)
