from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.clock import ManualClock
from gateway.console.values import FRESH_NS, SHOWN, StatusValues
from gateway.sinks.columns import encode
from tests.pages import NOW_NS, bins, filled

if TYPE_CHECKING:
    from pathlib import Path


async def test_the_newest_values_with_their_trend(tmp_path: Path) -> None:
    """Devices by name, no more than fit; the sparkline draws their history; coverage is the last hour's."""
    store = filled(tmp_path)
    await store.write([encode(points) for points in bins()])
    (waste,) = await StatusValues(store, ManualClock(NOW_NS)).families()
    await store.close()
    assert (waste.name, waste.trend, waste.more) == ("waste", "filling_level", 14 - SHOWN)
    assert [one.name for one in waste.rows] == [f"bin-{n:05d}" for n in range(SHOWN)]
    first = waste.rows[0]
    assert first.line is not None
    assert (first.line.first, first.line.last) == (0.0, 89.7)
    assert first.coverage == 0.5
    assert "quality" not in waste.fields


async def test_many_readers_cost_as_one(tmp_path: Path) -> None:
    """A page within two seconds shows the same values; then they are asked anew."""
    store = filled(tmp_path)
    clock = ManualClock(NOW_NS)
    values = StatusValues(store, clock)
    assert await values.families() == []
    await store.write([encode(points) for points in bins()])
    assert await values.families() == []
    clock.advance(FRESH_NS / 1e9 + 0.1)
    assert len(await values.families()) == 1
    await store.close()
