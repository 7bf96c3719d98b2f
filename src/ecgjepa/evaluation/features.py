"""Frozen features: every window of every record is encoded once."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float16, Float32, Int16, Int64
from torch import Tensor

from ecgjepa.inference.windows import average_over_windows, window_starts
from ecgjepa.model.encoder import VisionTransformer
from ecgjepa.model.normalisation import Normaliser
from ecgjepa.store.reading import Store

# Windows encoded at once: enough to fill two cores, little memory.
_CHUNK = 256


class Windows(NamedTuple):
    """Where the windows of some records are.

    Attributes:
        rows: Store row of each window.
        starts: First sample of each window.
        record_index: Position of the window's record in the list of records.
        num_records: Length of that list.
        size: Samples per window.
    """

    rows: Int64[np.ndarray, " windows"]
    starts: Int64[np.ndarray, " windows"]
    record_index: Int64[np.ndarray, " windows"]
    num_records: int
    size: int

    def read(self, store: Store, chosen: slice) -> Int16[Tensor, "chosen samples leads"]:
        """Return the samples of some windows, in µV."""
        rows = self.rows[chosen]
        out = torch.empty(len(rows), self.size, store.num_leads, dtype=torch.int16)
        store.read(rows, self.starts[chosen], out.numpy())
        return out

    def chunks(self) -> Iterator[slice]:
        """Yield slices that cover all windows."""
        for start in range(0, len(self.rows), _CHUNK):
            yield slice(start, min(start + _CHUNK, len(self.rows)))


def grid_windows(
    store: Store, rows: Int64[np.ndarray, " records"], *, size: int, stride: int
) -> Windows:
    """Return the evaluation windows of the given records."""
    starts = [
        window_starts(int(store.num_samples[row]), window=size, stride=stride) for row in rows
    ]
    counts = np.array([len(found) for found in starts], np.int64)
    return Windows(
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

    def record_means(self) -> Float32[np.ndarray, "records dim"]:
        """Return the mean over patches and windows: one vector per record."""
        patches = self.tokens[:, self.num_registers :].mean(axis=1, dtype=np.float32)
        means = average_over_windows(
            torch.from_numpy(patches),
            torch.from_numpy(self.windows.record_index),
            num_records=self.windows.num_records,
        )
        return means.numpy()


@torch.inference_mode()
def encode(
    encoder: VisionTransformer,
    normaliser: Normaliser,
    store: Store,
    windows: Windows,
    device: torch.device,
    progress: Callable[[int, int], None] | None = None,
) -> Features:
    """Return the tokens of all windows; float32 arithmetic, stored in half precision.

    ViT-XS on full PTB-XL (21,799 records, 7 windows of 51 tokens) takes 3 GB.
    """
    encoder, normaliser = encoder.to(device).eval(), normaliser.to(device)
    config = encoder.config
    num_patches = windows.size // config.patch_size
    num_tokens = config.num_registers + num_patches * config.tokens_per_patch
    tokens = np.empty((len(windows.rows), num_tokens, config.dim), np.float16)
    for chunk in windows.chunks():
        signal = normaliser(windows.read(store, chunk).to(device))
        tokens[chunk] = encoder(signal).half().cpu().numpy()
        if progress:
            progress(chunk.stop, len(windows.rows))
    return Features(windows, tokens, config.num_registers)
