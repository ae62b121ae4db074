"""One profile, compiled: payloads of its uplinks become the readings of its groups.

Two steps, because an uplink's identity lies between them: `begin` parses and finds the event times,
`finish` makes the columns of those uplinks that are no duplicates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gateway.decode.draft import Draft
from gateway.decode.envelopes import Envelope
from gateway.decode.event_time import EventTimes
from gateway.decode.formats.codec import NOWHERE
from gateway.decode.frames import NO_PORT, Frames
from gateway.decode.group import Beside, Block, GroupDecoder
from gateway.decode.history import History
from gateway.decode.levels import Levels
from gateway.decode.parameters import Parameters
from gateway.decode.payload import Payload
from gateway.decode.samples import Samples
from gateway.decode.series import SeriesCodes
from gateway.errors import ConfigurationError, Problem
from gateway.model import Flag, Readings, Reason, SeriesTable, TimeSource

if TYPE_CHECKING:
    from collections.abc import MutableMapping, Sequence

    from gateway.decode.formats.parsing import Failure
    from gateway.decode.history import Past
    from gateway.decode.payload import Reader
    from gateway.decode.refusals import Refusals
    from gateway.decode.uplinks import Uplinks
    from gateway.model import Bool, Device, Float64, Int64, UInt8
    from gateway.ports import Codecs
    from gateway.profiles.plan import GroupPlan, ProfilePlan

TableKey = tuple[str, str]


def table_key(plan: ProfilePlan, group: GroupPlan) -> TableKey:
    """Return the key of a group's table of series: profile name and dimensions.

    Not the group's index: a new version of a profile can number its groups otherwise, and the same
    dimensions must find the same codes.
    """
    return plan.name, ",".join(group.dimensions)


@dataclass(slots=True)
class _Group:
    decoder: GroupDecoder
    series: SeriesCodes


@dataclass(slots=True)
class _Rows:
    """A group's rows with their times, ready to become readings."""

    block: Block
    time: Int64
    source: UInt8

    def select(self, kept: Bool) -> _Rows:
        """Return some of the rows."""
        if kept.all():
            return self
        return _Rows(self.block.select(kept), self.time[kept], self.source[kept])


class ProfileDecoder:
    """Decodes the uplinks of one version of one profile.

    Raises ConfigurationError at construction where the plan contradicts itself or names a format
    that there is not.
    """

    def __init__(
        self,
        plan: ProfilePlan,
        *,
        tables: MutableMapping[TableKey, SeriesTable],
        texts: SeriesTable,
        max_series: int,
        codecs: Codecs = NOWHERE,
    ) -> None:
        self.plan = plan
        self._texts = texts
        self._max_series = max_series
        decoders = [GroupDecoder(plan, group) for group in plan.groups]
        facts = {path for decoder in decoders for path in decoder.facts}
        self._envelope = Envelope(plan.envelope, plan.format, facts) if plan.envelope else None
        self._times = EventTimes(plan)
        self._history, self._history_group, self._history_row = _history(plan)
        self._samples = Samples(plan, plan.samples) if plan.samples else None
        readers: list[Reader] = [self._times, *decoders]
        readers += [reader for reader in (self._history, self._samples) if reader]
        self._payload = Payload(plan, readers, codecs)
        self._payload.open(level for decoder in decoders for level in decoder.levels)
        self._payload.open([self._samples.level] if self._samples else [])
        self._groups = [
            _Group(decoder, SeriesCodes(_table(tables, plan, decoder), max_series)) for decoder in decoders
        ]
        self._parameters = Parameters(plan.parameters, self._parameter_names())

    def _parameter_names(self) -> set[str]:
        plan = self.plan
        named = {
            plan.covers.parameter if plan.covers else None,
            plan.history.parameter if plan.history else None,
            plan.samples.parameter if plan.samples else None,
        }
        names = set().union(*(group.decoder.parameters for group in self._groups))
        return names | {name for name in named if name}

    def admit(self, code: int, key: tuple[str, str], device: Device | None) -> None:
        """Learn a route of this profile: its code, its (site, device), its registry entry if any."""
        self._parameters.admit(code, device)
        for group in self._groups:
            group.series.admit(code, key)

    def forget(self, *, max_series: int) -> None:
        """Forget every route, since codes are about to be given anew; tables stay."""
        self._parameters.forget()
        self._max_series = max_series
        for group in self._groups:
            group.series.forget()
            group.series.max_series = max_series

    def frames(self, uplinks: Uplinks, index: Int64) -> Frames:
        """Return the payloads of the uplinks at `index` that are not too large, without their envelopes."""
        frames = _frames(uplinks, index)
        if self._envelope is not None:
            frames = self._envelope.unwrap(frames).frames
        limit = self.plan.max_payload
        return frames.take([place for place, one in enumerate(frames.payloads) if len(one) <= limit])

    def begin(self, uplinks: Uplinks, index: Int64, refusals: Refusals) -> Draft:
        """Parse the uplinks at `index` (int64[n], ascending) and find their event times."""
        frames, told = _frames(uplinks, index), None
        if self._envelope is not None:
            told = self._envelope.unwrap(frames)
            _refuse(told.failures, index, refusals)
            frames, index = told.frames, index[told.places]
        records, failures, remarks = self._payload.parse(frames)
        for remark in remarks:
            refusals.refuse_readings(int(index[remark.index]), remark.reason, remark.detail)
        _refuse(failures, index, refusals)
        if failures:
            parsed = np.ones(len(index), dtype=np.bool_)
            parsed[[failure.index for failure in failures]] = False
            index, told = index[parsed], told and told.select(parsed)
        codes = uplinks.codes[index]
        receipt = uplinks.receipt_ns(index)
        if told is not None:
            receipt = np.where(told.timed, told.times, receipt)
        times = self._times.read(records, receipt, codes, self._parameters)
        draft = Draft(self, index, codes, records, times.time, times.source, uplinks.received_ns[index])
        if told is not None:
            draft.keys, draft.facts = told.keys, told.facts
            stands_in = (draft.source == TimeSource.RECEIPT) & told.timed
            draft.source = np.where(stands_in, np.uint8(TimeSource.ENVELOPE), draft.source)
        kept = np.ones(len(index), dtype=np.bool_)
        for wrong in times.wrong:
            refusals.refuse_all(index[wrong.uplinks], wrong.reason, wrong.detail)
            kept &= ~wrong.uplinks
        return draft.select(kept)

    def sequences(self, draft: Draft, places: Int64) -> list[Any]:
        """Return the uplinks' own numbers (None where absent) at some places of a draft.

        Where the profile has none, what their envelopes know them by.
        """
        if draft.keys is None or self.plan.sequence:
            return self._payload.sequences(draft.records, places)
        return [draft.keys[place] or None for place in places.tolist()]

    def finish(self, draft: Draft, refusals: Refusals, devices: Sequence[tuple[str, str]]) -> list[Readings]:
        """Return the readings of a draft's uplinks, a `Readings` for each group that has any."""
        if not len(draft):
            return []
        rows = self._rows(draft, refusals)
        good = self._good(draft, rows, refusals)
        readings = [
            self._readings(draft, group=group, rows=one, good=good, refusals=refusals, devices=devices)
            for group, one in zip(self._groups, rows, strict=True)
        ]
        return [one for one in readings if len(one)]

    def _rows(self, draft: Draft, refusals: Refusals) -> list[_Rows]:
        """Read every group, and the history into its group."""
        levels = Levels(draft.records, self._payload.openings)

        def parameter(name: str) -> Float64:
            return self._parameters.column(name, draft.codes, draft.time)

        moments = None
        if self._samples:
            step = self._samples.parameter
            moments = self._samples.read(levels, draft.time, parameter(step) if step else None)
        beside = Beside(draft.facts, self._texts, self._max_series, moments)
        rows = []
        for group in self._groups:
            block = group.decoder.read(levels, parameter, beside)
            for fault in block.faults:
                refusals.refuse_rows(fault, draft.index[block.uplink])
            for uplinks, detail in block.missing:
                refusals.refuse_all(draft.index[uplinks], Reason.MISSING_FIELD, detail)
            rows.append(_timed(block, draft, told=self._samples is not None and self._samples.told))
        if self._history:
            past = self._history.read(
                draft.records,
                index=draft.index,
                codes=draft.codes,
                parameters=self._parameters,
                refusals=refusals,
            )
            if len(past.uplink):
                rows[self._history_group] = _with_past(rows[self._history_group], past, self._history_row)
        return rows

    def _good(self, draft: Draft, rows: Sequence[_Rows], refusals: Refusals) -> Bool:
        """Refuse uplinks that say too much or nothing; return which of them stand, bool[n]."""
        counts = np.zeros(len(draft), dtype=np.int64)
        for one in rows:
            given = np.count_nonzero(~np.isnan(one.block.values), axis=0)
            counts += np.bincount(one.block.uplink, weights=given, minlength=len(draft)).astype(np.int64)
        for place in np.flatnonzero(counts > self.plan.max_readings).tolist():
            detail = f"{counts[place]} readings; the profile's limit is {self.plan.max_readings}"
            refusals.refuse(int(draft.index[place]), Reason.TOO_MANY_READINGS, detail)
        for index in draft.index[counts == 0].tolist():
            if not refusals.has_refused(index):
                refusals.refuse(index, Reason.NO_READING, "none of the profile's quantities is there")
        good: Bool = ~refusals.whole[draft.index] & (counts > 0)
        return good

    def _readings(
        self,
        draft: Draft,
        *,
        group: _Group,
        rows: _Rows,
        good: Bool,
        refusals: Refusals,
        devices: Sequence[tuple[str, str]],
    ) -> Readings:
        """Give the rows that stand their series, and make them readings."""
        said = ~np.isnan(rows.block.values).all(axis=0)
        rows = rows.select(good[rows.block.uplink] & said)
        block = rows.block
        present = ~np.isnan(block.values)
        codes = draft.codes[block.uplink]
        series = group.series.codes(codes, block.labels, devices)
        readings = Readings(
            profile=self.plan,
            group=group.decoder.group,
            table=group.series.table,
            series=series,
            time=rows.time,
            values=block.values,
            present=present,
            flags=np.where(present, np.uint8(Flag.NOT_EVALUATED), np.uint8(Flag.MISSING)),
            uplink=draft.index[block.uplink].astype(np.int32),
            time_source=rows.source,
            received_ns=draft.received_ns[block.uplink],
            texts=self._texts,
        )
        refused = series < 0
        if not refused.any():
            return readings
        for row in np.flatnonzero(refused).tolist():
            detail = f"more than {group.series.max_series} series of this profile are known"
            count = int(np.count_nonzero(present[:, row]))
            refusals.refuse_readings(int(readings.uplink[row]), Reason.TOO_MANY_SERIES, detail, count)
        return readings.take(~refused)


def _refuse(failures: Sequence[Failure], index: Int64, refusals: Refusals) -> None:
    for failure in failures:
        refusals.refuse(int(index[failure.index]), failure.reason, failure.detail)


def _frames(uplinks: Uplinks, index: Int64) -> Frames:
    payloads = uplinks.payloads
    return Frames(
        payloads if len(index) == len(payloads) else [payloads[place] for place in index.tolist()],
        np.full(len(index), NO_PORT, dtype=np.int64),
        uplinks.received_ns[index],
    )


def _table(
    tables: MutableMapping[TableKey, SeriesTable], plan: ProfilePlan, decoder: GroupDecoder
) -> SeriesTable:
    return tables.setdefault(table_key(plan, decoder.group), SeriesTable())


def _timed(block: Block, draft: Draft, *, told: bool) -> _Rows:
    """Return rows with their times: those of samples, `told` by the device or not, else the uplink's."""
    time, source = draft.time[block.uplink], draft.source[block.uplink]
    if block.time is not None and block.own is not None:
        time = np.where(block.own, block.time, time)
        source = np.where(block.own & told, np.uint8(TimeSource.DEVICE), source)
    return _Rows(block, time, source)


def _history(plan: ProfilePlan) -> tuple[History | None, int, int]:
    """Return the reader of the history, its group's place and its quantity's row in it."""
    if plan.history is None:
        return None, 0, 0
    for place, group in enumerate(plan.groups):
        for row, quantity in enumerate(group.quantities):
            if quantity.name == plan.history.quantity and not group.dimensions:
                return History(plan.history, quantity, plan.max_readings, plan.clock), place, row
    what = f"the history is of «{plan.history.quantity}», which is no quantity without dimensions"
    raise ConfigurationError([Problem(where=plan.name, what=what)])


def _with_past(rows: _Rows, past: Past, number: int) -> _Rows:
    """Put earlier readings before the present one of the same uplink, as rows of their own."""
    values = np.full((rows.block.values.shape[0], len(past.uplink)), np.nan)
    values[number] = past.values
    uplink = np.concatenate((past.uplink, rows.block.uplink))
    order = np.argsort(uplink, kind="stable")
    source = np.full(len(past.uplink), TimeSource.DEVICE, dtype=np.uint8)
    return _Rows(
        block=Block(uplink[order], [], np.concatenate((values, rows.block.values), axis=1)[:, order]),
        time=np.concatenate((past.time, rows.time))[order],
        source=np.concatenate((source, rows.source))[order],
    )
