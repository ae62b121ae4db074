"""Taking series out of the cells of a state: what is stored, without some of it.

The codes of series stay, so that nothing else changes its own: a series that was erased keeps its place in
its table under a name that no device can have, and has no readings.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from gateway import packing
from gateway.aggregate.carry import NEVER
from gateway.aggregate.hot import HELD, PASTS, ROWS
from gateway.aggregate.latest import LATEST, NEWEST
from gateway.aggregate.layout import Layout
from gateway.aggregate.written import PENDING
from gateway.model import Flag
from gateway.profiles.plan import Kind

if TYPE_CHECKING:
    from collections.abc import Collection

    from gateway.model import Bool, Int32
    from gateway.packing import Arrays

KINDS = (ROWS, PASTS, HELD, LATEST, NEWEST, PENDING)
"""The kinds of cells that hold something of a series, by its code."""
_ERASED = "\0erased {}"
"""MQTT allows no U+0000 in a topic."""
_BY_NEIGHBOUR = "neighbours.words"


def codes_of(body: bytes, start: int, site: str, device: str) -> list[int]:
    """Return the codes of a device's series in a cell of a series table, which begins at code `start`."""
    return [start + row for row, key in enumerate(packing.unpack_texts(body)) if key[:2] == (site, device)]


def is_erased(key: tuple[str, ...]) -> bool:
    """Tell whether a key of a series table stands for one that was erased."""
    return key[1].startswith("\0")


def without_names(body: bytes, start: int, codes: Collection[int]) -> bytes:
    """Return a cell of a series table, or of the texts, in which some codes have no name any more."""
    keys = packing.unpack_texts(body)
    for code in codes:
        if start <= code < start + len(keys):
            site, *rest = keys[code - start]
            name = _ERASED.format(code)
            # The site stays: its zone is that of the series' windows.
            keys[code - start] = (site, name, *[""] * (len(rest) - 1)) if rest else (name,)
    return packing.pack_texts(keys)


def without_series(kind: str, body: bytes, start: int, codes: Int32) -> tuple[bytes, int] | None:
    """Return a cell without some series, and how many entries went; None where it has none of them."""
    if kind == PENDING:
        return _without_pending(body, codes)
    columns = packing.unpack(body)
    if kind == LATEST:
        hit = np.isin(start + np.arange(len(columns["time"])), codes)
    else:
        hit = np.isin(columns["series"], codes)
    gone = int(np.count_nonzero(hit))
    if not gone:
        return None
    changed = _forgotten(columns, hit) if kind in (LATEST, NEWEST) else _left(columns, ~hit)
    return packing.pack(changed), gone


def is_empty(body: bytes) -> bool:
    """Tell whether a cell of rows holds none."""
    return not len(packing.unpack(body)["series"])


def texts_used(body: bytes) -> set[int]:
    """Return the codes of the texts that the rows of a cell refer to."""
    columns = packing.unpack(body)
    used: set[int] = set()
    for place, signature in enumerate(Layout.from_array(columns["layout"]).quantities):
        if signature.split("|")[1] == Kind.TEXT.value:
            there = columns["flags"][place] != Flag.MISSING
            used.update(columns["values"][place][there].astype(np.int64).tolist())
    return used


def _left(columns: Arrays, kept: Bool) -> Arrays:
    """Return the columns of rows, or of pasts, with the kept ones alone."""
    left: Arrays = {}
    for name, column in columns.items():
        if name in ("layout", "neighbours.quantities"):
            left[name] = column
        elif name == "neighbours.shape":
            left[name] = np.array([column[0], np.count_nonzero(kept)], dtype=np.int64)
        elif name == _BY_NEIGHBOUR:
            left[name] = column[kept]
        else:
            left[name] = column[..., kept]
    return left


def _forgotten(columns: Arrays, hit: Bool) -> Arrays:
    """Return the columns of last readings, of which some are now as if there had never been any."""
    columns["time"][hit] = NEVER
    if "since" in columns:
        columns["state"][:, hit] = 0
        columns["since"][:, hit] = NEVER
        columns[_BY_NEIGHBOUR][hit] = 0
    return columns


def _without_pending(body: bytes, codes: Int32) -> tuple[bytes, int] | None:
    gone, left = 0, []
    known = set(codes.tolist())
    for length, zone, start, series in json.loads(body):
        kept = [code for code in series if code not in known]
        gone += len(series) - len(kept)
        if kept:
            left.append([length, zone, start, kept])
    return (json.dumps(left).encode(), gone) if gone else None
