"""How numbers and times are written for people, in French and in English. Times are UTC."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime

NARROW_SPACE = "\u202f"
"""Between groups of digits and before a per cent sign in French; it never breaks a line."""
NO_BREAK = "\u00a0"
_UNITS = (
    (86_400, {"en": "d", "fr": "j"}),
    (3_600, {"en": "h", "fr": "h"}),
    (60, {"en": "min", "fr": "min"}),
)


@dataclass(frozen=True, slots=True)
class Writing:
    """One language's way, on a page made at `now_ns`."""

    lang: str
    now_ns: int
    never: str

    def number(self, value: float) -> str:
        """Write a number: whole ones and those from 100 on without decimals, others with two."""
        whole = not math.isfinite(value) or abs(value) >= 100 or value == int(value)
        return self._localised(f"{value:,.0f}" if whole else f"{value:,.2f}")

    def cell(self, value: object) -> str:
        """Write what stands in a table of values: four digits of a number, a dash for nothing."""
        if value is None:
            return "–"
        if isinstance(value, float) and math.isfinite(value):
            digits = max(0, 3 - math.floor(math.log10(abs(value)))) if value else 0
            return self._localised(
                f"{value:,.{min(digits, 6)}f}".rstrip("0").rstrip(".") if digits else f"{value:,.0f}"
            )
        return self._localised(f"{value:,}") if isinstance(value, int) else str(value)

    def share(self, value: float | None) -> str:
        """Write a share of 1 as per cent, a dash for nothing."""
        if value is None:
            return "–"
        return f"{value * 100:.0f}{NARROW_SPACE if self.lang == 'fr' else ''}%"

    def span(self, seconds: float) -> str:
        """Write a duration in the unit that suits it: seconds, minutes from 2 on, hours, days."""
        for length, unit in _UNITS:
            if seconds >= 2 * length:
                return f"{self._localised(f'{seconds / length:,.1f}')}{NO_BREAK}{unit[self.lang]}"
        return f"{self.number(seconds)}{NO_BREAK}s"

    def moment(self, at_ns: int) -> str:
        """Write a time as 10:15:00, with the day before it where that is another one than the page's."""
        if not at_ns:
            return self.never
        at, now = (datetime.fromtimestamp(ns // 10**9, UTC) for ns in (at_ns, self.now_ns))
        clock = at.strftime("%H:%M:%S")
        return clock if at.date() == now.date() else f"{at.date().isoformat()} {clock}"

    def _localised(self, text: str) -> str:
        """Turn `1,234.5` into the language's way."""
        if self.lang != "fr":
            return text
        return text.translate(str.maketrans(",.", f"{NARROW_SPACE},"))
