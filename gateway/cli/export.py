"""`ecluse profile export`: profiles as JSON Schema, AsyncAPI or Markdown, for other tools and for people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from gateway.cli.failures import told
from gateway.errors import ConfigurationError
from gateway.profiles.asyncapi import asyncapi
from gateway.profiles.load import load
from gateway.profiles.payload_schema import payload_schema
from gateway.profiles.reference import reference
from gateway.profiles.schema import json_schema_text
from gateway.version import installed_version

if TYPE_CHECKING:
    from gateway.profiles.plan import ProfilePlan

PROFILES = Path("device_profiles")


def export(
    path: Annotated[
        Optional[Path],  # noqa: UP045 - typer reads it at run time
        typer.Argument(
            help="A profile's file, its folder, or a folder of such; without it: ./device_profiles.",
            show_default=False,
        ),
    ] = None,
    *,
    schema: Annotated[bool, typer.Option("--json-schema", help="JSON Schema, on standard output.")] = False,
    interface: Annotated[bool, typer.Option("--asyncapi", help="An AsyncAPI 3 document (JSON).")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="A page for people.")] = False,
) -> None:
    """Write profiles in a form that other tools, or people, read. No gateway and no network is needed.

    --json-schema with a PATH describes the payloads of its profiles; without one it describes
    profile.yaml itself, for an editor that completes and checks while you write.

    Examples:
      ecluse profile export --json-schema > profile.schema.json
      ecluse profile export device_profiles --asyncapi > uplinks.asyncapi.json
      ecluse profile export device_profiles/bin-level --markdown
    """
    if schema + interface + markdown != 1:
        raise typer.BadParameter("choose one of --json-schema, --asyncapi, --markdown")
    with told():
        if schema and path is None:
            typer.echo(json_schema_text(), nl=False)
            return
        plans = _plans(path or PROFILES)
    if markdown:
        typer.echo(reference(plans), nl=False)
    else:
        made = _schemas(plans) if schema else asyncapi(plans, version=installed_version())
        typer.echo(json.dumps(made, indent=2, ensure_ascii=False))


def _plans(path: Path) -> list[ProfilePlan]:
    loaded = load(path)
    if loaded.problems:
        raise ConfigurationError(loaded.problems)
    return list(loaded.plans.values())


def _schemas(plans: list[ProfilePlan]) -> dict[str, Any]:
    """Return the schema of one profile's payloads, or of several below `$defs`."""
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    if len(plans) == 1:
        return {**head, **payload_schema(plans[0])}
    return {
        **head,
        "$defs": {plan.name: payload_schema(plan) for plan in plans},
        "anyOf": [{"$ref": f"#/$defs/{plan.name}"} for plan in plans],
    }
