"""What a run must show, held against its figures: said honestly, and never asserted. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Figures = Mapping[str, Any]

CPU_US: Final = 5.0
RATIO: Final = 15.0
SHARE_QOS1, SHARE_QOS0 = 0.90, 0.45
DURABLE_S, VISIBLE_S = 0.050, 1.5
IDLE: Final = 0.01
GROWTH: Final = 1.5
START_S, MEMORY_MB = 10.0, 500.0
GENERATOR: Final = 2.0
"""Times the broker's limit: else the generator could be what is measured."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One requirement: its figure in words, and whether it is met (None: not in this run)."""

    what: str
    asked: str
    found: str
    met: bool | None


def judged(found: Figures) -> list[Judged]:
    """Hold the figures of `latest.json` against everything that is asked."""
    limit = found["broker_limit_qos0_messages_per_s"] or 0.0
    latency = _of(found, rate=10_000, sink="influxdb").get("latency", {})
    durable = latency.get("publish → durable", {}).get("p99_s")
    visible = latency.get("publish → visible", {}).get("p99_s")
    influx = _of(found, rate=0, sink="influxdb")
    gateway, database = _median(influx, "gateway_cpu_us_per_msg"), _median(influx, "sink_cpu_us_per_msg")
    steady = _of(found, rate=10_000, sink="null")
    ratio_steady = _median(steady, "ratio_to_reference")
    cpu_steady = _median(steady, "gateway_cpu_us_per_msg")
    at = "at saturation"
    return [
        _most(f"CPU of the gateway {at}, µs/msg", found["gateway_cpu_us_per_msg"], CPU_US),
        _least(f"CPU of the usual gateway ÷ Écluse's {at}", found["ratio_to_reference"], RATIO),
        _shown(
            "the same at 10,000 messages/s",
            cpu_steady and ratio_steady,
            lambda: f"{cpu_steady:.2f} µs, {ratio_steady:.1f}",
        ),
        _least("share of the broker's limit, QoS 1", found["share_of_broker_limit_qos1"], SHARE_QOS1),
        _least("share of the broker's limit, QoS 0", found["share_of_broker_limit_qos0"], SHARE_QOS0),
        _most("into InfluxDB: CPU of the gateway, µs/msg, less than InfluxDB's", gateway, database),
        _most("publish → durable, p99, s, at 10,000 messages/s into InfluxDB", durable, DURABLE_S),
        _most("publish → visible, p99, s, at 10,000 messages/s into InfluxDB", visible, VISIBLE_S),
        _most("CPU when idle, share of a core", found["idle_cores"], IDLE),
        *_growth(found),
        _least(
            "the generator alone, messages/s, twice the broker's limit",
            found["generator_alone_messages_per_s"],
            limit * GENERATOR if limit else None,
        ),
        Judged("counts in = counts out", "every round", *_whole(found)),
        Judged("results = the oracle's", "no difference", *_equal(found)),
    ]


def _growth(found: Figures) -> list[Judged]:
    """Hold what more devices and more days cost against what is asked."""
    growth = found["growth_1k_to_100k"]
    start = found["extras"].get("start with a million devices", {})
    days = found["extras"].get("three days of 100,000 bins", {})
    slowest = max((start[one]["seconds"] for one in ("first", "again") if one in start), default=None)
    return [
        _most("CPU a message with 100,000 devices ÷ with 1,000", growth and growth["median"], GROWTH),
        _most("start with 1,000,000 known devices, s", slowest, START_S),
        _most("100,000 bins for three days, most memory, MB", days.get("peak_mb"), MEMORY_MB),
    ]


def _of(found: Figures, **wanted: object) -> Figures:
    """Return the figures of the workload that has these, beside what the headline has; {} without it."""
    headline = {"devices": 10_000, "qos": 1, "broker": "mosquitto"}
    asked = headline | wanted
    return next((one for one in found["varied"] if all(one[key] == asked[key] for key in asked)), {})


def _median(figures: Figures, name: str) -> float | None:
    return figures[name]["median"] if name in figures else None


def _least(what: str, value: float | None, bound: float | None) -> Judged:
    return _bounded(what, "at least", value, bound, lambda one, other: one >= other)


def _most(what: str, value: float | None, bound: float | None) -> Judged:
    return _bounded(what, "under", value, bound, lambda one, other: one < other)


def _bounded(
    what: str, word: str, value: float | None, bound: float | None, holds: Callable[[float, float], bool]
) -> Judged:
    asked = f"{word} {_written(bound)}" if bound is not None else word
    if value is None or bound is None:
        return Judged(what, asked, "not in this run", None)
    return Judged(what, asked, _written(value), holds(value, bound))


def _shown(what: str, value: float | None, said: Callable[[], str]) -> Judged:
    return Judged(what, "printed", said() if value else "not in this run", True if value else None)


def _whole(found: Figures) -> tuple[str, bool]:
    problems = len(found["problems"])
    return f"{len(found['rounds'])} rounds, {problems} problems", not problems


def _equal(found: Figures) -> tuple[str, bool | None]:
    verdict = found["oracle"]
    if verdict is None:
        return "not in this run", None
    told = f"{verdict['raw']:,} raw points and {verdict['windows']:,} windows compared"
    return f"{told}, {len(verdict['differences'])} differences", not verdict["differences"]


def _written(value: float) -> str:
    if abs(value) >= 1_000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 1 else f"{value:.2f}"
