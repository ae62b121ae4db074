"""The books: what is counted, and that nothing balances by construction."""

from __future__ import annotations

import dataclasses

import pytest

from gateway.books import Books, ReadingBook, UplinkBook


@pytest.mark.parametrize(("book", "left"), [(UplinkBook, "journalled"), (ReadingBook, "decoded")])
def test_every_column_counts(book: type, left: str) -> None:
    """One more on the left is a difference of 1, one more in any other column of -1."""
    for column in dataclasses.fields(book):
        assert book(**{column.name: 1}).difference() == (1 if column.name == left else -1)


def test_they_come_back_from_json() -> None:
    """As they were."""
    books = Books(late=1, windows=2, corrections=3, not_delivered=4, not_kept=8)
    books.uplinks.journalled = 5
    books.readings.raw_only = 6
    books.reasons["too old"] = 7
    assert Books.from_dict(books.as_dict()) == books


def test_what_is_pending_is_left_out_of_a_checkpoint() -> None:
    """A replay journals it again; the books that go on are another object."""
    books = Books()
    books.uplinks.journalled, books.uplinks.decoded, books.uplinks.pending = 10, 7, 3
    treated = books.treated()
    assert (treated.uplinks.journalled, treated.uplinks.pending, treated.uplinks.difference()) == (7, 0, 0)
    assert books.uplinks.journalled == 10
