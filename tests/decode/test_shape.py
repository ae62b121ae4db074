"""Types made from paths, and levels opened one by one."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from gateway.decode.levels import Levels
from gateway.decode.records import Objects
from gateway.decode.shape import Shape, Want
from gateway.errors import ConfigurationError
from gateway.profiles.paths import parse_path, repeated


def sealed(**wants: Want) -> Shape:
    """Seal a shape of paths, written with _ for dots and each for []."""
    shape = Shape("test")
    for path, want in wants.items():
        shape.want(path, want)
    shape.seal()
    return shape


def values(paths: dict[str, Want], path: str, *payloads: bytes) -> tuple[list[Any], list[int], list[str]]:
    """Return what stands at a path, with the uplink of each value and the keys of its level."""
    shape = sealed(**paths)
    level = repeated(parse_path(path))
    openings = {}
    inner = level
    while inner:
        openings[inner] = shape.opening(inner)
        inner = openings[inner].parent
    decode = msgspec.json.Decoder(shape.type).decode
    rows = Levels(Objects([decode(payload) for payload in payloads]), openings).rows(level)
    return rows.records.values(shape.leaf(path)), rows.uplink.tolist(), rows.keys


def test_nested_objects() -> None:
    """Absent and null objects on the way give an absent value."""
    found = values(
        {"a.b.c": Want.NUMBER}, "a.b.c", b'{"a":{"b":{"c":1}}}', b"{}", b'{"a":null}', b'{"a":{"b":{}}}'
    )
    assert found == ([1.0, None, None, None], [0, 1, 2, 3], [])


def test_lists() -> None:
    """Each element of a list is a row of its uplink; null elements have absent values."""
    found = values(
        {"l[].a": Want.NUMBER}, "l[].a", b'{"l":[{"a":1},null,{}]}', b"{}", b'{"l":[]}', b'{"l":[{"a":2}]}'
    )
    assert found == ([1.0, None, None, 2.0], [0, 0, 0, 3], [])


def test_lists_of_lists_of_values() -> None:
    """Values stand in lists directly; 0 is a value."""
    found = values({"l[][]": Want.NUMBER}, "l[][]", b'{"l":[[0,1],null,[2]]}', b'{"l":[[null]]}')
    assert found == ([0.0, 1.0, 2.0, None], [0, 0, 0, 1], [])


def test_bound_keys() -> None:
    """Each key of an object is a row and tells its dimension."""
    found = values({"c.{k}": Want.NUMBER}, "c.{k}", b'{"c":{"x":1,"y":0}}', b'{"c":{}}', b'{"c":{"x":null}}')
    assert found == ([1.0, 0.0, None], [0, 0, 2], ["x", "y", "x"])


def test_whole_payload_as_list_or_keys() -> None:
    """A payload may be a list, or an object of free keys."""
    assert values({"[].a": Want.NUMBER}, "[].a", b'[{"a":1},{"a":2}]', b"[]") == ([1.0, 2.0], [0, 0], [])
    assert values({"{k}.a": Want.NUMBER}, "{k}.a", b'{"x":{"a":1}}') == ([1.0], [0], ["x"])


def test_ancestors() -> None:
    """A row knows its row in every level above."""
    shape = sealed(**{"l[].{k}.a": Want.NUMBER})
    inner, outer = repeated(parse_path("l[].{k}.a")), repeated(parse_path("l[].b"))
    openings = {inner: shape.opening(inner), outer: shape.opening(outer)}
    decode = msgspec.json.Decoder(shape.type).decode
    levels = Levels(
        Objects([decode(b'{"l":[{},{"x":{"a":1},"y":{"a":2}}]}'), decode(b'{"l":[{"x":{"a":3}}]}')]), openings
    )
    assert levels.ancestors(inner, outer).tolist() == [1, 1, 2]
    assert levels.ancestors(inner, ()).tolist() == [0, 0, 1]
    assert levels.ancestors(inner, inner) is None


def test_numeric_wishes_share_a_field() -> None:
    """A time that is also a quantity keeps the wider bounds and stays a number."""
    shape = sealed(a=Want.NUMBER)
    assert shape.leaf("a").want is Want.NUMBER
    both = Shape("test")
    for want in (Want.NUMBER, Want.TIME):
        both.want("a", want)
    both.seal()
    assert both.leaf("a").want is Want.TIME
    assert msgspec.json.decode(b'{"a":9007199254740993}', type=both.type).f0 == 2**53 + 1


def test_contrary_wishes_widen_a_field() -> None:
    """A state that is also a number can be any scalar: the readers check."""
    shape = Shape("test")
    for want in (Want.NUMBER, Want.SCALAR):
        shape.want("a", want)
    shape.seal()
    assert shape.leaf("a").want is Want.SCALAR
    assert msgspec.json.decode(b'{"a":"x"}', type=shape.type).f0 == "x"


@pytest.mark.parametrize("paths", [("a", "a.b"), ("a[]", "a.b"), ("a.{k}", "a.b"), ("a[]", "a")])
def test_paths_that_disagree(paths: tuple[str, str]) -> None:
    """One place cannot be a value and an object, or a list and an object."""
    shape = Shape("test")
    for path in paths:
        shape.want(path, Want.NUMBER)
    with pytest.raises(ConfigurationError, match="disagree"):
        shape.seal()


def test_a_path_that_is_none() -> None:
    """A text that is no path is refused."""
    with pytest.raises(ConfigurationError, match="path"):
        Shape("test").want("a..b", Want.NUMBER)
