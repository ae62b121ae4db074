"""The status page: a snapshot and the newest values, rendered for people."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from gateway.clock import rfc3339
from gateway.console.sparkline import Sparkline, sparkline
from gateway.console.texts import language, words
from gateway.console.writing import Writing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.health.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Row:
    """One device's newest values; `coverage` is a share of 1, None where it is not known."""

    name: str
    time_ns: int
    cells: tuple[object, ...]
    line: Sparkline | None
    coverage: float | None


@dataclass(frozen=True, slots=True)
class Family:
    """The devices of a family that the page shows, and how many more there are."""

    name: str
    fields: tuple[str, ...]
    trend: str
    """The field that the sparklines draw."""
    rows: tuple[Row, ...]
    more: int


@dataclass(frozen=True, slots=True)
class Demo:
    """What the demonstration says to try."""

    publish: str
    kill: str
    sink: str
    """The sink that a button pauses; empty where the database is to be stopped by hand."""

    @classmethod
    def from_json(cls, text: str) -> Demo:
        """Read what `to_json` wrote."""
        return cls(**json.loads(text))

    def to_json(self) -> str:
        """Write it as JSON."""
        return json.dumps(asdict(self))


class StatusPage:
    """Renders the page."""

    def __init__(self, *, demo: Demo | None) -> None:
        self._demo = demo
        self._template = Environment(
            loader=FileSystemLoader(Path(__file__).parent / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
        ).get_template("status.html")

    def render(
        self,
        now: Snapshot,
        *,
        families: Sequence[Family] | None,
        rates: Mapping[str, float] | None,
        accept_language: str,
    ) -> str:
        """Return the HTML. `families` is None where there is no embedded store; `rates` are a second's."""
        lang = language(accept_language)
        t = SimpleNamespace(**words(lang))
        return self._template.render(
            lang=lang,
            t=t,
            write=Writing(lang=lang, now_ns=now.now_ns, never=t.never),
            now=now,
            books=_books(now),
            wrong=_wrong(now, t),
            families=families,
            rates=rates,
            demo=self._demo,
            iso=rfc3339,
        )


def _wrong(now: Snapshot, t: SimpleNamespace) -> list[str]:
    """Name what needs attention: components that are not well, books that do not balance."""
    differences = {t.uplinks: now.uplinks["difference"], t.readings: now.readings["difference"]}
    differences |= {f"{t.sink} {name}": book.difference() for name, book in now.sinks.items()}
    names = [f"{part.name} ({getattr(t, part.state)})" for part in now.components if part.state != "ok"]
    return names + [f"{name} ({t.unbalanced})" for name, count in differences.items() if count]


def _books(now: Snapshot) -> dict[str, dict[str, int]]:
    columns = ("made", "stored", "waiting", "refused", "dropped", "superseded")
    return {
        name: {column: asdict(book)[column] for column in columns} | {"difference": book.difference()}
        for name, book in now.sinks.items()
    }


def row(
    *, name: str, time_ns: int, values: Sequence[object], history: Sequence[float], coverage: float | None
) -> Row:
    """Return a device's row. `history` is oldest first; `coverage` is a share of 1."""
    return Row(name=name, time_ns=time_ns, cells=tuple(values), line=sparkline(history), coverage=coverage)
