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
    ``["local", "7"]``                                     what a foreach gives its rows, or an
                                                           event its handler: a name
    ``["not", x]`` ``["neg", x]``                          ``~x``, ``-x``
    ``["+", a, b]`` and ``- * / // %``                     arithmetic
    ``["==", a, b]`` and ``!= < <= > >=``                  comparison, true or false
    ``["and", a, b]`` ``["or", a, b]``                     ``a & b``, ``a | b``
    ``["cond", condition, a, b]``                          ``a if condition else b``
    ``["get", x, key]``                                    ``x[key]``, and ``x.key``
    ``["slice", x, start, stop, step]``                    ``x[start:stop:step]``
    ``["length", x]`` ``["contains", x, item]``            ``len(x)``, ``item in x``
    ``["lower", x]`` ``["upper", x]`` ``["strip", x]``     ``x.lower()`` and so on
    ``["split", x, separator]`` ``["join", x, separator]`` ``x.split(separator)``,
                                                           ``separator.join(x)``
    ``["format", x, spec]``                                ``f"{x:.2f}"``
    ``["text", x, ...]``                                   the ``str`` of all operands, joined
    ``["show", x, ...]``                                   what a page shows of them, joined
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
      side the other becomes text, for ``"Count: " + MyState.counter``. ``*`` repeats a string
      or a list.
    - ``x[key]`` takes from a list or text by position, also from the end, and from a dict by
      key. Text is a sequence of code points, as in Python.
    - What raises in Python, such as dividing by zero, ``"a" < 1`` or a missing key, gives None
      and a warning in the browser's console.

Text
    f-strings, ``+`` beside a string and ``x.to_string()`` make of a value what Python's ``str``
    makes of it: ``True``, ``None``, ``0.1``, ``[1, 'a']``, ``{'a': None}``.

    What an element or an attribute shows of a value of its own is the same, but for None, which
    is nothing: a person reading a page should not meet that word. In an attribute True and False
    switch it on and off, or are ``true`` and ``false`` where HTML has these words, as in
    ``aria-``.

Where the browser differs
    JSON and JavaScript know less than Python:

    - ``3.0`` is ``3``: its text is ``3``, and it will do where Python insists on an int.
      Negative zero is ``0``. Whole numbers are exact up to 2**53; beyond 1e16 their text is that
      of a float. What grows too great is ``inf``, as floats do in Python.
    - Tuples and sets are lists, a set in the order of its JSON. Dataclass instances are dicts,
      so ``user.name`` and ``user["name"]`` are one.
    - The keys of a dict are text. A number is looked up by its text, so ``table[3]`` finds what
      Python finds, but the text of the dict is ``{'3': …}``. Keys that are whole numbers from 0
      come first, in ascending order.
    - ``lower()``, ``upper()`` and what ``str`` escapes in a list follow the browser's version of
      Unicode: a letter that was added lately may be known to one side only.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, NoReturn, cast, final

from actorstate.state.json_types import Plain
from actorstate.state.marks import is_marked, mark, split_marks

_MAX_EXACT_INTEGER: Final = 2**53 - 1

# From here on Python writes whole floats with an exponent.
_FIRST_EXPONENT: Final = 1e16

# Those that the browser computes exactly: zeros in front, thousands, decimals, percents.
_FORMAT_SPEC: Final = re.compile(r",|(0[1-9][0-9]?|,)?(d|\.(1?[0-9]|20)[f%])")

_serial: Final = itertools.count(1)


class Expression(ABC):
    """A value that the browser computes from vars. Operators give further expressions.

    The operators take expressions and plain values on either side. What they mean is said at
    the top of this module. ``x[key]``, ``x[1:3]`` and ``x.name`` reach into lists, texts, dicts
    and objects; for a field that has the name of a method here, write ``x["length"]``.
    f-strings hold expressions. Python's own ``and``, ``or``, ``not``, ``if``, ``in``, ``len``
    and ``for`` cannot be deferred to the browser: they raise a TypeError that names what to
    write instead.
    """

    __slots__ = ()

    @abstractmethod
    def to_json(self) -> list[Plain]:
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

    def __getitem__(self, key: object) -> Expression:
        if isinstance(key, slice):
            bounds = cast("slice[object, object, object]", key)
            return _operation("slice", self, bounds.start, bounds.stop, bounds.step)
        return _operation("get", self, key)

    def __getattr__(self, name: str) -> Expression:
        # Python asks all sorts of objects for all sorts of such names: copy, pickle, inspect.
        if name.startswith("_"):
            message = f"{type(self).__name__!r} object has no attribute {name!r}"
            raise AttributeError(message)
        return _operation("get", self, name)

    def length(self) -> Expression:
        """Give ``len`` of it."""
        return _operation("length", self)

    def contains(self, item: object) -> Expression:
        """Give ``item in x``: a part of a text, an item of a list, a key of a dict."""
        return _operation("contains", self, item)

    def to_string(self) -> Expression:
        """Give its ``str``."""
        return text_expression(self)

    def lower(self) -> Expression:
        """Give the text in small letters."""
        return _operation("lower", self)

    def upper(self) -> Expression:
        """Give the text in capital letters."""
        return _operation("upper", self)

    def strip(self) -> Expression:
        """Give the text without the white space at both ends."""
        return _operation("strip", self)

    def split(self, separator: object = None) -> Expression:
        """Give the parts of the text between separators, or between white space."""
        return _operation("split", self, separator)

    def join(self, separator: object) -> Expression:
        """Give the texts of the list as one, with a separator between them.

        The other way round than in Python, which would ask a plain separator to join what it
        cannot know yet: ``MyState.names.join(", ")`` for ``", ".join(names)``.
        """
        return _operation("join", self, separator)

    def __str__(self) -> str:
        """Give a text that holds the expression, as f-strings do."""
        return mark(self.to_json())

    def __format__(self, format_spec: str) -> str:
        """Give a text that holds the expression; pages find it there.

        Raises:
            TypeError: the format spec is not one that a browser computes exactly.
        """
        if not format_spec:
            return str(self)
        if _FORMAT_SPEC.fullmatch(format_spec) is None:
            self._refuse(
                f"cannot be formatted by {format_spec!r}",
                "a spec such as .2f, .1%, 03d or ',', or a var that a handler keeps up to date",
            )
        return str(_operation("format", self, format_spec))

    # What Python would decide now, from an object that has no value yet, is refused. Without
    # these methods `if MyState.running` would always be true, and nobody would be told.

    def __bool__(self) -> NoReturn:  # noqa: PLE0304 - it never returns
        self._refuse(
            "is neither true nor false yet",
            "cond(x, a, b) for `a if x else b`, ~x for `not x`, a & b for `a and b`, a | b for "
            "`a or b`, (a < x) & (x < b) for `a < x < b`",
        )

    def __iter__(self) -> NoReturn:
        self._refuse(
            "cannot be looped over yet",
            "foreach(x, lambda item: text(item)) for elements, x.join(', ') for a text of texts",
        )

    def __contains__(self, item: object) -> NoReturn:
        self._refuse("cannot be searched yet", "x.contains(item) for `item in x`")

    def __len__(self) -> NoReturn:  # noqa: PLE0303 - it never returns
        self._refuse("has no length yet", "x.length() for `len(x)`")

    def _refuse(self, fault: str, advice: str) -> NoReturn:
        message = f"{self!r} {fault}: the browser computes it. Write {advice}."
        raise TypeError(message)


@final
@dataclass(frozen=True, eq=False, repr=False, slots=True)
class StateVar(Expression):
    """The value of one var: what ``MyState.counter`` on the class is."""

    _state: str
    """The full name of the state that declares the var, as in ``state.my_state``."""
    _var: str
    """The name of the var, as in ``counter``."""

    def to_json(self) -> list[Plain]:
        """Give ``["var", state, var]``."""
        return ["var", self._state, self._var]

    def dependencies(self) -> frozenset[tuple[str, str]]:
        """Give this var alone."""
        return frozenset({(self._state, self._var)})


@final
@dataclass(frozen=True, eq=False, repr=False, slots=True)
class Literal(Expression):
    """A value that is known when the page is made. `literal` makes it, and checks the value."""

    _value: Plain
    """The value; `literal` made a copy of it that nobody else holds."""

    def to_json(self) -> list[Plain]:
        """Give ``["lit", value]``."""
        return ["lit", _json_copy(self._value)]

    def dependencies(self) -> frozenset[tuple[str, str]]:
        """Give nothing: the value is fixed."""
        return frozenset()


@final
@dataclass(frozen=True, eq=False, repr=False, slots=True)
class Calculation(Expression):
    """An operator with its operands. The operators of `Expression` make it."""

    _form: str
    """The name of the JSON form, as in ``"+"`` or ``"not"``."""
    _operands: tuple[Expression, ...]
    """The operands, in order."""

    def to_json(self) -> list[Plain]:
        """Give ``[name, operand, ...]``."""
        return [self._form, *(operand.to_json() for operand in self._operands)]

    def dependencies(self) -> frozenset[tuple[str, str]]:
        """Give the vars of all operands."""
        return frozenset[tuple[str, str]]().union(
            *(operand.dependencies() for operand in self._operands)
        )


@final
@dataclass(frozen=True, eq=False, repr=False, slots=True)
class Local(Expression):
    """A value that is known in one place of a page only, such as the item of a row."""

    _name: str
    """Its name; no two of a process are the same but by being the same."""

    def to_json(self) -> list[Plain]:
        """Give ``["local", name]``."""
        return ["local", self._name]

    def dependencies(self) -> frozenset[tuple[str, str]]:
        """Give nothing: it is no var."""
        return frozenset()


EVENT_VALUE: Final = Local("event")
"""What the element holds when the event fires: text, or a bool for a checkbox."""


def new_local() -> Local:
    """Give a local that nobody else has."""
    return Local(str(next(_serial)))


def locals_of(expression: Expression) -> frozenset[str]:
    """Give the names of the locals that an expression depends on."""
    return frozenset(_locals_in(expression.to_json()))


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
            lists. It is copied, so changing it later does not change the expression. A string
            that holds expressions, an f-string, gives the expression of its text.

    Raises:
        TypeError: JSON cannot carry the value or something in it: another type, a dict key that
            is no string, a float that is not finite, an integer beyond 2**53 that a browser
            would round.
    """
    read = read_text(value) if isinstance(value, str) else value
    return read if isinstance(read, Expression) else Literal(_json_copy(read))


def read_text(text: str) -> str | Expression:
    """Give the expression of a text that holds expressions, and any other text as it is.

    Raises:
        TypeError: Python changed the text after it was given an expression to hold.
    """
    if not is_marked(text):
        return text
    texts, forms = split_marks(text)
    parts: list[Expression] = [Literal(texts[0])]
    for form, after in zip(forms, texts[1:], strict=True):
        parts += [_from_json(form), Literal(after)]
    return Calculation("text", tuple(part for part in parts if not _is_empty(part)))


def cond_expression(condition: object, when_true: object, when_false: object) -> Expression:
    """Give the expression for ``when_true if condition else when_false``.

    Each may be an expression or a plain value. Only the chosen one is computed.

    Raises:
        TypeError: JSON cannot carry a plain value among them.
    """
    return _operation("cond", condition, when_true, when_false)


def text_expression(*parts: object) -> Expression:
    """Give the expression that joins what Python's ``str`` makes of all parts.

    Raises:
        TypeError: JSON cannot carry a plain value among them.
    """
    return _operation("text", *parts)


def show_expression(*parts: object) -> Expression:
    """Give the expression that joins what a page shows of each part: nothing of None.

    A part that cannot be computed shows nothing, as it would in an element of its own.

    Raises:
        TypeError: JSON cannot carry a plain value among them.
    """
    return _operation("show", *parts)


def shown_text(value: str | float | None) -> str:
    """Give the text that a page shows for a plain value: the rule under "Text" above."""
    if value is None:
        return ""
    # 3.0 and 3 are one number to a browser, and a page should not show it in two ways.
    if isinstance(value, float) and value.is_integer() and abs(value) < _FIRST_EXPONENT:
        return str(int(value))
    return str(value)


def _operation(name: str, *operands: object) -> Expression:
    return Calculation(name, tuple(as_expression(operand) for operand in operands))


_PLAIN_FORMS: Final[dict[str, Callable[..., Expression]]] = {
    "lit": Literal,
    "var": StateVar,
    "local": Local,
}


def _from_json(form: list[Any]) -> Expression:
    """Give the expression of a JSON form that an expression gave."""
    name, *operands = form
    if name in _PLAIN_FORMS:
        return _PLAIN_FORMS[name](*operands)
    return Calculation(name, tuple(map(_from_json, operands)))


def _is_empty(part: Expression) -> bool:
    return part.to_json() == ["lit", ""]


def _locals_in(form: list[Any]) -> Iterator[str]:
    name, *operands = form
    if name == "local":
        yield operands[0]
    elif name not in _PLAIN_FORMS:
        for operand in operands:
            yield from _locals_in(operand)


def _json_copy(value: object, path: str = "") -> Plain:
    """Give a copy in types that JSON has, or refuse the value at ``path``."""
    if value is None or isinstance(value, bool | str | int | float):
        return _scalar(value, path)
    if isinstance(value, list | tuple):
        items = cast("list[object] | tuple[object, ...]", value)
        return [_json_copy(item, f"{path}[{index}]") for index, item in enumerate(items)]
    if isinstance(value, dict):
        entries = cast("dict[object, object]", value)
        return {
            _text_key(key, path): _json_copy(item, f"{path}[{key!r}]")
            for key, item in entries.items()
        }
    advice = _NOT_NESTED if isinstance(value, Expression) else "make it text or a number first"
    return _refuse(f"{_short_repr(value)} of type {type(value).__name__}", path, advice)


def _scalar(value: str | float | None, path: str) -> Plain:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _plain_text(value, path)
    return _exact_integer(value, path) if isinstance(value, int) else _finite(value, path)


_NOT_NESTED: Final = "combine expressions with operators, not in lists or dicts"


def _plain_text(value: str, path: str) -> str:
    if is_marked(value):
        _refuse("text that holds an expression", path, _NOT_NESTED)
    return value


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
