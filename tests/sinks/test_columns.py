"""Points as Arrow bytes and back."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.model import Column, FieldType, Points
from gateway.sinks import columns

DTYPES = {FieldType.FLOAT: np.float64, FieldType.INTEGER: np.int64, FieldType.STRING: object}
VALUES = {
    FieldType.FLOAT: st.floats(allow_nan=False, allow_infinity=False),
    FieldType.INTEGER: st.integers(-(2**63), 2**63 - 1),
    FieldType.STRING: st.text(st.characters(codec="utf-8"), max_size=5),
}
NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=5)


@st.composite
def any_points(draw: st.DrawFn) -> Points:
    """Points with any names, tags and values, windows or not."""
    n = draw(st.integers(0, 8))
    fields = {}
    for name, kind in draw(st.dictionaries(NAMES, st.sampled_from(list(FieldType)), max_size=4)).items():
        values = draw(st.lists(VALUES[kind], min_size=n, max_size=n))
        present = np.array(draw(st.lists(st.booleans(), min_size=n, max_size=n)), dtype=np.bool_)
        fields[name] = Column(kind, np.array(values, dtype=DTYPES[kind]), None if present.all() else present)
    tags = draw(st.lists(st.dictionaries(NAMES, NAMES, max_size=3), min_size=1, max_size=3))
    codes = draw(st.lists(st.integers(0, len(tags) - 1), min_size=n, max_size=n))
    window = draw(st.booleans())
    return Points(
        measurement=draw(NAMES),
        tags=[tuple(sorted(tag.items())) for tag in tags],
        series=np.array(codes, dtype=np.int32),
        time=np.array(draw(st.lists(VALUES[FieldType.INTEGER], min_size=n, max_size=n)), dtype=np.int64),
        fields=fields,
        window_end=np.arange(n, dtype=np.int64) if window else None,
        revision=np.arange(n, dtype=np.int32) if window else None,
    )


@given(any_points())
@settings(deadline=None)  # the first call imports Arrow
def test_points_come_back_as_they_were(points: Points) -> None:
    """Measurement, tags a point, times, fields with their types and gaps, ends and revisions."""
    back = columns.decode(columns.encode(points))
    assert back.measurement == points.measurement
    assert np.array_equal(back.time, points.time)
    assert [back.tags[code] for code in back.series] == [points.tags[code] for code in points.series]
    assert set(back.fields) == set(points.fields)
    for name, column in points.fields.items():
        read = back.fields[name]
        rows = slice(None) if column.present is None else column.present
        assert read.type is column.type
        assert read.values[rows].tolist() == column.values[rows].tolist()
        assert (read.present is None) == (column.present is None)
        assert column.present is None or np.array_equal(read.present, column.present)
    for mine, others in ((back.window_end, points.window_end), (back.revision, points.revision)):
        assert (mine is None) == (others is None)
        assert others is None or np.array_equal(mine, others)


def test_a_tag_and_a_field_may_share_a_name() -> None:
    """Columns are known by role and name."""
    fields = {
        "lane": Column(FieldType.INTEGER, np.array([3])),
        "time": Column(FieldType.INTEGER, np.array([4])),
    }
    points = Points("m", [(("lane", "1"),)], np.zeros(1, np.int32), np.array([9]), fields)
    back = columns.decode(columns.encode(points))
    assert back.tags[0] == (("lane", "1"),)
    assert (back.fields["lane"].values[0], back.fields["time"].values[0], back.time[0]) == (3, 4, 9)


def test_a_usual_batch_is_small() -> None:
    """Repeated tags cost little: half of what the lines would take."""
    n = 5_000
    tags = [(("device", f"bin-{i:05d}"), ("profile", "bin-level"), ("site", "paris")) for i in range(n)]
    fields = {"level": Column(FieldType.FLOAT, np.round(np.random.default_rng(1).normal(50, 9, n), 1))}
    points = Points("waste", tags, np.arange(n, dtype=np.int32), np.arange(n) * 10**9, fields)
    assert len(columns.encode(points)) < 40 * n
