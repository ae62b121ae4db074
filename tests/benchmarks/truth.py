"""What a round must have stored, computed again from the generator's ledger, and the comparison.

Nothing of the gateway is used: the ledger says which messages went out at which device time, what they said
is `messages.values`, the statistics are numpy's. Held against the embedded store's file, after the gateway.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import duckdb
import numpy as np

from tests.benchmarks import messages
from tests.benchmarks.headline import EMPTY_MM

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

_MINUTE_MS: Final = 60_000
_WINDOWS_MS: Final = {
    "15m": (15 * _MINUTE_MS, 0),
    "1h": (60 * _MINUTE_MS, 0),
    # Days of the site are those of Paris in winter: they begin at 23:00 UTC. Rounds last hours.
    "1d": (1_440 * _MINUTE_MS, 60 * _MINUTE_MS),
}
_FULL_MM: Final = 300
_RELATIVE: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Verdict:
    """How many windows and raw points were compared, and what differs (empty: nothing)."""

    raw: int
    windows: int
    differences: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Sent:
    """All messages as columns."""

    device: Ints
    ts_ms: Ints
    values: dict[str, Floats]


def check(ledger: Path, store: Path, devices: int) -> Verdict:
    """Compare what the embedded store has with what was sent."""
    sent = _sent(np.load(ledger), devices)
    differences: list[str] = []
    compared = 0
    with duckdb.connect(str(store), read_only=True) as connection:
        stored = connection.execute("SELECT count(*), count(DISTINCT (device, time)) FROM waste").fetchone()
        assert stored is not None
        if stored != (len(sent.device), len(sent.device)):
            differences.append(f"raw: {stored} points and identities of {len(sent.device)} messages")
        last_ms = int(sent.ts_ms.max())
        for window, (length, shift) in _WINDOWS_MS.items():
            found = _stored(connection, f"waste_{window}", length, shift)
            compared += len(found["key"])
            differences += _compared(
                window, _expected(sent, length, shift), found, (last_ms + shift) // length
            )
    return Verdict(len(sent.device), compared, tuple(differences))


def _sent(ledger: Ints, devices: int) -> _Sent:
    first, count, ts_ms = ledger.T
    place = np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count, count)
    turn, device = np.divmod(np.repeat(first, count) + place, devices)
    said = messages.values(device, turn)
    level = 100 * np.clip((EMPTY_MM - said.distance) / (EMPTY_MM - _FULL_MM), 0, 1)
    values = {
        "distance": said.distance,
        "temperature": said.temperature,
        "battery": said.battery,
        "rssi": said.rssi,
        "filling_level": level,
    }
    return _Sent(device, np.repeat(ts_ms, count), values)


def _expected(sent: _Sent, length: int, shift: int) -> dict[str, NDArray[Any]]:
    """Return the statistics by key (device and number of the window), as columns."""
    key = _keys(sent.device, (sent.ts_ms + shift) // length)
    order = np.argsort(key, kind="stable")
    key = key[order]
    starts = np.flatnonzero(np.diff(key, prepend=-1))
    counts = np.diff(starts, append=len(key))
    columns: dict[str, NDArray[Any]] = {"key": key[starts]}
    for name, values in sent.values.items():
        ordered = values[order]
        columns |= {
            f"{name}_count": counts,
            f"{name}_mean": np.add.reduceat(ordered, starts) / counts,
            f"{name}_min": np.minimum.reduceat(ordered, starts),
            f"{name}_max": np.maximum.reduceat(ordered, starts),
        }
    return columns


def _stored(
    connection: duckdb.DuckDBPyConnection, measurement: str, length: int, shift: int
) -> dict[str, Floats]:
    """Return the same columns from the store, by key; none where the measurement is not there."""
    known = connection.execute(
        "SELECT count(*) FROM duckdb_views() WHERE view_name = ?", [measurement]
    ).fetchone()
    if not known or not known[0]:
        return {"key": np.empty(0)}
    query = f'SELECT CAST(substr(device, 5) AS BIGINT) AS d, epoch_ms(time) AS t, * FROM "{measurement}"'  # noqa: S608
    columns = connection.execute(query).fetchnumpy()
    key = _keys(columns["d"].astype(np.int64), (columns["t"].astype(np.int64) + shift) // length)
    order = np.argsort(key)
    numbers = {name: column[order] for name, column in columns.items() if column.dtype.kind in "if"}
    return numbers | {"key": key[order]}


def _compared(window: str, expected: dict[str, Floats], found: dict[str, Floats], last: int) -> list[str]:
    """Return what differs; windows that had not ended when the last message went out may be missing."""
    ended = expected["key"] % _SPAN < last
    missing = np.setdiff1d(expected["key"][ended], found["key"])
    invented = np.setdiff1d(found["key"], expected["key"])
    differences = [f"{window}: {len(missing)} windows are missing"] if len(missing) else []
    differences += [f"{window}: {len(invented)} windows nobody asked for"] if len(invented) else []
    ours, theirs = np.isin(expected["key"], found["key"]), np.isin(found["key"], expected["key"])
    for name, values in expected.items():
        if name == "key" or not theirs.any():
            continue
        tolerance = _RELATIVE if name.endswith("_mean") else 0.0
        same = np.isclose(found[name][theirs], values[ours], rtol=tolerance, atol=0.0)
        if not same.all():
            differences.append(f"{window}: {name} differs in {np.count_nonzero(~same)} windows")
    return differences


_SPAN: Final = 1 << 32


def _keys(device: Ints, window: Ints) -> Ints:
    return device * _SPAN + window
