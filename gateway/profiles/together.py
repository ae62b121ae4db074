"""What two profiles that run side by side may not share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.profiles.fields import measurements

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.profiles.plan import ProfilePlan


_WILD = ("{", "+")


def check_together(plans: Sequence[ProfilePlan]) -> list[tuple[ProfilePlan, str, str]]:
    """Return what profiles may not share: (the later profile, what is wrong, a hint).

    Two of one name; topics that one message could match twice; a field that two profiles would write
    into one measurement with two types.
    """
    found: list[tuple[ProfilePlan, str, str]] = []
    for position, later in enumerate(plans):
        for earlier in plans[:position]:
            found.extend((later, what, hint) for what, hint in _conflicts(earlier, later))
    return found


def _conflicts(earlier: ProfilePlan, later: ProfilePlan) -> list[tuple[str, str]]:
    if earlier.name == later.name:
        return [(f"there is a profile «{later.name}» already", "give each its own name")]
    found = [
        (f"the topic {mine} overlaps {theirs} of profile «{earlier.name}»", "one message, one profile")
        for mine in later.topics
        for theirs in earlier.topics
        if topics_overlap(mine, theirs) and not _shared(earlier, later)
    ]
    known = measurements(earlier)
    for measurement, fields in measurements(later).items():
        for name, kind in fields.items():
            other = known.get(measurement, {}).get(name, kind)
            if other is not kind:
                what = f"{measurement}.{name} would be {kind}, and is {other} in profile «{earlier.name}»"
                found.append((what, "rename the quantity, or choose another family"))
    return found


def _shared(earlier: ProfilePlan, later: ProfilePlan) -> bool:
    """Tell whether two profiles share a network server's topics: the registry says which device has which."""
    return earlier.envelope is not None and earlier.envelope == later.envelope


def topics_overlap(first: str, second: str) -> bool:
    """Tell whether one topic could match both templates."""
    pairs = list(zip(first.split("/"), second.split("/"), strict=False))
    same_length = first.count("/") == second.count("/")
    return same_length and all(a == b or a[:1] in _WILD or b[:1] in _WILD for a, b in pairs)
