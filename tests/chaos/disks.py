"""Disks that are small, or fail as told; and files that rot."""

from __future__ import annotations

import contextlib
import errno
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tests.processes import binary

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

SHIM = Path(__file__).parent / "disk_faults.c"
FULL, READ_ONLY, BROKEN = errno.ENOSPC, errno.EROFS, errno.EIO
PIECE = 1 << 16


class FaultyDisk:
    """Lets acts of a process on some paths fail, while it is told to: `environment` goes into the process."""

    def __init__(self, workspace: Path) -> None:
        """Compile the shim. Skips by name where there is no C compiler."""
        workspace.mkdir(parents=True, exist_ok=True)
        library, self._control = workspace / "disk_faults.so", workspace / "fault"
        command = [binary("cc", "gcc"), "-O2", "-Wall", "-Werror", "-shared", "-fPIC"]
        subprocess.run([*command, "-o", str(library), str(SHIM)], check=True, timeout=60)
        self.environment = {"LD_PRELOAD": str(library), "ECLUSE_DISK_FAULT": str(self._control)}

    def fail(self, what: Literal["write", "sync"], path: str, error: int) -> None:
        """From now on, such acts fail on every path that holds this text."""
        draft = self._control.with_suffix(".new")
        draft.write_text(f"{error} {what} {path}\n", encoding="utf-8")
        draft.rename(self._control)

    def mend(self) -> None:
        """Nothing fails any more."""
        self._control.unlink(missing_ok=True)


class SmallDisk:
    """A tmpfs of so many bytes. `mount` gives one, or None where mounting is not permitted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    @classmethod
    @contextlib.contextmanager
    def mount(cls, folder: Path, size: int) -> Iterator[SmallDisk | None]:
        """Mount one over an empty folder until the block ends."""
        folder.mkdir(parents=True, exist_ok=True)
        done = _mount("-t", "tmpfs", "-o", f"size={size},mode=0755", "tmpfs", str(folder))
        if done.returncode:
            yield None
            return
        try:
            yield cls(folder)
        finally:
            subprocess.run(["umount", "--lazy", str(folder)], check=True, timeout=30)

    def fill(self) -> None:
        """Leave nothing free."""
        with self._ballast.open("ab", buffering=0) as file:
            for piece in (bytes(PIECE), bytes(4096)):
                with contextlib.suppress(OSError):
                    while file.write(piece) == len(piece):
                        pass

    def free(self) -> None:
        """Give back what `fill` took."""
        self._ballast.unlink(missing_ok=True)

    def read_only(self, *, on: bool) -> None:
        """Remount it; nobody may have a file of it open for writing."""
        done = _mount("-o", f"remount,{'ro' if on else 'rw'}", str(self.folder))
        assert done.returncode == 0, done.stderr


def _mount(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["mount", *arguments], check=False, timeout=30, capture_output=True, text=True)


def flip(path: Path, rng: random.Random, *, where: bytes = b"") -> str:
    """Alter up to 16 bytes of a file, at any place, or in some hundred bytes around `where`; say where."""
    content = bytearray(path.read_bytes())
    begins, ends = 0, len(content)
    if where:
        places = [at for at in range(0, len(content), 512) if where in content[at : at + 512]]
        assert places, f"{path} holds no {where!r}"
        begins = rng.choice(places)
        ends = min(begins + 512, len(content))
    at = rng.randrange(begins, ends)
    for place in range(at, min(at + rng.randint(1, 16), len(content))):
        content[place] ^= rng.randint(1, 255)
    with path.open("r+b") as file:  # in place: whoever follows links to it sees it too
        file.write(content)
    return f"{path.name} at byte {at} of {len(content)}"


def tear(folder: Path) -> int:
    """Leave the beginning of one more transaction at the end of every WAL, as a crash in a write does.

    Returns in how many.
    """
    torn = 0
    for wal in sorted(folder.rglob("*-wal")):
        content = wal.read_bytes()
        if len(content) > 4096:
            with wal.open("ab") as file:
                file.write(content[-4096:-1500])
            torn += 1
    return torn
