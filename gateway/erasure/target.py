"""Whose an uplink is: the question that erasure asks of every topic in the journal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.decode.exchanges import mark
from gateway.decode.routes import Routes
from gateway.decode.topics import compile_template
from gateway.erasure import records
from gateway.model import Control, SeriesTable
from gateway.sinks.erasing import Which

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.decode.topics import Template
    from gateway.erasure.records import Uplink
    from gateway.model import Record
    from gateway.quarantine.reader import QuarantineRow
    from gateway.rules import Rules

_TOPICS = 1_000_000
"""Topics remembered; then all are judged anew."""
_SAMPLES, _TELLING = 4, 24
"""Payloads kept to look for afterwards, and how many bytes make one worth that."""


@dataclass(frozen=True, slots=True)
class Target:
    """The device to be erased."""

    site: str
    device: str

    @property
    def key(self) -> tuple[str, str]:
        """Site and identifier, as they stand in tables."""
        return self.site, self.device


def topics_by(rules: Rules) -> Routes:
    """Return what tells whose a topic is, by the profiles in force and by those that were removed."""
    return Routes(
        {**rules.retired, **rules.plans},
        rules.devices,
        accept_unknown=True,
        max_unknown=0,
        max_series=1,
        tables={},
        texts=SeriesTable(),
    )


class Belonging:
    """Tells which topics are the target's, by the profiles in force and by those that were.

    A topic that fits no profile of today is the target's where it fitted one of before as such, or where
    one of its levels is the device's identifier and none is another site at which one of that name stands:
    rather one uplink too many than one left. `others`: those sites.
    """

    def __init__(self, target: Target, *, rules: Rules, others: Iterable[str] = ()) -> None:
        self.target = target
        self.which = Which({"site": target.site, "device": target.device})
        self.topics: set[bytes] = set()
        """Those that were found to be the target's."""
        self.marks: set[int] = set()
        """What repetitions of its uplinks would be known by."""
        self.payloads: list[bytes] = []
        """A few of those that were erased."""
        self._old: list[Template] = []
        self._level = target.device.encode()
        self._others = {site.encode() for site in others if site and site != target.site}
        self._routes = topics_by(rules)
        self._known: dict[bytes, bool] = {}

    def renew(self, rules: Rules, _position: int) -> None:
        """Judge by other rules from here on."""
        self._routes = topics_by(rules)
        self._known.clear()

    def learn(self, _profile: str, topics: Iterable[str]) -> None:
        """Take the topics of a profile that was in force before."""
        known = {template.text for template in self._old}
        new = [compile_template(text) for text in topics if text not in known]
        if new:
            self._old += new
            self._known.clear()

    def without(self, _position: int, record: Record) -> tuple[Record, int] | None:
        """Return a record without what is the target's, and how many uplinks went; None where nothing is.

        Raises `ProtocolError` where it is no sequence of frames.
        """
        if isinstance(record, Control):
            left = records.without_device(record, self.target.key) or records.without_points(
                record, self.which
            )
            return None if left is None else (left, 0)
        if self._level not in record.frames:  # its identifier is a level of its topics
            return None
        found = records.without_uplinks(record, self.has)
        if found is None:
            return None
        self._note(found[1])
        return found[0], len(found[1])

    def has(self, topic: bytes) -> bool:
        """Tell whether uplinks of a topic are the target's."""
        known = self._known.get(topic)
        if known is None:
            if len(self._known) >= _TOPICS:
                self._known.clear()
            known = self._known[topic] = self._judge(topic)
            if known:
                self.topics.add(topic)
        return known

    def _note(self, uplinks: Iterable[Uplink]) -> None:
        """Note what was erased, for what has to be done and looked for afterwards."""
        for topic, payload in uplinks:
            self.marks.add(mark(topic, payload))
            if len(self.payloads) < _SAMPLES and len(payload) >= _TELLING:
                self.payloads.append(payload)

    def row(self, row: QuarantineRow) -> bool:
        """Tell whether a row of the quarantine is the target's: an uplink, or a point that a sink refused."""
        if (row.site, row.device) == self.target.key or (row.topic and self.has(row.topic)):
            return True
        return bool(row.sink) and not row.topic and self.which.has(row.payload)

    def _judge(self, topic: bytes) -> bool:
        if self._level not in topic:
            return False
        site, device, _ = self._routes.whose(topic)
        if device:
            # A template without {site} gives none where the identifier stands at several, or at none.
            return device == self.target.device and site in ("", self.target.site)
        text = topic.decode(errors="replace")
        found = [match for template in self._old if (match := template.match(text))]
        if found:
            return any(d == self.target.device and s in ("", self.target.site) for s, d in found)
        levels = topic.split(b"/")
        return self._level in levels and not self._others.intersection(levels)
