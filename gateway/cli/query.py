"""`ecluse query`: what the embedded store holds, asked through the running gateway."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Optional

import typer

from gateway import config
from gateway.cli.client import Client
from gateway.cli.failures import told
from gateway.cli.options import ConfigOption
from gateway.cli.terminal import console, table
from gateway.errors import EcluseError


class Format(StrEnum):
    """How the answer is written."""

    TABLE = "table"
    CSV = "csv"
    PARQUET = "parquet"
    JSON = "json"


def query(
    measurement: Annotated[
        Optional[str],  # noqa: UP045 - typer reads it at run time
        typer.Argument(help="Such as waste, waste_15m, traffic_1h. Without it: the measurements there are."),
    ] = None,
    config_file: ConfigOption = None,
    latest: Annotated[bool, typer.Option("--latest", help="Only each device's newest values.")] = False,
    device: Annotated[str, typer.Option(help="Only this device.")] = "",
    site: Annotated[str, typer.Option(help="Only this site.")] = "",
    fields: Annotated[str, typer.Option(help="Only these fields, comma-separated.")] = "",
    last: Annotated[str, typer.Option(help="Only the last span of gateway time, such as 2h.")] = "",
    start: Annotated[str, typer.Option(help="From this time on (RFC 3339).")] = "",
    end: Annotated[str, typer.Option(help="Before this time (RFC 3339).")] = "",
    limit: Annotated[int, typer.Option(help="At most so many points, the newest.")] = 50,
    form: Annotated[Format, typer.Option("--format", "-f", help="Form of the answer.")] = Format.TABLE,
    out: Annotated[
        Optional[Path],  # noqa: UP045 - typer reads it at run time
        typer.Option("--out", "-o", help="Write to this file instead of the terminal."),
    ] = None,
) -> None:
    """Ask the embedded store.

    Examples:
      ecluse query                                   what is stored
      ecluse query waste --latest                    every bin's newest values
      ecluse query waste_15m --device bin-00007 --last 6h
      ecluse query water --start 2026-11-01T00:00:00Z --limit 100000 -f parquet -o water.parquet
    """
    asked = {"device": device, "site": site, "fields": fields, "last": last, "start": start, "end": end}
    asked = {name: value for name, value in asked.items() if value}
    if measurement and latest:
        spans = ("last", "start", "end")
        asked = {name: value for name, value in asked.items() if name not in spans} | {"latest": measurement}
    elif measurement:
        asked |= {"measurement": measurement, "limit": str(limit)}
    with told():
        client = Client.of(config.load(config_file))
        if form is Format.TABLE and out is None:
            answer = client.json("/api/query", asked)
            console().print(table(*answer["columns"], rows=answer["rows"]))
            return
        wire = Format.JSON if form is Format.TABLE else form
        body = client.get("/api/query", asked | {"format": wire.value})
        if out is None:
            sys.stdout.buffer.write(body)
            return
        try:
            out.write_bytes(body)
        except OSError as error:
            raise EcluseError(f"{out} cannot be written: {error.strerror}") from error
