"""The middle of the river: whatever comes in, every uplink and every reading is accounted for once."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.aggregate.aggregator import Aggregator
from gateway.decode.rates import Rates
from gateway.model import Control, ControlKind, Reason
from gateway.quality.assess import assess
from gateway.quality.neighbours import Neighbours
from gateway.roster import Roster
from gateway.rules import Limits, Rules
from gateway.saving import Saved
from gateway.testing import MemoryStateStore
from gateway.treatment import STRANGERS_A_RECORD, Treatment
from tests.decode.plans import batch
from tests.river import DEVICES, LIMITS, MINUTE_NS, PLANS, START_NS, bin_uplink, topic

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gateway.model import Device, Points
    from gateway.profiles.plan import ProfilePlan
    from gateway.treatment import Product

DAY_NS = 1440 * MINUTE_NS


@dataclass
class Heard:
    """`ports.DeviceObserver` that remembers who was heard."""

    devices: list[tuple[str, str]] = field(default_factory=list)
    strangers: list[tuple[str, str, bytes]] = field(default_factory=list)

    def heard(self, site_devices: Iterable[tuple[str, str]], _at_ns: int) -> None:
        """Remember."""
        self.devices += site_devices

    def unknown(self, site: str, device: str, _topic: str, payload: bytes, _at_ns: int) -> None:
        """Remember."""
        self.strangers.append((site, device, payload))


class Bench:
    """A treatment under the shipped profiles, fed with batches as the journal would."""

    def __init__(self, *, settle_ns: int | None = None, limits: Limits = LIMITS) -> None:
        self.saved = Saved(rules=Rules(plans=PLANS, devices=Roster.of(DEVICES.values()), limits=limits))
        self.store = MemoryStateStore()
        self.observer = Heard()
        self.settle_ns = settle_ns
        self.treatment = self.build()
        self.position = 0

    def build(self) -> Treatment:
        """Build it from what is saved, as at a start."""
        rules = self.saved.rules
        aggregator = Aggregator(
            self.store,
            zones=rules.limits.zones,
            default_zone=rules.limits.default_zone,
            assess=assess,
            neighbours=Neighbours,
            grace_ns=10**10,
            settle_ns=self.settle_ns,
            hot_bytes=10**7,
        )
        aggregator.restore()
        aggregator.use(rules.kept_plans())
        return Treatment(
            rules=rules,
            aggregator=aggregator,
            identities=self.saved.identities,
            rates=self.saved.rates,
            books=self.saved.books,
            observer=self.observer,
        )

    def feed(self, *batches: Sequence[tuple[str, bytes]], at_ns: int = START_NS, **how: Any) -> Product:
        """Journal and treat batches together; return what came of it."""
        raw = []
        for uplinks in batches:
            self.position += 1
            raw.append(replace(batch(*uplinks, received=at_ns, **how), position=self.position))
        book, count = self.treatment.books.uplinks, sum(map(len, batches))
        book.journalled += count
        book.pending += count
        self.treatment.uplinks(raw)
        return self.treatment.take()

    def close_windows(self, now_ns: int, *, settled: bool) -> None:
        """Close all windows whose time has come."""
        for _ in self.treatment.close_windows(now_ns, settled=settled):
            pass

    def want(
        self, *, plans: Mapping[str, ProfilePlan] = PLANS, devices: Mapping[tuple[str, str], Device] = DEVICES
    ) -> None:
        """Put other rules in force."""
        rules, roster = self.treatment.rules, Roster.of(devices.values())
        for record in rules.changes_to(plans=plans, devices=roster, limits=rules.limits, at_ns=START_NS):
            self.treatment.control(record)


def fields(points: Sequence[Points]) -> list[dict[str, Any]]:
    """Return each point's fields."""
    found = []
    for one in points:
        for row in range(len(one)):
            columns = one.fields.items()
            found.append({n: c.values[row] for n, c in columns if c.present is None or bool(c.present[row])})
    return found


# --- the books ---

minutes = st.sampled_from([0, 1, 2, 15, 16, -60, -4 * 1440, -8 * 1440, -40 * 1440, 10, 4_000])
numbers = st.sampled_from([0, 19, 300, 900, 1800, 5000, 65535, -1, 2**70, None, "x", True, 1.5])
bins = st.fixed_dictionaries(
    {},
    optional={
        "ts": st.builds(lambda m: (START_NS + m * MINUTE_NS) // 10**6, minutes) | numbers,
        "seq": st.integers(0, 3) | numbers,
        "dist_mm": numbers,
        "temp_c": numbers,
        "battery_v": st.sampled_from([3.6, 1.0, "low"]),
        "tilt": st.sampled_from([0, 1, 2]),
    },
)
lanes = st.lists(
    st.fixed_dictionaries(
        {"lane": st.sampled_from(["1", "2"]), "direction": st.sampled_from(["in", "out", 5])},
        optional={
            "occupancy": st.sampled_from([5.0, 105.0, None]),
            "classes": st.dictionaries(
                st.sampled_from(["car", "truck"]),
                st.fixed_dictionaries({"n": st.sampled_from([0, 3, 6000, "x"])}, optional={"v": numbers}),
                max_size=2,
            ),
        },
    ),
    max_size=3,
)
counters = st.fixed_dictionaries(
    {"time": st.sampled_from(["2026-11-22T10:00:00Z", "2026-11-22T09:45:00Z", "2027-01-01T00:00:00Z", "x"])},
    optional={"period_s": st.sampled_from([900, 0, "x"]), "lanes": lanes, "battery_pct": numbers},
)
meters = st.fixed_dictionaries(
    {"ts": st.builds(lambda m: (START_NS + m * MINUTE_NS) // 10**9, minutes)},
    optional={
        "index_l": st.sampled_from([5, 10, 99_999_999, 100_000_001, -4, "x"]),
        "status": st.sampled_from([0, 4, 32, 2**40, "x"]),
        "log": st.fixed_dictionaries(
            {"ts": st.just((START_NS - 3 * 3600 * 10**9) // 10**9), "index_l": st.just(2)},
            optional={"deltas_l": st.lists(st.sampled_from([0, 1, "x"]), max_size=3)},
        ),
    },
)
garbage = st.sampled_from([b"", b"{", b"[]", b"\xff", b"null", b"{" * 40, b'{"ts": NaN}', b"x" * 20_000])
uplinks = st.one_of(
    st.tuples(st.sampled_from([topic("bin-1"), topic("bin-2"), topic("bin-9")]), bins.map(json.dumps)),
    st.tuples(st.just(topic("counter-1", "traffic")), counters.map(json.dumps)),
    st.tuples(st.sampled_from([topic("meter-1", "water"), topic("bin-1", "water")]), meters.map(json.dumps)),
    st.tuples(st.sampled_from([topic("bin-1"), "nowhere", topic("meter-1", "water")]), garbage),
).map(lambda pair: (pair[0], pair[1].encode() if isinstance(pair[1], str) else pair[1]))


@st.composite
def days(draw: st.DrawFn) -> list[tuple[list[tuple[str, bytes]], int, list[int]]]:
    """Return batches, each with the minutes since the one before and its frames' first bytes."""
    pool = draw(st.lists(uplinks, min_size=1, max_size=12))
    given_ = []
    for _ in range(draw(st.integers(1, 6))):
        chosen = draw(st.lists(st.sampled_from(pool), min_size=1, max_size=8))  # so some come twice
        headers = draw(
            st.lists(st.sampled_from([0x32, 0x3A, 0x33]), min_size=len(chosen), max_size=len(chosen))
        )
        given_.append((chosen, draw(st.sampled_from([0, 1, 20, 1500])), headers))
    return given_


@settings(max_examples=100, deadline=None)
@given(days(), st.booleans(), st.sampled_from(["off", "1/s", "3/min"]))
def test_the_books_balance(
    day: list[tuple[list[tuple[str, bytes]], int, list[int]]],
    accept: bool,  # noqa: FBT001 - drawn
    rate: str,
) -> None:
    """After every batch, for any mix of good, bad, repeated, conflicting, late and retained uplinks.

    What is refused is in quarantine once for each reason, whole, with its place in the journal.
    """
    limits = replace(LIMITS, accept_unknown=accept, max_rate=rate)
    bench, now, sent, refused = Bench(limits=limits), START_NS, 0, []
    books = bench.treatment.books
    for chosen, pause, headers in day:
        now += pause * MINUTE_NS
        product = bench.feed(chosen, at_ns=now, headers=headers)
        sent += len(chosen)
        refused += product.refused
        bench.close_windows(now, settled=True)
        book = books.uplinks
        assert book.journalled == sent
        assert book.pending == 0
        assert book.difference() == 0, book
        assert books.readings.difference() == 0, books.readings
        for row in product.refused:
            assert (row.topic.decode(), row.payload) == chosen[row.index]
            assert row.position == bench.position
    assert len({(row.position, row.index, row.reason) for row in refused}) == len(refused)
    # Of what is beyond a device's limit quarantine has samples.
    limited = [row for row in refused if row.reason is Reason.RATE_LIMITED]
    assert bool(limited) == bool(books.uplinks.rate_limited)
    assert books.reasons["rate limited"] == books.uplinks.rate_limited >= len(limited)
    assert sum(books.reasons.values()) - books.uplinks.rate_limited == len(refused) - len(limited)
    assert books.uplinks.quarantined <= len(refused)
    assert sum(points.time.size for points in product.raw) <= books.readings.decoded


@settings(max_examples=40, deadline=None)
@given(days(), st.sampled_from(["off", "1/s", "3/min"]))
def test_batches_together_are_batches_one_by_one(
    day: list[tuple[list[tuple[str, bytes]], int, list[int]]], rate: str
) -> None:
    """How much is treated at a time changes neither books nor quarantine, nor the last of each point."""
    limits = replace(LIMITS, max_rate=rate)
    together, apart = Bench(limits=limits), Bench(limits=limits)
    batches = [chosen for chosen, _, _ in day]
    one = together.feed(*batches)
    many = [apart.feed(chosen) for chosen in batches]
    assert together.treatment.books == apart.treatment.books
    assert one.refused == [row for product in many for row in product.refused]
    assert last_of(one.raw) == last_of([points for product in many for points in product.raw])


def last_of(raw: Sequence[Points]) -> dict[Any, Any]:
    """Return the last writing of every point."""
    found = {}
    for points in raw:
        for row, values in enumerate(fields([points])):
            tags = points.tags[points.series[row]]
            found[points.measurement, tags, int(points.time[row])] = values
    return found


# --- a flood of strangers ---


def test_strangers_cannot_fill_quarantine_with_one_read() -> None:
    """So many of each record are kept; all are counted, and what known devices sent is kept besides."""
    bench = Bench()
    flood = [(topic(f"x-{n}"), b"?") for n in range(STRANGERS_A_RECORD + 50)]
    product = bench.feed([*flood, (topic("bin-1"), b"{")], flood[:10])
    books = bench.treatment.books
    kept = [(row.position, row.index) for row in product.refused if row.reason is Reason.UNKNOWN_DEVICE]
    assert kept == [(1, n) for n in range(STRANGERS_A_RECORD)] + [(2, n) for n in range(10)]
    assert [row.device for row in product.refused if row.reason is Reason.NOT_JSON] == ["bin-1"]
    assert books.reasons["unknown device"] == len(flood) + 10
    assert books.uplinks.quarantined == len(flood) + 11
    assert (books.not_kept, books.uplinks.difference()) == (50, 0)


# --- the limit on a device's uplinks ---


def test_what_a_device_sends_beyond_its_limit_has_its_own_column() -> None:
    """Every one is counted, one a minute is in quarantine, and none is decoded; others are not touched."""
    bench = Bench(limits=replace(LIMITS, max_rate="3/min"))
    flood = [(topic("bin-1"), bin_uplink(0, 900 + n, seq=n)) for n in range(10)]
    beside = [(topic("bin-2"), bin_uplink(0, 900))]
    first = bench.feed([*flood[:5], *beside], flood[5:])
    second = bench.feed(flood[:2], at_ns=START_NS + MINUTE_NS)
    books = bench.treatment.books
    assert books.uplinks.rate_limited == books.reasons["rate limited"] == 7
    assert books.uplinks.difference() == 0
    (row,) = [row for row in first.refused if row.reason is Reason.RATE_LIMITED]
    assert (row.index, row.device, row.payload) == (3, "bin-1", flood[3][1])
    assert not [row for row in second.refused if row.reason is Reason.RATE_LIMITED]
    told = {points.tags[series] for points in first.raw for series in points.series.tolist()}
    assert {dict(tags)["device"] for tags in told} == {"bin-1", "bin-2"}


def test_a_limit_takes_effect_and_is_lifted_by_a_record() -> None:
    """As every rule; what is saved between goes on counting."""
    bench = Bench()
    uplink = (topic("bin-1"), bin_uplink(0, 900))

    def limit(rate: str) -> None:
        bench.treatment.control(
            Control(ControlKind.SETTINGS, START_NS, json.dumps({"max_rate": rate}).encode())
        )

    bench.feed([uplink] * 9)
    limit("2/h")
    bench.feed([uplink])
    saved = Rates()
    saved.restore(bench.treatment.rates.state())
    bench.saved.rates = saved
    bench.treatment = bench.build()
    bench.feed([uplink] * 3)
    assert bench.treatment.books.uplinks.rate_limited == 2
    limit("off")
    bench.feed([uplink] * 9)
    assert bench.treatment.books.uplinks.rate_limited == 2
    assert bench.treatment.books.uplinks.difference() == 0


# --- what the books do not say ---


def test_one_reason_is_one_row() -> None:
    """An uplink of two groups, all of it in the future, is in quarantine once, and counted once."""
    bench = Bench()
    said = {
        "time": "2026-11-23T10:00:00Z",
        "period_s": 900,
        "battery_pct": 80,
        "lanes": [{"lane": "1", "direction": "in", "occupancy": 5, "classes": {"car": {"n": 3, "v": 40}}}],
    }
    product = bench.feed([(topic("counter-1", "traffic"), json.dumps(said).encode())])
    assert [row.reason for row in product.refused] == [Reason.IN_THE_FUTURE]
    books = bench.treatment.books
    assert books.reasons == {"in the future": 1}
    assert (books.uplinks.decoded, books.readings.rejected) == (1, 4)


def test_a_refused_uplink_names_its_device() -> None:
    """Site, device and profile, as far as its topic tells them; the place is that in its own record."""
    bench = Bench()
    product = bench.feed([(topic("bin-1"), bin_uplink(0, 900)), (topic("bin-1"), b"{")], [("nowhere", b"{}")])
    told = [
        (row.position, row.index, row.site, row.device, row.profile, row.reason) for row in product.refused
    ]
    assert told == [
        (1, 1, "lyon", "bin-1", "bin-level", Reason.NOT_JSON),
        (2, 0, "", "", "", Reason.UNKNOWN_TOPIC),
    ]


def test_strangers_are_told_with_a_sample() -> None:
    """And devices that gave readings, of which a refused uplink gives none."""
    bench = Bench()
    bench.feed([(topic("bin-9"), b"hello"), (topic("bin-1"), bin_uplink(0, 900)), (topic("bin-2"), b"{")])
    assert bench.observer.strangers == [("lyon", "bin-9", b"hello")]
    bench.close_windows(START_NS, settled=False)
    assert bench.observer.devices == [("lyon", "bin-1")]


def test_a_conflicting_duplicate_is_in_quarantine_and_in_its_column() -> None:
    """Not among the rejected: the first value stands."""
    bench = Bench()
    product = bench.feed([(topic("bin-1"), bin_uplink(0, 900)), (topic("bin-1"), bin_uplink(0, 700))])
    assert [row.reason for row in product.refused] == [Reason.CONFLICTING_DUPLICATE]
    book = bench.treatment.books.readings
    assert (book.conflicting, book.rejected) == (2, 0)  # the distance, and the level made of it
    (point,) = fields(product.raw)
    assert point["distance"] == 900


def test_a_changed_place_and_parameter_hold_from_the_next_uplink_on() -> None:
    """Between two batches, by a control record."""
    bench = Bench()
    before = bench.feed([(topic("bin-1"), bin_uplink(0, 900))])
    deeper = replace(DEVICES["lyon", "bin-1"], parameters={"empty": ((0, 3000.0),)})
    bench.want(devices={**DEVICES, ("lyon", "bin-1"): deeper})
    after = bench.feed([(topic("bin-1"), bin_uplink(1, 900))])
    assert [round(point["filling_level"]) for point in fields(before.raw) + fields(after.raw)] == [60, 78]
    assert bench.treatment.rules_changed


def test_windows_of_a_removed_profile_are_still_written() -> None:
    """Its uplinks are refused from then on; what it had measured is not lost, after a restart neither."""
    for restarts in (False, True):
        bench = Bench()
        bench.feed([(topic("bin-1"), bin_uplink(0, 900))])
        others = {name: plan for name, plan in PLANS.items() if name != "bin-level"}
        bench.want(plans=others)
        product = bench.feed([(topic("bin-1"), bin_uplink(1, 900))])
        assert [row.reason for row in product.refused] == [Reason.UNKNOWN_TOPIC]
        if restarts:
            bench.store.commit(bench.treatment.aggregator.dirty(), {})
            bench.saved.rules = Rules.restored(bench.treatment.rules.dump(), bench.treatment.rules.devices)
            bench.treatment = bench.build()
        bench.close_windows(START_NS + 2 * DAY_NS, settled=True)
        windows = bench.treatment.take().windows
        assert {points.measurement for points in windows} == {"waste_15m", "waste_1h", "waste_1d"}
        bench.want()
        assert not bench.feed([(topic("bin-1"), bin_uplink(2, 900))]).refused


def test_days_follow_the_zone() -> None:
    """A site's own zone, from the control record on."""
    bench = Bench()
    bench.feed([(topic("bin-1"), bin_uplink(0, 900))])
    limits = replace(LIMITS, zones={"lyon": "Asia/Tokyo"})
    rules = bench.treatment.rules
    (record,) = rules.changes_to(plans=PLANS, devices=rules.devices, limits=limits, at_ns=START_NS)
    assert record.kind is ControlKind.SETTINGS
    bench.treatment.control(record)
    bench.close_windows(START_NS + 2 * DAY_NS, settled=True)
    (day,) = [points for points in bench.treatment.take().windows if points.measurement == "waste_1d"]
    assert int(day.time[0]) == START_NS - 19 * 60 * MINUTE_NS  # it is 19:00 in Tokyo


def test_a_window_that_is_written_once_waits_to_be_settled() -> None:
    """`settled` says whether such windows may go out now; the others go out all the same."""
    bench = Bench(settle_ns=15 * MINUTE_NS)
    bench.feed([(topic("bin-1"), bin_uplink(0, 900))])
    bench.close_windows(START_NS + 40 * MINUTE_NS, settled=False)
    held = bench.treatment.take()
    assert (len(held.windows), len(held.settled)) == (1, 0)
    bench.close_windows(START_NS + 40 * MINUTE_NS, settled=True)
    assert len(bench.treatment.take().settled) == 1


def test_a_product_is_empty_or_true() -> None:
    """Nothing is handed on where nothing came of it."""
    bench = Bench()
    assert not bench.treatment.take()
    assert bench.feed([(topic("bin-1"), b"{")])
    bench.treatment.uplinks([])
    assert not bench.treatment.take()
