#!/bin/sh
# wfdb 4.3.1 (Python): a header whose unit is written with the micro sign.
# Expected: units == ['µV'], or an error, since 1 µV a step is what the header says.
# Seen: units == ['V'], without a word: headers are read as ASCII and other bytes are dropped, so an
# amplitude of 1 µV is taken for 1 V, a factor of a million.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet 'wfdb==4.3.1'
cd "$folder"
venv/bin/python - <<'PYTHON'
from pathlib import Path

import numpy as np
import wfdb

np.arange(100, dtype="<i2").tofile("r.dat")
header = "r 1 500 100\nr.dat 16 1(0)/{}V 16 0 0 4950 0 II\n"
for encoding in ("utf-8", "latin-1"):
    Path("r.hea").write_bytes(header.format("µ").encode(encoding))
    record = wfdb.rdrecord("r")
    print(encoding, record.units, "sample 99:", record.p_signal[99, 0])
    assert record.units == ["V"], "the behaviour has changed"
PYTHON
