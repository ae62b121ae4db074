"""Options that several commands share."""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Optional

import typer

from gateway.errors import EcluseError

ConfigOption = Annotated[
    Optional[Path],  # noqa: UP045 - typer reads it at run time
    typer.Option(
        "--config",
        "-c",
        help="Settings file (TOML). Without it: the environment and the defaults.",
        envvar="ECLUSE_CONFIG",
        show_default=False,
    ),
]


def pairs(given: Iterable[str], *, option: str) -> dict[str, str]:
    """Read `name=value` options. Raises typer.BadParameter where one has no name or no «=»."""
    found = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not name.strip() or not equals:
            raise typer.BadParameter(f"«{text}» must be name=value", param_hint=option)
        found[name.strip()] = value.strip()
    return found


def numbers(given: Iterable[str], *, option: str) -> dict[str, float]:
    """Read `name=number` options. Raises typer.BadParameter as `pairs`, and where it is no finite number."""
    found = {}
    for name, text in pairs(given, option=option).items():
        try:
            found[name] = float(text)
        except ValueError:
            found[name] = math.nan
        if not math.isfinite(found[name]):
            raise typer.BadParameter(f"«{text}» is no number: write {name}=1800", param_hint=option)
    return found


def verbatim(command: Callable[..., object]) -> str:
    """Return a command's docstring as help, with the lines of its examples kept as they are written."""
    paragraphs = inspect.cleandoc(command.__doc__ or "").split("\n\n")
    return "\n\n".join(f"\b\n{text}" if "\n  " in text else text for text in paragraphs)


def read_text(file: Path) -> str:
    """Return the text of a file, of standard input for `-`.

    Raises EcluseError where it cannot be read, or is not UTF-8.
    """
    try:
        content = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise EcluseError(f"{file} cannot be read: {error.strerror}") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise EcluseError(f"{file} is not UTF-8 (byte {error.start})", hint="save it as UTF-8") from error
