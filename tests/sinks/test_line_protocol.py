"""Line protocol, case by case. What holds for any text is in tests/properties."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.model import Column, FieldType, Points
from gateway.sinks.line_protocol import LineEncoder, carried, decode, encode, split

TAGS = [(("device", "bin-1"), ("site", "paris")), (("device", "bin 2"), ("site", ""))]


def points(**fields: Column) -> Points:
    """Two points, one of each tag set."""
    return Points(
        "waste", TAGS, np.array([0, 1], np.int32), np.array([1_795_000_000_000_000_001, -5]), fields
    )


def floats(*values: float, present: list[bool] | None = None) -> Column:
    """A float column."""
    return Column(FieldType.FLOAT, np.array(values), None if present is None else np.array(present))


def integers(*values: int, present: list[bool] | None = None) -> Column:
    """An integer column."""
    mask = None if present is None else np.array(present)
    return Column(FieldType.INTEGER, np.array(values, dtype=np.int64), mask)


def strings(*values: str) -> Column:
    """A string column."""
    return Column(FieldType.STRING, np.array(values, dtype=object))


def test_points_are_lines_in_their_order() -> None:
    """Tags sorted by key and escaped, empty ones left out; integers end in i; ns timestamps."""
    assert encode(points(level=floats(1.5, 2), n=integers(3, -4), tilt=strings("up", 'a"b\\c\nd'))) == (
        b'waste,device=bin-1,site=paris level=1.5,n=3i,tilt="up" 1795000000000000001\n'
        b'waste,device=bin\\ 2 level=2.0,n=-4i,tilt="a\\"b\\\\c\nd" -5'
    )


def test_a_missing_field_is_left_out_and_the_others_stay() -> None:
    """Fields that every point has come first, whatever their order."""
    encoded = encode(
        points(
            level=floats(1.5, 2, present=[False, True]),
            n=integers(3, 4, present=[True, False]),
            q=integers(1, 1),
        )
    )
    assert [line.split(b" ", 1)[1] for line in encoded.replace(b"bin\\ 2", b"bin-2").split(b"\n")] == [
        b"q=1i,n=3i 1795000000000000001",
        b"q=1i,level=2.0 -5",
    ]


def test_a_point_without_a_field_gives_no_line() -> None:
    """What is not finite is missing; a line needs a field."""
    encoded = LineEncoder().encode(points(a=floats(np.nan, 1), b=floats(np.inf, -np.inf)))
    assert encoded == (b"waste,device=bin\\ 2 a=1.0 -5", 1)
    assert LineEncoder().encode(points(a=floats(np.nan, np.nan))) == (b"", 0)
    assert LineEncoder().encode(points()) == (b"", 0)
    none = Points("waste", TAGS, np.zeros(0, np.int32), np.zeros(0, np.int64), {"a": floats()})
    assert LineEncoder().encode(none) == (b"", 0)


def test_without_strings_only_numbers_are_written() -> None:
    """A point of text alone is left out too."""
    assert encode(points(tilt=strings("a", "b"), n=integers(1, 2, present=[True, False])), strings=False) == (
        b"waste,device=bin-1,site=paris n=1i 1795000000000000001"
    )


@pytest.mark.parametrize("value", [-(2**63), 2**63 - 1, 0])
def test_the_ends_of_the_integers_are_written(value: int) -> None:
    """Also in a column with gaps."""
    encoded = encode(points(n=integers(value, 1, present=[True, False]), q=integers(1, 1)))
    assert decode(split(encoded)[0]).fields == {"n": value, "q": 1}


@pytest.mark.parametrize("value", [1e308, 5e-324, 0.1, -0.0, 123456789.123456789, 1e21, 1e-7])
def test_floats_read_back_the_same(value: float) -> None:
    """The shortest text that is the same number."""
    read = decode(split(encode(points(f=floats(value, 1))))[0]).fields["f"]
    assert (read, np.signbit(read)) == (value, np.signbit(value))


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("rue de la Paix", "rue de la Paix"),
        ("a\nb\r\0c\x7f", "a b  c "),
        ("C:\\x", "C:\\x"),
        ("end\\", "end/"),
        ("a\\,b\\ c\\=d", "a/,b/ c/=d"),
        ("\\\\x", "/\\x"),
        ("né🚲", "né🚲"),
    ],
)
def test_what_a_tag_can_carry(text: str, kept: str) -> None:
    """Control characters become spaces; a backslash that parsers read differently becomes a slash."""
    assert carried(text) == kept
    tagged = Points("m", [(("t", text),)], np.zeros(1, np.int32), np.zeros(1, np.int64), {"v": integers(1)})
    assert decode(encode(tagged)).tags == (("t", kept),)


def test_a_changed_tag_set_is_seen() -> None:
    """The encoder remembers a set's text by the set, not by its number alone."""
    encoder = LineEncoder()
    tags = [(("device", "a"),)]
    batch = Points("m", tags, np.zeros(1, np.int32), np.zeros(1, np.int64), {"v": integers(1)})
    assert encoder.encode(batch).body == b"m,device=a v=1i 0"
    tags[0] = (("device", "a"), ("street", "b"))
    assert encoder.encode(batch).body == b"m,device=a,street=b v=1i 0"
    tags.append((("device", "c"),))
    batch = Points("w", tags, np.array([1], np.int32), np.zeros(1, np.int64), {"v": integers(1)})
    assert encoder.encode(batch).body == b"w,device=c v=1i 0"


def test_the_memory_of_tag_sets_is_bounded() -> None:
    """Lists of tag sets that come and go are forgotten."""
    encoder = LineEncoder()
    kept = []
    for number in range(1_000):
        tags = [(("device", str(number)),)]
        kept.append(tags)
        batch = Points("m", tags, np.zeros(1, np.int32), np.zeros(1, np.int64), {"v": integers(1)})
        assert encoder.encode(batch).body == b"m,device=%d v=1i 0" % number
    assert len(encoder._known) <= 256


def test_a_newline_within_a_string_ends_no_line() -> None:
    """Lines are split where they end; a quote in a tag opens no string."""
    body = b'm,t="x v="a\nb",w=1i 1\nm,t=y v="c\\"\n\\\\" 2\nm v=3 3\nbad\n\nm,t=a\\ b v=4'
    assert split(body) == [
        b'm,t="x v="a\nb",w=1i 1',
        b'm,t=y v="c\\"\n\\\\" 2',
        b"m v=3 3",
        b"bad",
        b"m,t=a\\ b v=4",
    ]


@pytest.mark.parametrize(
    "line", [b"", b"m", b"m v", b"m v=", b"m v=1 x", b'm v="a', b"m,t v=1", b"m v=1,", b"\xff v=1"]
)
def test_what_is_no_line_is_a_value_error(line: bytes) -> None:
    """Named, never half-read."""
    with pytest.raises(ValueError):  # noqa: PT011 - the sentence differs by what is wrong
        decode(line)


def test_other_peoples_lines_are_read_too() -> None:
    """Booleans, unsigned integers and no time."""
    line = decode(b"m,a=1 t=true,f=F,u=3u,e=1e5")
    assert line.fields == {"t": True, "f": False, "u": 3, "e": 1e5}
    assert line.time is None
