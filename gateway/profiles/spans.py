"""Units of time in a profile, as nanoseconds: of a parameter, or as written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.profiles.document import Fault
from gateway.profiles.units import conversion

if TYPE_CHECKING:
    from gateway.profiles.schema import Document


def parameter_ns(name: str | None, document: Document, place: tuple[str, ...], faults: list[Fault]) -> int:
    """Return the nanoseconds in a parameter's unit; 0 where no parameter is meant."""
    if name is None:
        return 0
    if name not in document.parameters:
        faults.append(Fault(place, f"there is no parameter «{name}»", "declare it under «parameters»"))
        return 0
    return nanoseconds(document.parameters[name].unit, place, faults)


def nanoseconds(unit: str, place: tuple[str, ...], faults: list[Fault]) -> int:
    """Return the nanoseconds in a unit of time; 0, and a fault, where it is none."""
    try:
        return round(conversion(unit, "s") * 1e9)
    except ValueError as error:
        faults.append(Fault(place, f"not a unit of time: {error}", "s, min, h or d"))
        return 0
