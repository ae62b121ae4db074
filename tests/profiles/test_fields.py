"""Names and types of fields."""

from __future__ import annotations

import pytest

from gateway.model import FieldType
from gateway.profiles.fields import measurements, quantile_suffix
from tests.profiles.texts import plan_of

FLOAT, INTEGER, STRING = FieldType.FLOAT, FieldType.INTEGER, FieldType.STRING


@pytest.mark.parametrize(
    ("quantile", "suffix"),
    [(0.5, "p50"), (0.95, "p95"), (0.999, "p99_9"), (0.9999, "p99_99"), (0.07, "p7"), (0.29, "p29")],
)
def test_quantiles_in_names(quantile: float, suffix: str) -> None:
    """Percent, with an underscore for the point."""
    assert quantile_suffix(quantile) == suffix


def test_fields_of_every_kind() -> None:
    """A field's type follows its quantity's kind."""
    body = """\
windows: [1h]
quantities:
  g: {path: g, quantiles: [0.5], statistics: [sum, mean, first]}
  c: {path: c, kind: counter, statistics: [increment, last]}
  e: {path: e, kind: event, statistics: [sum, mean, min, max, first, last, stddev]}
  s: {path: s, states: [up, down], statistics: [time_in_state, last]}
  t: {path: t, kind: text}
"""
    found = measurements(plan_of(body))
    assert found["waste"] == {
        "g": FLOAT, "c": INTEGER, "e": INTEGER, "s": STRING, "t": STRING,
        "quality": INTEGER, "time_source": INTEGER,
    }  # fmt: skip
    assert found["waste_1h"] == {
        "g_count": INTEGER, "g_sum": FLOAT, "g_mean": FLOAT, "g_first": FLOAT, "g_p50": FLOAT,
        "c_count": INTEGER, "c_increment": INTEGER, "c_last": FLOAT,
        "e_count": INTEGER, "e_sum": INTEGER, "e_mean": FLOAT, "e_min": INTEGER, "e_max": INTEGER,
        "e_first": INTEGER, "e_last": INTEGER, "e_stddev": FLOAT,
        "s_count": INTEGER, "s_last": STRING, "s_up_seconds": FLOAT, "s_down_seconds": FLOAT,
        "t_count": INTEGER, "t_last": STRING,
        "coverage": FLOAT, "quality": INTEGER, "suspect_count": INTEGER, "failed_count": INTEGER,
    }  # fmt: skip
