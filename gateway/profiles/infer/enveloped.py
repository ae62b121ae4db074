"""Samples that a network server has wrapped: what its own codec has decoded is what a profile reads."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gateway.profiles.envelopes import ENVELOPES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.profiles.envelopes import EnvelopePlan
    from gateway.profiles.infer.samples import Sample


def envelope_of(samples: Sequence[Sample]) -> EnvelopePlan | None:
    """Return the envelope that is around every sample; None where there is none."""
    for plan in ENVELOPES.values():
        if all(
            at(one.value, plan.key[0]) and isinstance(at(one.value, plan.payload), str) for one in samples
        ):
            return plan
    return None


def unwrapped(samples: Sequence[Sample], plan: EnvelopePlan) -> list[Sample]:
    """Return the samples with what the server decoded as their value; nothing where it has no codec."""
    found = [(one, at(one.value, plan.decoded)) for one in samples]
    return [replace(one, value=value if isinstance(value, dict) else {}) for one, value in found]


def at(value: Any, path: str) -> Any:  # noqa: ANN401 - any JSON
    """Return what stands at a path of keys; None where nothing does."""
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value
