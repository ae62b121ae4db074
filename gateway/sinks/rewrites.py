"""Points that a reprocessing writes or removes, as one record of the journal. Pure.

The body is that of `columns`, with one thing more in its metadata: `to`, which sinks it is for. A removal is
the points as they were, with one field more (see `removal`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import pyarrow as pa

from gateway.sinks import columns
from gateway.sinks.removal import MARKS

if TYPE_CHECKING:
    from gateway.model import Points

_OWN = {"time": pa.int64(), "end": pa.int64(), "revision": pa.int32()}


class To(StrEnum):
    """Which sinks a rewriting is for."""

    EVERY = "every"
    OVERWRITING = "overwriting"
    """Those in which a point that is written again takes the place of the one that was."""
    ONCE = "once"
    """The others."""


@dataclass(frozen=True, slots=True)
class Rewrite:
    """Points on their way to some sinks."""

    points: Points
    to: To

    def reaches(self, *, once: bool) -> bool:
        """Tell whether it is for sinks that cannot overwrite (`once`), or for those that can."""
        return self.to is To.EVERY or (self.to is To.ONCE) is once


def encode(content: pa.Table, to: To) -> bytes:
    """Return the body of a table as `columns` has it."""
    return columns.write(content.replace_schema_metadata({**content.schema.metadata, "to": to.value}))


def decode(body: bytes) -> Rewrite:
    """Return what `encode` was given. Raises ValueError, saying why, where the body is none of those."""
    try:
        content = columns.read(body)
        content.validate(full=True)
        _require_whole(content)
        return Rewrite(columns.from_table(content), To(content.schema.metadata[b"to"].decode()))
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"not the points of a reprocessing: {error}") from error


def _require_whole(content: pa.Table) -> None:
    """Raise ValueError or KeyError where a column is none that `columns` makes."""
    metadata = content.schema.metadata or {}
    if not metadata.get(b"measurement") or any(field.metadata is None for field in content.schema):
        raise ValueError("no measurement, or a column without a role")
    own = dict(columns.roles(content, columns.OWN))
    for name, values in own.items():
        if values.type != _OWN[name] or values.null_count:
            raise ValueError(f"{name} is {values.type}, or is missing in some points")
    if "time" not in own:
        raise ValueError("no times")
    if any(values.type != pa.string() for _, values in columns.roles(content, columns.TAG)):
        raise ValueError("a tag is no text")
    fields = columns.roles(content, columns.FIELD)
    if not fields or any(values.type not in columns.FIELD_TYPES for _, values in fields):
        raise ValueError("no field, or one of an unknown type")
    for name, values in fields:
        if name in MARKS and (values.type != pa.int64() or values.null_count):
            raise ValueError(f"{name} is {values.type}, or is missing in some points")
    if len(own) + len(columns.roles(content, columns.TAG)) + len(fields) != content.num_columns:
        raise ValueError("a column has an unknown role")
