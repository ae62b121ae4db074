"""Power cuts: what a process does to a folder is recorded, and the folder rebuilt as a cut would leave it.

`recorder.c` is preloaded into the process and writes a log; this reads it. The rest is `disk.py`.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from tests.chaos.disk import VOLATILE, Disk, File, Truncate, Write
from tests.processes import binary

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

SOURCE = Path(__file__).parent / "recorder.c"
_HEAD = struct.Struct("<IiQQ")
"""Kind, descriptor, number, bytes that follow: `struct record`."""
AT_MOST_MISSED = 3
"""Files that differ where a process was killed between an act and its record: a rename's two; and the file of
its address, which is removed from outside before a gateway is started."""


def build(folder: Path) -> Path:
    """Compile the shim; return its path. Skips by name where there is no C compiler."""
    library = folder / "recorder.so"
    if not library.exists():
        command = [binary("cc", "gcc"), "-O2", "-Wall", "-U_FORTIFY_SOURCE", "-shared", "-fPIC", "-pthread"]
        subprocess.run([*command, "-o", str(library), str(SOURCE)], check=True, timeout=60)
    return library


class Recorder:
    """Records one folder, through as many lives of a process as one likes, and cuts its power.

    One process at a time, with `environment` added to its own. What the folder holds when it is given is
    certain. `workspace` lies outside of it.
    """

    def __init__(self, workspace: Path, folder: Path) -> None:
        workspace.mkdir(parents=True, exist_ok=True)
        self.folder = folder.absolute().parent.resolve() / folder.name
        self._library = build(workspace)
        self._log = workspace / "acts.log"
        self.begin()

    @property
    def environment(self) -> dict[str, str]:
        """What makes a process that is started record itself."""
        return {
            "LD_PRELOAD": str(self._library),
            "ECLUSE_RECORD_FOLDER": str(self.folder),
            "ECLUSE_RECORD_LOG": str(self._log),
        }

    def power_cut(self, rng: random.Random) -> None:
        """Leave the folder as a power cut at the moment when the process was killed may have left it.

        Raises AssertionError where the folder is not what was recorded.
        """
        disk = self._replayed()
        missed = self._missed(disk)
        assert len(missed) <= AT_MOST_MISSED, f"not recorded: {missed}"
        files, folders = disk.after_power_cut(rng)
        shutil.rmtree(self.folder, ignore_errors=True)
        for folder in folders:
            Path(folder).mkdir()
        for path, content in files.items():
            Path(path).write_bytes(content)
        self.begin()

    def killed(self) -> None:
        """Cut off the record that a kill left torn, before another process writes behind it.

        What it was to tell is done, and is the one act that may be missed (`AT_MOST_MISSED`).
        """
        with self._log.open("r+b") as log:
            size = log.seek(0, os.SEEK_END)
            while self._whole + _HEAD.size <= size:
                log.seek(self._whole)
                behind = self._whole + _HEAD.size + int(_HEAD.unpack(log.read(_HEAD.size))[3])
                if behind > size:
                    break
                self._whole = behind
            log.truncate(self._whole)

    def missed(self) -> list[str]:
        """Return the files of which not everything was recorded; for a process that has ended by itself."""
        return self._missed(self._replayed())

    def begin(self) -> None:
        """Take what is there now for certain: the process has ended, and somebody else has changed it."""
        found = sorted(str(path) for path in self.folder.rglob("*")) if self.folder.exists() else []
        self._folders = [path for path in found if Path(path).is_dir()]
        self._folders += [str(self.folder)] if self.folder.exists() else []
        self._files = {path: Path(path).read_bytes() for path in found if Path(path).is_file()}
        self._log.write_bytes(b"")
        self._whole = 0
        """Up to here the log is of whole records."""

    def _replayed(self) -> Disk:
        disk = Disk(str(self.folder), self._files, self._folders)
        replay = Replay(disk)
        for at, kind, descriptor, number, body in _records(self._log.read_bytes()):
            replay.act(at, kind, descriptor, number, body)
        return disk

    def _missed(self, disk: Disk) -> list[str]:
        told = {path: content for path, content in disk.now().items() if not path.endswith(VOLATILE)}
        there = {
            str(path): path.read_bytes()
            for path in self.folder.rglob("*")
            if path.is_file() and not path.name.endswith(VOLATILE)
        }
        return sorted(path for path in told.keys() | there.keys() if told.get(path) != there.get(path))


class Replay:
    """Does to a disk what a log says."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._open: dict[int, File | str] = {}
        """By descriptor: a file, or a folder's path."""

    def act(self, at: int, kind: str, descriptor: int, number: int, body: bytes) -> None:
        """Do one act. Raises AssertionError where the log makes no sense, or holds what is not known."""
        disk = self._disk
        match kind:
            case "B":
                self._open.clear()
            case "O":
                self._opened(at, descriptor, flags=number, path=body.decode())
            case "C":
                self._open.pop(descriptor, None)
            case "W":
                self._file(descriptor).pending.append(Write(at, number, body))
            case "T":
                self._file(descriptor).pending.append(Truncate(at, number))
            case "S":
                self._synced(descriptor, covers=number)
            case "R":
                path, to = body[:number].decode(), body[number + 1 :].decode()
                disk.rename(at, path, to)
            case "U":
                disk.remove(at, body.decode())
            case "M":
                disk.make_folder(at, body.decode())
            case _:
                raise AssertionError(f"the process did what the recorder does not know: {body.decode()}")

    def _opened(self, at: int, descriptor: int, *, flags: int, path: str) -> None:
        node = self._disk.get(path)
        if node is None:
            assert flags & os.O_CREAT, f"{path} was opened and never made"
            node = self._disk.create(at, path)
        elif isinstance(node, File) and flags & os.O_TRUNC and node.now():
            node.pending.append(Truncate(at, 0))
        self._open[descriptor] = node if isinstance(node, File) else path

    def _synced(self, descriptor: int, *, covers: int) -> None:
        found = self._open[descriptor]
        if isinstance(found, File):
            found.sync(covers)
        else:
            self._disk.sync_folder(found, covers)

    def _file(self, descriptor: int) -> File:
        found = self._open[descriptor]
        assert isinstance(found, File)
        return found


def _records(log: bytes) -> Iterator[tuple[int, str, int, int, bytes]]:
    """Yield (place, kind, descriptor, number, body); a last record that a kill cut short is none."""
    at = 0
    while at + _HEAD.size <= len(log):
        kind, descriptor, number, size = _HEAD.unpack_from(log, at)
        begins = at + _HEAD.size
        if begins + size > len(log):
            return
        yield at, chr(kind), descriptor, number, log[begins : begins + size]
        at = begins + size
