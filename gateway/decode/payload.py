"""What one profile reads out of a payload: its type, its parser, its levels, compiled once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from gateway.decode.formats import FORMATS
from gateway.decode.shape import Shape, Want
from gateway.errors import ConfigurationError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.decode.formats.parsing import Parser
    from gateway.decode.levels import Level
    from gateway.decode.shape import Leaf, Opening
    from gateway.profiles.plan import ProfilePlan


class Reader(Protocol):
    """Asks for fields of the payload, then learns how to read them."""

    def want(self, shape: Shape) -> None:
        """Ask for the fields needed."""
        ...

    def bind(self, shape: Shape) -> None:
        """Learn how to read them, once the shape is sealed."""
        ...


class Payload:
    """The payload of one profile: `parser`, and `openings`, which lead from level to level.

    Raises ConfigurationError where the profile's paths contradict each other, or its format is none.
    """

    def __init__(self, plan: ProfilePlan, readers: Sequence[Reader]) -> None:
        shape = Shape(plan.name)
        for reader in readers:
            reader.want(shape)
        if plan.sequence:
            shape.want(plan.sequence, Want.SCALAR)
        shape.seal()
        for reader in readers:
            reader.bind(shape)
        self._shape = shape
        self._sequence: Leaf | None = shape.leaf(plan.sequence) if plan.sequence else None
        self.openings: dict[Level, Opening] = {}
        self.parser = _parser(plan, shape)

    def open(self, levels: Iterable[Level]) -> None:
        """Learn how to get to these levels."""
        for level in levels:
            inner = level
            while inner and inner not in self.openings:
                self.openings[inner] = self._shape.opening(inner)
                inner = self.openings[inner].parent

    def sequences(self, objects: list[Any]) -> list[Any]:
        """Return the uplinks' own numbers, None where there is none."""
        return self._sequence.values(objects) if self._sequence else [None] * len(objects)


def _parser(plan: ProfilePlan, shape: Shape) -> Parser:
    compile_parser = FORMATS.get(plan.format)
    if compile_parser is None:
        what = f"there is no format «{plan.format}»; there are {', '.join(sorted(FORMATS))}"
        raise ConfigurationError([Problem(where=plan.name, what=what)])
    return compile_parser(shape.type, plan.max_depth)
