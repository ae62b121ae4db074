"""The only reader of time.

Two clocks of the machine are read: the wall clock, which tells the time and can be set, and a steady one,
which counts from the machine's start and cannot. Their difference is the same from moment to moment, but
for steps of the wall clock: NTP slews both alike.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.ports import ClockFace

if TYPE_CHECKING:
    from collections.abc import Callable

STEP_NS = 60 * 10**9
"""The wall clock is followed over smaller steps; a larger one makes it suspect."""
_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Where the system has it, the clock that counts sleep, too: else a laptop that wakes up would seem to have
had its wall clock set, which went on while CLOCK_MONOTONIC stood still."""
_BOOT = Path("/proc/sys/kernel/random/boot_id")


def rfc3339(at_ns: int) -> str:
    """Write a time, to the second: `2026-11-22T10:00:00Z`; `never` for 0."""
    return (
        datetime.fromtimestamp(at_ns // 1_000_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        if at_ns
        else "never"
    )


@dataclass(frozen=True, slots=True)
class Scale:
    """Scaled time: event = event_origin + (wall − wall_origin) · factor; all in ns UTC.

    Written to a file so that gateway and simulator share it, and a restart resumes it.
    """

    wall_origin_ns: int
    event_origin_ns: int
    factor: float

    def event_ns(self, wall_ns: int) -> int:
        """Return the event time of a wall time."""
        return self.event_origin_ns + int((wall_ns - self.wall_origin_ns) * self.factor)

    @classmethod
    def read(cls, path: Path) -> Scale:
        """Read the file that `write` made. Raises OSError, ValueError, TypeError."""
        scale = cls(**json.loads(path.read_text(encoding="utf-8")))
        if not scale.factor > 0:
            raise ValueError(f"factor must be above 0, not {scale.factor}")
        return scale

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")


def steady_ns() -> int:
    """Return real nanoseconds since the machine was started, sleep included."""
    return time.clock_gettime_ns(_STEADY)


def boot_name() -> str:
    """Return what tells this start of the machine from any other; empty where the system does not say."""
    try:
        return _BOOT.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


class SystemClock:
    """The machine's clock, scaled where `scale` is given.

    It follows the wall clock, but over no step of more than `STEP_NS`: then it is suspect, and the time
    that it gives goes on as the steady clock does, until `follow`. `hold` makes it suspect without a step.
    Where the three functions of the machine are given, they are read instead.
    """

    def __init__(
        self,
        scale: Scale | None = None,
        *,
        wall: Callable[[], int] = time.time_ns,
        steady: Callable[[], int] = steady_ns,
        boot: Callable[[], str] = boot_name,
    ) -> None:
        self.scale = scale
        self._wall = wall
        self._steady = steady
        self._boot = boot()
        at_ns = steady()
        self._seen_ns = self._offset_ns = wall() - at_ns
        """Wall time less steady time: as last seen, and as in the time given."""
        self._level_since_ns = at_ns
        self._suspect = False
        self._moves: list[int] = []
        """By how much the time given was set right at the end of each era, ns."""

    @property
    def factor(self) -> float:
        """Event seconds a second: 1 where time is not scaled."""
        return self.scale.factor if self.scale else 1.0

    def now_ns(self) -> int:
        """Event time, ns UTC: by the wall clock, unless that is suspect."""
        return self._event_ns(self._look() + self._offset_ns)

    def monotonic_ns(self) -> int:
        """Nanoseconds that never step."""
        return time.monotonic_ns()

    def since_s(self, event_ns: int) -> float:
        """Real seconds since that event time."""
        return (self.now_ns() - event_ns) / 1e9 / self.factor

    @property
    def suspect(self) -> bool:
        """Whether the wall clock is not followed: the time given goes on as it did before."""
        return self._suspect

    @property
    def era(self) -> int:
        """How often the time given was set right: times of two eras are not to be compared."""
        return len(self._moves)

    def face(self) -> ClockFace:
        """Look at everything at once."""
        at_ns = self._look()
        return ClockFace(
            given_ns=self._event_ns(at_ns + self._offset_ns),
            wall_ns=self._event_ns(at_ns + self._seen_ns),
            steady_ns=at_ns,
            boot=self._boot,
            factor=self.factor,
            level_s=(at_ns - self._level_since_ns) / 1e9,
        )

    def hold(self) -> None:
        """Follow the wall clock no longer."""
        self._suspect = True

    def follow(self, face: ClockFace) -> None:
        """Follow the wall clock again, as it stood then: a new era, with another time.

        What it has done since is judged at the next look.
        """
        self._moves.append(face.wall_ns - face.given_ns)
        self._offset_ns += round((face.wall_ns - face.given_ns) / self.factor)
        self._seen_ns = self._offset_ns
        self._suspect = False

    def moved_ns(self, era: int) -> int:
        """Return how much later a time of that era is by the present one, ns."""
        return sum(self._moves[era:])

    def _look(self) -> int:
        """See how the wall clock stands to the steady one, which is returned."""
        at_ns, offset_ns = self._compare()
        if abs(offset_ns - self._seen_ns) > STEP_NS:
            # Once more: the process may have been stopped between reading the one and the other.
            at_ns, offset_ns = self._compare()
            if abs(offset_ns - self._seen_ns) > STEP_NS:
                self._suspect, self._level_since_ns = True, at_ns
        self._seen_ns = offset_ns
        if not self._suspect:
            self._offset_ns = offset_ns
        return at_ns

    def _compare(self) -> tuple[int, int]:
        at_ns = self._steady()
        return at_ns, self._wall() - at_ns

    def _event_ns(self, wall_ns: int) -> int:
        return self.scale.event_ns(wall_ns) if self.scale else wall_ns


class ManualClock:
    """A clock that tests advance by hand, and step."""

    def __init__(self, now_ns: int = 0, *, boot: str = "first") -> None:
        self._wall_ns = now_ns
        self._monotonic = 0
        self._boot = boot
        self._clock = self._of_a_process()

    def now_ns(self) -> int:
        """The time last set."""
        return self._clock.now_ns()

    def monotonic_ns(self) -> int:
        """The sum of all advances."""
        return self._monotonic

    def since_s(self, event_ns: int) -> float:
        """Seconds since that time."""
        return self._clock.since_s(event_ns)

    @property
    def suspect(self) -> bool:
        """As `SystemClock`."""
        return self._clock.suspect

    @property
    def era(self) -> int:
        """As `SystemClock`."""
        return self._clock.era

    def face(self) -> ClockFace:
        """As `SystemClock`."""
        return self._clock.face()

    def hold(self) -> None:
        """As `SystemClock`."""
        self._clock.hold()

    def follow(self, face: ClockFace) -> None:
        """As `SystemClock`."""
        self._clock.follow(face)

    def moved_ns(self, era: int) -> int:
        """As `SystemClock`."""
        return self._clock.moved_ns(era)

    def advance(self, seconds: float) -> None:
        """Let both clocks go on."""
        step = int(seconds * 1e9)
        self._wall_ns += step
        self._monotonic += step

    def step(self, seconds: float) -> None:
        """Set the wall clock alone."""
        self._wall_ns += int(seconds * 1e9)

    def restart(self, *, boot: str = "") -> None:
        """Become the clock of another process; with `boot`, after another start of the machine."""
        if boot:
            self._boot, self._monotonic = boot, 0
        self._clock = self._of_a_process()

    def _of_a_process(self) -> SystemClock:
        return SystemClock(
            wall=lambda: self._wall_ns, steady=lambda: self._monotonic, boot=lambda: self._boot
        )
