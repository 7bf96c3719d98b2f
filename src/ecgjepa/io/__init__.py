"""Read ECG files of any supported format into a `Record`.

A file is recognised by what it holds, not by its name: an XML file says in its root element whether
it comes from GE, Philips or is an HL7 aECG. Only WFDB, whose header lies beside the samples, tables
of text and MFER without a preamble are known by their names. `ecgjepa.io.catalogue` lists all.
"""

from collections.abc import Callable
from pathlib import Path

from ecgjepa.errors import RecordFormatError
from ecgjepa.io.arrays import read_array, read_csv, read_parquet
from ecgjepa.io.catalogue import expected, not_read, packages
from ecgjepa.io.content import named_errors
from ecgjepa.io.description import is_described as is_described
from ecgjepa.io.devices import is_fhir as is_fhir
from ecgjepa.io.devices import recognise_device
from ecgjepa.io.dicom import read_dicom
from ecgjepa.io.edf import read_edf
from ecgjepa.io.wfdb import Damaged as Damaged
from ecgjepa.io.wfdb import read_wfdb_exact
from ecgjepa.io.xml import read_xml
from ecgjepa.signals.record import MicrovoltRecord, Record

# Endings under which single-file formats go, and the optional package that reads them.
PACKAGES = packages()
EXPECTED = expected()

_Reader = Callable[[Path], Record | MicrovoltRecord]


def read_record(path: str | Path, *, damaged: Damaged = "raise") -> Record:
    """Read an ECG file.

    A WFDB record may be named by its header, its signal file, or without an ending. DICOM, XML and
    EDF files need packages: ``pip install 'ecgjepa[formats]'``. Arrays and tables need a JSON file
    that describes them, see `ecgjepa.io.description`. `formats` lists what is read.

    Args:
        path: The file.
        damaged: ``raise`` refuses samples that contradict the file's own checksums and lengths;
            ``flag`` reads what is there and notes an issue; ``mask`` also marks it invalid. Only
            WFDB, SCP-ECG and ISHNE have checksums; other files are refused if they are cut short.

    Returns:
        Amplitudes in mV, with the file's name without ending as ``record_id``.

    Raises:
        RecordError: If the file is missing, damaged, of no known format, in no known unit, or
            needs a package that is not installed.

    Example:
        >>> import ecgjepa
        >>> record = ecgjepa.read_record("data/ptb-xl/records500/00000/00001_hr.hea")
        >>> record.leads[:3], record.sampling_rate, record.duration
        (('I', 'II', 'III'), 500.0, 10.0)
    """
    record = read_exact(path, damaged=damaged)
    return record.as_record() if isinstance(record, MicrovoltRecord) else record


def read_exact(path: str | Path, *, damaged: Damaged = "raise") -> Record | MicrovoltRecord:
    """Read an ECG file as `read_record`, but as integers where it holds whole microvolts."""
    path = Path(path)
    if path.is_dir():
        raise RecordFormatError(f"{path}: is a folder; expected one ECG file, such as {path}/x.hea")
    # The samples of a WFDB record could look like anything: its header decides.
    if path.suffix.lower() not in PACKAGES and (header := _wfdb_header(path)):
        return read_wfdb_exact(header, damaged=damaged)
    if not path.exists():
        raise RecordFormatError(
            f"{path}: no such file (nor a WFDB header beside it)", reason="missing_file"
        )
    kind, reader = _recognise(path, damaged)
    with named_errors(path, kind):
        return reader(path)


def _wfdb_header(path: Path) -> Path | None:
    header = path if path.suffix == ".hea" else path.with_suffix(".hea")
    if not header.is_file():
        # A record name may hold a dot of its own.
        header = path.with_name(path.name + ".hea")
    return header if header.is_file() else None


def _recognise(path: Path, damaged: Damaged) -> tuple[str, _Reader]:
    """Return a file's format and its reader."""
    with path.open("rb") as stream:
        head = stream.read(4096)
    text = head.removeprefix(b"\xef\xbb\xbf").replace(b"\0", b"").lstrip(b"\xff\xfe \t\r\n")
    if head[128:132] == b"DICM":
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
    if head.startswith(b"0       "):
        return "EDF", read_edf
    if head.startswith((b"\x93NUMPY", b"PK\x03\x04")):
        return "NumPy array", read_array
    if head.startswith(b"PAR1"):
        return "Parquet", read_parquet
    if path.suffix.lower() == ".csv":
        return "CSV", read_csv
    if header := _wfdb_header(path):  # an annotation file, whose ending is another format's
        return "WFDB", lambda _: read_wfdb_exact(header, damaged=damaged)
    raise RecordFormatError(
        f"{path}: format not recognised; expected {EXPECTED}; a WFDB header "
        f"{path.with_suffix('.hea').name} should lie beside its signal file"
    )
