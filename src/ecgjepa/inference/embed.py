"""Use an encoder: ECG files in, one vector per file out; from some of the leads, where it can."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float32, Int16
from torch import Tensor

from ecgjepa.errors import ConfigError, RecordError
from ecgjepa.inference.batches import mean_outputs
from ecgjepa.inference.sources import read_source
from ecgjepa.inference.windows import RecordWindows, chunk_size, windows_of
from ecgjepa.model.compute import choose_device
from ecgjepa.model.folder import ModelConfig, find_model, load_model_folder
from ecgjepa.model.heads import Classifier
from ecgjepa.signals.acceptance import Usable, prepare_each


def embed(
    files: Sequence[str | Path],
    model: str | Path,
    *,
    leads: Sequence[str] | None = None,
    on_bad: Literal["raise", "mask"] = "raise",
    device: str = "auto",
) -> Float32[np.ndarray, "files dim"]:
    """Return the mean of an encoder's features over patches and windows: one row per file.

    Args:
        files: ECG files of any format and rate.
        model: Model folder, or the folder of a run, probe or fine-tuning that holds one.
        leads: Leads to encode, all of the model's by default. Records need not have the others; the
            encoder must have been pre-trained with ``encoder.lead_patches``.
        on_bad: ``mask`` marks damaged leads and missing ends invalid where that is enough.
        device: ``auto``, ``cpu`` or ``cuda``.

    Raises:
        ModelFolderError: If the model cannot be used.
        ConfigError: If the model cannot encode these leads.
        RecordError: At the first file that cannot be used: what `ecgjepa.prepare` would skip.

    Example:
        >>> import ecgjepa
        >>> ecgjepa.embed(["data/ptb-xl/records500/00000/00001_hr.hea"], "runs/jepa").shape
        (1, 96)
    """
    if on_bad not in ("raise", "mask"):
        raise ConfigError(f"on_bad is {on_bad!r}; expected raise or mask: each file has its row")
    loaded, config = load_model_folder(find_model(model))
    encoder = loaded.encoder if isinstance(loaded, Classifier) else loaded
    where = choose_device(device)
    encoder, normaliser = encoder.to(where), config.normalisation.build().to(where)
    numbers = None if leads is None else _lead_numbers(leads, config).to(where)
    registers = config.encoder.num_registers

    @torch.inference_mode()
    def run(windows: Int16[Tensor, "windows size leads"]) -> tuple[Tensor]:
        tokens = encoder(normaliser(windows.to(where)), leads=numbers)
        return (tokens[:, registers:].mean(dim=1),)

    rows = np.empty((len(files), config.encoder.dim), np.float32)
    sources = ((str(file), read_source(file, on_bad)) for file in files)
    usable = prepare_each(sources, config.preprocessing, leads)
    found = mean_outputs(_windows(usable, config), run, chunk_size(where))
    for row, (_, means) in zip(rows, found, strict=True):
        assert means is not None, "every record has a window"
        row[:] = means[0]
    return rows


def _windows(
    usable: Iterable[tuple[str, Usable | RecordError]], config: ModelConfig
) -> Iterator[tuple[str, RecordWindows]]:
    """Yield the windows of each record.

    Raises:
        RecordError: At the first that cannot be used.
    """
    for file, found in usable:
        if isinstance(found, RecordError):
            raise found
        yield file, windows_of(found.prepared, config)[0]


def _lead_numbers(leads: Sequence[str], config: ModelConfig) -> torch.Tensor:
    if not config.encoder.lead_patches:
        raise ConfigError(
            "leads: this encoder's patches span all leads, so it cannot encode some of them; that "
            "takes one pre-trained with encoder.lead_patches=true"
        )
    known = config.preprocessing.leads
    unknown = [lead for lead in leads if lead not in known]
    if unknown or not leads or len(set(leads)) < len(leads):
        raise ConfigError(
            f"leads {', '.join(leads) or '(none)'}: expected some of {', '.join(known)}, each once"
        )
    return torch.tensor([[known.index(lead) for lead in leads]])
