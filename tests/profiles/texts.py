"""Profiles for tests: a short valid one, and ways to spoil it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.profiles.compile import compile_profile

if TYPE_CHECKING:
    from gateway.errors import Problem
    from gateway.profiles.plan import ProfilePlan, QuantityPlan

HEAD = """\
profile: acme
version: 1
family: waste
topics: ["a/{site}/{device}"]
"""


def profile(body: str) -> str:
    """Return a profile's text: the head and this body, from line 5 on."""
    return HEAD + body


def plan_of(body: str) -> ProfilePlan:
    """Compile a body; fail with its problems."""
    plan, problems = compile_profile(profile(body), where="acme.yaml")
    assert plan is not None, "\n".join(map(str, problems))
    return plan


def quantities_of(body: str) -> dict[str, QuantityPlan]:
    """Compile a body and return its quantities by name."""
    return {quantity.name: quantity for group in plan_of(body).groups for quantity in group.quantities}


def problems_of(body: str) -> tuple[Problem, ...]:
    """Return the problems of a body that must have some."""
    plan, problems = compile_profile(profile(body), where="acme.yaml")
    assert plan is None
    assert problems
    return problems


def only_problem(body: str) -> str:
    """Return the one problem of a body, as it is printed."""
    problems = problems_of(body)
    assert len(problems) == 1, "\n".join(map(str, problems))
    return str(problems[0])
