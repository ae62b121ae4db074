"""What is written of readings and windows: measurement, tags, fields, time.

Pure. A tag is constant for (device, dimensions): site, device, profile, the dimensions, and the texts of
the device's place that the profile declares. A field's type follows its quantity's kind.
"""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING

import numpy as np

from gateway.model import Column, FieldType, Flag, Points
from gateway.profiles.plan import Kind

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from numpy.typing import NDArray

    from gateway.model import Bool, Device, Float64, Int32, Int64, Readings, SeriesTable, Windows
    from gateway.profiles.plan import ProfilePlan, QuantityPlan

    TagSet = tuple[tuple[str, str], ...]

INTEGER_LIMIT = 2.0**63
"""The first float that int64 cannot hold."""


class TagSets:
    """The tag sets of the series of one table, made on first use and kept.

    `dimensions` names the key's parts after (site, device), as in `GroupPlan.dimensions`. `devices` is
    read when a tag set is made: call `renew` when it changed. Pairs that many series
    share (site, profile, street) are one object, so a series costs about 150 bytes.
    """

    def __init__(
        self,
        *,
        profile: ProfilePlan,
        dimensions: tuple[str, ...],
        table: SeriesTable,
        devices: Mapping[tuple[str, str], Device],
    ) -> None:
        self._profile = profile
        self._names = ("site", "device", *dimensions)
        self._table = table
        self._devices = devices
        self._pairs: dict[tuple[str, str], tuple[str, str]] = {}
        self._sets: list[TagSet] = []
        self._known: Bool = np.zeros(0, dtype=np.bool_)

    def of(self, series: Int32) -> list[TagSet]:
        """Return tag sets indexed by series code, complete for the codes in `series`.

        The list is shared with later calls and stays in place; a set that changes is another object.
        """
        missing = len(self._table) - len(self._sets)
        if missing > 0:
            self._sets.extend([()] * missing)
            self._known = np.concatenate([self._known, np.zeros(missing, dtype=np.bool_)])
        if not self._known[series].all():
            for code in np.unique(series[~self._known[series]]).tolist():
                self._sets[code] = self._make(self._table.keys[code])
            self._known[series] = True
        return self._sets

    def renew(
        self, devices: Mapping[tuple[str, str], Device], changed: Collection[tuple[str, str]]
    ) -> list[int]:
        """Read other devices from now on, of which these (site, device) changed; returns their series."""
        self._devices = devices
        if len(self._names) == 2:
            codes = [code for code in map(self._table.codes.get, changed) if code is not None]
        else:
            codes = [code for code, key in enumerate(self._table.keys) if key[:2] in changed]
        self._known[[code for code in codes if code < len(self._known)]] = False
        return codes

    def _make(self, key: tuple[str, ...]) -> TagSet:
        device = self._devices.get((key[0], key[1]))
        place = device.place if device is not None else {}
        # What identifies the series wins over a place's text of the same name.
        tags = {name: place.get(name, "") for name in self._profile.place_tags}
        tags["profile"] = self._profile.name
        tags.update(zip(self._names, key, strict=True))
        return tuple(self._pairs.setdefault(pair, pair) for pair in sorted(tags.items()) if pair[1])


def raw_points(readings: Readings, tags: TagSets, again: Bool | None = None) -> list[Points]:
    """Return the readings as points of measurement `<family>`: one `Points`, or none where none has a value.

    A row gives a point where it has at least one quantity. Every point has `quality` (integer, the worst
    flag of its readings); `time_source` (integer, `TimeSource`) stands only in points whose time is not
    the device's own, so that the usual point does not pay for it. A value that its field's type cannot
    hold (not finite, beyond int64) is left out: decoding has rejected it before. `again` bool[rows]: which
    may have been written before.
    """
    if not readings.present.all():
        rows: Bool = np.logical_or.reduce(readings.present, axis=0)
        if not rows.all():
            readings = readings.take(rows)
            again = None if again is None else again[rows]
    if not len(readings):
        return []
    fields = {
        quantity.name: _column(quantity, readings.values[index], readings.present[index], readings)
        for index, quantity in enumerate(readings.group.quantities)
    }
    kept = {name: column for name, column in fields.items() if column.present is None or column.present.any()}
    kept["quality"] = Column(FieldType.INTEGER, _worst(readings))
    guessed = readings.time_source != 0
    if guessed.any():
        source = readings.time_source.astype(np.int64)
        kept["time_source"] = Column(FieldType.INTEGER, source, _mask(guessed))
    return [
        Points(
            measurement=readings.profile.family,
            tags=tags.of(readings.series),
            series=readings.series,
            time=readings.time,
            fields=kept,
            again=again,
        )
    ]


def window_points(windows: Windows, tags: TagSets) -> Points:
    """Return windows as points of measurement `<family>_<window>`, stamped with their start."""
    return Points(
        measurement=f"{windows.profile.family}_{windows.window}",
        tags=tags.of(windows.series),
        series=windows.series,
        time=windows.start,
        fields=windows.fields,
        window_end=windows.end,
        revision=windows.revision,
    )


def _mask(present: Bool) -> Bool | None:
    return None if present.all() else present


def _worst(readings: Readings) -> Int64:
    """Return each row's worst flag; row by row of the columns, since they are few."""
    used = readings.flags if readings.present.all() else np.where(readings.present, readings.flags, 0)
    worst: Int64 = reduce(np.maximum, used).astype(np.int64)
    return np.maximum(worst, Flag.GOOD)


def _column(quantity: QuantityPlan, values: Float64, present: Bool, readings: Readings) -> Column:
    """One quantity's column: float64, int64 or str by its kind."""
    if quantity.kind is Kind.GAUGE:
        return Column(FieldType.FLOAT, values, _mask(present & np.isfinite(values)))
    if quantity.kind in (Kind.COUNTER, Kind.EVENT):
        # NaN compares false, so what is absent or not finite falls out too.
        held = present & (np.abs(values) < INTEGER_LIMIT)
        return Column(FieldType.INTEGER, np.rint(np.where(held, values, 0)).astype(np.int64), _mask(held))
    if quantity.kind is Kind.STATE:
        known = present & (values >= 0) & (values < len(quantity.states))
        return _strings(quantity.states, np.where(known, values, -1), present)
    # Of texts the table can hold many more than these.
    codes, places = np.unique(np.where(present, values, -1), return_inverse=True)
    held = codes >= 0
    names = [readings.texts.keys[code][0] for code in codes[held].astype(np.int64).tolist()]
    return _strings(names, places - np.count_nonzero(~held), present)


def _strings(names: Sequence[str], places: NDArray[np.generic], present: Bool) -> Column:
    """Return the name at each place; at -1 an empty text."""
    texts: NDArray[np.object_] = np.array([*names, ""], dtype=object)
    return Column(FieldType.STRING, texts[places.astype(np.intp)], _mask(present))
