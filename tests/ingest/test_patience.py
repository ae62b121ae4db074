"""Backoff, takeover, keepalive and watchdog, with time as a number."""

from __future__ import annotations

from gateway.ingest.patience import NS, Backoff, Due, Liveness, PacketWatch, TakeoverGuard


def test_the_backoff_doubles_to_its_maximum() -> None:
    """And begins again after a reset; jitter takes off up to a half."""
    backoff = Backoff(first_s=1, max_s=5)
    assert [backoff.delay_s(1.0) for _ in range(5)] == [1, 2, 4, 5, 5]
    backoff.reset()
    assert backoff.delay_s(0.0) == 0.5


def test_three_closings_within_a_minute_are_a_takeover() -> None:
    """Not spread over more than a minute, and not with a broker that was away in between."""
    guard = TakeoverGuard()
    assert [guard.closed(second * NS) for second in (0, 10, 20)] == [False, False, True]
    guard = TakeoverGuard()
    assert [guard.closed(second * NS) for second in (0, 50, 100, 150)] == [False] * 4
    guard = TakeoverGuard()
    guard.closed(0)
    guard.closed(1 * NS)
    guard.explained()
    assert not guard.closed(2 * NS)


def test_a_silent_broker_is_dead_after_one_and_a_half_keepalives() -> None:
    """Asked after 0.75, given up after 1.5."""
    live = Liveness(keepalive_s=40, watchdog_s=0, now_ns=0)
    assert live.due(29 * NS, paused=False) is Due.NOTHING
    assert live.due(30 * NS, paused=False) is Due.PING
    assert live.due(59 * NS, paused=False) is Due.NOTHING
    assert live.due(60 * NS, paused=False) is Due.DEAD


def test_any_byte_is_a_sign_of_life() -> None:
    """The next question comes in its time."""
    live = Liveness(keepalive_s=40, watchdog_s=0, now_ns=0)
    assert live.due(30 * NS, paused=False) is Due.PING
    live.heard(31 * NS, uplinks=False)
    assert live.due(60 * NS, paused=False) is Due.PING


def test_while_paused_time_outs_rest_and_pings_go_on() -> None:
    """And after the pause both time-outs begin anew."""
    live = Liveness(keepalive_s=40, watchdog_s=50, now_ns=0)
    found = [live.due(second * NS, paused=True) for second in range(0, 400, 30)]
    assert set(found[1:]) == {Due.PING}
    assert live.due(410 * NS, paused=False) is Due.NOTHING
    assert live.due(440 * NS, paused=False) is Due.SILENT


def test_the_watchdog_wants_uplinks() -> None:
    """Answers to PINGREQ are no flow."""
    live = Liveness(keepalive_s=40, watchdog_s=100, now_ns=0)
    for second in range(0, 90, 10):
        live.heard(second * NS, uplinks=second == 10)
        live.due(second * NS, paused=False)
    live.heard(105 * NS, uplinks=False)
    assert live.due(109 * NS, paused=False) is not Due.SILENT
    assert live.due(110 * NS, paused=False) is Due.SILENT


def test_zero_switches_both_off() -> None:
    """No keepalive, no watchdog."""
    live = Liveness(keepalive_s=0, watchdog_s=0, now_ns=0)
    assert live.due(10**6 * NS, paused=False) is Due.NOTHING


def test_a_packet_has_its_time() -> None:
    """1.5 keepalives and a second for each 10 kB, from its first byte; another packet begins anew."""
    watch = PacketWatch(0)
    watch.read(100 * NS, awaits=0, finished=0)  # nothing has begun: the read that follows begins it
    for second in (101, 120, 146):
        watch.read(second * NS, awaits=20_000, finished=0)
        assert not watch.is_endless(second * NS, 20_000, 30, paused=False)
    assert watch.is_endless(148 * NS, 20_000, 30, paused=False)
    watch.read(148 * NS, awaits=20_000, finished=1)
    assert not watch.is_endless(190 * NS, 20_000, 30, paused=False)
    assert not watch.is_endless(10_000 * NS, 0, 30, paused=False)


def test_a_packet_cannot_end_while_reading_is_paused() -> None:
    """So its time does not run."""
    watch = PacketWatch(0)
    watch.read(0, awaits=100, finished=0)
    assert not watch.is_endless(1_000 * NS, 100, 30, paused=True)
    assert not watch.is_endless(1_040 * NS, 100, 30, paused=False)
    assert watch.is_endless(1_100 * NS, 100, 0, paused=False)
