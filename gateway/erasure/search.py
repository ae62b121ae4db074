"""Whether anything of a device is left in the files of a state folder: looked for byte by byte."""

from __future__ import annotations

import mmap
import re
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.backup.files import Progress
    from gateway.erasure.target import Belonging

_AT_ONCE = 16 << 20


def left(folder: Path, belonging: Belonging, progress: Progress) -> list[str]:
    """Return a sentence for each file that still holds one of the device's topics, or its tag.

    What is stored compressed (the embedded store, and what waits for it) cannot be found like this; it was
    read and written anew. Raises OSError.
    """
    wanted = _needles(belonging)
    return [
        f"{path} still holds something of the device at byte {at}"
        for path in sorted(folder.rglob("*"))
        if path.is_file() and (at := _found(path, wanted, progress)) is not None
    ]


def _needles(belonging: Belonging) -> re.Pattern[bytes]:
    """Return what to look for: whole topics, and the tag as line protocol writes it."""
    device = re.sub(r"([,= ])", r"\\\1", belonging.target.device).encode()
    tag = re.escape(b",device=" + device) + rb"(?=[, ])"
    # A topic that begins another one, of another device, is told apart by what stands behind it.
    topics = [re.escape(topic) for topic in sorted(belonging.topics, key=len, reverse=True)[:1000]]
    return re.compile(b"|".join([tag, *topics]))


def _found(path: Path, wanted: re.Pattern[bytes], progress: Progress) -> int | None:
    """Return where something wanted stands in a file; None where nothing does."""
    size = path.stat().st_size
    if not size:
        return None
    done = partial(progress.done, path.name)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        overlap = 2048  # longer than any topic that a gateway remembers
        for start in range(0, size, _AT_ONCE):
            hit = wanted.search(content, start, min(size, start + _AT_ONCE + overlap))
            if hit is not None:
                return hit.start()
            done(min(_AT_ONCE, size - start))
    return None
