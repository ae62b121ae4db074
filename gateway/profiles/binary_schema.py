"""The keys by which a profile lays out binary payloads, as frozen pydantic parts of the document."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import PlainValidator, WithJsonSchema

from gateway.profiles import notation
from gateway.profiles.layout import Item, Range
from gateway.profiles.values import Formula, Name, Tag

_ONE: dict[str, Any] = {
    "anyOf": [
        {"type": "string", "description": "a field such as temperature:i16/10, or the name of a block"},
        {
            "type": "object",
            "properties": {
                "each": {
                    "anyOf": [
                        {"type": "integer", "minimum": 1},
                        {"const": "rest"},
                        {"type": "object", "minProperties": 1, "maxProperties": 1},
                    ]
                },
                "bits": {"enum": [8, 16, 24, 32, 40, 48, 56, 64]},
                "of": {"anyOf": [{"type": "string"}, {"type": "array", "minItems": 1}]},
            },
            "required": ["of"],
            "additionalProperties": False,
        },
    ]
}
_SOME = {"anyOf": [*_ONE["anyOf"], {"type": "array", "items": _ONE, "minItems": 1}]}

OneItem = Annotated[Item, PlainValidator(notation.item), WithJsonSchema(_ONE)]
SomeItems = Annotated[tuple[Item, ...], PlainValidator(notation.items), WithJsonSchema(_SOME)]

Layout = tuple[OneItem, ...]
"""Items, one behind the other."""
Blocks = dict[Name, SomeItems]
"""Items that have a name, for use in layouts."""
Tags = dict[
    Annotated[
        tuple[bytes, ...],
        PlainValidator(notation.tag),
        WithJsonSchema({"type": "string", "pattern": r"^[0-9a-fA-F]{2,8}(, ?[0-9a-fA-F]{2,8})*$"}),
    ],
    SomeItems,
]
"""Tag, in hexadecimal → what stands behind it."""
Span = Annotated[
    Range,
    PlainValidator(notation.span),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string"}]}),
]
"""A number, or `14..17`."""
Start = Annotated[
    bytes,
    PlainValidator(notation.prefix),
    WithJsonSchema({"type": "string", "pattern": "^([0-9a-fA-F]{2})+$"}),
]
"""Bytes in hexadecimal."""
Set = dict[Tag, Formula]
"""Dimension → a formula over `port`."""
ByteOrder = Literal["big", "little"]
Encoding = Literal["bytes", "hex", "base64"]
