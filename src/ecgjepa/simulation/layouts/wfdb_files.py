"""WFDB records of 16-bit samples, written as the published databases write them.

Format: https://physionet.org/physiotools/wag/header-5.htm and signal-5.htm.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int16

from ecgjepa.files import naming_full_disk


def write_record(
    path: Path,
    digital: Int16[np.ndarray, "samples leads"],
    leads: Sequence[str],
    rate: int,
    *,
    gain: str,
    ending: str = ".dat",
    head: bytes = b"",
    signed_checksums: bool = False,
    stamp: str = "",
    comments: Sequence[str] = (),
) -> None:
    """Write a record: a header and one file of interleaved samples.

    Args:
        path: Without ending; its name is the record's.
        digital: Samples.
        leads: Names of the columns.
        rate: Sampling rate in Hz.
        gain: As the header spells it, e.g. ``1000.0(0)/mV``.
        ending: Ending of the signal file.
        head: What the signal file begins with.
        signed_checksums: Whether checksums range from -32768 rather than from 0.
        stamp: Time and date, as the header spells them.
        comments: Lines below the header's.

    Raises:
        DiskFullError: If there is no space left.
    """
    # The checksum is the sum of all samples modulo 2**16.
    sums = digital.sum(axis=0, dtype=np.int64)
    checksums = sums.astype(np.int16) if signed_checksums else sums & 0xFFFF
    storage = f"16+{len(head)}" if head else "16"
    lines = [f"{path.name} {len(leads)} {rate} {len(digital)} {stamp}".rstrip()]
    lines += [
        f"{path.name}{ending} {storage} {gain} 16 0 {first} {checksum} 0 {lead}"
        for first, checksum, lead in zip(digital[0], checksums, leads, strict=True)
    ]
    lines += [f"#{comment}" for comment in comments]
    # Plain writes: syncing each of thousands of small files would take longer than simulating
    # them, and nobody reads them before the database is complete.
    with naming_full_disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        content = head + digital.astype("<i2", copy=False).tobytes()
        path.with_name(f"{path.name}{ending}").write_bytes(content)
        path.with_name(f"{path.name}.hea").write_text("\n".join(lines) + "\n")
