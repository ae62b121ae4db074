"""The MQTT interface that profiles describe, as an AsyncAPI 3 document (asyncapi.com).

Écluse is the application that it speaks of: its operations receive.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from gateway.profiles.payload_schema import payload_schema

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.profiles.plan import ProfilePlan

VERSION = "3.0.0"
MQTT_BINDING = "0.2.0"

_NAME = re.compile(r"\{(\w+)\}")
_PARAMETERS = {
    "device": "the device's identifier at its site",
    "site": "the site that the device belongs to",
    "any": "what the network server puts there, such as an application",
}


def asyncapi(plans: Iterable[ProfilePlan], *, version: str) -> dict[str, Any]:
    """Return the document of the profiles, in the order given. `version` is that of the whole."""
    chosen = list(plans)
    channels = {key: channel for plan in chosen for key, channel in _channels(plan).items()}
    return {
        "asyncapi": VERSION,
        "info": {
            "title": "Écluse: uplinks",
            "version": version,
            "description": "What devices publish, and how it is read. Made from the device profiles.",
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": {f"receive-{key}": _operation(key, plan) for plan in chosen for key in _channels(plan)},
        "components": {
            "messages": {_key(plan): _message(plan) for plan in chosen},
            "schemas": {_key(plan): payload_schema(plan) for plan in chosen},
        },
    }


def _key(plan: ProfilePlan) -> str:
    """Return a profile's name as AsyncAPI takes it for a key."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", plan.name)


def _channels(plan: ProfilePlan) -> Mapping[str, dict[str, Any]]:
    """Return a channel for each topic of a profile, by its key."""
    keys = [_key(plan), *(f"{_key(plan)}-{number}" for number in range(2, len(plan.topics) + 1))]
    return {key: _channel(plan, topic) for key, topic in zip(keys, plan.topics, strict=True)}


def _channel(plan: ProfilePlan, topic: str) -> dict[str, Any]:
    address = topic.replace("+", "{any}")
    return {
        "address": address,
        "title": plan.key,
        "parameters": {name: {"description": _PARAMETERS[name]} for name in _NAME.findall(address)},
        "messages": {"uplink": {"$ref": f"#/components/messages/{_key(plan)}"}},
    }


def _operation(key: str, plan: ProfilePlan) -> dict[str, Any]:
    return {
        "action": "receive",
        "summary": f"uplinks of {plan.name}, family {plan.family}",
        "channel": {"$ref": f"#/channels/{key}"},
        "messages": [{"$ref": f"#/channels/{key}/messages/uplink"}],
        "bindings": {"mqtt": {"qos": plan.qos, "retain": False, "bindingVersion": MQTT_BINDING}},
    }


def _message(plan: ProfilePlan) -> dict[str, Any]:
    as_json = plan.format == "json" or plan.envelope is not None
    return {
        "name": plan.name,
        "title": plan.key,
        "contentType": "application/json" if as_json else "application/octet-stream",
        "payload": {"$ref": f"#/components/schemas/{_key(plan)}"},
    }
