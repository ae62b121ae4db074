"""What a network server tells of an uplink beside its payload: counter, signal, gateway. Pure."""

from __future__ import annotations

from operator import attrgetter
from types import GenericAlias
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from gateway.profiles.envelopes import EnvelopePlan

_Whole = Annotated[int, Meta(ge=0, le=2**53)]
_Text = Annotated[str, Meta(max_length=64)]
_MOST_GATEWAYS = 1_000


class Facts:
    """Reads the facts that a profile wants; `wanted` are types by path, for the envelope's Struct."""

    def __init__(self, plan: EnvelopePlan, paths: Collection[str]) -> None:
        self._paths = sorted(paths)
        self._port = attrgetter(plan.port)
        self._counter = attrgetter(plan.counter)
        self._spreading = attrgetter(plan.spreading)
        self._gateways = attrgetter(plan.gateways)
        self._heard = {"@rssi": plan.rssi, "@snr": plan.snr, "@gateway": plan.gateway}
        self._rssi = attrgetter(plan.rssi)
        self.wanted: dict[str, Any] = {}
        if "@counter" in paths:
            self.wanted[plan.counter] = _Whole
        if "@spreading" in paths:
            self.wanted[plan.spreading] = _Whole
        if "@gateways" in paths or not self._heard.keys().isdisjoint(paths):
            kind = struct_of({plan.rssi: float, plan.snr: float, plan.gateway: _Text})
            self.wanted[plan.gateways] = Annotated[
                GenericAlias(list, (kind,)), Meta(max_length=_MOST_GATEWAYS)
            ]

    def of(self, envelopes: Sequence[Any]) -> Mapping[str, list[Any]]:
        """Return for each path a value an envelope; None where it is not told."""
        if not self._paths:
            return {}
        best = [self._best(one) for one in envelopes] if self._heard.keys() & set(self._paths) else []
        return {path: self._values(path, envelopes, best) for path in self._paths}

    def _values(self, path: str, envelopes: Sequence[Any], best: Sequence[Any]) -> list[Any]:
        if path in self._heard:
            get = attrgetter(self._heard[path])
            return [None if one is None else get(one) for one in best]
        readers: Mapping[str, Callable[[Any], Any]] = {
            "@port": self._port,  # zero, which envelopes leave out, is no port of a device
            "@counter": lambda one: self._counter(one) or 0,
            "@spreading": self._spreading,
            "@gateways": lambda one: len(self._gateways(one) or ()) or None,
        }
        return list(map(readers[path], envelopes))

    def _best(self, envelope: Any) -> Any:  # noqa: ANN401 - a type made at run time
        """Return the gateway that heard an uplink best; the first where none tells how well."""
        heard = self._gateways(envelope) or ()
        return max(heard, key=lambda one: _or_lowest(self._rssi(one)), default=None)


def _or_lowest(value: float | None) -> float:
    return float("-inf") if value is None else value


def struct_of(wanted: Mapping[str, Any]) -> Any:  # noqa: ANN401 - a type made at run time
    """Return a type with these values at these paths, all optional; null and absent are both None."""
    inner: dict[str, dict[str, Any]] = {}
    fields: list[tuple[str, Any, Any]] = []
    for path, kind in wanted.items():
        first, _, rest = path.partition(".")
        if rest:
            inner.setdefault(first, {})[rest] = kind
        else:
            fields.append((first, kind if kind is msgspec.Raw else kind | None, None))
    for name, below in inner.items():
        struct = struct_of(below)
        fields.append((name, struct, msgspec.field(default_factory=struct)))
    return msgspec.defstruct("Envelope", fields, gc=False, frozen=True)
