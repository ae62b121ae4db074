"""`ecluse profile diff`, as somebody uses it before a change is shipped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.cli.command import SHIPPED, ecluse

if TYPE_CHECKING:
    from pathlib import Path


def test_points_of_golden_examples_are_shown(tmp_path: Path) -> None:
    """What would be written no longer, and what in its place."""
    text = (SHIPPED / "bin-level" / "profile.yaml").read_text(encoding="utf-8")
    new = tmp_path / "new.yaml"
    new.write_text(
        text.replace("    path: dist_mm\n", "    path: dist_mm\n    offset: 5\n"), encoding="utf-8"
    )
    result = ecluse("profile", "diff", SHIPPED / "bin-level", new)
    assert result.exit_code == 0, result.output
    assert "source of distance" in result.stdout
    lines = [line.strip() for line in result.stdout.splitlines()]
    assert any(line.startswith("- waste,") and "distance=1050" in line for line in lines)
    assert any(line.startswith("+ waste,") and "distance=1055" in line for line in lines)


def test_nothing_changes_nothing() -> None:
    """Said, rather than silence."""
    result = ecluse("profile", "diff", SHIPPED / "bin-level", SHIPPED / "bin-level")
    assert result.stdout == "Nothing that is stored would change.\n"


def test_it_is_of_one_profile_and_one_other(tmp_path: Path) -> None:
    """A folder of several is refused, and so is one that has a mistake."""
    result = ecluse("profile", "diff", SHIPPED, SHIPPED / "bin-level")
    assert result.exit_code == 1
    assert "holds 3 profiles" in result.stderr
    (tmp_path / "profile.yaml").write_text("profile: x\n", encoding="utf-8")
    assert ecluse("profile", "diff", tmp_path, SHIPPED / "bin-level").exit_code == 3
