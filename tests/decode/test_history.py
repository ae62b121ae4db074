"""Earlier readings inside one uplink."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gateway.decode.decoder import Decoded, decode
from gateway.model import NS_PER_S, Reason
from tests.decode.plans import device, payloads, profile, routes

BODY = """
time: {path: ts, unit: s}
parameters: {h: {unit: h}}
quantities:
  n: {path: n, unit: L, kind: counter, modulus: 100, missing: [-1], scale: 1}
  g: {path: g, unit: mm}
history: {of: n, start: log.n, at: log.at, step: 1h, add: log.add}
limits: {readings: 6}
"""
BY_PARAMETER = BODY.replace("step: 1h", "step: h")


def rows(decoded: Decoded) -> list[tuple[int, float, float | None]]:
    """Return (uplink, time in hours, counter or None) of each row."""
    (one,) = decoded.readings
    counter = np.where(one.present[0], one.values[0], np.nan).tolist()
    hours = (one.time / (3600 * NS_PER_S)).tolist()
    return [
        (uplink, hour, None if value != value else value)  # noqa: PLR0124 - NaN
        for uplink, hour, value in zip(one.uplink.tolist(), hours, counter, strict=True)
    ]


def sent(log: Any, **more: Any) -> dict[str, Any]:
    """Make an uplink at hour 10."""
    return {"ts": 36_000, "log": log} | more


def test_each_step_adds() -> None:
    """The first value stands at its time; each delta adds to it one step later; the present comes last."""
    decoded = decode(
        payloads(sent({"n": 5, "at": 3600, "add": [1, 0, 4]}, n=12), {"ts": 0, "n": 1}), routes(profile(BODY))
    )
    assert rows(decoded) == [(0, 1, 5), (0, 2, 6), (0, 3, 6), (0, 4, 10), (0, 10, 12), (1, 0, 1)]


def test_without_a_present_value() -> None:
    """History alone is enough."""
    assert rows(decode(payloads(sent({"n": 5, "at": 3600})), routes(profile(BODY)))) == [(0, 1, 5)]


def test_a_register_rolls_over_inside_its_history() -> None:
    """A step past the modulus shows what the register showed."""
    decoded = decode(payloads(sent({"n": 98, "at": 3600, "add": [3, 98]})), routes(profile(BODY)))
    assert [value for _, _, value in rows(decoded)] == [98, 1, 99]


@pytest.mark.parametrize(
    "log", [None, {}, {"at": 3600, "add": [1]}, {"n": None, "at": 3600}, {"n": -1, "at": 3600}]
)
def test_no_start_no_history(log: Any) -> None:
    """Without a first value there is none, and nothing is refused."""
    decoded = decode(payloads(sent(log, n=1)), routes(profile(BODY)))
    assert rows(decoded) == [(0, 10, 1)]
    assert decoded.rejections == []


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        ({"n": 1}, Reason.MISSING_FIELD),
        ({"n": 1, "at": 1e30}, Reason.NOT_REPRESENTABLE),
        ({"n": 1, "at": 9_000_000_000 - 3600, "add": [1, 1]}, Reason.NOT_REPRESENTABLE),
        ({"n": 1.5, "at": 3600}, Reason.WRONG_TYPE),
    ],
)
def test_a_wrong_history_leaves_the_present(log: Any, reason: Reason) -> None:
    """A history that cannot be placed is one reading refused."""
    decoded = decode(payloads(sent(log, n=1)), routes(profile(BODY)))
    assert rows(decoded) == [(0, 10, 1)]
    assert [(r.reason, r.readings) for r in decoded.rejections] == [(reason, 1)]


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        ({"n": 1, "at": 3600, "add": [0] * 6}, Reason.TOO_MANY_READINGS),
        ({"n": 1, "at": 3600, "add": [0] * 5}, Reason.TOO_MANY_READINGS),
        ({"n": 1, "at": 3600, "add": [2**50]}, Reason.NOT_REPRESENTABLE),
        ({"n": 1, "at": 3600, "add": [None]}, Reason.WRONG_TYPE),
        ({"n": 1, "at": 3600, "add": 5}, Reason.WRONG_TYPE),
    ],
)
def test_a_history_out_of_bounds_costs_its_uplink(log: Any, reason: Reason) -> None:
    """Length and size of deltas are bounded: with the present value, six readings here."""
    decoded = decode(payloads(sent(log, n=1), {"ts": 0, "n": 1}), routes(profile(BODY)))
    assert rows(decoded) == [(1, 0, 1)]
    assert [(r.index, r.reason, r.readings) for r in decoded.rejections] == [(0, reason, 0)]


def test_a_fraction_breaks_only_what_follows() -> None:
    """A counter's delta that is not whole refuses the values that rest on it."""
    decoded = decode(payloads(sent({"n": 1, "at": 3600, "add": [1, 0.5, 0.5]})), routes(profile(BODY)))
    assert [value for _, _, value in rows(decoded)] == [1, 2, 3]
    assert [(r.reason, r.readings) for r in decoded.rejections] == [(Reason.WRONG_TYPE, 1)]


def test_a_step_by_parameter() -> None:
    """The step is a value of the installation; without it the history is refused."""
    here = routes(
        profile(BY_PARAMETER),
        devices=[device("d", parameters={"h": 2.0}), device("e"), device("f", parameters={"h": -1.0})],
    )
    log = {"n": 1, "at": 3600, "add": [1]}
    assert rows(decode(payloads(sent(log)), here)) == [(0, 1, 1), (0, 3, 2)]
    for name, reason in (("e", Reason.MISSING_PARAMETER), ("f", Reason.NOT_REPRESENTABLE)):
        decoded = decode(payloads(sent(log, n=7), topic=f"t/s/{name}"), here)
        assert rows(decoded) == [(0, 10, 7)]
        assert [r.reason for r in decoded.rejections] == [reason]
