"""Profiles over HTTP: listed, read, written, refused with every problem, taken out."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

from gateway.profiles.load import load
from tests.pages import site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.pages import Site

TEXT = """profile: acme-bin
version: 1
family: waste
topics: ["acme/{device}/up"]
quantities: {distance: {path: d, unit: mm}}
"""
OTHER = TEXT.replace("acme-bin", "other").replace("acme/", "other/").replace("waste", "air")


@pytest.fixture
def profiles(tmp_path: Path) -> Path:
    folder = tmp_path / "profiles"
    (folder / "other").mkdir(parents=True)
    (folder / "other" / "profile.yaml").write_text(OTHER, encoding="utf-8")
    return folder


@pytest.fixture
def served(tmp_path: Path, profiles: Path) -> Iterator[Site]:
    del profiles
    with site(tmp_path, with_store=False) as running:
        yield running


def ask(
    served: Site, method: str, path: str = "", text: str | None = None, **headers: str
) -> tuple[int, Any]:
    """Return the status and the answer: JSON, or else its text."""
    request = urllib.request.Request(  # noqa: S310 - our own
        f"{served.url}/api/profiles{path}",
        method=method,
        data=None if text is None else text.encode(),
        headers=headers,
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - the same
            status, body = answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            status, body = error.code, error.read().decode()
    return status, json.loads(body) if body.startswith("{") else body


def test_one_is_written_and_can_be_loaded(served: Site, profiles: Path) -> None:
    """In one piece, beside the others; a change of it in the same place."""
    assert ask(served, "PUT", "/acme-bin", TEXT) == (200, {"profile": "acme-bin", "version": 1})
    assert (profiles / "acme-bin" / "profile.yaml").read_text(encoding="utf-8") == TEXT
    changed = TEXT.replace("version: 1", "version: 2")
    assert ask(served, "PUT", "/acme-bin", changed) == (200, {"profile": "acme-bin", "version": 2})
    loaded = load(profiles)
    assert not loaded.problems
    assert loaded.plans["acme-bin"].version == 2
    assert sorted(path.name for path in (profiles / "acme-bin").iterdir()) == ["profile.yaml"]


@pytest.mark.parametrize(
    ("text", "told", "line"),
    [
        (TEXT.replace("unit: mm", "unit: millimetre"), "is not a UCUM unit", 5),
        (TEXT.replace("family", "famly"), "«famly» is not a key", 3),
        (TEXT.replace("acme-bin", "acme-tin"), "the text calls it «acme-tin»", 0),
        (TEXT.replace("acme/", "other/"), "overlaps", 0),
        (TEXT + "codec: {file: none.js}\n", "cannot be read", 6),
        ("[", "not YAML", 1),
        ("\0", "not YAML", 0),
    ],
)
def test_what_is_wrong_is_refused_with_every_problem(
    served: Site, profiles: Path, text: str, told: str, line: int
) -> None:
    status, answer = ask(served, "PUT", "/acme-bin", text)
    assert status == 422
    assert any(told in one["what"] and one["where"] == "acme-bin" for one in answer["problems"]), answer
    assert line in {one["line"] for one in answer["problems"]}
    assert not (profiles / "acme-bin").exists()


def test_a_quantity_of_another_kind_needs_a_new_version(served: Site, profiles: Path) -> None:
    ask(served, "PUT", "/acme-bin", TEXT)
    served.plans.update(load(profiles).plans)
    counting = TEXT.replace("unit: mm", "unit: mm, kind: counter")
    status, answer = ask(served, "PUT", "/acme-bin", counting)
    assert status == 422
    assert answer["problems"][0]["hint"] == "raise its version"
    assert ask(served, "PUT", "/acme-bin", counting.replace("version: 1", "version: 2"))[0] == 200


def test_those_in_force_are_told(served: Site, profiles: Path) -> None:
    served.plans.update(load(profiles).plans)
    assert ask(served, "GET") == (
        200,
        {"profiles": {"other": {"version": 1, "family": "air", "topics": ["other/{device}/up"]}}},
    )
    assert ask(served, "GET", "/other") == (200, OTHER)
    assert ask(served, "GET", "/nothing")[0] == 404


def test_one_is_taken_out_and_kept_beside(served: Site, profiles: Path) -> None:
    assert ask(served, "DELETE", "/other") == (200, {"removed": "other"})
    assert (profiles / "other" / "profile.yaml.removed").read_text(encoding="utf-8") == OTHER
    assert not load(profiles).plans
    assert ask(served, "DELETE", "/other")[0] == 404


@pytest.mark.parametrize("name", ["..%2Fx", "A", "a%2Fb", "-"])
def test_what_is_no_name_writes_nothing(served: Site, profiles: Path, name: str) -> None:
    assert ask(served, "PUT", f"/{name}", TEXT)[0] in (400, 404, 405)
    assert [path.name for path in profiles.iterdir()] == ["other"]


def test_bounds_and_forms_of_other_sites(served: Site) -> None:
    assert ask(served, "PUT", "/acme-bin", "#" * 1_300_000)[0] == 413
    assert ask(served, "PUT", "/acme-bin", "#" * 1_100_000)[0] == 422
    assert ask(served, "PUT", "/acme-bin", TEXT, Origin="http://elsewhere.example")[0] == 403
    assert ask(served, "DELETE", "/other", Origin="http://elsewhere.example")[0] == 403


def test_a_folder_that_cannot_be_written_says_so(served: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.replace", refused)
    for method, path, text in (("PUT", "/acme-bin", TEXT), ("DELETE", "/other", None)):
        status, answer = ask(served, method, path, text)
        assert status == 503
        assert "Permission denied" in answer["error"]
