"""How a long piece of work goes, on a terminal: a bar in bytes. Where there is no terminal: nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from gateway.cli.terminal import console

if TYPE_CHECKING:
    from types import TracebackType


class Bar:
    """A bar on standard error, for as long as the block lasts; see `backup.files.Progress`."""

    def __init__(self, title: str) -> None:
        screen = console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=screen,
            transient=True,
            disable=not screen.is_terminal,
        )
        self._task: TaskID = self._progress.add_task(title, total=None)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def expect(self, total: int) -> None:
        """So many bytes in all."""
        self._progress.update(self._task, total=total, completed=0)

    def done(self, what: str, more: int) -> None:
        """So many more of them, of this file."""
        self._progress.update(self._task, advance=more, description=what)
