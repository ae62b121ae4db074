"""Readings that are refused, by their rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.model import Bool, Reason


@dataclass(frozen=True, slots=True)
class Fault:
    """Readings of one quantity that are refused: `rows` is a mask, bool[n].

    `values`, where given, holds each row's raw value, which is told beside the detail.
    """

    rows: Bool
    reason: Reason
    detail: str
    values: Sequence[Any] | None = None

    def sentence(self, row: int) -> str:
        """Return what is wrong with one row; it depends on that row alone."""
        return self.detail if self.values is None else f"{self.detail}: {self.values[row]!r:.40}"
