"""Runs `ecluse` on a machine whose wall clock a test can set.

`python -m tests.integration.stepped FILE run …`: the seconds in the file are added to what the wall clock
shows, from one reading to the next; no file is none.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

_SECONDS = Path(sys.argv.pop(1))
_wall_ns = time.time_ns


def _stepped_ns() -> int:
    try:
        seconds = float(_SECONDS.read_text(encoding="ascii"))
    except FileNotFoundError:
        seconds = 0.0
    return _wall_ns() + int(seconds * 1e9)


time.time_ns = _stepped_ns

from gateway.cli.main import main  # noqa: E402 - after the clock was exchanged

if __name__ == "__main__":
    main()
