"""What a gateway was told, as it goes into a backup: settings without their secrets, profiles, devices."""

from __future__ import annotations

import json
import re
import tomllib
from typing import TYPE_CHECKING, Any

from gateway import config

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SETTINGS = "ecluse.toml"
PROFILES = "device_profiles"
DEVICES = "devices.csv"


def sources(settings: config.Settings) -> Iterator[tuple[Path, str]]:
    """Yield each file but the settings' own, with its name in the backup; those that there are."""
    for path in sorted(settings.profiles_dir.rglob("*")):
        if path.is_file():
            yield path, f"{PROFILES}/{path.relative_to(settings.profiles_dir).as_posix()}"
    for file, name in ((settings.devices.file, DEVICES), (settings.time_scale_file, "scale.json")):
        if file is not None and file.is_file():
            yield file, name


def without_secrets(text: str) -> tuple[str, tuple[str, ...]] | None:
    """Return a settings file without its secrets, and the names of those that it had.

    None where they cannot be told from the rest line by line, or where it is no TOML: leave it out then.
    """
    names = secret_names()
    line = re.compile(
        rf"^[ \t]*(?:[\w.\"' -]+\.)?[\"']?({'|'.join(sorted(names))})[\"']?[ \t]*=.*$", re.MULTILINE
    )
    had = tuple(dict.fromkeys(found[1] for found in line.finditer(text)))
    cleaned = line.sub(r"# \1 was left out of the backup: set it anew", text)
    try:
        left = list(_keys(tomllib.loads(cleaned)))
    except tomllib.TOMLDecodeError:
        return None
    return None if names & set(left) else (cleaned, had)


def secret_names() -> frozenset[str]:
    """Return the names of the settings that hold a secret, from the schema."""
    schema = config.json_schema()
    tables = (schema, *schema.get("$defs", {}).values())
    return frozenset(
        name
        for table in tables
        for name, setting in table.get("properties", {}).items()
        if '"format": "password"' in json.dumps(setting)
    )


def _keys(value: Any) -> Iterator[str]:  # noqa: ANN401 - TOML is anything
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from _keys(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _keys(inner)
