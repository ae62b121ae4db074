"""Whether anything of a device is left in a file: looked for byte by byte, whatever its format says."""

from __future__ import annotations

import mmap
import re
from typing import TYPE_CHECKING

from gateway import durable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from gateway.erasure.target import Belonging

    Find = Callable[[mmap.mmap, int, int], int]

_AT_ONCE = 16 << 20
_OVERLAP = 2048
"""Longer than any topic that a gateway remembers."""
_MOST_TOPICS = 1_000
_TELLING = re.compile(r"(?=.*\d).{5,}")
"""An identifier that is hardly anything else by chance."""


class Search:
    """What to look for: names of a device, and some of the payloads that were erased.

    The names are its identifier wherever it stands, where that is telling and part of no other known name;
    else its topics and, where no other site has one of that name, its tag as line protocol writes it and its
    identifier in quotes. `names`: all that is known of devices; `texts`: what else stands in the files.

    What is stored compressed (in the embedded store, and what waits for it) can hide from this; it was read
    and written anew.
    """

    def __init__(
        self, belonging: Belonging, names: Iterable[tuple[str, str]], texts: Iterable[str] = ()
    ) -> None:
        self._belonging = belonging
        target = belonging.target
        others = [name for name in names if name != target.key]
        self._alone = not any(target.device == device for _, device in others)
        self.is_plain = bool(_TELLING.fullmatch(target.device)) and not any(
            target.device in known for known in (*texts, *(name for pair in others for name in pair))
        )

    def in_file(self, path: Path, *, read: Callable[[int], None]) -> str:
        """Say what is left in a file; empty where nothing is. Raises OSError, sqlite3.Error."""
        try:
            size = path.stat().st_size
            if not size:
                return ""
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                at = _found(content, size, self._names(), read)
                if at is not None:
                    return f"{path} still holds a name of the device, at byte {at}"
                counts = {p: _count(content, p) for p in self._belonging.payloads}
        except FileNotFoundError:  # trimmed meanwhile
            return ""
        # Another device may have said the same: that stays, in records of its own.
        left = {payload: count for payload, count in counts.items() if count}
        if left and any(count > alive for count, alive in _alive(path, left)):
            return f"{path} still holds something that the device said"
        return ""

    def _names(self) -> Find:
        """Return what finds a name between two places; -1 where there is none."""
        device = self._belonging.target.device
        if self.is_plain:
            name = device.encode()
            return lambda content, start, end: content.find(name, start, end)
        tag = re.escape(b",device=" + re.sub(r"([,= ])", r"\\\1", device).encode()) + rb"(?=[, ])"
        quoted = [tag, re.escape(b'"' + device.encode() + b'"')] if self._alone else []
        # A topic that begins another one, of another device, is told apart by what stands behind it.
        topics = sorted(self._belonging.topics, key=len, reverse=True)[:_MOST_TOPICS]
        wanted = re.compile(b"|".join([*quoted, *map(re.escape, topics)]) or b"(?!)")

        def found(content: mmap.mmap, start: int, end: int) -> int:
            hit = wanted.search(content, start, end)
            return -1 if hit is None else hit.start()

        return found


def _found(content: mmap.mmap, size: int, find: Find, read: Callable[[int], None]) -> int | None:
    """Return where something wanted stands; None where nothing does."""
    for start in range(0, size, _AT_ONCE):
        at = find(content, start, min(size, start + _AT_ONCE + _OVERLAP))
        if at >= 0:
            return at
        read(min(_AT_ONCE, size - start))
    return None


def _count(content: mmap.mmap, wanted: bytes) -> int:
    count, at = 0, content.find(wanted)
    while at >= 0:
        count, at = count + 1, content.find(wanted, at + len(wanted))
    return count


def _alive(path: Path, counts: dict[bytes, int]) -> Iterable[tuple[int, int]]:
    """Yield for each text how often it stands in a file, and how often in rows of it that are there."""
    alive = dict.fromkeys(counts, 0)
    for cell in durable.cells(path):
        for text in alive:
            alive[text] += cell.count(text)
    return [(count, alive[text]) for text, count in counts.items()]
