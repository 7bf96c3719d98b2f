import numpy as np
import pytest
import torch
from conftest import write_ptb_xl
from hypothesis import given
from hypothesis import strategies as st

from ecgjepa.config import load_preset
from ecgjepa.errors import ConfigError
from ecgjepa.objectives.build import objective_of
from ecgjepa.sampling import resident as module
from ecgjepa.sampling.batches import BatchReader
from ecgjepa.sampling.resident import ResidentStore, open_resident
from ecgjepa.signals.preprocessing import PreprocessingConfig
from ecgjepa.signals.units import INVALID_MICROVOLT
from ecgjepa.store.prepare import prepare
from ecgjepa.store.reading import Store

CPU = torch.device("cpu")
SMALL = ["train.batch_size=12", "data.window_seconds=2", "mask.min_block_size=2"]
RECORDS, SAMPLES = 30, 300


@pytest.fixture(scope="module", params=["raw", "pcodec"])
def store(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("resident")
    source = write_ptb_xl(folder / "source", records=RECORDS, seconds=SAMPLES / 100)
    prepare(
        {"ptb-xl": source},
        folder / "store",
        folds="all",
        preprocessing=PreprocessingConfig(sampling_rate=100.0),
        records_per_shard=11,
        codec=request.param,
    )
    return Store(folder / "store")


@pytest.fixture(scope="module")
def held(store):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_RECORDS_AT_ONCE", 7)
        return ResidentStore(store, CPU)


@given(data=st.data())
def test_windows_are_those_of_the_files_also_beyond_the_end(store, held, data):
    rows = np.array(data.draw(st.lists(st.integers(0, RECORDS - 1), min_size=1, max_size=5)))
    starts = np.array(
        data.draw(st.lists(st.integers(0, SAMPLES), min_size=len(rows), max_size=len(rows)))
    )
    length = data.draw(st.integers(1, SAMPLES + 50))
    expected = np.empty((len(rows), length, 12), np.int16)
    store.read(rows, starts, expected)
    np.testing.assert_array_equal(held.read(rows, starts, length).numpy(), expected)
    beyond = starts[:, None] + np.arange(length) >= SAMPLES
    assert (expected[beyond] == INVALID_MICROVOLT).all()


def tensors(batch) -> list[torch.Tensor]:
    return [batch.signal, batch.database, *batch.inputs]


def test_batches_are_the_same(store):
    config = load_preset("tiny", [*SMALL, "train.gradient_accumulation_steps=2"])
    wanted = load_preset("tiny", [*SMALL, "data.resident=true"])
    held = open_resident(store, wanted, CPU)
    assert held is not None
    draw = objective_of(config).draw
    for rank in range(2):
        files = BatchReader(store, config, draw, rank=rank, world_size=2)
        memory = BatchReader(store, config, draw, rank=rank, world_size=2, resident=held)
        for read, kept in zip(files.steps(3, 6), memory.steps(3, 6), strict=True):
            for one, two in zip(read, kept, strict=True):
                pairs = zip(tensors(one), tensors(two), strict=True)
                assert all(torch.equal(a, b) for a, b in pairs)


def test_a_cpu_holds_a_store_only_if_asked(store):
    assert open_resident(store, load_preset("tiny", SMALL), CPU) is None
    assert open_resident(store, load_preset("tiny", [*SMALL, "data.resident=false"]), CPU) is None


def test_a_store_that_does_not_fit_is_refused(store, monkeypatch):
    def refuse(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(module.torch, "empty", refuse)
    with pytest.raises(
        ConfigError, match=r"resident: the store's 0.0 GB do not fit .*resident=false"
    ):
        ResidentStore(store, CPU)
