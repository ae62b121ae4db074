"""A profile that extends another: what it says itself goes first, the rest is the other's. One level."""

from __future__ import annotations

from typing import Any

from gateway.errors import Problem
from gateway.profiles.document import Fault, Source, compose, validate
from gateway.profiles.schema import Document

KEY = "extends"


def read(text: str, where: str, base: str | None = None) -> tuple[Source, Document | None]:
    """Return a profile's source, and its document where it is valid; else `source.faults` says why not.

    `where` is the name that problems bear, usually the file's; `base` the YAML of what it extends.
    """
    source = compose(text, where)
    if not source.faults and not isinstance(source.data, dict):
        source.faults.append(Problem(where, "a profile is a mapping", "begin with «profile: name»", 1, 1))
    extend(source, base)
    return source, validate(source, Document)


def extend(source: Source, base: str | None) -> None:
    """Put what a source extends under its data; `base` is that profile's YAML. Faults go to the source."""
    if not isinstance(source.data, dict) or KEY not in source.data:
        return
    name = source.data.pop(KEY)
    if not isinstance(name, str) or base is None:
        source.faults.append(source.problem(Fault((KEY,), f"what it extends, «{name!s:.80}», is not there")))
        return
    below = compose(base, name)
    source.faults += below.faults
    if below.faults:
        return
    if not isinstance(below.data, dict):
        source.faults.append(source.problem(Fault((KEY,), f"«{name}» is no profile")))
    elif KEY in below.data:
        what = f"«{name}» extends another profile itself"
        source.faults.append(source.problem(Fault((KEY,), what, "one level is understood")))
    else:
        source.data = _over(below.data, source.data)


def _over(below: Any, above: Any) -> Any:  # noqa: ANN401 - plain data
    """Return mappings joined, key by key; where one is null above, there is none."""
    if not isinstance(below, dict) or not isinstance(above, dict):
        return above
    joined = {**below, **{key: _over(below.get(key), value) for key, value in above.items()}}
    return {key: value for key, value in joined.items() if key not in above or above[key] is not None}
