"""The codecs' process of a command: one, begun when a profile first needs it, ended with the command."""

from __future__ import annotations

import atexit
from functools import cache

from gateway.codec.sandbox import Sandbox


@cache
def codecs() -> Sandbox:
    """Return what runs codecs."""
    sandbox = Sandbox()
    atexit.register(sandbox.close)
    return sandbox
