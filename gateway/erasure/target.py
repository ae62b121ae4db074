"""Whose an uplink is: the question that erasure asks of every topic in the journal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.decode.routes import Routes
from gateway.decode.topics import compile_template
from gateway.model import SeriesTable
from gateway.sinks import erasing

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.decode.topics import Template
    from gateway.profiles.plan import ProfilePlan
    from gateway.roster import Roster


@dataclass(frozen=True, slots=True)
class Target:
    """The device to be erased."""

    site: str
    device: str

    @property
    def key(self) -> tuple[str, str]:
        """Site and identifier, as they stand in tables."""
        return self.site, self.device


class Belonging:
    """Tells which topics are the target's, by the profiles in force and by those that were.

    A topic that fits no profile of today is the target's where it fitted one of before as such, or where
    one of its levels is the device's identifier: rather one uplink too many than one left.
    """

    def __init__(
        self,
        target: Target,
        *,
        plans: Mapping[str, ProfilePlan],
        devices: Roster,
    ) -> None:
        self.target = target
        self.topics: set[bytes] = set()
        """Those that were found to be the target's."""
        self._old: list[Template] = []
        self._level = target.device.encode()
        self._routes = Routes(
            plans,
            devices,
            accept_unknown=True,
            max_unknown=0,
            max_series=1,
            tables={},
            texts=SeriesTable(),
        )
        self._known: dict[bytes, bool] = {}

    def learn(self, topics: Iterable[str]) -> None:
        """Take the topics of a profile that was in force before."""
        known = {template.text for template in self._old}
        new = [compile_template(text) for text in topics if text not in known]
        if new:
            self._old += new
            self._known.clear()

    def has(self, topic: bytes) -> bool:
        """Tell whether uplinks of a topic are the target's."""
        known = self._known.get(topic)
        if known is None:
            if len(self._known) > 1_000_000:
                self._known.clear()
            known = self._known[topic] = self._judge(topic)
            if known:
                self.topics.add(topic)
        return known

    def row(self, sink: str, site: str, device: str, topic: bytes, payload: bytes) -> bool:
        """Tell whether a row of the quarantine is the target's: an uplink, or a point that a sink refused."""
        if (site, device) == self.target.key or (topic and self.has(topic)):
            return True
        return bool(sink) and not topic and erasing.is_of(payload, *self.target.key)

    def _judge(self, topic: bytes) -> bool:
        site, device, _ = self._routes.whose(topic)
        if device:
            # A template without {site} gives none where the identifier stands at several, or at none.
            return device == self.target.device and site in ("", self.target.site)
        text = topic.decode(errors="replace")
        found = [match for template in self._old if (match := template.match(text))]
        if found:
            return any(d == self.target.device and s in ("", self.target.site) for s, d in found)
        return self._level in topic.split(b"/")
