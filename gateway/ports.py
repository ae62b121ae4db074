"""The seams of the river: what each adapter must do, and what it may never do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence

    import pyarrow as pa

    from gateway.errors import Problem
    from gateway.model import Changes, Chosen, RawBatch, Record
    from gateway.profiles.codec import CodecPlan
    from gateway.profiles.plan import ProfilePlan


class Clock(Protocol):
    """Time as a value. Event time may be scaled; monotonic time never is."""

    @property
    def era(self) -> int:
        """How often the time given was set right: times of two eras are not to be compared."""
        ...

    def now_ns(self) -> int:
        """Event time: ns UTC."""
        ...

    def monotonic_ns(self) -> int:
        """For time-outs and durations."""
        ...

    def since_s(self, event_ns: int) -> float:
        """Real seconds since that event time: what a latency is, whatever the scale."""
        ...


class Answer(NamedTuple):
    """What a codec made of a payload: its data as JSON, or else in `error` why there is none."""

    data: str
    error: str


class CodecWork(NamedTuple):
    """Payloads for one codec, with what it is told of each; see `Codecs.decode`."""

    codec: CodecPlan
    payloads: Sequence[bytes]
    ports: Sequence[int | None]
    times_ms: Sequence[int]


class Codecs(Protocol):
    """Runs vendors' payload codecs."""

    def prepare(self, work: Sequence[CodecWork]) -> None:
        """Decode what will be asked for next: in a thread of its own, since a codec may take its time."""
        ...

    def decode(
        self,
        codec: CodecPlan,
        payloads: Sequence[bytes],
        ports: Sequence[int | None],
        times_ms: Sequence[int],
    ) -> list[Answer]:
        """Return an answer to each payload, in order; `times_ms` are receive times, ms since 1970 UTC.

        Never raises for what a codec does.
        """
        ...


class Shelved(Protocol):
    """What became of a profile that was to be written."""

    @property
    def version(self) -> int:
        """Its version, where it was written."""
        ...

    @property
    def problems(self) -> Sequence[Problem]:
        """Why it was not."""
        ...


class Profiles(Protocol):
    """The folder of profiles. Blocks; raises OSError where it cannot be written."""

    def texts(self) -> Mapping[str, ProfilePlan]:
        """Return the profiles in force by name."""
        ...

    def put(self, name: str, text: bytes) -> Shelved:
        """Write a profile, new or changed, unless something is wrong with it."""
        ...

    def remove(self, name: str) -> bool:
        """Take a profile out; False where there is none of that name."""
        ...


class Source(Protocol):
    """Where uplinks come from."""

    def batches(self) -> AsyncGenerator[RawBatch, None]:
        """Yield what was read together, bounded by count, bytes and a few milliseconds.

        Reconnects by itself. Raises `BrokerError` where trying again is of no use.
        """
        ...

    async def acknowledge(self, batch: RawBatch) -> None:
        """Answer the broker for a batch that is durable; does nothing if that connection is gone."""
        ...

    def hold(self, *, held: bool) -> None:
        """While held, uplinks are not taken: refuse, and count, those that nobody sends again (QoS 0).

        Those that were read and not yet given out, too.
        """
        ...

    def promised(self, batch: RawBatch) -> RawBatch:
        """Refuse those of a batch that was given out; return the rest, which may be empty."""
        ...

    async def stop_reading(self) -> None:
        """Read no more; `batches` ends after what was read."""
        ...

    async def close(self) -> None:
        """Say good-bye (the session stays with the broker) and close the socket."""
        ...


@dataclass(frozen=True, slots=True)
class ClockFace:
    """What a clock shows at one moment.

    `given_ns` is the event time that it gives, `wall_ns` the event time of the machine's wall clock: the
    same while it follows that one. `steady_ns` is real nanoseconds since the machine was started, `boot`
    the name of that start, `factor` event time by real time. For `level_s` real seconds the wall clock
    has not stepped.
    """

    given_ns: int
    wall_ns: int
    steady_ns: int
    boot: str
    factor: float
    level_s: float


class SteppingClock(Clock, Protocol):
    """A clock that notices when the machine's wall clock steps, and then does not follow it by itself."""

    @property
    def suspect(self) -> bool:
        """Whether the wall clock is not followed: the time given goes on as it did before."""
        ...

    def face(self) -> ClockFace:
        """Look at everything at once."""
        ...

    def hold(self) -> None:
        """Follow the wall clock no longer."""
        ...

    def follow(self, face: ClockFace) -> None:
        """Follow the wall clock again, as it stood then: a new era, with another time."""
        ...

    def moved_ns(self, era: int) -> int:
        """Return how much later a time of that era is by the present one, ns."""
        ...


class Journal(Protocol):
    """The durable log of raw frames and control records."""

    async def append(self, record: Record) -> int:
        """Return the record's position once it is durable. Raises `JournalError` (fatal)."""
        ...

    async def append_many(self, batch: Sequence[Record]) -> list[int]:
        """Return the records' positions, in order and without gaps, once all are durable, together."""
        ...

    @property
    def end(self) -> int:
        """The last position that is durable; 0 in a new journal."""
        ...

    @property
    def newest_ns(self) -> int:
        """The time of the last record, ns UTC; 0 where there is none."""
        ...

    def read(self, after: int) -> AsyncGenerator[tuple[int, Record], None]:
        """Yield the records behind `after`, in order, to the end as it was when reading began.

        What is damaged is left out. To be closed where it is given up (`contextlib.aclosing`).
        """
        ...

    def set_aside(self, after: int, through: int) -> int:
        """Return how many uplinks `read` had to leave out between two places: (after, through]."""
        ...

    async def trim(self, before: int) -> None:
        """Unlink whole segments that hold only records before `before` and are past retention."""
        ...


class Quarantine(Protocol):
    """What people do with what was refused. Each call takes a bounded part of the rows that are chosen.

    An answer holds plain values: `rows` (taken now), `next` (the number to go on after; None at the end),
    and what became of them.
    """

    async def replay(self, chosen: Chosen, *, limit: int, rehearse: bool) -> Mapping[str, Any]:
        """Let uplinks in again, or see what would become of them (`rehearse`). Raises `NotReady`."""
        ...

    async def drop(self, chosen: Chosen, *, limit: int) -> Mapping[str, Any]:
        """Delete rows for good."""
        ...


class StateStore(Protocol):
    """The checkpoint's file, as the aggregator sees it: cells of bytes by (kind, owner, start, part)."""

    def load(self, kind: str, owner: str, start: int) -> list[bytes]:
        """Return the parts of that cell in order of part; an empty list where there is none."""
        ...

    def starts(self, kind: str, owner: str) -> list[int]:
        """Return the starts that have cells of this kind, ascending."""
        ...

    def commit(self, changes: Changes, meta: dict[str, bytes]) -> None:
        """Write everything in one durable transaction. Raises `StateError` (fatal)."""
        ...


class Sink(Protocol):
    """Where encoded points go. One request in flight a sink."""

    name: str
    overwrites: bool
    """Whether writing a point again replaces it; where False, windows are written once."""

    async def write(self, bodies: Sequence[bytes]) -> None:
        """Store the points of some outbox entries, in their order (a later one wins).

        Raises `SinkUnavailable` (the caller retries the same entries) or `PointsRejected` (the points
        named go to quarantine; all others are stored).
        """
        ...

    async def check(self) -> str:
        """Return one line on the server's version and state. Raises `SinkUnavailable`."""
        ...

    async def close(self) -> None:
        """Release the connection."""
        ...


class Stored(Protocol):
    """What the embedded store has under one name."""

    @property
    def name(self) -> str:
        """The measurement."""
        ...

    @property
    def window(self) -> bool:
        """Whether it holds windows; else raw readings of a family."""
        ...

    @property
    def tags(self) -> Sequence[str]:
        """The tags' names."""
        ...


class TimeSeries(Protocol):
    """The embedded store, as page and command ask it. Tables have a `time` column, then tags, fields."""

    async def measurements(self) -> Sequence[Stored]:
        """Return what is stored, by name."""
        ...

    async def latest(self, family: str) -> pa.Table:
        """Return each device's newest values of a family's raw readings. Raises `QueryError`."""
        ...

    async def query(
        self,
        measurement: str,
        *,
        site: str | None = None,
        device: str | None = None,
        fields: Sequence[str] | None = None,
        start_ns: int | None = None,
        end_ns: int | None = None,
        limit: int = 10_000,
    ) -> pa.Table:
        """Return points by time, ascending; of more than `limit`, the newest. Raises `QueryError`."""
        ...


class Meters(Protocol):
    """Told, once a batch, how long things took. Durations in real seconds."""

    def durable(self, seconds: float, uplinks: int) -> None:
        """So long after they were received, these uplinks were durable."""
        ...

    def stored(self, sink: str, seconds: float, points: int) -> None:
        """So long after their uplinks were received, that sink stored these points."""
        ...


class DeviceObserver(Protocol):
    """Told what was heard: the registry's and the status page's view."""

    def heard(self, site_devices: Iterable[tuple[str, str]], at_ns: int) -> None:
        """These devices gave readings since the last call, the last of them at that time."""
        ...

    def unknown(self, site: str, device: str, topic: str, payload: bytes, at_ns: int) -> None:
        """A device that is not in the registry sent this."""
        ...
