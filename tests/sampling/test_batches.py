from threading import Semaphore

import numpy as np
import pytest
import torch
from conftest import write_ptb_xl

from ecgjepa.config import load_preset
from ecgjepa.databases.paper_statistics import PAPER_STATISTICS
from ecgjepa.errors import ConfigError, DatabaseError, StoreError
from ecgjepa.objectives.build import objective_of
from ecgjepa.sampling.batches import BatchReader, normalisation_tables
from ecgjepa.sampling.mixture import Mixture
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


def reader_of(store, *overrides, **options) -> BatchReader:
    config = load_preset("tiny", [*SMALL, *overrides])
    return BatchReader(store, config, objective_of(config).draw, **options)


def tensors(batch) -> list[torch.Tensor]:
    return [batch.signal, batch.database, *batch.inputs]


def same(a, b) -> bool:
    return all(
        x.shape == y.shape and (x == y).all() for x, y in zip(tensors(a), tensors(b), strict=True)
    )


def test_a_batch_is_a_function_of_seed_and_step(store):
    one, two = reader_of(store), reader_of(store)
    two.read(3, 0)  # what was read before does not matter
    assert same(one.read(7, 0), two.read(7, 0))
    assert not same(one.read(7, 0), one.read(8, 0))
    other = reader_of(store, "train.seed=1")
    assert not same(one.read(7, 0), other.read(7, 0))


def test_crops_are_what_the_store_holds(store):
    config = load_preset("tiny", SMALL)
    batch = BatchReader(store, config, objective_of(config).draw).read(0, 0)
    draw = Mixture(store, config.data).draw(0, 0, 12)
    for window, row, start in zip(batch.signal.numpy(), draw.rows, draw.starts, strict=True):
        np.testing.assert_array_equal(window, store.read_record(int(row))[start : start + 200])
    assert (draw.starts + 200 <= store.num_samples[draw.rows]).all()
    assert len(set(draw.starts.tolist())) > 5


def test_reading_ahead_changes_nothing(store):
    reader = reader_of(store, "train.gradient_accumulation_steps=3")
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
    rows = mixture.draw(0, 0, 30_000).rows
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


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ("-1", "greater than or equal to 0, found -1"),
        (".nan", "finite number, found nan"),
        (".inf", "finite number, found inf"),
    ],
)
def test_impossible_weights_are_refused(weight, message):
    with pytest.raises(ConfigError, match=rf"data\.weights\.ptb-xl: .*{message}"):
        load_preset("tiny", [f"data.weights={{ptb-xl: {weight}}}"])


def test_other_leads_are_refused(store):
    config = load_preset("tiny", ["data.leads=[I, II]", "encoder.num_leads=2"])
    with pytest.raises(StoreError, match="but the preset needs I, II"):
        Mixture(store, config.data)


# ---------------------------------------------------------------- processes and parts


@pytest.mark.parametrize(
    "choice",
    [
        ["data.sampling=with-replacement"],
        ["data.sampling=shuffle"],
        ["encoder.lead_patches=true", "train.lead_dropout=0.5", "mask.sampler=uniform"],
    ],
)
@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_processes_share_the_batch_of_one(store, world_size, parts, choice):
    """Records, crops and masks, bit for bit and in order."""
    overrides = [f"train.gradient_accumulation_steps={parts}", *choice]
    alone = reader_of(store, *overrides)
    shared = [
        reader_of(store, *overrides, rank=rank, world_size=world_size) for rank in range(world_size)
    ]
    for part in range(parts):
        batches = [reader.read(5, part) for reader in shared]
        assert {len(batch.signal) for batch in batches} == {12 // parts // world_size}
        for whole, *shares in zip(
            tensors(alone.read(5, part)), *map(tensors, batches), strict=True
        ):
            assert torch.equal(whole, torch.cat(shares))


def test_parts_share_the_records_of_a_step(store):
    """Accumulating gradients changes the masks (one share of patches per part), not the records."""
    whole = reader_of(store).read(2, 0)
    reader = reader_of(store, "train.gradient_accumulation_steps=3")
    parts = [reader.read(2, part) for part in range(3)]
    assert torch.equal(whole.signal, torch.cat([part.signal for part in parts]))
    assert not torch.equal(parts[0].inputs[0], parts[1].inputs[0])


def test_processes_that_cannot_share_evenly_are_refused(store):
    with pytest.raises(ConfigError, match="12 in 2 parts is not a multiple of 4 processes"):
        reader_of(store, "train.gradient_accumulation_steps=2", rank=0, world_size=4)


# ---------------------------------------------------------------- reused buffers


def test_reused_buffers_hold_what_new_ones_do(store):
    reader = reader_of(store, "train.gradient_accumulation_steps=2", pin_memory=True)
    for step, parts in enumerate(reader.steps(3, 11), start=3):
        for part, batch in enumerate(parts):
            assert same(batch, reader.read(step, part))


def test_a_buffer_is_left_alone_until_the_next_step_is_asked_for(store, monkeypatch):
    """Three take turns: while one is computed with, another is filled, and one rests."""
    reader = reader_of(store, pin_memory=True)
    filled: list[int] = []
    read, ready = Store.read, Semaphore(0)

    def note(self, rows, starts, out):
        filled.append(out.ctypes.data)
        read(self, rows, starts, out)
        ready.release()

    monkeypatch.setattr(Store, "read", note)
    for step, (batch,) in enumerate(reader.steps(0, 8)):
        ready.acquire()
        if step < 7:  # the step after this one has been read before this one is used
            assert ready.acquire(timeout=10)
            ready.release()
        assert batch.signal.data_ptr() == filled[step]
        assert len(filled) == min(step + 2, 8)
    assert len(set(filled)) == 3
    assert filled == (filled[:3] * 3)[:8]


def test_constants_of_the_store_or_of_the_paper(store):
    (mean,), (std,) = normalisation_tables(store)
    assert tuple(std) == pytest.approx(store.manifest.databases["ptb-xl"].std)
    (mean,), (std,) = normalisation_tables(store, "paper")
    assert (tuple(mean), tuple(std)) == (
        pytest.approx(PAPER_STATISTICS["ptb-xl"].mean),
        pytest.approx(PAPER_STATISTICS["ptb-xl"].std),
    )


def test_constants_of_the_paper_follow_the_leads_and_need_its_databases(tmp_path):
    source = write_ptb_xl(tmp_path / "source", records=4, seconds=2.0)
    leads = PreprocessingConfig(sampling_rate=100.0, leads=("V2", "I"))
    prepare({"ptb-xl": source}, tmp_path / "two", folds="all", preprocessing=leads)
    _, std = normalisation_tables(Store(tmp_path / "two"), "paper")
    np.testing.assert_allclose(std, [[0.338, 0.191]], rtol=1e-6)
    (source / "ptbxl_database.csv").unlink()
    (source / "scp_statements.csv").unlink()
    prepare({"clinic": source}, tmp_path / "own", folds="all", preprocessing=leads)
    with pytest.raises(DatabaseError, match="gives no normalisation constants for 'clinic'"):
        normalisation_tables(Store(tmp_path / "own"), "paper")
