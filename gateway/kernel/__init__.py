"""Compiled twins of the few loops that run once a message. Never needed: each has its Python beside it.

They are built where a C compiler is there at installation (`pip install` says nothing where it is not, and
everything works as before, slower). A twin only does what is usual and leaves the rest to the Python that
it stands beside, which stays the one authority on what is right; tests hold the two against each other.
`python -X ecluse-kernel=off` leaves the twins out.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

TWINS = ("flat_json", "framing", "lines", "looking_back", "lookup")
"""All there are, by module."""


def compiled(name: str) -> ModuleType | None:
    """Return the compiled module `gateway.kernel.<name>`; None where it was not built or is left out."""
    if sys._xoptions.get("ecluse-kernel") == "off":  # noqa: SLF001 - the documented place of -X options
        return None
    try:
        return importlib.import_module(f"gateway.kernel.{name}")
    except ModuleNotFoundError:
        return None


def built() -> list[str]:
    """Return the names of the twins that are in use."""
    return [name for name in TWINS if compiled(name) is not None]
