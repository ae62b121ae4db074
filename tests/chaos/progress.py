"""What a scenario says while it goes on."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def told(goal: str = "") -> Callable[[str], None]:
    """Return what says a sentence to whoever watches, with the seconds that have passed."""
    began = time.monotonic()

    def say(what: str) -> None:
        sys.stderr.write(f"  {time.monotonic() - began:5.0f} s  {what}{f' ({goal})' if goal else ''}\n")
        sys.stderr.flush()

    return say
