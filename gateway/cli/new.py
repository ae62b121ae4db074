"""`ecluse profile new`: a draft of a profile from samples of what a sensor sends."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer
from rich.text import Text

from gateway.cli.failures import told
from gateway.cli.golden_draft import golden_text
from gateway.cli.options import read_text
from gateway.cli.terminal import console, printable
from gateway.clock import SystemClock
from gateway.errors import EcluseError
from gateway.profiles import golden
from gateway.profiles.compile import compile_profile
from gateway.profiles.infer.draft import draft
from gateway.profiles.infer.samples import read_samples
from gateway.profiles.load import FILE_NAME

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.profiles.infer.draft import Draft
    from gateway.profiles.infer.samples import Sample

_LABEL = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def new(
    samples: Annotated[
        Path,
        typer.Option(
            "--from", help="The samples, a payload a line; - for standard input.", show_default=False
        ),
    ],
    name: Annotated[str, typer.Option(help="The profile's name; else that of the file or folder.")] = "",
    family: Annotated[str, typer.Option(help="The measurement, such as waste; else guessed.")] = "",
    to: Annotated[
        Optional[Path],  # noqa: UP045 - typer reads it at run time
        typer.Option(help="Write profile.yaml and golden.yaml into this folder.", show_default=False),
    ] = None,
) -> None:
    """Draft a profile from samples: types, units, time, counters, states, ranges, and how sure each is.

    A sample is a line of JSON, alone, or behind its topic (mosquitto_sub -v), or inside
    {"topic": …, "payload": …} (mosquitto_sub -F %j). With topics, {device} is found too.
    The draft is yours to mend; nothing is sent and nothing is overwritten.

    Examples:
      mosquitto_sub -i listener -v -t 'city/#' -C 50 > samples.txt
      ecluse profile new --from samples.txt --to device_profiles/acme-bin
      ecluse profile check device_profiles/acme-bin
    """
    screen = console(stderr=True)
    with told():
        found, faults = read_samples(read_text(samples))
        for fault in faults:
            screen.print(Text(f"left out: {printable(fault)}", style="yellow"), soft_wrap=True)
        if not found:
            raise EcluseError("there is no sample", hint="a sample is a JSON object, one a line")
        label = _label(name or (to or samples).stem)
        made = draft(found, profile=label, family=family)
        if to is None:
            typer.echo(made.text, nl=False)
        else:
            _write(to, made, found)
    _say(made, len(found), to)


def _label(text: str) -> str:
    label = re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-.")
    if _LABEL.fullmatch(label) is None:
        raise EcluseError(f"«{text:.80}» is no name of a profile", hint="write --name acme-bin")
    return label


def _write(folder: Path, made: Draft, samples: Sequence[Sample]) -> None:
    """Write the draft, and what it makes of some samples, into a folder that has neither."""
    texts = {FILE_NAME: made.text}
    plan, _ = compile_profile(made.text, where=FILE_NAME)
    if plan is not None:
        texts[golden.FILE_NAME] = golden_text(plan, samples, now_ns=SystemClock().now_ns())
    for name in texts:
        if (folder / name).exists():
            raise EcluseError(f"{folder / name} is there already", hint="choose another folder with --to")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise EcluseError(f"{folder} cannot be written: {error.strerror}") from error


def _say(made: Draft, samples: int, to: Path | None) -> None:
    screen = console(stderr=True)
    _, problems = compile_profile(made.text, where=str(to / FILE_NAME) if to else "draft")
    counted = f"{samples} samples read; {made.sure} lines sure, {made.likely} likely, {made.guessed} guessed"
    screen.print(Text(counted))
    for problem in problems:
        screen.print(Text(f"to mend: {printable(str(problem))}", style="yellow"), soft_wrap=True)
    if to is not None:
        screen.print(Text(f"written: {to / FILE_NAME}. Read it, mend it, then: ecluse profile check {to}"))
