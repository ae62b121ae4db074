"""The journal's files: what is appended, read and trimmed. Synchronous; one thread at a time.

One SQLite file a segment, named by the first position that it may hold. Positions rise by one; a
position that is skipped or cannot be read is damage, and is said: a segment spans all positions up
to the next segment's first.

Delivery guarantees: `append` returns once the transaction is synced. What was appended is read back
byte for byte, or is reported as damage; it is never served altered (CRC-32 over position and
content). Damage to the last transaction before a crash cannot be told from a torn write: whoever
knows a higher position (the checkpoint) passes it as `floor`, so that no position is given twice.

Versions: 2 may hold records about a suspect clock (`gateway.suspicion`), records of lost sessions, and
PUBREL frames among those of a record; else it is as 1, and files of 1 are read as ever. Opening a journal
marks its files as 2: an Écluse that knows 1 alone then refuses them, rather than to take those records for
damage and the receive times beside them for right. To go back to it, begin with a state folder of before,
or with an empty one.
"""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway import damage, durable
from gateway.errors import JournalError
from gateway.journal import records
from gateway.journal.salvage import Chunk, Damage, read_chunk, sound
from gateway.journal.wal import lost_commits

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from gateway.model import Control, Frames

FORMAT = durable.Format(
    application_id=0x45434A4C,  # "ECJL"
    version=2,
    steps={1: ()},
    # Measured with records of 147 kB: 0.55 µs a message at 16 kB, 0.74 at 4 kB, 0.52 at 64 kB; a small
    # record costs at least a page.
    page_bytes=16384,
    schema="CREATE TABLE records (position INTEGER PRIMARY KEY, at_ns INTEGER NOT NULL,"
    " count INTEGER NOT NULL, blob BLOB NOT NULL)",
)
PREFIX, SUFFIX = "journal-", ".db"
SMALLEST_ROW_BYTES = 32
"""No row is smaller: bounds how many positions an unreadable file can have held."""


@dataclass(slots=True)
class Segment:
    """One file. `last` is the last position that it holds, `first` - 1 where it holds none.

    `oldest_ns` and `newest_ns` are the times of its first and last record, None where unknown.
    `broken` says why nothing of it can be read; empty where it can. `end_damaged`: its last records are.
    """

    path: Path
    first: int
    last: int
    bytes: int
    oldest_ns: int | None = None
    newest_ns: int | None = None
    broken: str = ""
    end_damaged: bool = False


@dataclass(slots=True)
class Segments:
    """All files of a folder. Made by `open_segments`."""

    folder: Path
    segment_bytes: int
    files: list[Segment] = field(default_factory=list)
    end: int = 0
    """The last position given."""
    active: sqlite3.Connection | None = None
    """Where to append: the last file's connection; None until the next append makes a new file."""

    def append(self, batch: Sequence[Frames | Control]) -> int:
        """Write records in one synced transaction; return the position of the first.

        Raises sqlite3.Error, OSError: the caller must then append no more.
        """
        first = self.end + 1
        rows = [
            (position, records.time_ns(record), records.uplinks(record), records.encode(position, record))
            for position, record in enumerate(batch, start=first)
        ]
        connection, segment = self._writable()
        with durable.transaction(connection):
            connection.executemany("INSERT INTO records VALUES (?, ?, ?, ?)", rows)
        self.end = segment.last = rows[-1][0]
        segment.bytes += sum(len(row[3]) for row in rows)
        segment.newest_ns = rows[-1][1]
        if segment.oldest_ns is None:
            segment.oldest_ns = rows[0][1]
        return first

    def read(self, after: int, upto: int, max_bytes: int) -> Chunk:
        """Return the next sound records behind `after`, about `max_bytes` of them, and what was damaged.

        Raises sqlite3.Error where the machine, not the file, is at fault.
        """
        index = next((i for i, s in enumerate(self.files) if self._span_end(i) > after), None)
        if index is None or after >= upto:
            return Chunk(through=upto)
        segment = self.files[index]
        after = max(after, segment.first - 1)
        stop = min(upto, self._span_end(index))
        if segment.broken:
            return Chunk(through=stop, damages=[Damage(after + 1, stop, segment.broken)])
        if self.active is not None and index == len(self.files) - 1:
            return read_chunk(self.active, after, stop, max_bytes)
        with contextlib.closing(durable.connect(segment.path)) as connection:
            return read_chunk(connection, after, stop, max_bytes)

    def trim(self, before: int, *, retention_ns: int, retention_bytes: int) -> int:
        """Unlink the oldest whole files that end before `before` and are past either retention.

        A file's age is counted from the newest record: a gateway that hears nothing forgets nothing. One
        of which nothing can be read is set aside instead. Returns how many are gone. Raises OSError.
        """
        total, gone = self.bytes, 0
        newest_ns = self.files[-1].newest_ns if self.files else None
        while len(self.files) > 1 and self._span_end(0) < before:
            ended_ns = self.files[0].newest_ns
            if ended_ns is None:  # unreadable: it had ended when the next one began
                ended_ns = self.files[1].oldest_ns
            aged = None not in (ended_ns, newest_ns) and newest_ns - ended_ns > retention_ns  # type: ignore[operator]
            if total <= retention_bytes and not aged:
                break
            if self.files[0].broken:
                damage.set_aside(self.files[0].path)
            else:
                durable.remove(self.files[0].path)
            total -= self.files.pop(0).bytes
            gone += 1
        if gone:
            durable.sync_folder(self.folder)
        return gone

    def close(self) -> None:
        """Bring the WAL into its file and close it. Raises sqlite3.Error, OSError."""
        if self.active is None:
            return
        connection, self.active = self.active, None
        connection.close()  # the last connection to close checkpoints and removes the WAL
        self.files[-1].bytes = self.files[-1].path.stat().st_size

    @property
    def bytes(self) -> int:
        """Size on disk, but for the WAL of the last file (16 MB at most)."""
        return sum(segment.bytes for segment in self.files)

    def _span_end(self, index: int) -> int:
        return self.files[index + 1].first - 1 if index + 1 < len(self.files) else self.end

    def _writable(self) -> tuple[sqlite3.Connection, Segment]:
        if self.active is not None and self.files[-1].bytes < self.segment_bytes:
            return self.active, self.files[-1]
        self.close()
        first = self.end + 1
        path = self.folder / f"{PREFIX}{first:016d}{SUFFIX}"
        durable.create(path, FORMAT)
        self.active = durable.connect(path)
        self.files.append(Segment(path, first, first - 1, bytes=0))
        return self.active, self.files[-1]


def open_segments(folder: Path, segment_bytes: int, floor: int) -> tuple[Segments, list[Damage]]:
    """Open a folder's files, after a crash too; return them and what is known to be damaged.

    `floor` is the highest position known elsewhere. Raises sqlite3.Error, OSError; JournalError where
    a file was written by another version.
    """
    for unfinished in folder.glob(f"{PREFIX}*{SUFFIX}.new*"):
        unfinished.unlink()
    paths = segment_paths(folder)
    segments = Segments(folder, segment_bytes)
    damages: list[Damage] = []
    segments.files = [_inspect(path) for path in paths[:-1]]
    for segment, following in zip(segments.files, paths[1:], strict=False):
        segment.last = min(segment.last, first_position(following) - 1)
        if segment.broken:
            damages.append(Damage(segment.first, first_position(following) - 1, segment.broken))
    if paths:
        damages += _open_last(segments, paths[-1])
    if floor > segments.end:
        damages.append(Damage(segments.end + 1, floor, "missing: the checkpoint knows of them"))
        segments.end = floor
    return segments, damages


def segment_paths(folder: Path) -> list[Path]:
    """Return the files of a folder by position. Raises JournalError: one is no segment."""
    return sorted(folder.glob(f"{PREFIX}*{SUFFIX}"), key=first_position)


def first_position(path: Path) -> int:
    """Return the first position that a file may hold, by its name. Raises JournalError: no segment."""
    digits = path.name[len(PREFIX) : -len(SUFFIX)]
    if not digits.isdecimal():
        raise JournalError(f"{path}: is no segment", hint="move it out of the journal's folder")
    return int(digits)


def _inspect(path: Path) -> Segment:
    """Look at one file that is full, recovering what a crash may have left in its WAL."""
    segment = Segment(path, first_position(path), first_position(path) - 1, path.stat().st_size)
    with _breaking(segment), contextlib.closing(durable.connect(path)) as connection:
        _describe(connection, segment)
    return segment


def _open_last(segments: Segments, path: Path) -> list[Damage]:
    """Go on with the last file where it is sound, else end it; return what is lost."""
    wal = path.with_name(path.name + "-wal")
    tail = wal.read_bytes() if wal.exists() else b""
    segment = Segment(path, first_position(path), first_position(path) - 1, path.stat().st_size)
    segments.files.append(segment)
    # Every position that the file can have held lies below this one.
    beyond = segment.first + (segment.bytes + len(tail)) // SMALLEST_ROW_BYTES
    why = ""
    with contextlib.ExitStack() as undo, _breaking(segment):
        connection = undo.enter_context(contextlib.closing(durable.connect(path)))
        _describe(connection, segment)
        why = _unfit(connection, tail) or ("checksum does not match" if segment.end_damaged else "")
        if not segment.broken and why in ("", LOST_END):
            segments.active = connection
            undo.pop_all()
    segments.end = segment.last
    if why or segment.broken:
        segments.end = max(beyond, segment.last)
        return [Damage(segment.last + 1, segments.end, segment.broken or why)]
    return []


LOST_END = "missing: commits at the end were lost"


def _unfit(connection: sqlite3.Connection, tail: bytes) -> str:
    """Say what is wrong with the last file; empty where one can go on as if nothing had been."""
    valid_frames = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[1]
    lost = lost_commits(tail, max(valid_frames, 0))
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    found = "; ".join(str(row[0]) for row in connection.execute("PRAGMA quick_check(3)"))
    if found != "ok":
        return found
    return LOST_END if lost else ""


def snapshot_of(path: Path) -> tuple[durable.Snapshot, int] | None:
    """Return a segment as it is now, and its last position, sound or not; None where it is damaged.

    Raises FileNotFoundError where it was trimmed, sqlite3.Error where the machine is at fault.
    """
    try:
        snapshot = durable.Snapshot(path)
        try:
            row = snapshot.connection.execute("SELECT max(position) FROM records").fetchone()
        except BaseException:
            snapshot.close()
            raise
    except sqlite3.Error as failure:
        if not path.exists():
            raise FileNotFoundError(path) from failure
        if not durable.is_damage(failure):
            raise
        return None
    return snapshot, first_position(path) - 1 if row[0] is None else int(row[0])


@contextlib.contextmanager
def _breaking(segment: Segment) -> Iterator[None]:
    """Note damage to the whole file in `segment.broken`; let errors of the machine through."""
    try:
        yield
    except sqlite3.Error as failure:
        if not durable.is_damage(failure):
            raise
        segment.broken = str(failure)


def _describe(connection: sqlite3.Connection, segment: Segment) -> None:
    """Read a file's format, its first and its last record. Raises sqlite3.Error, JournalError."""
    application_id, _ = durable.identity(connection)
    if application_id != FORMAT.application_id:
        segment.broken = "it does not say that it is a segment"
        return
    durable.upgrade(connection, segment.path, FORMAT, JournalError)
    row = connection.execute("SELECT position, blob FROM records ORDER BY position LIMIT 1").fetchone()
    segment.oldest_ns = _time_ns(*row) if row is not None else None
    # Of the last ones, a position is believed only where its record is sound.
    for position, blob in connection.execute(
        "SELECT position, blob FROM records ORDER BY position DESC LIMIT 1000"
    ):
        segment.newest_ns = _time_ns(position, blob)
        if segment.newest_ns is not None:
            segment.last = position
            return
        segment.end_damaged = True


def _time_ns(position: int, blob: object) -> int | None:
    record = sound(position, blob)
    return None if record is None else records.time_ns(record)
