"""Read ECG files of any supported format into a `Record`.

A file is recognised by what it holds, not by its name: an XML file says in its root element whether
it comes from GE, Philips or is an HL7 aECG. Only WFDB, whose header lies beside the samples, tables
of text and MFER without a preamble are known by their names. `ecgjepa.io.catalogue` lists all.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from ecgjepa.errors import ConfigError, RecordFormatError
from ecgjepa.io.arrays.description import is_described as is_described
from ecgjepa.io.arrays.hdf5 import read_hdf5
from ecgjepa.io.arrays.matlab import read_matlab
from ecgjepa.io.arrays.numpy_files import read_array
from ecgjepa.io.arrays.several import keys_in as keys_in
from ecgjepa.io.arrays.tables import read_parquet, read_text
from ecgjepa.io.catalogue import DESCRIBABLE as DESCRIBABLE
from ecgjepa.io.catalogue import DESCRIBED_ONLY as DESCRIBED_ONLY
from ecgjepa.io.catalogue import expected, not_read, packages
from ecgjepa.io.content import named_errors
from ecgjepa.io.devices import is_fhir as is_fhir
from ecgjepa.io.devices import recognise_device
from ecgjepa.io.dicom import is_dicom, read_dicom
from ecgjepa.io.edf import begins_as_edf, read_edf
from ecgjepa.io.long.opening import open_long
from ecgjepa.io.opening import ending, file_and_key, is_regular, read_head, record_name
from ecgjepa.io.uploads import Readable, Upload, content_of, file_name
from ecgjepa.io.wfdb import Damaged as Damaged
from ecgjepa.io.wfdb import open_wfdb, read_wfdb_exact
from ecgjepa.io.xml import read_xml
from ecgjepa.memory import keep_freed
from ecgjepa.signals.record import LongRecord, MicrovoltRecord, Record

# Endings under which single-file formats go, and the optional package that reads them.
PACKAGES = packages()
EXPECTED = expected()

# Most who read one record read many.
keep_freed()

_Reader = Callable[..., Record | MicrovoltRecord]
# Formats whose files may hold several records.
_OF_MANY = ("NumPy array", "HDF5", "MATLAB")
# A MATLAB file may be the signals of a WFDB record: its header decides.
_MAYBE_SIGNALS = ".mat"


def read_record(
    path: str | Path | bytes | bytearray | memoryview | Readable,
    *,
    name: str | None = None,
    damaged: Damaged = "raise",
    description: str | Path | None = None,
) -> Record:
    """Read an ECG file, or its content in memory.

    A WFDB record may be named by its header, its signal file, or without an ending. DICOM, XML and
    EDF files need packages: ``pip install 'ecgjepa[formats]'``. Arrays and tables need a file that
    describes them, see `ecgjepa.io.arrays.description`. Any single file may be packed with gzip.
    `formats` lists what is read.

    Content in memory is written to a temporary folder that only this user can read, and removed. It
    is bounded as files are. A WFDB record has several files, so it cannot be read so.

    Args:
        path: The file; of one with several records, one of `records_in`. Or its content: bytes, or
            a binary stream, which is read to its end.
        name: File name of content in memory, such as ``x.csv``: tables of text are known by it.
        damaged: ``raise`` refuses samples that contradict the file's own checksums and lengths;
            ``flag`` reads what is there and notes an issue; ``mask`` also marks it invalid. Only
            WFDB, SCP-ECG and ISHNE have checksums; other files are refused if they are cut short.
        description: File that describes an array, a table or the channels of an EDF; None for
            the one beside it.

    Returns:
        Amplitudes in mV, with the file's name without ending as ``record_id``.

    Raises:
        RecordError: If the file is missing, damaged, of no known format, in no known unit, or
            needs a package that is not installed; or if content is the header of a WFDB record.

    Example:
        >>> import ecgjepa
        >>> record = ecgjepa.read_record("data/ptb-xl/records500/00000/00001_hr.hea")
        >>> record.leads[:3], record.sampling_rate, record.duration
        (('I', 'II', 'III'), 500.0, 10.0)
    """
    if not isinstance(path, str | os.PathLike):
        with Upload(content_of(path, file_name(name)), name) as upload:
            found = read_exact(upload.path, damaged=damaged, description=description)
        record = upload.renamed(found)
    elif name is not None:
        raise ConfigError(f"{path}: a file has its own name; name is for content in memory")
    else:
        record = read_exact(path, damaged=damaged, description=description)
    return record.as_record() if isinstance(record, MicrovoltRecord) else record


def read_exact(
    path: str | Path, *, damaged: Damaged = "raise", description: str | Path | None = None
) -> Record | MicrovoltRecord:
    """Read an ECG file as `read_record`, but as integers where it holds whole microvolts."""
    record = _read(path, damaged, description, in_pieces=False)
    assert not isinstance(record, LongRecord), "it was not to be read in pieces"
    return record


def open_record(
    path: str | Path,
    *,
    damaged: Damaged = "raise",
    description: str | Path | None = None,
    is_verified: bool = True,
) -> Record | MicrovoltRecord | LongRecord:
    """Read an ECG file as `read_exact`, or a long recording in pieces, where its format allows it.

    Args:
        path: The file.
        damaged: See `read_record`.
        description: See `read_record`.
        is_verified: Whether checksums of a long recording are compared, for which all of it is
            read; that they were not is noted as an issue.

    Raises:
        RecordError: As `read_record`; later, if a file is changed while it is read in pieces.
    """
    opened = partial(open_wfdb, is_verified=is_verified)
    return _read(path, damaged, description, in_pieces=True, open_wfdb=opened)


def _read(
    path: str | Path,
    damaged: Damaged,
    description: str | Path | None,
    *,
    in_pieces: bool,
    open_wfdb: Callable[..., Record | MicrovoltRecord | LongRecord] = open_wfdb,
) -> Record | MicrovoltRecord | LongRecord:
    read_wfdb = open_wfdb if in_pieces else read_wfdb_exact
    path, key = file_and_key(path if isinstance(path, Path) else Path(path))
    if description is None and key is None and path.suffix == ".hea" and is_regular(path):
        return read_wfdb(path, damaged=damaged)  # most records: nothing else to look for
    if path.is_dir():
        raise RecordFormatError(f"{path}: is a folder; expected one ECG file, such as {path}/x.hea")
    # The samples of a WFDB record could look like anything: its header decides.
    place = None if description is None else Path(description)
    if place is None and key is None and (header := header_of(path)):
        return read_wfdb(header, damaged=damaged)
    if not path.exists():
        raise RecordFormatError(
            f"{path}: no such file (nor a WFDB header beside it)", reason="missing_file"
        )
    kind, reader = _recognise(path, damaged, place)
    if in_pieces and key is None and (long := open_long(kind, path, damaged, place)):
        return long
    if key is None:
        with named_errors(path, kind):
            return reader(path)
    if kind not in _OF_MANY:
        raise RecordFormatError(
            f"{path}#{key[:100]}: no such file, and {path.name} ({kind}) holds one record",
            reason="missing_file",
        )
    with named_errors(path, kind):
        record = reader(path, key=key)
        return replace(record, record_id=f"{record_name(path)}#{key}", source=f"{path}#{key}")


def records_in(path: str | Path, *, description: str | Path | None = None) -> list[str]:
    """Return the names under which `read_record` reads the records of a file, in their order.

    Args:
        path: The file.
        description: File that describes it; None for the one beside it.

    Returns:
        ``["x.npy#0", "x.npy#1", ...]`` for a file of several records, else the file itself; the
        file itself too if it cannot be read, which reading it explains.

    Example:
        >>> import ecgjepa
        >>> ecgjepa.io.records_in("data/ptb-xl/records500/00000/00001_hr.hea")
        ['data/ptb-xl/records500/00000/00001_hr.hea']
    """
    keys = keys_in(Path(path), None if description is None else Path(description))
    return [f"{path}#{key}" for key in keys] or [str(path)]


def header_of(path: Path) -> Path | None:
    """Return the header of the WFDB record that a path names, or None if it names no such record.

    The path may be that of the header, of a signal file, or have no ending.
    """
    is_other = (own := ending(path.name)) in PACKAGES and own != _MAYBE_SIGNALS
    # The record x of x.npy#0 is not that of x.hea.
    is_part = "#" in str(path) and file_and_key(path)[1] is not None
    return None if is_other or is_part else _wfdb_header(path)


def _wfdb_header(path: Path) -> Path | None:
    header = path if path.suffix == ".hea" else path.with_suffix(".hea")
    if is_regular(header):
        return header
    # A record name may hold a dot of its own.
    header = path.with_name(path.name + ".hea")
    return header if is_regular(header) else None


def _recognise(path: Path, damaged: Damaged, place: Path | None) -> tuple[str, _Reader]:
    """Return a file's format and its reader; ``place`` is the description that was given."""
    head, own = read_head(path), ending(path.name)
    if not head:
        raise RecordFormatError(f"{path}: is empty")
    if found := _described(head, own, place):
        return found
    if place is not None:
        raise RecordFormatError(
            f"{path}: is no array, table or EDF, so the description {place} does not fit it"
        )
    text = head.removeprefix(b"\xef\xbb\xbf").replace(b"\0", b"").lstrip(b"\xff\xfe \t\r\n")
    if is_dicom(head):
        return "DICOM", read_dicom
    if found := recognise_device(path, head, damaged):
        return found
    if unread := not_read(head):
        raise RecordFormatError(
            f"{path}: is {unread.name}, which is not read: {unread.advice}",
            reason="unsupported_format",
        )
    if text.startswith(b"<"):
        return "XML", read_xml
    if header := _wfdb_header(path):  # an annotation file, whose ending is another format's
        return "WFDB", lambda _: read_wfdb_exact(header, damaged=damaged)
    header_lacks = f"; if it holds signals of WFDB, {path.with_suffix('.hea').name} is missing"
    raise RecordFormatError(
        f"{path}: format not recognised by its content; 'ecgjepa formats' lists what is read"
        + ("" if own in PACKAGES and own != _MAYBE_SIGNALS else header_lacks)
    )


def _described(head: bytes, own: str, place: Path | None) -> tuple[str, _Reader] | None:
    """Return the format and reader of a file that a description explains, or None."""
    if head.startswith((b"\x93NUMPY", b"PK\x03\x04")):
        return "NumPy array", partial(read_array, place=place)
    if head.startswith(b"PAR1"):
        return "Parquet", partial(read_parquet, place=place)
    if b"\x89HDF\r\n\x1a\n" in (head[:8], head[512:520]):  # MATLAB puts 512 bytes before it
        return "HDF5", partial(read_hdf5, place=place)
    if head.startswith(b"MATLAB 5.0") or own == ".mat":
        return "MATLAB", partial(read_matlab, place=place)
    if begins_as_edf(head):
        return "EDF", partial(read_edf, place=place)
    is_table = own in (".csv", ".tsv", ".txt") or (place is not None and own not in PACKAGES)
    return ("table", partial(read_text, place=place)) if is_table else None
