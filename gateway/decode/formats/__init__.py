"""The seam for payload formats: a format's name → what makes a parser of a profile's payloads.

A format is one module, that turns bytes into the Structs of the profile's shape. It may have a fast way
beside it, for what is usual, that gives columns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.decode.formats.binary import compile_binary
from gateway.decode.formats.binary_columns import compile_binary_columns
from gateway.decode.formats.cbor import compile_cbor
from gateway.decode.formats.csv_lines import compile_csv
from gateway.decode.formats.json_columns import compile_columns
from gateway.decode.formats.json_payload import compile_json
from gateway.decode.formats.plain_value import compile_value
from gateway.decode.formats.senml import compile_senml

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.decode.formats.parsing import ColumnParser, Parser
    from gateway.decode.shape import Shape
    from gateway.profiles.plan import ProfilePlan

FORMATS: Mapping[str, Callable[[Shape, ProfilePlan], Parser]] = {
    "json": compile_json,
    "binary": compile_binary,
    "decoded": compile_json,
    "cbor": compile_cbor,
    "value": compile_value,
    "senml": compile_senml,
    "csv": compile_csv,
}
"""A format's name → what judges its payloads, one by one."""

COLUMNS: Mapping[str, Callable[[Shape, ProfilePlan], ColumnParser | None]] = {
    "json": compile_columns,
    "binary": compile_binary_columns,
    "decoded": compile_columns,
}
"""A format's name → the fast way for the usual payloads; None for a profile that has none."""
