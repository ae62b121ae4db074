"""`ecluse status`: components, books, queues of the running gateway."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from gateway import config
from gateway.cli.client import Client
from gateway.cli.failures import Exit, told
from gateway.cli.options import ConfigOption
from gateway.cli.terminal import console, table
from gateway.clock import rfc3339

if TYPE_CHECKING:
    from rich.table import Table

_COLOURS = {"ok": "green", "starting": "yellow", "degraded": "yellow", "down": "red"}


def status(
    config_file: ConfigOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything, as JSON.")] = False,
) -> None:
    """Say how the running gateway is: components, the three books, queues.

    Exits 0 where every component is well and the books balance, else 1; 6 where no gateway answers.
    """
    with told():
        now = Client.of(config.load(config_file)).json("/api/status")
    if as_json:
        print(json.dumps(now, indent=2, ensure_ascii=False))  # noqa: T201 - the answer itself
    else:
        screen = console()
        for part in (_components(now), _subscriptions(now), books_table(now), _queues(now)):
            screen.print(part)
        screen.print(_quarantine(now))
    sys.exit(Exit.OK if now["ready"] and now["balanced"] else Exit.PROBLEMS)


def _components(now: dict[str, Any]) -> Table:
    rows = (
        (
            part["name"],
            Text(part["state"], style=_COLOURS[part["state"]]),
            rfc3339(part["since_ns"]),
            part["last_error"] or part["detail"],
        )
        for part in now["components"]
    )
    title = f"Écluse {now['version']}, {rfc3339(now['now_ns'])}"
    return table("Component", "State", "Since", "Detail", rows=rows, title=title)


def _subscriptions(now: dict[str, Any]) -> Table:
    rows = (
        (one["filter"], one["asked"], _granted(one["asked"], one["granted"]))
        for one in now["connection"]["subscriptions"]
    )
    return table("Filter", "QoS asked", "QoS granted", rows=rows, title="Subscriptions")


def _granted(asked: int, granted: int | None) -> Text:
    if granted is None:
        return Text("refused", style="red")
    return Text(str(granted), style="green" if granted >= asked else "yellow")


def books_table(now: dict[str, Any]) -> Table:
    """Return the three books of a status document as one table."""
    left = {"uplinks": "journalled", "readings": "decoded"}
    shown = [(name, left[name], now[name]) for name in left]
    shown += [(f"sink {name}", "made", _sink_columns(book)) for name, book in now["sinks"].items()]
    rows = [_book(*one) for one in shown]
    return table("Book", "Left side", "Right side", "Difference", rows=rows, title="Books")


def _book(name: str, total: str, book: dict[str, int]) -> tuple[object, ...]:
    others = " + ".join(
        f"{count} {column.replace('_', ' ')}"
        for column, count in book.items()
        if column not in (total, "difference") and count
    )
    difference = Text(str(book["difference"]), style="green" if book["difference"] == 0 else "red")
    return name, f"{book[total]} {total}", others or "0", difference


def _sink_columns(book: dict[str, int]) -> dict[str, int]:
    columns = ("made", "stored", "waiting", "refused", "dropped", "superseded", "difference")
    return {column: book[column] for column in columns}


def _quarantine(now: dict[str, Any]) -> str:
    """Say what is beside the sums."""
    replayed, evicted, dropped = (now[f"quarantine_{what}"] for what in ("replayed", "evicted", "dropped"))
    return (
        f"Quarantine: {replayed} uplinks let in again (each journalled once more), "
        f"{evicted} rows gave way to newer ones, {dropped} dropped by a person."
    )


def _queues(now: dict[str, Any]) -> Table:
    rows = (
        (
            name,
            f"{depth['items']} ({depth['behind']} after newer ones)" if depth["behind"] else depth["items"],
            depth["bytes"],
            depth["limit_bytes"] or f"{depth['limit_items']} items",
            _span(depth["seconds"]),
            _empty(depth["empty_s"]) if name.startswith("outbox ") else "",
        )
        for name, depth in now["queues"].items()
    )
    return table("Queue", "Items", "Bytes", "Of at most", "Oldest", "Empty in", rows=rows, title="Queues")


def _empty(seconds: float | None) -> str:
    return "it grows" if seconds is None else _span(seconds)


def _span(seconds: float) -> str:
    """Write a duration in the unit that suits it."""
    for length, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"
