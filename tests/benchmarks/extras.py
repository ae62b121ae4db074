"""What a whole run measures beside its rounds: a name, and what returns figures, given an empty folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tests.benchmarks import days, flood, second_core

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

EXTRAS: Final[tuple[tuple[str, Callable[[Path], dict[str, Any]]], ...]] = (
    ("start with a million devices", days.start_up),
    ("three days of 100,000 bins", lambda folder: days.measure(folder, devices=100_000, days=3)),
    ("flood", flood.measure),
    ("what the second core pays", second_core.measure),
)
