"""A profile's codec: a vendor's JavaScript, beside the profile's file and within its whole text."""

from __future__ import annotations

from dataclasses import dataclass

MAX_BYTES = 1_048_576


@dataclass(frozen=True, slots=True)
class CodecPlan:
    """What runs a profile's codec. `name` is its file's; `variables` are ChirpStack's, (name, value).

    `normalize`: `normalizeUplink` follows `decodeUplink`, and its data count.
    """

    name: str
    script: str
    normalize: bool = False
    variables: tuple[tuple[str, str], ...] = ()
