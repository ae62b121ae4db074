"""The compiled line encoder and the Python beside it write the same bytes for any points."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.model import Column, FieldType, Points
from gateway.sinks import line_protocol
from gateway.sinks.line_protocol import Encoded, LineEncoder

if TYPE_CHECKING:
    from types import ModuleType

    from numpy.typing import ArrayLike

TWIN = "lines"
SAME = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

TEXTS = st.one_of(
    st.text(st.sampled_from(",= \\\"'\n\r\t\0ué#🚲\u2028x1i"), max_size=8),
    st.text(max_size=40),
    st.sampled_from(["x" * 300, "up", "down"]),
)
FLOATS = st.one_of(
    st.floats(),
    st.integers(-(10**17), 10**17).map(float),
    st.builds(lambda digits, places: digits / 10**places, st.integers(-(10**17), 10**17), st.integers(0, 22)),
)
INTEGERS = st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(-9, 9))
TAG_SETS = st.lists(st.tuples(TEXTS, TEXTS), max_size=3).map(tuple)
KINDS = {
    FieldType.FLOAT: (FLOATS, np.float64),
    FieldType.INTEGER: (INTEGERS, np.int64),
    FieldType.STRING: (TEXTS, object),
}


@st.composite
def columns(draw: st.DrawFn, n: int) -> Column:
    """Any column of n points, with a mask or without."""
    kind = draw(st.sampled_from(list(KINDS)))
    values, dtype = KINDS[kind]
    array = np.empty(n, dtype=dtype)
    array[:] = draw(st.lists(values, min_size=n, max_size=n))
    present = draw(st.none() | st.lists(st.booleans(), min_size=n, max_size=n))
    return Column(kind, array, None if present is None else np.array(present, dtype=np.bool_))


@st.composite
def batches(draw: st.DrawFn) -> list[Points]:
    """Batches over one list of tag sets that grows, and in which sets change."""
    tags: list[tuple[tuple[str, str], ...]] = []
    made = []
    for _ in range(draw(st.integers(1, 3))):
        n = draw(st.integers(0, 8))
        tags = [
            *(draw(TAG_SETS) if draw(st.booleans()) else known for known in tags),
            *draw(st.lists(TAG_SETS, min_size=1, max_size=3)),
        ]
        made.append(
            Points(
                draw(TEXTS),
                tags,
                np.array(draw(st.lists(st.integers(0, len(tags) - 1), min_size=n, max_size=n)), np.int32),
                np.array(draw(st.lists(INTEGERS, min_size=n, max_size=n)), np.int64),
                {name: draw(columns(n)) for name in draw(st.lists(TEXTS, unique=True, max_size=5))},
            )
        )
    return made


def encoded(batches: list[Points], twin: ModuleType | None, *, strings: bool = True) -> list[Encoded]:
    """Return what one encoder writes of batches, whose tag sets are one list that changes."""
    encoder, tags, found = LineEncoder(strings=strings), list[object](), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(line_protocol, "_LINES", twin)
        for points in batches:
            tags[:] = points.tags
            found.append(
                encoder.encode(Points(points.measurement, tags, points.series, points.time, points.fields))
            )
    return found


def floats(values: ArrayLike) -> list[bytes]:
    """Return the texts of floats, as one batch's only field."""
    column = np.asarray(values, dtype=np.float64)
    none = np.zeros(len(column), dtype=np.int32)
    points = Points("m", [()], none, none.astype(np.int64), {"f": Column(FieldType.FLOAT, column)})
    return [line[len(b"m f=") : -len(b" 0")] for line in LineEncoder().encode(points).body.split(b"\n")]


@SAME
@given(batches=batches(), strings=st.booleans())
def test_same_for_any_points(twin: ModuleType, batches: list[Points], strings: bool) -> None:  # noqa: FBT001
    """Any names, tags, types, masks and values; tag sets that come and change between batches."""
    assert encoded(batches, twin, strings=strings) == encoded(batches, None, strings=strings)


@pytest.mark.usefixtures("twin")
def test_floats_are_orjsons() -> None:
    """Decimals of 1 to 17 digits, any bits, few bits, ties, powers of ten and of two and their neighbours."""
    rng = np.random.default_rng(20251122)
    bits = rng.integers(0, 2**64, 20_000, dtype=np.uint64)
    near = rng.integers(1023 - 20, 1023 + 56, 20_000).astype(np.uint64) << np.uint64(52)
    powers = np.concatenate([10.0 ** np.arange(-30, 30), 2.0 ** np.arange(-80, 80)])
    parts = [
        *(rng.integers(0, 10**d, 4_000) / 10.0 ** rng.integers(0, 22, 4_000) for d in range(1, 18)),
        bits.view(np.float64),
        (near | bits >> np.uint64(12)).view(np.float64),
        (near | bits & np.roll(bits, 1) & np.roll(bits, 2) >> np.uint64(12)).view(np.float64),
        rng.integers(0, 2**53, 20_000) / 2.0 ** rng.integers(0, 12, 20_000),
        np.round(rng.uniform(-100, 100, (5, 20_000)), 2).mean(axis=0),
        *(np.nextafter(powers, end) for end in (-np.inf, 0, np.inf)),
        powers,
        [0.0, -0.0, 5e-324, 1e-5, 1e-6, 1e16, 2.0**53, 1125899906842624.25, 1125899906842624.75],
    ]
    for part in parts:
        values = np.concatenate([part, -np.asarray(part)])
        values = values[np.isfinite(values)]
        assert floats(values) == orjson.dumps(values.tolist())[1:-1].split(b",")


def test_lines_outgrow_what_was_guessed(twin: ModuleType) -> None:
    """Long tags, names and texts in each of many lines."""
    n = 2_000
    long = "x" * 5_000
    texts = np.array([long, "é" * 2_000] * (n // 2), dtype=object)
    fields = {"s": Column(FieldType.STRING, texts), long: Column(FieldType.INTEGER, np.arange(n))}
    tags = [(("a", long),), (("b", "b"),)]
    points = Points(long, tags, np.arange(n, dtype=np.int32) % 2, np.arange(n), fields)
    assert encoded([points], twin) == encoded([points], None)


def test_only_what_changed_is_made_anew(twin: ModuleType) -> None:
    """A tag set's text is asked for once, and again when another object stands in its place."""
    tags = [(("a", str(place)),) for place in range(3)]
    seen, texts, made = [None] * 3, [b""] * 3, []

    def tag_text(tags: tuple[tuple[str, str], ...]) -> bytes:
        made.append(tags)
        return b",a=%b" % tags[0][1].encode()

    def lines(codes: list[int]) -> bytes:
        series, time = np.array(codes, dtype=np.int32), np.zeros(len(codes), dtype=np.int64)
        fields = [(b",v=", time, None)]
        found, count = twin.lines(
            measurement=b"m",
            tags=tags,
            seen=seen,
            texts=texts,
            tag_text=tag_text,
            series=series,
            time=time,
            fields=fields,
        )
        assert count == len(codes)
        return found

    assert lines([1, 1, 0]) == b"m,a=1 v=0i 0\nm,a=1 v=0i 0\nm,a=0 v=0i 0"
    assert made == [tags[1], tags[0]]
    tags[1] = (("a", "x"),)
    assert lines([0, 1, 0, 1]) == b"m,a=0 v=0i 0\nm,a=x v=0i 0\nm,a=0 v=0i 0\nm,a=x v=0i 0"
    assert made[2:] == [tags[1]]
    for beyond in (3, -1):
        with pytest.raises(IndexError, match="no tag set"):
            lines([0, beyond])


@pytest.mark.parametrize(
    ("values", "present"),
    [
        (np.zeros(2), None),
        (np.zeros(3, dtype=np.float32), None),
        (np.zeros(3, dtype=np.uint64), None),
        (np.zeros(3, dtype=np.complex128), None),
        (np.zeros(3), np.zeros(2, dtype=np.bool_)),
        (np.zeros(3), np.zeros(3, dtype=np.int8)),
        ([b"", b""], None),
    ],
)
def test_a_column_of_another_shape_is_refused(twin: ModuleType, values: object, present: object) -> None:
    """Before anything of it is read."""
    with pytest.raises(ValueError, match="not"):
        twin.lines(
            measurement=b"m",
            tags=[()],
            seen=[None],
            texts=[b""],
            tag_text=lambda _: b"",
            series=np.zeros(3, dtype=np.int32),
            time=np.zeros(3, dtype=np.int64),
            fields=[(b",v=", values, present)],
        )
