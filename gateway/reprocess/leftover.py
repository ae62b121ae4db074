"""What a kind of sink cannot do of a reprocessing, as lines for the operator.

VictoriaMetrics keeps the first writing of a sample and deletes series whole; InfluxDB 3 deletes nothing. A
line says what to do, and the point in line protocol: as it is to be (`replace`), or as it is (`delete`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gateway.reprocess import rewriting
from gateway.reprocess.comparing import changes
from gateway.sinks import columns, line_protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from gateway.model import Int64
    from gateway.reprocess.comparing import Change, Side
    from gateway.sinks.embedded_store import Store

_ONCE, _NEVER_DELETES = "victoriametrics", "influxdb3"
KINDS = frozenset({_ONCE, _NEVER_DELETES})


def lines(kind: str, before: Store, after: Store) -> Iterator[bytes]:
    """Yield what a sink of this kind (one of `KINDS`) cannot do, a line each, without newlines."""
    if kind == _NEVER_DELETES:
        for change in changes(before, after):
            gone = np.concatenate([change.removed, change.changed[rewriting.loses_field(change), 0]])
            yield from _told(b"delete ", change, change.before, gone, strings=True)
        return
    gone_whole = {
        (name, series)
        for name, side, _ in rewriting.vanished(before, after)
        for series in rewriting.series_of(side)
    }
    for change in changes(before, after):
        series = rewriting.series_of(change.before)
        stays = [
            row for row in change.removed.tolist() if (change.measurement, series[row]) not in gone_whole
        ]
        yield from _told(b"delete ", change, change.before, np.array(stays, np.int64), strings=False)
        other = change.changed[rewriting.replaces_field(change), 1]
        yield from _told(b"replace ", change, change.after, other, strings=False)


def write(file: Path, found: Iterable[bytes]) -> bool:
    """Write lines to a new file; False, and no file, where there are none. Raises OSError."""
    some = False
    with file.open("xb") as out:
        for line in found:
            out.write(line + b"\n")
            some = True
    if not some:
        file.unlink()
    return some


def _told(what: bytes, change: Change, side: Side, rows: Int64, *, strings: bool) -> Iterator[bytes]:
    if len(rows):
        points = columns.decode(rewriting.points_of(change, side, rows))
        for line in line_protocol.split(line_protocol.encode(points, strings=strings)):
            yield what + line
