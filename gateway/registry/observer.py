"""ports.DeviceObserver for the control side: the roll of the fleet and the list of strangers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.health.fleet import FleetRoll
    from gateway.registry.unknown import UnknownDevices


class RegistryObserver:
    """Passes on what was heard."""

    def __init__(self, fleet: FleetRoll, strangers: UnknownDevices) -> None:
        self._fleet = fleet
        self._strangers = strangers

    def heard(self, site_devices: Iterable[tuple[str, str]], at_ns: int) -> None:
        """These devices gave readings since the last call, the last of them at that time."""
        self._fleet.heard(site_devices, at_ns)

    def unknown(self, site: str, device: str, topic: str, payload: bytes, at_ns: int) -> None:
        """A device that is not in the registry sent this."""
        self._fleet.unknown(site, device)
        self._strangers.unknown(site, device, topic, payload, at_ns)
