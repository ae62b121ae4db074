"""`ecluse profile import`: drafts of profiles from the catalogues of network servers."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Optional

import typer
from rich.progress import Progress
from rich.text import Text

from gateway.cli.codecs import codecs
from gateway.cli.failures import Exit, told
from gateway.cli.golden_draft import hexadecimal_text
from gateway.cli.terminal import console, printable
from gateway.codec.catalogue import CatalogueDevice, catalogue_devices
from gateway.codec.examples import NoExamples, codec_text, read
from gateway.errors import EcluseError
from gateway.profiles import golden
from gateway.profiles.codec import CodecPlan
from gateway.profiles.compile import compile_profile
from gateway.profiles.infer.draft import ByCodec, draft
from gateway.profiles.infer.samples import Sample
from gateway.profiles.load import FILE_NAME
from gateway.profiles.whole import attached

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.codec.examples import Example


def import_profiles(
    path: Annotated[
        Path,
        typer.Argument(help="A device's file (TOML, YAML) of a catalogue, or a folder of such."),
    ],
    to: Annotated[Path, typer.Option(help="The folder of profiles to write into.", show_default=False)],
    source: Annotated[
        Optional[Literal["chirpstack", "tts"]],  # noqa: UP045 - typer reads it at run time
        typer.Option(help="Your network server; else that of the catalogue.", show_default=False),
    ] = None,
    family: Annotated[str, typer.Option(help="The measurement, such as waste; else guessed.")] = "",
) -> None:
    """Draft profiles from ChirpStack's device profiles, or The Things Stack's device repository.

    A device's codec is copied beside its profile. Its examples are decoded, and what comes out is drafted as
    `profile new` does it, with golden examples. Nothing is overwritten. Exits 1 where a device was left out.

    Examples:
      ecluse profile import chirpstack-device-profiles/vendors/acme/devices/acme-bin.toml --to device_profiles
      ecluse profile import lorawan-devices/vendor/acme --to device_profiles
    """
    with told():
        if not path.exists():
            raise EcluseError(
                f"there is no {path}", hint="a device's file of a catalogue, or a folder of such"
            )
        devices, left = catalogue_devices(path)
        if not devices and not left:
            raise EcluseError(f"no device is described in {path}", hint="devices/NAME.toml, or NAME.yaml")
        imported = 0
        with Progress(console=console(stderr=True), transient=True) as bar:
            for device in bar.track(devices, description="importing"):
                try:
                    _import(device, to / device.label, source or device.source, family)
                except NoExamples as wrong:
                    left.append(f"{device.file}: {wrong}")
                else:
                    imported += 1
    screen = console()
    for line in left:
        screen.print(Text("✗ ", style="red") + Text(printable(line)), soft_wrap=True)
    screen.print(f"devices={imported + len(left)} imported={imported} left={len(left)}")
    sys.exit(Exit.PROBLEMS if left else Exit.OK)


def _import(device: CatalogueDevice, folder: Path, source: str, family: str) -> None:
    """Write one device's profile, codec and golden examples. Raises NoExamples, EcluseError."""
    script = codec_text(device.codec)
    examples = read(device.examples) if device.examples.is_file() else []
    samples = _samples(examples, device, script)
    if not samples:
        hint = "decode payloads of yours with `ecluse codec run`, then `ecluse profile new`"
        raise NoExamples(f"it has no examples that its codec decodes; {hint}")
    by = ByCodec(source, device.codec.name, device.firmware)
    made = draft(samples, profile=device.label, family=family, codec=by)
    texts = {FILE_NAME: _head(device) + made.text, device.codec.name: script}
    plan, _ = compile_profile(attached(texts[FILE_NAME], "codec", device.codec.name, script), where=FILE_NAME)
    if plan is not None:
        texts[golden.FILE_NAME] = hexadecimal_text(
            plan, [(one.name, one.payload, one.port, one.time_ms * 1_000_000) for one in examples]
        )
    _write(folder, texts)


def _samples(examples: Sequence[Example], device: CatalogueDevice, script: str) -> list[Sample]:
    """Return what the codec makes of the examples, as samples."""
    answers = codecs().decode(
        CodecPlan(device.codec.name, script),
        [one.payload for one in examples],
        [one.port for one in examples],
        [one.time_ms for one in examples],
    )
    values = [json.loads(answer.data) for answer in answers if not answer.error]
    return [Sample(value, json.dumps(value)) for value in values if isinstance(value, dict)]


def _head(device: CatalogueDevice) -> str:
    lines = [f"# {device.name}, by the catalogue's {device.file.name} and the vendor's codec."]
    if device.others:
        lines.append(f"# Older firmware has other codecs: {', '.join(device.others)}.")
    return "".join(f"{printable(line)}\n".replace("\n\n", "\n") for line in lines)


def _write(folder: Path, texts: dict[str, str]) -> None:
    if folder.exists():
        raise NoExamples(f"{folder} is there already")
    try:
        folder.mkdir(parents=True)
        for name, text in texts.items():
            (folder / Path(name).name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise EcluseError(f"{folder} cannot be written: {error.strerror}") from error
