"""Samples as people have them: lines of JSON, with or without the topic before or around the payload."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

MAX_SAMPLES = 10_000

_TOPIC_FIRST = re.compile(r"(?P<topic>[^\s{\[\"]\S*)\s+(?P<payload>[{\[].*)")


@dataclass(frozen=True, slots=True)
class Sample:
    """One payload: the JSON object or list that it holds, as text and read. `topic` is empty if unknown."""

    value: dict[str, Any] | list[Any]
    text: str
    topic: str = ""


def read_samples(text: str) -> tuple[list[Sample], list[str]]:
    """Return the samples, at most `MAX_SAMPLES`, and a sentence for each line that is none.

    A line is a JSON object or list; or a topic, blanks, and such (`mosquitto_sub -v`); or an object
    with `topic` and `payload` (`mosquitto_sub -F %j`, `-F %J`). A file that is one JSON document of
    several lines is one payload, or a list of payloads.
    """
    if (whole := _document(text)) is not None:
        return [_sample(value, "") for value in whole], []
    samples: list[Sample] = []
    faults: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if len(samples) == MAX_SAMPLES:
            faults.append(f"line {number} and what follows was not read: {MAX_SAMPLES} samples are enough")
            break
        if line.strip():
            found = _line(line.strip())
            if isinstance(found, Sample):
                samples.append(found)
            else:
                faults.append(f"line {number}: {found}")
    return samples, faults


def _document(text: str) -> list[Any] | None:
    """Return the payloads of a file that is one document of several lines; None where it is lines."""
    if "\n" not in text.strip():
        return None
    value = _json(text)
    if isinstance(value, dict):
        return [value]
    if isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
        return value
    return None


def _line(line: str) -> Sample | str:
    if match := _TOPIC_FIRST.fullmatch(line):
        return _payload(match["payload"], match["topic"])
    value = _json(line)
    if isinstance(value, dict) and isinstance(value.get("topic"), str) and "payload" in value:
        inner = value["payload"]
        return _payload(inner, value["topic"]) if isinstance(inner, str) else _judged(inner, value["topic"])
    return _judged(value, "", line)


def _payload(text: str, topic: str) -> Sample | str:
    return _judged(_json(text), topic, text)


def _judged(value: Any, topic: str, text: str = "") -> Sample | str:  # noqa: ANN401 - any JSON
    if isinstance(value, dict | list) and value:
        return _sample(value, topic, text)
    if value is _NOT_JSON:
        return "is not JSON"
    return "holds no JSON object and no list with something in it"


def _sample(value: Any, topic: str, text: str = "") -> Sample:  # noqa: ANN401 - any JSON
    if isinstance(value, dict) and not topic and isinstance(value.get("topic"), str) and "payload" in value:
        found = _line(json.dumps(value))
        if isinstance(found, Sample):
            return found
    return Sample(value, text or json.dumps(value, ensure_ascii=False, separators=(",", ":")), topic)


_NOT_JSON = object()


def _json(text: str) -> Any:  # noqa: ANN401 - any JSON
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return _NOT_JSON
