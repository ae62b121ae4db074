"""Compiled twins are tested where they were built; a run that may not skip says so where they were not."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from gateway.kernel import compiled

if TYPE_CHECKING:
    from types import ModuleType


@pytest.fixture
def twin(request: pytest.FixtureRequest) -> ModuleType:
    """Return the compiled module that the test's file names in TWIN."""
    name = request.module.TWIN
    module = compiled(name)
    if module is None:
        assert shutil.which("cc") is None, f"there is a C compiler, and gateway.kernel.{name} was not built"
        pytest.skip("no C compiler: the twins were not built")
    return module
