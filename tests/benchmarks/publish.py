"""Puts the last run's figures into the documentation.

    python -m tests.benchmarks.publish [--build build/bench]

Copies `latest.json` and `latest.svg` to docs/performance/, and writes the tables between the markers of
docs/performance.md: the page is a function of the committed figures, which a test holds.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.benchmarks import chart, report
from tests.integration.gateway_process import PROJECT

if TYPE_CHECKING:
    from collections.abc import Mapping

PAGE: Final = PROJECT / "docs" / "performance.md"
FOLDER: Final = PROJECT / "docs" / "performance"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"

_SHOWN: Final = (
    "![CPU a message of Écluse, Mosquitto and the usual Python gateway, and stage by stage]"
    "(performance/headline.svg)\n\n"
    "All rounds as they were measured are in [figures.json](performance/figures.json)."
)


def with_figures(page: str, found: Mapping[str, Any]) -> str:
    """Return the page with the run's tables between its markers. Raises ValueError where it has none."""
    before, begin, rest = page.partition(BEGIN)
    _old, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the page has no {BEGIN} … {END}")
    return f"{before}{BEGIN}\n\n{_SHOWN}\n\nMeasured {found['at']}.\n\n{report.tables(found)}\n{END}{after}"


def publish(build: Path, page: Path, folder: Path) -> None:
    """Copy figures and chart, and write the tables."""
    written = (build / "latest.json").read_text(encoding="utf-8")
    found = json.loads(written)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "figures.json").write_text(written, encoding="utf-8")
    (folder / "headline.svg").write_text(chart.chart(found), encoding="utf-8")
    page.write_text(with_figures(page.read_text(encoding="utf-8"), found), encoding="utf-8")


def main() -> None:
    """Publish what the command line names."""
    parser = argparse.ArgumentParser(description="Put the last figures into the documentation.")
    parser.add_argument("--build", type=Path, default=PROJECT / "build" / "bench")
    publish(parser.parse_args().build, PAGE, FOLDER)


if __name__ == "__main__":
    main()
