"""One quantity of a document and its plans."""

from __future__ import annotations

import pytest

from gateway.profiles.plan import Bits, CounterPlan, FlatLine, Kind, Limit, Statistic
from tests.profiles.texts import only_problem, plan_of, quantities_of

GAUGE = (Statistic.COUNT, Statistic.MEAN, Statistic.MIN, Statistic.MAX)


def test_a_plain_quantity_is_a_gauge() -> None:
    """The shortest quantity: a path and a unit."""
    battery = quantities_of("quantities: {battery: {path: bat, unit: V}}")["battery"]
    assert (battery.kind, battery.path, battery.unit, battery.statistics) == (Kind.GAUGE, "bat", "V", GAUGE)
    assert (battery.scale, battery.offset, battery.missing, battery.rate) == (1.0, 0.0, (), None)


def test_everything_that_a_gauge_can_say() -> None:
    """Each key reaches the plan, in seconds and nanoseconds."""
    body = """\
parameters: {k: {default: 2}}
quantities:
  d:
    {path: d, unit: mm, scale: 0.1, offset: 3, required: true, missing: [0, 65535], missing_when: k > d,
     range: [20, 4500], suspect: [30, 4000], max_rise: 60/h, max_fall: 5/10min, spike: 100,
     flat: {tolerance: 2, for: 48h}, reference: 1000, quantiles: [0.95, 0.5], statistics: [stddev, count]}
"""
    d = quantities_of(body)["d"]
    assert (d.scale, d.offset, d.required, d.missing) == (0.1, 3.0, True, (0.0, 65535.0))
    assert d.missing_when is not None
    assert d.missing_when.names == {"k", "d"}
    assert (d.fail_range, d.suspect_range, d.spike, d.reference) == ((20, 4500), (30, 4000), 100, 1000)
    assert d.rate == Limit(rise=60 / 3600, fall=5 / 600)
    assert d.flat == FlatLine(tolerance=2.0, duration_ns=48 * 3600 * 10**9)
    assert d.statistics == (Statistic.COUNT, Statistic.STANDARD_DEVIATION, Statistic.QUANTILES)
    assert d.quantiles == (0.5, 0.95)


def test_missing_may_be_a_number_or_a_comparison() -> None:
    """The short forms."""
    found = quantities_of("quantities: {a: {path: a, missing: -1}, b: {path: b, missing: a == 0}}")
    assert found["a"].missing == (-1.0,)
    assert found["b"].missing == ()
    assert found["b"].missing_when is not None
    assert found["b"].missing_when.text == "a == 0"


def test_states_by_raw_value_and_by_name() -> None:
    """Two raw values may mean one state; a list holds the names as they are sent."""
    found = quantities_of(
        "quantities: {t: {path: t, states: {0: upright, 1: tilted, 2: tilted, open: upright}, hold: 6h},"
        " s: {path: s, states: [closed, open]}}"
    )
    assert found["t"].kind is Kind.STATE
    assert found["t"].states == ("upright", "tilted")
    assert found["t"].state_values == {0: 0, 1: 1, 2: 1, "open": 0}
    assert found["t"].hold_ns == 6 * 3600 * 10**9
    assert found["s"].state_values == {"closed": 0, "open": 1}
    assert found["s"].hold_ns == 24 * 3600 * 10**9


def test_bits_become_states_of_their_own() -> None:
    """Single bits, and numbers held by several bits, overlapping masks included."""
    found = quantities_of(
        'quantities: {status: {path: st, bits: {2: low, "5..7": {1: leak, 3: back}}, hold: 2h, missing: 255}}'
    )
    assert list(found) == ["low", "leak", "back"]
    assert found["low"].bits == Bits(shift=2, mask=1, value=1)
    assert found["leak"].bits == Bits(shift=5, mask=7, value=1)
    assert found["back"].bits == Bits(shift=5, mask=7, value=3)
    for bit in found.values():
        assert (bit.kind, bit.states, bit.path) == (Kind.STATE, ("off", "on"), "st")
        assert (bit.hold_ns, bit.missing) == (7200 * 10**9, (255.0,))


def test_a_counter_with_its_flow() -> None:
    """The parameter's unit is converted once, here."""
    body = "parameters: {q4: {unit: m3/h, default: 3.125}}\n"
    body += "quantities: {index: {path: i, kind: counter, unit: L, "
    index = quantities_of(body + "modulus: 100000000, max_flow: q4, reverse: reset}}")["index"]
    assert index.counter == CounterPlan(
        modulus=1e8, max_flow="q4", max_flow_scale=pytest.approx(1000 / 3600), reverse="reset"
    )
    assert index.statistics == (Statistic.COUNT, Statistic.INCREMENT)
    plain = quantities_of(body + "max_flow: 3600/h}}")["index"]
    assert plain.counter == CounterPlan(max_flow=1.0)


def test_statistics_by_kind_and_by_document() -> None:
    """A quantity's own wish, else the document's for its kind, else ours; count always."""
    body = """\
statistics: {gauge: [mean], event: [sum, max]}
quantiles: [0.5]
quantities:
  a: {path: a}
  b: {path: b, statistics: [last], quantiles: []}
  c: {path: c, kind: event}
  d: {path: d, kind: text}
  e: {path: e, states: [x, y]}
"""
    found = quantities_of(body)
    assert found["a"].statistics == (Statistic.COUNT, Statistic.MEAN, Statistic.QUANTILES)
    assert found["b"].statistics == (Statistic.COUNT, Statistic.LAST)
    assert found["c"].statistics == (Statistic.COUNT, Statistic.SUM, Statistic.MAX)
    assert found["d"].statistics == (Statistic.COUNT, Statistic.LAST)
    assert found["e"].statistics == (Statistic.COUNT, Statistic.TIME_IN_STATE)


def test_a_derived_quantity() -> None:
    """A formula over others instead of a path."""
    found = quantities_of('quantities: {a: {path: a}, b: {from: "2 * a", unit: "%", max_rise: 1/h}}')
    assert found["b"].path is None
    assert found["b"].expression is not None
    assert found["b"].expression.text == "2 * a"


@pytest.mark.parametrize(
    ("quantity", "says"),
    [
        ("{unit: V}", "either «path» or «from»"),
        ("{path: a, from: b * 2}", "either «path» or «from»"),
        ("{path: a, kind: state}", "either «states» or «bits»"),
        ("{path: a, states: [x], bits: {1: c}}", "either «states» or «bits»"),
        ("{path: a, kind: gauge, states: [x]}", "«states» means nothing for kind gauge"),
        ("{path: a, states: [x], range: [0, 1]}", "«range» means nothing for kind state"),
        ("{path: a, kind: text, scale: 2}", "«scale» means nothing for kind text"),
        ("{path: a, kind: counter, spike: 2}", "«spike» means nothing for kind counter"),
        ("{path: a, kind: counter, offset: 2}", "«offset» means nothing for kind counter"),
        (
            "{path: a, modulus: 8}",
            "«modulus» means nothing for kind gauge (it belongs to a quantity of kind counter)",
        ),
        ("{path: a, hold: 1h}", "«hold» means nothing for kind gauge"),
        ("{path: a, kind: event, weight: b}", "«weight» means nothing for kind event"),
        ("{path: a, kind: event, scale: 0.5}", "stored as whole numbers"),
        ("{path: a, scale: 0}", "a scale of 0"),
        ("{path: a, range: [5, 1]}", "«range» must be [lowest, highest]"),
        ("{path: a, range: [0, 10], suspect: [5, 11]}", "«suspect» must lie within «range»"),
        ("{from: b * 2, scale: 3}", "«scale» belongs to «path»"),
        ("{path: a, kind: counter, modulus: 1.5}", "modulus is a whole number"),
        ("{path: a, kind: counter, max_flow: q}", "there is no parameter «q»"),
        ("{path: a, kind: counter, unit: L, max_flow: k}", "«m» and «L/s» measure different things"),
        ("{path: a, kind: counter, max_flow: 3}", "must be a parameter's name or a rate"),
        ("{path: a, statistics: [increment]}", "kind gauge has no increment"),
        ("{path: a, statistics: [quantiles]}", "which quantiles?"),
        ("{path: a, quantiles: [50]}", "must be less than or equal to 0.9999"),
        ("{path: a, quantiles: [0.123456]}", "at most four decimals"),
        ("{path: a, missing: b == 0, missing_when: b == 1}", "«missing» already is a comparison"),
        ("{path: a, missing: b + 0}", "must be a comparison"),
        ("{path: a, missing: [b]}", "must be a number, a list of numbers or a comparison"),
        ("{from: b > 0}", "is a comparison, where a number is needed"),
        ("{path: a, states: {0: Up}}", "no name of a state"),
        ("{path: a, states: {0: up, 1.5: down}}", "no text and no whole number"),
        ("{path: a, states: {0: up, false: down}}", "stands twice"),
        ("{path: a, states: {}}", "must be {0: upright, 1: tilted}"),
        ("{path: a, bits: {63: x}}", "is no bit"),
        ("{path: a, bits: {7..5: {1: x}}}", "is no bit"),
        ("{path: a, bits: {5..7: x}}", "bits 5..7 hold a number"),
        ("{path: a, bits: {5..7: {9: x}}}", "does not fit into bits 5..7"),
        ("{path: a, bits: {1: Low}}", "is no name"),
        ("{path: a, max_rise: 5}", "must be a rate such as 60/h"),
        ("{path: a, flat: {tolerance: -1, for: 1h}}", "must be greater than or equal to 0"),
    ],
)
def test_what_a_quantity_may_not_say(quantity: str, says: str) -> None:
    """Each is refused on its own line, with one sentence."""
    body = f"parameters: {{k: {{unit: m, default: 1}}}}\nquantities:\n  b: {{path: b}}\n  x: {quantity}\n"
    problem = only_problem(body)
    assert says in problem
    assert problem.startswith("acme.yaml:8:")


def test_parameters_of_a_plan() -> None:
    """Unit, default and range."""
    body = "parameters: {empty: {unit: mm, range: [200, 4500], ask: {fr: fond, en: floor}}}\n"
    empty = plan_of(body + "quantities: {a: {path: a}}").parameters["empty"]
    assert (empty.unit, empty.default, empty.minimum, empty.maximum) == ("mm", None, 200.0, 4500.0)
