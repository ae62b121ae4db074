"""The draft of a profile, as YAML text: each line with how sure it is, and what it rests on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.profiles.durations import duration_name, instant_ns
from gateway.profiles.infer import names
from gateway.profiles.infer.enveloped import envelope_of, unwrapped
from gateway.profiles.infer.roles import Roles, interval_of, roles
from gateway.profiles.infer.survey import agreeing, survey
from gateway.profiles.infer.texts import quoted
from gateway.profiles.infer.topics import Template, template_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway.profiles.envelopes import EnvelopePlan
    from gateway.profiles.infer.samples import Sample
    from gateway.profiles.infer.survey import Found

_UNIT_NS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_NICE_S = (10, 30, 60, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400)
_COLUMN = 58


@dataclass(frozen=True, slots=True)
class Draft:
    """The text of a draft, and how many of its lines are sure, likely or guessed."""

    text: str
    sure: int
    likely: int
    guessed: int


@dataclass(frozen=True, slots=True)
class ByCodec:
    """Samples that a vendor's codec has decoded: through which server they come, its file, which firmware."""

    source: str
    file: str
    firmware: str = ""


def draft(
    samples: Sequence[Sample], *, profile: str, family: str = "", codec: ByCodec | None = None
) -> Draft:
    """Return the draft for samples, at least one. It may need mending before `profile check` takes it."""
    envelope = None if codec else envelope_of(samples)
    if envelope is not None:
        samples = unwrapped(samples, envelope)
    everything, strange = survey(samples)
    found, otherwise = agreeing(everything)
    texts = [frozenset[str]() for _ in samples]
    for one in found:
        for number, value in one.rows:
            if isinstance(value, str):
                texts[number] |= {value}
    template = template_of([sample.topic for sample in samples], texts, profile=profile)
    identities = _identities(samples, template)
    chosen = roles(found, _sources(samples, found, identities), identities)
    chosen.left += [(one.path, "something else stands there in other samples") for one in otherwise]
    words = [*template.text.split("/"), profile, *(one.key for one in found)]
    lines = [
        *_head(samples, profile, family, names.family_of(words)),
        *(_by_codec(codec) if codec else _arrives(template, envelope)),
        *_time(samples, found, chosen, identities),
        *_quantities(chosen),
        *_left(chosen, strange),
    ]
    marks = [
        line.partition("# ")[2].split(":")[0].split(";")[0] for line in lines if not line.startswith("#")
    ]
    return Draft("\n".join(lines) + "\n", *(marks.count(word) for word in ("sure", "likely", "guess")))


def _identities(samples: Sequence[Sample], template: Template) -> frozenset[str]:
    levels = [sample.topic.split("/") for sample in samples if sample.topic]
    return frozenset(one[template.device] for one in levels if 0 <= template.device < len(one))


def _sources(samples: Sequence[Sample], found: Sequence[Found], identities: frozenset[str]) -> list[str]:
    """Return what names each sample's device: its topic, else what looks like its name in the payload."""
    sources = [sample.topic for sample in samples]
    named = [one for one in found if not one.holder and _is_name(one, identities)]
    if not any(sources) and named:
        for number, value in named[0].rows:
            sources[number] = str(value)
    return sources


def _is_name(one: Found, identities: frozenset[str]) -> bool:
    words = {"id", "device", "deviceid", "dev", "eui", "deveui", "serial", "sn", "imei"}
    return bool(one.values) and (
        set(map(str, one.values)) <= identities or not words.isdisjoint(names.parts(one.key))
    )


def _head(samples: Sequence[Sample], profile: str, family: str, guessed: str) -> Iterator[str]:
    yield f"# A draft from {len(samples)} sample{'' if len(samples) == 1 else 's'}. Behind each line stands"
    yield "# how sure it is (sure, likely, guess), and why. Mend it, then: ecluse profile check."
    yield f"profile: {profile}"
    yield "version: 1"
    yield (
        f"family: {family}"
        if family
        else _line(f"family: {guessed}", "guess", "by the words in topic and keys")
    )


def _arrives(template: Template, envelope: EnvelopePlan | None) -> Iterator[str]:
    """Yield by which topics, or through which network server, payloads come."""
    if envelope is None:
        yield _line(f"topics: [{quoted(template.text)}]", template.sure, template.why)
        return
    yield _line(f"source: {envelope.name}", "sure", f"the samples are uplinks of {envelope.title}")
    yield _line("format: decoded", "likely", f"{envelope.decoded}; or lay out the bytes with layout or tlv")


def _by_codec(codec: ByCodec) -> Iterator[str]:
    yield _line(f"source: {codec.source}", "likely", "by the catalogue; or that of your network server")
    of = f", for firmware {codec.firmware}" if codec.firmware else ""
    yield _line(f"codec: {{file: {quoted(codec.file)}}}", "sure", f"the vendor's own{of}")


def _time(
    samples: Sequence[Sample], found: Sequence[Found], chosen: Roles, identities: frozenset[str]
) -> Iterator[str]:
    if chosen.time is None:
        yield "# no time was found: readings get the envelope's, or else that at which they are received"
    else:
        path, unit, sure = chosen.time
        yield _line(f"time: {{path: {quoted(path)}, unit: {unit}}}", sure, "its values are times so written")
        rows = next(one.rows for one in found if one.path == path)
        times: dict[str, list[int]] = {}
        sources = _sources(samples, found, identities)
        for number, value in rows:
            if value is not None:
                times.setdefault(sources[number], []).append(_instant(value, unit))
        if (every := _nice(interval_of(times))) > 0:
            yield _line(
                f"every: {duration_name(every)}", "likely", "the median step between a device's times"
            )
    if chosen.sequence:
        yield _line(f"sequence: {quoted(chosen.sequence)}", "likely", "the uplink's own counter, by its name")


def _instant(value: Any, unit: str) -> int:  # noqa: ANN401 - a number, or a text
    return instant_ns(value) if unit == "iso" else int(value * _UNIT_NS[unit])


def _nice(step_ns: int) -> int:
    """Return the usual interval within a fifth of a step; 0 where there is none."""
    near = [nice * 10**9 for nice in _NICE_S if abs(step_ns - nice * 10**9) * 5 <= nice * 10**9]
    return min(near, key=lambda nice: abs(nice - step_ns), default=0)


def _quantities(chosen: Roles) -> Iterator[str]:
    if chosen.dimensions:
        inside = ", ".join(f"{name}: {quoted(path)}" for name, path in chosen.dimensions.items())
        yield _line(f"dimensions: {{{inside}}}", "likely", "tells the elements of a list apart")
    yield "quantities:" if chosen.quantities else "quantities: {}  # nothing that is measured was found"
    for one in chosen.quantities:
        keys = ", ".join(f"{key}: {value}" for key, value in one.keys.items())
        yield _line(f"  {one.name}: {{{keys}}}", one.sure, one.why)


def _left(chosen: Roles, strange: Sequence[str]) -> Iterator[str]:
    left = [*chosen.left, *((path, "its key cannot stand in a path, or lies too deep") for path in strange)]
    if left:
        yield "# Left out:"
    for path, reason in left:
        yield f"#   {path!r}: {reason}" if not path.isprintable() else f"#   {path}: {reason}"


def _line(text: str, sure: str, why: str) -> str:
    return f"{text:<{_COLUMN}}  # {sure}: {why}"
