"""The demonstration's live summary: as one plain line, or as a screen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.table import Table

from gateway.cli.status import books_table
from gateway.clock import rfc3339

if TYPE_CHECKING:
    from rich.console import RenderableType

ROWS = 4
_ASIDE = frozenset({"site", "profile", "quality", "time_source"})


def plain_line(now: dict[str, Any]) -> str:
    """Return one line: time, uplinks in, points out, rejected, books."""
    points = " ".join(f"{name}={book['stored']}" for name, book in now["sinks"].items())
    rejected = sum(now["reasons"].values())
    books = "balance" if now["balanced"] else "DO NOT BALANCE"
    return (
        f"{rfc3339(now['now_ns'])} uplinks={now['uplinks']['journalled']} "
        f"readings={now['readings']['decoded']} "
        f"points: {points} windows={now['windows']} rejected={rejected} books {books}"
    )


def screen(now: dict[str, Any], latest: dict[str, Any], url: str) -> RenderableType:
    """Return the live screen."""
    title = f"Écluse · {url}/ · {rfc3339(now['now_ns'])} (×{now['time_factor']:g})"
    head = Table(title=title)
    head.add_column("Uplinks in", justify="right")
    head.add_column("Readings", justify="right")
    for name in now["sinks"]:
        head.add_column(f"Points → {name}", justify="right")
    head.add_column("Windows", justify="right")
    head.add_column("Devices heard", justify="right")
    head.add_row(
        f"{now['uplinks']['journalled']:,}",
        f"{now['readings']['decoded']:,}",
        *(f"{book['stored']:,}" for book in now["sinks"].values()),
        f"{now['windows']:,}",
        f"{now['fleet']['heard']} / {now['fleet']['known']}",
    )
    reasons = Table("Rejected because", "Count")
    for reason, count in sorted(now["reasons"].items(), key=lambda pair: -pair[1]):
        reasons.add_row(reason, str(count))
    families = [_family(name, answer) for name, answer in latest.items() if answer["rows"]]
    return Group(head, *families, reasons, books_table(now))


def _family(name: str, answer: dict[str, Any]) -> Table:
    shown = [place for place, column in enumerate(answer["columns"]) if column not in _ASIDE]
    table = Table(*(answer["columns"][place] for place in shown), title=name)
    for row in answer["rows"][:ROWS]:
        table.add_row(*(_cell(row[place]) for place in shown))
    return table


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)[:19]
