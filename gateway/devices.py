"""Devices as plain data for JSON: in control records, in the checkpoint, between registry and river."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.model import Device

if TYPE_CHECKING:
    from collections.abc import Mapping


def device_to_json(device: Device) -> dict[str, Any]:
    """Return a device as texts, numbers, lists and mappings; `device_from_json` takes it back."""
    return {
        "site": device.site,
        "id": device.id,
        "profile": device.profile,
        "place": dict(device.place),
        "parameters": {
            name: [[since, value] for since, value in values] for name, values in device.parameters.items()
        },
    }


def device_from_json(data: Mapping[str, Any]) -> Device:
    """Rebuild what `device_to_json` gave. Raises KeyError, TypeError, ValueError on anything else."""
    return Device(
        site=str(data["site"]),
        id=str(data["id"]),
        profile=str(data["profile"]),
        place={str(name): str(text) for name, text in data["place"].items()},
        parameters={
            str(name): tuple((int(since), float(value)) for since, value in values)
            for name, values in data["parameters"].items()
        },
    )
