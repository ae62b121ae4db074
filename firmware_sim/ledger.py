"""The ledger: what was really published, what must be stored of it, and what was true of the city.

JSON Lines, one object a line, told apart by `kind`:

- `message`: `n` (from 0, in order of publishing), `device`, `topic`, `payload` (text, or
  `payload_base64` where it is not UTF-8), `due_ns` and `published_ns` (event time), `fault` (a name
  or null), `expect` (stored, duplicate, flagged, quarantined:<reason>), `readings` (rows that must be
  stored: family, site, device, dimensions, time_ns, fields, failed);
- `acknowledged`: `n`, a list: the broker answered PUBACK for these messages;
- `resent`: `n`, a list: sent again after a lost connection, may have arrived twice;
- `happening`: `what`, `site`, `device`, `start_ns`, `end_ns`, `detail`: a collection, missed
  collection, leak, rollover, meter swap, incident, reboot;
- `end`: `messages`, `acknowledged`: the run ended as asked.

A message's line is given to the operating system before the message is given to the network: what a
broker has is in the ledger, even if the simulator is killed.
"""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from firmware_sim.model import Happening, Message, Reading

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import BinaryIO

Key = tuple[str, str, str, tuple[tuple[str, str], ...], int]
"""Identity of a row: family, site, device, dimensions (sorted), time in ns."""


class Ledger:
    """Appends to a ledger; numbering goes on where the file ends. Blocks on the disk only in `sync`."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.following = _mend(path)
        self._file: BinaryIO = path.open("ab", buffering=1 << 20)

    def message(self, message: Message, published_ns: int) -> int:
        """Write down a message that is about to be published; return its number."""
        n = self.following
        self.following += 1
        try:
            payload = {"payload": message.payload.decode()}
        except UnicodeDecodeError:
            payload = {"payload_base64": base64.b64encode(message.payload).decode()}
        self._line(
            {
                "kind": "message",
                "n": n,
                "device": message.device,
                "topic": message.topic,
                **payload,
                "due_ns": message.due_ns,
                "published_ns": published_ns,
                "fault": message.fault,
                "expect": message.expect,
                "readings": message.readings,
            }
        )
        return n

    def happening(self, happening: Happening) -> None:
        """Write down something true about the city."""
        self._line(
            {
                "kind": "happening",
                "what": happening.what,
                "site": happening.site,
                "device": happening.device,
                "start_ns": happening.start_ns,
                "end_ns": happening.end_ns,
                "detail": happening.detail,
            }
        )

    def acknowledged(self, numbers: Sequence[int]) -> None:
        """Write down that the broker has taken these messages."""
        self._line({"kind": "acknowledged", "n": numbers})

    def resent(self, numbers: Sequence[int]) -> None:
        """Write down that these messages were sent once more."""
        self._line({"kind": "resent", "n": numbers})

    def end(self, *, messages: int, acknowledged: int) -> None:
        """Write down that the run ended as asked."""
        self._line({"kind": "end", "messages": messages, "acknowledged": acknowledged})

    def flush(self) -> None:
        """Give everything to the operating system: it survives the end of this process."""
        self._file.flush()

    def sync(self) -> None:
        """Give everything to the disk: it survives a power cut. Blocks."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Sync and close."""
        self.sync()
        self._file.close()

    def _line(self, line: Mapping[str, Any]) -> None:
        self._file.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))


@dataclass(frozen=True, slots=True)
class Entry:
    """A message as the ledger tells it."""

    n: int
    device: str
    topic: str
    payload: bytes
    due_ns: int
    published_ns: int
    fault: str | None
    expect: str
    readings: tuple[Reading, ...]


@dataclass(slots=True)
class Contents:
    """A whole ledger, read."""

    entries: list[Entry] = field(default_factory=list)
    acknowledged: set[int] = field(default_factory=set)
    resent: set[int] = field(default_factory=set)
    happenings: list[Happening] = field(default_factory=list)
    ended: bool = False

    def rows(self) -> dict[Key, dict[str, float | int | str]]:
        """Return every row that must be stored, by identity; of what was told twice, the first stands."""
        rows: dict[Key, dict[str, float | int | str]] = {}
        for entry in self.entries:
            for reading in entry.readings:
                known = rows.setdefault(key(reading), {})
                known.update({name: value for name, value in reading.fields.items() if name not in known})
        return rows

    def expectations(self) -> dict[str, int]:
        """Return how many messages are expected to end how."""
        counts: dict[str, int] = {}
        for entry in self.entries:
            counts[entry.expect] = counts.get(entry.expect, 0) + 1
        return counts


def key(reading: Reading) -> Key:
    """Return the identity of a row."""
    dimensions = tuple(sorted(reading.dimensions.items()))
    return (reading.family, reading.site, reading.device, dimensions, reading.time_ns)


def read(path: Path) -> Contents:
    """Read a ledger; a last line cut short by a kill is left out.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no ledger.
    """
    contents = Contents()
    for line in lines(path):
        match line["kind"]:
            case "message":
                contents.entries.append(_entry(line))
            case "acknowledged":
                contents.acknowledged.update(line["n"])
            case "resent":
                contents.resent.update(line["n"])
            case "happening":
                contents.happenings.append(_happening(line))
            case "end":
                contents.ended = True
            case other:
                raise ValueError(f"{path}: a line of unknown kind {other!r}")
    return contents


def lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield a ledger's lines; for ledgers too big to hold."""
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield orjson.loads(line)


def _entry(line: Mapping[str, Any]) -> Entry:
    text = line.get("payload")
    return Entry(
        n=line["n"],
        device=line["device"],
        topic=line["topic"],
        payload=base64.b64decode(line["payload_base64"]) if text is None else text.encode(),
        due_ns=line["due_ns"],
        published_ns=line["published_ns"],
        fault=line["fault"],
        expect=line["expect"],
        readings=tuple(Reading(**{**row, "failed": tuple(row["failed"])}) for row in line["readings"]),
    )


def _happening(line: Mapping[str, Any]) -> Happening:
    names = ("what", "site", "device", "start_ns", "end_ns", "detail")
    return Happening(due_ns=line["start_ns"], **{name: line[name] for name in names})


def _mend(path: Path) -> int:
    """Cut off a last line that a kill left unfinished; return the number of the next message."""
    if not path.exists():
        return 0
    following, whole = 0, 0
    with path.open("rb+") as file:
        for line in file:
            if not line.endswith(b"\n"):
                break
            whole += len(line)
            if line.startswith(b'{"kind":"message"'):
                following = orjson.loads(line)["n"] + 1
        file.truncate(whole)
    return following
