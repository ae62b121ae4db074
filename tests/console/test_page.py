from __future__ import annotations

from dataclasses import replace

from gateway.console.page import Demo, Family, StatusPage, row
from gateway.health.snapshot import ClockHealth, Replay
from tests.pages import DEMO, NOW_NS, snapshot

FAMILY = Family(
    name="waste",
    fields=("filling_level", "tilt"),
    trend="filling_level",
    rows=(
        row(
            name="bin-00001",
            time_ns=NOW_NS,
            values=[41.25, "upright"],
            history=[10.0, 41.25],
            coverage=0.5,
        ),
        row(name="<script>alert(1)</script>", time_ns=NOW_NS, values=[None, None], history=[], coverage=None),
    ),
    more=1_200,
)


def rendered(*, lang: str = "en", demo: Demo | None = None, **how: object) -> str:
    settings = {"now": snapshot(), "families": [FAMILY], "rates": {"uplinks": 12.5, "readings": 70.0}} | how
    now = settings.pop("now")
    return StatusPage(demo=demo).render(now, accept_language=lang, **settings)


def test_it_speaks_the_browsers_language() -> None:
    """Texts, numbers and the lang attribute."""
    french, english = rendered(lang="fr-FR"), rendered()
    assert '<html lang="fr">' in french
    assert "Tout fonctionne" in french
    assert "1\u202f204\u202f567" in french
    assert '<html lang="en">' in english
    assert "1,204,567" in english


def test_no_text_is_left_as_an_object() -> None:
    """A name of a text that is a method of Python's would show its address."""
    for lang in ("fr", "en"):
        assert "built-in" not in rendered(lang=lang, demo=DEMO)
        assert "object at" not in rendered(lang=lang, demo=DEMO)


def test_what_devices_and_servers_say_is_escaped() -> None:
    """A device's name and a server's error are text, never markup."""
    page = rendered(now=snapshot(ready=False))
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "&lt;connection refused&gt;" in page


def test_it_says_what_needs_attention() -> None:
    """The component that is down and the book that does not balance, by name."""
    page = rendered(now=snapshot(ready=False, missing=3))
    assert "Something needs attention: sink influx (down), Uplinks (does not balance)" in page
    assert "Everything works" in rendered()


def test_without_an_embedded_store_it_says_so() -> None:
    """And where there is one without values, that too."""
    assert "There is no embedded store" in rendered(families=None)
    assert "No value is stored yet" in rendered(families=[])


def test_more_devices_than_fit_are_counted() -> None:
    """With the command that lists them."""
    assert "1,200 more series: ecluse query waste --latest" in rendered()


def test_a_replay_has_a_bar() -> None:
    """With a label, a share and the time that is left; where nothing is replayed there is none."""
    replay = Replay(begin=0, position=250, end=1_000, seconds=20.0)
    french = rendered(lang="fr", now=replace(snapshot(), replay=replay))
    assert '<label for="replayed">Ce qui avait été acquitté' in french
    assert '<progress id="replayed" max="1" value="0.250">' in french
    assert "25\u202f%" in french
    assert "encore 60 s environ" in french
    assert "<progress" not in rendered()


def test_a_suspect_clock_is_said_and_can_be_confirmed() -> None:
    """In the reader's language, with what the clock shows and what was expected, or is there already."""
    stepped = ClockHealth(
        suspect=True, shown_ns=NOW_NS, expected_ns=NOW_NS - 10**12, newest_ns=1, step_s=1000.0, waiting=4_200
    )
    french = rendered(lang="fr", now=replace(snapshot(), clock=stepped))
    assert "L’horloge est douteuse" in french
    assert "elle indique 2026-11-22T10:15:00Z (UTC), on attendait 2026-11-22T09:58:20Z" in french
    assert "4\u202f200 messages sont dans le journal" in french
    assert 'action="/api/clock/confirm"' in french
    behind = ClockHealth(suspect=True, shown_ns=NOW_NS - 10**9, newest_ns=NOW_NS)
    english = rendered(now=replace(snapshot(), clock=behind))
    assert "before the newest record (2026-11-22T10:15:00Z)" in english
    assert "The clock is right: go on" in english
    assert "clock/confirm" not in rendered()


def test_an_empty_gateway_renders() -> None:
    """Before the first uplink: nothing heard, nothing refused, no rates."""
    empty = replace(snapshot(), reasons={}, queues={}, sinks={}, components=())
    page = rendered(now=empty, rates=None, families=[])
    assert "Nothing was refused" in page


def test_the_demo_is_offered_only_in_the_demo() -> None:
    """Its button pauses the sink that it names."""
    assert 'action="/api/sinks/embedded/pause?seconds=20"' in rendered(demo=DEMO)
    assert "kill -9" not in rendered()
