from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.console.sparkline import HEIGHT, WIDTH, sparkline


@given(st.lists(st.floats(min_value=-1e9, max_value=1e9), min_size=2, max_size=50))
def test_the_line_stays_in_its_box(values: list[float]) -> None:
    """From the left edge to the right one, between the edges above and below."""
    line = sparkline(values)
    assert line is not None
    points = [tuple(map(float, point.split(","))) for point in line.points.split()]
    assert len(points) == len(values)
    assert (points[0][0], points[-1][0]) == (0, WIDTH)
    assert all(0 <= y <= HEIGHT for _, y in points)
    assert (line.first, line.last, line.low, line.high) == (values[0], values[-1], min(values), max(values))


def test_fewer_than_two_values_are_no_line() -> None:
    """None, and the page shows a dash."""
    assert sparkline([]) is None
    assert sparkline([1.0]) is None


def test_a_constant_is_a_level_line() -> None:
    """No division by zero."""
    line = sparkline([5.0, 5.0, 5.0])
    assert line is not None
    assert len({point.split(",")[1] for point in line.points.split()}) == 1
