from __future__ import annotations

from gateway.health.meters import LatencyMeters


def test_durations_are_counted_by_uplinks_and_points() -> None:
    """Once a batch, weighed by its size; a clock that stepped back counts as no time at all."""
    meters = LatencyMeters(("influx", "embedded"))
    meters.durable(0.004, 1_000)
    meters.durable(-3.0, 5)
    meters.stored("influx", 0.3, 50)
    assert dict(meters.durables.cumulative())["0.001"] == 5
    assert dict(meters.durables.cumulative())["+Inf"] == 1_005
    assert meters.stores["influx"].quantile(0.99) == 0.5
    assert meters.stores["embedded"].quantile(0.99) is None
