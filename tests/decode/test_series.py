"""Series codes, columns by code and parameters."""

from __future__ import annotations

import numpy as np

from gateway.decode.growing import GrowingColumn
from gateway.decode.parameters import Parameters
from gateway.decode.series import SeriesCodes
from gateway.model import SeriesTable
from gateway.profiles.plan import ParameterPlan
from tests.decode.plans import device

DEVICES = [("s", "a"), ("s", "b"), ("s", "c")]


def codes(*routes: int) -> np.ndarray:
    """Make a column of route codes."""
    return np.array(routes, dtype=np.int32)


def test_codes_follow_first_sight() -> None:
    """The first series seen is 0, whatever its route's code; a restored table goes on where it ended."""
    series = SeriesCodes(SeriesTable(), 10)
    for code, key in enumerate(DEVICES):
        series.admit(code, key)
    assert series.codes(codes(2, 0, 2), [], DEVICES).tolist() == [0, 1, 0]
    restored = SeriesCodes(SeriesTable([("s", "c"), ("s", "a")]), 10)
    for code, key in enumerate(DEVICES):
        restored.admit(code, key)
    assert restored.codes(codes(1, 0), [], DEVICES).tolist() == [2, 1]


def test_dimensions_split_series() -> None:
    """Each combination of device and dimensions is a series."""
    series = SeriesCodes(SeriesTable(), 10)
    found = series.codes(codes(0, 0, 1, 0), [["x", "y", "x", "x"]], DEVICES)
    assert found.tolist() == [0, 1, 2, 0]
    assert series.table.keys == [("s", "a", "x"), ("s", "a", "y"), ("s", "b", "x")]


def test_a_full_table_refuses_new_series() -> None:
    """Known series go on; there is room again once the bound is raised."""
    series = SeriesCodes(SeriesTable(), 1)
    for code, key in enumerate(DEVICES):
        series.admit(code, key)
    assert series.codes(codes(0, 1, 0), [], DEVICES).tolist() == [0, -1, 0]
    split = SeriesCodes(SeriesTable(), 1)
    assert split.codes(codes(0, 0), [["x", "y"]], DEVICES).tolist() == [0, -1]
    split.max_series = 2
    assert split.codes(codes(0, 0), [["y", "x"]], DEVICES).tolist() == [1, 0]


def test_a_column_grows() -> None:
    """Codes that were never set hold the default."""
    column = GrowingColumn(-1, np.int32)
    column.set(5_000, 7)
    assert column.take(np.array([0, 5_000, 4_999])).tolist() == [-1, 7, -1]
    column.clear()
    assert column.take(np.array([0])).tolist() == [-1]


def test_parameters() -> None:
    """A value since ever, one from a day on, a default, and nothing."""
    plans = {"p": ParameterPlan("p", "mm"), "q": ParameterPlan("q", "mm", default=9.0)}
    parameters = Parameters(plans, ["q", "p"])
    parameters.admit(0, device(parameters={"p": 5.0}))
    parameters.admit(1, device(parameters={"p": ((100, 1.0), (200, 2.0)), "q": ((100, 1.0),)}))
    parameters.admit(2, None)
    time = np.array([50, 50, 150, 250, 50])
    routes = codes(0, 1, 1, 1, 2)
    assert np.array_equal(parameters.column("p", routes, time), [5, np.nan, 1, 2, np.nan], equal_nan=True)
    assert parameters.column("q", routes, time).tolist() == [9, 9, 1, 1, 9]
