"""Devices of public catalogues, and the codecs that belong to them.

- ChirpStack's device profiles: `devices/NAME.toml`, whose firmware names a codec in `../codecs`.
- The Things Stack's device repository: `NAME.yaml` with `firmwareVersions`, whose profiles name a codec file
  beside it, which names the JavaScript.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gateway.codec.examples import MAX_BYTES, NoExamples
from gateway.profiles.document import compose

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_FOREIGN: Final = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class CatalogueDevice:
    """One device: `source` is the network server whose catalogue it stands in; `examples` is a file of such.

    `firmware` names the newest version that has a codec; `others` are the codecs of older ones.
    """

    file: Path
    source: str
    name: str
    label: str
    codec: Path
    examples: Path
    firmware: str
    others: tuple[str, ...] = ()


def catalogue_devices(path: Path) -> tuple[list[CatalogueDevice], list[str]]:
    """Return the devices at or below a path, sorted by file, and a sentence for each that has no codec."""
    files = [path] if path.is_file() else sorted([*path.rglob("*.toml"), *path.rglob("*.yaml")])
    found: list[CatalogueDevice] = []
    left: list[str] = []
    for file in files:
        try:
            device = _device(file)
        except NoExamples as wrong:
            left.append(f"{file}: {wrong}")
        else:
            found += [device] if device else []
    return found, left


def _device(file: Path) -> CatalogueDevice | None:
    """Return the device that a file describes; None where it describes something else. Raises NoExamples."""
    text = _text(file)
    if file.suffix == ".toml":
        return _chirpstack(file, text)
    source = compose(text, str(file), most=MAX_BYTES)
    data = source.data if not source.faults and isinstance(source.data, dict) else {}
    return _things_stack(file, data) if isinstance(data.get("firmwareVersions"), list) else None


def _text(file: Path) -> str:
    try:
        return file.read_bytes()[: MAX_BYTES + 1].decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise NoExamples(f"cannot be read: {error}") from error


def _chirpstack(file: Path, text: str) -> CatalogueDevice | None:
    try:
        device = tomllib.loads(text).get("device")
    except tomllib.TOMLDecodeError as error:
        raise NoExamples(f"is no TOML: {error}") from error
    if not isinstance(device, dict):
        return None
    codecs = [
        (str(one.get("version", "")), str(one["codec"]))
        for one in device.get("firmware", ())
        if isinstance(one, dict) and one.get("codec")
    ]
    firmware, codec, others = _newest(codecs)
    script = file.parent.parent / "codecs" / codec
    examples = script.with_name(f"test_decode_{script.stem}.json")
    name = str(device.get("name") or file.stem)
    return CatalogueDevice(file, "chirpstack", name, _label(file), script, examples, firmware, others)


def _things_stack(file: Path, data: dict[str, Any]) -> CatalogueDevice:
    codecs = [
        (str(one.get("version", "")), str(profile["codec"]))
        for one in data["firmwareVersions"]
        if isinstance(one, dict)
        for profile in list((one.get("profiles") or {}).values())[:1]
        if isinstance(profile, dict) and profile.get("codec")
    ]
    firmware, codec, others = _newest(codecs)
    examples = file.with_name(f"{codec}.yaml")
    named = compose(_text(examples), str(examples), most=MAX_BYTES).data
    decoder = named.get("uplinkDecoder") if isinstance(named, dict) else None
    if not isinstance(decoder, dict) or not decoder.get("fileName"):
        raise NoExamples(f"{examples.name} names no uplinkDecoder")
    script = file.with_name(str(decoder["fileName"]))
    name = str(data.get("name") or file.stem)
    return CatalogueDevice(file, "tts", name, _label(file), script, examples, firmware, others)


def _newest(codecs: list[tuple[str, str]]) -> tuple[str, str, tuple[str, ...]]:
    """Return the last firmware's version and codec, and the other codecs."""
    if not codecs:
        raise NoExamples("no firmware has a codec")
    firmware, codec = codecs[-1]
    return firmware, codec, tuple(dict.fromkeys(other for _, other in codecs if other != codec))


def _label(file: Path) -> str:
    """Return a profile's name for the device of a file: `vendor-device`."""
    folder = file.parent.parent if file.parent.name == "devices" else file.parent
    parts: Iterator[str] = (_FOREIGN.sub("-", part.lower()).strip("-") for part in (folder.name, file.stem))
    vendor, device = parts
    label = device if not vendor or device.startswith(vendor) else f"{vendor}-{device}"
    return label[:64].strip("-") or "device"
