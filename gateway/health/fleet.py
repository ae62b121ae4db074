"""Which devices were heard, and which have gone silent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gateway.health.snapshot import Fleet

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.model import Device
    from gateway.profiles.plan import ProfilePlan

SILENT_AFTER = 3
"""A device is silent when nothing came for so many of its expected intervals."""


class FleetRoll:
    """The roll of the fleet: when each device was last heard, since this process started; ns UTC."""

    def __init__(self, *, started_ns: int) -> None:
        self._started_ns = started_ns
        self._heard: dict[tuple[str, str], int] = {}
        self._unknown: set[tuple[str, str]] = set()

    def heard(self, devices: Iterable[tuple[str, str]], at_ns: int) -> None:
        """Note that these devices gave readings."""
        self._heard.update(dict.fromkeys(devices, at_ns))

    def unknown(self, site: str, device: str) -> None:
        """Note a stranger; at most 100,000 are told apart."""
        if len(self._unknown) < 100_000:
            self._unknown.add((site, device))

    def count(
        self,
        now_ns: int,
        devices: Mapping[tuple[str, str], Device],
        plans: Mapping[str, ProfilePlan],
    ) -> Fleet:
        """Count known, heard, silent and unknown devices. Those not heard yet count from the start."""
        every = {name: plan.every_ns for name, plan in plans.items()}
        limits = np.array([every.get(device.profile, 0) for device in devices.values()], dtype=np.int64)
        heard = np.array([self._heard.get(key, 0) for key in devices], dtype=np.int64)
        age = now_ns - np.maximum(heard, self._started_ns)
        silent = (limits > 0) & (age > SILENT_AFTER * limits)
        return Fleet(
            known=len(devices),
            heard=int(np.count_nonzero(heard)),
            silent=int(np.count_nonzero(silent)),
            unknown=len(self._unknown - devices.keys()),
        )
