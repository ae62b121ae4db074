"""What is written of readings and windows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gateway.model import Column, Device, FieldType, Flag, Readings, SeriesTable, TimeSource, Windows
from gateway.profiles.plan import GroupPlan, Kind, ProfilePlan, QuantityPlan
from gateway.sinks.points import TagSets, raw_points, window_points

if TYPE_CHECKING:
    from gateway.model import Points

GROUP = GroupPlan(
    index=0,
    dimensions=("lane",),
    quantities=(
        QuantityPlan("level", "%", Kind.GAUGE),
        QuantityPlan("index", "L", Kind.COUNTER),
        QuantityPlan("vehicles", "1", Kind.EVENT),
        QuantityPlan("tilt", "", Kind.STATE, states=("upright", "tilted")),
        QuantityPlan("message", "", Kind.TEXT),
    ),
)
PROFILE = ProfilePlan(
    name="any-device",
    version=2,
    family="waste",
    text="",
    format="json",
    topics=(),
    groups=(GROUP,),
    windows=(),
    parameters={},
    dimensions={},
    place_tags=("street", "profile"),
)
PLACES = {("paris", "a"): Device("paris", "a", "any-device", place={"street": "Quai 1", "profile": "forged"})}


def readings(values: list[list[float | None]], **columns: list[int]) -> Readings:
    """Rows of (level, index, vehicles, tilt, message), None where absent, of series 0, 1, 0 and so on."""
    n = len(values)
    table = SeriesTable([("paris", "a", "1"), ("paris", "b", "")])
    present = np.array([[value is not None for value in row] for row in values]).T
    return Readings(
        profile=PROFILE,
        group=GROUP,
        table=table,
        series=(np.arange(n) % 2).astype(np.int32),
        time=np.arange(n) * 10,
        values=np.array([[np.nan if value is None else value for value in row] for row in values]).T,
        present=present,
        flags=np.where(present, np.array(columns.get("flags", [1] * n)), Flag.MISSING).astype(np.uint8),
        uplink=np.arange(n, dtype=np.int32),
        time_source=np.array(columns.get("sources", [0] * n), dtype=np.uint8),
        received_ns=np.arange(n),
        texts=SeriesTable([("hello",), ("help",)]),
    )


def tag_sets(batch: Readings, places: dict[tuple[str, str], Device] | None = None) -> TagSets:
    """The tags of its series."""
    devices = PLACES if places is None else places
    return TagSets(profile=PROFILE, dimensions=GROUP.dimensions, table=batch.table, devices=devices)


def one(batch: Readings) -> Points:
    """The points of a batch that gives some."""
    (points,) = raw_points(batch, tag_sets(batch))
    return points


def test_a_fields_type_follows_its_kind() -> None:
    """Gauge float, counter and event integer, state and text by their words."""
    points = one(readings([[12.5, 1_000_000, 3, 1, 0], [13.0, 1_000_001, 0, 0, 1]]))
    assert points.measurement == "waste"
    told = {name: (column.type, column.values.tolist()) for name, column in points.fields.items()}
    assert told == {
        "level": (FieldType.FLOAT, [12.5, 13.0]),
        "index": (FieldType.INTEGER, [1_000_000, 1_000_001]),
        "vehicles": (FieldType.INTEGER, [3, 0]),
        "tilt": (FieldType.STRING, ["tilted", "upright"]),
        "message": (FieldType.STRING, ["hello", "help"]),
        "quality": (FieldType.INTEGER, [1, 1]),
    }
    assert all(column.present is None for column in points.fields.values())


def test_a_row_without_a_value_gives_no_point_and_a_quantity_without_one_no_field() -> None:
    """Gaps are masks."""
    batch = readings([[1.0, None, 2, None, None], [None] * 5, [3.0, None, None, None, None]])
    points = one(batch)
    assert points.time.tolist() == [0, 20]
    assert set(points.fields) == {"level", "vehicles", "quality"}
    assert points.fields["vehicles"].present.tolist() == [True, False]
    assert raw_points(readings([[None] * 5]), tag_sets(batch)) == []


def test_words_with_gaps_stay_in_their_rows() -> None:
    """An absent text is empty and masked; a state that the profile does not name is an empty text."""
    rows = [[1.0, 1, 1, None, 1], [1.0, 1, 1, 1, None], [1.0, 1, 1, 0, 0], [1.0, 1, 1, 99, 1]]
    fields = one(readings(rows)).fields
    assert fields["tilt"].values.tolist() == ["", "tilted", "upright", ""]
    assert fields["tilt"].present.tolist() == [False, True, True, True]
    assert fields["message"].values.tolist() == ["help", "", "hello", "help"]
    assert fields["message"].present.tolist() == [True, False, True, True]


def test_what_a_field_cannot_hold_is_left_out() -> None:
    """Not finite, or beyond int64."""
    points = one(readings([[np.inf, 2.0**63, 1, 0, 0], [1.0, -(2.0**62), 1, 0, 0]]))
    assert points.fields["level"].present.tolist() == [False, True]
    assert points.fields["index"].present.tolist() == [False, True]
    assert points.fields["index"].values[1] == -(2**62)


def test_quality_is_the_worst_flag_of_the_row() -> None:
    """FAIL before SUSPECT before NOT EVALUATED before GOOD; a missing value says nothing."""
    batch = readings([[1.0, 1, 1, 0, 0], [1.0, 1, None, None, None]])
    batch.flags[:, 0] = [Flag.GOOD, Flag.SUSPECT, Flag.NOT_EVALUATED, Flag.GOOD, Flag.GOOD]
    batch.flags[:, 1] = [Flag.NOT_EVALUATED, Flag.FAIL, Flag.MISSING, Flag.MISSING, Flag.MISSING]
    assert one(batch).fields["quality"].values.tolist() == [Flag.SUSPECT, Flag.FAIL]


def test_the_source_of_a_time_is_written_only_where_it_is_not_the_device() -> None:
    """The usual point does not pay for it."""
    row: list[float | None] = [1.0, 1, 1, 0, 0]
    assert "time_source" not in one(readings([row, row])).fields
    column = one(readings([row, row], sources=[0, TimeSource.RECEIPT])).fields["time_source"]
    assert column.type is FieldType.INTEGER
    assert (column.values[1], column.present.tolist()) == (TimeSource.RECEIPT, [False, True])


def test_tags_are_sorted_complete_and_never_forged() -> None:
    """Site, device, profile, dimensions and declared places; empty ones are left out."""
    batch = readings([[1.0, 1, 1, 0, 0], [1.0, 1, 1, 0, 0]])
    tags = tag_sets(batch).of(batch.series)
    identity = (("device", "a"), ("lane", "1"), ("profile", "any-device"), ("site", "paris"))
    assert tags[0] == (*identity, ("street", "Quai 1"))
    assert tags[1] == (("device", "b"), ("profile", "any-device"), ("site", "paris"))


def test_tags_follow_the_registry_and_the_table() -> None:
    """A place that changed is read again once said; new series are added; the list stays in place."""
    batch = readings([[1.0, 1, 1, 0, 0], [1.0, 1, 1, 0, 0]])
    places = dict(PLACES)
    sets = tag_sets(batch, places)
    tags = sets.of(batch.series)
    kept = tags[1]
    places["paris", "a"] = Device("paris", "a", "any-device", place={"street": "Quai 2"})
    assert sets.of(batch.series)[0][-1] == ("street", "Quai 1")
    assert sets.renew(places, [("paris", "a")]) == [0]
    code = batch.table.code(("paris", "a", "2"))
    assert sets.of(np.array([0, code, 1], dtype=np.int32)) is tags
    assert tags[0][-1] == tags[code][-1] == ("street", "Quai 2")
    assert tags[1] is kept
    assert tags[0][-1] is tags[code][-1], "pairs are shared"


def test_windows_are_stamped_with_their_start() -> None:
    """Measurement by family and window; ends and revisions go along."""
    batch = readings([[1.0, 1, 1, 0, 0]])
    windows = Windows(
        profile=PROFILE,
        group=GROUP,
        table=batch.table,
        window="15m",
        series=np.array([1], np.int32),
        start=np.array([900]),
        end=np.array([1_800]),
        revision=np.array([2], np.int32),
        fields={"level_mean": Column(FieldType.FLOAT, np.array([1.5]))},
    )
    points = window_points(windows, tag_sets(batch))
    assert (points.measurement, points.time.tolist()) == ("waste_15m", [900])
    assert points.tags[points.series[0]][0] == ("device", "b")
    assert (points.window_end.tolist(), points.revision.tolist()) == ([1_800], [2])
    assert points.fields is windows.fields
