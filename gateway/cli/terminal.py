"""Tables and texts on a terminal, with nothing in them that a terminal, or rich, would obey.

What devices send is shown as it is, but for control characters: an escape sequence in a payload must
not reach the terminal of the person who looks at it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

PIPED_WIDTH = 200
"""Columns where the output is no terminal: a pipe or a file has no width of its own."""


def console(*, stderr: bool = False) -> Console:
    """Return the terminal, as wide as it is; wide where it is none."""
    found = Console(stderr=stderr, highlight=False)
    return found if found.is_terminal else Console(stderr=stderr, highlight=False, width=PIPED_WIDTH)


def printable(text: str) -> str:
    """Return a text whose control characters are written out, as Python writes them."""
    return "".join(
        sign if sign.isprintable() or sign == "\n" else sign.encode("unicode_escape").decode()
        for sign in text
    )


def cell(value: object) -> Text:
    """Return a table's cell: nothing for None, a float to six digits."""
    if isinstance(value, Text):
        return value
    if value is None:
        return Text("")
    return Text(f"{value:.6g}" if isinstance(value, float) else printable(str(value)))


def table(*headings: str, rows: Iterable[Sequence[object]], title: str = "") -> Table:
    """Return a table of plain cells; a `Text` keeps its style."""
    made = Table(title=title or None, title_justify="left", title_style="bold")
    for heading in headings:
        made.add_column(heading, overflow="fold")
    for row in rows:
        made.add_row(*map(cell, row))
    return made
