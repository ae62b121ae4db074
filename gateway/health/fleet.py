"""Which devices were heard, and which have gone silent."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from gateway.health.snapshot import Fleet
from gateway.roster import Roster

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.profiles.plan import ProfilePlan

SILENT_AFTER = 3
"""A device is silent when nothing came for so many of its expected intervals."""
NEVER_SILENT = 2**63
"""ns; for devices that are not expected to report at any time."""


class FleetRoll:
    """The roll of the fleet: when each device was last heard, since this process started; ns UTC."""

    def __init__(self, *, started_ns: int) -> None:
        self._started_ns = started_ns
        self._heard: dict[tuple[str, str], int] = {}
        self._unknown: set[tuple[str, str]] = set()
        self._counted = Roster(), Counter[str]()

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
        devices: Roster,
        plans: Mapping[str, ProfilePlan],
    ) -> Fleet:
        """Count known, heard, silent and unknown devices. Those not heard yet count from the start.

        Looks at the devices that were heard, one by one; of all others it counts those of each profile.
        """
        most_ns = {name: SILENT_AFTER * plan.every_ns for name, plan in plans.items() if plan.every_ns}
        waiting = self._profiles_of(devices).copy()
        heard = silent = 0
        for key, at_ns in self._heard.items():
            details = devices.details(key)
            if details is not None:
                heard += 1
                waiting[details.profile] -= 1
                silent += now_ns - max(at_ns, self._started_ns) > most_ns.get(details.profile, NEVER_SILENT)
        since_start = now_ns - self._started_ns
        silent += sum(n for name, n in waiting.items() if since_start > most_ns.get(name, NEVER_SILENT))
        return Fleet(
            known=len(devices),
            heard=heard,
            silent=silent,
            unknown=sum(key not in devices for key in self._unknown),
        )

    def _profiles_of(self, devices: Roster) -> Counter[str]:
        """Return how many devices each profile has; counted once for each registry."""
        if devices is not self._counted[0]:
            self._counted = devices, devices.profiles()
        return self._counted[1]
