"""How the process gets and gives back memory."""

from __future__ import annotations

import contextlib
import gc
import subprocess
import sys

import pytest

from gateway import memory

_LARGE = """
import numpy as np
from pathlib import Path
from gateway import memory

def in_use():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

assert memory.give_back_large_arrays()
kept = []
before = in_use()
for _ in range(20):
    large = [np.ones(3_000_000) for _ in range(4)]
    kept.append(np.ones(1000))  # on the heap, above what is freed
    del large
assert in_use() - before < 10_000_000, in_use() - before
"""


def test_the_collector_rests_within_the_block_alone() -> None:
    """Whatever happens in it; where it did not run, it does not afterwards."""
    with contextlib.suppress(ValueError), memory.collector_paused():
        assert not gc.isenabled()
        raise ValueError
    assert gc.isenabled()
    gc.disable()
    with memory.collector_paused():
        pass
    assert not gc.isenabled()
    gc.enable()


@pytest.mark.skipif(sys.platform != "linux", reason="glibc alone")
def test_large_arrays_are_given_back_to_the_system() -> None:
    """Though something that stays lies behind them."""
    subprocess.run([sys.executable, "-c", _LARGE], check=True)
