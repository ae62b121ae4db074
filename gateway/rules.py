"""What is in force at a place in the journal: profiles, devices, limits.

Changed only by control records, so that a replay sees every change at the same place; saved in the
checkpoint. What the operator wants (the folder, the file) is compared with what is in force, and the
difference is appended to the journal.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from gateway.devices import device_from_json, device_to_json
from gateway.model import Control, ControlKind
from gateway.profiles.compile import compile_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.model import Device
    from gateway.profiles.plan import ProfilePlan

_DEVICES_A_RECORD = 5_000


@dataclass(frozen=True, slots=True)
class Limits:
    """The settings on which decoding and windows depend."""

    default_zone: str = "UTC"
    zones: Mapping[str, str] = field(default_factory=dict)
    """Site → IANA zone."""
    accept_unknown: bool = False
    max_unknown: int = 1_000
    max_series: int = 1_000_000
    max_rate: str = "off"
    """Uplinks of one device in an interval of receipt, as `literals.rate` reads it."""


@dataclass(slots=True)
class Rules:
    """The rules in force. `apply` replaces what a record changes; the mappings are never mutated."""

    plans: Mapping[str, ProfilePlan] = field(default_factory=dict)
    retired: Mapping[str, ProfilePlan] = field(default_factory=dict)
    """Profiles that were removed: they decode nothing, and their open windows are written all the same."""
    devices: Mapping[tuple[str, str], Device] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)

    def apply(self, record: Control) -> None:
        """Put a control record in force. Its body was validated before it was appended."""
        body = orjson.loads(record.body)
        match record.kind:
            case ControlKind.PROFILE:
                name = body["name"]
                self.plans = {**self.plans, **_compiled({name: body["text"]})}
                self.retired = _without(self.retired, name)
            case ControlKind.PROFILE_REMOVED:
                name = body["name"]
                self.retired = {**self.retired, **{n: p for n, p in self.plans.items() if n == name}}
                self.plans = _without(self.plans, name)
            case ControlKind.DEVICES:
                gone = {tuple(key) for key in body["remove"]}
                kept = {key: device for key, device in self.devices.items() if key not in gone}
                self.devices = kept | _keyed(map(device_from_json, body["upsert"]))
            case ControlKind.SETTINGS:
                self.limits = Limits(**body)

    def kept_plans(self) -> list[ProfilePlan]:
        """Return the profiles in force and those that were removed: what windows can still be of."""
        return [*self.plans.values(), *self.retired.values()]

    def dump(self) -> bytes:
        """Return everything as JSON, for the checkpoint."""
        return orjson.dumps(
            {
                "profiles": {name: plan.text for name, plan in self.plans.items()},
                "retired": {name: plan.text for name, plan in self.retired.items()},
                "devices": [device_to_json(device) for device in self.devices.values()],
                "limits": asdict(self.limits),
            }
        )

    @classmethod
    def restored(cls, body: bytes | None) -> Rules:
        """Rebuild what `dump` gave; empty rules from None."""
        if body is None:
            return cls()
        saved = orjson.loads(body)
        return cls(
            plans=_compiled(saved["profiles"]),
            retired=_compiled(saved["retired"]),
            devices=_keyed(map(device_from_json, saved["devices"])),
            limits=Limits(**saved["limits"]),
        )

    def changes_to(
        self,
        *,
        plans: Mapping[str, ProfilePlan],
        devices: Mapping[tuple[str, str], Device],
        limits: Limits,
        at_ns: int,
    ) -> list[Control]:
        """Return the control records that lead from these rules to what is wanted, in order.

        What goes, goes first: a profile may take over the topics of one that is removed.
        """
        records = []
        if limits != self.limits:
            records.append(_record(ControlKind.SETTINGS, at_ns, asdict(limits)))
        records += [
            _record(ControlKind.PROFILE_REMOVED, at_ns, {"name": name})
            for name in self.plans
            if name not in plans
        ]
        for name, plan in plans.items():
            if name not in self.plans or self.plans[name].text != plan.text:
                body = {"name": name, "version": plan.version, "text": plan.text}
                records.append(_record(ControlKind.PROFILE, at_ns, body))
        return records + _device_records(self.devices, devices, at_ns)


def _device_records(
    old: Mapping[tuple[str, str], Device], new: Mapping[tuple[str, str], Device], at_ns: int
) -> list[Control]:
    upsert = [device for key, device in new.items() if old.get(key) != device]
    remove = [list(key) for key in old if key not in new]
    records = []
    for first in range(0, max(len(upsert), len(remove)), _DEVICES_A_RECORD):
        chunk = slice(first, first + _DEVICES_A_RECORD)
        body = {"upsert": [device_to_json(device) for device in upsert[chunk]], "remove": remove[chunk]}
        records.append(_record(ControlKind.DEVICES, at_ns, body))
    return records


def _record(kind: ControlKind, at_ns: int, body: dict[str, Any]) -> Control:
    return Control(kind=kind, at_ns=at_ns, body=orjson.dumps(body))


def _compiled(texts: Mapping[str, str]) -> dict[str, ProfilePlan]:
    """Compile texts that were good once. Raises ConfigurationError: another version of Écluse took them."""
    return {name: compile_text(text, name=f"profile {name} in the journal") for name, text in texts.items()}


def _without(plans: Mapping[str, ProfilePlan], name: str) -> dict[str, ProfilePlan]:
    return {known: plan for known, plan in plans.items() if known != name}


def _keyed(devices: Iterable[Device]) -> dict[tuple[str, str], Device]:
    return {(device.site, device.id): device for device in devices}
