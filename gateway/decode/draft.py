"""Uplinks of one profile between parsing and columns, while their identity is judged."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import compress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.decode.profile_decoder import ProfileDecoder
    from gateway.decode.records import Records
    from gateway.model import Bool, Int32, Int64, UInt8


@dataclass(slots=True)
class Draft:
    """Parsed uplinks of one profile with their event times.

    `index` int64[n] is the place of each in its batch, `codes` int32[n] its route, `time` int64[n]
    ns UTC, `source` uint8[n] (`TimeSource`).
    """

    decoder: ProfileDecoder
    index: Int64
    codes: Int32
    records: Records
    time: Int64
    source: UInt8
    received_ns: Int64
    keys: list[str] | None = None
    """What an envelope knows each uplink by; None where there is none."""

    facts: Mapping[str, list[Any]] = field(default_factory=dict)
    """By path (`@rssi`), what envelopes tell beside payloads: a value for each uplink."""

    def __len__(self) -> int:
        return len(self.records)

    def select(self, kept: Bool) -> Draft:
        """Return some of the uplinks."""
        if kept.all():
            return self
        return Draft(
            decoder=self.decoder,
            index=self.index[kept],
            codes=self.codes[kept],
            records=self.records.select(kept),
            time=self.time[kept],
            source=self.source[kept],
            received_ns=self.received_ns[kept],
            keys=None if self.keys is None else list(compress(self.keys, kept.tolist())),
            facts={path: list(compress(values, kept.tolist())) for path, values in self.facts.items()},
        )
