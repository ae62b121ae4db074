"""The ends of the river: outbox logs with their encoders, and the quarantine."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import orjson
import pytest

from gateway.clock import ManualClock
from gateway.model import Chosen, Column, FieldType, Points, Reason, Refused
from gateway.outlets import POINTS_AN_ENTRY, LogOutlet, QuarantineOutlet, arrow, line_protocol
from gateway.quarantine.reader import BROKER
from gateway.quarantine.store import QuarantineStore
from gateway.sinks import columns
from gateway.sinks.outbox import Outbox
from gateway.sinks.rewrites import Rewrite, To
from gateway.treatment import Product
from tests.river import START_NS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gateway.outlets import Encode

TAGS = [(("device", "bin-1"), ("site", "lyon"))]


def points(measurement: str, value: float = 1.0) -> Points:
    """Return one point with a number and a text."""
    return Points(
        measurement=measurement,
        tags=TAGS,
        series=np.zeros(1, dtype=np.int32),
        time=np.array([START_NS], dtype=np.int64),
        fields={
            "level": Column(FieldType.FLOAT, np.array([value])),
            "tilt": Column(FieldType.STRING, np.array(["upright"], dtype=object)),
        },
    )


PRODUCT = Product(
    raw=[points("waste")], windows=[points("waste_15m")], settled=[points("waste_1h")], oldest_ns=START_NS - 5
)


@pytest.fixture
async def outbox(tmp_path: Path) -> AsyncIterator[Outbox]:
    opened = await Outbox.open(tmp_path / "outbox.db", max_bytes=10_000)
    await opened.register("sink", "hold")
    yield opened
    await opened.close()


def outlet(outbox: Outbox, encode: Encode, *, once: bool = False) -> LogOutlet:
    return LogOutlet("lines", outbox, encode=encode, once=once, sinks=["sink"])


async def bodies(outbox: Outbox) -> list[bytes]:
    return [entry.body for _, entry in await outbox.next("sink", 100, 100_000)]


async def test_raw_points_go_before_windows(outbox: Outbox) -> None:
    """Each with how many points it has, and the receive time of the oldest uplink behind it."""
    await outlet(outbox, line_protocol(strings=True)).take(PRODUCT)
    entries = [entry for _, entry in await outbox.next("sink", 100, 100_000)]
    assert [entry.body.split(b",")[0] for entry in entries] == [b"waste", b"waste_15m"]
    assert {(entry.count, entry.oldest_ns) for entry in entries} == {(1, START_NS - 5)}


async def test_a_sink_that_cannot_overwrite_gets_settled_windows(outbox: Outbox) -> None:
    """And, in line protocol, no text."""
    await outlet(outbox, line_protocol(strings=False), once=True).take(PRODUCT)
    raw, window = await bodies(outbox)
    assert window.startswith(b"waste_1h,")
    assert b"upright" not in raw + window


async def test_columns_for_the_embedded_store(outbox: Outbox) -> None:
    """As they are: the store takes them without parsing text."""
    await outlet(outbox, arrow).take(PRODUCT)
    assert await bodies(outbox) == [columns.encode(points("waste")), columns.encode(points("waste_15m"))]


async def test_nothing_to_say_is_no_entry(outbox: Outbox) -> None:
    """Nor is a point without any field that this sink takes."""
    text = points("waste")
    only = Points("waste", TAGS, text.series, text.time, {"tilt": text.fields["tilt"]})
    await outlet(outbox, line_protocol(strings=False)).take(Product(raw=[only]))
    await outlet(outbox, arrow).take(Product(refused=[]))
    assert outbox.end == 0


async def test_a_mark_is_gone_back_to(outbox: Outbox) -> None:
    """What was appended behind it is cut off: the replay makes it again."""
    log = outlet(outbox, arrow)
    await log.take(PRODUCT)
    mark = await log.settle()
    await log.checkpointed(mark)
    await log.take(PRODUCT)
    assert await log.settle() != mark
    await log.recover(mark)
    assert await log.settle() == mark
    assert (mark["end"], mark["cursors"]) == (2, {"sink": 0})


async def test_a_mark_can_found_a_log_that_is_lost(outbox: Outbox, tmp_path: Path) -> None:
    """As JSON, in the checkpoint: what waited counts as dropped, the rest goes on from the same place."""
    log = outlet(outbox, arrow)
    await log.take(PRODUCT)
    mark = orjson.loads(orjson.dumps(await log.settle()))
    lost = await Outbox.open(tmp_path / "other.db", max_bytes=10_000)
    await lost.register("sink", "hold")
    again = outlet(lost, arrow)
    await again.recover(mark)
    assert lost.end == 2
    await again.take(PRODUCT)
    assert len(await bodies(lost)) == 2
    assert (lost.totals("sink").made, lost.totals("sink").dropped) == (4, 2)
    assert lost.damaged == (("sink", 1, 2),)
    await lost.close()


async def test_at_the_very_start_there_is_no_mark(outbox: Outbox) -> None:
    """Everything behind the beginning is made again."""
    log = outlet(outbox, arrow)
    await log.take(PRODUCT)
    await log.recover({})
    assert outbox.end == 0


async def test_full_is_what_the_outbox_says(outbox: Outbox) -> None:
    """And room comes back with the sink."""
    log = outlet(outbox, lambda _: (b"x" * 6_000, 1))
    assert not log.full
    await log.room()
    await log.take(PRODUCT)
    assert log.full
    await outbox.advance("sink", outbox.end)
    await log.room()
    assert not log.full


@pytest.fixture
async def quarantine(tmp_path: Path) -> AsyncIterator[QuarantineStore]:
    opened = await QuarantineStore.open(tmp_path / "quarantine.db", per_device=10, total=100)
    yield opened
    await opened.close()


async def test_refused_uplinks_are_kept_once(quarantine: QuarantineStore) -> None:
    """A replay puts the same rows: nothing changes, and there is nothing to go back to."""
    refuse = QuarantineOutlet(quarantine, ManualClock(START_NS))
    row = Refused(4, 2, START_NS, b"t", b"{", Reason.NOT_JSON, "why", "lyon", "bin-1", "bin-level")
    for _ in range(2):
        await refuse.take(Product(refused=[row]))
        await refuse.recover(await refuse.settle())
        await refuse.checkpointed({})
    await refuse.take(PRODUCT)
    (kept,) = await quarantine.list()
    assert (kept.position, kept.index, kept.payload, kept.reason) == (4, 2, b"{", "not json")
    assert not refuse.full
    await refuse.room()


async def test_the_head_of_a_packet_is_kept_once(quarantine: QuarantineStore) -> None:
    """Whatever has gone from quarantine before: it stands in no journal, so no place there is behind it."""
    refuse = QuarantineOutlet(quarantine, ManualClock(START_NS))
    rows = [Refused(9, n, START_NS, b"t", b"{", Reason.NOT_JSON, "", "s", f"{n}", "") for n in range(150)]
    await refuse.take(Product(refused=rows))
    assert quarantine.evicted == 50
    head = Refused(0, 77, START_NS, b"t", b"zz", Reason.TOO_LARGE, "why", "lyon", "bin-1", "bin-level")
    for _ in range(3):
        await refuse.packet(head)
    (kept,) = await quarantine.list(Chosen(reason="too large"))
    assert (kept.payload, kept.sink, kept.site, kept.device) == (b"zz", BROKER, "lyon", "bin-1")
    assert quarantine.evicted == 51


async def test_refused_points_are_kept_once_a_sink(quarantine: QuarantineStore) -> None:
    """However often they are sent again, in whatever company."""
    refuse = QuarantineOutlet(quarantine, ManualClock(START_NS))
    await refuse.points("influx", [(b"a x=1", "type"), (b"b x=1", "type")])
    await refuse.points("influx", [(b"b x=1", "type")])
    await refuse.points("other", [(b"b x=1", "type")])
    rows = {(row.sink, row.payload, row.reason) for row in await quarantine.list()}
    assert rows == {
        (sink, line, "refused by sink")
        for sink, line in (("influx", b"a x=1"), ("influx", b"b x=1"), ("other", b"b x=1"))
    }
    assert quarantine.rows == 3


@pytest.mark.parametrize("apart", [True, False])
async def test_what_may_have_been_written_before_is_said(tmp_path: Path, apart: bool) -> None:  # noqa: FBT001
    """Raw points by their mask, windows by their revision; in entries of their own where asked for."""
    many = Points(
        measurement="waste",
        tags=[(("device", f"bin-{number}"),) for number in range(4)],
        series=np.arange(4, dtype=np.int32),
        time=np.full(4, START_NS, np.int64),
        fields={"level": Column(FieldType.FLOAT, np.arange(4) * 1.0)},
        again=np.array([False, True, False, True]),
    )
    windows = replace(
        many,
        measurement="waste_1h",
        again=None,
        window_end=np.full(4, START_NS + 1, np.int64),
        revision=np.array([2, 0, 1, 1], np.int32),
    )
    first = replace(windows, measurement="waste_1d", revision=np.zeros(4, np.int32))
    opened = await Outbox.open(tmp_path / "outbox.db", max_bytes=10**9)
    await opened.register("sink", "hold", "live" if apart else "backlog")
    log = LogOutlet(
        "lines", opened, encode=line_protocol(strings=True), once=False, sinks=["sink"], apart=apart
    )
    rewrites = [Rewrite(replace(first, measurement="waste_15m"), To.EVERY)]
    await log.take(Product(raw=[many], windows=[windows, first]))
    await log.take(Product(rewritten=rewrites))
    entries = [entry for _, entry in await opened.next("sink", 100, 10**9)]
    await opened.close()
    found = [
        (
            line.split(b",")[0].decode(),
            [int(one.split(b" ")[0][-1:]) for one in entry.body.split(b"\n")],
            entry.again,
        )
        for entry in entries
        for line in [entry.body]
    ]
    if apart:
        assert found == [
            ("waste", [0, 2], False),
            ("waste", [1, 3], True),
            ("waste_1h", [1], False),
            ("waste_1h", [0, 2, 3], True),
            ("waste_1d", [0, 1, 2, 3], False),
            ("waste_15m", [0, 1, 2, 3], True),
        ]
    else:
        assert found == [
            ("waste", [0, 1, 2, 3], True),
            ("waste_1h", [0, 1, 2, 3], True),
            ("waste_1d", [0, 1, 2, 3], False),
            ("waste_15m", [0, 1, 2, 3], True),
        ]


async def test_a_fleet_of_windows_comes_in_pieces(tmp_path: Path) -> None:
    """Entries of one request each, appended in bunches; together they are every point, in its order."""
    size = 2 * POINTS_AN_ENTRY + 1
    many = Points(
        measurement="waste_1d",
        tags=[(("device", f"bin-{number}"),) for number in range(size)],
        series=np.arange(size, dtype=np.int32),
        time=np.full(size, START_NS, np.int64),
        fields={"level": Column(FieldType.FLOAT, np.arange(size) * 1.0, np.arange(size) % 2 == 0)},
        window_end=np.full(size, START_NS + 1, np.int64),
        revision=np.zeros(size, np.int32),
    )
    opened = await Outbox.open(tmp_path / "outbox.db", max_bytes=10**9)
    await opened.register("sink", "hold")
    await outlet(opened, line_protocol(strings=True)).take(Product(windows=[many]))
    entries = [entry for _, entry in await opened.next("sink", size, 10**9)]
    await opened.close()
    assert [entry.count for entry in entries] == [POINTS_AN_ENTRY // 2, POINTS_AN_ENTRY // 2, 1]
    lines = b"\n".join(entry.body for entry in entries).split(b"\n")
    assert [line.split(b" ")[0] for line in lines] == [
        b"waste_1d,device=bin-%d" % number for number in range(0, size, 2)
    ]
