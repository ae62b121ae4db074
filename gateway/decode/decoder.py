"""Whole batches of uplinks become columns of readings; what is wrong becomes rejections.

Never raises on bad data, and a bad uplink costs only itself: what a batch gives for one uplink
depends on that uplink, the rules in force and the uplinks before it, never on its neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gateway.decode.refusals import Refusals
from gateway.decode.uplinks import Uplinks, lay_out, topics_of
from gateway.model import NS_PER_S, Reason, Rejection, TimeSource

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.decode.draft import Draft
    from gateway.decode.identity import Identities
    from gateway.decode.rates import Rates
    from gateway.decode.routes import Routes
    from gateway.model import Bool, Int32, Int64, RawBatch, Readings

_RETAIN = 0x01
_REFUSED, _LIMITED, _SENT_AGAIN = -1, -2, -3
"""In place of a decoder: the topic has none, the device sent too many, the broker sent it again."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """A sample of a device that is not in the registry: `index` is its uplink's place in the batch."""

    index: int
    site: str
    device: str
    topic: str


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a batch of uplinks gave.

    Each uplink is in exactly one of: `readings` (some row's `uplink`), `rejections` with 0 readings
    (refused whole), `duplicates`, `ignored` (retained, without a device time), `limited` (its device
    sent too many); the last three are places in the batch, int64, ascending, and `samples` are those
    of the limited that are kept. `unknown` has one sample for each topic that was used of a device that is
    not in the registry, accepted or not. Who gave readings is noted in the routes (`Routes.take_heard`).
    """

    readings: list[Readings]
    rejections: list[Rejection]
    duplicates: Int64
    ignored: Int64
    limited: Int64
    samples: list[Rejection]
    unknown: list[Unknown]


def decode(batch: RawBatch, routes: Routes, identities: Identities | None = None) -> Decoded:
    """Decode one batch. See `decode_together`."""
    return decode_together((batch,), routes, identities)


def decode_together(
    batches: Sequence[RawBatch],
    routes: Routes,
    identities: Identities | None = None,
    rates: Rates | None = None,
) -> Decoded:
    """Decode batches, in journal order, as if they were one: larger ones are cheaper.

    Places of uplinks count through all batches; receive times and the nanoseconds that tell uplinks
    of one record apart stay those of each record. Without `identities` no duplicates are looked for, without
    `rates` no device sends too much.
    """
    again = _sent_again(batches, identities)
    if not len(again):
        nothing = np.zeros(0, dtype=np.int64)
        return Decoded([], [], nothing, nothing, nothing, [], [])
    topics = topics_of(batches)
    uplinks = lay_out(batches, topics, routes.codes(topics))
    refusals = Refusals(len(uplinks))
    decoder_of = routes.decoder_of(uplinks.codes)
    decoder_of[again] = _SENT_AGAIN
    limited, samples = _limited(uplinks, decoder_of, routes, rates)
    drafts = _begin(uplinks, decoder_of, routes, refusals)
    ignored = _retained(uplinks, drafts)
    repeated = _repeated(batches, drafts, routes, identities, ignored)
    drafts = [draft.select(~(ignored | repeated)[draft.index]) for draft in drafts]
    readings = [one for draft in drafts for one in draft.decoder.finish(draft, refusals, routes.devices)]
    kept = np.zeros(len(uplinks), dtype=np.bool_)
    for one in readings:
        kept[one.uplink] = True
    routes.note_heard(uplinks.codes[kept])
    return Decoded(
        readings=readings,
        rejections=refusals.settled(kept),
        duplicates=np.flatnonzero(repeated | again),
        ignored=np.flatnonzero(ignored),
        limited=limited,
        samples=samples,
        unknown=_unknown(uplinks, routes),
    )


def _sent_again(batches: Sequence[RawBatch], identities: Identities | None) -> Bool:
    """Return which uplinks came before, as QoS 2 tells it: they are not looked at a second time."""
    again = np.zeros(sum(map(len, batches)), dtype=np.bool_)
    if identities is None:
        return again
    first = 0
    for batch in batches:
        repeated = identities.sent_again(batch)
        if repeated is not None:
            again[first : first + len(batch)] = repeated
        first += len(batch)
    return again


def _limited(
    uplinks: Uplinks, decoder_of: Int32, routes: Routes, rates: Rates | None
) -> tuple[Int64, list[Rejection]]:
    """Take uplinks beyond their device's limit out of `decoder_of`; return their places, and samples.

    What is refused for its topic is bounded without a limit, and is not counted here.
    """
    if rates is None or rates.limit is None:
        return np.zeros(0, dtype=np.int64), []
    judged = np.flatnonzero(decoder_of >= 0)
    over, sampled = rates.judge(uplinks.received_ns[judged], uplinks.codes[judged], routes.devices)
    decoder_of[judged[over]] = _LIMITED
    limit = rates.limit
    detail = f"more than {limit.count} uplinks of this device within {limit.interval_ns // NS_PER_S} s"
    samples = [Rejection(index, Reason.RATE_LIMITED, detail) for index in judged[sampled].tolist()]
    return judged[over], samples


def _begin(uplinks: Uplinks, decoder_of: Int32, routes: Routes, refusals: Refusals) -> list[Draft]:
    """Refuse what has no route, and begin the rest, profile by profile."""
    for index in np.flatnonzero(decoder_of == _REFUSED).tolist():
        refusal = routes.refusals[int(uplinks.codes[index])]
        refusals.refuse(index, refusal.reason, refusal.detail)
    return [
        routes.decoders[number].begin(uplinks, np.flatnonzero(decoder_of == number), refusals)
        for number in np.flatnonzero(np.bincount(decoder_of[decoder_of >= 0])).tolist()
    ]


def _retained(uplinks: Uplinks, drafts: Sequence[Draft]) -> Bool:
    """Return which uplinks the broker had kept, without a device time: when they were said is unknown."""
    ignored = np.zeros(len(uplinks), dtype=np.bool_)
    retained = uplinks.headers & _RETAIN != 0
    if retained.any():
        for draft in drafts:
            if draft.decoder.plan.retained != "state":
                ignored[draft.index] = retained[draft.index] & (draft.source == TimeSource.RECEIPT)
    return ignored


def _repeated(
    batches: Sequence[RawBatch],
    drafts: Sequence[Draft],
    routes: Routes,
    identities: Identities | None,
    ignored: Bool,
) -> Bool:
    """Return which uplinks without a device time came before."""
    repeated = np.zeros(len(ignored), dtype=np.bool_)
    if identities is None:
        return repeated
    index, codes, sequences = _untimed(drafts, ignored)
    first = 0
    for batch in batches:
        own = slice(*np.searchsorted(index, (first, first + len(batch))).tolist())
        devices = [routes.devices[code] for code in codes[own].tolist()]
        repeated[index[own]] = identities.duplicates(batch, index[own] - first, devices, sequences[own])
        first += len(batch)
    return repeated


def _untimed(drafts: Sequence[Draft], ignored: Bool) -> tuple[Int64, Int32, list[object]]:
    """Return the uplinks that rest on their receive time, ascending, with routes and sequences."""
    index: list[Int64] = [np.zeros(0, dtype=np.int64)]
    codes: list[Int32] = [np.zeros(0, dtype=np.int32)]
    sequences: list[object] = []
    for draft in drafts:
        places = np.flatnonzero((draft.source == TimeSource.RECEIPT) & ~ignored[draft.index])
        if len(places):
            index.append(draft.index[places])
            codes.append(draft.codes[places])
            sequences += draft.decoder.sequences(draft, places)
    if not sequences:
        return index[0], codes[0], sequences
    joined = np.concatenate(index)
    order = np.argsort(joined, kind="stable")
    return joined[order], np.concatenate(codes)[order], [sequences[place] for place in order.tolist()]


def _unknown(uplinks: Uplinks, routes: Routes) -> list[Unknown]:
    samples = []
    for index in routes.unknown_first(uplinks.codes):
        site, device = routes.devices[int(uplinks.codes[index])]
        samples.append(Unknown(index, site, device, uplinks.topics[index].decode()))
    return samples
