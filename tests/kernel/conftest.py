"""The twin that a file of tests is about."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.twins import twin_of

if TYPE_CHECKING:
    from types import ModuleType


@pytest.fixture
def twin(request: pytest.FixtureRequest) -> ModuleType:
    """Return the compiled module that the test's file names in TWIN."""
    return twin_of(request.module.TWIN)
