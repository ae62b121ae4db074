"""Gaps, where something is wrong: damage, a lost file, a backup."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from typing import TYPE_CHECKING

import pytest

from gateway.sinks import outbox_check
from gateway.sinks.outbox import Outbox, Standing
from tests.sinks.outboxes import MANY, balanced
from tests.sinks.test_outbox_order import line, made, nothing_is_young, opened, take

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.sinks.outbox import Settled


async def left(path: Path) -> Settled:
    """Leave a log with a gap of three entries, before which the newer writing of a point was sent."""
    outbox = await opened(path)
    await outbox.append([made({point: 1}) for point in range(3)])
    outbox.step_over("db", nothing_is_young)
    await outbox.append([made({1: 2}, again=True)])
    assert await take(outbox) == [(4, line(1, 2))]
    await outbox.append([made({5: 1})])
    settled = await outbox.settle()
    outbox.checkpointed(settled.end)
    await outbox.close()
    return settled


def as_kept(settled: Settled) -> Standing:
    """Return what stood then, as a checkpoint keeps it."""
    return Standing.from_lists(json.loads(json.dumps(settled.standing.as_lists())))


def change(path: Path, *statements: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


async def test_a_checkpoint_keeps_gaps(tmp_path: Path) -> None:
    """Also one that an older version wrote, which knew of none."""
    settled = await left(tmp_path / "outbox.db")
    assert as_kept(settled) == settled.standing
    assert settled.standing.cursors["db"].gaps[0].entries == 3
    end, (*figures, _, _) = settled.standing.as_lists()
    cursor = Standing.from_lists([end, figures]).cursors["db"]
    assert (cursor.gaps, cursor.fence, cursor.seq) == ((), 0, 4)


@pytest.mark.parametrize(
    "what", ["cursors SET points = points + 1", "newer SET seq = 1", "marks SET seq = seq + 1"]
)
async def test_damaged_books_come_from_the_checkpoint(tmp_path: Path, what: str) -> None:
    """With the gap; what is behind is sent as before, without the point of which a newer writing was."""
    path = tmp_path / "outbox.db"
    settled = await left(path)
    change(path, f"UPDATE {what}")
    outbox = await opened(path)
    assert outbox.aside is not None
    await outbox.recover(settled.end, settled.cursors, as_kept(settled))
    assert outbox.depth("db").behind == 3
    assert await take(outbox) == [(5, line(5, 1))]
    # A newer writing that is not what was written is not known any more.
    second = line(1, 1) if what.startswith("newer") else b""
    assert await take(outbox) == [(1, line(0, 1)), (2, second), (3, line(2, 1))]
    assert balanced(outbox.totals("db"))
    await outbox.close()


async def test_a_lost_file_passes_gaps_over(tmp_path: Path) -> None:
    """What waited in them is lost, and counted as dropped; the log goes on."""
    path = tmp_path / "outbox.db"
    settled = await left(path)
    path.unlink()
    outbox = await opened(path)
    await outbox.recover(settled.end, settled.cursors, as_kept(settled))
    assert outbox.depth("db").behind == 3
    await outbox.append([made({7: 1})])
    sent = []
    while taken := await take(outbox):
        sent += taken
    assert sent == [(6, line(7, 1))]
    totals = outbox.totals("db")
    assert balanced(totals)
    assert (totals.made, totals.stored, totals.dropped) == (6, 2, 4)
    await outbox.close()


async def test_a_backup_needs_what_waits_alone(tmp_path: Path) -> None:
    """Entries in a gap, and what is new; not what was sent between."""
    path = tmp_path / "outbox.db"
    settled = await left(path)
    change(path, "DELETE FROM entries WHERE seq = 4")
    assert outbox_check.unsoundness(path, settled.end) == ""
    change(path, "DELETE FROM entries WHERE seq = 2")
    assert outbox_check.unsoundness(path, settled.end) == "entry 2 cannot be read, and waits for a sink"


def test_another_kind_of_file_is_no_outbox(tmp_path: Path) -> None:
    """It is said, not raised."""
    path = tmp_path / "outbox.db"
    change(path, "CREATE TABLE marks (name)")
    assert "another kind" in outbox_check.unsoundness(path, 0)


async def test_a_sink_that_the_checkpoint_does_not_know_begins_at_its_end(tmp_path: Path) -> None:
    """Where the file is lost, too; its order is kept."""
    path = tmp_path / "outbox.db"
    settled = await left(path)
    path.unlink()
    outbox = await Outbox.open(path, max_bytes=MANY)
    await outbox.register("other", "hold", "live")
    await outbox.recover(settled.end, settled.cursors, as_kept(settled))
    await outbox.append([made({8: 1})])
    outbox.step_over("other", nothing_is_young)
    await outbox.append([made({9: 1})])
    assert [seq for seq, _ in await outbox.next("other", MANY, MANY)] == [settled.end + 2]
    await outbox.close()
