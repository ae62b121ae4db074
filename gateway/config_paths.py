"""Paths of the settings file: relative ones are relative to the file, wherever a command is started."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import BaseModel

    from gateway.config import Settings

_PATHS = ("state_dir", "profiles_dir", "time_scale_file")
_SECTION_PATHS = {
    "broker": ("password_file", "ca_file", "certificate_file", "key_file"),
    "devices": ("file",),
    "http": ("token_file",),
}


def anchored(settings: Settings, base: Path) -> Settings:
    """Return the settings with every path absolute: relative ones stand beside the settings file."""
    update: dict[str, Any] = _absolute(settings, _PATHS, base)
    for name, keys in _SECTION_PATHS.items():
        section = getattr(settings, name)
        update[name] = section.model_copy(update=_absolute(section, keys, base))
    update["sinks"] = tuple(
        sink.model_copy(update=_absolute(sink, ("token_file", "ca_file"), base)) for sink in settings.sinks
    )
    return settings.model_copy(update=update)


def _absolute(section: BaseModel, keys: tuple[str, ...], base: Path) -> dict[str, Any]:
    values = {key: getattr(section, key) for key in keys}
    return {key: (base / value).resolve() for key, value in values.items() if value is not None}
