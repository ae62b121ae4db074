"""The seam for payload formats: a format's name → what makes a parser for a payload's type.

JSON stands here alone; CBOR, SenML, binary layouts and envelopes are one module each, that turn
their bytes into the same Structs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.decode.formats.json_payload import compile_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.decode.formats.parsing import Parser

FORMATS: Mapping[str, Callable[[Any, int], Parser]] = {"json": compile_json}
"""A format's name → `compile(type, max_depth)`; `type` is what `decode.shape` made."""
