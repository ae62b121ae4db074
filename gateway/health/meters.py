"""What the river and the writers tell of durations, kept as histograms."""

from __future__ import annotations

from gateway.health.histogram import Histogram


class LatencyMeters:
    """ports.Meters: one histogram for the journal, one a sink."""

    def __init__(self, sinks: tuple[str, ...]) -> None:
        self.durables = Histogram()
        self.stores = {name: Histogram() for name in sinks}

    def durable(self, seconds: float, uplinks: int) -> None:
        """Count uplinks by how long after their receipt the journal had them."""
        self.durables.observe(max(seconds, 0.0), uplinks)

    def stored(self, sink: str, seconds: float, points: int) -> None:
        """Count points by how long after the receipt of their uplinks the sink had them."""
        self.stores[sink].observe(max(seconds, 0.0), points)
