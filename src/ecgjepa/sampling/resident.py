"""A whole store in the memory of the device, for stores that fit there."""

import numpy as np
import torch
from jaxtyping import Int16, Int64
from torch import Tensor

from ecgjepa.config import PretrainConfig
from ecgjepa.errors import ConfigError
from ecgjepa.signals.units import INVALID_MICROVOLT
from ecgjepa.store.reading import Store

# Read and copied at once.
_RECORDS_AT_ONCE = 256
# With "auto": the rest is for weights, activations and the allocator's gaps.
_SHARE_OF_FREE_MEMORY = 0.4


class ResidentStore:
    """All samples of a store as one tensor; windows are gathered on its device.

    Args:
        store: Open store.
        device: Device whose memory holds it.

    Raises:
        ConfigError: If it does not fit.
    """

    def __init__(self, store: Store, device: torch.device) -> None:
        ends = np.cumsum(store.num_samples)
        self._first = ends - store.num_samples
        self._num_samples = store.num_samples
        shape = (int(ends[-1]) + 1, store.num_leads)
        try:
            self._samples = torch.empty(shape, dtype=torch.int16, device=device)
        except RuntimeError as error:  # CUDA's or the CPU's "out of memory"
            raise ConfigError(
                f"data.resident: the store's {resident_bytes(store) / 1e9:.1f} GB do not fit "
                f"into the memory of {device.type}; use data.resident=false"
            ) from error
        self._samples[-1] = INVALID_MICROVOLT  # what windows beyond a record's end are filled with
        for begin in range(0, len(store), _RECORDS_AT_ONCE):
            rows = np.arange(begin, min(begin + _RECORDS_AT_ONCE, len(store)))
            longest = int(self._num_samples[rows].max())
            read = np.empty((len(rows), longest, store.num_leads), np.int16)
            store.read(rows, np.zeros(len(rows), np.int64), read)
            inside = np.arange(longest) < self._num_samples[rows][:, None]
            first = self._first[begin]
            last = first + int(self._num_samples[rows].sum())
            self._samples[first:last] = torch.from_numpy(read[inside]).to(device)

    def read(
        self,
        rows: Int64[np.ndarray, " batch"],
        starts: Int64[np.ndarray, " batch"],
        num_samples: int,
    ) -> Int16[Tensor, "batch samples leads"]:
        """Return the windows that `Store.read` gives, on the device."""
        device = self._samples.device
        first = torch.from_numpy(self._first[rows] + starts)
        last = torch.from_numpy(self._first[rows] + self._num_samples[rows])
        if device.type == "cuda":
            first, last = first.pin_memory(), last.pin_memory()
        first = first.to(device, non_blocking=True).unsqueeze(1)
        last = last.to(device, non_blocking=True).unsqueeze(1)
        place = first + torch.arange(num_samples, device=device)
        place = place.masked_fill_(place >= last, len(self._samples) - 1)
        return self._samples[place]


def open_resident(
    store: Store, config: PretrainConfig, device: torch.device
) -> ResidentStore | None:
    """Return the store on the device, if ``data.resident`` wants it there.

    ``auto`` takes it to a GPU whose free memory is well above its size, and never to a CPU, where
    the operating system keeps what was read in memory anyway.

    Raises:
        ConfigError: If it was asked for and does not fit.
    """
    wanted = config.data.resident
    if wanted == "auto" and device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        wanted = resident_bytes(store) < _SHARE_OF_FREE_MEMORY * free
    return ResidentStore(store, device) if wanted is True else None


def resident_bytes(store: Store) -> int:
    """Return the bytes of all samples, unpacked."""
    return 2 * store.num_leads * int(store.num_samples.sum())
