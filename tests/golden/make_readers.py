"""What the readers and the preparation for the store make of every real record at hand.

    PYTHONPATH=src:tests python tests/golden/make_readers.py REALDATA

Reading is exact arithmetic, so is preparing what needs neither filter nor resampling: digests. What
is filtered or resampled may differ in the last bit between processors: means and deviations.
"""

import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ecgjepa.databases import list_records, ptb_xl
from ecgjepa.databases.challenge_2021 import PARTS
from ecgjepa.databases.listing import Listing
from ecgjepa.signals.microvolt import from_microvolt
from ecgjepa.signals.preprocessing import PreprocessingConfig, prepare_record
from ecgjepa.signals.record import Record

FILE = Path(__file__).with_name("readers.json")
STORE_RATE = 500.0


def listings(real_data: Path) -> Iterator[tuple[str, Listing]]:
    """Yield name and listing of every copy of a database below ``real_data``."""
    for rate in (500, 100):
        yield f"ptb-xl-{rate}-hz", ptb_xl.list_records(real_data / "ptb-xl", source_rate=rate)
    challenge = real_data / "challenge-2021"
    for name in sorted([*PARTS, "challenge-ptb-xl"]):
        if name != "st-petersburg":  # none at hand
            yield name, list_records(name, challenge)
    yield "code-15", list_records("code-15", real_data / "code-15")
    yield "formats", list_records("formats", real_data / "formats")


def snapshot(listing: Listing) -> dict[str, Any]:
    """Return a database's records, each as digests of what was read and of what is stored."""
    config = PreprocessingConfig(sampling_rate=STORE_RATE, highpass_hz=listing.highpass_hz)
    records = {}
    for entry in listing.entries():
        record = listing.read(entry)
        facts = {"read": _digest_of_reading(record)}
        if record.sampling_rate != 100:  # upsampled files are in nobody's store
            facts |= _facts_of_preparing(record, config)
        records[entry.record_id] = facts
    return {"digest": combined(records), "records": records}


def combined(records: dict[str, dict[str, Any]]) -> str:
    """Return one digest for all that was read."""
    joined = json.dumps({name: facts["read"] for name, facts in records.items()}, sort_keys=True)
    return hashlib.sha256(joined.encode()).hexdigest()


def _digest_of_reading(record: Record) -> str:
    """Return a digest of amplitudes, valid mask, leads, rate, length and issues."""
    codes = [(issue.code, issue.lead) for issue in record.issues]
    head = [record.leads, record.sampling_rate, record.num_samples, codes]
    digest = hashlib.sha256(json.dumps(head).encode())
    digest.update(np.ascontiguousarray(record.signal, "<f4").tobytes())
    digest.update(np.ascontiguousarray(record.valid).tobytes())
    return digest.hexdigest()[:12]


def _facts_of_preparing(record: Record, config: PreprocessingConfig) -> dict[str, Any]:
    prepared = prepare_record(record, config)
    if record.sampling_rate == STORE_RATE and config.highpass_hz is None:
        codes = [(issue.code, issue.lead) for issue in prepared.issues]
        digest = hashlib.sha256(json.dumps(codes).encode())
        digest.update(np.ascontiguousarray(prepared.samples, "<i2").tobytes())
        return {"prepared": digest.hexdigest()[:12]}
    signal, valid = from_microvolt(prepared.samples)
    exact = signal.astype(np.float64)
    return {
        "num_samples": len(signal),
        "num_valid": int(valid.sum()),
        "mean_mv": exact.mean(axis=0).round(4).tolist(),
        "std_mv": exact.std(axis=0).round(4).tolist(),
    }


def packed(real_data: Path, folder: Path) -> Iterator[tuple[str, Listing]]:
    """Unpack what lies packed in ``real_data`` into ``folder``, and yield name and listing."""
    script = real_data / "unpack.py"
    subprocess.run([sys.executable, script, folder], check=True, capture_output=True)
    yield "ptb-xl-with-extra", ptb_xl.list_records(folder / "ptb-xl", source_rate=500)
    archive = folder / "cinc-2011"
    yield "cinc-2011", list_records("cinc-2011", archive, archive / "labels.csv")


def digest_of_all(listing: Listing) -> str:
    """Return one digest for all that was read and stored of a database."""
    return hashlib.sha256(json.dumps(snapshot(listing)).encode()).hexdigest()


def main(real_data: Path) -> None:
    found: dict[str, Any] = {name: snapshot(listing) for name, listing in listings(real_data)}
    with tempfile.TemporaryDirectory() as folder:
        for name, listing in packed(real_data, Path(folder)):
            found[name] = {"num_records": len(listing), "digest": digest_of_all(listing)}
    FILE.write_text(_one_line_a_record(found))


def _one_line_a_record(found: dict[str, Any]) -> str:
    """Return JSON whose differences can be read."""
    parts = []
    for name, of_database in found.items():
        head = {key: value for key, value in of_database.items() if key != "records"}
        lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in head.items()]
        if records := of_database.get("records"):
            rows = [f"{json.dumps(key)}: {json.dumps(facts)}" for key, facts in records.items()]
            lines.append('"records": {\n' + ",\n".join(rows) + "\n}")
        parts.append(f"{json.dumps(name)}: {{\n" + ",\n".join(lines) + "\n}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
