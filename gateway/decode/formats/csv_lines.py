"""CSV lines: one sample a line, its cells named by the profile, or by a first line of headings."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

from gateway.decode.formats.parsing import Parsed, Refused, converting, parse_values
from gateway.decode.formats.plain_value import plain_value
from gateway.model import Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.decode.frames import Frames
    from gateway.decode.shape import Shape
    from gateway.profiles.plan import CsvPlan, ProfilePlan


class CsvParser:
    """Parses lines into one type."""

    def __init__(self, shape: Shape, plan: CsvPlan) -> None:
        self._convert = converting(shape.type)
        self._plan = plan

    def parse(self, frames: Frames) -> Parsed:
        """Return the objects and the failures. Never raises on bad data."""
        return parse_values(frames.payloads, self._samples, self._convert)

    def _samples(self, payload: bytes) -> list[dict[str, Any]]:
        """Return a sample a line. Raises Refused."""
        plan = self._plan
        try:
            lines = payload.decode("utf-8-sig").split("\n")
            rows = [row for row in csv.reader(lines, delimiter=plan.separator, strict=True) if any(row)]
        except UnicodeDecodeError as error:
            raise Refused(Reason.NOT_UTF8, f"byte {error.start} is not UTF-8: {error.reason}") from error
        except csv.Error as error:
            raise Refused(Reason.UNREADABLE, f"no CSV: {error}") from error
        names: Sequence[str] = plan.columns
        if plan.header:
            names, rows = [name.strip() for name in rows[0]] if rows else (), rows[1:]
        if not rows:
            raise Refused(Reason.NO_READING, "the payload has no line of values")
        return [self._sample(names, row, number) for number, row in enumerate(rows, start=1)]

    def _sample(self, names: Sequence[str], row: Sequence[str], number: int) -> dict[str, Any]:
        if len(row) != len(names):
            raise Refused(Reason.UNREADABLE, f"line {number} has {len(row)} cells, not {len(names)}")
        cells = {name: cell.strip() for name, cell in zip(names, row, strict=True) if name}
        return {name: plain_value(cell) if cell else None for name, cell in cells.items()}


def compile_csv(shape: Shape, plan: ProfilePlan) -> CsvParser:
    """Return a parser of CSV lines."""
    assert plan.csv is not None, "a profile of this format has columns"
    return CsvParser(shape, plan.csv)
