"""Recorders' formats, mutated: an error of ours or a sound record comes out, quickly.

The mutations are drawn from a seed, so that every run tries the same ones. Half of the mutants of
formats with checksums get new ones: what is behind the checksum must be as sound as what is before.
"""

import os
import random
import struct
import time
import tracemalloc
from binascii import crc_hqx

import numpy as np
import pytest
from conftest import toy_ecg
from device_files import (
    write_cardiosoft,
    write_fhir,
    write_ishne,
    write_mfer,
    write_mortara,
    write_schiller,
)
from scp_files import Beat, Code, seal, write_scp

from ecgjepa import read_record
from ecgjepa.errors import EcgjepaError
from ecgjepa.io.devices import mfer_tags

# Of each kind; a campaign sets more.
NUM_MUTANTS = int(os.environ.get("ECGJEPA_MUTANTS", "60"))
# Against what never ends or fills the memory; the machine may be busy.
MOST_SECONDS, MOST_BYTES = 5.0, 50_000_000
WORDS = (
    b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\xff\xff",
    b"\x80", b"\0", b"-1", b"1e400", b"nan", b"9" * 30, b'"', b"<", b"{", b"[" * 2000,
    b"\x3f\x00", b"\x67\x7f",
)  # fmt: skip


def subtracted(path, digital):
    beats = [Beat(0, 21, 40, 60), Beat(1, 61, 70, 80)]
    return write_scp(path, digital, reference=digital[:50] // 2, fiducial=25, beats=beats)


def with_table(path, digital):
    table = [Code("0", 4, 0), Code("10", 8, 0), Code("11", 16, 0)]
    return write_scp(path, digital, table=table)


def seal_ishne(content: bytes) -> bytes:
    if len(content) < 522:
        return content
    size = max(struct.unpack_from("<i", content, 10)[0], 0)
    sealed = struct.pack("<H", crc_hqx(content[10 : 522 + size], 0xFFFF))
    return content[:8] + sealed + content[10:]


def leave(content: bytes) -> bytes:
    return content


# Kind: file name, writer, and what makes checksums fit again.
KINDS = {
    "scp": ("x.scp", write_scp, seal),
    "scp_plain": ("x.scp", lambda path, d: write_scp(path, d, table=None, order=0), seal),
    "scp_table": ("x.scp", with_table, seal),
    "scp_beats": ("x.scp", subtracted, seal),
    "ishne": ("x.ecg", write_ishne, seal_ishne),
    "mfer": ("x.mwf", lambda path, d: write_mfer(path, d, block=20), leave),
    "fhir": ("x.json", write_fhir, leave),
    "cardiosoft": ("x.xml", write_cardiosoft, leave),
    "mortara": ("x.xml", write_mortara, leave),
    "schiller": ("x.xml", write_schiller, leave),
}


def mutate(content: bytes, rng: random.Random) -> bytes:
    """Cut, flip, overwrite, delete or insert; mostly where headers are."""
    changed = bytearray(content)
    for _ in range(rng.randint(1, 3)):
        end = min(len(changed), rng.choice((700, 700, len(content))))
        at, kind = rng.randrange(end + 1), rng.random()
        if kind < 0.1:
            del changed[at:]
        elif kind < 0.5:
            changed[at : at + 1] = bytes([rng.randrange(256)])
        elif kind < 0.7:
            word = rng.choice(WORDS)
            changed[at : at + len(word)] = word
        elif kind < 0.85:
            del changed[at : at + rng.randint(1, 40)]
        else:
            changed[at:at] = rng.choice(WORDS)
    return bytes(changed)


def read_or_message(path, damaged):
    try:
        return read_record(path, damaged=damaged)
    except EcgjepaError as error:
        return str(error)


@pytest.mark.parametrize("kind", KINDS)
def test_mutants_are_refused_or_sound(tmp_path, kind):
    name, write, repair = KINDS[kind]
    path = write(tmp_path / name, toy_ecg(np.random.default_rng(3), num_samples=80))
    content, rng = path.read_bytes(), random.Random(kind)
    began, refused, peak = time.monotonic(), 0, 0
    for number in range(NUM_MUTANTS):
        mutant = mutate(content, rng)
        path.write_bytes(repair(mutant) if number % 2 else mutant)
        tracemalloc.start()
        record = read_or_message(path, rng.choice(("raise", "flag", "mask")))
        peak = max(peak, tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        if isinstance(record, str):
            refused += 1
            assert name in record
            continue
        assert np.isfinite(record.signal).all()
        assert not record.signal[~record.valid].any()
        assert record.num_samples <= 4 * len(mutant)
    assert peak < MOST_BYTES
    assert time.monotonic() - began < NUM_MUTANTS * MOST_SECONDS
    assert refused > NUM_MUTANTS // 10


def test_announcing_much_takes_no_memory(tmp_path):
    """What a header announces is not what is allocated."""
    digital = toy_ecg(np.random.default_rng(3), num_samples=60)
    files = (
        write_scp(tmp_path / "x.scp", digital, last=900_000),
        write_scp(tmp_path / "y.scp", digital, last=2**32 - 1),
        write_ishne(tmp_path / "x.ecg", digital, announced=2**31 - 1),
        write_mfer(tmp_path / "x.mwf", digital, common=b"\x04\x04\xff\xff\xff\x7f"),
        write_mfer(tmp_path / "y.mwf", digital, own={0: b"\x04\x08" + b"\xff" * 8}),
        write_mfer(tmp_path / "z.mwf", digital, end=b"\x67\x02" * 30),
    )
    tracemalloc.start()
    for path in files:
        with pytest.raises(EcgjepaError, match=path.name):
            read_record(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000


def test_much_padding_and_many_definitions_end(tmp_path, monkeypatch):
    digital = toy_ecg(np.random.default_rng(3), num_samples=60)
    path = write_mfer(tmp_path / "x.mwf", digital, end=b"\0" * 3_000_000 + b"\x80\0")
    assert read_record(path).num_samples == 60
    monkeypatch.setattr(mfer_tags, "_MOST_DEFINITIONS", 2000)  # of 200,000
    path = write_mfer(tmp_path / "y.mwf", digital, end=b"\x02\0" * 2001)
    with pytest.raises(EcgjepaError, match=r"more than 2,000 definitions"):
        read_record(path)
