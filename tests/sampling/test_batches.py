import numpy as np
import pytest
from conftest import write_ptb_xl

from ecgjepa.config import load_preset
from ecgjepa.errors import ConfigError, StoreError
from ecgjepa.sampling.batches import BatchReader
from ecgjepa.sampling.mixture import Mixture, records_rng
from ecgjepa.signals.preprocessing import PreprocessingConfig
from ecgjepa.store.prepare import prepare
from ecgjepa.store.reading import Store

SMALL = ["train.batch_size=12", "data.window_seconds=2", "mask.min_block_size=2"]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixture")
    source = write_ptb_xl(folder / "source", records=30, seconds=3.0)
    prepare(
        {"ptb-xl": source},
        folder / "store",
        folds="all",
        preprocessing=PreprocessingConfig(sampling_rate=100.0),
        records_per_shard=11,
    )
    return Store(folder / "store")


def same(a, b) -> bool:
    return all(x.shape == y.shape and (x == y).all() for x, y in zip(a, b, strict=True))


def test_a_batch_is_a_function_of_seed_and_step(store):
    config = load_preset("tiny", SMALL)
    one, two = BatchReader(store, config), BatchReader(store, config)
    two.read(3, 0)  # what was read before does not matter
    assert same(one.read(7, 0), two.read(7, 0))
    assert not same(one.read(7, 0), one.read(8, 0))
    assert not same(one.read(7, 0), one.read(7, 1))
    other = BatchReader(store, load_preset("tiny", [*SMALL, "train.seed=1"]))
    assert not same(one.read(7, 0), other.read(7, 0))


def test_crops_are_what_the_store_holds(store):
    config = load_preset("tiny", SMALL)
    batch = BatchReader(store, config).read(0, 0)
    draw = Mixture(store, config.data).draw(records_rng(0, 0, 0), 12)
    for window, row, start in zip(batch.signal.numpy(), draw.rows, draw.starts, strict=True):
        np.testing.assert_array_equal(window, store.read_record(int(row))[start : start + 200])
    assert (draw.starts + 200 <= store.num_samples[draw.rows]).all()
    assert len(set(draw.starts.tolist())) > 5


def test_reading_ahead_changes_nothing(store):
    config = load_preset("tiny", [*SMALL, "train.gradient_accumulation_steps=3"])
    reader = BatchReader(store, config)
    ahead = list(reader.steps(4, 9))
    assert [len(parts) for parts in ahead] == [3] * 5
    for step, parts in enumerate(ahead, start=4):
        for part, batch in enumerate(parts):
            assert len(batch.signal) == 4
            assert same(batch, reader.read(step, part))


def test_databases_are_drawn_by_weight(store):
    """Two databases of different size, at weights that say the opposite."""
    both = Store(store.path)
    both.database_number = np.array([0] * 25 + [1] * 5, np.int16)
    summary = both.manifest.databases["ptb-xl"]
    both.manifest = both.manifest.model_copy(
        update={"databases": {"ptb-xl": summary, "small": summary}}
    )
    mixture = Mixture(
        both, load_preset("tiny", [*SMALL, "data.weights={ptb-xl: 1, small: 3}"]).data
    )
    assert mixture.weights == {"ptb-xl": 0.25, "small": 0.75}
    rows = mixture.draw(np.random.default_rng(0), 30_000).rows
    counts = np.bincount(rows, minlength=30) / 30_000
    np.testing.assert_allclose(counts[:25], 0.25 / 25, atol=0.003)
    np.testing.assert_allclose(counts[25:], 0.75 / 5, atol=0.01)
    by_size = Mixture(both, load_preset("tiny", SMALL).data)
    assert by_size.weights == {"ptb-xl": 25 / 30, "small": 5 / 30}


def test_records_shorter_than_a_window_are_counted_out(store):
    config = load_preset("tiny", ["data.window_seconds=3"])
    assert Mixture(store, config.data).num_too_short == 0
    with pytest.raises(StoreError, match="no record of ptb-xl is as long as a training window"):
        Mixture(store, load_preset("tiny", ["data.window_seconds=5"]).data)


def test_another_rate_is_refused_with_what_to_do(store):
    config = load_preset("paper-vit-xs-ptbxl")
    with pytest.raises(StoreError, match=r"holds 100 Hz, .* needs 500 Hz; .*--sampling-rate 500"):
        Mixture(store, config.data)


def test_weights_of_absent_databases_are_refused(store):
    config = load_preset("tiny", ["data.weights={mimic-iv-ecg: 0.7, ptb-xl: 0.3}"])
    with pytest.raises(ConfigError, match=r"names mimic-iv-ecg, but .* holds only ptb-xl"):
        Mixture(store, config.data)


@pytest.mark.parametrize("weight", ["-1", ".nan", ".inf"])
def test_impossible_weights_are_refused(store, weight):
    with pytest.raises(ConfigError, match="negative or infinite"):
        Mixture(store, load_preset("tiny", [f"data.weights={{ptb-xl: {weight}}}"]).data)


def test_other_leads_are_refused(store):
    config = load_preset("tiny", ["data.leads=[I, II]", "encoder.num_leads=2"])
    with pytest.raises(StoreError, match="but the preset needs I, II"):
        Mixture(store, config.data)
