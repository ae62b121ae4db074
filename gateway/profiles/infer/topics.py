"""From the topics of samples to a template with {site} and {device}."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Template:
    """A topic template, how sure it is, and why. `device` is the place of the device's level; -1 = none."""

    text: str
    sure: str
    why: str
    device: int = -1


def template_of(topics: Sequence[str], names: Sequence[frozenset[str]], *, profile: str) -> Template:
    """Return the template of the topics that are as deep as the first one.

    `names` are, for each sample, the texts of its payload: a level that is one of them names the device.
    """
    heard = [(topic.split("/"), texts) for topic, texts in zip(topics, names, strict=True) if topic]
    if not heard:
        return Template(
            f"city/{{site}}/{profile}/{{device}}", "guess", "the samples hold no topic: write yours"
        )
    depth = len(heard[0][0])
    heard = [(levels, texts) for levels, texts in heard if len(levels) == depth]
    varying = [at for at in range(depth) if len({levels[at] for levels, _ in heard}) > 1]
    told = [at for at in range(depth) if all(levels[at] in texts for levels, texts in heard)]
    device, sure, why = _device([levels for levels, _ in heard], varying, told)
    first = heard[0][0]
    marks = {device: "{device}"} | dict.fromkeys([at for at in varying if at != device][:1], "{site}")
    text = "/".join(marks.get(at, level) for at, level in enumerate(first))
    if len(varying) - (device in varying) > 1:
        sure, why = "guess", "more levels differ than {site} and {device}: one topic a line for each"
    return Template(text, sure, why, device)


def _device(levels: list[list[str]], varying: list[int], told: list[int]) -> tuple[int, str, str]:
    """Return the level that names the device, how sure that is, and why."""
    both = [at for at in told if at in varying]
    if both:
        return both[-1], "sure", "the payload holds this level, and it differs"
    if told:
        return told[-1], "likely", "the payload holds this level"
    if varying:
        most = max(varying, key=lambda at: (len({one[at] for one in levels}), at))
        return most, "likely", "this level differs most"
    numbered = [at for at, level in enumerate(levels[0]) if any(sign.isdigit() for sign in level)]
    return (numbered or [len(levels[0]) - 1])[-1], "guess", "one device was heard: is it this level?"
