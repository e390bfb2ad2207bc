"""What an expression gives in Python: its JSON form, computed with Python's own operators.

The differences that `actorstate.state.expressions` documents are made here, each in one place.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, Final

_MOST_EXACT: Final = 2**53
_FIRST_EXPONENT: Final = 1e16
_LONGEST: Final = 10_000


class OutOfDomainError(Exception):
    """What is computed is out of what is promised, such as whole numbers beyond 2**53."""


def evaluate(form: list[Any], state: dict[str, dict[str, Any]]) -> Any:
    """Give the value, or raise what Python raises."""
    name, *operands = form
    if name == "lit":
        return as_number(operands[0])
    if name == "var":
        return as_number(state[operands[0]][operands[1]])
    if name in _LAZY:
        return _LAZY[name](*[lambda one=one: evaluate(one, state) for one in operands])
    return as_number(_OPERATORS[name](*[evaluate(one, state) for one in operands]))


def as_number(value: Any) -> Any:
    """Give the value with 3 for 3.0: to a browser they are one."""
    if isinstance(value, list):
        return [as_number(item) for item in value]
    if isinstance(value, dict):
        return {key: as_number(item) for key, item in value.items()}
    if isinstance(value, int | float) and _MOST_EXACT <= abs(value) < _FIRST_EXPONENT:
        raise OutOfDomainError
    if isinstance(value, int) and abs(value) >= _MOST_EXACT:
        raise OutOfDomainError
    if isinstance(value, float) and value.is_integer() and abs(value) < _MOST_EXACT:
        return int(value)
    return value


def with_text_keys(value: Any) -> Any:
    """Give the value as a browser has it: whole numbers from 0 come first."""
    if isinstance(value, list):
        return [with_text_keys(item) for item in value]
    if isinstance(value, dict):
        named = {str(key): with_text_keys(item) for key, item in value.items()}
        first = sorted((key for key in named if key.isdecimal()), key=int)
        return {key: named[key] for key in [*first, *named]}
    return value


def is_same(a: Any, b: Any) -> bool:
    """Tell whether two values are the same JSON: True is not 1."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(is_same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(is_same(a[key], b[key]) for key in a)
    return a == b or (a != a and b != b)  # noqa: PLR0124 - NaN


def text(value: Any) -> str:
    return str(with_text_keys(value))


def shown(value: Any) -> str:
    return "" if value is None else text(value)


def _add(a: Any, b: Any) -> Any:
    return text(a) + text(b) if isinstance(a, str) or isinstance(b, str) else a + b


def _multiply(a: Any, b: Any) -> Any:
    for sequence, times in ((a, b), (b, a)):
        if isinstance(sequence, str | list) and isinstance(times, int):
            _check_length(len(sequence) * times)
    return a * b


def _check_length(length: int) -> None:
    if length > _LONGEST:
        raise OutOfDomainError


def _modulo(a: Any, b: Any) -> Any:
    if isinstance(a, str):
        raise TypeError("% is for numbers: it formats no text here")
    return a % b


_LAZY: Final[dict[str, Callable[..., Any]]] = {
    "cond": lambda condition, a, b: a() if condition() else b(),
    "and": lambda a, b: a() and b(),
    "or": lambda a, b: a() or b(),
    "show": lambda *parts: "".join(map(_shown_part, parts)),
}


def _shown_part(part: Callable[[], Any]) -> str:
    try:
        return shown(part())
    except RAISED:
        return ""


def _format(value: Any, spec: str) -> str:
    if spec.endswith("d") and isinstance(value, float) and value.is_integer():
        raise OutOfDomainError  # a whole float will do for a browser, this one is too great
    return format(value, spec)


RAISED: Final = (TypeError, ValueError, ArithmeticError, LookupError)

_OPERATORS: Final[dict[str, Callable[..., Any]]] = {
    "not": operator.not_,
    "neg": operator.neg,
    "+": _add,
    "-": operator.sub,
    "*": _multiply,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": _modulo,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "get": operator.getitem,
    "slice": lambda x, *bounds: x[slice(*bounds)],
    "length": len,
    "contains": operator.contains,
    "lower": str.lower,
    "upper": str.upper,
    "strip": str.strip,
    "split": str.split,
    "join": lambda x, separator: str.join(separator, x),
    "format": _format,
    "text": lambda *parts: "".join(map(text, parts)),
}
