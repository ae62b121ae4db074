"""Stepping aside: a gateway lets a command have its state folder for a while, and comes back by itself.

It stops in order, as for a SIGTERM, but the process stays; the broker queues meanwhile. It comes back once
whoever has taken the folder's lock has let it go, in whatever way that process ended; or, where nobody
takes it, after a while.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING

from gateway.journal.lock import GATEWAY, holder

if TYPE_CHECKING:
    from pathlib import Path

COMES_S = 30.0
"""How long the folder is kept for whoever asked for it."""
LOOK_S = 0.1


async def given_back(folder: Path, stopping: asyncio.Event) -> bool:
    """Wait until the folder was had, or nobody came for it; False where `stopping` is set before that.

    Raises OSError.
    """
    clock = asyncio.get_running_loop().time
    until = clock() + COMES_S
    while not stopping.is_set():
        pid, is_held = await asyncio.to_thread(holder, folder, GATEWAY)
        if not is_held and (pid != os.getpid() or clock() >= until):
            return True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_S):
                await stopping.wait()
    return False
