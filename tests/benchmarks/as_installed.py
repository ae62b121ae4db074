"""Runs a module as where only the gateway is installed: without pandas, which a package for the tests brings.

    python -m tests.benchmarks.as_installed tests.benchmarks.days …

pyarrow imports pandas wherever it is, and 65 MB with it.
"""

from __future__ import annotations

import importlib.abc
import runpy
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

ABSENT: Final = frozenset({"pandas"})


class Absent(importlib.abc.MetaPathFinder):
    """Finds none of the packages that the gateway does not ask for."""

    def find_spec(
        self, name: str, _path: Sequence[str] | None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Raise ModuleNotFoundError for those; leave all others to whoever comes next."""
        if name.partition(".")[0] in ABSENT:
            raise ModuleNotFoundError(f"no {name}: the gateway does not ask for it", name=name)
        return None


if __name__ == "__main__":
    sys.meta_path.insert(0, Absent())
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
