from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from gateway.health.snapshot import ClockHealth
from tests.pages import NOW_NS, Site, site, snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from email.message import Message

KEY = "clé-de-la-ville"


@pytest.fixture(scope="module")
def open_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("open"), with_store=False) as served:
        yield served


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("guarded"), token=KEY, with_store=False) as served:
        yield served


def ask(
    url: str, *, headers: Mapping[str, str] | None = None, method: str = "GET"
) -> tuple[int, Message, str]:
    """Return status, headers and body, whatever the status; redirects are not followed."""

    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_: object) -> None:
            return None

    request = urllib.request.Request(url, headers=dict(headers or {}), method=method)  # noqa: S310 - our own
    try:
        with urllib.request.build_opener(Stay).open(request, timeout=10) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read().decode()


def basic(password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"anyone:{password}".encode()).decode()}


def test_every_answer_carries_the_policies(open_site: Site) -> None:
    """No other site's content, no framing, no sniffing, no caching: on pages, errors and refusals alike."""
    for path in ("/", "/metrics", "/static/status.css", "/nowhere", "/api/query?format=x"):
        _, headers, _ = ask(open_site.url + path)
        assert headers["content-security-policy"].startswith("default-src 'self'; frame-ancestors 'none'")
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", ["/", "/metrics", "/api/status", "/api/query", "/static/status.js"])
def test_the_token_is_asked_for(guarded: Site, path: str) -> None:
    """Without it, or with a wrong one, everything is refused, and the browser is told how to ask."""
    for headers in ({}, {"Authorization": "Bearer wrong"}, basic("wrong"), {"Authorization": "Basic %%%"}):
        status, answered, _ = ask(guarded.url + path, headers=headers)
        assert status == 401
        assert answered["www-authenticate"] == 'Basic realm="ecluse"'


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health_is_open(guarded: Site, path: str) -> None:
    """What supervises the process needs no token."""
    assert ask(guarded.url + path)[0] == 200


def test_the_token_opens(guarded: Site) -> None:
    """As Bearer token and as password of any user, letters beyond ASCII too."""
    bearer = {"Authorization": "Bearer " + KEY.encode().decode("latin-1")}
    assert ask(guarded.url + "/api/status", headers=bearer)[0] == 200
    assert ask(guarded.url + "/", headers=basic(KEY))[0] == 200


def test_without_a_token_only_this_machine_is_answered(open_site: Site) -> None:
    """A site that gives its own name the loopback address learns nothing."""
    status, _, body = ask(open_site.url + "/api/status", headers={"Host": "evil.example"})
    assert (status, "ECLUSE_HTTP__TOKEN" in body) == (421, True)
    assert ask(open_site.url + "/api/status", headers={"Host": "localhost:8080"})[0] == 200
    assert ask(open_site.url + "/healthz", headers={"Host": "evil.example"})[0] == 200


def test_readyz_names_what_is_not_well(open_site: Site) -> None:
    """200 where all is well; 503 with the component and its last error where not."""
    assert ask(open_site.url + "/readyz")[0] == 200
    before, open_site.now = open_site.now, snapshot(ready=False)
    try:
        status, _, body = ask(open_site.url + "/readyz")
    finally:
        open_site.now = before
    assert status == 503
    assert "sink influx: down since 2026-11-22T10:13:30Z no answer from http://127.0.0.1:8086" in body


def test_status_is_the_whole_snapshot(open_site: Site) -> None:
    """As JSON, with what follows from it."""
    told = json.loads(ask(open_site.url + "/api/status")[2])
    assert told["ready"] is True
    assert told["balanced"] is True
    assert told["uplinks"]["journalled"] == 1_204_567
    assert told["sinks"]["influx"]["difference"] == 0


def test_a_sink_is_paused(open_site: Site) -> None:
    """For at most an hour; a form is sent back to the page; an unknown sink is named; GET is refused."""
    open_site.paused.clear()
    path = open_site.url + "/api/sinks/influx/pause"
    assert ask(path + "?seconds=20", method="POST")[0] == 200
    status, headers, _ = ask(path + "?seconds=999999", method="POST", headers={"Accept": "text/html"})
    assert (status, headers["location"]) == (303, "/")
    assert open_site.paused == [("influx", 20.0), ("influx", 3600.0)]
    assert ask(open_site.url + "/api/sinks/nobody/pause", method="POST")[0] == 404
    assert ask(path + "?seconds=soon", method="POST")[0] == 400
    assert ask(path)[0] == 405


def test_the_clock_is_confirmed(open_site: Site) -> None:
    """Once, with what it was; a browser comes back to the page; a GET changes nothing."""
    url = f"{open_site.url}/api/clock/confirm"
    before = open_site.now
    suspect = ClockHealth(suspect=True, shown_ns=NOW_NS, newest_ns=NOW_NS, step_s=-3600.0, waiting=7)
    try:
        open_site.now = replace(before, clock=suspect)
        assert ask(url)[0] == 405
        assert open_site.now.clock.suspect
        status, _, body = ask(url, method="POST")
        said = json.loads(body)
        assert (status, said["confirmed"], said["waiting"], said["step_s"]) == (200, True, 7, -3600.0)
        assert json.loads(ask(url, method="POST")[2])["confirmed"] is False
        status, headers, _ = ask(url, method="POST", headers={"Accept": "text/html"})
        assert (status, headers["location"]) == (303, "/")
    finally:
        open_site.now = before


def test_a_form_of_another_site_is_refused(open_site: Site) -> None:
    """A browser sends it with the origin of whoever made it."""
    path = open_site.url + "/api/sinks/influx/pause"
    open_site.paused.clear()
    assert ask(path, method="POST", headers={"Origin": "http://evil.example"})[0] == 403
    assert ask(path, method="POST", headers={"Origin": "null"})[0] == 403
    assert not open_site.paused
    assert ask(path, method="POST", headers={"Origin": open_site.url})[0] == 200


def test_a_question_without_a_store_is_answered(open_site: Site) -> None:
    """400 that says where to ask instead."""
    status, _, body = ask(open_site.url + "/api/query")
    assert status == 400
    assert json.loads(body) == {
        "error": "this gateway has no embedded store",
        "hint": "ask the database that it writes to",
    }
