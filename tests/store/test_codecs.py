import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import write_ptb_xl
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ecgjepa.checking.verify import verify
from ecgjepa.errors import StoreError
from ecgjepa.store import codecs
from ecgjepa.store.codecs import CODECS, decode, encode
from ecgjepa.store.prepare import prepare
from ecgjepa.store.reading import Store


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(CODECS),
    st.tuples(st.integers(1, 300), st.integers(1, 12)).flatmap(
        lambda shape: arrays(np.int16, shape)
    ),
)
def test_nothing_is_lost(codec, samples):
    again = decode(encode(samples, codec), codec, samples.shape[1])
    assert again.dtype == np.int16
    np.testing.assert_array_equal(again, samples)


def test_raw_is_what_the_store_promises():
    samples = np.array([[1, -2], [300, -32768]], np.int16)
    assert encode(samples, "raw") == b"\x01\x00\xfe\xff\x2c\x01\x00\x80"


@pytest.mark.parametrize("damage", [lambda b: b"", lambda b: b[:20], lambda b: b"x" * len(b)])
def test_damaged_records_are_named_errors(damage, rng):
    packed = encode(rng.integers(-500, 500, (200, 12)).astype(np.int16), "pcodec")
    with pytest.raises(StoreError, match="a packed record is damaged"):
        decode(damage(packed), "pcodec", 12)


def test_a_packed_store_holds_the_same_records(tmp_path, rng):
    source = write_ptb_xl(tmp_path / "source", records=20, seconds=2.0)
    for codec in CODECS:
        prepare({"ptb-xl": source}, tmp_path / codec, folds="all", codec=codec, records_per_shard=8)
        assert verify(tmp_path / codec).faults == []
    raw, packed = (Store(tmp_path / codec) for codec in CODECS)
    sizes = [
        sum(path.stat().st_size for path in (tmp_path / codec).glob("shard-*")) for codec in CODECS
    ]
    assert sizes[1] < 0.6 * sizes[0]
    rows, starts = rng.integers(0, 20, 50), rng.integers(0, 990, 50)
    windows = np.zeros((2, 50, 100, 12), np.int16)
    raw.read(rows, starts, windows[0])
    packed.read(rows, starts, windows[1])
    np.testing.assert_array_equal(windows[0], windows[1])
    same = ["record_id", "sha256", "sum_microvolt", "quality"]
    a, b = (pq.read_table(tmp_path / codec / "index.parquet", columns=same) for codec in CODECS)
    assert a == b


def test_an_unknown_codec(tmp_path):
    source = write_ptb_xl(tmp_path / "source", records=2, seconds=1.0)
    with pytest.raises(StoreError, match="unknown codec 'zip'"):
        codecs.check_codec("zip")
    with pytest.raises(Exception, match="codec"):
        prepare({"ptb-xl": source}, tmp_path / "s", codec="zip")


def test_without_the_package_the_error_says_what_to_install(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pcodec", None)
    with pytest.raises(StoreError, match=r"pip install 'ecgjepa\[pcodec\]'"):
        codecs.check_codec("pcodec")
