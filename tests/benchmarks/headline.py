"""The headline workload, frozen: what every figure of `make bench` is about.

Changed only with a note in `HISTORY` below and in docs/performance.md: figures of two versions of the
workload must never be compared.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

VERSION: Final = 1
HISTORY: Final = {1: "the first one"}

PROFILE: Final = "bin-level"
SITE: Final = "lyon"
ZONE: Final = "Europe/Paris"
WINDOW_S: Final = 900
"""The shortest window of the profile: 15 min."""
READINGS_A_WINDOW: Final = 5
READINGS_TOLERANCE: Final = 0.10
GRACE_S: Final = 10
"""Of the machine's time: multiplied by the clock's factor, as `max_ahead` is."""
MAX_AHEAD_S: Final = 300
EVENT_ORIGIN_NS: Final = 1_795_341_600 * 10**9
"""2026-11-22T10:00:00Z: the clock's event time at the start of a round."""
EMPTY_MM: Final = 3_000
"""Depth of every bin: a parameter of the installation."""


@dataclass(frozen=True, slots=True)
class Workload:
    """The headline, and what a run varies one at a time.

    The shipped profile `bin-level` as it is (JSON; distance, temperature, battery, tilt and rssi read, the
    filling level derived; ranges, spike, flat line and rate of rise tested; duplicates refused; lateness
    72 h; windows of 15 min, 1 h and 1 d with the default statistics). Journal synced before the broker
    is acknowledged; outbox and checkpoints as shipped; raw readings and windows are encoded and written.
    `rate` is messages/s, 0: as fast as the broker takes them.
    """

    devices: int = 10_000
    qos: int = 1
    rate: int = 0
    sink: str = "null"
    broker: str = "mosquitto"
    root: str = "city"
    """What its topics begin with: the profile's own, but where two gateways share a broker."""

    def factor(self, rate: float) -> float:
        """Return the clock's factor at which so many messages/s are 5 readings a device and window."""
        return rate * WINDOW_S / (READINGS_A_WINDOW * self.devices)

    def named(self) -> str:
        """Say it in a few words."""
        rate = f"{self.rate:,}/s" if self.rate else "saturation"
        return f"{self.devices:,} devices, QoS {self.qos}, {rate}, {self.broker}, sink {self.sink}"


HEADLINE: Final = Workload()
STEADY: Final = replace(HEADLINE, rate=10_000)
VARIED: Final = (
    replace(HEADLINE, sink="influxdb"),
    replace(HEADLINE, sink="embedded"),
    replace(HEADLINE, devices=1_000),
    replace(HEADLINE, devices=100_000),
    replace(HEADLINE, broker="nats"),
    replace(HEADLINE, sink="victoriametrics"),
    replace(HEADLINE, devices=1_000_000),
)
"""One factor at a time, beside QoS 0."""
GROWTH: Final = tuple(workload for workload in VARIED if workload.devices in (1_000, 100_000))
"""Few devices and many, one after the other: what more of them cost is the ratio of the two."""


def write_profile(shipped: Path, folder: Path, factor: float, root: str = HEADLINE.root) -> Path:
    """Write the shipped profile with `max_ahead` multiplied by the factor; return the profiles' folder.

    `root` is what its topics begin with.
    """
    text = (shipped / PROFILE / "profile.yaml").read_text(encoding="utf-8")
    assert "\nmax_ahead:" not in text, "the shipped profile has its own max_ahead: multiply that"
    assert text.count(f'["{HEADLINE.root}/') == 1
    text = text.replace(f'["{HEADLINE.root}/', f'["{root}/')
    made = folder / "profiles" / PROFILE
    made.mkdir(parents=True, exist_ok=True)
    lateness = "lateness:"
    assert f"\n{lateness}" in text
    text = text.replace(f"\n{lateness}", f"\nmax_ahead: {round(MAX_AHEAD_S * factor)}s\n{lateness}", 1)
    (made / "profile.yaml").write_text(text, encoding="utf-8")
    return made.parent


def write_devices(path: Path, devices: int) -> None:
    """Write devices.csv: every bin with its depth."""
    width = id_width(devices)
    rows = "".join(f"{SITE},bin-{index:0{width}d},{PROFILE},{EMPTY_MM}\n" for index in range(devices))
    path.write_text(f"site,id,profile,param.empty\n{rows}", encoding="utf-8")


def id_width(devices: int) -> int:
    """Return how many digits a device's number has: five, or more where the fleet needs them."""
    return max(5, len(str(devices - 1)))
