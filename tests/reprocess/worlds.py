"""What every kind of sink is given, recorded; and what was applied, put in as the command does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gateway.clock import ManualClock
from gateway.outlets import arrow, line_protocol, pieces
from gateway.reprocess.derivation import taken
from gateway.reprocess.door import JournalDoor
from gateway.reprocess.rewriting import Needs, lots
from gateway.testing import MemoryBroker
from tests.reprocess.past import DAY, Past, at
from tests.reprocess.test_dry_run import hourly
from tests.river import Flowing, opened

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gateway.model import Points
    from gateway.reprocess.dry_run import DryRun
    from gateway.treatment import Product
    from tests.river import Stored

ALL = Needs(once=True, imprecise=True)
WEEK = [*hourly(0, 6 * DAY)[::4]]
"""Two bins speak every two hours, for six days."""
END_OF_WEEK = WEEK[-1].minute + 1.5
"""When a gateway that lived through it starts again: no other window has ended meanwhile."""


class Recorder:
    """Around the log of a river: notes the bodies that each kind of sink would be given, in order."""

    def __init__(self) -> None:
        self.bodies: dict[str, list[bytes]] = {"lines": [], "columns": [], "once": []}
        self._encoders = {
            "lines": line_protocol(strings=True),
            "columns": arrow,
            "once": line_protocol(strings=False),
        }

    def around(self, name: str, part: Any) -> Any:
        """Be put around the log."""
        return _Recorded(part, self) if name == "log" else part

    def note(self, product: Product) -> None:
        """Encode what a product has for each."""
        for kind, encode in self._encoders.items():
            once = kind == "once"
            windows = [_first(points) for points in product.windows] if once else product.windows
            rewritten = [one.points for one in product.rewritten if one.reaches(once=once)]
            for points in [*product.raw, *windows, *rewritten]:
                for piece in pieces(points):
                    body, count = encode(piece)
                    if count:
                        self.bodies[kind].append(body)


class _Recorded:
    def __init__(self, part: Any, recorder: Recorder) -> None:
        self._part = part
        self._recorder = recorder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._part, name)

    async def take(self, product: Product) -> None:
        self._recorder.note(product)
        await self._part.take(product)


def _first(points: Points) -> Points:
    """What a sink that cannot overwrite gets: first writings."""
    return points if points.revision is None else taken(points, np.asarray(points.revision == 0))


def apply(past: Past, dry_run: DryRun, *, most: int | None = None, needs: Needs = ALL) -> int:
    """Put what a dry run tells into the journal of a gateway that is stopped; return how many records.

    `most`: end after so many, as a kill would.
    """
    put = 0
    with (
        dry_run.compared(lambda _: None) as compared,
        JournalDoor(past.folder, segment_bytes=1 << 28, floor=dry_run.checkpoint) as door,
    ):
        for lot in lots(compared.before, compared.after, needs):
            if most is not None and put >= most:
                break
            door.put(lot.body)
            put += 1
    return put


async def reopened(
    folder: Path, *, around: Callable[[str, Any], Any] = lambda _, part: part, minute: float = END_OF_WEEK
) -> Stored:
    """Start the gateway again and let it take what is in its journal; return what its sink has then."""
    clock = ManualClock(at(minute))
    async with opened(folder, clock=clock, around=around) as parts:
        await parts.replay()
        flowing = Flowing(parts, MemoryBroker(), clock)
        clock.advance(1)
        await flowing.flushed()
        await flowing.end()
        return await parts.stored()
