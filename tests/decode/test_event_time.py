"""Event times and the intervals that readings cover."""

from __future__ import annotations

import pytest

from gateway.decode.decoder import Decoded, decode
from gateway.model import NS_PER_S, Reason, TimeSource
from tests.decode.plans import RECEIVED, device, payloads, profile, routes

GAUGE = "quantities: {a: {path: a, unit: mm}}\n"
TIMED = "time: {path: ts, unit: s}\n"


def times(decoded: Decoded) -> list[float]:
    """Return the event times, in seconds."""
    return (decoded.readings[0].time / NS_PER_S).tolist()


@pytest.mark.parametrize(
    ("covers", "expected"),
    [
        ("{length: 15min, label: end, align: false}", 43_207 - 900),
        ("{length: 15min, label: end, align: true}", 43_200 - 900),
        ("{length: 15min, label: start, align: false}", 43_207),
        ("{length: 15min, label: start, align: true}", 43_200),
    ],
)
def test_an_interval_starts_its_readings(covers: str, expected: int) -> None:
    """Heard 12:00:07 = counted in [11:45, 12:00), where the time labels the end and is aligned."""
    decoded = decode(payloads({"a": 1, "ts": 43_207}), routes(profile(f"{TIMED}covers: {covers}\n{GAUGE}")))
    assert times(decoded) == [expected]


def test_an_interval_by_parameter() -> None:
    """The interval is a value of the installation, by device time; without it the uplink is refused."""
    body = f"{TIMED}parameters: {{i: {{unit: min}}}}\ncovers: {{param: i, label: end}}\n{GAUGE}"
    devices = [
        device("d", parameters={"i": ((0, 10.0), (50_000 * NS_PER_S, 5.0))}),
        device("e"),
        device("f", parameters={"i": 0.0}),
    ]
    here = routes(profile(body), devices=devices)
    assert times(decode(payloads({"a": 1, "ts": 43_200}, {"a": 1, "ts": 50_000}), here)) == [42_600, 49_700]
    for name, reason in (("e", Reason.MISSING_PARAMETER), ("f", Reason.NOT_REPRESENTABLE)):
        decoded = decode(payloads({"a": 1, "ts": 43_200}, topic=f"t/s/{name}"), here)
        assert [r.reason for r in decoded.rejections] == [reason]


def test_an_interval_in_the_payload() -> None:
    """The payload can say how long it counted; absent, negative and endless lengths are refused."""
    here = routes(profile(f"{TIMED}covers: {{path: p, unit: s, label: end}}\n{GAUGE}"))
    bodies = [
        {"a": 1, "ts": 43_200} | extra
        for extra in ({"p": 900}, {"p": 0.5}, {}, {"p": -1}, {"p": 1e9}, {"p": 0})
    ]
    decoded = decode(payloads(*bodies), here)
    assert times(decoded) == [42_300, 43_199.5]
    assert [r.reason for r in decoded.rejections] == [Reason.MISSING_FIELD] + [Reason.NOT_REPRESENTABLE] * 3


def test_receipt_stands_in_for_the_end_of_the_interval() -> None:
    """Without a device time, the aligned receive time labels the interval."""
    here = routes(profile(f"{TIMED}covers: {{length: 15min, label: end, align: true}}\n{GAUGE}"))
    decoded = decode(payloads({"a": 1}, {"a": 2}), here)
    end = RECEIVED // (900 * NS_PER_S) * 900
    assert times(decoded) == [end - 900] * 2
    assert decoded.readings[0].time_source.tolist() == [TimeSource.RECEIPT] * 2


def test_null_is_no_time() -> None:
    """A time that is null is absent, as one that is not there."""
    decoded = decode(payloads({"a": 1, "ts": None}), routes(profile(TIMED + GAUGE)))
    assert decoded.readings[0].time_source.tolist() == [TimeSource.RECEIPT]


def test_a_time_that_is_measured_too() -> None:
    """One field may be a time and a quantity."""
    body = "time: {path: a, unit: s}\nquantities: {a: {path: a, unit: s}}"
    decoded = decode(payloads({"a": 5}, {"a": 6.5}), routes(profile(body)))
    assert times(decoded) == [5, 6.5]
    assert decoded.readings[0].values[0].tolist() == [5, 6.5]
