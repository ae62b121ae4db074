"""How a profile lays out binary payloads: what may be written, and what each mistake is told."""

from __future__ import annotations

import pytest

from gateway.profiles.compile import compile_profile

HEAD = 'profile: p\nversion: 1\nfamily: f\ntopics: ["t/{device}"]\n'


def problems(body: str) -> list[str]:
    """Return what is wrong with a profile, each with its place."""
    return [str(one) for one in compile_profile(HEAD + body, where="p")[1]]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("layout: [a:u12]\nquantities: {a: {}}", "p:5:10: layout.0: «a:u12» takes 8, 16, 24"),
        ("layout: [a:x8]\nquantities: {a: {}}", "p:5:10: layout.0: «a:x8» is no field: write name:u16"),
        ("layout: [a:f24]\nquantities: {a: {}}", "«a:f24»: f needs 16 or 32 or 64, such as f16"),
        ("layout: [a:u]\nquantities: {a: {}}", "«a:u»: u needs a size, such as u16"),
        ("layout: [a:u8/0]\nquantities: {a: {}}", "a scale of 0 leaves nothing"),
        ("layout: [a:ascii4/2]\nquantities: {a: {kind: text}}", "a text has no scale"),
        ("layout: [a:u8, lanes]\nquantities: {a: {}}", "«lanes» is no field (name:u16) and no block"),
        (
            "blocks: {lanes: [b:u8]}\nlayout: [a:u8, lane]\nquantities: {a: {}}",
            "did you mean «lanes»?",
        ),
        ("blocks: {x: [x]}\nlayout: [a:u8, x]\nquantities: {a: {}}", "the block «x» holds itself"),
        ("layout: [a:u8]\nquantities: {b: {}}", "p:6:17: no layout has a field «b» (there are a)"),
        ("layout: [speed:u8]\nquantities: {sped: {}}", "did you mean «speed»?"),
        ("layout: [{bits: 8, of: [a:u3]}]\nquantities: {a: {}}", "take 3 bits, and there are 8"),
        ("layout: [{bits: 9, of: [a:u9]}]\nquantities: {a: {}}", "bits: 9 must be 8, 16, 24"),
        ("layout: [{each: 0, of: [a:u8]}]\nquantities: {a: {}}", "each: 0 must be a number, rest, or"),
        ("layout: [{each: 2, of: [a:u8]}]\nquantities: {a: {}}", "«a» is repeated: give «each» a dimension"),
        ("layout: [{each: rest, of: [b:u8]}, a:u8]\nquantities: {a: {}}", "only the last item may take"),
        ("layout: [skip:rest, a:u8]\nquantities: {a: {}}", "only the last item may take"),
        ('tlv: {"1": a:u8}\nquantities: {a: {}}', "is no tag: write its bytes in quotes"),
        ("tlv: {0175: a:u8}\nquantities: {a: {}}", "is no tag: write its bytes in quotes"),
        ('tlv: {"01": skip:rest, "02": a:u8}\nquantities: {a: {}}', "the tag 01 has no known size"),
        ('tlv: {"01,01": a:u8}\nquantities: {a: {}}', "the tag 01 stands twice"),
        ('layout: [a:u8]\ntlv: {"01": a:u8}\nquantities: {a: {}}', "either «layout» or «tlv»"),
        ("layout: [a:u8]\nvariants: [{layout: [a:u8]}]\nquantities: {a: {}}", "either «variants», or one"),
        ("format: json\nlayout: [a:u8]\nquantities: {a: {}}", "are of binary payloads (format: binary)"),
        ("format: binary\nquantities: {a: {path: a}}", "a binary format needs «layout», «tlv» or"),
        ("endian: little\nquantities: {a: {path: a}}", "«endian» belongs to binary payloads"),
        ("variants: [{port: 3..1, layout: [a:u8]}]\nquantities: {a: {}}", "3..1 must be lowest..highest"),
        ("variants: [{port: x, layout: [a:u8]}]\nquantities: {a: {}}", "must be a number, or a range"),
        ("variants: [{prefix: 1, layout: [a:u8]}]\nquantities: {a: {}}", "must be bytes in quotes"),
        (
            "variants: [{set: {lane: prt - 1}, layout: [a:u8]}]\nquantities: {a: {by: [lane]}}",
            "«lane» is set from prt; only «port» is known here",
        ),
        (
            "layout: [{each: {lane: [l, r]}, of: [a:u8]}]\nquantities: {a: {by: [class]}}",
            "«a» is laid out by [lane] (by: [lane])",
        ),
        ("variants: [{lenght: 4, layout: [a:u8]}]\nquantities: {a: {}}", "did you mean «length»?"),
        ("layout: [a:u8]\ntime: {path: t, unit: s}\nquantities: {a: {}}", "no layout has a field «t»"),
    ],
)
def test_each_mistake_has_its_own_sentence(body: str, told: str) -> None:
    """With its place, and what to write instead."""
    assert any(told in one for one in problems(body)), problems(body)


def test_a_quantity_finds_its_field_by_its_name() -> None:
    """With the field's dimensions; a time by the name of `time`."""
    plan, faults = compile_profile(
        f"{HEAD}layout: [time:unix32, {{each: {{lane: [l, r]}}, of: [n:u8]}}]\nquantities: {{n: {{}}}}\n",
        where="p",
    )
    assert plan is not None, faults
    assert plan.format == "binary"
    assert plan.time is not None
    assert (plan.time.path, plan.time.unit) == ("time", "s")
    assert plan.groups[0].dimensions == ("lane",)
