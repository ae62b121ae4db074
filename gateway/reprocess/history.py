"""Which rules held where: had back from the last checkpoint's, by what control records say was before."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gateway.errors import EcluseError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.model import Control
    from gateway.rules import Rules


def rules_at(position: int, *, known: Rules, known_at: int, controls: Sequence[tuple[int, Control]]) -> Rules:
    """Return the rules in force behind the record at `position`.

    `known` are those behind the record at `known_at`; `controls` are all control records behind
    `position`, in order. Raises EcluseError where one does not say what was before it.
    """
    found = replace(known)
    for at, record in reversed(controls):
        if position < at <= known_at:
            try:
                found.revert(record)
            except KeyError as error:
                raise EcluseError(
                    f"what was in force before the control record {at} is not known: another version of "
                    "Écluse wrote it",
                    hint="ask for a later span of time, or wait until the journal is trimmed past it",
                ) from error
    for at, record in controls:
        if known_at < at <= position:
            found.apply(record)
    return found
