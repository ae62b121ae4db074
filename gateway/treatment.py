"""The middle of the river, synchronous: batches in; points, quarantined uplinks and state out.

No socket, no file, no clock. Everything that must survive a crash is in `dirty`, everything that is
on its way out is in the product that `take` gives.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import accumulate, groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from gateway.books import Outcome
from gateway.decode.ahead import codec_work
from gateway.decode.decoder import decode_together
from gateway.decode.formats.codec import NOWHERE
from gateway.decode.parameters import Parameters
from gateway.decode.routes import Routes, table_key
from gateway.literals import rate
from gateway.model import ControlKind, Reason, Refused
from gateway.quality.bounds import bound
from gateway.quality.ranges import range_flags
from gateway.sinks import rewrites
from gateway.sinks.points import TagSets, raw_points, window_points

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from gateway.aggregate.aggregator import Aggregator
    from gateway.books import Books
    from gateway.decode.decoder import Decoded
    from gateway.decode.identity import Identities
    from gateway.decode.rates import Rates
    from gateway.model import (
        Control,
        Device,
        Float64,
        Points,
        RawBatch,
        Readings,
        Rejection,
        SeriesTable,
        Windows,
    )
    from gateway.ports import Codecs, CodecWork, DeviceObserver
    from gateway.profiles.plan import GroupPlan, ProfilePlan
    from gateway.rules import Rules
    from gateway.sinks.rewrites import Rewrite


STRANGERS_A_RECORD = 1_000
"""Uplinks of one journal record that go to quarantine although no device of the registry sent them.

A record is one read: only a flood brings more. Each invented name would else be a row of its own, and
push out what real devices sent. By record, so that a replay keeps the same ones.
"""
_OF_STRANGERS = frozenset({Reason.UNKNOWN_DEVICE, Reason.UNKNOWN_TOPIC})
_RETAIN = 0x01


@dataclass(slots=True)
class Product:
    """What some batches gave, on its way to the outlets."""

    raw: list[Points] = field(default_factory=list)
    windows: list[Points] = field(default_factory=list)
    settled: list[Points] = field(default_factory=list)
    """Windows for sinks that cannot overwrite: each once."""
    rewritten: list[Rewrite] = field(default_factory=list)
    """What a reprocessing writes or removes; each in a product of its own, since the order counts."""
    refused: list[Refused] = field(default_factory=list)
    readmitted: list[tuple[int, int, int]] = field(default_factory=list)
    """Uplinks that were let in again: the position where they first stood, their number there, its time."""
    oldest_ns: int = 0
    """Receive time of the oldest uplink behind these points; 0 where there is none."""

    def __bool__(self) -> bool:
        return bool(
            self.raw or self.windows or self.settled or self.rewritten or self.refused or self.readmitted
        )


class Treatment:
    """Decode → bounds → ranges → aggregate → points, by the rules in force; and the books of it."""

    def __init__(
        self,
        *,
        rules: Rules,
        aggregator: Aggregator,
        identities: Identities,
        rates: Rates,
        books: Books,
        observer: DeviceObserver,
        accepted: Iterable[tuple[str, str]] = (),
        select: Callable[[Readings], Readings] | None = None,
        codecs: Codecs = NOWHERE,
    ) -> None:
        """Begin where a checkpoint left off; `select` chooses which readings are taken (None: all)."""
        self.codecs = codecs
        self.rules = rules
        self.aggregator = aggregator
        self.identities = identities
        self.rates = rates
        rates.use(rate(rules.limits.max_rate))
        self.books = books
        self.rules_changed = False
        self._observer = observer
        self._select = select
        self._product = Product()
        self._outcome = Outcome()
        self._heard_ns = 0
        """Receive time of the last uplink treated."""
        self._groups: dict[tuple[str, str], _Group] = {}
        self._changed: set[tuple[str, str]] = set()
        """Devices that changed since decoding and tags last heard of it."""
        self.routes = Routes(
            rules.plans,
            rules.devices,
            tables=aggregator.tables,
            texts=aggregator.texts,
            unknown=accepted,
            codecs=codecs,
            **_limits(rules),
        )

    def control(self, record: Control) -> None:
        """Put a control record in force, between two batches."""
        if record.kind is ControlKind.SESSION_LOST:
            self._session_lost(record)
            return
        if record.kind is ControlKind.REWRITE:
            self._product.rewritten.append(rewrites.decode(record.body))
            self._product.oldest_ns = self._product.oldest_ns or record.at_ns
            return
        self._changed |= self.rules.apply(record)
        self.rules_changed = True
        if record.kind is ControlKind.DEVICES:
            return  # a fleet comes in many records: what follows is for all of them at once
        limits = self.rules.limits
        self.aggregator.use(self.rules.kept_plans(), zones=limits.zones, default_zone=limits.default_zone)
        self.routes.update(self.rules.plans, self.rules.devices, **_limits(self.rules))
        self.rates.use(rate(limits.max_rate))
        self._groups.clear()

    def codec_work(self, batches: Sequence[RawBatch]) -> list[CodecWork]:
        """Return what codecs will be asked of batches: `codecs.prepare` does it aside, before `uplinks`."""
        self._take_devices()
        return codec_work(batches, self.routes)

    def uplinks(self, batches: Sequence[RawBatch]) -> None:
        """Treat batches that stand one after the other in the journal."""
        for again, some in groupby(batches, key=lambda batch: batch.origin is not None):
            self._take_devices()
            if again:
                self._let_in(list(some))
            else:
                self._received(list(some))

    def _received(self, batches: Sequence[RawBatch]) -> None:
        """Treat what the broker brought."""
        decoded = decode_together(batches, self.routes, self.identities, self.rates)
        located = _Located(batches)
        self._decoded(decoded, located)
        if len(decoded.limited):
            self.books.reasons[Reason.RATE_LIMITED.value] += len(decoded.limited) - len(decoded.samples)
        self._heard_ns = batches[-1].received_ns
        self._observe(decoded, located)
        if not self._product.oldest_ns:
            self._product.oldest_ns = next((batch.received_ns for batch in batches if len(batch)), 0)

    def _let_in(self, batches: Sequence[RawBatch]) -> None:
        """Treat what was let in again from quarantine.

        It is no repetition of itself and no more of a flood than it was, and who said it was not heard now.
        """
        self._observer.heard(self.routes.take_heard(), self._heard_ns)
        decoded, located = decode_together(batches, self.routes), _Located(batches)
        self.routes.take_heard()
        rejections = self._decoded(decoded, located, self._outcome)
        for batch in batches:
            if batch.origin is not None:
                position, places = batch.origin.position, batch.origin.places.tolist()
                self._product.readmitted += [(position, place, batch.received_ns) for place in places]
        self.books.from_quarantine += len(located)
        self._outcome.take_uplinks(len(located), rejections)
        self._outcome.ignored += len(decoded.ignored)

    def _decoded(
        self, decoded: Decoded, located: _Located, outcome: Outcome | None = None
    ) -> list[Rejection]:
        """Take what decoding gave; returns all that was refused of it."""
        rejections = list(decoded.rejections)
        for readings in decoded.readings:
            rejections += self._readings(readings, outcome)
        self._count(decoded, rejections, len(located))
        self._refuse([*rejections, *decoded.samples], located)
        return rejections

    def close_windows(self, now_ns: int, *, settled: bool) -> Iterator[None]:
        """Write the windows whose time has come; `settled`: those too that are written only once.

        One length after the other, to be gone through to the end: what `take` then gives is best delivered
        before the next length is made, since a fleet's day is large. The observer hears of the
        devices here: once a flush, however often they spoke.
        """
        self._observer.heard(self.routes.take_heard(), self._heard_ns)
        self._take_devices()
        for windows in self.aggregator.due(now_ns):
            self.books.windows += len(windows)
            self.books.corrections += int(np.count_nonzero(windows.revision))
            self._product.windows.append(self._window_points(windows))
            del windows  # else it would stay until the next length's is made
            yield
        self.books.not_delivered += self.aggregator.take_undelivered()
        for windows in self.aggregator.settled(now_ns) if settled else ():
            self._product.settled.append(self._window_points(windows))
            del windows  # as above
            yield

    def rewrite_replayed(self) -> None:
        """End a replay: rows whose flags other batches may have told otherwise are written once more."""
        for readings in self.aggregator.replayed():
            group = self._group(readings.profile, readings.group, readings.table)
            again = np.ones(len(readings), np.bool_)
            self._product.raw += raw_points(readings, group.tags, again)

    def whose(self, topic: bytes) -> tuple[str, str, str]:
        """Return the site, the device and the profile of a topic; empty where it tells none."""
        return self.routes.whose(topic)

    def take_outcome(self) -> Outcome:
        """Return what became of the uplinks that were let in again since the last call."""
        outcome, self._outcome = self._outcome, Outcome()
        return outcome

    def _session_lost(self, record: Control) -> None:
        """Note that what the broker had in flight is gone, and that it may have forgotten more."""
        self.identities.lost(**orjson.loads(record.body))
        self.books.sessions_lost += 1
        self.books.session_lost_ns = record.at_ns

    def _take_devices(self) -> None:
        """Let decoding and tags know of the devices that changed."""
        if self._changed:
            self.routes.update(self.rules.plans, self.rules.devices, **_limits(self.rules))
            for group in self._groups.values():
                group.renew(self.rules.devices, self._changed)
            self._changed = set()

    def take(self) -> Product:
        """Return what is on its way out, and begin anew."""
        product, self._product = self._product, Product()
        return product

    def _readings(self, readings: Readings, outcome: Outcome | None) -> list[Rejection]:
        """Take one group's readings, and note in `outcome` what became of them; returns those refused now."""
        book = self.books.readings
        book.decoded += readings.count()
        kept, rejections = bound(readings)
        if self._select is not None:
            kept = self._select(kept)
        if len(kept):
            kept.flags = range_flags(kept)
            group = self._group(kept.profile, kept.group, kept.table)
            settled = self.aggregator.add(kept, group.parameters_of(kept))
            book.aggregated += settled.aggregated
            book.raw_only += settled.raw_only
            book.duplicate += settled.duplicates
            book.conflicting += settled.conflicting
            self.books.late += settled.late_readings
            self._product.raw += raw_points(settled.raw, group.tags, settled.again)
            if outcome is not None:
                outcome.aggregated += settled.aggregated
                outcome.known += settled.duplicates
                outcome.take_late(settled.late_readings, settled.raw.time[settled.late].tolist())
            # A conflicting duplicate has its own column in the book; the uplink goes to quarantine.
            rejections = rejections + [replace(conflict, readings=0) for conflict in settled.conflicts]
        return rejections

    def _window_points(self, windows: Windows) -> Points:
        return window_points(windows, self._group(windows.profile, windows.group, windows.table).tags)

    def _group(self, profile: ProfilePlan, group: GroupPlan, table: SeriesTable) -> _Group:
        key = table_key(profile, group)
        known = self._groups.get(key)
        if known is None or known.profile is not profile:
            known = self._groups[key] = _Group(profile, group, table, self.rules.devices)
        return known

    def _count(self, decoded: Decoded, rejections: Sequence[Rejection], uplinks: int) -> None:
        book, readings = self.books.uplinks, self.books.readings
        kept = np.zeros(uplinks, dtype=np.bool_)
        for one in decoded.readings:
            kept[one.uplink] = True
        book.decoded += int(np.count_nonzero(kept))
        book.quarantined += len({r.index for r in decoded.rejections if not r.readings})
        book.duplicate += len(decoded.duplicates)
        book.ignored += len(decoded.ignored)
        book.erased += len(decoded.erased)
        book.rate_limited += len(decoded.limited)
        book.pending -= uplinks
        readings.decoded += sum(rejection.readings for rejection in decoded.rejections)
        readings.rejected += sum(rejection.readings for rejection in rejections)

    def _observe(self, decoded: Decoded, located: _Located) -> None:
        for stranger in decoded.unknown:
            batch, index = located.of(stranger.index)
            payload = batch.payloads[index]
            self._observer.unknown(stranger.site, stranger.device, stranger.topic, payload, self._heard_ns)

    def _refuse(self, rejections: Sequence[Rejection], located: _Located) -> None:
        """Send refused uplinks to quarantine, and count why."""
        # Two groups of one uplink can be refused for one reason: it is in quarantine once for each reason.
        once: dict[tuple[int, Reason], Rejection] = {}
        for rejection in sorted(rejections, key=lambda rejection: rejection.index):
            once.setdefault((rejection.index, rejection.reason), rejection)
        self.books.reasons.update(reason.value for _, reason in once)
        strangers: Counter[int] = Counter()
        for rejection in once.values():
            batch, index = located.of(rejection.index)
            if rejection.reason in _OF_STRANGERS:
                strangers[batch.position] += 1
                if strangers[batch.position] > STRANGERS_A_RECORD:
                    self.books.not_kept += 1
                    continue
            self._product.refused.append(self._whole(rejection, batch, index))

    def _whole(self, rejection: Rejection, batch: RawBatch, index: int) -> Refused:
        """Return the uplink behind a rejection, with what its topic says of its device."""
        topic = batch.topics[index]
        site, device, profile = self.whose(topic)
        return Refused(
            position=batch.position,
            index=batch.place(index),
            received_ns=batch.received_ns,
            topic=topic,
            payload=batch.payloads[index],
            reason=rejection.reason,
            detail=rejection.detail,
            site=site,
            device=device,
            profile=profile,
            retained=bool(batch.headers[index] & _RETAIN),
        )


class _Group:
    """What belongs to one group's series: their tags, and the parameters that its counters need."""

    def __init__(
        self,
        profile: ProfilePlan,
        group: GroupPlan,
        table: SeriesTable,
        devices: Mapping[tuple[str, str], Device],
    ) -> None:
        self.profile = profile
        self.tags = TagSets(profile=profile, dimensions=group.dimensions, table=table, devices=devices)
        flows = {quantity.counter.max_flow for quantity in group.quantities if quantity.counter}
        self._names = sorted(name for name in flows if isinstance(name, str))
        self._parameters = Parameters(profile.parameters, self._names)
        self._table = table
        self._devices = devices
        self._admitted = 0

    def parameters_of(self, readings: Readings) -> dict[str, Float64]:
        """Return the parameters' values for each row, float64[n] by name; NaN where one is missing."""
        if not self._names:
            return {}
        for code in range(self._admitted, len(self._table)):
            site, device = self._table.keys[code][:2]
            self._parameters.admit(code, self._devices.get((site, device)))
        self._admitted = len(self._table)
        return {name: self._parameters.column(name, readings.series, readings.time) for name in self._names}

    def renew(self, devices: Mapping[tuple[str, str], Device], changed: Collection[tuple[str, str]]) -> None:
        """Take another registry, in which these devices are not as they were."""
        self._devices = devices
        for code in self.tags.renew(devices, changed):
            if code < self._admitted:
                self._parameters.admit(
                    code, devices.get((self._table.keys[code][0], self._table.keys[code][1]))
                )


class _Located:
    """Finds the uplinks of some batches by their place, counted through all of them."""

    def __init__(self, batches: Sequence[RawBatch]) -> None:
        self._batches = batches
        self._ends = list(accumulate(map(len, batches)))

    def __len__(self) -> int:
        return self._ends[-1]

    def of(self, place: int) -> tuple[RawBatch, int]:
        """Return the batch, and the place in it."""
        number = bisect_right(self._ends, place)
        batch = self._batches[number]
        return batch, place - self._ends[number] + len(batch)


def _limits(rules: Rules) -> dict[str, Any]:
    limits = rules.limits
    return {
        "accept_unknown": limits.accept_unknown,
        "max_unknown": limits.max_unknown,
        "max_series": limits.max_series,
    }
