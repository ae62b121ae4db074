"""What a checkpoint remembers beside the aggregator's cells: position, books, rules, what was heard."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from gateway.books import Books
from gateway.decode.identity import Identities
from gateway.decode.rates import Rates
from gateway.roster import PART, Roster
from gateway.rules import Rules
from gateway.suspicion import Corrections

if TYPE_CHECKING:
    from collections.abc import Iterable


DEVICES = "devices"
"""The kind of the cells that hold the roster, a part each, at the number of its first device."""


class Store(Protocol):
    """Where meta values and cells are read from."""

    def load(self, kind: str, owner: str, start: int) -> list[bytes]:
        """Return the parts of a cell; see `ports.StateStore`."""
        ...

    def starts(self, kind: str, owner: str) -> list[int]:
        """Return the starts that have cells of this kind, ascending."""
        ...

    def meta(self, key: str) -> bytes | None:
        """Return a value; None where it was never committed."""
        ...


@dataclass(frozen=True, slots=True)
class Cut:
    """Where a checkpoint cuts through everything that goes on."""

    position: int = 0
    """The last record of the journal that is in the state."""
    connection: int = 0
    """The number of the last connection to the broker."""
    filters: tuple[str, ...] = ()
    """What that session subscribed to."""
    marks: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What each outlet must remember, by its name."""
    corrections: Corrections = field(default_factory=Corrections)
    """Of the suspect span in which `position` lies; none where it does not."""


@dataclass(slots=True)
class Saved:
    """The last checkpoint, or the beginning of everything."""

    cut: Cut = field(default_factory=Cut)
    books: Books = field(default_factory=Books)
    rules: Rules = field(default_factory=Rules)
    identities: Identities = field(default_factory=Identities)
    rates: Rates = field(default_factory=Rates)
    accepted: list[tuple[str, str]] = field(default_factory=list)
    """Devices that the registry does not know and that were accepted."""


def restore(store: Store) -> Saved:
    """Read what `encode` and `device_cells` wrote."""
    position = store.meta("position")
    if position is None:
        return Saved()
    identities = Identities()
    identities.restore(store.meta("identities") or identities.state())
    rates = Rates()
    rates.restore(store.meta("rates") or b"")
    return Saved(
        cut=Cut(
            position=int(position),
            connection=int(store.meta("connection") or b"0"),
            filters=tuple(orjson.loads(store.meta("filters") or b"[]")),
            marks=orjson.loads(store.meta("marks") or b"{}"),
            corrections=Corrections.restored(store.meta("corrections")),
        ),
        books=Books.from_dict(orjson.loads(store.meta("books") or b"{}")),
        rules=Rules.restored(store.meta("rules"), _devices(store)),
        identities=identities,
        rates=rates,
        accepted=[(site, device) for site, device in orjson.loads(store.meta("accepted") or b"[]")],
    )


def encode(
    cut: Cut,
    *,
    books: Books,
    rules: Rules | None,
    identities: Identities,
    rates: Rates,
    accepted: Iterable[tuple[str, str]],
) -> dict[str, bytes]:
    """Return the meta values of a checkpoint; `rules` is None where they did not change."""
    values = {
        "position": str(cut.position).encode(),
        "connection": str(cut.connection).encode(),
        "filters": orjson.dumps(cut.filters),
        "marks": orjson.dumps(cut.marks),
        "corrections": cut.corrections.dump(),
        "books": orjson.dumps(books.as_dict()),
        "identities": identities.state(),
        "rates": rates.state(),
        "accepted": orjson.dumps(list(accepted)),
    }
    return values if rules is None else values | {"rules": rules.dump()}


def device_cells(now: Roster, before: Roster) -> dict[tuple[str, str, int, int], bytes | None]:
    """Return what the state file must be told for it to hold `now`, where it holds `before`.

    Rosters share the parts that did not change: only the others are looked at.
    """
    cells: dict[tuple[str, str, int, int], bytes | None] = {
        (DEVICES, "", part * PART, 0): now.saved(part)
        for part, details in enumerate(now.parts)
        if part >= len(before.parts) or details is not before.parts[part]
    }
    gone = range(len(now.parts), len(before.parts))
    return cells | {(DEVICES, "", part * PART, -1): None for part in gone}


def _devices(store: Store) -> Roster:
    bodies = [body for start in store.starts(DEVICES, "") for body in store.load(DEVICES, "", start)]
    return Roster.restored(bodies)
