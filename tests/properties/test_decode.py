"""Decoding holds for any input: nothing raises, nothing is lost, no uplink touches another."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.decode.decoder import decode, decode_together
from gateway.decode.identity import Identities
from tests.decode.plans import RECEIVED, batch, device, profile, routes, shipped

if TYPE_CHECKING:
    from gateway.decode.decoder import Decoded
    from gateway.model import RawBatch

MIXED = profile(
    """
time: {path: ts, unit: s}
sequence: seq
parameters: {p: {unit: mm}, h: {unit: min, default: 60}}
covers: {param: h, label: end, align: true}
dimensions: {lane: "lanes[].lane"}
quantities:
  a: {path: a, unit: mm, missing: [7]}
  b: {unit: mm, from: "p / a"}
  n: {path: n, unit: L, kind: counter, modulus: 1000}
  s: {path: s, unit: "1", states: {0: off, 1: "on"}}
  t: {path: t, unit: "1", kind: text}
  alarms: {path: bits, bits: {0: low, "1..2": {1: leak, 3: burst}}}
  v: {path: "lanes[].classes.{class}.v", unit: "1", kind: event, by: [lane, class]}
  w: {path: "lanes[].classes.{class}.w", unit: km/h, by: [lane, class], weight: v, missing: v == 0}
  o: {path: "lanes[].o", unit: "%", by: [lane], required: false}
history: {of: n, start: log.n, at: log.at, step: h, add: log.add}
limits: {payload: 400, depth: 5, readings: 12}
""",
    name="mixed",
    topic="m/{site}/{device}",
)
PLANS = (MIXED, shipped("bin-level"), shipped("traffic-counter"), shipped("water-meter"))
DEVICES = [
    device("d", profile="mixed", parameters={"p": ((0, 5.0), (RECEIVED, 6.0))}),
    device("d", site="x", profile="none"),
]
TOPICS = [
    "m/s/d",
    "m/s/e",
    "m/x/d",
    "city/s/bin/d/up",
    "city/s/traffic/d/up",
    "city/s/water/d/up",
    "nowhere",
]
KEYS = [
    *("ts", "seq", "a", "n", "s", "t", "bits", "lanes", "lane", "car", "v", "w", "o", "log", "at", "add"),
    *("dist_mm", "battery_v", "tilt", "time", "period_s", "classes", "index_l", "status", "deltas_l", "x"),
]

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-10, 10)
    | st.sampled_from(
        [0, 1, 7, 900, 1_763_769_600, 1_763_769_600_000, 2**53, 2**53 + 1, 2**63, 2**70, -(2**64)]
    )
    | st.floats()
    | st.sampled_from(
        ["", "1", "in", "car", "x" * 65, "x" * 300, "2026-11-22T10:15:00Z", "2026-11-22T10:15:00", "\0"]
    )
    | st.text(max_size=5)
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=3), inner, max_size=5)
    ),
    max_leaves=12,
)
objects = st.dictionaries(st.sampled_from(KEYS), values, max_size=9)


def _mostly(good: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Give what fits nine times in ten."""
    return st.integers(0, 9).flatmap(lambda die: good if die else scalars)


def _some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Give an object that holds some of these keys."""
    return st.fixed_dictionaries({}, optional=fields)


numbers = st.integers(0, 9) | st.floats(-1e6, 1e6)
counts = st.integers(0, 3)
seconds = st.sampled_from([1_763_769_600, 1_763_769_600.5, 1_763_769_599, None])
logs = _some(
    n=counts,
    index_l=counts,
    at=_mostly(seconds),
    ts=_mostly(seconds),
    add=st.lists(counts, max_size=4),
    deltas_l=st.lists(_mostly(counts), max_size=4),
)
classes = st.dictionaries(
    st.sampled_from(["car", "car", "truck", "", "x" * 65]),
    st.fixed_dictionaries({"v": _mostly(counts), "w": _mostly(numbers), "n": _mostly(counts)}) | st.none(),
    max_size=2,
)
lane = {"lane": _mostly(counts), "direction": st.sampled_from(["in", "out"]), "classes": classes}
lanes = st.lists(
    st.fixed_dictionaries(lane, optional={"o": numbers, "occupancy": _mostly(numbers)}) | st.none(),
    max_size=3,
)
mixed = _some(
    ts=_mostly(seconds),
    seq=_mostly(counts),
    a=_mostly(numbers),
    n=_mostly(counts),
    s=_mostly(counts),
    t=_mostly(st.text(max_size=3)),
    bits=_mostly(st.integers(0, 8)),
    lanes=lanes,
    log=logs,
)
bins = _some(
    ts=st.just(1_763_769_600_000), dist_mm=_mostly(numbers), temp_c=_mostly(numbers), tilt=_mostly(counts)
)
meters = _some(ts=_mostly(seconds), index_l=_mostly(counts), status=_mostly(st.integers(0, 255)), log=logs)
counters = st.fixed_dictionaries(
    {"period_s": _mostly(st.just(900)), "lanes": lanes},
    optional={
        "time": _mostly(st.sampled_from(["2026-11-22T10:15:00Z", "2026-11-22T10:15:00+01:00"])),
        "battery_pct": _mostly(numbers),
    },
)


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _cut(pair: tuple[bytes, int]) -> bytes:
    payload, end = pair
    return payload[:end]


likely = mixed | bins | meters | counters
noise = (
    st.binary(max_size=40)
    | objects.map(_json)
    | values.map(_json)
    | st.tuples(likely.map(_json), st.integers(0, 60)).map(_cut)
    | st.integers(1, 2000).map(lambda depth: b'{"q":' + b"[" * depth)
)
topics = st.sampled_from(TOPICS) | st.binary(max_size=12)
uplink = st.one_of(
    st.tuples(st.sampled_from(["m/s/d", "m/s/d", "m/s/e"]), mixed.map(_json)),
    st.tuples(st.just("city/c/bin/d/up"), bins.map(_json)),
    st.tuples(st.just("city/c/water/d/up"), meters.map(_json)),
    st.tuples(st.just("city/c/traffic/d/up"), counters.map(_json)),
    st.tuples(topics, likely.map(_json)),
    st.tuples(topics, noise),
    st.tuples(st.just("m/s/d"), noise),
)
uplinks = st.lists(uplink, max_size=8)


def _routes() -> Any:
    return routes(*PLANS, devices=DEVICES)


def _readings(decoded: Decoded, places: list[int] | None = None) -> list[tuple[Any, ...]]:
    """Return every reading, named by what it is rather than by codes; uplinks are renumbered."""
    found = []
    for one in decoded.readings:
        for quantity, row in zip(*np.nonzero(one.present), strict=True):
            plan = one.group.quantities[quantity]
            value: Any = one.values[quantity, row]
            if plan.kind == "text":
                value = one.texts.keys[int(value)]
            index = int(one.uplink[row])
            found.append(
                (
                    places[index] if places else index,
                    one.profile.name,
                    one.table.keys[one.series[row]],
                    plan.name,
                    int(one.time[row]),
                    int(one.time_source[row]),
                    float(value) if not isinstance(value, tuple) else value,
                )
            )
    return sorted(found, key=repr)


def _timed(sent: list[tuple[str | bytes, bytes]], places: list[int]) -> list[RawBatch]:
    """Make a record of each uplink, received when its number says: then its place changes nothing."""
    return [batch(one, received=RECEIVED + number) for one, number in zip(sent, places, strict=True)]


@settings(max_examples=300, deadline=None)
@given(uplinks, st.data())
def test_every_uplink_ends_in_one_place(sent: list[tuple[str | bytes, bytes]], data: st.DataObject) -> None:
    """Nothing raises; each uplink is kept, refused whole, a duplicate or ignored, and never two of them."""
    headers = [data.draw(st.sampled_from([0x30, 0x32, 0x33, 0x3A])) for _ in sent]
    packet_ids = [data.draw(st.integers(0, 2)) for _ in sent]
    identities = Identities()
    decoded = decode(batch(*sent, headers=headers, packet_ids=packet_ids), _routes(), identities)
    kept = {int(index) for one in decoded.readings for index in one.uplink}
    whole = [rejection.index for rejection in decoded.rejections if rejection.readings == 0]
    ends = [*kept, *whole, *decoded.duplicates.tolist(), *decoded.ignored.tolist()]
    assert sorted(ends) == list(range(len(sent)))
    assert {r.index for r in decoded.rejections if r.readings} <= kept
    identities.restore(identities.state())


@settings(max_examples=200, deadline=None)
@given(uplinks)
def test_columns_keep_their_promises(sent: list[tuple[str | bytes, bytes]]) -> None:
    """Shapes and types fit; what is present is finite; every row says something; series exist."""
    for one in decode(batch(*sent), _routes()).readings:
        rows, quantities = len(one), len(one.group.quantities)
        assert rows
        for name, dtype in (
            ("series", "i4"),
            ("time", "i8"),
            ("uplink", "i4"),
            ("time_source", "u1"),
            ("received_ns", "i8"),
        ):
            column = getattr(one, name)
            assert (column.shape, column.dtype) == ((rows,), np.dtype(dtype))
        assert one.values.shape == one.present.shape == one.flags.shape == (quantities, rows)
        assert np.isfinite(one.values[one.present]).all()
        assert one.present.any(axis=0).all()
        assert ((one.flags == 9) == ~one.present).all()
        assert (one.series >= 0).all()
        assert (one.series < len(one.table)).all()
        assert (np.diff(one.uplink) >= 0).all()


@settings(max_examples=200, deadline=None)
@given(uplinks)
def test_a_bad_uplink_never_touches_its_neighbours(sent: list[tuple[str | bytes, bytes]]) -> None:
    """The good uplinks alone give what they gave among bad ones; the bad ones alone fail alike."""
    together = decode_together(_timed(sent, list(range(len(sent)))), _routes())
    bad = {rejection.index for rejection in together.rejections}
    for chosen in (
        [number for number in range(len(sent)) if number not in bad],
        sorted(bad),
    ):
        alone = decode_together(_timed([sent[number] for number in chosen], chosen), _routes())
        wanted = [reading for reading in _readings(together) if reading[0] in chosen]
        assert _readings(alone, chosen) == wanted
        assert [(chosen[r.index], r.reason, r.detail, r.readings) for r in alone.rejections] == [
            (r.index, r.reason, r.detail, r.readings) for r in together.rejections if r.index in chosen
        ]


@settings(max_examples=100, deadline=None)
@given(uplinks, st.integers(0, 8))
def test_any_split_gives_the_same(sent: list[tuple[str | bytes, bytes]], cut: int) -> None:
    """Decoded together or in two calls: the same readings, and the same codes of series."""
    places = list(range(len(sent)))
    here = _routes()
    whole = decode_together(_timed(sent, places), here)
    split = _routes()
    first = decode_together(_timed(sent[:cut], places[:cut]), split)
    second = decode_together(_timed(sent[cut:], places[cut:]), split)
    assert sorted([*_readings(first), *_readings(second, places[cut:])], key=repr) == _readings(whole)
    assert {key: table.keys for key, table in split.tables.items()} == {
        key: table.keys for key, table in here.tables.items()
    }
