"""What can be done over HTTP with what was refused: let it in again, see what would become of it, drop it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import JSONResponse

from gateway.errors import NotReady, QueryError, StateError
from gateway.model import Chosen
from gateway.profiles.durations import instant_ns

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request
    from starlette.responses import Response

    from gateway.ports import Quarantine

MOST = 1_000
"""Rows a request."""
_DIGITS = 18
"""No number of a row is longer; SQLite takes all that are not."""
_KNOWN = frozenset(
    ("reason", "site", "device", "profile", "since", "until", "after", "through", "limit", "rehearse")
)


class QuarantineAnswers:
    """What the routes under /api/quarantine answer."""

    def __init__(self, quarantine: Quarantine) -> None:
        self._quarantine = quarantine

    async def replay(self, request: Request) -> Response:
        """Let the oldest uplinks that are chosen in again; `rehearse=1`: tell what would become of them."""
        try:
            asked = _known(request.query_params, _KNOWN)
            told = await self._quarantine.replay(
                chosen(asked), limit=_limit(asked), rehearse=asked.get("rehearse", "0") == "1"
            )
        except (QueryError, NotReady, StateError) as error:
            return _refusal(error)
        return JSONResponse(told)

    async def drop(self, request: Request) -> Response:
        """Delete the oldest rows that are chosen, for good."""
        try:
            asked = _known(request.query_params, _KNOWN - {"rehearse"})
            told = await self._quarantine.drop(chosen(asked), limit=_limit(asked))
        except (QueryError, StateError) as error:
            return _refusal(error)
        return JSONResponse(told)


def chosen(asked: Mapping[str, str]) -> Chosen:
    """Read which rows are meant. Raises QueryError with a hint."""
    return Chosen(
        reason=asked.get("reason"),
        site=asked.get("site"),
        device=asked.get("device"),
        profile=asked.get("profile"),
        since_ns=_instant(asked, "since"),
        until_ns=_instant(asked, "until"),
        after=_number(asked, "after") or 0,
        through=_number(asked, "through"),
    )


def _known(asked: Mapping[str, str], known: frozenset[str]) -> Mapping[str, str]:
    if unknown := sorted(asked.keys() - known):
        # A misspelt filter must not mean everything.
        raise QueryError(f"unknown: {', '.join(unknown)}", hint=f"there are {', '.join(sorted(known))}")
    return asked


def _limit(asked: Mapping[str, str]) -> int:
    limit = _number(asked, "limit")
    if limit is None:
        return MOST
    if not 0 < limit <= MOST:
        raise QueryError(
            f"limit: a whole number from 1 to {MOST}", hint="ask again with after=, for the rest"
        )
    return limit


def _number(asked: Mapping[str, str], name: str) -> int | None:
    text = asked.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal()) or len(text) > _DIGITS:
        raise QueryError(f"{name}: a whole number, not «{text[:40]}»")
    return int(text)


def _instant(asked: Mapping[str, str], name: str) -> int | None:
    if name not in asked:
        return None
    try:
        return instant_ns(asked[name])
    except ValueError as error:
        raise QueryError(f"{name}: {error}") from error


def _refusal(error: QueryError | NotReady | StateError) -> Response:
    code = 400 if isinstance(error, QueryError) else 503
    return JSONResponse({"error": str(error), "hint": error.hint}, status_code=code)
