"""Erasing from the journal, segment by segment, learning from it which topics were whose."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING

from gateway.erasure import records
from gateway.errors import ConfigurationError
from gateway.ingest.wire import ProtocolError
from gateway.journal import rewriting
from gateway.model import Control, ControlKind, Record
from gateway.profiles.compile import compile_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gateway.backup.files import Progress
    from gateway.erasure.run import Report, Scope
    from gateway.erasure.search import Search


class Erasing:
    """Rewrites what is to be erased from; `search` looks at each segment afterwards, where there is one."""

    def __init__(self, scope: Scope, report: Report, search: Search | None, progress: Progress) -> None:
        self.done: set[Path] = set()
        """The segments that were gone through."""
        self._scope = scope
        self._report = report
        self._search = search
        self._progress = progress

    def erase(self, paths: Sequence[Path]) -> None:
        """Erase from the segments that are not done yet, oldest first.

        Raises JournalError, sqlite3.Error, OSError.
        """
        new = [path for path in paths if path not in self.done and path.exists()]
        passes = 1 if self._search is None else 2
        self._progress.expect(passes * sum(map(_size, new)))
        for path in new:
            read = partial(self._progress.done, path.name)
            unreadable = rewriting.rewrite(path, self._changed, read=read).unreadable
            left = "" if self._search is None else self._search.in_file(path, read=read)
            if left:
                self._report.problems.append(left)
            if unreadable:
                self._report.notes.append(self._damaged(path, unreadable, left))
            self._report.files += 1
            self.done.add(path)

    def _damaged(self, path: Path, unreadable: int, left: str) -> str:
        said = f"{path}: {unreadable} damaged records could not be looked into"
        sure = self._search is not None and self._search.is_plain and not left
        return f"{said}, and hold no name of the device" if sure else said

    def _changed(self, position: int, record: Record) -> Record | None:
        if isinstance(record, Control) and record.kind is ControlKind.PROFILE:
            self._learn(record)
        try:
            found = self._scope.without(position, record)
        except ProtocolError as error:
            self._report.problems.append(f"journal record {position} could not be looked into: {error}")
            return None
        if found is None:
            return None
        left, uplinks = found
        self._report.uplinks += uplinks
        self._report.named += isinstance(left, Control)
        return left

    def _learn(self, record: Control) -> None:
        """Take a profile's topics; one that this Écluse does not accept any more has none that it knows."""
        name, text = records.profile_in(record)
        with contextlib.suppress(ConfigurationError):
            self._scope.learn(name, compile_text(text, name="a profile").topics)


def _size(path: Path) -> int:
    """Return a file's size; 0 where it was trimmed meanwhile."""
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_size
    return 0
