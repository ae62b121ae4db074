"""The profiles' small language of formulas: parsed once, then run over whole columns.

Numbers, names, `+ - * / % **`, comparisons, `and or not`, and `clamp min max abs round where`;
nothing else of Python is reachable. A formula gives a number or a truth, known when it is parsed:
`vehicles == 0` is a truth, and adding two of them is refused. Names are letters, digits and `_`.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Columns = Mapping[str, Any]
_Run = Callable[[Columns], Any]

MAX_CHARACTERS = 1_000
MAX_NODES = 200
MAX_DEPTH = 20
MAX_EXPONENT = 8
MAX_NUMBER = 1e15
"""Below 2^53, so that every whole number in a formula is exact as float64."""


@dataclass(frozen=True, slots=True)
class Expression:
    """A parsed formula. Two of the same text are equal.

    `names` are the columns that it reads; `truth` says whether it gives bool (else float64).
    """

    text: str
    names: frozenset[str]
    truth: bool
    _run: _Run = field(repr=False, compare=False)

    def evaluate(self, columns: Columns) -> NDArray[Any]:
        """Return the formula's value for each row, as a new array: bool[n] or float64[n].

        `columns` holds an array [n] (or a scalar) for each of `names`. Division by zero and overflow
        give infinity or NaN without a warning: the caller refuses what is not finite, and whatever
        rests on an absent reading. Raises KeyError where a column is missing.
        """
        with np.errstate(all="ignore"):
            value = self._run(columns)
        shape = np.broadcast_shapes(*(np.shape(columns[name]) for name in self.names))
        return np.array(np.broadcast_to(value, shape), dtype=np.bool_ if self.truth else np.float64)


@dataclass(frozen=True, slots=True)
class _Part:
    """A compiled piece of a formula."""

    run: _Run
    truth: bool
    names: frozenset[str]


def parse(text: str) -> Expression:
    """Parse a formula.

    Raises ValueError with a sentence for its author where it is no formula, is too large, or mixes
    numbers and truths.
    """
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"the formula is longer than {MAX_CHARACTERS} characters")
    try:
        body = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"«{text.strip():.60}» is not a formula") from error
    if sum(1 for _ in ast.walk(body)) > MAX_NODES:
        raise ValueError(f"the formula has more than {MAX_NODES} parts")
    part = _part(body, depth=0)
    if not part.names:
        raise ValueError(f"«{text}» names no quantity and no parameter")
    return Expression(text=text.strip(), names=part.names, truth=part.truth, _run=part.run)


def _part(node: ast.expr, depth: int) -> _Part:
    if depth > MAX_DEPTH:
        raise ValueError(f"the formula is nested deeper than {MAX_DEPTH}")
    for kind, compile_part in _COMPILERS:
        if isinstance(node, kind):
            return compile_part(node, depth + 1)
    raise ValueError(
        f"«{ast.unparse(node)}» is not understood in a formula: there are numbers, names, "
        f"+ - * / % **, comparisons, and, or, not, {', '.join(sorted(FUNCTIONS))}"
    )


def _number(node: ast.Constant, _depth: int) -> _Part:
    value = node.value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"«{ast.unparse(node)}» is not a number: a formula holds numbers and names")  # noqa: TRY004 - one kind of error for the author of a formula
    if abs(value) > MAX_NUMBER:
        raise ValueError(f"a number in the formula lies beyond ±{MAX_NUMBER:g}")
    constant = float(value)
    return _Part(run=lambda _: constant, truth=False, names=frozenset())


def _name(node: ast.Name, _depth: int) -> _Part:
    name = node.id
    if name in FUNCTIONS:
        raise ValueError(f"«{name}» is a function: write {FUNCTIONS[name].usage}")
    # float64 whatever the column's type: integers would wrap around, and bool cannot be subtracted.
    return _Part(
        run=lambda columns: np.asarray(columns[name], dtype=np.float64),
        truth=False,
        names=frozenset((name,)),
    )


def _unary(node: ast.UnaryOp, depth: int) -> _Part:
    part = _part(node.operand, depth)
    run = part.run
    if isinstance(node.op, ast.Not):
        _want(part, node.operand, truth=True)
        return _Part(run=lambda columns: np.logical_not(run(columns)), truth=True, names=part.names)
    _want(part, node.operand, truth=False)
    if isinstance(node.op, ast.USub):
        return _Part(run=lambda columns: np.negative(run(columns)), truth=False, names=part.names)
    if isinstance(node.op, ast.UAdd):
        return part
    raise ValueError("«~» is not understood in a formula; write «not»")


def _binary(node: ast.BinOp, depth: int) -> _Part:
    operation = _ARITHMETIC.get(type(node.op))
    if operation is None:
        raise ValueError(f"the operator in «{ast.unparse(node)}» is not understood: use + - * / % **")
    left, right = _part(node.left, depth), _part(node.right, depth)
    _want(left, node.left, truth=False)
    _want(right, node.right, truth=False)
    if isinstance(node.op, ast.Pow) and not _is_small_exponent(right):
        raise ValueError(
            f"the exponent in «{ast.unparse(node)}» must be a number from -{MAX_EXPONENT} to {MAX_EXPONENT}"
        )
    return _joined(operation, (left, right), truth=False)


def _is_small_exponent(part: _Part) -> bool:
    with np.errstate(all="ignore"):
        return not part.names and abs(float(part.run({}))) <= MAX_EXPONENT


def _compare(node: ast.Compare, depth: int) -> _Part:
    operands = [node.left, *node.comparators]
    parts = [_part(operand, depth) for operand in operands]
    for part, operand in zip(parts, operands, strict=True):
        _want(part, operand, truth=False)
    pairs = []
    for position, operator in enumerate(node.ops):
        operation = _COMPARISONS.get(type(operator))
        if operation is None:
            raise ValueError(f"the comparison in «{ast.unparse(node)}» must be one of == != < <= > >=")
        pairs.append(_joined(operation, (parts[position], parts[position + 1]), truth=True))
    return _all(pairs, np.logical_and)


def _logic(node: ast.BoolOp, depth: int) -> _Part:
    parts = [_part(value, depth) for value in node.values]
    for part, value in zip(parts, node.values, strict=True):
        _want(part, value, truth=True)
    return _all(parts, np.logical_and if isinstance(node.op, ast.And) else np.logical_or)


def _call(node: ast.Call, depth: int) -> _Part:
    name = node.func.id if isinstance(node.func, ast.Name) else ""
    function = FUNCTIONS.get(name)
    if function is None:
        raise ValueError(
            f"«{ast.unparse(node.func)}» is not a function: there are {', '.join(sorted(FUNCTIONS))}"
        )
    low, high = function.arguments
    if node.keywords or not low <= len(node.args) <= high:
        raise ValueError(f"«{ast.unparse(node)}» must be written {function.usage}")
    parts = [_part(argument, depth) for argument in node.args]
    for position, (part, argument) in enumerate(zip(parts, node.args, strict=True)):
        _want(part, argument, truth=function.condition and position == 0)
    return _joined(function.apply, tuple(parts), truth=False)


def _want(part: _Part, node: ast.expr, *, truth: bool) -> None:
    if part.truth is truth:
        return
    if truth:
        raise ValueError(f"«{ast.unparse(node)}» must be a comparison, such as {ast.unparse(node)} > 0")
    raise ValueError(f"«{ast.unparse(node)}» is a comparison, where a number is needed; write where(…, 1, 0)")


def _joined(operation: Callable[..., Any], parts: tuple[_Part, ...], *, truth: bool) -> _Part:
    runs = tuple(part.run for part in parts)
    return _Part(
        run=lambda columns: operation(*(run(columns) for run in runs)),
        truth=truth,
        names=frozenset().union(*(part.names for part in parts)),
    )


def _all(parts: list[_Part], operation: Callable[..., Any]) -> _Part:
    joined = parts[0]
    for part in parts[1:]:
        joined = _joined(operation, (joined, part), truth=True)
    return joined


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the language: how it is written and what it does to columns."""

    usage: str
    arguments: tuple[int, int]
    apply: Callable[..., Any]
    condition: bool = False
    """Whether the first argument is a truth."""


def _clamp(value: Any, low: Any, high: Any) -> Any:  # noqa: ANN401 - a column or a number
    return np.minimum(np.maximum(value, low), high)


def _smallest(*values: Any) -> Any:  # noqa: ANN401 - columns or numbers
    smallest = values[0]
    for value in values[1:]:
        smallest = np.minimum(smallest, value)
    return smallest


def _greatest(*values: Any) -> Any:  # noqa: ANN401 - columns or numbers
    greatest = values[0]
    for value in values[1:]:
        greatest = np.maximum(greatest, value)
    return greatest


# np.divide and np.mod rather than the operators: on two plain numbers they would raise.
_ARITHMETIC: Mapping[type[ast.operator], Callable[..., Any]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.divide,
    ast.Mod: np.mod,
    ast.Pow: np.power,
}

_COMPARISONS: Mapping[type[ast.cmpop], Callable[..., Any]] = {
    ast.Eq: np.equal,
    ast.NotEq: np.not_equal,
    ast.Lt: np.less,
    ast.LtE: np.less_equal,
    ast.Gt: np.greater,
    ast.GtE: np.greater_equal,
}

FUNCTIONS: Mapping[str, Function] = {
    "clamp": Function(usage="clamp(value, lowest, highest)", arguments=(3, 3), apply=_clamp),
    "min": Function(usage="min(a, b, …)", arguments=(2, 8), apply=_smallest),
    "max": Function(usage="max(a, b, …)", arguments=(2, 8), apply=_greatest),
    "abs": Function(usage="abs(value)", arguments=(1, 1), apply=np.abs),
    "round": Function(usage="round(value): halves go to the even number", arguments=(1, 1), apply=np.rint),
    "where": Function(usage="where(condition, a, b)", arguments=(3, 3), apply=np.where, condition=True),
}

_COMPILERS: tuple[tuple[type[ast.expr], Callable[[Any, int], _Part]], ...] = (
    (ast.Constant, _number),
    (ast.Name, _name),
    (ast.UnaryOp, _unary),
    (ast.BinOp, _binary),
    (ast.Compare, _compare),
    (ast.BoolOp, _logic),
    (ast.Call, _call),
)
