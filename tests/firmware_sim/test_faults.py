"""Faults come at the set rate, spoil nothing else, and say what must become of them."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from itertools import takewhile

import pytest

from firmware_sim.city import city
from firmware_sim.faults import Outages, Rates
from firmware_sim.fleet import Fleet
from firmware_sim.model import DAY, HOUR, MINUTE, SECOND, Happening, Message, Span

START = int(datetime(2026, 11, 16, 6, tzinfo=UTC).timestamp()) * SECOND
SPAN = Span(seed=1, origin_ns=START, start_ns=START)


def lived(rates: Rates, *, devices: int = 150, hours: float = 24) -> list[Message]:
    items = city(Fleet.of(devices).specs(1), SPAN, rates)
    early = takewhile(lambda item: item.due_ns < START + int(hours * HOUR), items)
    return [item for item in early if isinstance(item, Message)]


def test_no_faults_unless_asked() -> None:
    """With every rate 0 all messages are healthy and expected to be stored."""
    assert {(m.fault, m.expect) for m in lived(Rates(), hours=6)} == {(None, "stored")}


def test_faults_come_at_their_rates() -> None:
    """Shares of malformed, duplicate and late messages are those asked for, within chance."""
    messages = lived(Rates.of(0.05), hours=36)
    faults = Counter(m.fault for m in messages)
    kinds = set(faults) - {None, "duplicate", "out of order", "outage", "no echo"}
    quiet = len(messages) - faults["outage"]
    assert sum(faults[kind] for kind in kinds) / quiet == pytest.approx(0.05, rel=0.2)
    assert faults["duplicate"] / quiet == pytest.approx(0.05, rel=0.2)
    assert faults["out of order"] / quiet == pytest.approx(0.05, rel=0.2)
    assert faults["outage"] > 0


def test_first_messages_are_healthy() -> None:
    """Whatever the rates, each device's first message is stored: even a short run hears every device."""
    first: dict[str, Message] = {}
    for message in lived(Rates.of(0.3), hours=1):
        if not message.device.startswith("ghost"):
            first.setdefault(message.device, message)
    assert {message.fault for message in first.values()} == {None}
    assert len(first) == 150


def test_duplicates_are_exact_and_later() -> None:
    """A duplicate repeats topic and payload of an earlier message of its device."""
    seen: set[tuple[str, bytes]] = set()
    for message in lived(Rates(duplicate=0.1), hours=6):
        assert ((message.topic, message.payload) in seen) == (message.fault == "duplicate")
        assert (message.expect == "duplicate") == (message.fault == "duplicate")
        assert bool(message.readings) == (message.fault != "duplicate")
        seen.add((message.topic, message.payload))


def test_out_of_order_messages_are_overtaken() -> None:
    """A message out of order arrives with its own time, behind younger ones of its device."""
    newest: dict[str, int] = {}
    overtaken = 0
    for message in lived(Rates(out_of_order=0.1), hours=8):
        at = message.readings[0].time_ns
        overtaken += message.fault == "out of order" and at < newest.get(message.device, 0)
        assert message.fault is not None or at > newest.get(message.device, 0) - 2 * MINUTE
        newest[message.device] = max(at, newest.get(message.device, 0))
    assert overtaken > 20


def test_outages_end_in_a_burst_with_original_times() -> None:
    """What fell into a district's outage comes after it, within a minute, with the times of the outage."""
    messages = lived(Rates(outages_per_day=2.0))
    held = [m for m in messages if m.fault == "outage" and m.device.startswith("bin")]
    specs = {spec.id: spec for spec in Fleet.of(150).specs(1)}
    assert len(held) > 50
    for message in held:
        outages = Outages(1, specs[message.device].district, 2.0)
        at = message.readings[0].time_ns
        past = [outages.during(at + shift) for shift in (-MINUTE, 0, MINUTE)]
        assert any(out and out.end_ns < message.due_ns < out.end_ns + 2 * MINUTE for out in past)


def test_reboots_start_sequences_anew() -> None:
    """After a reboot a device counts from 0 again; nothing else resets it."""
    items = takewhile(
        lambda item: item.due_ns < START + DAY, city(Fleet(30, 0, 0).specs(1), SPAN, Rates(reboot=0.05))
    )
    rebooted: set[str] = set()
    expected: dict[str, int] = {}
    reboots = 0
    for item in items:
        if isinstance(item, Happening):
            if item.what == "reboot":
                rebooted.add(item.device)
            continue
        seq = int(item.payload.partition(b'"seq":')[2].partition(b",")[0])
        if item.device in rebooted:
            rebooted.discard(item.device)
            assert seq == 0
            reboots += 1
        else:
            assert seq == expected.get(item.device, 0)
        expected[item.device] = seq + 1
    assert reboots > 20


def test_strangers_are_bounded_in_number() -> None:
    """Unknown devices have names of their own, never those of the fleet, and few of them."""
    strangers = {m.device for m in lived(Rates(malformed=0.3)) if m.fault == "unknown device"}
    assert strangers
    assert all(name.startswith("ghost-") for name in strangers)
    assert len(strangers) <= 40


def test_conflicts_follow_what_they_contradict() -> None:
    """A conflicting duplicate has the device time of an earlier stored message, and another value."""
    stored: dict[tuple[str, bytes], bytes] = {}
    found = 0
    for message in lived(Rates(malformed=0.3), hours=12):
        time = (
            message.payload.partition(b'"ts":')[2].partition(b",")[0]
            or message.payload.partition(b'"time":')[2][:22]
        )
        if message.fault == "conflicting duplicate":
            found += 1
            assert stored[message.device, time] != message.payload
            assert not message.readings
        elif message.expect == "stored":
            stored[message.device, time] = message.payload
    assert found > 20
