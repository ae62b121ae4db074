"""`ecluse profile diff`: what a changed profile would change in what is stored."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from gateway.cli.failures import told
from gateway.cli.terminal import console, printable, table
from gateway.cli.trial import trial
from gateway.errors import ConfigurationError, EcluseError
from gateway.profiles.difference import changes
from gateway.profiles.golden import FILE_NAME, read_golden
from gateway.profiles.load import load

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.profiles.golden import GoldenExample
    from gateway.profiles.plan import ProfilePlan


def diff(
    old: Annotated[
        Path, typer.Argument(help="The profile as it is: its file or folder.", show_default=False)
    ],
    new: Annotated[Path, typer.Argument(help="As it is to be.", show_default=False)],
) -> None:
    """Tell what would change in what is stored: fields, series, values, flags, windows.

    And what becomes of the golden examples that stand beside either of them: the points that would be
    written and those that would not. Nothing is written.

    Examples:
      git show HEAD:device_profiles/bin-level/profile.yaml > /tmp/old.yaml
      ecluse profile diff /tmp/old.yaml device_profiles/bin-level
    """
    with told():
        (before, examples), (after, more) = _one(old), _one(new)
    screen = console()
    found = changes(before, after)
    rows = [(one.where, one.before, one.after, one.means) for one in found]
    if rows:
        title = f"{before.key} → {after.key}"
        screen.print(table("What", "Was", "Will be", "What follows", rows=rows, title=title))
    lines = list(_points(before, after, {one.name: one for one in (*more, *examples)}))
    if lines:
        screen.print(Text("Points of the golden examples", style="bold"))
    for line in lines:
        screen.print(Text(printable(line)), soft_wrap=True)
    if not rows and not lines:
        screen.print("Nothing that is stored would change.")


def _one(path: Path) -> tuple[ProfilePlan, tuple[GoldenExample, ...]]:
    loaded = load(path)
    if loaded.problems:
        raise ConfigurationError(loaded.problems)
    if len(loaded.plans) != 1:
        raise EcluseError(f"{path} holds {len(loaded.plans)} profiles", hint="name the folder of one")
    plan = next(iter(loaded.plans.values()))
    golden = loaded.files[plan.name].with_name(FILE_NAME)
    if not golden.is_file():
        return plan, ()
    examples, problems = read_golden(golden.read_text(encoding="utf-8-sig"), plan, where=str(golden))
    if problems:
        raise ConfigurationError(problems)
    return plan, examples


def _points(before: ProfilePlan, after: ProfilePlan, examples: dict[str, GoldenExample]) -> Iterator[str]:
    """Yield the points of each example that are not the same, as a diff shows lines."""
    for name, example in examples.items():
        had, has = _lines(before, example), _lines(after, example)
        if had != has:
            yield f"  {name}:"
            yield from (f"  - {line}" for line in had if line not in has)
            yield from (f"  + {line}" for line in has if line not in had)


def _lines(plan: ProfilePlan, example: GoldenExample) -> list[str]:
    """Return points and refusals of one example."""
    known = {name: value for name, value in example.parameters.items() if name in plan.parameters}
    found = trial(
        plan,
        topic=example.topic,
        payload=example.payload,
        received_ns=example.received_ns,
        parameters=known,
    )
    return [*found.points, *(f"refused: {one.reason}: {one.detail}" for one in found.rejections)]
