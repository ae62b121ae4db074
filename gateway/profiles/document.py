"""From a profile's text to its validated document, with the line and column of everything in it.

YAML 1.2's core schema on top of PyYAML's safe composer: `off`, `no` and `12:30` stay texts, an alias
is refused (nothing is gained by one, and a bomb is made of them), a key that stands twice is an
error, size and depth are bounded. Nothing of the YAML is ever turned into a Python object but texts,
numbers, truths, lists and mappings.
"""

from __future__ import annotations

import difflib
import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from gateway.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic_core import ErrorDetails

Place = tuple[Any, ...]
"""Where something stands in a document: keys and indices, from the root."""

Model = TypeVar("Model", bound=BaseModel)

MAX_BYTES = 65_536
MAX_DEPTH = 20

_INTEGER = re.compile(r"[-+]?\d{1,18}", re.ASCII)
_FLOAT = re.compile(r"[-+]?(?:\.\d+|\d+(?:\.\d*)?)(?:[eE][-+]?\d+)?", re.ASCII)
_CONSTANTS: Mapping[str, bool | None] = {"true": True, "false": False, "null": None, "~": None, "": None}
_MISSING_HINTS: Mapping[str, str] = {
    "profile": "give the profile a name, such as «profile: acme-bin»",
    "version": "begin with «version: 1»",
    "family": "name the measurement, such as «family: waste»",
    "topics": 'such as «topics: ["city/{site}/bin/{device}/up"]»',
    "quantities": "say what is measured, such as «quantities: {battery: {path: bat, unit: V}}»",
}
_SENTENCES: Mapping[str, str] = {
    "too_short": "must not be empty",
    "too_long": "is too long",
    "tuple_type": "must be a list, such as [1, 2]",
    "list_type": "must be a list, such as [1, 2]",
    "dict_type": "must be a mapping, such as {a: 1}",
    "model_type": "must be a mapping, such as {a: 1}",
    "model_attributes_type": "must be a mapping, such as {a: 1}",
    "float_type": "must be a number",
    "int_type": "must be a whole number",
    "string_type": "must be a text; put it in quotes",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
}
_NAME_HINT = "use small letters, digits and _, beginning with a letter"
_PLAIN_TAGS = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("str", "map", "seq"))


@dataclass(frozen=True, slots=True)
class Fault:
    """Something wrong at a place in the document."""

    place: Place
    what: str
    hint: str = ""


@dataclass(slots=True)
class Source:
    """A profile's text with its plain data, and where each key and value stands (line, column from 1)."""

    where: str
    text: str
    data: Any = None
    keys: dict[Place, tuple[int, int]] = field(default_factory=dict)
    values: dict[Place, tuple[int, int]] = field(default_factory=dict)
    faults: list[Problem] = field(default_factory=list)

    def problem(self, fault: Fault, *, at_key: bool = False) -> Problem:
        """Return the fault with the line and column of its place, or of the nearest one around it."""
        for end in range(len(fault.place), -1, -1):
            place = fault.place[:end]
            # Of a place that is not there, the key around it is pointed at, not what the key holds.
            marks = (self.keys, self.values) if at_key or end < len(fault.place) else (self.values, self.keys)
            mark = marks[0].get(place) or marks[1].get(place)
            if mark:
                return Problem(self.where, fault.what, fault.hint, *mark)
        return Problem(self.where, fault.what, fault.hint)


def validate(source: Source, model: type[Model]) -> Model | None:
    """Return a source's data as `model`, or None once every error is in `source.faults`."""
    if source.faults:
        return None
    try:
        return model.model_validate(source.data)
    except ValidationError as error:
        # Items that are wrong by themselves are left out before the rest is counted: no news in that.
        details = [d for d in error.errors() if not (d["type"] == "too_short" and d["input"])]
        source.faults.extend(_explain(source, detail, model) for detail in details)
        source.faults.sort(key=lambda problem: (problem.line, problem.column))
        return None


class _Loader(yaml.SafeLoader):
    """A composer that refuses aliases and deep nesting, and leaves every scalar a text."""

    depth = 0

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.yaml_implicit_resolvers = {}

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Compose one node, bounded."""
        if self.check_event(yaml.AliasEvent):
            raise self._refused("an alias (*name) is not understood here")
        if self.depth >= MAX_DEPTH:
            raise self._refused(f"nested deeper than {MAX_DEPTH}")
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def _refused(self, problem: str) -> yaml.MarkedYAMLError:
        event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call] # PyYAML's stubs leave it bare
        mark = event.start_mark
        return yaml.MarkedYAMLError(
            problem=problem, problem_mark=mark if isinstance(mark, yaml.Mark) else None
        )


def _explain(source: Source, detail: ErrorDetails, model: type[BaseModel]) -> Problem:
    """Turn one of pydantic's errors into a sentence with its place."""
    place = tuple(step for step in detail["loc"] if step != "[key]")
    path = ".".join(map(str, place))
    key = str(place[-1]) if place else ""
    match detail["type"]:
        case "extra_forbidden":
            hint = _did_you_mean(place, model)
            return source.problem(
                Fault(place, f"«{path}» is not a key that is understood", hint), at_key=True
            )
        case "missing" if isinstance(place[-1], int):
            what = "must be [lowest, highest]"
        case "missing":
            return source.problem(Fault(place, f"«{path}» is missing", _MISSING_HINTS.get(key, "")))
        case "value_error":
            what = str(detail["ctx"]["error"]) if "ctx" in detail else detail["msg"]
        case "string_pattern_mismatch":
            return source.problem(
                Fault(
                    place,
                    f"{path}: {detail['input']!r:.60} is not a name that is understood here",
                    _NAME_HINT,
                ),
                at_key="[key]" in detail["loc"],
            )
        case _:
            what = _SENTENCES.get(detail["type"]) or re.sub(r"^\w+ should", "must", detail["msg"])
    return source.problem(Fault(place, f"{path}: {what}"), at_key="[key]" in detail["loc"])


def _did_you_mean(place: Place, model: type[BaseModel]) -> str:
    known = _section_keys(place[:-1], model)
    near = difflib.get_close_matches(str(place[-1]), known, n=1)
    return f"did you mean «{near[0]}»?" if near else f"there are {', '.join(known)}"


def _section_keys(place: Place, model: type[BaseModel]) -> list[str]:
    """Return the keys that the section at a place may have."""
    section: Any = model
    for step in place:
        fields = getattr(section, "model_fields", {})
        found = next((f for name, f in fields.items() if step in (f.alias, name)), None)
        # A step that is no field is a key of a mapping of sections, which was already entered.
        section = _section_in(found.annotation) if found else section
    fields = getattr(section, "model_fields", {})
    return [info.alias or name for name, info in fields.items()]


def _section_in(annotation: Any) -> Any:  # noqa: ANN401 - a type
    """Return the model inside `X | None`, `dict[…, X]`, `Annotated[X, …]`; None where there is none."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_section_in, get_args(annotation))), None)


def compose(text: str, where: str, *, most: int = MAX_BYTES) -> Source:
    """Return the plain data of a YAML text with its places; `faults` says what is wrong with the text.

    `most` is how many bytes it may have.
    """
    source = Source(where=where, text=text)
    if len(text.encode("utf-8", "surrogatepass")) > most:
        source.faults.append(Problem(where, f"the text is longer than {most} bytes"))
        return source
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        source.faults.append(Problem(where, f"not YAML: {error.problem or error.context}", "", line, column))
    except yaml.YAMLError as error:
        source.faults.append(Problem(where, f"not YAML: {' '.join(str(error).split())}"))
    else:
        source.data = None if root is None else _value(root, (), source)
    return source


def _value(node: yaml.Node, place: Place, source: Source) -> Any:  # noqa: ANN401 - plain data
    source.values[place] = (node.start_mark.line + 1, node.start_mark.column + 1)
    if isinstance(node, yaml.MappingNode) and node.tag in _PLAIN_TAGS:
        return _mapping(node, place, source)
    if isinstance(node, yaml.SequenceNode) and node.tag in _PLAIN_TAGS:
        return [_value(child, (*place, index), source) for index, child in enumerate(node.value)]
    if isinstance(node, yaml.ScalarNode):
        return _scalar(node, source)
    _fault(node, f"the tag {node.tag} is not understood here", source)
    return None


def _mapping(node: yaml.MappingNode, place: Place, source: Source) -> dict[Any, Any]:
    data: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            _fault(key_node, "a key must be a text or a number", source)
            continue
        key = _scalar(key_node, source)
        if key in data:
            _fault(key_node, f"«{key_node.value}» stands twice", source)
            continue
        source.keys[*place, key] = (key_node.start_mark.line + 1, key_node.start_mark.column + 1)
        data[key] = _value(value_node, (*place, key), source)
    return data


def _scalar(node: yaml.ScalarNode, source: Source) -> str | int | float | bool | None:
    text: str = node.value
    if node.tag not in _PLAIN_TAGS:
        _fault(node, f"the tag {node.tag} is not understood here", source)
    if node.style is not None:
        return text
    if text.lower() in _CONSTANTS and text in (text.lower(), text.upper(), text.title()):
        return _CONSTANTS[text.lower()]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text) and math.isfinite(float(text)):
        return float(text)
    return text


def _fault(node: yaml.Node, what: str, source: Source) -> None:
    line, column = node.start_mark.line + 1, node.start_mark.column + 1
    source.faults.append(Problem(source.where, what, "", line, column))
