"""What a whole run measures beside its rounds: a name, and what returns figures, given an empty folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tests.benchmarks import second_core

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

EXTRAS: Final[tuple[tuple[str, Callable[[Path], dict[str, Any]]], ...]] = (
    ("what the second core pays", second_core.measure),
)
