"""How the process gets and gives back memory: Python's collector of cycles, the C library's heap."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys
from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Iterator

_MMAP_THRESHOLD, _ARENA_MAX = -3, -8
"""Names of `mallopt` in glibc's malloc.h."""
LARGE_BYTES = 1 << 20


@contextlib.contextmanager
def collector_paused() -> Iterator[None]:
    """Look for no cycles within the block, which makes much that stays.

    The collector would go through all of it again and again as it grows: of a million devices with places
    of their own that took five times as long as making them.
    """
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


def give_back_large_arrays() -> bool:
    """Let arrays of a megabyte and more go back to the system as soon as they are freed; False if it cannot.

    To be called once, before any thread is started. Left alone, glibc raises that limit to 32 MB once such
    an array was freed, and keeps a heap for each thread: with 100,000 devices, 100 MB that nobody uses.
    """
    pa.set_memory_pool(pa.system_memory_pool())  # its own keeps what it got
    if sys.platform != "linux":
        return False
    with contextlib.suppress(OSError, AttributeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        return bool(mallopt(_MMAP_THRESHOLD, LARGE_BYTES)) and bool(mallopt(_ARENA_MAX, 2))
    return False
