"""The benchmark of formats runs, and what it measures is read well."""

from __future__ import annotations

import pytest

from tests.benchmarks import formats


@pytest.mark.parametrize("name", formats.FORMATS)
def test_each_format_is_measured(name: str) -> None:
    """No message is refused, and none is left over."""
    assert formats.cpu_us(name, messages=50, rounds=1) > 0
