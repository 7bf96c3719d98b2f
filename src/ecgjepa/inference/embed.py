"""Use an encoder: records in, a frame of features out; from some of the leads, where it can."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ecgjepa.errors import ConfigError, RecordError
from ecgjepa.inference.encoding import Encoded, Layer, LoadedEncoder, Pool, Wanted, load_encoder
from ecgjepa.inference.inputs.named import usable_each
from ecgjepa.inference.inputs.records import warn_of_errors
from ecgjepa.signals.acceptance import ON_BAD, OnBad

if TYPE_CHECKING:
    import pandas as pd


def embed(
    files: Iterable[str | Path] | str | Path,
    model: str | Path,
    *,
    pool: Pool = "record",
    layer: Layer = "last",
    leads: Sequence[str] | None = None,
    on_bad: OnBad = "skip",
    description: str | Path | None = None,
    device: str = "auto",
) -> "pd.DataFrame":
    """Return an encoder's features as a frame that scikit-learn takes as it is.

    A row of a record is the mean over its windows and their patches, without registers.
    `embed_table` writes the features of more records than the memory holds.

    Args:
        files: ECG files of any format and rate. A folder, a pattern such as ``2024/*.xml`` and a
            prepared store stand for all their records.
        model: Model folder, or the folder of a run, probe or fine-tuning that holds one.
        pool: A row for each ``record``, ``window`` or ``token`` (a patch; with
            ``encoder.lead_patches`` the patch of a lead).
        layer: ``last`` is the encoder's output; a number from 1 is the output of that block after
            the encoder's last normalisation; ``all`` are the outputs of all blocks side by side.
        leads: Leads to encode, all of the model's by default. Records need not have the others; the
            encoder must have been pre-trained with ``encoder.lead_patches``.
        on_bad: ``skip`` leaves out files that cannot be used, ``mask`` also marks damaged leads and
            missing ends invalid where that is enough, ``raise`` stops at the first.
        description: File that describes arrays and tables; None for those beside them.
        device: ``auto``, ``cpu`` or ``cuda``.

    Returns:
        Columns ``f0``, ``f1``… (of all layers ``layer1_f0``…), indexed by ``file``; of windows and
        tokens also by ``start``, the second at which the window begins, and by ``token``. Files
        without a row are warned of, and ``frame.attrs["errors"]`` maps each to its error.

    Raises:
        ModelFolderError: If the model cannot be used.
        ConfigError: If the model cannot encode these leads, or has no such layer.
        InputError: If a folder holds no ECG, or a store was prepared for another model.
        RecordError: With ``raise``, at the first file that cannot be used.

    Example:
        >>> import ecgjepa
        >>> frame = ecgjepa.embed("data/ptb-xl/records500/00000/00001_hr.hea", "runs/jepa")
        >>> frame.shape
        (1, 96)
    """
    if on_bad not in ON_BAD:
        raise ConfigError(f"on_bad is {on_bad!r}; expected {' or '.join(ON_BAD)}")
    wanted = Wanted(pool, layer, None if leads is None else tuple(leads))
    loaded = load_encoder(model, wanted, device=device)
    usable = usable_each(
        files,
        loaded.config.preprocessing,
        sets=() if leads is None else (tuple(leads),),
        on_bad=on_bad,
        description=description,
    )
    rows: list[tuple[str, Encoded]] = []
    errors: dict[str, str] = {}
    for file, found in loaded.encode(usable):
        if not isinstance(found, RecordError):
            rows.append((file, found))
        elif on_bad == "raise":
            raise found
        else:
            errors[file] = str(found)
    warn_of_errors(errors, len(rows) + len(errors))
    frame = _frame(rows, loaded)
    frame.attrs["errors"] = errors
    return frame


def _frame(rows: list[tuple[str, Encoded]], loaded: LoadedEncoder) -> "pd.DataFrame":
    import pandas as pd  # takes longer to import than a record takes

    names = loaded.names()
    values = [each.values for _, each in rows] or [np.empty((0, len(names)), np.float32)]
    levels = {
        "file": [file for file, each in rows for _ in range(len(each.values))],
        "start": [start for _, each in rows if each.starts is not None for start in each.starts],
        "token": [token for _, each in rows if each.tokens is not None for token in each.tokens],
    }
    depth = {"record": 1, "window": 2, "token": 3}[loaded.wanted.pool]
    used = list(levels)[:depth]
    index = (
        pd.Index(levels["file"], name="file", dtype="str")
        if depth == 1
        else pd.MultiIndex.from_arrays([levels[name] for name in used], names=used)
    )
    return pd.DataFrame(np.concatenate(values), index=index, columns=names)
