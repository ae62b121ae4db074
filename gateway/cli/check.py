"""`ecluse check`: everything that can be wrong before a start, in one report."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from gateway import config
from gateway.cli.failures import Exit, told
from gateway.cli.options import ConfigOption


def check(
    config_file: ConfigOption = None,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON Schema of the settings file, and stop.")
    ] = False,
    offline: Annotated[
        bool, typer.Option("--offline", help="Settings, profiles and devices only: ask no server.")
    ] = False,
) -> None:
    """Check settings, profiles, devices, broker and sinks: every problem in one report.

    Also says for how long the broker's queue bridges a stop of this gateway. Exits 0 where all is
    well, else 1 (3 where the settings themselves cannot be used).
    """
    if schema:
        print(json.dumps(config.json_schema(), indent=2, ensure_ascii=False))  # noqa: T201 - the answer itself
        return
    from gateway.examination import examine  # noqa: PLC0415 - the clients load only where they are used

    with told():
        settings = config.load(config_file)
    report = asyncio.run(examine(settings, offline=offline))
    console = Console(soft_wrap=True)
    for line in report.well:
        console.print(f"[green]✓[/] {escape(line)}")
    for problem in report.problems:
        console.print(f"[red]✗[/] {escape(str(problem))}")
    sys.exit(Exit.PROBLEMS if report.problems else Exit.OK)
