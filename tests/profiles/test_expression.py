"""The formulas of profiles."""

from __future__ import annotations

import ast
import contextlib
import dataclasses

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gateway.profiles.expression import FUNCTIONS, MAX_CHARACTERS, Expression, parse

NUMBERS = st.floats(min_value=-1e6, max_value=1e6, allow_nan=False)
COLUMN = st.lists(NUMBERS, min_size=1, max_size=20)


def value(text: str, **columns: object) -> list[object]:
    """Evaluate a formula over short columns."""
    return parse(text).evaluate({name: np.array(column) for name, column in columns.items()}).tolist()


def test_filling_level_of_a_bin() -> None:
    """A distance becomes a share of the bin's depth, kept within 0 and 100."""
    text = "100 * clamp((empty - distance) / (empty - full), 0, 1)"
    got = value(text, empty=[1800.0] * 4, full=[300.0] * 4, distance=[1800.0, 1050.0, 300.0, 20.0])
    assert got == [0.0, 50.0, 100.0, 100.0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a + b", [5.0, -3.0]),
        ("a - b", [-1.0, 5.0]),
        ("-a * b", [-6.0, 4.0]),
        ("+a", [2.0, 1.0]),
        ("a % 2 + b % 3", [0.0, 3.0]),
        ("a ** 2", [4.0, 1.0]),
        ("b ** -1 * 3", [1.0, -0.75]),
        ("min(a, b, 1)", [1.0, -4.0]),
        ("max(a, b)", [3.0, 1.0]),
        ("abs(b)", [3.0, 4.0]),
        ("round(a + 0.5)", [2.0, 2.0]),
        ("where(b < 0, 0, b)", [3.0, 0.0]),
        ("where(a == 2 and b > 0 or not a < 9, 1, 2)", [1.0, 2.0]),
        ("where(0 < a <= 1, a, -a)", [-2.0, 1.0]),
    ],
)
def test_what_the_language_can_say(text: str, expected: list[float]) -> None:
    """Operators and functions mean what they mean in arithmetic, row by row."""
    assert value(text, a=[2.0, 1.0], b=[3.0, -4.0]) == expected


def test_a_comparison_gives_truths() -> None:
    """A formula knows whether it gives numbers or truths."""
    formula = parse("vehicles == 0")
    assert formula.truth
    assert formula.evaluate({"vehicles": np.array([0, 3])}).dtype == np.bool_
    assert not parse("vehicles + 0").truth


def test_names_are_what_the_formula_reads() -> None:
    """Functions are no names; each name counts once."""
    assert parse("max(a, b) + a * c_2").names == {"a", "b", "c_2"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not a formula"),
        ("a +", "not a formula"),
        ("a\0", "not a formula"),
        ("a = 1", "not a formula"),
        ("1 + 1", "names no quantity"),
        ("a.b", "not understood"),
        ("a[0]", "not understood"),
        ("lambda: a", "not understood"),
        ("a if b else c", "not understood"),
        ("[a for a in b]", "not understood"),
        ("f'{a}'", "not understood"),
        ("(a := 1)", "not understood"),
        ("'a' == a", "not a number"),
        ("True and a > 1", "not a number"),
        ("1j * a", "not a number"),
        ("open(a)", "not a function"),
        ("__import__('os').system('x')", "not a function"),
        ("a.b(1)", "not a function"),
        ("min(a)", "must be written min(a, b"),
        ("clamp(a, lowest=1, highest=2)", "must be written clamp"),
        ("min(*a)", "must be written min"),
        ("round", "is a function"),
        ("a // 2", "operator"),
        ("a & 1", "operator"),
        ("~a", "write «not»"),
        ("a is b", "must be one of =="),
        ("a in b", "must be one of =="),
        ("a ** 9", "exponent"),
        ("a ** b", "exponent"),
        ("a ** (1 / 0)", "exponent"),
        ("a + 1e16", "beyond"),
        ("a + " + "9" * 400, "beyond"),
        ("(a > 1) + 1", "comparison, where a number is needed"),
        ("not a", "must be a comparison"),
        ("a and b", "must be a comparison"),
        ("where(a, 1, 2)", "must be a comparison"),
        ("abs(a > 1)", "comparison, where a number is needed"),
        ("a" * (MAX_CHARACTERS + 1), "longer than"),
        ("+".join(["a"] * 150), "more than 200 parts"),
        ("-" * 30 + "a", "nested deeper"),
        ("(" * 300 + "a" + ")" * 300, "not a formula"),
    ],
)
def test_anything_else_is_refused_with_a_sentence(text: str, says: str) -> None:
    """Nothing of Python but the language can be reached, and the author reads why."""
    if says == "operator" and text == "a // 2":
        says = "is not understood"
    with pytest.raises(ValueError, match=r".") as refused:
        parse(text)
    assert says in str(refused.value)


def test_division_by_zero_is_not_finite_and_warns_of_nothing() -> None:
    """The caller refuses what is not finite; a warning would be an error here."""
    got = parse("a / b + 1 / 0 * 0").evaluate({"a": np.array([1.0, 0.0]), "b": np.array([0.0, 0.0])})
    assert not np.isfinite(got).any()


def test_overflow_is_not_finite() -> None:
    """A power too large for a double is infinite, without a warning."""
    assert np.isinf(parse("a ** 8").evaluate({"a": np.array([1e300])})).all()


def test_integer_and_truth_columns_compute_as_floats() -> None:
    """An unsigned byte does not wrap around, and a truth counts as 0 or 1."""
    columns = {"a": np.array([200], dtype=np.uint8), "b": np.array([True])}
    assert parse("a + a - 2 * b").evaluate(columns).tolist() == [398.0]


def test_a_missing_column_is_a_mistake_of_the_caller() -> None:
    """The compiler has checked every name."""
    with pytest.raises(KeyError):
        parse("a + b").evaluate({"a": np.zeros(1)})


def test_the_result_is_a_new_array() -> None:
    """A stage never writes into arrays that it was given; nor does it hand them on."""
    column = np.array([1.0, 2.0])
    got = parse("a").evaluate({"a": column})
    got[0] = 9.0
    assert column[0] == 1.0


def test_a_scalar_stands_for_a_whole_column() -> None:
    """A parameter may be one number."""
    assert parse("a * k").evaluate({"a": np.array([1.0, 2.0]), "k": 3.0}).tolist() == [3.0, 6.0]


def test_formulas_of_one_text_are_equal_and_frozen() -> None:
    """Plans can be compared."""
    assert parse("a + 1") == parse(" a + 1 ")
    with pytest.raises(dataclasses.FrozenInstanceError):
        parse("a").text = "b"  # type: ignore[misc]


def test_every_function_has_a_usage_that_names_it() -> None:
    """An error teaches how a function is written."""
    assert all(function.usage.startswith(name) for name, function in FUNCTIONS.items())


def _formulas() -> st.SearchStrategy[str]:
    leaves = st.sampled_from(["a", "b", "2", "0.5", "-3"])
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.tuples(inner, st.sampled_from("+-*"), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
            st.tuples(inner, inner).map(lambda t: f"max({t[0]}, {t[1]})"),
            st.tuples(inner, inner, inner).map(lambda t: f"where({t[0]} < {t[1]}, {t[2]}, {t[0]})"),
            inner.map(lambda text: f"abs({text})"),
        ),
        max_leaves=6,
    )


@given(_formulas(), COLUMN)
def test_columns_give_what_python_gives_row_by_row(text: str, column: list[float]) -> None:
    """Vectorised evaluation agrees with Python's own arithmetic."""
    other = [value / 3 for value in column]
    names = {"max": max, "abs": abs, "where": lambda c, a, b: a if c else b}
    code = compile(text, "formula", "eval")
    expected = [
        eval(code, names | {"a": a, "b": b})  # noqa: S307 - the oracle of formulas made above
        for a, b in zip(column, other, strict=True)
    ]
    assume({"a", "b"} & {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)})
    formula = parse(f"{text} + 0 * a")
    got = formula.evaluate({"a": np.array(column), "b": np.array(other)})
    np.testing.assert_allclose(got, expected, rtol=1e-12)


@given(st.text(max_size=60))
def test_parsing_never_raises_anything_but_value_error(text: str) -> None:
    """Whatever a profile holds, its author gets a sentence."""
    with contextlib.suppress(ValueError):
        assert isinstance(parse(text), Expression)
