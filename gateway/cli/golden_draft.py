"""The golden examples of a new profile: what its draft makes of a few of the samples."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gateway.cli.trial import example_topic, trial
from gateway.profiles.durations import instant_text
from gateway.profiles.envelopes import wrapped

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway.cli.trial import Reading, Trial
    from gateway.profiles.infer.samples import Sample
    from gateway.profiles.plan import ProfilePlan

_PLAIN = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z")
_EXACT = 2**53

MOST = 5
"""Examples written: the first samples of different shapes."""

_SECOND_NS = 10**9
_CENTURY_NS = 100 * 365 * 86_400 * _SECOND_NS
_HEAD = """\
# What the draft makes of some samples: compare each value with what the device meant, then keep it as a test.
examples:
"""


def golden_text(plan: ProfilePlan, samples: Sequence[Sample], *, now_ns: int) -> str:
    """Return golden.yaml for a draft: up to `MOST` samples, and the readings that come of each."""
    chosen = list(_different(samples))[:MOST]
    return _HEAD + "\n".join(
        _example(plan, sample, number, now_ns) for number, sample in enumerate(chosen, start=1)
    )


def hexadecimal_text(plan: ProfilePlan, payloads: Sequence[tuple[str, bytes, int | None, int]]) -> str:
    """Return golden.yaml of binary payloads: (name, payload, port, when received in ns), the first few."""
    return _HEAD + "\n".join(
        _hexadecimal(plan, f"{number}: {name}", payload, port, at_ns)
        for number, (name, payload, port, at_ns) in enumerate(payloads[:MOST], start=1)
    )


def _hexadecimal(plan: ProfilePlan, name: str, payload: bytes, port: int | None, at_ns: int) -> str:
    topic = example_topic(plan)
    body = wrapped(plan.envelope, payload, port) if plan.envelope else payload
    at_ns = _heard_ns(plan, body, topic, at_ns)
    found = trial(plan, topic=topic, payload=body, received_ns=at_ns, parameters={})
    lines = [
        f"  - name: {json.dumps(name, ensure_ascii=False)}",
        f"    topic: {json.dumps(topic, ensure_ascii=False)}",
        f"    received: {instant_text(at_ns)}",
        f'    payload_hex: "{payload.hex()}"',
        *([f"    port: {port}"] if port is not None and plan.envelope else []),
        *_outcome(found),
    ]
    return "\n".join(lines) + "\n"


def _outcome(found: Trial) -> Iterator[str]:
    if found.readings:
        yield "    readings:"
        yield from _rows(found.readings)
    if found.rejections:
        yield f"    rejected: {found.rejections[0].reason}"


def _different(samples: Sequence[Sample]) -> Iterator[Sample]:
    """Yield the samples whose keys are not those of one before."""
    seen = set[tuple[str, ...]]()
    for sample in samples:
        keys = tuple(sorted(sample.value)) if isinstance(sample.value, dict) else ()
        if keys not in seen:
            seen.add(keys)
            yield sample


def _example(plan: ProfilePlan, sample: Sample, number: int, now_ns: int) -> str:
    topic = sample.topic or example_topic(plan)
    at_ns = _heard_ns(plan, sample.text.encode(), topic, now_ns)
    found = trial(plan, topic=topic, payload=sample.text.encode(), received_ns=at_ns, parameters={})
    lines = [
        f"  - name: sample {number}",
        f"    topic: {json.dumps(topic, ensure_ascii=False)}",
        f"    received: {instant_text(at_ns)}",
        f"    payload: {json.dumps(sample.text, ensure_ascii=False)}",
        *_outcome(found),
    ]
    return "\n".join(lines) + "\n"


def _heard_ns(plan: ProfilePlan, payload: bytes, topic: str, now_ns: int) -> int:
    """Return a second after the device's time; now where it has none."""
    if plan.time is None:
        return now_ns
    patient = replace(plan, max_age_ns=_CENTURY_NS, max_ahead_ns=_CENTURY_NS)
    found = trial(patient, topic=topic, payload=payload, received_ns=now_ns, parameters={})
    return (
        max((one.time_ns for one in found.readings), default=now_ns) // _SECOND_NS * _SECOND_NS + _SECOND_NS
    )


def _rows(readings: Sequence[Reading]) -> Iterator[str]:
    rows: dict[tuple[object, ...], dict[str, Any]] = {}
    for one in readings:
        row = rows.setdefault((one.time_ns, one.dimensions), {"at": instant_text(one.time_ns)})
        row |= dict(one.dimensions)
        row[one.quantity] = one.value
    for row in rows.values():
        yield "      - {" + ", ".join(f"{key}: {_yaml(value)}" for key, value in row.items()) + "}"


def _yaml(value: float | str) -> str:
    """Return a value as YAML: a whole number without its point, a text in quotes unless it is an instant."""
    if isinstance(value, str):
        return value if _PLAIN.fullmatch(value) else json.dumps(value, ensure_ascii=False)
    return f"{value:.0f}" if value == int(value) and abs(value) < _EXACT else repr(value)
