"""Python's collector of cycles, and when it may wait."""

from __future__ import annotations

import contextlib
import gc
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def paused() -> Iterator[None]:
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
