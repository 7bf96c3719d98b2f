"""Options of glibc's allocator."""

import ctypes
import sys

_MMAP_THRESHOLD, _TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -3, -1, -2, -4  # malloc.h


def keep_freed(num_bytes: int = 2**24) -> None:
    """Let the C library keep the memory of freed arrays for the next ones.

    glibc gives large blocks back to the system, and asks for cleared memory again for each record:
    up to half of the time of reading. It learns from a block that is freed that such blocks come
    and go, and keeps twice as many bytes from then on. The block itself is never touched.

    Args:
        num_bytes: Size of the block; glibc learns from up to 32 MiB.
    """
    bytearray(num_bytes)


def set_malloc(
    *,
    mmap_threshold: int | None = None,
    mmap_max: int | None = None,
    trim_threshold: int,
    top_pad: int,
) -> bool:
    """Set options of the C library's allocator, and return whether it has them.

    Args:
        mmap_threshold: Bytes from which a block gets pages of its own.
        mmap_max: Number of blocks that may have pages of their own.
        trim_threshold: Bytes that stay with the process when they are freed.
        top_pad: Bytes that are asked for in advance.
    """
    if not sys.platform.startswith("linux"):
        return False
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is None:  # another C library
        return False
    options = {
        _MMAP_THRESHOLD: mmap_threshold,
        _MMAP_MAX: mmap_max,
        _TRIM_THRESHOLD: trim_threshold,
        _TOP_PAD: top_pad,
    }
    return all(set_option(name, value) for name, value in options.items() if value is not None)
