"""Expressions: the JSON form of every operator, and what is refused with which advice."""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Iterator
from datetime import date
from typing import Any

import pytest
from hypothesis import given, strategies as st

from actorstate.state.expressions import (
    Expression,
    StateVar,
    as_expression,
    cond_expression,
    literal,
    shown_text,
    text_expression,
)

COUNTER = StateVar("state.my_task_state", "counter")
RUNNING = StateVar("state.my_task_state", "running")
OTHER = StateVar("state.other_state", "name")

COUNTER_JSON = ["var", "state.my_task_state", "counter"]
RUNNING_JSON = ["var", "state.my_task_state", "running"]
FIVE_JSON = ["lit", 5]

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)

BINARY = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
    "and": operator.and_,
    "or": operator.or_,
}
COMPARISON = {
    "==": (operator.eq, "=="),
    "!=": (operator.ne, "!="),
    "<": (operator.lt, ">"),
    "<=": (operator.le, ">="),
    ">": (operator.gt, "<"),
    ">=": (operator.ge, "<="),
}


def refusal(act: Callable[[], object]) -> str:
    with pytest.raises(TypeError) as caught:
        act()
    return str(caught.value)


def test_a_var_is_its_two_names() -> None:
    assert COUNTER.to_json() == COUNTER_JSON


@pytest.mark.parametrize("name", BINARY)
def test_an_operator_takes_a_plain_value_on_either_side(name: str) -> None:
    operate: Callable[[Any, Any], Any] = BINARY[name]

    assert operate(COUNTER, 5).to_json() == [name, COUNTER_JSON, FIVE_JSON]
    assert operate(5, COUNTER).to_json() == [name, FIVE_JSON, COUNTER_JSON]
    assert operate(COUNTER, RUNNING).to_json() == [name, COUNTER_JSON, RUNNING_JSON]


@pytest.mark.parametrize("name", COMPARISON)
def test_a_comparison_with_the_plain_value_first_is_turned_round(name: str) -> None:
    compare, turned = COMPARISON[name]

    assert compare(COUNTER, 5).to_json() == [name, COUNTER_JSON, FIVE_JSON]
    assert compare(5, COUNTER).to_json() == [turned, COUNTER_JSON, FIVE_JSON]


def test_not_and_minus_take_one_operand() -> None:
    assert (~RUNNING).to_json() == ["not", RUNNING_JSON]
    assert (-COUNTER).to_json() == ["neg", COUNTER_JSON]


def test_text_and_a_var_are_joined_by_plus() -> None:
    assert ("Count: " + COUNTER).to_json() == ["+", ["lit", "Count: "], COUNTER_JSON]


def test_operators_nest_as_they_are_written() -> None:
    expression = ~(COUNTER + 1 > 5) & RUNNING

    plus = ["+", COUNTER_JSON, ["lit", 1]]
    assert expression.to_json() == ["and", ["not", [">", plus, FIVE_JSON]], RUNNING_JSON]


def test_cond_and_text_take_plain_values_and_expressions() -> None:
    assert cond_expression(RUNNING, "Stop", COUNTER).to_json() == [
        "cond",
        RUNNING_JSON,
        ["lit", "Stop"],
        COUNTER_JSON,
    ]
    assert text_expression("a", COUNTER).to_json() == ["text", ["lit", "a"], COUNTER_JSON]


def test_the_dependencies_are_those_of_all_operands() -> None:
    expression = cond_expression(RUNNING, "a" + OTHER, COUNTER + COUNTER)

    assert expression.dependencies() == {
        ("state.my_task_state", "running"),
        ("state.my_task_state", "counter"),
        ("state.other_state", "name"),
    }
    assert literal(5).dependencies() == frozenset()


@given(JSON_VALUES)
def test_a_literal_carries_every_json_value(value: Any) -> None:
    assert json.loads(json.dumps(literal(value).to_json())) == ["lit", value]


def test_a_literal_is_a_copy_both_ways() -> None:
    given_list = [[1], (2, 3)]
    expression = literal(given_list)
    given_list.append([4])
    expression.to_json().append("spoilt")

    assert expression.to_json() == ["lit", [[1], [2, 3]]]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (date(2024, 2, 26), ["datetime.date(2024, 2, 26)", "of type date"]),
        ({1, 2}, ["{1, 2} of type set"]),
        (float("nan"), ["float nan", "None"]),
        (float("inf"), ["float inf"]),
        (2**53, ["integer 9007199254740992", "round", "text"]),
        ({"a": [0, object]}, ["at ['a'][1]"]),
        ({1: "a"}, ["dict key 1", "str(key)"]),
        ([COUNTER], ["at [0]", "combine expressions with operators"]),
    ],
)
def test_a_literal_names_what_json_cannot_carry(value: object, words: list[str]) -> None:
    message = refusal(lambda: literal(value))

    assert all(word in message for word in words)


def test_an_operator_refuses_what_json_cannot_carry_instead_of_being_false() -> None:
    assert "of type object" in refusal(lambda: object() == COUNTER)
    assert "of type object" in refusal(lambda: COUNTER + object())


@pytest.mark.parametrize(
    "decide",
    [
        bool,
        operator.not_,
        lambda x: x and 5,
        lambda x: "Stop" if x else "Start",
        lambda x: 1 < x < 5,
        lambda x: x in (RUNNING, OTHER),
    ],
    ids=["bool", "not", "and", "if", "chain", "in"],
)
def test_truth_is_refused_with_what_to_write_instead(decide: Callable[[Any], object]) -> None:
    message = refusal(lambda: decide(COUNTER))

    assert all(word in message for word in ("cond(x, a, b)", "~x", "a & b", "a | b"))


@pytest.mark.parametrize(
    ("act", "advice"),
    [
        (lambda: list(COUNTER), "a var that a handler keeps"),
        (lambda: 5 in COUNTER, "a var that a handler keeps"),
        (lambda: len(COUNTER), "a var that a handler keeps"),
        (lambda: f"Count: {COUNTER}", '"Count: " + x'),
    ],
    ids=["loop", "contains", "len", "f-string"],
)
def test_what_the_browser_cannot_be_asked_is_refused(
    act: Callable[[], object], advice: str
) -> None:
    message = refusal(act)

    assert advice in message
    assert '["var", "state.my_task_state", "counter"]' in message


def test_an_expression_is_a_key_by_identity() -> None:
    twin = StateVar("state.my_task_state", "counter")

    assert {COUNTER: "first", twin: "second"}[COUNTER] == "first"
    assert len({COUNTER, twin}) == len([COUNTER, twin])


def test_an_expression_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        COUNTER.var_name = "other"  # type: ignore[misc]  # that it is refused is tested


def test_the_representation_is_the_json_form() -> None:
    assert repr(~RUNNING) == '<Calculation ["not", ["var", "state.my_task_state", "running"]]>'


def test_an_expression_stays_itself_where_one_is_wanted() -> None:
    assert as_expression(COUNTER) is COUNTER


def subexpressions(form: list[Any]) -> Iterator[list[Any]]:
    yield form
    if form[0] not in {"lit", "var"}:
        for operand in form[1:]:
            yield from subexpressions(operand)


EXPRESSIONS: st.SearchStrategy[Expression] = st.recursive(
    st.sampled_from([COUNTER, RUNNING, OTHER]) | JSON_VALUES.map(literal),
    lambda inner: (
        st.builds(lambda name, a, b: BINARY[name](a, b), st.sampled_from([*BINARY]), inner, inner)
        | st.builds(operator.invert, inner)
        | st.builds(cond_expression, inner, inner, inner)
    ),
    max_leaves=10,
)


@given(EXPRESSIONS)
def test_the_dependencies_are_the_vars_of_the_json_form(expression: Expression) -> None:
    found = {(one[1], one[2]) for one in subexpressions(expression.to_json()) if one[0] == "var"}

    assert expression.dependencies() == found


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), (True, "true"), (False, "false"), (5, "5"), (3.0, "3"), (0.5, "0.5"), ("a", "a")],
)
def test_a_plain_value_is_shown_as_a_browser_would(value: Any, text: str) -> None:
    assert shown_text(value) == text
