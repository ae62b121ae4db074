"""Taking a device out of the journal, segment by segment, learning from it which topics were whose."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING

from gateway.erasure import records
from gateway.errors import ConfigurationError
from gateway.ingest.wire import ProtocolError
from gateway.journal import rewriting
from gateway.model import Control, ControlKind, Frames
from gateway.profiles.compile import compile_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gateway.backup.files import Progress
    from gateway.erasure.run import Report
    from gateway.erasure.search import Search
    from gateway.erasure.target import Belonging


class Erasing:
    """Rewrites what holds something of the device, and searches each segment afterwards."""

    def __init__(self, belonging: Belonging, report: Report, search: Search, progress: Progress) -> None:
        self.searched: set[Path] = set()
        """The segments that are done."""
        self._belonging = belonging
        self._report = report
        self._search = search
        self._progress = progress

    def erase(self, paths: Sequence[Path]) -> None:
        """Erase from the segments that are not done yet, oldest first. Raises JournalError, sqlite3.Error,
        OSError.
        """
        new = [path for path in paths if path not in self.searched and path.exists()]
        self._progress.expect(2 * sum(path.stat().st_size for path in new))
        for path in new:
            read = partial(self._progress.done, path.name)
            done = rewriting.rewrite(path, self._changed, read=read)
            self._tell(path, done.unreadable, self._search.in_file(path, read=read))
            self._report.files += 1
            self.searched.add(path)

    def _tell(self, path: Path, unreadable: int, left: str) -> None:
        if left:
            self._report.problems.append(left)
        if unreadable:
            self._report.notes.append(
                f"{path}: {unreadable} damaged records could not be looked into"
                + (", and hold no name of the device" if self._search.is_plain and not left else "")
            )

    def _changed(self, position: int, record: Frames | Control) -> Frames | Control | None:
        if isinstance(record, Control):
            if record.kind is ControlKind.PROFILE:
                self._learn(record)
            left = records.without_device(record, self._belonging.target)
            self._report.named += left is not None
            return left
        if not self._belonging.may_be_in(record.frames):
            return None
        try:
            found = records.without_uplinks(record, self._belonging.has)
        except ProtocolError as error:
            self._report.problems.append(f"journal record {position} could not be looked into: {error}")
            return None
        if found is None:
            return None
        self._belonging.erased(found[1])
        self._report.uplinks += len(found[1])
        return found[0]

    def _learn(self, record: Control) -> None:
        """Take a profile's topics; one that this Écluse does not accept any more has none that it knows."""
        with contextlib.suppress(ConfigurationError):
            self._belonging.learn(compile_text(records.profile_text(record), name="a profile").topics)
