"""The folder of profiles, for those who change it over HTTP: judged as a whole, then written in one piece.

The gateway sees a changed file by itself (`gateway.wishes`): nothing here puts anything into force.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway import durable
from gateway.errors import Problem
from gateway.profiles.difference import retyped
from gateway.profiles.load import FILE_NAME, load
from gateway.profiles.together import check_together

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from gateway.profiles.plan import ProfilePlan

REMOVED = ".removed"
_NEW = ".profile.new"


@dataclass(frozen=True, slots=True)
class Shelved:
    """What became of a profile: its version where it was written, else why it was not."""

    version: int = 0
    problems: tuple[Problem, ...] = ()


class ProfileFolder:
    """Reads, writes and removes profiles. `in_force` gives those that the river goes by."""

    def __init__(self, folder: Path, in_force: Callable[[], Mapping[str, ProfilePlan]]) -> None:
        self._folder = folder
        self._in_force = in_force

    def texts(self) -> Mapping[str, ProfilePlan]:
        """Return the profiles in force by name."""
        return dict(self._in_force())

    def put(self, name: str, text: bytes) -> Shelved:
        """Write a profile, new or changed, unless something is wrong with it. Raises OSError."""
        loaded = load(self._folder)
        target = loaded.files.get(name, self._folder / name / FILE_NAME)
        durable.make_folder(target.parent)
        new = target.with_name(_NEW)  # in its place: what it refers to is found from there
        try:
            new.write_bytes(text)
            durable.sync_file(new)
            plan, problems = self._judged(name, new, [p for p in loaded.plans.values() if p.name != name])
            if plan is None or problems:
                return Shelved(problems=problems)
            new.replace(target)
            durable.sync_folder(target.parent)
        finally:
            new.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # a folder that was made for nothing
                target.parent.rmdir()
        return Shelved(version=plan.version)

    def _judged(
        self, name: str, file: Path, others: list[ProfilePlan]
    ) -> tuple[ProfilePlan | None, tuple[Problem, ...]]:
        loaded = load(file)
        problems = [_named(problem, file, name) for problem in loaded.problems]
        plan = next(iter(loaded.plans.values()), None)
        if plan is None:
            return None, tuple(problems)
        if plan.name != name:
            problems.append(Problem(name, f"the text calls it «{plan.name}»", f"profile: {name}"))
        problems += [
            Problem(name, what, hint)
            for later, what, hint in check_together([*others, plan])
            if later is plan
        ]
        known = self._in_force().get(name)
        if known is not None and plan.version <= known.version:
            problems += [
                Problem(name, f"«{one.where}» is {one.before}, and would be {one.after}", "raise its version")
                for one in retyped(known, plan)
            ]
        return plan, tuple(problems)

    def remove(self, name: str) -> bool:
        """Take a profile out of the folder; its file stays beside, renamed. Raises OSError."""
        file = load(self._folder).files.get(name)
        if file is None:
            return False
        file.replace(file.with_name(file.name + REMOVED))
        durable.sync_folder(file.parent)
        return True


def _named(problem: Problem, file: Path, name: str) -> Problem:
    where = name if problem.where == str(file) else problem.where
    return Problem(where, problem.what, problem.hint, problem.line, problem.column)
