"""Counts by bucket, observed once a batch: what a latency histogram costs us is a bisection."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field

LATENCY_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 60.0, 600.0)


@dataclass(slots=True)
class Histogram:
    """A cumulative-ready histogram: `counts[i]` observations ≤ `bounds[i]`, the last one beyond all."""

    bounds: tuple[float, ...] = LATENCY_BUCKETS_S
    counts: list[int] = field(default_factory=list)
    total: float = 0.0

    def __post_init__(self) -> None:
        if not self.counts:
            self.counts = [0] * (len(self.bounds) + 1)

    def observe(self, seconds: float, count: int = 1) -> None:
        """Count `count` observations of the same value."""
        self.counts[bisect_left(self.bounds, seconds)] += count
        self.total += seconds * count

    def cumulative(self) -> list[tuple[str, float]]:
        """Return (upper bound, observations ≤ it) as Prometheus wants them, `+Inf` last."""
        out, running = [], 0
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self.counts, strict=True):
            running += count
            out.append((bound, float(running)))
        return out

    def quantile(self, share: float) -> float | None:
        """Return the upper bound of the bucket that holds that share of observations; None without any."""
        wanted = share * sum(self.counts)
        running = 0
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            running += count
            if running >= wanted and running:
                return bound
        return None
