"""`ecluse quarantine export`: what was refused, as JSON lines that other tools read."""

from __future__ import annotations

import base64
import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Optional

import orjson
import typer

from gateway import config
from gateway.cli.failures import told
from gateway.cli.options import ConfigOption
from gateway.cli.quarantine_choice import (
    DeviceOption,
    ProfileOption,
    ReasonOption,
    SinceOption,
    SiteOption,
    UntilOption,
    chosen,
    reader,
)
from gateway.clock import rfc3339
from gateway.errors import EcluseError
from gateway.quarantine.reader import BROKER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.quarantine.reader import QuarantineRow


def export(
    reason: ReasonOption = "",
    site: SiteOption = "",
    device: DeviceOption = "",
    profile: ProfileOption = "",
    since: SinceOption = "",
    until: UntilOption = "",
    out: Annotated[
        Optional[Path],  # noqa: UP045 - typer reads it at run time
        typer.Option("--out", "-o", help="Write to this file instead of standard output."),
    ] = None,
    config_file: ConfigOption = None,
) -> None:
    """Write what was refused as JSON lines, oldest first: an object a row, payloads as text or base64.

    Only reads, whether a gateway runs or not.

    Examples:
      ecluse quarantine export -o refused.jsonl
      ecluse quarantine export --device bin-00042 | jq -r 'select(.encoding == "text").payload'
    """
    with told():
        settings = config.load(config_file)
        choice = chosen(
            settings, reason=reason, site=site, device=device, profile=profile, since=since, until=until
        )
        with reader(settings) as quarantine, _output(out) as output:
            for row in quarantine.every(choice):
                output.write(orjson.dumps(as_json(row), option=orjson.OPT_APPEND_NEWLINE))


def as_json(row: QuarantineRow) -> dict[str, Any]:
    """Return a row as plain values. `topic_encoding` and `encoding` are `text` or `base64`."""
    topic, topic_encoding = _text(row.topic)
    payload, encoding = _text(row.payload)
    return {
        "id": row.id,
        "kind": "packet" if row.sink == BROKER else "point" if row.sink else "uplink",
        "received": _instant(row.received_ns),
        "site": row.site,
        "device": row.device,
        "profile": row.profile,
        "topic": topic,
        "topic_encoding": topic_encoding,
        "reason": row.reason,
        "detail": row.detail,
        "sink": "" if row.sink == BROKER else row.sink,
        "retained": row.retained,
        "damaged": row.damaged,
        "payload": payload,
        "encoding": encoding,
    }


def _text(data: bytes) -> tuple[str, str]:
    try:
        return data.decode("utf-8"), "text"
    except UnicodeDecodeError:
        return base64.b64encode(data).decode("ascii"), "base64"


def _instant(at_ns: int) -> str:
    """Write a time to the nanosecond."""
    return rfc3339(at_ns).replace("Z", f".{at_ns % 1_000_000_000:09d}Z")


@contextlib.contextmanager
def _output(out: Path | None) -> Iterator[BinaryIO]:
    if out is None:
        yield sys.stdout.buffer
        return
    try:
        with out.open("wb") as file:
            yield file
    except OSError as error:
        raise EcluseError(f"{out} cannot be written: {error.strerror}") from error
