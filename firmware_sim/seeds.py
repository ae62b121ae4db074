"""Random numbers that belong to one thing: the same whatever else is simulated, in whatever order."""

from __future__ import annotations

import zlib

import numpy as np


def generator(seed: int, *keys: str | int) -> np.random.Generator:
    """Return the generator of the thing named by `keys`: texts and integers ≥ 0."""
    words = [zlib.crc32(key.encode()) if isinstance(key, str) else key for key in keys]
    return np.random.default_rng([seed, *words])
