"""What can be done with the quarantine over HTTP: who may, what is understood, what is refused."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

from gateway.errors import NotReady, StateError
from gateway.model import Chosen
from tests.pages import Site, site

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

REPLAY, DROP = "/api/quarantine/replay", "/api/quarantine/drop"
KEY = "of-the-city"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("open"), with_store=False) as running:
        yield running


@pytest.fixture(autouse=True)
def _forget(served: Site) -> None:
    served.quarantine.answers.clear()
    served.quarantine.asked.clear()


def ask(
    url: str, *, method: str = "POST", headers: Mapping[str, str] | None = None
) -> tuple[int, dict[str, Any]]:
    request = urllib.request.Request(url, method=method, headers=dict(headers or {}))  # noqa: S310 - our own
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - our own loopback
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            body = error.read()
            return error.code, json.loads(body) if body.startswith(b"{") else {}


def test_what_is_chosen_arrives(served: Site) -> None:
    """Every filter, the span to the microsecond, the numbers, and how many at most."""
    served.quarantine.answers += [{"rows": 3}, {"rows": 4}, {"rows": 5}]
    query = (
        "reason=not%20json&site=lyon&device=bin-1&profile=bin-level&since=2026-11-22T10:00:00.000001Z"
        "&until=2026-11-22T12:00:00%2B01:00&after=7&through=90&limit=12"
    )
    assert ask(f"{served.url}{REPLAY}?{query}&rehearse=1") == (200, {"rows": 3})
    assert ask(f"{served.url}{DROP}?{query}") == (200, {"rows": 4})
    assert ask(f"{served.url}{REPLAY}") == (200, {"rows": 5})
    ten = 1_795_341_600_000_000_000
    chosen = Chosen(
        "not json", "lyon", "bin-1", "bin-level", ten + 1_000, ten + 3_600 * 10**9, after=7, through=90
    )
    assert served.quarantine.asked == [
        ("rehearse", chosen, 12),
        ("drop", chosen, 12),
        ("replay", Chosen(), 1_000),
    ]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("devise=bin-1", "unknown: devise"),
        ("since=lately", "since: «lately» is not an instant"),
        ("until=2026-11-22T10:00:00", "has no offset"),
        ("after=-1", "after: a whole number"),
        ("through=%D9%A1", "through: a whole number"),
        ("through=" + "9" * 19, "through: a whole number"),
        ("limit=0", "limit: a whole number from 1 to 1000"),
        ("limit=1001", "limit: a whole number from 1 to 1000"),
    ],
)
def test_what_is_not_understood_does_nothing(served: Site, query: str, said: str) -> None:
    """400 with a sentence: a misspelt filter never means everything."""
    for path in (REPLAY, DROP):
        status, body = ask(f"{served.url}{path}?{query}")
        assert (status, said in body["error"]) == (400, True)
    assert ask(f"{served.url}{DROP}?rehearse=1")[0] == 400
    assert not served.quarantine.asked


@pytest.mark.parametrize("error", [NotReady("not now", hint="later"), StateError("the disk", hint="look")])
def test_what_cannot_be_done_now_is_said(served: Site, error: NotReady | StateError) -> None:
    """503 with the hint."""
    served.quarantine.answers.append(error)
    assert ask(f"{served.url}{REPLAY}") == (503, {"error": str(error), "hint": error.hint})


def test_nothing_is_changed_by_a_link_or_another_site(served: Site) -> None:
    """GET is refused; so is a form of another site, and a name that is not this machine's."""
    for path in (REPLAY, DROP):
        assert ask(served.url + path, method="GET")[0] == 405
        assert ask(served.url + path, headers={"Origin": "http://evil.example"})[0] == 403
        assert ask(served.url + path, headers={"Host": "evil.example"})[0] == 421
    assert not served.quarantine.asked


def test_the_token_is_asked_for(tmp_path_factory: pytest.TempPathFactory) -> None:
    """As for everything else."""
    with site(tmp_path_factory.mktemp("guarded"), token=KEY, with_store=False) as guarded:
        guarded.quarantine.answers.append({"rows": 1})
        assert ask(guarded.url + DROP)[0] == 401
        assert not guarded.quarantine.asked
        assert ask(guarded.url + DROP, headers={"Authorization": f"Bearer {KEY}"}) == (200, {"rows": 1})
