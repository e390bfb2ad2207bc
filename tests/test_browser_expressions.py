"""Expressions give in the browser what they give in Python.

A law: typed expressions over typed vars are generated, computed by Python's own operators, and
computed by the client in a page of a real browser.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
from browser import started_chromium
from evaluate import RAISED, OutOfDomainError, evaluate, is_same, with_text_keys
from hypothesis import given, settings, strategies as st
from playwright.sync_api import Browser, Page
from stage import Stage

from actorstate.state.expressions import (
    Expression,
    StateVar,
    as_expression,
    cond_expression,
    literal,
    show_expression,
    text_expression,
)

STATE: Final = "state.law"

EVALUATE: Final = """given => {
    const { state, forms } = JSON.parse(given);
    const odd = (number) => typeof number === "number" && !Number.isFinite(number);
    const compute = (form) => {
        try { return [actorstate.evaluate(form, state)]; } catch { return null; }
    };
    return JSON.stringify(
        forms.map(compute), (_, value) => (odd(value) ? { odd: String(value) } : value));
}"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with started_chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def page(chromium: Browser) -> Iterator[Page]:
    stage = Stage(chromium, "law", {})
    yield stage.page
    stage.close()


RAISES: Final = "it raises"
UNKNOWN: Final = object()


def in_browser(page: Page, forms: list[Any], state: dict[str, Any]) -> list[Any]:
    given = json.dumps({"forms": forms, "state": with_text_keys(state)})
    # JavaScript writes floats with an exponent from 1e21 only.
    answers = json.loads(
        page.evaluate(EVALUATE, given),
        object_hook=read_odd,
        parse_int=lambda digits: as_float_if_great(int(digits), digits),
    )
    return [RAISES if answer is None else answer[0] for answer in answers]


def as_float_if_great(number: int, digits: str) -> float:
    return number if abs(number) < 2**53 else float(digits)


def read_odd(found: dict[str, Any]) -> Any:
    return float(found["odd"]) if list(found) == ["odd"] else found


def in_python(form: Any, state: dict[str, Any]) -> Any:
    try:
        return with_text_keys(evaluate(form, state))
    except RAISED:
        return RAISES
    except OutOfDomainError:
        return UNKNOWN


# ---- Values of vars -----------------------------------------------------------------------------

# Letters whose case is odd, white space of one side only, what is escaped, what is two units.
TEXTS: Final = st.text(
    st.sampled_from(
        "abcXYZ 019.,-_'\"\\\n\t\x1c\x85\xa0\xad\u200b\u2028\ufeff\ue000éßİ\u0131Σ\u03c3ςÅ\uff5e🙂"
    ),
    max_size=6,
)
NAMES: Final = st.sampled_from(["a", "b", "length", "ß", "__proto__", "with space"])
SMALL: Final = st.integers(-4, 6)
INTEGERS: Final = SMALL | st.integers(-(2**40), 2**40)
FLOATS: Final = (
    st.floats(-1e4, 1e4)
    | st.integers(-4000, 4000).map(lambda n: n / 16)
    | st.sampled_from([0.1, 1e-7, -1e-5, 0.0001, 123456.789, 1e16, 1.5e22, 2.5e-9, -0.0])
    | st.floats(allow_nan=False, allow_infinity=False)
)
SCALARS: Final = st.none() | st.booleans() | INTEGERS | FLOATS | TEXTS
ANYTHING: Final = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3)
)
USERS: Final = st.fixed_dictionaries(
    {"name": TEXTS, "age": INTEGERS, "tags": st.lists(TEXTS, max_size=3)}
)

VARS: Final[dict[str, dict[str, st.SearchStrategy[Any]]]] = {
    "int": {"i": INTEGERS, "j": SMALL},
    "float": {"x": FLOATS, "y": FLOATS},
    "bool": {"b": st.booleans()},
    "text": {"s": TEXTS, "t": TEXTS},
    "ints": {"numbers": st.lists(INTEGERS, max_size=5)},
    "texts": {"words": st.lists(TEXTS, max_size=5)},
    "users": {"users": st.lists(USERS, max_size=3)},
    "user": {"user": USERS},
    "by_name": {"ages": st.dictionaries(NAMES, INTEGERS, max_size=4)},
    "by_number": {"names": st.dictionaries(SMALL, TEXTS, max_size=4)},
    "any": {"maybe": st.none() | SMALL, "thing": ANYTHING},
}
KIND_OF: Final = {name: kind for kind, vars_ in VARS.items() for name in vars_}
STATES: Final = st.fixed_dictionaries(
    {name: values for vars_ in VARS.values() for name, values in vars_.items()}
)
LITERALS: Final[dict[str, st.SearchStrategy[Any]]] = {
    "int": INTEGERS,
    "float": FLOATS,
    "bool": st.booleans(),
    "text": TEXTS,
    "ints": st.lists(INTEGERS, max_size=3),
    "texts": st.lists(TEXTS, max_size=3),
    "user": USERS,
    "users": st.lists(USERS, max_size=2),
    "by_name": st.dictionaries(NAMES, INTEGERS, max_size=3),
    "by_number": st.just({}),
    "any": ANYTHING,
    "index": SMALL,
    "bound": st.none() | SMALL,
    "name": NAMES,
    "separator": st.sampled_from([",", " ", "ab", "", None]),
    "glue": TEXTS,
}

# ---- Expressions: by the kind of their value, what makes one from which kinds -------------------

NUMBERS: Final = ("int", "float", "bool")
SEQUENCES: Final = ("text", "ints", "texts", "users")
KINDS: Final = tuple(VARS)
SPECS: Final = [".2f", ".0f", ".1f", ",.3f", ",", "03d", "d", ",d", ".1%", ".0%", "08.3f", ".20f"]

Maker = tuple[Any, tuple[str, ...]]


def binary(operators: str, *kinds: str) -> list[Maker]:
    named = {
        "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv,
        "//": operator.floordiv, "%": operator.mod, "&": operator.and_, "|": operator.or_,
        "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le,
        ">": operator.gt, ">=": operator.ge,
    }  # fmt: skip
    return [(named[one], (a, b)) for one in operators.split() for a in kinds for b in kinds]


def formatted(spec: str) -> Callable[[Expression], Expression]:
    return lambda x: as_expression(f"<{x:{spec}}>")


def alike(kind: str) -> list[Maker]:
    """Give what makes any kind from itself."""
    return [
        (operator.and_, (kind, kind)),
        (operator.or_, (kind, kind)),
        (cond_expression, ("bool", kind, kind)),
    ]


MAKERS: Final[dict[str, list[Maker]]] = {
    "int": [
        *binary("+ - * // %", "int", "bool"),
        *((Expression.length, (kind,)) for kind in (*SEQUENCES, "by_name", "by_number")),
        (operator.neg, ("int",)),
        (operator.getitem, ("ints", "index")),
        (operator.getitem, ("by_name", "name")),
        (lambda user: user.age, ("user",)),
        (lambda users: users[0]["age"], ("users",)),
    ],
    "float": [
        *binary("+ - * / // %", "int", "float"),
        *binary("/", "int", "bool"),
        (operator.neg, ("float",)),
    ],
    "bool": [
        *binary("== != < <= > >=", *NUMBERS),
        *(made for kind in SEQUENCES for made in binary("== !=", kind)),
        *(made for kind in ("text", "ints", "texts") for made in binary("< <= > >=", kind)),
        *binary("== !=", "any", "user", "by_name", "int"),
        *((operator.invert, (kind,)) for kind in KINDS),
        (Expression.contains, ("text", "text")),
        (Expression.contains, ("ints", "int")),
        (Expression.contains, ("texts", "text")),
        (Expression.contains, ("by_name", "name")),
        (Expression.contains, ("by_number", "index")),
        (Expression.contains, ("by_number", "bool")),
    ],
    "text": [
        *((operator.add, ("text", kind)) for kind in KINDS),
        *((operator.add, (kind, "text")) for kind in KINDS),
        *((Expression.to_string, (kind,)) for kind in KINDS),
        *((formatted(spec), (kind,)) for spec in SPECS for kind in NUMBERS),
        (lambda x, y: as_expression(f"{x}, {y}!"), ("any", "float")),
        (text_expression, ("any", "texts", "user")),
        (show_expression, ("any", "bool", "float")),
        (operator.mul, ("text", "index")),
        (operator.getitem, ("text", "index")),
        (operator.getitem, ("texts", "index")),
        (operator.getitem, ("by_number", "index")),
        (operator.getitem, ("by_number", "bool")),
        (lambda x, a, b, c: x[a:b:c], ("text", "bound", "bound", "bound")),
        (lambda user: user.name, ("user",)),
        (Expression.lower, ("text",)),
        (Expression.upper, ("text",)),
        (Expression.strip, ("text",)),
        (Expression.join, ("texts", "glue")),
    ],
    "ints": [
        (operator.add, ("ints", "ints")),
        (operator.mul, ("ints", "index")),
        (lambda x, a, b, c: x[a:b:c], ("ints", "bound", "bound", "bound")),
    ],
    "texts": [
        (Expression.split, ("text", "separator")),
        (operator.add, ("texts", "texts")),
        (lambda user: user.tags, ("user",)),
        (lambda x, a, b: x[a:b], ("texts", "bound", "bound")),
    ],
    "users": [(lambda x, a, b: x[a:b], ("users", "bound", "bound"))],
    "user": [(operator.getitem, ("users", "index"))],
    "by_name": [],
    "by_number": [],
    "index": [*binary("+ - %", "index"), (Expression.length, ("texts",))],
    "name": [(cond_expression, ("bool", "name", "name"))],
    # What mostly raises: that, too, both sides do.
    "any": [
        *binary("+ - * / // < >= & |", "any", "int", "texts"),
        (operator.neg, ("any",)),
        (operator.getitem, ("any", "index")),
        (lambda x, a, b: x[a:b], ("any", "bound", "bound")),
        (Expression.length, ("any",)),
        (Expression.contains, ("text", "any")),
        (Expression.lower, ("any",)),
        (Expression.strip, ("ints",)),
        (Expression.join, ("ints", "glue")),
        (formatted(".2f"), ("any",)),
    ],
}  # fmt: skip


def leaves(kind: str) -> st.SearchStrategy[Expression]:
    named = [StateVar(STATE, name) for name in VARS.get(kind, ())]
    fixed = LITERALS[kind].map(literal)
    return st.sampled_from(named) | fixed if named else fixed


LEAVES: Final = {kind: leaves(kind) for kind in LITERALS}


def branches(kind: str) -> st.SearchStrategy[Maker | None]:
    makers = [*MAKERS[kind], *(alike(kind) if kind in KINDS else [])]
    return st.sampled_from([*makers, *[None] * (1 + len(makers) // 5)])  # None for a leaf


BRANCHES: Final = {kind: branches(kind) for kind in MAKERS}


def grow(draw: st.DrawFn, kind: str, depth: int) -> Expression:
    """Draw an expression whose value is of a kind, unless it raises."""
    branch = draw(BRANCHES[kind]) if depth > 0 and kind in BRANCHES else None
    if branch is None:
        return draw(LEAVES[kind])
    make, operands = branch
    return make(*[grow(draw, one, depth - 1) for one in operands])


@st.composite
def batches(draw: st.DrawFn) -> list[Expression]:
    return [grow(draw, kind, 3) for kind in (*KINDS, *KINDS)]


@settings(max_examples=settings().max_examples // 2)  # of 22 expressions each
@given(batches(), STATES)
def test_an_expression_gives_in_the_browser_what_it_gives_in_python(
    page: Page, batch: list[Expression], values: dict[str, Any]
) -> None:
    assert_same(page, [one.to_json() for one in batch], {STATE: values})


def assert_same(page: Page, forms: list[Any], state: dict[str, Any]) -> None:
    expected = {index: in_python(form, state) for index, form in enumerate(forms)}
    known = {index: value for index, value in expected.items() if value is not UNKNOWN}
    answers = in_browser(page, [forms[index] for index in known], state)
    for (index, here), there in zip(known.items(), answers, strict=True):
        fault = f"{json.dumps(forms[index])}\nPython:  {here!r}\nbrowser: {there!r}"
        assert is_same(here, there), fault


ODD: Final[list[Expression]] = [
    *(
        as_expression(f"{literal(number):{spec}}")
        for spec in SPECS
        for number in (0.125, 0.375, -0.125, 0.5, 1.5, 2.5, -2.5, 1.005, 2.675, 0.05, 1e21, 1e22,
                       123456789.5, -1234, 999, 0.9995, 1e-9, True, -0.001)
    ),
    *(
        text_expression(value)
        for value in (1e-4, 1e-5, 1.5e-7, 1e15, 1e16, 1e21, 1.7976931348623157e308, 5e-324, -1e-10,
                      ["it's", 'say "no"', "both '\"", "\\ \n\t\r\0\x7f\xa0\u2028\U000e0001"],
                      {"a": None, "b": [True, {}], "c": 0.1})
    ),
    *(literal("aΣ ΑΣ. Σ İI ß ŉ ﬁ").upper()[i:] for i in range(3)),
    *(literal("aΣ ΑΣ. Σ İI ß ŉ ﬁ").lower()[i:] for i in range(3)),
    *(literal("a🙂b")[i] for i in range(-4, 4)),
    *(literal("a🙂b🙂")[a:b:c] for a in (None, -9, -2, 1, 9) for b in (None, -1, 2)
      for c in (None, 1, 2, -1, -2, 0)),
    literal(1e308) * 10 - literal(1e308) * 10,
    (literal(1e308) * 10).to_string(),
    (-literal(1e308) * 10).to_string(),
    literal(-7) // literal(2) * 2 + literal(-7) % literal(2),
    literal(0) / 0,
    literal([1, [2]]).contains([2]),
    literal([]) | {},
]  # fmt: skip


def test_an_expression_of_what_is_odd_in_one_of_the_two_gives_the_same(page: Page) -> None:
    forms: list[Any] = [one.to_json() for one in ODD]
    # Python has no dict whose keys are the texts of numbers, and looks these up by numbers.
    names = {"names": {1: "one"}}
    forms.append((StateVar(STATE, "names")[literal(5) > 4]).to_json())

    assert_same(page, forms, {STATE: names})
