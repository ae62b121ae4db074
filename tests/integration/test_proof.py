"""The proof: 50,000 messages with faults, at QoS 1, through real servers, held against the ledger.

One run, looked at from many sides: a city of 600 devices lives through more than a day, the one on which
summer time ends, into InfluxDB, VictoriaMetrics and the embedded store at once. It takes a minute, so it is
one test: each of the checks has a behaviour of its own.
"""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from firmware_sim.model import HOUR
from tests.brokers import mosquitto
from tests.databases import influxdb, victoria_metrics
from tests.integration import stored
from tests.integration.city import city, event_ns, fleet, scale_from
from tests.integration.gateway_process import gateway
from tests.integration.oracle import Truth, bounds
from tests.integration.quarantined import quarantined
from tests.integration.recount import recount

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from firmware_sim.ledger import Contents
    from tests.integration.oracle import Tables
    from tests.integration.recount import Recount

MESSAGES = 50_000
DEVICES = 600
SPEED = 2_000.0
BEGINS = "2026-10-24T15:30:00+00:00"
"""In the afternoon before summer time ends: the civil day that follows has 25 hours."""

SETTLE = 10 * HOUR
"""At this speed 18 s of the machine's time: so long may the gateway be behind, and a store that cannot
overwrite gets complete windows all the same."""

pytestmark = [
    pytest.mark.mosquitto,
    pytest.mark.influxdb,
    pytest.mark.victoriametrics,
    pytest.mark.timeout(400),
]


@dataclass
class Proof:
    """Everything that is left of the run: the ledger, what each database has, the last status."""

    ledger: Contents
    truth: Truth
    recount: Recount
    status: dict[str, Any]
    exit_code: int
    stopped_ns: int
    state: Path
    measurements: set[str]
    influx: Tables
    types: dict[tuple[str, str], str]
    embedded: Tables
    victoria: dict[str, Any]
    windows: Tables


def test_fifty_thousand_messages(tmp_path: Path) -> None:
    """Every one is where it belongs, and all that follows from it: see the checks."""
    gc.disable()  # some millions of values that all stay: the search for cycles would take longest
    try:
        proof = _run(tmp_path)
        for check in CHECKS:
            check(proof)
    finally:
        gc.enable()


def _run(folder: Path) -> Proof:
    """Run it all, and read back what is left of it."""
    with (
        mosquitto(folder) as broker,
        influxdb(folder / "influx", database="") as influx,
        victoria_metrics(folder / "victoria") as victoria,
    ):
        specs = fleet(folder / "devices.csv", DEVICES)
        sinks = (
            {"name": "influx", "kind": "influxdb1", "url": influx.url, "create": True},
            {"name": "victoria", "kind": "victoriametrics", "url": victoria.url},
            {"name": "embedded", "kind": "embedded"},
        )
        scale = scale_from(BEGINS, speed=SPEED)
        more = {"windows": {"settle": f"{SETTLE // HOUR}h"}, "broker": {"silence": "10min"}}
        with gateway(folder, broker, *sinks, scale=scale, more=more) as running:
            with city(folder, broker, scale=scale, devices=DEVICES, messages=MESSAGES) as people:
                ledger = people.wait(within_s=200)
            truth = Truth.of(ledger, specs)
            windows = truth.windows()
            running.drained(uplinks=MESSAGES)
            # Every window of what was sent has ended once the civil day has.
            over = bounds("1d", truth.newest)[1] + SETTLE + HOUR
            running.wait(lambda now: now["now_ns"] > over, "the day is over", within_s=120)
            status = running.drained(uplinks=MESSAGES)
            stopped_ns = event_ns(scale)
            exit_code = running.stop()
        with ThreadPoolExecutor() as reading:
            from_influx = reading.submit(stored.from_influx, influx)
            from_victoria = reading.submit(stored.from_victoria, victoria)
            from_embedded = reading.submit(stored.from_embedded, running.state / "embedded.duckdb")
        return Proof(
            ledger=ledger,
            truth=truth,
            recount=asyncio.run(recount(running.state, ledger, specs)),
            status=status,
            exit_code=exit_code,
            stopped_ns=stopped_ns,
            state=running.state,
            measurements={str(row["name"]) for row in influx.query("SHOW MEASUREMENTS")},
            influx=from_influx.result(),
            types=stored.influx_types(influx),
            embedded=from_embedded.result(),
            victoria=from_victoria.result(),
            windows=windows,
        )


def the_city_was_what_the_proof_needs(proof: Proof) -> None:
    """50,000 messages, 600 devices, every kind of fault, a whole civil day of 25 hours."""
    assert len(proof.ledger.entries) == MESSAGES
    assert len({entry.device for entry in proof.ledger.entries if entry.expect == "stored"}) == DEVICES
    assert proof.ledger.expectations().keys() == {
        "stored",
        "duplicate",
        "flagged",
        *(
            f"quarantined:{reason}"
            for reason in (
                "not utf-8",
                "not json",
                "too large",
                "too deep",
                "unknown device",
                "missing field",
                "wrong type",
                "not finite",
                "no reading",
                "in the future",
                "too old",
                "conflicting duplicate",
            )
        ),
    }
    days = {end - start for start, end in (bounds("1d", key[2]) for key in proof.windows["waste_1d"])}
    assert 25 * HOUR in days


def it_stopped_in_order(proof: Proof) -> None:
    """SIGTERM ends it with 0."""
    assert proof.exit_code == 0


def every_valid_reading_is_in_influxdb_once(proof: Proof) -> None:
    """With the right value, type and time; and nothing is there that the ledger does not have."""
    assert stored.assert_same(proof.truth.raw(), proof.influx, where="InfluxDB") > MESSAGES
    assert proof.measurements == set(stored.MEASUREMENTS)


def every_window_is_what_the_ledger_gives(proof: Proof) -> None:
    """Counts, extremes, means, weighted means, sums, increments, time in state, coverage, failures."""
    expected = proof.windows
    assert stored.ended(expected, {name: {} for name in expected}, by=proof.stopped_ns) == expected
    assert stored.assert_same(expected, proof.influx, where="InfluxDB") > 0


def field_types_follow_the_kind(proof: Proof) -> None:
    """A gauge is a float, a counter and an event integers, a state a text: never by their value."""
    stored.check_types(proof.truth.raw() | proof.windows, proof.types)


def flags_mean_what_they_say(proof: Proof) -> None:
    """What the sensor cannot measure is flagged and nothing else; windows count their suspects."""
    stored.check_quality(proof.truth, proof.influx)


def the_embedded_store_has_the_same(proof: Proof) -> None:
    """Raw points and windows, as in InfluxDB, flags included."""
    stored.assert_same(proof.truth.raw() | proof.windows, proof.embedded, where="embedded store")
    stored.assert_same(proof.influx, proof.embedded, where="embedded store beside InfluxDB", without=())


def victoriametrics_has_every_number_once(proof: Proof) -> None:
    """It overwrites nothing: each raw value is there once; only a flag may have changed."""
    problems = []
    raw = proof.truth.raw()
    for family, points in raw.items():
        had = proof.victoria[family]
        assert had.keys() == points.keys(), family
        for key, fields in points.items():
            numbers = {name: value for name, value in fields.items() if not isinstance(value, str)}
            told = {name: set(values) for name, values in had[key].items() if name != "quality"}
            once = {name: values.pop() for name, values in told.items() if len(values) == 1}
            if not stored.same({name: float(value) for name, value in numbers.items()}, once):
                problems.append(f"{family} {key}: {once} instead of {numbers}")
    assert not problems, f"{len(problems)}\n" + "\n".join(problems[:10])


def victoriametrics_has_every_window_once(proof: Proof) -> None:
    """Each when it had settled, with what InfluxDB was given at first and in corrections."""
    problems, compared = [], 0
    for measurement, points in proof.windows.items():
        had = proof.victoria[measurement]
        assert had.keys() == points.keys(), measurement
        for key, fields in points.items():
            compared += 1
            told = had[key]
            if any(len(values) > 1 for values in told.values()):
                problems.append(f"{measurement} {key}: written twice: {told}")
            numbers = {name: float(value) for name, value in fields.items() if not isinstance(value, str)}
            judged = {name: values[0] for name, values in told.items() if name not in stored.JUDGED}
            if not stored.same(numbers, judged):
                problems.append(f"{measurement} {key}: {stored.difference(numbers, judged)}")
    assert not problems, f"{len(problems)} of {compared}\n" + "\n".join(problems[:10])
    assert proof.status["sinks"]["victoria"]["not_delivered"] == 0


def every_bad_message_is_in_quarantine_with_its_reason(proof: Proof) -> None:
    """Whole, once, for the reason that the ledger names, and nothing else is there."""
    expected = Counter(
        (entry.topic.encode(), entry.payload, entry.expect.partition(":")[2])
        for entry in proof.ledger.entries
        if entry.expect.startswith("quarantined:")
    )
    found = quarantined(proof.state)
    assert found - expected == Counter()
    assert expected - found == Counter()
    assert proof.recount.refused == expected


def the_books_are_those_counted_from_journal_and_database(proof: Proof) -> None:
    """Three books, counted again from the journal's frames and the databases' points, and all balance."""
    status, again = proof.status, proof.recount
    assert status["balanced"]
    assert sum(status["durable"]["counts"]) == MESSAGES
    assert again.uplinks["journalled"] == MESSAGES
    book = {name: count for name, count in status["uplinks"].items() if count}
    assert book == {name: count for name, count in again.uplinks.items() if count}
    book = {name: count for name, count in status["readings"].items() if count}
    assert book == {name: count for name, count in again.readings.items() if count}
    assert status["reasons"] == dict(again.reasons)
    assert status["late"] == 0
    for name, sink in status["sinks"].items():
        assert sink["made"] == sink["stored"], name
    points = {name: len(points) for name, points in proof.influx.items()}
    assert status["windows"] - status["corrections"] == sum(
        count for name, count in points.items() if "_" in name
    )
    assert status["sinks"]["influx"]["stored"] >= sum(points.values())


CHECKS: tuple[Callable[[Proof], None], ...] = (
    the_city_was_what_the_proof_needs,
    it_stopped_in_order,
    every_valid_reading_is_in_influxdb_once,
    every_window_is_what_the_ledger_gives,
    field_types_follow_the_kind,
    flags_mean_what_they_say,
    the_embedded_store_has_the_same,
    victoriametrics_has_every_number_once,
    victoriametrics_has_every_window_once,
    every_bad_message_is_in_quarantine_with_its_reason,
    the_books_are_those_counted_from_journal_and_database,
)
