"""Whole batches: shipped profiles, every reason, and what one uplink may not do to another."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gateway.decode.decoder import decode, decode_together
from gateway.decode.identity import Identities
from gateway.model import Flag, Reason, SeriesTable, TimeSource
from tests.decode.plans import RECEIVED, batch, device, payloads, profile, routes, shipped

GAUGE = "quantities: {a: {path: a, unit: mm}}\n"
TIMED = "time: {path: ts, unit: s}\n"


def reasons(*bodies: object, body: str = GAUGE, **limits: object) -> list[Reason]:
    """Decode payloads of one profile and return why they were refused."""
    return [r.reason for r in decode(payloads(*bodies), routes(profile(body), **limits)).rejections]


def test_bin_level() -> None:
    """A bin's uplink gives one row with its derived filling level, stamped with the device's time."""
    plan = shipped("bin-level")
    bins = [device("bin-00001", site="lyon", profile="bin-level", parameters={"empty": 2000.0})]
    body = {
        "id": "bin-00001",
        "seq": 12,
        "ts": 1_763_769_600_000,
        "dist_mm": 1150,
        "temp_c": 12.5,
        "battery_v": 3.61,
        "tilt": 1,
        "rssi": -97,
    }
    decoded = decode(batch(("city/lyon/bin/bin-00001/up", body)), routes(plan, devices=bins))
    (readings,) = decoded.readings
    values = dict(
        zip((q.name for q in readings.group.quantities), readings.values[:, 0].tolist(), strict=True)
    )
    assert values == {
        "distance": 1150,
        "filling_level": 50,
        "temperature": 12.5,
        "battery": 3.61,
        "tilt": 1,
        "rssi": -97,
    }
    assert readings.time.tolist() == [1_763_769_600 * 10**9]
    assert readings.time_source.tolist() == [TimeSource.DEVICE]
    assert readings.received_ns.tolist() == [RECEIVED]
    assert readings.table.keys == [("lyon", "bin-00001")]
    assert (readings.flags == Flag.NOT_EVALUATED).all()
    assert decoded.rejections == []
    assert decoded.unknown == []


def test_traffic_counter() -> None:
    """Lanes and classes become rows with a series each, stamped with the start of their period."""
    car, truck = {"n": 31, "v": 47.2}, {"n": 0, "v": 0}
    lanes = [{"lane": "1", "direction": "in", "occupancy": 12.3, "classes": {"car": car, "truck": truck}}]
    body = {"seq": 7, "time": "2026-11-22T10:15:00Z", "period_s": 900, "battery_pct": 88, "lanes": lanes}
    decoded = decode(batch(("city/lyon/traffic/t-1/up", body)), routes(shipped("traffic-counter")))
    counts, occupancy, battery = decoded.readings
    assert counts.group.dimensions == ("lane", "direction", "class")
    assert counts.table.keys == [("lyon", "t-1", "1", "in", "car"), ("lyon", "t-1", "1", "in", "truck")]
    names = [quantity.name for quantity in counts.group.quantities]
    assert counts.values[names.index("vehicles")].tolist() == [31, 0]
    assert counts.present[names.index("mean_speed")].tolist() == [True, False]  # nobody passed: no speed
    start = np.datetime64("2026-11-22T10:00:00", "ns").astype(np.int64)
    assert counts.time.tolist() == [start, start]
    assert occupancy.table.keys == [("lyon", "t-1", "1", "in")]
    assert battery.table.keys == [("lyon", "t-1")]
    assert [len(one) for one in decoded.readings] == [2, 1, 1]


def test_water_meter() -> None:
    """A meter's history comes as rows of its own before the present one; its alarms are states."""
    log = {"ts": 1_763_715_600, "index_l": 99_999_999, "deltas_l": [0, 2, 4]}
    body = {
        "seq": 3,
        "ts": 1_763_769_600,
        "index_l": 7,
        "flow_lph": 12.5,
        "temp_c": 13.1,
        "status": 36,
        "log": log,
    }
    (readings,) = decode(batch(("city/lyon/water/w/up", body)), routes(shipped("water-meter"))).readings
    names = [quantity.name for quantity in readings.group.quantities]
    assert readings.values[names.index("index")].tolist() == [99_999_999, 99_999_999, 1, 5, 7]
    hours = [1_763_715_600 + 3600 * hour for hour in range(4)]
    assert (readings.time // 10**9).tolist() == [*hours, 1_763_769_600]
    alarms = {name: readings.values[names.index(name), -1] for name in ("battery_low", "leak", "burst")}
    assert alarms == {"battery_low": 1, "leak": 1, "burst": 0}
    assert readings.present[names.index("flow")].tolist() == [False, False, False, False, True]


@pytest.mark.parametrize(
    ("body", "payload", "reason"),
    [
        (GAUGE, b'{"a":1,"b":"\xff', Reason.NOT_UTF8),
        (GAUGE, b"{", Reason.NOT_JSON),
        (GAUGE, b"", Reason.NOT_JSON),
        (GAUGE, b'{"a":"' + b"x" * 20_000 + b'"}', Reason.TOO_LARGE),
        (GAUGE, b'{"a":1,"b":[[[[[[[[[[1]]]]]]]]]]}', Reason.TOO_DEEP),
        (GAUGE, b"[" * 16_000, Reason.TOO_DEEP),
        (GAUGE, {"a": "50"}, Reason.WRONG_TYPE),
        (GAUGE, [1], Reason.WRONG_TYPE),
        (GAUGE, b'{"a":NaN}', Reason.NOT_FINITE),
        (GAUGE, b'{"a":-Infinity}', Reason.NOT_FINITE),
        (GAUGE, b'{"a":1e999}', Reason.NOT_FINITE),
        (GAUGE, {"b": 1}, Reason.NO_READING),
        (GAUGE, {"a": None}, Reason.NO_READING),
        (
            "quantities: {a: {path: a, unit: mm, required: true}, b: {path: b, unit: mm}}",
            {"b": 1},
            Reason.MISSING_FIELD,
        ),
        ("quantities: {a: {path: a, unit: L, kind: counter}}", b'{"a":%d}' % 2**63, Reason.NOT_REPRESENTABLE),
        ("quantities: {a: {path: a, unit: L, kind: counter}}", {"a": 4.5}, Reason.WRONG_TYPE),
        ("quantities: {a: {path: a, unit: L, kind: counter}}", {"a": 1e300}, Reason.NOT_REPRESENTABLE),
        ('quantities: {a: {path: a, unit: "1", states: {0: off, 1: "on"}}}', {"a": 2}, Reason.UNKNOWN_STATE),
        (
            "parameters: {p: {unit: mm}}\nquantities: {a: {path: a, unit: mm}, b: {unit: mm, from: a + p}}",
            {"a": 1},
            Reason.MISSING_PARAMETER,
        ),
        ('quantities: {a: {path: a, unit: mm}, b: {unit: mm, from: "1 / a"}}', {"a": 0}, Reason.NOT_FINITE),
        ("time: {path: ts, unit: s, required: true}\n" + GAUGE, {"a": 1}, Reason.TIME_MISSING),
        (TIMED + GAUGE, {"a": 1, "ts": 1e30}, Reason.NOT_REPRESENTABLE),
        ("time: {path: ts, unit: iso}\n" + GAUGE, {"a": 1, "ts": "2026-11-22T10:15:00"}, Reason.WRONG_TYPE),
        (
            'quantities: {a: {path: "l.{k}", unit: mm, by: [k]}}\nlimits: {readings: 3}',
            {"l": {"1": 1, "2": 1, "3": 1, "4": 1}},
            Reason.TOO_MANY_READINGS,
        ),
    ],
)
def test_every_reason(body: str, payload: object, reason: Reason) -> None:
    """Each way of being wrong has its reason."""
    assert reasons(payload, body=body) == [reason]


def test_a_refused_reading_leaves_the_others() -> None:
    """A reading that is refused does not cost its uplink; the rejection counts it."""
    plan = profile('quantities: {a: {path: a, unit: mm}, s: {path: s, unit: "1", states: {0: off, 1: "on"}}}')
    decoded = decode(payloads({"a": 1, "s": 7}), routes(plan))
    (rejection,) = decoded.rejections
    assert (rejection.reason, rejection.readings) == (Reason.UNKNOWN_STATE, 1)
    assert "7" in rejection.detail
    assert decoded.readings[0].present[:, 0].tolist() == [True, False]
    assert decoded.readings[0].flags[:, 0].tolist() == [Flag.NOT_EVALUATED, Flag.MISSING]


def test_an_uplink_without_any_good_reading_is_refused_whole() -> None:
    """Where every reading is refused, nothing is left to keep."""
    plan = profile('quantities: {s: {path: s, unit: "1", states: {0: off, 1: "on"}}}')
    (rejection,) = decode(payloads({"s": 7}), routes(plan)).rejections
    assert (rejection.reason, rejection.readings) == (Reason.UNKNOWN_STATE, 0)


def test_series_are_bounded() -> None:
    """Beyond the bound, new series are refused and known ones go on."""
    plan = profile('quantities: {a: {path: "l.{k}", unit: mm, by: [k]}}')
    here = routes(plan, max_series=2)
    decoded = decode(payloads({"l": {"1": 1, "2": 1, "3": 1}}, {"l": {"9": 1}}, {"l": {"2": 5}}), here)
    assert [(r.index, r.reason, r.readings) for r in decoded.rejections] == [
        (0, Reason.TOO_MANY_SERIES, 1),
        (1, Reason.TOO_MANY_SERIES, 0),
    ]
    assert decoded.readings[0].uplink.tolist() == [0, 0, 2]


def test_texts_are_coded_and_bounded() -> None:
    """A text becomes a code of the table of texts; beyond the bound it is refused."""
    plan = profile('quantities: {t: {path: t, unit: "1", kind: text}, a: {path: a, unit: mm}}')
    texts = SeriesTable()
    here = routes(plan, texts=texts, max_series=1)
    decoded = decode(payloads({"t": "x", "a": 1}, {"t": "y", "a": 1}, {"t": "x", "a": 1}), here)
    assert texts.keys == [("x",)]
    assert decoded.readings[0].present[0].tolist() == [True, False, True]
    assert [r.reason for r in decoded.rejections] == [Reason.TOO_MANY_SERIES]


def test_receipt_time() -> None:
    """Without a device time the receive time stands in, one nanosecond apart for each uplink of a record."""
    first, second = payloads({"a": 1}, {"a": 2}), payloads({"a": 3}, received=RECEIVED + 5)
    (readings,) = decode_together((first, second), routes(profile(TIMED + GAUGE))).readings
    assert readings.time.tolist() == [RECEIVED, RECEIVED + 1, RECEIVED + 5]
    assert readings.received_ns.tolist() == [RECEIVED, RECEIVED, RECEIVED + 5]
    assert readings.uplink.tolist() == [0, 1, 2]
    assert set(readings.time_source.tolist()) == {TimeSource.RECEIPT}


def test_retained_without_time_is_ignored() -> None:
    """A retained uplink without a device time is counted and ignored, unless the profile wants states."""
    bodies = ({"a": 1}, {"a": 2, "ts": 1_763_769_600}, {"a": 3})
    headers = [0x33, 0x33, 0x32]
    decoded = decode(payloads(*bodies, headers=headers), routes(profile(TIMED + GAUGE)))
    assert decoded.ignored.tolist() == [0]
    assert decoded.readings[0].uplink.tolist() == [1, 2]
    wanted = decode(payloads(*bodies, headers=headers), routes(profile(TIMED + "retained: state\n" + GAUGE)))
    assert wanted.ignored.tolist() == []


def test_dup_without_time() -> None:
    """A publish sent again takes the identity of the first, where no device time tells."""
    here, identities = routes(profile(TIMED + GAUGE)), Identities()
    decode(payloads({"a": 1}, {"a": 1, "ts": 1_763_769_600}, packet_ids=[5, 6]), here, identities)
    again = payloads({"a": 1}, {"a": 1, "ts": 1_763_769_600}, headers=[0x3A, 0x3A], packet_ids=[5, 6])
    decoded = decode(again, here, identities)
    assert decoded.duplicates.tolist() == [0]
    assert decoded.readings[0].uplink.tolist() == [1]  # its event time tells, further down


def test_sequence_without_time() -> None:
    """Where a profile has a sequence, a repeated one with the same payload is a duplicate."""
    here, identities = routes(profile("sequence: seq\n" + GAUGE)), Identities()
    decoded = decode(payloads({"a": 1, "seq": 1}, {"a": 1, "seq": 2}, {"a": 1, "seq": 1}), here, identities)
    assert decoded.duplicates.tolist() == [2]


def test_a_device_of_two_topics_is_one_series() -> None:
    """Whatever topic a device uses, its readings fall into one series."""
    plan = replace(profile(GAUGE), topics=("t/{site}/{device}", "u/{site}/{device}"))
    (readings,) = decode(batch(("t/s/d", {"a": 1}), ("u/s/d", {"a": 2})), routes(plan)).readings
    assert readings.series.tolist() == [0, 0]


def test_unknown_devices_are_sampled() -> None:
    """Each unknown device of a batch comes once, with the place of its first uplink."""
    uplinks = batch(("t/s/x", {"a": 1}), ("t/s/d", {"a": 1}), ("t/s/x", {"a": 2}), ("t/s/y", {"a": 1}))
    decoded = decode(uplinks, routes(profile(GAUGE), devices=[device("d")]))
    assert [(u.index, u.site, u.device, u.topic) for u in decoded.unknown] == [
        (0, "s", "x", "t/s/x"),
        (3, "s", "y", "t/s/y"),
    ]


def test_an_empty_batch_gives_nothing() -> None:
    """No uplinks, no readings."""
    decoded = decode(batch(), routes(profile(GAUGE)))
    assert (decoded.readings, decoded.rejections) == ([], [])


def test_payloads_are_never_joined() -> None:
    """Payloads that are JSON only together are refused each by itself."""
    assert reasons(b'{"a":1},{"a":2}', b'{"a":1', b"}") == [Reason.NOT_JSON] * 3


def test_one_bad_uplink_in_every_profile() -> None:
    """Profiles side by side: indices are those of the batch."""
    one, two = (
        profile(GAUGE, name="one", topic="one/{site}/{device}"),
        profile(GAUGE, name="two", topic="two/{site}/{device}"),
    )
    uplinks = batch(
        ("two/s/d", {"a": 1}),
        ("one/s/d", b"x"),
        ("three/s/d", {"a": 1}),
        ("one/s/d", {"a": 4}),
        ("two/s/d", b"{"),
        (b"one/\xff/d", {"a": 1}),
    )
    decoded = decode(uplinks, routes(one, two))
    assert {r.profile.name: r.uplink.tolist() for r in decoded.readings} == {"one": [3], "two": [0]}
    assert [(r.index, r.reason) for r in decoded.rejections] == [
        (1, Reason.NOT_JSON),
        (2, Reason.UNKNOWN_TOPIC),
        (4, Reason.NOT_JSON),
        (5, Reason.NOT_UTF8),
    ]


def test_details_name_the_path() -> None:
    """A person reads where the payload is wrong."""
    decoded = decode(payloads({"a": {"b": 1}}), routes(profile("quantities: {a: {path: a.b.c, unit: mm}}")))
    assert "$.a.b" in decoded.rejections[0].detail
