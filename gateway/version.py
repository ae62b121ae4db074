"""The version of this Écluse."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def installed_version() -> str:
    """Return the installed version, or `unknown` from a bare source tree."""
    try:
        return version("ecluse")
    except PackageNotFoundError:
        return "unknown"
