"""The exceptions of Écluse. Bad data is never one of them: it is a `Rejection`, a value.

    EcluseError                 what went wrong, and `hint`: what the reader can do
    ├── ConfigurationError      settings or profiles refused; carries every problem at once
    ├── BrokerError             the broker refused us for good (credentials, takeover)
    │   └── SessionTakenOver    another gateway uses our client identifier
    ├── JournalError            the journal cannot be written, read or locked: fatal
    ├── StateError              the checkpoint cannot be written or read: fatal
    ├── BackupError             a backup cannot be made, or is not what was written
    ├── QueryError              a question that the embedded store cannot answer
    ├── SinkUnavailable         try again later (after `retry_after_s` where the server said so)
    └── PointsRejected          these points, for this reason: to quarantine; the others are stored

A bug is any other exception: it ends the process with a non-zero code, and the restart replays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class EcluseError(Exception):
    """Something that the reader can act on: a sentence, and a hint where there is one."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in a settings file or a profile. Line and column count from 1; 0 = unknown."""

    where: str
    what: str
    hint: str = ""
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        place = f"{self.where}:{self.line}:{self.column}" if self.line else self.where
        return f"{place}: {self.what}" + (f" ({self.hint})" if self.hint else "")


class ConfigurationError(EcluseError):
    """Settings or profiles refused, with every problem found."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class BrokerError(EcluseError):
    """The broker refused this gateway in a way that trying again at once cannot mend."""


class SessionTakenOver(BrokerError):  # noqa: N818 - named after the MQTT 5 reason code 0x8E
    """Another client connected with this gateway's client identifier; this one stops."""


class JournalError(EcluseError):
    """The journal cannot be written, read or locked. Fatal: nothing can be acknowledged."""


class StateError(EcluseError):
    """The checkpoint cannot be written or read. Fatal: the restart replays."""


class BackupError(EcluseError):
    """A backup cannot be made, or is not what was written; nothing was restored."""


class QueryError(EcluseError):
    """A question that the embedded store cannot answer."""


class SinkUnavailable(EcluseError):  # noqa: N818 - says a state of the sink, not a fault of ours
    """The sink did not take the points and may take them later.

    `retry_after_s` is the server's own wish, or None. `ambiguous` is True where the server may
    have stored them all the same (a time-out after the request was sent).
    """

    def __init__(
        self, message: str, *, hint: str = "", retry_after_s: float | None = None, ambiguous: bool = False
    ) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s
        self.ambiguous = ambiguous


class PointsRejected(EcluseError):  # noqa: N818 - says what happened to the points
    """The sink refused some points for good; all the others of the write are stored.

    `lines` holds the refused points, encoded, each with the sink's reason.
    """

    def __init__(self, message: str, *, lines: Sequence[tuple[bytes, str]]) -> None:
        super().__init__(message)
        self.lines = tuple(lines)
