"""Compiled twins are tested where they were built; a machine that could have built them may not skip."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from gateway.kernel import compiled

if TYPE_CHECKING:
    from types import ModuleType


def twin_of(name: str) -> ModuleType:
    """Return the compiled module; skip the test where there is no C compiler."""
    module = compiled(name)
    if module is None:
        assert shutil.which("cc") is None, f"there is a C compiler, and gateway.kernel.{name} was not built"
        pytest.skip("no C compiler: the twins were not built")
    return module
