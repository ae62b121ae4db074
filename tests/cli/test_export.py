"""`ecluse profile export`: for other tools, and for people."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.command import SHIPPED, ecluse

PUBLISHED = Path(__file__).parents[2] / "docs" / "profile.schema.json"


def test_without_a_path_the_schema_is_that_of_a_profile() -> None:
    """For an editor: the very one that is published."""
    result = ecluse("profile", "export", "--json-schema")
    assert result.exit_code == 0
    assert result.stdout == PUBLISHED.read_text(encoding="utf-8")


def test_one_profile_has_one_schema_and_several_have_one_each() -> None:
    """Of their payloads."""
    one = json.loads(ecluse("profile", "export", SHIPPED / "bin-level", "--json-schema").stdout)
    assert one["title"].startswith("bin-level@")
    all_of_them = json.loads(ecluse("profile", "export", SHIPPED, "--json-schema").stdout)
    assert all_of_them["$defs"].keys() == {"bin-level", "traffic-counter", "water-meter"}


def test_a_page_for_people() -> None:
    """Every quantity with its unit and its fields, every parameter."""
    page = ecluse("profile", "export", SHIPPED / "water-meter", "--markdown").stdout
    assert "## water-meter, version 1" in page
    assert "| index | counter | L |" in page
    assert "`index_increment`" in page
    assert "| max_flow | m3/h | 3.125 | 0.1 to 1000 |" in page


@pytest.mark.parametrize("words", [(), ("--asyncapi", "--markdown")])
def test_one_form_must_be_chosen(words: tuple[str, ...]) -> None:
    """Said with the choices."""
    result = ecluse("profile", "export", SHIPPED, *words)
    assert result.exit_code == 2
    assert "choose one of" in result.stderr


def test_a_bad_profile_is_refused_with_its_place(tmp_path: Path) -> None:
    """Nothing is printed where a tool would read it."""
    (tmp_path / "profile.yaml").write_text("profile: x\n", encoding="utf-8")
    result = ecluse("profile", "export", tmp_path, "--asyncapi")
    assert result.exit_code == 3
    assert result.stdout == ""
    assert "profile.yaml" in result.stderr
