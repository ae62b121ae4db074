"""Finding the guilty lines of a refused request."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.sinks.refusals import MOST_REQUESTS, Refusal, settle

if TYPE_CHECKING:
    from collections.abc import Callable, Generator


class Server:
    """A database that refuses some lines, in the manner of one InfluxDB or another."""

    def __init__(self, guilty: set[bytes], *, partial: bool, largest: int = 10**9) -> None:
        self.guilty, self.partial, self.largest = guilty, partial, largest
        self.stored: dict[bytes, bytes] = {}
        self.requests = 0

    def send(self, lines: list[bytes]) -> Refusal | None:
        """Store the lines (a point is what stands before the equals sign), or refuse them."""
        self.requests += 1
        if len(lines) > self.largest:
            return Refusal("too large", too_large=True)
        bad = [line for line in lines if line in self.guilty]
        if self.partial or not bad:
            self.stored.update(line.split(b"=", 1) for line in lines if line not in self.guilty)
        return Refusal("no reason that helps") if bad else None


def finished(
    work: Generator[list[bytes], Refusal | None, list[tuple[bytes, str]]],
    send: Callable[[list[bytes]], Refusal | None],
) -> list[tuple[bytes, str]]:
    """Run `settle` to its end against a server; return the refused lines with their reasons."""
    try:
        part = next(work)
        while True:
            part = work.send(send(part))
    except StopIteration as end:
        return list(end.value)


def settled(lines: list[bytes], server: Server) -> list[bytes]:
    """Send lines as the adapter does; return the refused ones."""
    refusal = server.send(lines)
    return [line for line, _ in finished(settle(lines, refusal), server.send)] if refusal else []


@given(
    points=st.lists(st.tuples(st.integers(0, 20), st.integers(0, 5)), min_size=1, max_size=80),
    bad=st.sets(st.integers(0, 79), max_size=8),
    partial=st.booleans(),
    largest=st.integers(1, 100),
)
@settings(deadline=None)
def test_exactly_the_guilty_are_refused_and_the_later_writing_stays(
    *, points: list[tuple[int, int]], bad: set[int], partial: bool, largest: int
) -> None:
    """Whatever the server's manner, every good line is stored, in order, and only bad ones are named."""
    lines = [b"bad%d=1" % i if i in bad else b"p%d=%d" % point for i, point in enumerate(points)]
    server = Server({line for line in lines if line.startswith(b"bad")}, partial=partial, largest=largest)
    assert sorted(settled(lines, server)) == sorted(server.guilty)
    assert server.stored == dict(line.split(b"=") for line in lines if line not in server.guilty)


def test_a_few_guilty_cost_few_requests() -> None:
    """Three guilty lines in 5,000 are found with about two requests a halving each."""
    lines = [b"p%d=1" % i for i in range(5_000)]
    server = Server({lines[7], lines[2_500], lines[4_999]}, partial=False)
    assert set(settled(lines, server)) == server.guilty
    assert server.requests < 3 * 2 * math.ceil(math.log2(5_000)) + 2


def test_the_search_is_bounded_and_honest() -> None:
    """Where nearly all are guilty and the server does not say which, the search ends and says so."""
    lines = [b"p%d=1" % i for i in range(5_000)]
    server = Server(set(lines[1::2]), partial=False)
    reasons = dict(finished(settle(lines, Refusal("no")), server.send))
    assert server.requests < MOST_REQUESTS + 20
    assert server.guilty <= set(reasons)
    assert set(server.stored) | {line.split(b"=")[0] for line in reasons} >= {
        b"p%d" % i for i in range(5_000)
    }
    assert any("refused together" in reason for reason in reasons.values())


@pytest.mark.parametrize(
    ("sentence", "guilty"),
    [
        (
            "partial write: unable to parse 'bad': missing fields\nunable to parse 'b2 v': invalid dropped=0",
            [1, 3],
        ),
        (
            'input field "v" on measurement "m" is type string, already exists as type float',
            [2],
        ),
        ("partial write: points beyond retention policy dropped=4", [0, 1, 2, 3]),
    ],
)
def test_what_the_server_says_saves_requests(sentence: str, guilty: list[int]) -> None:
    """Quoted lines, a type conflict and a count of all are understood: one more request at most."""
    lines = [b"m v=1 1", b"bad", b'm v="x" 2', b"b2 v"]
    sent: list[list[bytes]] = []
    named = finished(settle(lines, Refusal(sentence)), sent.append)
    assert [lines.index(line) for line, _ in named] == guilty
    rest = [line for i, line in enumerate(lines) if i not in guilty]
    assert sent == ([rest] if rest else [])


def test_a_single_line_that_is_too_large_is_named() -> None:
    """413 for one line cannot be helped by splitting."""
    server = Server(set(), partial=False)
    too_large = Refusal("Request Entity Too Large", too_large=True)
    assert finished(settle([b"m v=1"], too_large), server.send) == [(b"m v=1", too_large.reason)]
    assert server.requests == 0
