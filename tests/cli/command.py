"""Runs `ecluse` in this process, and makes the settings that it reads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from typer.testing import CliRunner

from gateway.cli.main import application

if TYPE_CHECKING:
    from click.testing import Result

SHIPPED = Path(__file__).parents[2] / "device_profiles"


def ecluse(*words: object, stdin: bytes | str | None = None) -> Result:
    """Run a command; an exception that is not its own way to end fails the test."""
    result = CliRunner().invoke(
        application(), [str(word) for word in words], input=stdin, env={"COLUMNS": "200"}
    )
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert "Traceback" not in result.output
    return result


def settings_file(folder: Path, text: str = "") -> Path:
    """Write a settings file whose state is in the folder and whose profiles are the shipped ones."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "ecluse.toml"
    file.write_text(f'state_dir = "state"\nprofiles_dir = "{SHIPPED}"\n{text}', encoding="utf-8")
    (folder / "state").mkdir(exist_ok=True)
    return file
