"""The seam for payload formats: a format's name → what makes a parser for a payload's type.

JSON stands here alone; CBOR, SenML, binary layouts and envelopes are one module each, that turn
their bytes into the same Structs. A format may have a fast way beside it, for what is usual.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.decode.formats.json_columns import compile_columns
from gateway.decode.formats.json_payload import compile_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from gateway.decode.formats.parsing import ColumnParser, Parser
    from gateway.decode.shape import Shape

FORMATS: Mapping[str, Callable[[Any, int], Parser]] = {"json": compile_json}
"""A format's name → `compile(type, max_depth)`; `type` is what `decode.shape` made."""

COLUMNS: Mapping[str, Callable[[Shape, int, int], ColumnParser | None]] = {"json": compile_columns}
"""A format's name → `compile(shape, max_depth, max_payload)`: the fast way for the usual payloads, if any."""
