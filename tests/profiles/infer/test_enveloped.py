"""Samples from a network server: the draft is of what is inside."""

from __future__ import annotations

import json

from gateway.profiles.compile import compile_profile
from gateway.profiles.infer.draft import draft
from gateway.profiles.infer.samples import Sample

TOPIC = "application/1/device/24e124535b316056/event/up"


def sample(**changes: object) -> Sample:
    event = {"deduplicationId": "x", "time": "2026-11-22T10:15:00Z", "fPort": 85, "data": "AXVk"} | changes
    return Sample(event, json.dumps(event), TOPIC)


def test_what_the_servers_codec_decoded_is_drafted() -> None:
    """With the source in the place of topics; the envelope's own keys are none of its quantities."""
    text = draft([sample(object={"battery": 90, "temperature": 12.5})] * 3, profile="acme").text
    plan, problems = compile_profile(text, where="draft")
    assert plan is not None, (problems, text)
    assert plan.envelope is not None
    assert (plan.envelope.name, plan.format) == ("chirpstack", "decoded")
    assert {one.name for group in plan.groups for one in group.quantities} == {"battery", "temperature"}


def test_bytes_alone_are_left_to_a_layout() -> None:
    """Nothing is invented: no quantity, and a word of what to do."""
    text = draft([sample()], profile="acme").text
    assert "lay out the bytes with layout or tlv" in text
    assert "quantities: {}" in text
