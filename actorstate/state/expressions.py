"""Expressions: what a page computes from vars, as pure data.

``MyState.counter`` on the class is an expression, and operators make greater ones of it.
Nothing is computed here: the browser evaluates an expression from its JSON form whenever a var
it depends on changes. The values are those that Python would compute, as far as JSON and
JavaScript can tell them apart; this is the one place that says where they differ, and
``web/client.js`` does as it is written here.

JSON form
    A list: the form's name, then its operands, each an expression again unless noted.

    =====================================================  =====================================
    ``["lit", value]``                                     a JSON value
    ``["var", "state.my_state", "counter"]``               the value of a var: two names
    ``["not", x]`` ``["neg", x]``                          ``~x``, ``-x``
    ``["+", a, b]`` and ``- * / // %``                     arithmetic
    ``["==", a, b]`` and ``!= < <= > >=``                  comparison, true or false
    ``["and", a, b]`` ``["or", a, b]``                     ``a & b``, ``a | b``
    ``["cond", condition, a, b]``                          ``a if condition else b``
    ``["text", x, ...]``                                   the texts of all operands, joined
    =====================================================  =====================================

Values
    - ``~x`` is ``not x``. ``a & b`` and ``a | b`` are ``a and b`` and ``a or b``: they give one
      of the operands, and do not look at the second when the first decides. They bind tighter
      than comparisons, so parentheses are needed: ``(a > 1) & (b > 1)``.
    - What is false in Python is false: ``0``, ``""``, ``None``, ``False``, an empty list or
      dict.
    - ``==`` compares by value, lists and dicts too, without conversion: ``1 == "1"`` is false.
      ``True == 1`` is true, as in Python.
    - ``<`` and its kin order numbers, strings (by code point) and lists.
    - ``/`` is true division, ``//`` rounds down, ``%`` has the sign of its right operand.
    - ``+`` adds numbers and joins strings and lists. Unlike in Python, with a string on one
      side the other becomes text, for ``"Count: " + MyState.counter``. ``*`` repeats a string.
    - Numbers are JavaScript's: whole numbers are exact up to 2**53, and ``3.0`` is ``3``.
    - What raises in Python, such as dividing by zero or ``"a" < 1``, gives None and a warning
      in the browser's console.

Text
    What a page shows of a value, and what ``+`` makes of it beside a string: a string is
    itself, None is nothing, all else is its JSON: ``true``, ``false``, ``5``, ``[1,2]``,
    ``{"a":null}``. Python's ``None`` and ``True`` are words for programmers; a person reading a
    page should not meet the first, and meets the second, if at all, as it stands in the page's
    own data.
"""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Final, NoReturn, TypeAlias, cast, final

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"
"""What JSON carries."""

_MAX_EXACT_INTEGER: Final = 2**53 - 1


class Expression(ABC):
    """A value that the browser computes from vars. Operators give further expressions.

    The operators take expressions and plain values on either side. What they mean is said at
    the top of this module. Python's own ``and``, ``or``, ``not``, ``if``, ``in``, ``len`` and
    f-strings cannot be deferred to the browser: they raise a TypeError that names what to write
    instead.
    """

    __slots__ = ()

    @abstractmethod
    def to_json(self) -> list[JsonValue]:
        """Give the JSON form, a new list that the caller may keep."""

    @abstractmethod
    def dependencies(self) -> frozenset[tuple[str, str]]:
        """Give the vars that the value depends on, each as (full state name, var name)."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {json.dumps(self.to_json(), ensure_ascii=False)}>"

    # By identity, because == and != answer with an expression. (Type checkers expect a bool of
    # them, hence the two ignores.)
    def __hash__(self) -> int:
        return object.__hash__(self)

    def __eq__(self, other: object) -> Expression:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _operation("==", self, other)

    def __ne__(self, other: object) -> Expression:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _operation("!=", self, other)

    def __lt__(self, other: object) -> Expression:
        return _operation("<", self, other)

    def __le__(self, other: object) -> Expression:
        return _operation("<=", self, other)

    def __gt__(self, other: object) -> Expression:
        return _operation(">", self, other)

    def __ge__(self, other: object) -> Expression:
        return _operation(">=", self, other)

    def __invert__(self) -> Expression:
        return _operation("not", self)

    def __neg__(self) -> Expression:
        return _operation("neg", self)

    def __and__(self, other: object) -> Expression:
        return _operation("and", self, other)

    def __rand__(self, other: object) -> Expression:
        return _operation("and", other, self)

    def __or__(self, other: object) -> Expression:
        return _operation("or", self, other)

    def __ror__(self, other: object) -> Expression:
        return _operation("or", other, self)

    def __add__(self, other: object) -> Expression:
        return _operation("+", self, other)

    def __radd__(self, other: object) -> Expression:
        return _operation("+", other, self)

    def __sub__(self, other: object) -> Expression:
        return _operation("-", self, other)

    def __rsub__(self, other: object) -> Expression:
        return _operation("-", other, self)

    def __mul__(self, other: object) -> Expression:
        return _operation("*", self, other)

    def __rmul__(self, other: object) -> Expression:
        return _operation("*", other, self)

    def __truediv__(self, other: object) -> Expression:
        return _operation("/", self, other)

    def __rtruediv__(self, other: object) -> Expression:
        return _operation("/", other, self)

    def __floordiv__(self, other: object) -> Expression:
        return _operation("//", self, other)

    def __rfloordiv__(self, other: object) -> Expression:
        return _operation("//", other, self)

    def __mod__(self, other: object) -> Expression:
        return _operation("%", self, other)

    def __rmod__(self, other: object) -> Expression:
        return _operation("%", other, self)

    # What Python would decide now, from an object that has no value yet, is refused. Without
    # these methods `if MyState.running` would always be true, and nobody would be told.

    def __bool__(self) -> NoReturn:  # noqa: PLE0304 - it never returns
        self._refuse(
            "is neither true nor false yet",
            "cond(x, a, b) for `a if x else b`, ~x for `not x`, a & b for `a and b`, a | b for "
            "`a or b`, (a < x) & (x < b) for `a < x < b`",
        )

    def __iter__(self) -> NoReturn:
        self._refuse("cannot be looped over yet", "a var that a handler keeps up to date")

    def __contains__(self, item: object) -> NoReturn:
        self._refuse("cannot be searched yet", "a var that a handler keeps up to date")

    def __len__(self) -> NoReturn:  # noqa: PLE0303 - it never returns
        self._refuse(
            "has no length yet",
            "cond(x, a, b) to ask if it is empty, or a var that a handler keeps up to date",
        )

    def __format__(self, format_spec: str) -> NoReturn:
        self._refuse("has no text yet", '"Count: " + x for f"Count: {x}"')

    def _refuse(self, fault: str, advice: str) -> NoReturn:
        message = f"{self!r} {fault}: the browser computes it. Write {advice}."
        raise TypeError(message)


@final
@dataclass(frozen=True, eq=False, repr=False, slots=True)
class StateVar(Expression):
    """The value of one var: what ``MyState.counter`` on the class is."""

    state_full_name: str
    """The full name of the state that declares the var, as in ``state.my_state``."""
    var_name: str
    """The name of the var, as in ``counter``."""

    def to_json(self) -> list[JsonValue]:
        """Give ``["var", state, var]``."""
        return ["var", self.state_full_name, self.var_name]

    def dependencies(self) -> frozenset[tuple[str, str]]:
        """Give this var alone."""
        return frozenset({(self.state_full_name, self.var_name)})


@final
@dataclass(frozen=True, eq=False, repr=False, slots=True)
class Literal(Expression):
    """A value that is known when the page is made. `literal` makes it, and checks the value."""

    value: JsonValue
    """The value; `literal` made a copy of it that nobody else holds."""

    def to_json(self) -> list[JsonValue]:
        """Give ``["lit", value]``."""
        return ["lit", _json_copy(self.value)]

    def dependencies(self) -> frozenset[tuple[str, str]]:
        """Give nothing: the value is fixed."""
        return frozenset()


@final
@dataclass(frozen=True, eq=False, repr=False, slots=True)
class Calculation(Expression):
    """An operator with its operands. The operators of `Expression` make it."""

    name: str
    """The name of the JSON form, as in ``"+"`` or ``"not"``."""
    operands: tuple[Expression, ...]
    """The operands, in order."""

    def to_json(self) -> list[JsonValue]:
        """Give ``[name, operand, ...]``."""
        return [self.name, *(operand.to_json() for operand in self.operands)]

    def dependencies(self) -> frozenset[tuple[str, str]]:
        """Give the vars of all operands."""
        return frozenset[tuple[str, str]]().union(
            *(operand.dependencies() for operand in self.operands)
        )


def as_expression(value: object) -> Expression:
    """Give an expression as it is, and a plain value as a literal.

    Raises:
        TypeError: JSON cannot carry the value.
    """
    return value if isinstance(value, Expression) else literal(value)


def literal(value: object) -> Expression:
    """Give the expression whose value is always this one.

    Args:
        value: None, a bool, number or string, or a list, tuple or dict of these. Tuples become
            lists. It is copied, so changing it later does not change the expression.

    Raises:
        TypeError: JSON cannot carry the value or something in it: another type, a dict key that
            is no string, a float that is not finite, an integer beyond 2**53 that a browser
            would round.
    """
    return Literal(_json_copy(value))


def cond_expression(condition: object, when_true: object, when_false: object) -> Expression:
    """Give the expression for ``when_true if condition else when_false``.

    Each may be an expression or a plain value. Only the chosen one is computed.

    Raises:
        TypeError: JSON cannot carry a plain value among them.
    """
    return _operation("cond", condition, when_true, when_false)


def text_expression(*parts: object) -> Expression:
    """Give the expression that joins the texts of all parts, numbers too.

    Raises:
        TypeError: JSON cannot carry a plain value among them.
    """
    return _operation("text", *parts)


def shown_text(value: str | float | None) -> str:
    """Give the text that a page shows for a plain value: the rule under "Text" above."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    # 3.0 and 3 are one number to a browser, and a page should not show it in two ways.
    return json.dumps(value).removesuffix(".0")


def _operation(name: str, *operands: object) -> Expression:
    return Calculation(name, tuple(as_expression(operand) for operand in operands))


def _json_copy(value: object, path: str = "") -> JsonValue:
    """Give a copy in types that JSON has, or refuse the value at ``path``."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return _exact_integer(value, path)
    if isinstance(value, float):
        return _finite(value, path)
    if isinstance(value, list | tuple):
        items = cast("list[object] | tuple[object, ...]", value)
        return [_json_copy(item, f"{path}[{index}]") for index, item in enumerate(items)]
    if isinstance(value, dict):
        entries = cast("dict[object, object]", value)
        return {
            _text_key(key, path): _json_copy(item, f"{path}[{key!r}]")
            for key, item in entries.items()
        }
    advice = "make it text or a number first"
    if isinstance(value, Expression):
        advice = "combine expressions with operators, not in lists or dicts"
    return _refuse(f"{_short_repr(value)} of type {type(value).__name__}", path, advice)


def _exact_integer(value: int, path: str) -> int:
    if abs(value) > _MAX_EXACT_INTEGER:
        _refuse(f"integer {value}", path, "a browser would round it; pass it as text")
    return int(value)


def _finite(value: float, path: str) -> float:
    if not math.isfinite(value):
        _refuse(f"float {value}", path, "JSON has no such number; use None")
    return float(value)


def _text_key(key: object, path: str) -> str:
    if not isinstance(key, str):
        _refuse(f"dict key {_short_repr(key)}", path, "keys are text in JSON; use str(key)")
    return key


def _refuse(culprit: str, path: str, advice: str) -> NoReturn:
    where = f" at {path}" if path else ""
    message = f"{culprit}{where} cannot be part of an expression: {advice}"
    raise TypeError(message)


def _short_repr(value: object, limit: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
