"""The columns that flow down the river: what crosses from one stage to the next.

Batches of columns, never message objects. Time is int64 nanoseconds UTC; units are UCUM codes; a
missing value is a mask, never infinity or zero. A stage owns the arrays that it makes and never
writes into those that it was given.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from gateway.profiles.plan import GroupPlan, ProfilePlan

    Int64 = NDArray[np.int64]
    Int32 = NDArray[np.int32]
    Float64 = NDArray[np.float64]
    UInt8 = NDArray[np.uint8]
    Bool = NDArray[np.bool_]

NS_PER_S = 1_000_000_000
_QOS_2 = 0x04
ERASED_TOPIC = b"$ecluse/erased"
"""The topic of a frame that stands in the journal in the place of one that was erased.

No filter of ours has it, and brokers keep such topics for themselves: it comes from nowhere else.
"""


class Flag(IntEnum):
    """Quality of one reading (IOOS QARTOD, manual for real-time quality control)."""

    GOOD = 1
    NOT_EVALUATED = 2
    SUSPECT = 3
    FAIL = 4
    MISSING = 9


class TimeSource(IntEnum):
    """Which clock gave a reading its event time."""

    DEVICE = 0
    ENVELOPE = 1
    RECEIPT = 2


class Reason(StrEnum):
    """Why an uplink, a reading or a point was refused. Each value is documented in `docs/rejections.md`."""

    NOT_UTF8 = "not utf-8"
    NOT_JSON = "not json"
    UNREADABLE = "unreadable"
    NO_VARIANT = "no variant"
    CODEC_FAILED = "codec failed"
    TOO_LARGE = "too large"
    TOO_DEEP = "too deep"
    UNKNOWN_TOPIC = "unknown topic"
    UNKNOWN_DEVICE = "unknown device"
    NO_PROFILE = "no profile"
    SIMULATED = "simulated"
    WRONG_PROFILE = "wrong profile"
    MISSING_FIELD = "missing field"
    WRONG_TYPE = "wrong type"
    NOT_FINITE = "not finite"
    NOT_REPRESENTABLE = "not representable"
    UNKNOWN_STATE = "unknown state"
    MISSING_PARAMETER = "missing parameter"
    NO_READING = "no reading"
    TOO_MANY_READINGS = "too many readings"
    TOO_MANY_SERIES = "too many series"
    TIME_MISSING = "time missing"
    IN_THE_FUTURE = "in the future"
    TOO_OLD = "too old"
    CONFLICTING_DUPLICATE = "conflicting duplicate"
    RATE_LIMITED = "rate limited"
    BROKEN_PACKET = "broken packet"
    REFUSED_BY_SINK = "refused by sink"


@dataclass(frozen=True, slots=True)
class Releases:
    """PUBRELs: the broker says of QoS 2 deliveries that they are over, and their identifiers free.

    `packet_ids` is uint16[m], in the order of the stream; `places` is int64[m], ascending: how many uplinks
    of their batch came before each.
    """

    packet_ids: NDArray[np.uint16]
    places: Int64

    def __len__(self) -> int:
        return len(self.packet_ids)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where uplinks stood first that were let in again from quarantine: all in one record, at `position`.

    `places` is int64[n], ascending: their numbers in it; `at_ns` is when they were let in, ns UTC.
    """

    position: int
    places: Int64
    at_ns: int


@dataclass(frozen=True, slots=True)
class RawBatch:
    """Uplinks read together from one connection, in the order in which the broker sent them.

    `frames` holds the PUBLISH frames as received, end to end; the columns are slices of them, one
    entry an uplink. `headers` is uint8[n] (a frame's first byte: DUP 0x08, QoS 0x06, RETAIN 0x01);
    `packet_ids` is uint16[n], 0 at QoS 0. `position` is 0 until the journal has taken the batch.
    `era` is the clock's when they were read (`ports.Clock`): it says what `received_ns` is by.
    At QoS 2 PUBREL frames stand among them in `frames`, and `releases` has what they say; there may
    then be no uplink at all.
    `origin` is of uplinks that come back from quarantine: they have the receive time with which they came.
    """

    source: str
    connection: int
    session: str
    protocol: int
    received_ns: int
    frames: bytes
    topics: list[bytes]
    payloads: list[bytes]
    headers: NDArray[np.uint8]
    packet_ids: NDArray[np.uint16]
    releases: Releases | None = None
    position: int = 0
    era: int = 0
    origin: Origin | None = None

    def __len__(self) -> int:
        return len(self.topics)

    @property
    def at_ns(self) -> int:
        """When the journal took them, or is to, ns UTC."""
        return self.received_ns if self.origin is None else self.origin.at_ns

    def place(self, index: int) -> int:
        """Return the number of an uplink in the record where it first stood."""
        return index if self.origin is None else int(self.origin.places[index])

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing in it, neither uplink nor PUBREL."""
        return not self.topics and self.releases is None

    def record(self) -> Frames:
        """Return the journal's record of them."""
        return Frames(
            source=self.source,
            connection=self.connection,
            session=self.session,
            protocol=self.protocol,
            received_ns=self.received_ns,
            count=len(self),
            frames=self.frames,
        )

    @property
    def has_qos_2(self) -> bool:
        """Whether anything in it belongs to a QoS 2 delivery."""
        return self.releases is not None or bool((self.headers & _QOS_2).any())

    def qos_2_steps(self) -> Iterator[tuple[int, int]]:
        """Yield what belongs to QoS 2 deliveries, in the order of the stream.

        An uplink is (its packet identifier, its place), a PUBREL (its packet identifier, -1).
        """
        uplinks = np.flatnonzero(self.headers & _QOS_2)
        packet_ids = self.packet_ids[uplinks]
        if self.releases is None:
            yield from zip(packet_ids.tolist(), uplinks.tolist(), strict=True)
            return
        count = len(self.releases)
        places = np.concatenate((self.releases.places, uplinks))
        order = np.argsort(places, kind="stable")  # a PUBREL stands before the uplink whose place it has
        packet_ids = np.concatenate((self.releases.packet_ids, packet_ids))[order]
        steps = np.where(order < count, -1, places[order])
        yield from zip(packet_ids.tolist(), steps.tolist(), strict=True)


@dataclass(frozen=True, slots=True)
class Frames:
    """A journal record of uplinks: what one read brought, byte for byte.

    `source` names the broker connection's configuration, `connection` counts its connections since
    the gateway first ran, `session` is the MQTT client identifier, `protocol` the protocol level
    (4 or 5), `count` the number of PUBLISH frames in `frames`; the others there are PUBREL (QoS 2).
    """

    source: str
    connection: int
    session: str
    protocol: int
    received_ns: int
    count: int
    frames: bytes


@dataclass(frozen=True, slots=True)
class Readmitted:
    """A journal record of uplinks that were let in again from quarantine, all of one earlier record.

    `origin` is that record's position, `received_ns` its receive time, `places` the uplinks' numbers in it,
    ascending: where a device told no time, they are the identity of what it said. `frames` holds the uplinks
    as PUBLISH frames of MQTT 5 at QoS 0 (RETAIN as it was), end to end. `at_ns` is when they were let in.
    """

    at_ns: int
    origin: int
    received_ns: int
    places: tuple[int, ...]
    frames: bytes


class ControlKind(StrEnum):
    """What a control record changes from its place in the journal on."""

    PROFILE = "profile"
    PROFILE_REMOVED = "profile removed"
    DEVICES = "devices"
    SETTINGS = "settings"
    CLOCK_SUSPECT = "clock suspect"
    CLOCK_SETTLED = "clock settled"
    SESSION_LOST = "session lost"
    REWRITE = "rewrite"


@dataclass(frozen=True, slots=True)
class Control:
    """A journal record that changes how later records are treated. `body` is JSON, UTF-8, but of REWRITE.

    PROFILE: `{"name", "version", "text"}` (the YAML as written). PROFILE_REMOVED: `{"name"}`.
    DEVICES: `{"upsert": [{"site", "ids", "profile", "place", "parameters"}, …], "remove": [[site, id],
    …]}`: what is removed goes first. SETTINGS: the limits and sites that decoding and windows depend on.
    Each of these has `"before"` too: what it replaces (a text or null, devices, limits).
    CLOCK_SUSPECT, CLOCK_SETTLED: the receive times between them wait for a correction, and get it
    (`gateway.suspicion` has their bodies).
    SESSION_LOST: `{"source", "session", "connection"}`: when that connection began, the broker had nothing of
    the session any more, so what came before it has nothing to do with what comes on it.
    REWRITE: points that a reprocessing writes or removes (`gateway.sinks.rewrites`), no JSON.
    """

    kind: ControlKind
    at_ns: int
    body: bytes


Record = Frames | Control | Readmitted
"""What a journal holds."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """An uplink (or some of its readings) that was refused.

    `index` is its place in its batch; `readings` is how many readings were refused where the rest
    of the uplink was kept, 0 where the whole uplink was refused.
    """

    index: int
    reason: Reason
    detail: str
    readings: int = 0


@dataclass(frozen=True, slots=True)
class Refused:
    """A refused uplink, whole, on its way to quarantine; (position, index) is its place in the journal.

    `index` is its number in the record where it first stood, whichever record `position` is. `site`, `device`
    and `profile` are empty where its topic told none. `retained`: the broker had kept it.
    """

    position: int
    index: int
    received_ns: int
    topic: bytes
    payload: bytes
    reason: Reason
    detail: str
    site: str = ""
    device: str = ""
    profile: str = ""
    retained: bool = False


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which rows of the quarantine are meant: those that match all that is given.

    `since_ns` and `until_ns`: received at the one or later, and before the other, ns UTC. `after` and
    `through` are rows' numbers, the first exclusive: they hold a long piece of work to what was there when
    it began.
    """

    reason: str | None = None
    site: str | None = None
    device: str | None = None
    profile: str | None = None
    since_ns: int | None = None
    until_ns: int | None = None
    after: int = 0
    through: int | None = None


class SeriesTable:
    """Codes for the series of one group of one profile: (site, device, *dimensions) ↔ int32.

    Codes are given in order of first sight, so that a replay from a checkpoint gives the same ones.
    """

    __slots__ = ("codes", "keys")

    def __init__(self, keys: Sequence[tuple[str, ...]] = ()) -> None:
        self.keys: list[tuple[str, ...]] = list(keys)
        self.codes: dict[tuple[str, ...], int] = {key: code for code, key in enumerate(self.keys)}

    def __len__(self) -> int:
        return len(self.keys)

    def code(self, key: tuple[str, ...]) -> int:
        """Return the code of `key`, giving it the next one where it is new."""
        code = self.codes.setdefault(key, len(self.keys))
        if code == len(self.keys):
            self.keys.append(key)
        return code


@dataclass(slots=True)
class Readings:
    """Decoded readings of one group of quantities of one profile: a struct of arrays.

    n rows (one per series and event time), q quantities in the order of `group.quantities`:
    `series` int32[n], codes of `table`; `time` int64[n], event time, ns UTC; `values` float64[q, n]
    in the quantities' units (a state or text reading holds its code, a counter its register;
    undefined where absent); `present` bool[q, n]; `flags` uint8[q, n] (`Flag`; MISSING where absent);
    `uplink` int32[n], the row's uplink in its batch; `time_source` uint8[n] (`TimeSource`);
    `received_ns` int64[n], the receive time of the row's journal record; `texts` holds the codes of
    text quantities (keys are (text,)). Rows are in the order in which they were received.
    """

    profile: ProfilePlan
    group: GroupPlan
    table: SeriesTable
    series: Int32
    time: Int64
    values: Float64
    present: Bool
    flags: UInt8
    uplink: Int32
    time_source: UInt8
    received_ns: Int64
    texts: SeriesTable

    def __len__(self) -> int:
        return len(self.series)

    def take(self, rows: Int64 | Bool) -> Readings:
        """Return the rows chosen by an index or a mask, as new arrays."""
        return Readings(
            profile=self.profile,
            group=self.group,
            table=self.table,
            series=self.series[rows],
            time=self.time[rows],
            values=self.values[:, rows],
            present=self.present[:, rows],
            flags=self.flags[:, rows],
            uplink=self.uplink[rows],
            time_source=self.time_source[rows],
            received_ns=self.received_ns[rows],
            texts=self.texts,
        )

    def count(self) -> int:
        """Return the number of readings: values present, over all rows."""
        return int(np.count_nonzero(self.present))


class FieldType(StrEnum):
    """What a field is stored as; it follows the quantity's kind, never the profile."""

    FLOAT = "float"
    INTEGER = "integer"
    STRING = "string"


@dataclass(frozen=True, slots=True)
class Column:
    """One field of a set of points.

    `values` is float64[n] (FLOAT), int64[n] (INTEGER) or an object array of str (STRING);
    `present` is bool[n], or None where every point has the field. Values are finite.
    """

    type: FieldType
    values: NDArray[np.generic]
    present: Bool | None = None


@dataclass(frozen=True, slots=True)
class Points:
    """Points of one measurement, as columns, on their way to the sinks.

    `series` int32[n] indexes `tags`, the tag sets (each a tuple of (key, value), sorted by key,
    without empty values); `time` int64[n], ns UTC; `fields` maps a field's name to its column.
    `window_end` is None for raw readings, else the windows' ends, int64[n]; `revision` int32[n]
    counts the writings of each window, from 0. `again` bool[n] says which raw points may have been written
    before; None: none of them.
    """

    measurement: str
    tags: Sequence[tuple[tuple[str, str], ...]]
    series: Int32
    time: Int64
    fields: Mapping[str, Column]
    window_end: Int64 | None = None
    revision: Int32 | None = None
    again: Bool | None = None

    def __len__(self) -> int:
        return len(self.time)

    @property
    def rewritten(self) -> Bool | None:
        """Which points may have been written before, bool[n]; None: none of them, surely."""
        again = self.again if self.revision is None else self.revision > 0
        return again if again is not None and again.any() else None


@dataclass(slots=True)
class Windows:
    """Finished or corrected windows of one group and one length, as columns.

    n rows: `series` int32[n], `start` and `end` int64[n] ns UTC, `revision` int32[n] (0 at the first
    writing); `fields` maps a field's name (`filling_level_mean`) to its column.
    """

    profile: ProfilePlan
    group: GroupPlan
    table: SeriesTable
    window: str
    series: Int32
    start: Int64
    end: Int64
    revision: Int32
    fields: dict[str, Column] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.series)


@dataclass(frozen=True, slots=True)
class Device:
    """A device of the registry: what belongs to its installation.

    `parameters` maps a name to its values by valid-from: ((ns UTC, value), …), ascending. `place`
    holds free texts (street, district, latitude, longitude) that a profile can declare as tags.
    """

    site: str
    id: str
    profile: str
    place: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, tuple[tuple[int, float], ...]] = field(default_factory=dict)


@dataclass(slots=True)
class Changes:
    """What a checkpoint must persist since the last one, as cells of bytes.

    A cell's key is (kind, owner, start, part): for instance ("rows", "acme-bin/0", 1763769600…, 3).
    A None body deletes; a delete of part -1 deletes every part of that (kind, owner, start).
    """

    cells: dict[tuple[str, str, int, int], bytes | None] = field(default_factory=dict)
