"""How the published code feeds its model, to time ours beside it.

Written from a description of kweimann/ECG-JEPA (commit 504b4e5): normalised records lie in memory
as float16; two worker processes draw one record after another, crop it, turn it to float32 with
leads first, stack a batch, and sample one mask after another in Python. With the path of a
checkout, its own collator and routing are used instead.
"""

import importlib
import importlib.util
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, default_collate

from ecgjepa.config import PretrainConfig

WORKERS = 2  # fixed in the published code

Collator = Callable[[list[torch.Tensor]], Any]


class Crop:
    """Cut a random window out of a record (samples, leads) and put leads first, in float32."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, record: np.ndarray) -> torch.Tensor:
        """Return (leads, samples)."""
        start = np.random.randint(len(record) - self.size + 1)  # noqa: NPY002
        return torch.from_numpy(record[start : start + self.size].transpose()).float()


class Records(IterableDataset[torch.Tensor]):
    """Random crops of random records, without end."""

    def __init__(self, records: np.ndarray, crop: Crop) -> None:
        self.records, self.crop = records, crop

    def __iter__(self) -> Iterator[torch.Tensor]:
        """Draw a database, then a record of it."""
        while True:
            np.random.choice(1, p=[1.0])  # noqa: NPY002
            yield self.crop(self.records[np.random.randint(len(self.records))])  # noqa: NPY002


class MaskingCollator:
    """Stack records; sample a mask for each."""

    def __init__(self, config: PretrainConfig) -> None:
        self.mask, self.patch_size = config.mask, config.encoder.patch_size

    def __call__(self, batch: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """Return signals, visible and masked patches."""
        signals = default_collate(batch)
        num_patches = signals.shape[2] // self.patch_size
        ratio = np.random.uniform(self.mask.min_keep_ratio, self.mask.max_keep_ratio)  # noqa: NPY002
        num_mask = num_patches - math.ceil(ratio * num_patches)
        masks = [self.sample(num_patches, num_mask) for _ in batch]
        return (
            signals,
            default_collate([mask.nonzero().squeeze() for mask in masks]),
            default_collate([(1 - mask).nonzero().squeeze() for mask in masks]),
        )

    def sample(self, num_patches: int, num_mask: int) -> torch.Tensor:
        """Return one mask, 1 where visible."""
        draw, smallest = np.random, self.mask.min_block_size
        visible, left = [(0, num_patches)], num_mask
        while left:
            lengths = np.diff(visible).ravel()
            start, end = visible.pop(draw.choice(len(visible), p=lengths / lengths.sum()))
            block = draw.randint(smallest, left + 1) if left >= smallest else left
            if end - start <= block:
                left -= end - start
                continue
            if left >= smallest:
                first = draw.randint(start, end - block + 1)
            else:
                ends = [start] * (start > 0) + [end - block] * (end < num_patches)
                first = draw.choice(ends)
            visible += [(start, first), (first + block, end)]
            left -= block
        mask = torch.zeros(num_patches)
        for start, end in visible:
            mask[start:end] = 1.0
        return mask


def model(size: str, checkout: Path, *, fused_attention: bool) -> Any:  # noqa: ANN401
    """Return the published JEPA of a size (xs, s or b), as its `pretrain.py` builds it."""
    configs = _module(checkout, "configs")
    file = checkout / "configs" / "pretrain" / f"ViT{size.upper()}_all.yaml"
    config = configs.pretrain.Config(**configs.load_config_file(str(file)))
    momentum = _file(checkout / "utils" / "schedules.py").linear_schedule(
        config.steps, config.encoder_momentum, config.final_encoder_momentum
    )
    return _module(checkout, "models").JEPA(config, momentum, use_sdp_kernel=fused_attention)


def collator(config: PretrainConfig, checkout: Path | None) -> Collator:
    """Return the published collator, its own or the one described above."""
    if checkout is None:
        return MaskingCollator(config)
    return _module(checkout, "data.masks").MaskCollator(
        config.encoder.patch_size,
        config.mask.min_block_size,
        config.mask.min_keep_ratio,
        config.mask.max_keep_ratio,
    )


def loader(
    records: np.ndarray, config: PretrainConfig, batch_size: int, checkout: Path | None
) -> DataLoader[Any]:
    """Return the published loader over (records, samples, leads) in float16."""
    # The published transform cannot be imported: the file that holds it reads the command line.
    crop = Crop(config.data.window_samples)
    crops: IterableDataset[Any] = Records(records, crop)
    if checkout is not None:
        utils = _module(checkout, "data.utils")
        crops = utils.DatasetRouter([(utils.TensorDataset(records, transform=crop), 1.0)])
    return DataLoader(crops, batch_size, collate_fn=collator(config, checkout), num_workers=WORKERS)


def _module(checkout: Path, name: str) -> Any:  # noqa: ANN401
    if str(checkout) not in sys.path:
        sys.path.insert(0, str(checkout))
    return importlib.import_module(name)


def _file(path: Path) -> Any:  # noqa: ANN401
    """Import one file without its package, whose other files need more than is installed."""
    spec = importlib.util.spec_from_file_location(f"official_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded
