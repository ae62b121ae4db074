"""Samples as people have them."""

from __future__ import annotations

import json

from gateway.profiles.infer.samples import read_samples


def test_a_line_is_a_payload_alone_or_with_its_topic() -> None:
    """As `mosquitto_sub`, with -v, -F %j or -F %J, prints them."""
    text = (
        '{"a":1}\n'
        'city/bin/7/up {"a":2}\n'
        '{"tst":"…","topic":"city/bin/8/up","payload":"{\\"a\\":3}"}\n'
        '{"topic":"city/bin/9/up","payload":{"a":4}}\n'
        "\n"
        '[{"a":5}]\n'
    )
    samples, faults = read_samples(text)
    assert faults == []
    assert [sample.topic for sample in samples] == ["", "city/bin/7/up", "city/bin/8/up", "city/bin/9/up", ""]
    assert [json.loads(sample.text) for sample in samples[:4]] == [{"a": 1}, {"a": 2}, {"a": 3}, {"a": 4}]
    assert samples[4].value == [{"a": 5}]


def test_a_whole_document_is_a_payload_or_a_list_of_them() -> None:
    """Somebody copied it from a data sheet, over several lines."""
    assert [sample.value for sample in read_samples('{\n"a": 1\n}')[0]] == [{"a": 1}]
    assert [sample.value for sample in read_samples('[\n{"a": 1},\n{"b": 2}\n]')[0]] == [{"a": 1}, {"b": 2}]


def test_what_is_no_sample_is_said_with_its_line() -> None:
    """The others are read."""
    samples, faults = read_samples('nonsense\n{"a":1}\n17\n{}\n')
    assert len(samples) == 1
    assert faults == [
        "line 1: is not JSON",
        "line 3: holds no JSON object and no list with something in it",
        "line 4: holds no JSON object and no list with something in it",
    ]
