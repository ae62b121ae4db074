"""From what a document says of binary payloads to their plan, and the paths of what it reads from them.

Behind this, a binary payload is an object like any other: each quantity, time and history has a path.
"""

from __future__ import annotations

import difflib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gateway.profiles.document import Fault
from gateway.profiles.envelopes import FACTS
from gateway.profiles.layout import (
    BinaryPlan,
    Item,
    Place,
    Reference,
    Repeat,
    VariantPlan,
    places,
    size_of,
)
from gateway.profiles.schema import Time

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.profiles.schema import Document, History, Samples, Variant

PORT = "port"
MAX_BLOCKS = 8
"""Blocks named within blocks."""


def binary_plan(document: Document, faults: list[Fault]) -> BinaryPlan | None:
    """Return the plan of a document's binary payloads; None where it has none."""
    whole = bool(document.layout or document.tlv)
    if not whole and not document.variants:
        if document.format == "binary":
            faults.append(Fault(("format",), "a binary format needs «layout», «tlv» or «variants»"))
        faults += [
            Fault((key,), f"«{key}» belongs to binary payloads: «layout», «tlv», «variants»")
            for key in ("blocks", "encoding", "endian", "tag_length")
            if key in document.model_fields_set
        ]
        return None
    if "format" in document.model_fields_set and document.format != "binary":
        faults.append(
            Fault(("format",), "«layout», «tlv» and «variants» are of binary payloads", "format: binary")
        )
    if whole and document.variants:
        faults.append(Fault(("variants",), "either «variants», or one «layout» or «tlv» for all payloads"))
    if whole:
        made = [_laid_out(1, document, document, (), faults)]
    else:
        made = [
            _conditional(number, one, document, faults)
            for number, one in enumerate(document.variants, start=1)
        ]
    return BinaryPlan(tuple(made), document.endian == "little", document.encoding)


def _conditional(number: int, one: Variant, document: Document, faults: list[Fault]) -> VariantPlan:
    """Return a variant with the conditions on which it holds."""
    place = ("variants", number - 1)
    for name, formula in one.set.items():
        if alien := formula.names - {PORT}:
            what = f"«{name}» is set from {', '.join(sorted(alien))}; only «port» is known here"
            faults.append(Fault((*place, "set", name), what, "such as port - 14"))
    laid_out = _laid_out(number, one, document, place, faults)
    prefix = one.prefix or b""
    return replace(laid_out, port=one.port, prefix=prefix, length=one.length, set=dict(one.set))


def _laid_out(
    number: int, one: Document | Variant, document: Document, place: tuple[Any, ...], faults: list[Fault]
) -> VariantPlan:
    if bool(one.layout) == bool(one.tlv):
        faults.append(Fault(place, "either «layout» or «tlv» says what a payload holds"))
    elif one.tag_length and not one.tlv:
        faults.append(Fault((*place, "tag_length"), "«tag_length» belongs to «tlv»"))
    items = _resolved(one.layout, document.blocks, (*place, "layout"), faults)
    _check_open(items, (*place, "layout"), faults)
    return VariantPlan(number, items, _tags(one, document, (*place, "tlv"), faults), one.tag_length)


def _tags(
    one: Document | Variant, document: Document, place: tuple[Any, ...], faults: list[Fault]
) -> dict[bytes, tuple[Item, ...]]:
    """Return a table of tags: without a length behind each, what stands there has a known size."""
    tags: dict[bytes, tuple[Item, ...]] = {}
    for keys, items in one.tlv.items():
        for tag in keys:
            if tag in tags:
                faults.append(Fault(place, f"the tag {tag.hex()} stands twice"))
            tags[tag] = _resolved(items, document.blocks, place, faults)
            if not one.tag_length and size_of(tags[tag]) < 0:
                hint = "write its size; or tag_length: true, where a byte behind each tag tells it"
                faults.append(Fault(place, f"what is behind the tag {tag.hex()} has no known size", hint))
    return tags


def _resolved(
    items: Sequence[Item],
    blocks: Mapping[str, Sequence[Item]],
    place: tuple[Any, ...],
    faults: list[Fault],
    depth: int = 0,
) -> tuple[Item, ...]:
    """Return items with blocks in the place of their names."""
    found: list[Item] = []
    for item in items:
        if isinstance(item, Repeat):
            inner = _resolved(item.items, blocks, place, faults, depth)
            found.append(Repeat(inner, item.dimension, item.labels, item.times))
        elif not isinstance(item, Reference):
            found.append(item)
        elif item.name not in blocks or depth == MAX_BLOCKS:
            what = f"«{item.name}» is no field (name:u16) and no block"
            if depth == MAX_BLOCKS:
                what = f"the block «{item.name}» holds itself, or blocks too deep"
            near = difflib.get_close_matches(item.name, blocks, n=1)
            faults.append(
                Fault(place, what, f"did you mean «{near[0]}»?" if near else "declare it under «blocks»")
            )
        else:
            found += _resolved(blocks[item.name], blocks, place, faults, depth + 1)
    return tuple(found)


def _check_open(items: tuple[Item, ...], place: tuple[Any, ...], faults: list[Fault]) -> None:
    """Check that only the last item takes the rest of the payload."""
    if any(size_of((item,)) < 0 for item in items[:-1]):
        faults.append(Fault(place, "only the last item may take the rest of the payload"))


def with_paths(document: Document, plan: BinaryPlan, faults: list[Fault]) -> Document:
    """Return the document with the path of everything that it reads from binary payloads.

    A path names a field; a quantity without one means the field of its own name, its dimensions
    those of the field.
    """
    known: dict[str, Place] = {}
    for variant in plan.variants:
        for one in places(variant):
            if known.setdefault(one.name, one) != one:
                what = f"«{one.name}» has other dimensions in variant {variant.number}, or is a list there"
                faults.append(Fault(("variants", variant.number - 1), what, "give it another name"))
    changed: dict[str, Any] = {"format": "binary"}
    changed["quantities"] = {
        name: quantity if quantity.derived else _quantity(name, quantity, known, faults, document.samples)
        for name, quantity in document.quantities.items()
    }
    if document.time is None and "time" in known:
        changed["time"] = Time(path="time", unit="s")
    histories = [one.history for one in document.variants if one.history]
    if len(histories) + (document.history is not None) > 1:
        faults.append(Fault(("variants",), "a profile has one «history»"))
    if histories:
        changed["history"] = histories[0]
    for where, path in _others(document):
        if path not in known:
            faults.append(_no_field(where, path, known))
        elif known[path].listed is not (where[-1] == "add"):
            what = (
                "is not repeated: «add» is a list"
                if where[-1] == "add"
                else "is repeated, and one value is needed"
            )
            faults.append(Fault(where, f"«{path}» {what}"))
    return document.model_copy(update=changed)


def _quantity(
    name: str,
    quantity: Any,  # noqa: ANN401 - schema.Quantity; a cycle of imports else
    known: Mapping[str, Place],
    faults: list[Fault],
    samples: Samples | None,
) -> Any:  # noqa: ANN401 - the same
    field = quantity.path or name
    if field in FACTS:
        return quantity
    if field not in known:
        where = ("quantities", name, "path") if quantity.path else ("quantities", name)
        faults.append(_no_field(where, field, known))
        return quantity.model_copy(update={"path": field})
    place = known[field]
    if place.listed and samples and samples.list == f"{field}[]":
        return quantity.model_copy(update={"path": samples.list})
    if place.listed:
        faults.append(
            Fault(
                ("quantities", name),
                f"«{field}» is repeated: give «each» a dimension, or use samples",
            )
        )
        return quantity.model_copy(update={"path": field})
    if quantity.by is not None and set(quantity.by) != set(place.dimensions):
        told = ", ".join(place.dimensions)
        faults.append(
            Fault(("quantities", name, "by"), f"«{field}» is laid out by [{told}]", f"by: [{told}]")
        )
    return quantity.model_copy(update={"path": place.path, "by": place.dimensions or None})


def _others(document: Document) -> list[tuple[tuple[Any, ...], str]]:
    """Return (place, field) of what is no quantity."""
    found: list[tuple[tuple[Any, ...], str]] = []
    if document.time:
        found.append((("time", "path"), document.time.path))
    if document.sequence:
        found.append((("sequence",), document.sequence))
    if document.covers and document.covers.path:
        found.append((("covers", "path"), document.covers.path))
    histories: list[tuple[tuple[Any, ...], History | None]] = [(("history",), document.history)]
    histories += [(("variants", at, "history"), one.history) for at, one in enumerate(document.variants)]
    for where, history in histories:
        if history:
            found += [((*where, key), getattr(history, key)) for key in ("start", "at", "add")]
    return found


def _no_field(where: tuple[Any, ...], name: str, known: Mapping[str, Place]) -> Fault:
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean «{near[0]}»?" if near else f"there are {', '.join(sorted(known)) or 'none'}"
    return Fault(where, f"no layout has a field «{name}»", hint)
