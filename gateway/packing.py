"""Arrays as bytes, for the cells of the state file: small, versioned, and safe to read.

Layout: `ECL1`, the header's length (uint32, little-endian), the header (JSON: name → [dtype, shape]),
then each array's bytes in C order, in the header's order. Nothing in it is ever executed: only booleans,
integers and floats are taken, and every length is checked before it is used.
"""

from __future__ import annotations

import json
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Arrays = dict[str, NDArray[Any]]

_MAGIC = b"ECL1"
_PREFIX = len(_MAGIC) + 4
_KINDS = "biuf"


def pack(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Return the arrays (any shape; bool, integer or float) as bytes. Raises ValueError on another dtype."""
    header: dict[str, tuple[str, tuple[int, ...]]] = {}
    bodies: list[bytes] = []
    for name, array in arrays.items():
        if array.dtype.kind not in _KINDS:
            raise ValueError(f"{name}: arrays of {array.dtype} cannot be packed")
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        header[name] = (little.dtype.str, array.shape)
        bodies.append(little.tobytes())
    head = json.dumps(header).encode()
    return b"".join((_MAGIC, len(head).to_bytes(4, "little"), head, *bodies))


def unpack(body: bytes) -> Arrays:
    """Return what `pack` took, as new arrays that may be written into. Raises ValueError on damage."""
    if body[: len(_MAGIC)] != _MAGIC or len(body) < _PREFIX:
        raise ValueError("not a packed cell, or of a version that this gateway does not know")
    offset = _PREFIX + int.from_bytes(body[len(_MAGIC) : _PREFIX], "little")
    arrays: Arrays = {}
    for name, (code, shape) in json.loads(body[_PREFIX:offset]).items():
        dtype = np.dtype(code)
        if dtype.kind not in _KINDS or any(size < 0 for size in shape):
            raise ValueError(f"{name}: a packed cell holds no {code} of shape {shape}")
        end = offset + prod(shape) * dtype.itemsize
        if end > len(body):
            raise ValueError(f"{name}: the cell is cut short")
        # A copy: what frombuffer gives cannot be written into.
        there = np.frombuffer(body, dtype=dtype, count=prod(shape), offset=offset)
        arrays[name] = there.reshape(shape).copy()
        offset = end
    if offset != len(body):
        raise ValueError("bytes are left over behind the last array")
    return arrays


def pack_texts(texts: Sequence[Sequence[str]]) -> bytes:
    """Return rows of texts as bytes (JSON, UTF-8)."""
    return json.dumps(list(texts), ensure_ascii=False, separators=(",", ":")).encode()


def unpack_texts(body: bytes) -> list[tuple[str, ...]]:
    """Return what `pack_texts` took. Raises ValueError on damage."""
    return [tuple(row) for row in json.loads(body)]
