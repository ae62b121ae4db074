"""What a payload must look like: msgspec types made from a profile's JSON paths.

Nested objects become Structs, lists and objects of free keys become list and dict. Everything is
optional: absent and null both give None. Integers and texts are bounded, because msgspec takes an
integer of any size, and an uplink must not be able to fill memory. Two wishes for one path that no
single type satisfies (a state and a number) widen it to any scalar; the readers then check.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from operator import attrgetter
from types import GenericAlias
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from gateway.decode.scalars import Scalars, of_numbers, of_values
from gateway.errors import ConfigurationError, Problem
from gateway.profiles.paths import Step, Take, parse_path, repeated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MAX_WHOLE = 2**53
"""Greatest magnitude that float64, in which columns are kept, holds without a gap."""
MAX_DELTA = 2**40
"""Greatest element of a history's list: sums of any allowed number of them stay exact."""
MAX_LABEL = 64
"""Characters of a dimension's value and of a state's raw text."""
MAX_TEXT = 256
"""Characters of a text quantity."""

_MAX_INT64 = 2**63 - 1


class Want(Enum):
    """What is read at a path."""

    NUMBER = "a number"
    WHOLE = "a whole number"
    TIME = "a time as a number"
    MOMENT = "a time as text"
    SCALAR = "a text, number or truth"
    TEXT = "a text"
    LABEL = "a text, whole number or truth"
    DELTAS = "a list of numbers"


_WHOLE = Annotated[int, Meta(ge=-MAX_WHOLE, le=MAX_WHOLE)]
_LONG = Annotated[int, Meta(ge=-_MAX_INT64, le=_MAX_INT64)]
_DELTA = Annotated[int, Meta(ge=-MAX_DELTA, le=MAX_DELTA)] | float
_LABEL = Annotated[str, Meta(max_length=MAX_LABEL)]
_TEXT = Annotated[str, Meta(max_length=MAX_TEXT)]
_MOMENT = Annotated[datetime, Meta(tz=True)]
_SCALAR = _LONG | float | bool | _TEXT

_NUMERIC = frozenset({Want.NUMBER, Want.WHOLE, Want.TIME})

_TYPES: dict[Want, Any] = {
    Want.NUMBER: float | None,
    Want.WHOLE: _WHOLE | float | None,
    Want.TIME: _LONG | float | None,
    Want.MOMENT: _MOMENT | None,
    Want.SCALAR: _SCALAR | None,
    Want.TEXT: _TEXT | None,
    Want.LABEL: _WHOLE | bool | _LABEL | None,
    Want.DELTAS: list[_DELTA] | None,
}


@dataclass(slots=True)
class _Node:
    """One place in the payload while the shape is being built."""

    keys: dict[str, _Node] = field(default_factory=dict)
    each: _Node | None = None
    bind: _Node | None = None
    wants: set[Want] = field(default_factory=set)
    words: set[str] = field(default_factory=set)
    number: int = -1
    type: Any = None
    empty: Any = None
    names: dict[str, str] = field(default_factory=dict)
    """Key in the payload → attribute of the Struct."""

    def child(self, step: Step) -> _Node:
        """Return the node that a step leads to, making it where it is new."""
        if step.take is Take.KEY:
            return self.keys.setdefault(step.name, _Node())
        if step.take is Take.EACH:
            self.each = self.each or _Node()
            return self.each
        self.bind = self.bind or _Node()
        return self.bind


@dataclass(frozen=True, slots=True)
class Leaf:
    """How to read one path's values from the objects of the level that it belongs to.

    `level` is the path up to its last list or bound object (() for the uplink itself). `want` is what the
    type of the value allows. `number` counts the leaves of the shape.
    """

    level: tuple[Step, ...]
    through: tuple[tuple[Callable[[Any], Any], Any], ...]
    last: Callable[[Any], Any] | None
    want: Want
    number: int

    def values(self, objects: list[Any]) -> list[Any]:
        """Return one value for each object, None where absent."""
        objects = follow(objects, self.through)
        return objects if self.last is None else list(map(self.last, objects))

    def scalars(self, objects: list[Any]) -> Scalars:
        """Return the values as columns."""
        values = self.values(objects)
        if self.want in _NUMERIC:
            return of_numbers(values, exact=self.want is Want.TIME)
        return of_values(values)


@dataclass(frozen=True, slots=True)
class Flat:
    """A shape that is values under plain keys, at most in nested objects.

    `leaves` are all values by number, `words` the texts expected of each. `objects` gives for each object,
    the payload first, where its keys lead: to the number of a leaf, or behind all leaves, of an object.
    """

    leaves: list[Leaf]
    words: list[list[str]]
    objects: list[dict[str, int]]


@dataclass(frozen=True, slots=True)
class Opening:
    """How to get from the objects of one level to those of the level below: one list or object each."""

    parent: tuple[Step, ...]
    through: tuple[tuple[Callable[[Any], Any], Any], ...]
    last: Callable[[Any], Any] | None
    take: Take
    empty: Any
    """Stands for an element that is null; None where the elements are values."""

    def containers(self, objects: list[Any]) -> list[Any]:
        """Return one list (EACH) or dict (BIND) for each object, None where absent."""
        objects = follow(objects, self.through)
        return objects if self.last is None else list(map(self.last, objects))


def follow(objects: list[Any], through: tuple[tuple[Callable[[Any], Any], Any], ...]) -> list[Any]:
    """Go into nested objects; where one is absent its empty Struct stands for it."""
    for get, empty in through:
        objects = [inner or empty for inner in map(get, objects)]
    return objects


class Shape:
    """Collects what is wanted of a payload, then gives its type and the ways to read it.

    First `want` every path, then `seal`, then read `type`, `leaf` and `opening`.
    """

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._root = _Node()
        self._leaves: list[tuple[tuple[Step, ...], _Node]] = []

    @property
    def type(self) -> Any:  # noqa: ANN401 - a type made at run time
        """The type of a whole payload."""
        return self._root.type

    def want(self, path: str, want: Want, *, words: Iterable[str] = ()) -> None:
        """Ask for what stands at `path`; `words` are texts that are expected there.

        Raises ConfigurationError where the path is none.
        """
        steps = self._steps(path)
        node = self._node(steps)
        if node.number < 0:
            node.number = len(self._leaves)
            self._leaves.append((steps, node))
        node.wants.add(want)
        node.words.update(words)

    def seal(self) -> None:
        """Make the types. Raises ConfigurationError where paths contradict each other."""
        self._type(self._root, "$")

    def leaf(self, path: str) -> Leaf:
        """Return how to read `path`, which was asked for before."""
        return self._leaf(self._steps(path))

    def flat(self) -> Flat | None:
        """Return the sealed shape as one without lists and free keys; None where it has some."""
        if any(repeated(steps) or not steps for steps, _ in self._leaves):
            return None
        objects: list[dict[str, int]] = [{}]
        place: dict[tuple[Step, ...], int] = {(): 0}
        for number, (steps, _) in enumerate(self._leaves):
            for end in range(1, len(steps)):
                if steps[:end] not in place:
                    place[steps[:end]] = len(objects)
                    objects[place[steps[: end - 1]]][steps[end - 1].name] = len(self._leaves) + len(objects)
                    objects.append({})
            objects[place[steps[:-1]]][steps[-1].name] = number
        leaves = [self._leaf(steps) for steps, _ in self._leaves]
        return Flat(leaves, [sorted(node.words) for _, node in self._leaves], objects)

    def opening(self, level: tuple[Step, ...]) -> Opening:
        """Return how to open `level` (not empty) from the level above it."""
        parent = repeated(level[:-1])
        _, through, last = self._walk(parent, level[len(parent) : -1])
        return Opening(
            parent=parent,
            through=through,
            last=last,
            take=level[-1].take,
            empty=self._node(level).empty,
        )

    def _leaf(self, steps: tuple[Step, ...]) -> Leaf:
        level = repeated(steps)
        node, through, last = self._walk(level, steps[len(level) :])
        return Leaf(level=level, through=through, last=last, want=_allowed(node.wants), number=node.number)

    def _steps(self, path: str) -> tuple[Step, ...]:
        try:
            return parse_path(path)
        except ValueError as error:
            raise self._refusal(str(error)) from error

    def _refusal(self, what: str) -> ConfigurationError:
        return ConfigurationError([Problem(where=self._owner, what=what)])

    def _node(self, steps: tuple[Step, ...]) -> _Node:
        node = self._root
        for step in steps:
            node = node.child(step)
        return node

    def _walk(
        self, level: tuple[Step, ...], keys: tuple[Step, ...]
    ) -> tuple[_Node, tuple[tuple[Callable[[Any], Any], Any], ...], Callable[[Any], Any] | None]:
        node = self._node(level)
        getters = []
        for step in keys:
            get = attrgetter(node.names[step.name])
            node = node.keys[step.name]
            getters.append((get, node.empty))
        if not getters:
            return node, (), None
        return node, tuple(getters[:-1]), getters[-1][0]

    def _type(self, node: _Node, place: str) -> None:
        roles = [bool(node.keys), node.each is not None, node.bind is not None, bool(node.wants)]
        if sum(roles) > 1:
            raise self._refusal(f"the paths disagree on what stands at {place}: a value, an object or a list")
        if node.each is not None:
            self._type(node.each, f"{place}[]")
            node.type = self._optional(node, GenericAlias(list, (node.each.type,)))
        elif node.bind is not None:
            self._type(node.bind, f"{place}.{{}}")
            node.type = self._optional(node, GenericAlias(dict, (_LABEL, node.bind.type)))
        elif node.wants:
            node.type = _TYPES[_allowed(node.wants)]
        else:
            self._struct(node, place)

    def _struct(self, node: _Node, place: str) -> None:
        fields = []
        for number, (key, child) in enumerate(node.keys.items()):
            self._type(child, f"{place}.{key}")
            node.names[key] = f"f{number}"
            fields.append((f"f{number}", child.type, None))
        # Structs that hold no cycles need no garbage collector: half the cost of making one.
        struct = msgspec.defstruct(
            "Payload",
            fields,
            rename={name: key for key, name in node.names.items()},
            gc=False,
            frozen=True,
        )
        node.empty = struct()
        node.type = self._optional(node, struct)

    def _optional(self, node: _Node, kind: Any) -> Any:  # noqa: ANN401 - types made at run time
        """Let null stand anywhere but for the whole payload."""
        return kind if node is self._root else kind | None


def _allowed(wants: set[Want]) -> Want:
    """Return the one want whose type satisfies all."""
    if len(wants) == 1:
        return next(iter(wants))
    if wants <= _NUMERIC:
        return Want.TIME if Want.TIME in wants else Want.WHOLE
    return Want.SCALAR
