"""`ecluse codec`: run a vendor's payload codec, and its examples, without a gateway."""

from __future__ import annotations

import json
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer
from rich.progress import Progress
from rich.text import Text

from gateway.cli.codecs import codecs
from gateway.cli.failures import Exit, told
from gateway.cli.options import pairs, verbatim
from gateway.cli.terminal import console, printable, table
from gateway.clock import SystemClock
from gateway.codec.examples import NoExamples, codec_text, example_files, read
from gateway.codec.judging import judge
from gateway.errors import EcluseError
from gateway.profiles.codec import CodecPlan

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console

    from gateway.codec.examples import Example

_VENDORS = ("vendor", "vendors")


def verbs() -> typer.Typer:
    """Return `ecluse codec …`."""
    group = typer.Typer(
        help="Payload codecs in JavaScript (LoRa Alliance TS013): test, run.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    group.command(name="test", help=verbatim(test))(test)
    group.command(name="run", help=verbatim(run))(run)
    return group


def test(
    path: Annotated[Path, typer.Argument(help="A codec, a file of examples, or a folder of such.")],
) -> None:
    """Run the examples that vendors publish beside their codecs.

    Three forms are read: `*-codec.yaml` of The Things Stack's device repository, the JSON examples of driver
    packages, `test_decode_*.json` of ChirpStack's device profiles. Numbers agree within 1e-6. Nothing is
    changed or sent. Exits 1 where an example fails, or a file cannot be read.

    Examples:
      ecluse codec test vendors/acme/codecs/acme-bin.js
      ecluse codec test lorawan-devices
    """
    with told():
        if not path.exists():
            raise EcluseError(f"there is no {path}", hint="a codec, a file of examples, or a folder")
        screen = console()
        unread: list[str] = []
        examples = _examples(path, unread)
        if not examples and not unread:
            raise EcluseError(f"no examples were found in {path}", hint="see docs/formats/codec.md")
        failed = _judged(examples, path, unread, screen)
    for line in unread:
        screen.print(Text("✗ ", style="red") + Text(printable(line)), soft_wrap=True)
    _sum_up(examples, failed, path, screen)
    sys.exit(Exit.PROBLEMS if failed or unread else Exit.OK)


def run(
    file: Annotated[Path, typer.Argument(help="The codec, a JavaScript file.")],
    hexadecimal: Annotated[str, typer.Option("--hex", help="The payload's bytes in hexadecimal.")],
    port: Annotated[
        Optional[int],  # noqa: UP045 - typer reads it at run time
        typer.Option(help="The LoRaWAN port.", show_default=False),
    ] = None,
    variable: Annotated[
        Optional[list[str]],  # noqa: UP045 - typer reads it at run time
        typer.Option(help="What the codec finds as input.variables: depth=2000. As often as needed."),
    ] = None,
) -> None:
    """Put one payload through a codec, and print what it returns as JSON.

    Example:
      ecluse codec run acme-bin.js --hex 01756003671801 --port 85
    """
    with told():
        try:
            script, payload = codec_text(file), bytes.fromhex(hexadecimal)
        except NoExamples as wrong:
            raise EcluseError(str(wrong)) from wrong
        except ValueError as wrong:
            raise EcluseError(f"--hex: not pairs of hexadecimal digits: {hexadecimal}") from wrong
        variables = pairs(variable or (), option="--variable")
        plan = CodecPlan(file.name, script, variables=tuple(sorted(variables.items())))
        (answer,) = codecs().decode(
            plan, [payload], [port], [SystemClock().now_ns() // 1_000_000], whole=True
        )
        if answer.error:
            raise EcluseError(f"{file.name}: {printable(answer.error)}")
    result = json.loads(answer.data)
    print(json.dumps(result, indent=2, ensure_ascii=False))  # noqa: T201 - the answer itself
    sys.exit(Exit.PROBLEMS if result.get("errors") else Exit.OK)


def _examples(path: Path, unread: list[str]) -> list[Example]:
    found: list[Example] = []
    for file in example_files(path):
        try:
            found += read(file)
        except NoExamples as wrong:
            unread.append(f"{file}: {wrong}")
    wanted = path.resolve() if path.suffix == ".js" else None
    return [one for one in found if wanted is None or one.codec.resolve() == wanted]


def _judged(examples: list[Example], path: Path, unread: list[str], screen: Console) -> Counter[str]:
    """Run the examples codec by codec; return how many of each vendor failed."""
    by_codec: Mapping[Path, list[Example]] = defaultdict(list)
    for example in examples:
        by_codec[example.codec].append(example)
    failed: Counter[str] = Counter()
    with Progress(console=console(stderr=True), transient=True) as bar:
        for codec, ours in bar.track(by_codec.items(), description="running examples"):
            try:
                results = judge(ours, codec_text(codec), codecs())
            except NoExamples as wrong:
                unread.append(f"{ours[0].file}: {wrong}")
                results = [["not run"] for _ in ours]
            for example, lines in zip(ours, results, strict=True):
                if lines:
                    failed[_vendor(example.file, path)] += 1
                    _show(example, lines, screen)
    return failed


def _show(example: Example, lines: list[str], screen: Console) -> None:
    told_lines = "".join(f"\n    {printable(line)}" for line in lines)
    name = f"{example.file}: {printable(example.name)}{told_lines}"
    screen.print(Text("✗ ", style="red") + Text(name), soft_wrap=True)


def _vendor(file: Path, path: Path) -> str:
    """Return whose examples a file holds: the folder below `vendor`, else below the path."""
    parts = file.relative_to(path).parts if path.is_dir() else file.parts
    for place, part in enumerate(parts[:-2]):
        if part in _VENDORS:
            return parts[place + 1]
    return parts[0] if path.is_dir() and len(parts) > 1 else "."


def _sum_up(examples: list[Example], failed: Counter[str], path: Path, screen: Console) -> None:
    told_of = Counter(_vendor(example.file, path) for example in examples)
    if len(told_of) > 1:
        rows = [
            (name, number, number - failed[name], failed[name]) for name, number in sorted(told_of.items())
        ]
        screen.print(table("vendor", "examples", "passed", "failed", rows=rows))
    total, wrong = len(examples), failed.total()
    screen.print(f"examples={total} passed={total - wrong} failed={wrong}")
