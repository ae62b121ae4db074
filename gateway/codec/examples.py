"""Examples that vendors publish beside their codecs, in the three forms that are in use.

- The Things Stack's device repository: `*-codec.yaml`, `uplinkDecoder` with `fileName` and `examples`.
- Driver packages: a JSON list of `{type: "uplink", bytes, fPort, data}`, or these in `input` and `output`.
  The codec is the package's `main`.
- ChirpStack's device profiles: `test_decode_NAME.json` beside `NAME.js`: a list of `{name, input, expected}`;
  some have comments and hexadecimal numbers.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from gateway.profiles.codec import MAX_BYTES as CODEC_BYTES
from gateway.profiles.document import compose
from gateway.profiles.durations import instant_ns

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

MAX_BYTES: Final = 4 * 1024 * 1024
_SOME_TIME: Final = "2026-01-01T00:00:00Z"
_RELAXED: Final = re.compile(
    r'(?P<text>"(?:\\.|[^"\\])*")|//[^\n]*|/\*.*?\*/|(?P<hex>\b0[xX][0-9a-fA-F]+\b)|,(?=\s*[\]}])', re.DOTALL
)
_UP: Final = 3
"""How far above its examples a package's folder may be."""


class NoExamples(Exception):  # noqa: N818 - what is wrong with a file, on its way to a line of a report
    """A file whose examples cannot be read; the text says why."""


@dataclass(frozen=True, slots=True)
class Example:
    """One uplink, and what a codec must make of it. What is None is not asked for.

    `data` is JSON; `errors` and `warnings` are texts; `normalized` is what `normalizeUplink` gives of it.
    """

    file: Path
    name: str
    codec: Path
    payload: bytes
    port: int | None
    time_ms: int
    variables: Mapping[str, str] = field(default_factory=dict)
    data: Any = None
    errors: tuple[str, ...] | None = None
    warnings: tuple[str, ...] | None = None
    normalized: Any = None


def example_files(path: Path) -> list[Path]:
    """Return the files below a path that may hold examples, sorted; a codec's path means its folder."""
    if path.is_file() and path.suffix != ".js":
        return [path]
    folder = path if path.is_dir() else path.parent
    found = (*folder.rglob("*-codec.yaml"), *folder.rglob("*.json"))
    return sorted(file for file in found if "node_modules" not in file.parts and file.is_file())


def read(file: Path) -> list[Example]:
    """Return a file's examples of uplinks; none where it holds none. Raises NoExamples."""
    try:
        if file.stat().st_size > MAX_BYTES:
            raise NoExamples(f"it is longer than {MAX_BYTES} bytes")
        text = file.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise NoExamples(f"it cannot be read: {error}") from error
    try:
        return list(_of_yaml(file, text) if file.suffix == ".yaml" else _of_json(file, text))
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        raise NoExamples(f"an example is not as expected: {error!r}") from error


def codec_text(file: Path) -> str:
    """Return a codec's text. Raises NoExamples."""
    try:
        if file.stat().st_size > CODEC_BYTES:
            raise NoExamples(f"the codec {file.name} is longer than {CODEC_BYTES} bytes")
        return file.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise NoExamples(f"the codec {file.name} cannot be read: {error}") from error


def _of_yaml(file: Path, text: str) -> Iterator[Example]:
    source = compose(text, str(file), most=MAX_BYTES)
    if source.faults:
        raise NoExamples(str(source.faults[0]))
    decoder = (source.data.get("uplinkDecoder") if isinstance(source.data, dict) else None) or {}
    for number, one in enumerate(decoder.get("examples") or (), start=1):
        output = one.get("output") or {}
        normalized = one.get("normalizedOutput") or {}
        yield _example(
            file,
            one.get("description") or f"example {number}",
            file.parent / str(decoder["fileName"]),
            given=one["input"],
            expected=output,
            normalized=normalized.get("data"),
        )


def _of_json(file: Path, text: str) -> Iterator[Example]:
    found = _parsed(text)
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        return
    for number, one in enumerate(found, start=1):
        name = str(one.get("name") or one.get("description") or f"example {number}")
        if "expected" in one and "input" in one:
            if not file.name.startswith("test_encode"):
                yield _example(file, name, _beside(file), given=one["input"], expected=one["expected"])
        elif one.get("type") == "uplink":
            given, expected = one.get("input") or one, one.get("output") or one
            yield _example(file, name, _package_main(file), given=given, expected=expected)


def _example(
    file: Path,
    name: str,
    codec: Path,
    *,
    given: Mapping[str, Any],
    expected: Mapping[str, Any],
    normalized: Any = None,  # noqa: ANN401 - any JSON
) -> Example:
    data = expected.get("data")
    failing = data is None and bool(expected.get("errors"))
    return Example(
        file=file,
        name=name,
        codec=codec,
        payload=_bytes(given["bytes"]),
        port=_number(given.get("fPort")),
        time_ms=_time_ms(given.get("recvTime") or given.get("time")),
        variables={str(key): str(value) for key, value in (given.get("variables") or {}).items()},
        data=None if failing else data,
        errors=_texts(expected.get("errors")),
        warnings=_texts(expected.get("warnings")),
        normalized=normalized,
    )


def _parsed(text: str) -> Any:  # noqa: ANN401 - any JSON
    """Return what a JSON text says, also where it is relaxed; None where it is none of ours."""
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        return json.loads(_RELAXED.sub(_strict, text))
    except ValueError as error:
        raise NoExamples(f"not JSON: {error}") from error


def _strict(found: re.Match[str]) -> str:
    return found["text"] or (str(int(found["hex"], 16)) if found["hex"] else "")


def _beside(file: Path) -> Path:
    """Return the codec of a file of ChirpStack's: of its name, else the only one beside it."""
    name = file.stem.removeprefix("test_decode_").removeprefix("test_")
    named = file.with_name(f"{name}.js")
    others = list(file.parent.glob("*.js"))
    return others[0] if not named.is_file() and len(others) == 1 else named


def _package_main(file: Path) -> Path:
    """Return the codec of the package that holds a file."""
    for folder in list(file.parents)[:_UP]:
        package = folder / "package.json"
        if package.is_file():
            main = json.loads(package.read_text(encoding="utf-8")).get("main") or "index.js"
            return folder / str(main)
        if (folder / "index.js").is_file():
            return folder / "index.js"
    return _beside(file)


def _bytes(value: Any) -> bytes:  # noqa: ANN401 - any JSON
    if isinstance(value, str):
        return bytes.fromhex(value)
    return bytes(int(one, 0) if isinstance(one, str) else int(one) & 0xFF for one in value)


def _number(value: Any) -> int | None:  # noqa: ANN401 - any JSON
    return None if value is None else int(value)


def _texts(value: Any) -> tuple[str, ...] | None:  # noqa: ANN401 - any JSON
    return None if value is None else tuple(map(str, value))


def _time_ms(value: Any) -> int:  # noqa: ANN401 - any JSON
    try:
        return instant_ns(str(value or _SOME_TIME)) // 1_000_000
    except ValueError:
        return instant_ns(_SOME_TIME) // 1_000_000
