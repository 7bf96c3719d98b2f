"""ECGs in plain arrays and tables, which a JSON file describes (see `description`).

``x.npy`` or ``x.npz`` (one array, or one named ``signal``) holds samples by leads, ``x.csv`` or
``x.parquet`` has a column a lead.
"""

import zipfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from ecgjepa.errors import LeadError, RecordFormatError
from ecgjepa.io.content import MAX_BYTES, make_record, read_bytes
from ecgjepa.io.description import EXAMPLE, Description, read_description
from ecgjepa.signals.leads import parse_lead
from ecgjepa.signals.record import Issue, Record


def read_array(path: Path) -> Record:
    """Read a ``.npy`` or ``.npz`` file; it is never unpickled.

    Returns:
        The leads in mV; what is no finite number is invalid.

    Raises:
        RecordFormatError: If it is not described, or its array is not as described.
        UnitError: If the unit is no voltage.
    """
    described = read_description(path)
    leads = described.leads
    if leads is None:
        raise RecordFormatError(f"{path}: its description names no leads; expected {EXAMPLE}")
    content = read_bytes(path)
    values = _parse_array(path, _npz_member(path) if content.startswith(b"PK") else content)
    if values.ndim != 2 or values.shape[1] != len(leads):
        raise RecordFormatError(
            f"{path}: its array has shape {values.shape}; expected (samples, {len(leads)}), a "
            f"column for each of {', '.join(leads)}"
        )
    return _as_record(path, values, leads, described)


def read_csv(path: Path) -> Record:
    """Read a ``.csv`` file with a column a lead; errors as `read_array`.

    Raises:
        LeadError: If a lead has no column, or no column is a lead.
    """
    from pyarrow import csv

    described = read_description(path)
    return _from_table(path, csv.read_csv(BytesIO(read_bytes(path))), described)


def read_parquet(path: Path) -> Record:
    """Read a ``.parquet`` file with a column a lead; errors as `read_csv`."""
    from pyarrow import parquet

    described = read_description(path)
    with parquet.ParquetFile(path) as file:
        # Runs of equal values take no room in the file.
        if 8 * file.metadata.num_rows * file.metadata.num_columns > MAX_BYTES:
            raise RecordFormatError(f"{path}: {file.metadata.num_rows:,} rows are too many")
        return _from_table(path, file.read(), described)


def _from_table(
    path: Path,
    table: Any,  # noqa: ANN401
    described: Description,
) -> Record:
    leads = described.leads or [name for name in table.column_names if parse_lead(name)]
    missing = [lead for lead in leads if lead not in table.column_names]
    if missing or not leads:
        raise LeadError(
            f"{path}: columns are {', '.join(table.column_names)}; expected "
            f"{', '.join(missing) or 'names of leads, such as I or V1'}"
        )
    values = np.column_stack([table[lead].to_numpy() for lead in leads])
    others = [name for name in table.column_names if name not in leads]
    issues = [Issue("other_channel", f"column {name!r} is not used") for name in others]
    return _as_record(path, values, leads, described, issues)


def _as_record(
    path: Path,
    values: np.ndarray,
    leads: Sequence[str],
    described: Description,
    issues: Sequence[Issue] = (),
) -> Record:
    if values.dtype.kind not in "iuf":
        raise RecordFormatError(f"{path}: holds {values.dtype} values; expected numbers")
    millivolt = values.astype(np.float64) * described.millivolt_per_unit
    return make_record(path, millivolt, leads, described.sampling_rate, issues=issues)


def _npz_member(path: Path) -> bytes:
    """Return the one array of a ``.npz`` file, or the one named signal, still coded."""
    with zipfile.ZipFile(path) as archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        name = "signal" if "signal" in members else next(iter(members), "")
        if name != "signal" and len(members) != 1:
            raise RecordFormatError(
                f"{path}: holds arrays {', '.join(members)}; expected one, or one named signal"
            )
        if members[name].file_size > MAX_BYTES:
            raise RecordFormatError(f"{path}: unpacks to {members[name].file_size:,} bytes")
        return archive.read(members[name])


def _parse_array(path: Path, content: bytes) -> np.ndarray:
    """Return the array of a ``.npy`` file's content, bounded by what is there."""
    stream = BytesIO(content)
    version = np.lib.format.read_magic(stream)
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }[version]
    shape, is_fortran, dtype = read_header(stream)
    if dtype.kind not in "iuf":
        raise RecordFormatError(f"{path}: holds {dtype} values; expected numbers")
    values = np.frombuffer(content, dtype, offset=stream.tell())
    if values.size != np.prod(shape, dtype=object):
        raise RecordFormatError(
            f"{path}: holds {values.size:,} values, but announces shape {shape}",
            reason="truncated",
        )
    return values.reshape(shape[::-1]).T if is_fortran else values.reshape(shape)
