"""Frozen features: every window of every record is encoded once."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float16, Float32, Float64, Int16, Int64
from torch import Tensor

from ecgjepa.errors import FeatureError
from ecgjepa.inference.windows import average_over_windows, window_size, window_starts
from ecgjepa.model.encoders.encoder import Encoder
from ecgjepa.model.folder import ModelConfig
from ecgjepa.model.heads import LAST_BLOCK, Reading, patch_means, patch_statistics, tokens_of_layers
from ecgjepa.model.normalisation import Normaliser
from ecgjepa.store.reading import Store
from ecgjepa.tasks.records import EvaluationData

# Windows encoded at once: enough to fill two cores, little memory.
_CHUNK = 256


class Windows(NamedTuple):
    """The windows of some records of a store.

    Attributes:
        store: Where the signals are.
        rows: Store row of each window.
        starts: First sample of each window.
        record_index: Position of the window's record in the list of records.
        num_records: Length of that list.
        size: Samples per window.
    """

    store: Store
    rows: Int64[np.ndarray, " windows"]
    starts: Int64[np.ndarray, " windows"]
    record_index: Int64[np.ndarray, " windows"]
    num_records: int
    size: int

    @property
    def num_windows(self) -> Int64[np.ndarray, " records"]:
        """Windows of each record."""
        return np.bincount(self.record_index, minlength=self.num_records)

    @property
    def first(self) -> Int64[np.ndarray, " records"]:
        """Number of each record's first window; the others follow it."""
        return np.searchsorted(self.record_index, np.arange(self.num_records))

    def read(self, chosen: slice) -> Int16[Tensor, "chosen samples leads"]:
        """Return the samples of some windows, in µV."""
        rows = self.rows[chosen]
        out = torch.empty(len(rows), self.size, self.store.num_leads, dtype=torch.int16)
        self.store.read(rows, self.starts[chosen], out.numpy())
        return out

    def chunks(self) -> Iterator[slice]:
        """Yield slices that cover all windows."""
        for start in range(0, len(self.rows), _CHUNK):
            yield slice(start, min(start + _CHUNK, len(self.rows)))

    def read_chunks(
        self,
    ) -> Iterator[tuple[Int16[Tensor, "_ samples leads"], Int64[np.ndarray, " _"]]]:
        """Yield all windows, some at a time, in µV, with the position of each one's record."""
        for chunk in self.chunks():
            yield self.read(chunk), self.record_index[chunk]


def grid_windows(
    store: Store, rows: Int64[np.ndarray, " records"], *, size: int, stride: int
) -> Windows:
    """Return the evaluation windows of the given records."""
    starts = [
        window_starts(int(store.num_samples[row]), window=size, stride=stride) for row in rows
    ]
    counts = np.array([len(found) for found in starts], np.int64)
    return Windows(
        store=store,
        rows=np.repeat(rows, counts),
        starts=np.concatenate(starts).astype(np.int64),
        record_index=np.repeat(np.arange(len(rows)), counts),
        num_records=len(rows),
        size=size,
    )


class Features(NamedTuple):
    """An encoder's tokens for every window, registers first, in half precision."""

    windows: Windows
    tokens: Float16[np.ndarray, "windows tokens dim"]
    num_registers: int

    def record_vectors(self, *, statistics: bool = False) -> Float32[np.ndarray, "records width"]:
        """Return one vector per record: a mean over patches, averaged over windows.

        Args:
            statistics: Add the standard deviation over patches, averaged likewise.
        """
        patches = self.tokens[:, self.num_registers :]
        if statistics:
            chunks = range(0, len(patches), _CHUNK)
            of_windows = torch.cat(
                [
                    patch_statistics(torch.from_numpy(patches[at : at + _CHUNK].astype(np.float32)))
                    for at in chunks
                ]
            )
        else:
            of_windows = torch.from_numpy(patches.mean(axis=1, dtype=np.float32))
        means = average_over_windows(
            of_windows,
            torch.from_numpy(self.windows.record_index),
            num_records=self.windows.num_records,
        )
        return means.numpy()


def tokens_shape(
    encoder: Encoder, windows: Windows, reading: Reading = LAST_BLOCK
) -> tuple[int, int, int]:
    """Return the shape of the windows' tokens."""
    width = encoder.config.dim * reading.widths
    return len(windows.rows), encoder.num_tokens(windows.size), width


@contextmanager
def _lent(encoder: Encoder, device: torch.device) -> Iterator[Encoder]:
    """Lend an encoder to a device, in evaluation mode; afterwards it is where and as it was."""
    home, was_training = next(encoder.parameters(), torch.empty(0)).device, encoder.training
    try:
        yield encoder.to(device).eval()
    finally:
        encoder.to(home).train(was_training)


def encode(
    encoder: Encoder,
    normaliser: Normaliser,
    windows: Windows,
    device: torch.device,
    *,
    reading: Reading = LAST_BLOCK,
    progress: Callable[[int, int], None] | None = None,
    out: Float16[np.ndarray, "windows tokens dim"] | None = None,
) -> Features:
    """Return the tokens of all windows; float32 arithmetic, stored in half precision.

    ViT-XS on full PTB-XL (21,799 records, 7 windows of 51 tokens) takes 3 GB.

    Args:
        encoder: Encoder; it stays as it is.
        normaliser: Scales the leads.
        windows: What to encode.
        device: Where to encode.
        reading: See `ecgjepa.model.heads.tokens_of_layers`.
        progress: Called with (windows done, windows in all).
        out: Filled, where it is given.

    Raises:
        FeatureError: If a token is not finite in half precision.
    """
    normaliser = normaliser.to(device)
    tokens = np.empty(tokens_shape(encoder, windows, reading), np.float16) if out is None else out
    with _lent(encoder, device) as lent, torch.inference_mode():
        for chunk in windows.chunks():
            signal = normaliser(windows.read(chunk).to(device))
            tokens[chunk] = tokens_of_layers(lent, signal, reading).half().cpu().numpy()
            _check_finite(tokens, windows, chunk)
            if progress:
                progress(chunk.stop, len(windows.rows))
    return Features(windows, tokens, encoder.config.num_registers)


def _check_finite(
    tokens: Float16[np.ndarray, "windows tokens dim"], windows: Windows, chunk: slice
) -> None:
    finite = np.isfinite(tokens[chunk]).all(axis=(1, 2))
    if not finite.all():
        row = int(windows.rows[chunk][~finite][0])
        raise FeatureError(
            f"the encoder's features of {int((~finite).sum())} windows are not finite, first of "
            f"record {windows.store.table()['record_id'].iloc[row]!r}; are its weights damaged, or "
            "did its training diverge?"
        )


class PartMeans(NamedTuple):
    """Mean features of all training, validation and test records of a task."""

    train: Float32[np.ndarray, "train dim"]
    validation: Float32[np.ndarray, "validation dim"]
    test: Float32[np.ndarray, "test dim"]


def encode_parts(
    encoder: Encoder,
    config: ModelConfig,
    records: EvaluationData,
    device: torch.device,
    reading: Reading,
) -> PartMeans:
    """Return mean features of `EvaluationData.whole`; tokens are not kept."""
    size, stride = window_size(config)
    rows = records.rows(np.concatenate(records.whole))
    windows = grid_windows(records.store, rows, size=size, stride=stride)
    means = encode_means(
        encoder,
        records.normalisation.build(),
        windows.read_chunks(),
        windows.num_records,
        device,
        reading=reading,
    )
    ends = np.cumsum([len(part) for part in records.whole])[:-1]
    return PartMeans(*np.split(means, ends))


@torch.no_grad()
def encode_means(
    encoder: Encoder,
    normaliser: Normaliser,
    chunks: Iterable[tuple[Int16[Tensor, "_ samples leads"], Int64[np.ndarray, " _"]]],
    num_records: int,
    device: torch.device,
    *,
    reading: Reading = LAST_BLOCK,
) -> Float32[np.ndarray, "records dim"]:
    """Return the mean over patches and windows of each record, of the last block that is read.

    Args:
        encoder: Encoder; it stays as it is.
        normaliser: Scales the leads.
        chunks: Windows in µV, with the number of each one's record.
        num_records: How many there are.
        device: Where to encode.
        reading: See `ecgjepa.model.heads.tokens_of_layers`.
    """
    normaliser = normaliser.to(device)
    means, numbers = [], []
    with _lent(encoder, device) as lent:
        for signal, record_index in chunks:
            tokens = tokens_of_layers(lent, normaliser(signal.to(device)), reading)
            means.append(patch_means(lent, tokens).float().cpu())
            numbers.append(record_index)
    return average_over_windows(
        torch.cat(means), torch.from_numpy(np.concatenate(numbers)), num_records=num_records
    ).numpy()


def random_crops(
    records: EvaluationData,
    rows: Int64[np.ndarray, " batch"],
    size: int,
    rng: np.random.Generator,
) -> Tensor:
    """Return one crop of ``size`` samples, at any position, of each record, in µV."""
    room = np.maximum(records.store.num_samples[rows] - size, 0)
    out = torch.empty(len(rows), size, records.store.num_leads, dtype=torch.int16)
    records.store.read(rows, rng.integers(0, room + 1), out.numpy())
    return out


class Standardised(NamedTuple):
    """Features of mean 0 and standard deviation 1, and what made them so.

    Attributes:
        values: Features, as double-precision numbers.
        mean: Mean of each feature before.
        scale: Standard deviation of each feature before; 1 where it is constant.
    """

    values: Float64[np.ndarray, "records dim"]
    mean: Float64[np.ndarray, " dim"]
    scale: Float64[np.ndarray, " dim"]


def standardise(features: Float[np.ndarray, "records dim"]) -> Standardised:
    """Return features in units of their standard deviations; a constant one keeps its own unit.

    Double precision: in single precision, solvers do not settle once regularisation is weak.
    """
    features = features.astype(np.float64)
    mean, std = features.mean(axis=0), features.std(axis=0)
    # What varies by no more than rounding is constant; to scale it up would blow up weights on it.
    scale = np.where(std > 1e-6 * np.abs(mean), std, 1.0)
    return Standardised((features - mean) / scale, mean, scale)
