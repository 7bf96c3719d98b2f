"""How a record's integers lie in a shard: as they are, or packed by pcodec (about a third).

``raw`` keeps time-major little-endian int16, so that a crop is one read. ``pcodec`` packs each
record by itself, lead after lead, which compresses better; a crop costs unpacking the record.
Needs the package pcodec: ``pip install 'ecgjepa[pcodec]'``.
"""

from types import ModuleType
from typing import Literal, get_args

import numpy as np
from jaxtyping import Int16

from ecgjepa.errors import StoreError

Codec = Literal["raw", "pcodec"]
CODECS: tuple[Codec, ...] = get_args(Codec)
SUFFIX: dict[Codec, str] = {"raw": "i16", "pcodec": "pco"}
# Measured on real ECGs: level 4 takes a sixth more space, higher ones nothing less.
_PCODEC_LEVEL = 8


def shard_name(number: int, codec: Codec = "raw") -> str:
    """Return the file name of a shard."""
    return f"shard-{number:05d}.{SUFFIX[codec]}"


def check_codec(codec: str) -> None:
    """Raise `StoreError` if a codec is unknown or its package is not installed."""
    if codec not in CODECS:
        raise StoreError(f"unknown codec {codec!r}; expected {' or '.join(CODECS)}")
    if codec == "pcodec":
        _pcodec()


def encode(samples: Int16[np.ndarray, "samples leads"], codec: Codec) -> bytes | memoryview:
    """Return a record's bytes in a shard; they may be those of the samples themselves."""
    if codec == "raw":
        return np.ascontiguousarray(samples, "<i2").data.cast("B")
    package = _pcodec()
    config = package.ChunkConfig(compression_level=_PCODEC_LEVEL)
    lead_major = np.ascontiguousarray(samples.T).reshape(-1)
    return package.standalone.simple_compress(lead_major, config)


def decode(
    content: bytes | memoryview, codec: Codec, num_leads: int
) -> Int16[np.ndarray, "samples leads"]:
    """Return a record's integers from its bytes in a shard.

    Raises:
        StoreError: If they are damaged.
    """
    if codec == "raw":
        return np.frombuffer(content, "<i2").reshape(-1, num_leads).astype(np.int16, copy=False)
    package = _pcodec()
    try:
        lead_major = package.standalone.simple_decompress(content)
        return lead_major.reshape(num_leads, -1).T
    except (RuntimeError, ValueError, TypeError, AttributeError) as error:
        raise StoreError(f"a packed record is damaged: {error}") from None


def _pcodec() -> ModuleType:
    try:
        import pcodec
    except ImportError:
        raise StoreError(
            "packed shards need pcodec, which is not installed; run pip install 'ecgjepa[pcodec]'"
        ) from None
    return pcodec
