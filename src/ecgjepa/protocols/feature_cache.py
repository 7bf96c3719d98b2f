"""Features on disk, under the hash of all they depend on: the same probe again encodes nothing.

The hash is over the encoder's weights and architecture, the constants that scale the leads, the
store, the windows and the layers. A file is a plain ``.npy`` of half-precision tokens, mapped into
memory when read, so a probe needs no more memory than its batches.
"""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from ecgjepa.files import default_cache, move_into_place, replacing, temporary_name
from ecgjepa.foreign.importing import digest_of_code
from ecgjepa.model.encoders.encoder import Encoder
from ecgjepa.model.heads import LAST_BLOCK, Reading
from ecgjepa.model.normalisation import NormalisationConfig
from ecgjepa.protocols.features import Features, Windows, encode, tokens_shape
from ecgjepa.protocols.request import Workspace

logger = logging.getLogger(__name__)

# Changes when the same request would give other numbers.
FORMAT_VERSION = 1
FOLDER = "features"
# The files used last are kept, up to this size together.
LIMIT_VARIABLE = "ECGJEPA_FEATURE_CACHE_GB"
DEFAULT_LIMIT_GB = 20.0
# Left free on the disk.
_RESERVE = 1 << 30


def cached_features(
    encoder: Encoder,
    normalisation: NormalisationConfig,
    windows: Windows,
    work: Workspace,
    *,
    reading: Reading = LAST_BLOCK,
) -> Features:
    """Return the tokens of all windows, from the disk if they were encoded before.

    Where the disk has no room for them, or the limit allows none, they stay in memory.

    Args:
        encoder: Encoder; it stays as it is.
        normalisation: Constants that scale the leads.
        windows: What to encode.
        work: Device, cache and progress.
        reading: See `ecgjepa.model.heads.tokens_of_layers`.
    """
    cache, device, progress = work.cache, work.device, work.progress
    folder = Path(cache or default_cache()) / FOLDER
    path = folder / f"{digest_request(encoder, normalisation, windows, reading)}.npy"
    shape = tokens_shape(encoder, windows, reading)
    if (tokens := _read(path, shape)) is not None:
        logger.info("features were encoded before: %s", path.name)
        os.utime(path)  # used last
        return Features(windows, tokens, encoder.config.num_registers)
    logger.info(
        "encoding %s windows of %s records", f"{len(windows.rows):,}", f"{windows.num_records:,}"
    )
    normaliser = normalisation.build()
    size = 2 * int(np.prod(shape))
    if not _has_room(folder, size):
        logger.info("features of %.1f GB are kept in memory: no room in %s", size / 1e9, folder)
        return encode(encoder, normaliser, windows, device, reading=reading, progress=progress)
    temporary = temporary_name(path)
    try:
        out = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float16, shape=shape)
        encode(encoder, normaliser, windows, device, reading=reading, progress=progress, out=out)
        out.flush()
        move_into_place(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    _forget_oldest(folder, keep=path)
    tokens = _read(path, shape)
    return Features(windows, out if tokens is None else tokens, encoder.config.num_registers)


def cached_means(
    digest: str, compute: Callable[[], np.ndarray], *, cache: str | Path | None = None
) -> np.ndarray:
    """Return mean features, from the disk if they were computed before.

    Args:
        digest: Name under which they are kept; changes with all they depend on.
        compute: Gives them.
        cache: Folder; the user's cache folder by default.
    """
    folder = Path(cache or default_cache()) / FOLDER
    path = folder / f"{digest}.npy"
    try:
        found = np.load(path, allow_pickle=False)
    except (FileNotFoundError, ValueError, EOFError):
        found = compute()
        if _has_room(folder, found.nbytes):
            with replacing(path) as stream:
                np.save(stream, found, allow_pickle=False)
    else:
        os.utime(path)  # used last
    return found


def digest_request(
    encoder: Encoder,
    normalisation: NormalisationConfig,
    windows: Windows,
    reading: Reading,
) -> str:
    """Return the hash of all that features depend on."""
    digest = hashlib.sha256()
    facts = {
        "version": FORMAT_VERSION,
        "encoder": encoder.config.model_dump(mode="json"),
        "normalisation": normalisation.model_dump(mode="json"),
        "store": windows.store.fingerprint,
        "window": windows.size,
        "layers": reading.layers,
        **({"beside": True} if reading.beside else {}),
        **(_own_code(encoder) if encoder.identity else {}),
    }
    digest.update(json.dumps(facts, sort_keys=True).encode())
    _add_weights(digest, encoder)
    digest.update(np.ascontiguousarray(windows.rows).tobytes())
    digest.update(np.ascontiguousarray(windows.starts).tobytes())
    return digest.hexdigest()[:32]


def _own_code(encoder: Encoder) -> dict[str, str]:
    """Return what tells an encoder of the user's code: its layers may be written in other files."""
    kinds = dict.fromkeys(type(each) for each in encoder.modules())
    return {"identity": encoder.identity, "code": digest_of_code(*kinds)}


def digest_of_weights(encoder: Encoder) -> str:
    """Return the hash of an encoder's weights, with their names and shapes."""
    digest = hashlib.sha256()
    _add_weights(digest, encoder)
    return digest.hexdigest()


def _add_weights(digest: "hashlib._Hash", encoder: Encoder) -> None:
    for name, tensor in sorted(encoder.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())


def _read(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """Map a file of features; None if there is none, or it is not whole."""
    try:
        tokens = np.load(path, mmap_mode="r", allow_pickle=False)
    except (FileNotFoundError, ValueError, EOFError):
        return None
    return tokens if tokens.shape == shape and tokens.dtype == np.float16 else None


def _limit() -> float:
    text = os.environ.get(LIMIT_VARIABLE, "")
    try:
        return float(text) * 1e9 if text else DEFAULT_LIMIT_GB * 1e9
    except ValueError:
        logger.warning("%s is %r, which is not a number: not used", LIMIT_VARIABLE, text)
        return DEFAULT_LIMIT_GB * 1e9


def _has_room(folder: Path, size: int) -> bool:
    if size > _limit():
        return False
    folder.mkdir(parents=True, exist_ok=True)
    return shutil.disk_usage(folder).free > size + _RESERVE


def _forget_oldest(folder: Path, *, keep: Path) -> None:
    """Remove the files used longest ago, until the rest is within the limit."""
    files = sorted(folder.glob("*.npy"), key=lambda path: path.stat().st_mtime, reverse=True)
    total = keep.stat().st_size
    for path in files:
        if path == keep:
            continue
        total += path.stat().st_size
        if total > _limit():
            path.unlink(missing_ok=True)
