"""A folder on a disk, as a power cut may leave it. Pure: acts in, files out.

What a program has done to a file is on the disk for certain once a sync of that file has covered it; a name
made, moved or gone, once a sync of its folder has. Whatever was not covered may be there, or not, or in part:
each act is drawn on its own, in no order, since POSIX promises none. A write is torn at sectors of 512 bytes.
Folders and names are paths as text, below and including `root`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from itertools import pairwise
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Mapping

SECTOR = 512
VOLATILE = "-shm"
"""SQLite's shared memory is made anew from the WAL by the first one that opens the file."""


class Mood(Enum):
    """What a cut does to one file: a disk that wrote all of it, nothing of it, or some."""

    ALL = "all"
    NOTHING = "nothing"
    SOME = "some"


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes put at an offset; `at` is the place in the log, by which a sync says what it covers."""

    at: int
    offset: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Truncate:
    """A file cut, or made longer with zeros."""

    at: int
    size: int


@dataclass(slots=True)
class File:
    """A file's content: what is on the disk for certain, and what was done since."""

    certain: bytearray = field(default_factory=bytearray)
    pending: list[Write | Truncate] = field(default_factory=list)

    def sync(self, covers: int) -> None:
        """Make certain what was done before that place in the log."""
        for act in self.pending:
            if act.at < covers:
                _apply(self.certain, act)
        self.pending = [act for act in self.pending if act.at >= covers]

    def now(self) -> bytes:
        """Return what a program reads while the power is on."""
        content = bytearray(self.certain)
        for act in self.pending:
            _apply(content, act)
        return bytes(content)

    def after_power_cut(self, rng: random.Random) -> bytes:
        """Return what a program may read after a power cut."""
        content = bytearray(self.certain)
        mood = rng.choice(list(Mood))
        for act in self.pending:
            fate = rng.choice(("kept", "torn", "dropped", "dropped")) if mood is Mood.SOME else ""
            if mood is Mood.ALL or fate == "kept":
                _apply(content, act)
            elif isinstance(act, Write) and fate == "torn":
                _tear(content, act, rng)
            elif isinstance(act, Write) and fate == "dropped" and rng.random() < 0.25:
                # The file's new length was written, its content was not: zeros, as XFS and ext4 may leave.
                _lengthen(content, act.offset + len(act.body))
        return bytes(content)


def parent_of(path: str) -> str:
    """Return the folder that a path lies in."""
    return str(PurePosixPath(path).parent)


class Folder:
    """As a name's content: that the name is a folder."""


Node = File | Folder
Names = dict[str, Node]


@dataclass(frozen=True, slots=True)
class Made:
    """A name that was given to a new file or folder."""

    at: int
    path: str
    node: Node

    @property
    def folder(self) -> str:
        """The folder whose sync makes it certain."""
        return parent_of(self.path)

    def apply(self, names: Names) -> None:
        """Do it."""
        names[self.path] = self.node


@dataclass(frozen=True, slots=True)
class Moved:
    """A name that was given up for another one of the same folder."""

    at: int
    path: str
    to: str

    @property
    def folder(self) -> str:
        """The folder whose sync makes it certain."""
        return parent_of(self.path)

    def apply(self, names: Names) -> None:
        """Do it, where there is something to move."""
        node = names.pop(self.path, None)
        if node is not None:
            names[self.to] = node


@dataclass(frozen=True, slots=True)
class Gone:
    """A name that was removed."""

    at: int
    path: str

    @property
    def folder(self) -> str:
        """The folder whose sync makes it certain."""
        return parent_of(self.path)

    def apply(self, names: Names) -> None:
        """Do it."""
        names.pop(self.path, None)


Naming = Made | Moved | Gone


class Disk:
    """Everything below a folder, while a program works on it. `at` is always the place in the log."""

    def __init__(self, root: str, files: Mapping[str, bytes], folders: Iterable[str]) -> None:
        """`files` and `folders`: what is on the disk for certain, by path; the root needs not be there."""
        self._certain: Names = {path: File(bytearray(content)) for path, content in files.items()}
        self._certain |= {path: Folder() for path in folders}
        self._now = dict(self._certain)
        self._pending: list[Naming] = []
        self._root = root

    def get(self, path: str) -> Node | None:
        """Return what bears that name now."""
        return self._now.get(path)

    def create(self, at: int, path: str) -> File:
        """Make a new file, empty."""
        made = File()
        self._name(Made(at, path, made))
        return made

    def make_folder(self, at: int, path: str) -> None:
        """Make a folder. The root is there for certain: what holds it is outside of what is watched."""
        made = Made(at, path, Folder())
        if path == self._root:
            made.apply(self._now)
            made.apply(self._certain)
        else:
            self._name(made)

    def rename(self, at: int, path: str, to: str) -> None:
        """Move a file. Raises ValueError across folders, for whole folders, and where there is none."""
        if parent_of(path) != parent_of(to) or not isinstance(self.get(path), File):
            raise ValueError(f"no file that is renamed within its folder: {path} → {to}")
        self._name(Moved(at, path, to))

    def remove(self, at: int, path: str) -> None:
        """Take a name away."""
        self._name(Gone(at, path))

    def sync_folder(self, path: str, covers: int) -> None:
        """Make the folder's names certain, as they were at that place in the log."""
        rest = []
        for naming in self._pending:
            if naming.folder == path and naming.at < covers:
                naming.apply(self._certain)
            else:
                rest.append(naming)
        self._pending = rest

    def now(self) -> dict[str, bytes]:
        """Return every file with its content, as a program sees it while the power is on."""
        return {path: node.now() for path, node in self._now.items() if isinstance(node, File)}

    def after_power_cut(self, rng: random.Random) -> tuple[dict[str, bytes], list[str]]:
        """Return the files and the folders as a power cut may leave them."""
        names = dict(self._certain)
        for naming in self._kept(rng):
            naming.apply(names)
        folders = sorted(path for path, node in names.items() if isinstance(node, Folder))
        there = {path for path in folders if all(above in folders for above in _above(path, self._root))}
        files = {
            path: node.after_power_cut(rng)
            for path, node in sorted(names.items())
            if isinstance(node, File) and parent_of(path) in there and not path.endswith(VOLATILE)
        }
        return files, sorted(there)

    def _kept(self, rng: random.Random) -> list[Naming]:
        """Draw which names' changes reached the disk: the first ones, as in a file system's log, or any."""
        if rng.random() < 0.5:
            return self._pending[: rng.randint(0, len(self._pending))]
        return [naming for naming in self._pending if rng.random() < 0.5]

    def _name(self, naming: Naming) -> None:
        naming.apply(self._now)
        self._pending.append(naming)


def _above(path: str, root: str) -> list[str]:
    """Return the folders that a folder lies in, up to the root."""
    found = []
    while path != root:
        path = parent_of(path)
        found.append(path)
    return found


def _apply(content: bytearray, act: Write | Truncate) -> None:
    if isinstance(act, Truncate):
        del content[act.size :]
        _lengthen(content, act.size)
        return
    _lengthen(content, act.offset)
    content[act.offset : act.offset + len(act.body)] = act.body


def _lengthen(content: bytearray, size: int) -> None:
    content.extend(bytes(max(0, size - len(content))))


def _tear(content: bytearray, act: Write, rng: random.Random) -> None:
    """Write some of the sectors that a write touches: the first ones, or any."""
    begins, ends = act.offset, act.offset + len(act.body)
    cuts = [begins, *range((begins // SECTOR + 1) * SECTOR, ends, SECTOR), ends]
    pieces = list(pairwise(cuts))
    if rng.random() < 0.5:
        chosen = pieces[: rng.randint(0, len(pieces))]
    else:
        chosen = [piece for piece in pieces if rng.random() < 0.5]
    for first, last in chosen:
        _apply(content, Write(act.at, first, act.body[first - begins : last - begins]))
