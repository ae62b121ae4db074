"""What is in force at a place in the journal: profiles, devices, limits.

Changed only by control records, so that a replay sees every change at the same place; saved in the
checkpoint. What the operator wants (the folder, the file) is compared with what is in force, and the
difference is appended to the journal. A record also says what was in force before it, so that the rules of
any place that the journal still holds can be had back from those of now, although what put them in force
was trimmed long ago.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from gateway.model import Control, ControlKind
from gateway.profiles.compile import compile_text
from gateway.roster import Roster, grouped, ungrouped

if TYPE_CHECKING:
    from collections.abc import Mapping

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
    devices: Roster = field(default_factory=Roster)
    limits: Limits = field(default_factory=Limits)

    def apply(self, record: Control) -> set[tuple[str, str]]:
        """Put a control record in force, whose body was validated before it was appended.

        Returns the (site, device) that it names: those that changed.
        """
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
                new, gone = list(ungrouped(body["upsert"])), [(site, id_) for site, id_ in body["remove"]]
                self.devices = self.devices.changed(new, gone)
                return {*gone, *((site, device) for site, device, _ in new)}
            case ControlKind.SETTINGS:
                self.limits = Limits(**_without_before(body))
        return set()

    def revert(self, record: Control) -> None:
        """Take back the control record that was applied last.

        A profile that it removed is in force again; one that it put in force leaves no trace. Raises
        KeyError where it does not say what was before: another version of Écluse wrote it.
        """
        body = orjson.loads(record.body)
        match record.kind:
            case ControlKind.PROFILE | ControlKind.PROFILE_REMOVED:
                name, before = body["name"], body["before"]
                self.retired = _without(self.retired, name)
                self.plans = _without(self.plans, name) | (_compiled({name: before}) if before else {})
            case ControlKind.DEVICES:
                old = list(ungrouped(body["before"]))
                known = {(site, device) for site, device, _ in old}
                new = [(site, device) for site, device, _ in ungrouped(body["upsert"])]
                self.devices = self.devices.changed(old, [key for key in new if key not in known])
            case ControlKind.SETTINGS:
                self.limits = Limits(**body["before"])

    def kept_plans(self) -> list[ProfilePlan]:
        """Return the profiles in force and those that were removed: what windows can still be of."""
        return [*self.plans.values(), *self.retired.values()]

    def dump(self) -> bytes:
        """Return everything but the devices as JSON, for the checkpoint."""
        return orjson.dumps(
            {
                "profiles": {name: plan.text for name, plan in self.plans.items()},
                "retired": {name: plan.text for name, plan in self.retired.items()},
                "limits": asdict(self.limits),
            }
        )

    @classmethod
    def restored(cls, body: bytes | None, devices: Roster) -> Rules:
        """Rebuild what `dump` gave, with these devices; empty rules from None."""
        if body is None:
            return cls()
        saved = orjson.loads(body)
        return cls(
            plans=_compiled(saved["profiles"]),
            retired=_compiled(saved["retired"]),
            devices=devices,
            limits=Limits(**saved["limits"]),
        )

    def changes_to(
        self,
        *,
        plans: Mapping[str, ProfilePlan],
        devices: Roster,
        limits: Limits,
        at_ns: int,
    ) -> list[Control]:
        """Return the control records that lead from these rules to what is wanted, in order.

        What goes, goes first: a profile may take over the topics of one that is removed.
        """
        records = []
        if limits != self.limits:
            body = {**asdict(limits), "before": asdict(self.limits)}
            records.append(_record(ControlKind.SETTINGS, at_ns, body))
        records += [
            _record(ControlKind.PROFILE_REMOVED, at_ns, {"name": name, "before": plan.text})
            for name, plan in self.plans.items()
            if name not in plans
        ]
        for name, plan in plans.items():
            before = self.plans[name].text if name in self.plans else None
            if before != plan.text:
                body = {"name": name, "version": plan.version, "text": plan.text, "before": before}
                records.append(_record(ControlKind.PROFILE, at_ns, body))
        return records + _device_records(self.devices, devices, at_ns)


def _device_records(old: Roster, new: Roster, at_ns: int) -> list[Control]:
    upsert, remove = old.changes_to(new)
    records = []
    for first in range(0, max(len(upsert), len(remove)), _DEVICES_A_RECORD):
        chunk = slice(first, first + _DEVICES_A_RECORD)
        touched = [*((site, device) for site, device, _ in upsert[chunk]), *remove[chunk]]
        before = [(*key, details) for key in touched if (details := old.details(key)) is not None]
        body = {"upsert": grouped(upsert[chunk]), "remove": remove[chunk], "before": grouped(before)}
        records.append(_record(ControlKind.DEVICES, at_ns, body))
    return records


def _without_before(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name != "before"}


def _record(kind: ControlKind, at_ns: int, body: dict[str, Any]) -> Control:
    return Control(kind=kind, at_ns=at_ns, body=orjson.dumps(body))


def _compiled(texts: Mapping[str, str]) -> dict[str, ProfilePlan]:
    """Compile texts that were good once. Raises ConfigurationError: another version of Écluse took them."""
    return {name: compile_text(text, name=f"profile {name} in the journal") for name, text in texts.items()}


def _without(plans: Mapping[str, ProfilePlan], name: str) -> dict[str, ProfilePlan]:
    return {known: plan for known, plan in plans.items() if known != name}
