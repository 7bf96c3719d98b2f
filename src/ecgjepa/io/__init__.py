"""Read ECG files of any supported format into a `Record`."""

from pathlib import Path

from ecgjepa.errors import RecordFormatError
from ecgjepa.io.wfdb import read_wfdb
from ecgjepa.signals.record import Record


def read_record(path: str | Path, *, damaged: str = "raise") -> Record:
    """Read an ECG file.

    A WFDB record may be named by its header, its signal file, or without an ending.

    Args:
        path: The file.
        damaged: ``raise`` refuses samples that contradict the header's checksums; ``flag`` reads
            them and notes an issue.

    Raises:
        RecordFormatError: If the file is missing, damaged or of no known format.
    """
    path = Path(path)
    if path.is_dir():
        raise RecordFormatError(f"{path}: is a folder; expected one ECG file, such as {path}/x.hea")
    header = path if path.suffix == ".hea" else path.with_suffix(".hea")
    if not header.is_file():
        # A record name may hold a dot of its own.
        header = path.with_name(path.name + ".hea")
    if header.is_file():
        return read_wfdb(header, damaged=damaged)
    if not path.exists():
        raise RecordFormatError(
            f"{path}: no such file (nor a WFDB header beside it)", reason="missing_file"
        )
    raise RecordFormatError(
        f"{path}: format not recognised; expected a WFDB record, whose header "
        f"{path.with_suffix('.hea').name} should lie beside it"
    )
