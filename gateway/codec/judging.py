"""Whether a codec does what its examples say, and where not: one line a difference."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, Final

from gateway.profiles.codec import CodecPlan
from gateway.profiles.golden import TOLERANCE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway.codec.examples import Example
    from gateway.codec.sandbox import Sandbox
    from gateway.ports import Answer

_SHOWN: Final = 80


def judge(examples: Sequence[Example], script: str, sandbox: Sandbox) -> list[list[str]]:
    """Return what each example of one codec says and the codec does not do; none where it agrees."""
    answers = _answers(examples, script, sandbox, normalize=False)
    asked = [example for example in examples if example.normalized is not None]
    normalized = dict(zip(map(id, asked), _answers(asked, script, sandbox, normalize=True), strict=True))
    lines = []
    for example, answer in zip(examples, answers, strict=True):
        found = list(_of(example, answer))
        if example.normalized is not None:
            found += _of_normalized(example, normalized[id(example)])
        lines.append(found)
    return lines


def _answers(examples: Sequence[Example], script: str, sandbox: Sandbox, *, normalize: bool) -> list[Answer]:
    """Run examples, those of equal variables together; whole results unless they are normalized."""
    answers: dict[int, Answer] = {}
    groups: dict[tuple[tuple[str, str], ...], list[int]] = {}
    for place, example in enumerate(examples):
        groups.setdefault(tuple(sorted(example.variables.items())), []).append(place)
    for variables, places in groups.items():
        chosen = [examples[place] for place in places]
        found = sandbox.decode(
            CodecPlan(chosen[0].codec.name, script, normalize, variables),
            [example.payload for example in chosen],
            [example.port for example in chosen],
            [example.time_ms for example in chosen],
            whole=not normalize,
        )
        answers.update(zip(places, found, strict=True))
    return [answers[place] for place in range(len(examples))]


def _of(example: Example, answer: Answer) -> Iterator[str]:
    """Yield how a whole result differs from its example."""
    result = {"errors": [answer.error]} if answer.error else json.loads(answer.data)
    errors = [str(one) for one in result.get("errors") or ()]
    if example.data is not None and (answer.error or "data" not in result):
        yield f"failed: {'; '.join(errors) or 'it returned no data'}"
        return
    if example.data is not None:
        yield from _differences("data", example.data, result["data"])
    if example.errors is not None or (errors and example.data is None):
        yield from _differences("errors", list(example.errors or ()), errors)
    if example.warnings is not None:
        yield from _differences("warnings", list(example.warnings), result.get("warnings") or [])


def _of_normalized(example: Example, answer: Answer) -> Iterator[str]:
    if answer.error:
        yield f"normalizeUplink failed: {answer.error}"
        return
    found = json.loads(answer.data)
    if isinstance(example.normalized, list) and not isinstance(found, list):
        found = [found]
    yield from _differences("normalized", example.normalized, found)


def _differences(where: str, expected: Any, found: Any) -> Iterator[str]:  # noqa: ANN401 - any JSON
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in [*expected, *(key for key in found if key not in expected)]:
            yield from _differences(f"{where}.{key}", expected.get(key), found.get(key))
    elif isinstance(expected, list) and isinstance(found, list):
        if len(expected) != len(found):
            yield f"{where}: expected {len(expected)} elements, got {len(found)}"
        for place, (one, other) in enumerate(zip(expected, found, strict=False)):
            yield from _differences(f"{where}[{place}]", one, other)
    elif not _same(expected, found):
        yield f"{where}: expected {_shown(expected)}, got {_shown(found)}"


def _same(expected: Any, found: Any) -> bool:  # noqa: ANN401 - any JSON
    """Tell whether two plain values are the same; a number in quotes is a number, as some files have it."""
    if isinstance(expected, bool) or isinstance(found, bool):
        return expected is found
    if isinstance(expected, str) and isinstance(found, int | float):
        try:
            expected = float(expected)
        except ValueError:
            return False
    if isinstance(expected, int | float) and isinstance(found, int | float):
        return math.isclose(expected, found, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return bool(expected == found)


def _shown(value: Any) -> str:  # noqa: ANN401 - any JSON
    text = "nothing" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
