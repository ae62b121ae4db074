"""What is in a gateway's quarantine."""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import TYPE_CHECKING

from gateway.quarantine.reader import QuarantineReader

if TYPE_CHECKING:
    from pathlib import Path


def quarantined(state: Path) -> Counter[tuple[bytes, bytes, str]]:
    """Return (topic, payload, reason) of every row, as often as it stands there."""
    with contextlib.closing(QuarantineReader.open(state / "quarantine.db")) as reader:
        rows = reader.list(limit=1_000_000)
    assert not any(row.damaged for row in rows)
    return Counter((row.topic, row.payload, row.reason) for row in rows)
