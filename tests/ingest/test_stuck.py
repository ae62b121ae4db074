"""Connection after connection that ends at one packet."""

from __future__ import annotations

from gateway.ingest.answers import Head
from gateway.ingest.stuck import StuckWatch, advice

HEAD = Head(b"a/b", 0x32, 7, 300_000, b"0123456789")


def test_twice_in_a_row_is_the_same() -> None:
    """However much of it had come, under whatever identifier; once is not, nor is another between."""
    watch = StuckWatch()
    assert not watch.stopped("broken", HEAD)
    assert watch.stopped("broken", Head(b"a/b", 0x32, 8, 300_000, b"01234"))
    assert not watch.stopped("no answer", HEAD)
    assert not watch.stopped("broken", HEAD)
    assert not watch.stopped("", None)
    assert not watch.stopped("", None)
    assert not watch.stopped("broken", HEAD)
    assert not watch.stopped("broken", Head(b"a/b", 0x32, 7, 300_000, b"012x"))
    assert not watch.stopped("broken", Head(b"a/c", 0x32, 7, 300_000, b"012x"))
    assert not watch.stopped("broken", None)
    assert watch.stopped("broken", None)


def test_the_advice_names_what_is_known() -> None:
    """Topic, client id, the retained message."""
    assert "'me'" in advice("bad", HEAD, "me")
    assert "a/b" in advice("bad", HEAD, "me")
    assert "mosquitto_pub -r -n -t 'a/b'" in advice("bad", Head(b"a/b", 0x33, 7, 0, b""), "me")
    assert "topic" not in advice("bad", Head(b"", 0x33, 0, 0, b"?"), "me")
    assert "topic" not in advice("bad", None, "me")
