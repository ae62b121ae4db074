"""Tests for the quarantine: whole rows, once each, bounded, readable beside the gateway."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import subprocess
import sys
from collections import defaultdict
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.errors import StateError
from gateway.model import Reason, Refused
from gateway.quarantine.reader import QuarantineReader
from gateway.quarantine.store import QuarantineStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path


def refused(
    position: int,
    index: int = 0,
    *,
    device: str = "bin-1",
    reason: Reason = Reason.NOT_JSON,
    payload: bytes = b"{",
) -> Refused:
    return Refused(
        position=position,
        index=index,
        received_ns=position * 1000 + index,
        topic=b"city/north/bin/\xff/up",
        payload=payload,
        reason=reason,
        detail="line 1",
        site="north",
        device=device,
        profile="bin-level",
    )


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[QuarantineStore]:
    opened = await QuarantineStore.open(tmp_path / "quarantine.db", per_device=5, total=12)
    yield opened
    await opened.close()


async def keys(store: QuarantineStore) -> list[tuple[int, int]]:
    return sorted((row.position, row.index) for row in await store.list(limit=1000))


async def test_a_row_comes_back_whole(store: QuarantineStore) -> None:
    """Every field, byte for byte."""
    await store.put([refused(7, 3, payload=b"\x00\xff{")])
    (row,) = await store.list()
    assert (row.sink, row.position, row.index, row.received_ns) == ("", 7, 3, 7003)
    assert (row.site, row.device, row.profile) == ("north", "bin-1", "bin-level")
    assert (row.topic, row.payload) == (b"city/north/bin/\xff/up", b"\x00\xff{")
    assert (row.reason, row.detail, row.damaged) == (Reason.NOT_JSON, "line 1", False)
    assert await store.show(row.id) == row
    assert await store.show(row.id + 1) is None


async def test_a_replay_adds_nothing_twice(store: QuarantineStore) -> None:
    """Same place and reason: the same row; another reason of the same uplink is another one."""
    for _ in range(2):
        await store.put([refused(1), refused(1, 1), refused(1, reason=Reason.IN_THE_FUTURE)])
    assert store.rows == 3
    assert await store.counts() == {"in the future": 1, "not json": 2}


async def test_refused_points_have_keys_of_their_own(store: QuarantineStore) -> None:
    """By sink and entry; an entry's number given again after a crash hides no other point."""
    point = refused(1, reason=Reason.REFUSED_BY_SINK, payload=b"waste filling_level=1 1")
    other = refused(1, reason=Reason.REFUSED_BY_SINK, payload=b"waste filling_level=2 1")
    await store.put([refused(1)])
    for _ in range(2):
        await store.put([point], sink="influx")
        await store.put([other], sink="influx")
        await store.put([point], sink="store")
    assert sorted(row.sink for row in await store.list()) == ["", "influx", "influx", "store"]


async def test_rows_are_found_by_what_they_are(store: QuarantineStore) -> None:
    """By reason, device, profile and time, newest first, so many at most."""
    await store.put([refused(1), refused(2, device="bin-2"), refused(3, reason=Reason.TOO_OLD), refused(4)])
    assert [row.position for row in await store.list()] == [4, 3, 2, 1]
    assert [row.position for row in await store.list(reason=Reason.NOT_JSON, device="bin-1")] == [4, 1]
    assert [row.position for row in await store.list(device="bin-2", site="north")] == [2]
    assert [row.position for row in await store.list(since_ns=3000, profile="bin-level")] == [4, 3]
    assert [row.position for row in await store.list(limit=1)] == [4]
    assert await store.list(profile="water-meter") == []


async def test_a_device_gives_way_to_itself_first(store: QuarantineStore) -> None:
    """Its oldest rows of that reason go; others keep theirs."""
    await store.put([refused(1, device="bin-2"), *(refused(n) for n in range(2, 10))])
    assert await keys(store) == [(1, 0), *((n, 0) for n in range(5, 10))]
    assert (store.rows, store.evicted) == (6, 3)


async def test_refused_points_give_way_in_the_order_in_which_they_came(store: QuarantineStore) -> None:
    """Whatever their entries' numbers."""
    for number in range(7):
        point = refused(9 - number, reason=Reason.REFUSED_BY_SINK, payload=b"%d" % number)
        await store.put([point], sink="influx")
    assert [row.payload for row in await store.list()] == [b"6", b"5", b"4", b"3", b"2"]
    assert store.evicted == 2


async def test_the_oldest_in_all_give_way(store: QuarantineStore) -> None:
    """Over the limit of rows, whoever's they are."""
    await store.put([refused(n, device=f"bin-{n}") for n in range(1, 16)])
    assert await keys(store) == [(n, 0) for n in range(4, 16)]
    assert (store.rows, store.evicted) == (12, 3)


async def test_big_payloads_are_bounded_in_bytes(tmp_path: Path) -> None:
    """Rows alone would let them fill a disk."""
    path = tmp_path / "quarantine.db"
    store = await QuarantineStore.open(path, per_device=100, total=100, total_bytes=2500)
    await store.put([refused(n, payload=b"x" * 1000) for n in range(1, 6)])
    assert (await keys(store), store.bytes) == ([(4, 0), (5, 0)], 2000)
    await store.close()


async def test_figures_are_there_after_a_restart(tmp_path: Path) -> None:
    """Rows, bytes, evictions; and the bounds go on counting from there."""
    path = tmp_path / "quarantine.db"
    store = await QuarantineStore.open(path, per_device=3, total=100)
    await store.put([refused(n) for n in range(1, 6)])
    await store.close()
    store = await QuarantineStore.open(path, per_device=3, total=100)
    assert (store.rows, store.bytes, store.evicted) == (3, 3, 2)
    await store.put([refused(6)])
    assert (store.rows, store.evicted) == (3, 3)
    await store.close()


async def test_putting_nothing_is_nothing(store: QuarantineStore) -> None:
    """An empty batch opens no transaction."""
    await store.put([])
    assert store.rows == 0


async def test_another_process_reads_while_the_gateway_writes(store: QuarantineStore, tmp_path: Path) -> None:
    """Read-only, the last committed rows; and the gateway's writes go on."""
    await store.put([refused(1), refused(2)])
    script = (
        "import sys; from pathlib import Path; from gateway.quarantine.reader import QuarantineReader\n"
        "reader = QuarantineReader.open(Path(sys.argv[1]))\n"
        "print(reader.counts(), reader.evicted(), reader.show(1).payload)\n"
        "sys.stdin.read(1); print(reader.counts()); reader.close()\n"
    )
    command = [sys.executable, "-u", "-c", script, str(tmp_path / "quarantine.db")]
    process = await asyncio.create_subprocess_exec(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert await process.stdout.readline() == b"{'not json': 2} 0 b'{'\n"
    await store.put([refused(3)])
    out, _ = await process.communicate(b"\n")
    assert out == b"{'not json': 3}\n"
    assert process.returncode == 0


async def test_a_stopped_gateways_file_is_read_only(tmp_path: Path) -> None:
    """A reader changes nothing, and leaves the file to the next start."""
    path = tmp_path / "quarantine.db"
    store = await QuarantineStore.open(path, per_device=5, total=5)
    await store.put([refused(1)])
    await store.close()
    with closing(QuarantineReader.open(path)) as reader:
        assert reader.counts() == {"not json": 1}
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reader._connection.execute("DELETE FROM refused")
    store = await QuarantineStore.open(path, per_device=5, total=5)
    assert store.rows == 1
    await store.close()


async def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    """No file, or another kind of file: one sentence and a hint."""
    with pytest.raises(StateError, match="cannot be read") as missing:
        QuarantineReader.open(tmp_path / "none.db")
    assert missing.value.hint
    other = tmp_path / "other.db"
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE t (x)")
    with pytest.raises(StateError, match="another kind"):
        QuarantineReader.open(other)
    store = await QuarantineStore.open(other, per_device=1, total=1)
    assert store.aside is not None
    assert (tmp_path / store.aside.kept_as).exists()
    assert store.rows == 0
    await store.close()


@pytest.mark.parametrize(
    "altered",
    [
        *("payload = x'00'", "topic = x'00'", "device = 'bin-7'", "reason = 'too old'", "detail = ''"),
        *("received_ns = 7", "profile = 'p'", "payload = 'text'"),
    ],
)
async def test_an_altered_row_is_marked(store: QuarantineStore, tmp_path: Path, altered: str) -> None:
    """It is shown, so that a person can see it, and never passed for what was received."""
    await store.put([refused(1, payload=b"{1"), refused(2)])
    with closing(sqlite3.connect(tmp_path / "quarantine.db")) as connection, connection:
        connection.execute(f"UPDATE refused SET {altered} WHERE position = 1")  # noqa: S608 - ours
    assert [(row.position, row.damaged) for row in await store.list()] == [(2, False), (1, True)]


BATCHES = st.lists(
    st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.sampled_from([Reason.NOT_JSON, Reason.TOO_OLD]))),
    max_size=8,
)


def modelled(rows: Sequence[Refused], per_device: int, total: int) -> set[tuple[int, int]]:
    """Return the keys of the rows that are kept of all that were put, put one by one."""
    kept: list[Refused] = []
    groups: dict[tuple[str, Reason], list[Refused]] = defaultdict(list)
    for row in rows:
        group = groups[row.device, row.reason]
        kept.append(row)
        group.append(row)
        if len(group) > per_device:
            kept.remove(group.pop(0))
        if len(kept) > total:
            oldest = kept.pop(0)
            groups[oldest.device, oldest.reason].remove(oldest)
    return {(row.position, row.index) for row in kept}


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=BATCHES, crash=st.integers(0, 8), back=st.integers(0, 8))
async def test_a_crash_and_its_replay_change_nothing(
    tmp_path: Path, batches: list[list[tuple[str, Reason]]], crash: int, back: int
) -> None:
    """Any flood, a crash after any batch and a replay from any earlier one: same rows, same count."""
    path = tmp_path / "run" / "quarantine.db"
    shutil.rmtree(path.parent, ignore_errors=True)
    rows = [
        [
            refused(position, index, device=device, reason=reason)
            for index, (device, reason) in enumerate(batch)
        ]
        for position, batch in enumerate(batches, start=1)
    ]
    store = await QuarantineStore.open(path, per_device=4, total=9)
    for batch in rows[:crash]:
        await store.put(batch)
    await store.close()
    store = await QuarantineStore.open(path, per_device=4, total=9)
    for batch in rows[max(0, min(crash, len(rows)) - back) :]:
        await store.put(batch)
    put = [row for batch in rows for row in batch]
    assert store.rows == len(await keys(store)) <= 9
    assert store.rows + store.evicted == len(put)
    if len(put) <= 9:  # over that, what a batch evicts in all depends on what came with it
        assert set(await keys(store)) == modelled(put, 4, 9)
    await store.close()


async def test_a_damaged_file_is_set_aside_and_its_sound_rows_stay(tmp_path: Path) -> None:
    """The gateway starts; what is missing counts as evicted, once it is told how many there were."""
    path = tmp_path / "quarantine.db"
    store = await QuarantineStore.open(path, per_device=1000, total=1000)
    rows = [refused(n, payload=b"%d" % n * 1000) for n in range(1, 101)]
    await store.put(rows)
    await store.close()
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2 // 8192 * 8192)
        file.write(b"\xff" * 300)
    store = await QuarantineStore.open(path, per_device=1000, total=1000)
    assert store.aside is not None
    assert (tmp_path / store.aside.kept_as).exists()
    assert 50 < store.rows < 100
    found = await store.list(limit=1000)
    assert not any(row.damaged for row in found)
    assert {row.payload for row in found} < {row.payload for row in rows}
    missing = 100 - store.rows
    assert await store.require(100) == missing
    assert await store.require(100) == 0
    assert (store.rows, store.evicted) == (100 - missing, missing)
    await store.put([refused(101)])
    assert store.rows == 101 - missing
    await store.close()
