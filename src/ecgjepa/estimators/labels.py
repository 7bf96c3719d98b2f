"""What scikit-learn calls y: a label per record, or a column of yes and no for each label."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Shaped

from ecgjepa.errors import TaskError


class Labels(NamedTuple):
    """The labels of records.

    Attributes:
        names: Each label, in the order of the columns of probabilities.
        targets: Whether a record has a label.
        single: Whether every record has exactly one.
    """

    names: Shaped[np.ndarray, " labels"]
    targets: Bool[np.ndarray, "records labels"]
    single: bool


def read_labels(y: object, num_records: int) -> Labels:
    """Return labels as scikit-learn gives them.

    Args:
        y: One label per record: text or whole numbers. Or a table of 0 and 1, a row per record and
            a column per label; the columns of a pandas frame name the labels, which otherwise are
            numbered from 0.
        num_records: Number of records that they are of.

    Raises:
        TaskError: If they do not fit the records, are missing, or are not labels.
    """
    if y is None:
        raise TaskError("y is missing: expected a label per record, or a column of 0 and 1 a label")
    columns = getattr(y, "columns", None)
    values = _as_array(y)
    if values.ndim not in (1, 2) or len(values) != num_records:
        raise TaskError(
            f"y has shape {values.shape}, for {num_records} records; expected a label per record, "
            "or a row of 0 and 1 per record"
        )
    if values.ndim == 1:
        return _single(values)
    targets = _flags(values)
    names = np.arange(values.shape[1]) if columns is None else np.asarray(columns)
    return Labels(names, targets, single=False)


def _as_array(y: object) -> Shaped[np.ndarray, "..."]:
    """Return y as an array whose items are of the type that they had.

    numpy turns a list of text and NaN into text alone, and a missing label into one called nan.
    """
    try:
        values = np.asarray(y)
        if values.dtype.kind in "US" and not isinstance(y, np.ndarray):
            own = np.asarray(y, dtype=object)
            if not all(isinstance(each, str | bytes) for each in own.ravel()):
                return own
    except ValueError:
        raise TaskError(
            "y: its rows differ in length; expected one label, or as many 0 and 1"
        ) from None
    return values


def _is_missing(value: object) -> bool:
    """Return whether a label is none: None, NaN, the NA and NaT of pandas, or NaN made text."""
    try:
        return value is None or bool(value != value) or value in ("nan", b"nan")
    except TypeError:  # pandas.NA is neither equal nor unequal to anything
        return True


def _flags(values: Shaped[np.ndarray, "records labels"]) -> Bool[np.ndarray, "records labels"]:
    try:
        numbers = values.astype(np.float64)
    except (TypeError, ValueError):
        numbers = np.full(values.shape, np.nan)
    wrong = ~np.isin(numbers, (0.0, 1.0))
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise TaskError(
            f"y: {int(wrong.sum())} of {wrong.size} values are not 0 or 1, first "
            f"{str(values[row, column])[:80]!r} in row {row}, column {column}; expected a table of "
            "0 and 1, such as MultiLabelBinarizer makes"
        )
    return numbers == 1.0


def _single(values: Shaped[np.ndarray, " records"]) -> Labels:
    missing = np.array([_is_missing(value) for value in values.tolist()])
    if missing.any():
        raise TaskError(
            f"y: {int(missing.sum())} of {len(values)} records have no label, first row "
            f"{int(missing.argmax())}; leave these records out"
        )
    if values.dtype.kind == "f" and (values != np.round(values)).any():
        raise TaskError(
            "y holds numbers with fractions, which are not labels; for a regression, put "
            "ECGEncoder before a regressor of scikit-learn"
        )
    try:
        names, numbers = np.unique(values, return_inverse=True)
    except TypeError:
        raise TaskError(
            "y: labels are of several types; expected all text or all numbers"
        ) from None
    return Labels(names, numbers[:, None] == np.arange(len(names)), single=True)
