"""The filters that are wanted of the broker, those that the session holds, and what was granted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.ingest.settings import LOWER_GRANT_HINT
from gateway.ingest.topics import check_filter, cover, widened

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.ingest.link import Link
    from gateway.ingest.session import Granted
    from gateway.ingest.settings import SessionStatus


class Subscriptions:
    """Says in the status what it knows. `known` are the filters that the session holds from earlier."""

    def __init__(self, status: SessionStatus, *, known: Sequence[str]) -> None:
        self.wanted: tuple[tuple[str, int], ...] = ()
        self._status = status
        self._known = set(known)

    def want(self, filters: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
        """Want these (filter, QoS) pairs from now on; return those to subscribe to. Raises ValueError."""
        for name, qos in filters:
            check_filter(name)
            if qos not in (0, 1, 2):
                raise ValueError(f"filter {name!r}: QoS 0, 1 or 2, not {qos}")
        before, self.wanted = set(self.wanted), cover(filters)
        self._status.widened = widened(name for name, _ in filters)
        return [pair for pair in self.wanted if pair not in before]

    def begin_anew(self) -> None:
        """Take note that the session holds nothing."""
        self._known.clear()

    def renew(self, link: Link, ask: Sequence[tuple[str, int]]) -> None:
        """Subscribe first, then give up what is no longer wanted, so that nothing falls between."""
        wanted = tuple(name for name, _ in self.wanted)
        link.session.subscribe(ask)
        link.session.unsubscribe(sorted(self._known.difference(wanted)))
        self._known = set(wanted)
        status = self._status
        status.filters = wanted
        status.grants = tuple(grant for grant in status.grants if grant.filter in wanted)
        link.flush()

    def granted(self, event: Granted) -> str:
        """Take what the broker said; return what is wrong with it, and what to do ("": nothing)."""
        status = self._status
        answered = {grant.filter for grant in event.grants}
        earlier = tuple(grant for grant in status.grants if grant.filter not in answered)
        status.grants = (*earlier, *event.grants)
        return trouble(status)


def trouble(status: SessionStatus) -> str:
    """Say which filters the broker did not grant as asked, and what to do; empty where it did."""
    told = []
    if status.refused_filters:
        told.append(f"the broker did not grant {', '.join(status.refused_filters)}")
    if status.lower_grants:
        lower = ", ".join(
            f"{grant.filter} at QoS {grant.granted} instead of {grant.asked}" for grant in status.lower_grants
        )
        told.append(f"the broker grants {lower}: {LOWER_GRANT_HINT}")
    return "; ".join(told)
