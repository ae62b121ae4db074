"""A cursor and its gaps, beside a set of numbers that says the same."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.sinks.outbox_cursor import Cursor, Span, rest_of, unneeded
from gateway.sinks.outbox_model import Mark

END = 30


def mark(seq: int) -> Mark:
    """Return the place behind an entry; each has two points and three bytes."""
    return Mark(seq, 2 * seq, 3 * seq)


@st.composite
def cursors(draw: st.DrawFn) -> Cursor:
    """Draw a cursor with some gaps before its place."""
    places = sorted(draw(st.sets(st.integers(0, END), min_size=1, max_size=7)))
    gaps = [Span(mark(after), mark(until)) for after, until in zip(places[:-1:2], places[1::2], strict=False)]
    last = places[-1]
    return Cursor(
        "db", "hold", last, 2 * last, 3 * last, 0, gaps=tuple(gap for gap in gaps if gap.until.seq <= last)
    )


def waiting(cursor: Cursor, end: int = END) -> set[int]:
    """Return the entries that wait for it."""
    return {seq for span in cursor.waits(mark(end)) for seq in range(span.after.seq + 1, span.until.seq + 1)}


@given(cursor=cursors(), seq=st.integers(0, END))
def test_what_waits(cursor: Cursor, seq: int) -> None:
    """Entry by entry, up to the first, and in points."""
    waits = waiting(cursor)
    assert {n for n in range(1, END + 1) if cursor.waits_for(n)} == waits
    clear = cursor.clear_through(seq)
    assert clear >= seq
    assert not any(n in waits for n in range(seq + 1, min(clear, END) + 1))
    assert clear >= END or clear + 1 in waits
    assert cursor.stored == 2 * (END - len(waits))


@given(cursor=cursors(), data=st.data())
def test_what_is_answered_for_waits_no_more(cursor: Cursor, data: st.DataObject) -> None:
    """Up to a place, of the span in which that lies; nothing else changes."""
    spans = cursor.waits(mark(END))
    if not spans:
        return
    span = data.draw(st.sampled_from(spans))
    upto = data.draw(st.integers(span.after.seq + 1, span.until.seq))
    after = cursor.past(mark(upto))
    assert waiting(after) == waiting(cursor) - set(range(span.after.seq + 1, upto + 1))


@given(cursor=cursors(), data=st.data())
def test_stepping_over_and_cutting(cursor: Cursor, data: st.DataObject) -> None:
    """What is stepped over waits as before; what is cut off is nobody's, and was answered for or not."""
    place = data.draw(st.integers(cursor.seq, END))
    over = cursor.over(mark(place)) if place > cursor.seq else cursor
    assert waiting(over) == waiting(cursor)
    cut = data.draw(st.integers(0, over.seq))
    behind = set(range(cut + 1, over.seq + 1)) - waiting(over)
    assert over.answered_behind(mark(cut)) == 2 * len(behind)
    assert waiting(over.cut(mark(cut)), cut) == {seq for seq in waiting(over) if seq <= cut}


@given(some=st.lists(cursors(), max_size=3), through=st.integers(0, END))
def test_what_nobody_needs(some: list[Cursor], through: int) -> None:
    """The stretches in which nothing waits for anyone; and what is left of them after a part was done."""
    waits = set().union(*map(waiting, some)) if some else set()
    stretches = unneeded(some, through)
    found = [seq for after, until in stretches for seq in range(after + 1, until + 1)]
    assert found == [seq for seq in range(1, through + 1) if seq not in waits]
    done = unneeded(some[:1], through // 2)
    rest = [seq for after, until in rest_of(stretches, done) for seq in range(after + 1, until + 1)]
    gone = {seq for after, until in done for seq in range(after + 1, until + 1)}
    assert rest == [seq for seq in found if seq not in gone]
