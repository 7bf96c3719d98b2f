"""Read ECG files of any supported format into a `Record`."""

from pathlib import Path

from ecgjepa.errors import RecordFormatError
from ecgjepa.io.wfdb import Damaged as Damaged
from ecgjepa.io.wfdb import read_wfdb_exact
from ecgjepa.signals.record import MicrovoltRecord, Record


def read_record(path: str | Path, *, damaged: Damaged = "raise") -> Record:
    """Read an ECG file.

    A WFDB record may be named by its header, its signal file, or without an ending.

    Args:
        path: The file.
        damaged: ``raise`` refuses samples that contradict the file's own checksums and lengths;
            ``flag`` reads what is there and notes an issue; ``mask`` also marks it invalid.

    Raises:
        RecordFormatError: If the file is missing, damaged or of no known format.
    """
    record = read_exact(path, damaged=damaged)
    return record.as_record() if isinstance(record, MicrovoltRecord) else record


def read_exact(path: str | Path, *, damaged: Damaged = "raise") -> Record | MicrovoltRecord:
    """Read an ECG file as `read_record`, but as integers where it holds whole microvolts."""
    path = Path(path)
    if path.is_dir():
        raise RecordFormatError(f"{path}: is a folder; expected one ECG file, such as {path}/x.hea")
    header = path if path.suffix == ".hea" else path.with_suffix(".hea")
    if not header.is_file():
        # A record name may hold a dot of its own.
        header = path.with_name(path.name + ".hea")
    if header.is_file():
        return read_wfdb_exact(header, damaged=damaged)
    if not path.exists():
        raise RecordFormatError(
            f"{path}: no such file (nor a WFDB header beside it)", reason="missing_file"
        )
    raise RecordFormatError(
        f"{path}: format not recognised; expected a WFDB record, whose header "
        f"{path.with_suffix('.hea').name} should lie beside it"
    )
