"""Topic templates."""

from __future__ import annotations

import pytest

from gateway.decode.topics import compile_template


@pytest.mark.parametrize(
    ("template", "topic", "found"),
    [
        ("city/{site}/bin/{device}/up", "city/lyon/bin/b-1/up", ("lyon", "b-1")),
        ("city/{site}/bin/{device}/up", "city/lyon/bin/b-1/up/", None),
        ("city/{site}/bin/{device}/up", "city//bin/b-1/up", None),
        ("up/{device}", "up/é+x", ("", "é+x")),
        ("a.b+/{device}", "a.b+/d", ("", "d")),
        ("a.b+/{device}", "axbb/d", None),
    ],
)
def test_matching(template: str, topic: str, found: tuple[str, str] | None) -> None:
    """Levels are compared one by one; a name takes exactly one level that is not empty."""
    assert compile_template(template).match(topic) == found
