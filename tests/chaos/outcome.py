"""What a scenario of the campaign showed: how often it hurt the gateway, and what that cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable
    from pathlib import Path

    Scenario = Callable[[Path, random.Random], "Outcome"]
    """Runs in an empty folder; every instant comes from the seeded generator. Raises AssertionError where
    anything but loss or doubling is wrong: books, quarantine, what was said to whom."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How often something was broken, and what became of what was sent.

    `lost`: readings of the ledger (or windows) that are not stored, or not as they must be. `doubled`: those
    stored twice in effect, or stored though nobody sent them. `recoveries_s`: real seconds from each start
    after a fault until the gateway was connected again.
    """

    faults: int
    messages: int
    lost: int
    doubled: int
    recoveries_s: tuple[float, ...] = ()

    def line(self) -> str:
        """Return the line with which a campaign ends."""
        return f"faults={self.faults} messages={self.messages} lost={self.lost} doubled={self.doubled}"


def together(outcomes: Iterable[Outcome]) -> Outcome:
    """Return the sum of what some scenarios showed."""
    found = list(outcomes)
    return Outcome(
        faults=sum(one.faults for one in found),
        messages=sum(one.messages for one in found),
        lost=sum(one.lost for one in found),
        doubled=sum(one.doubled for one in found),
        recoveries_s=tuple(s for one in found for s in one.recoveries_s),
    )
