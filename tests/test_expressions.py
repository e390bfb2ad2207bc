"""Expressions: the JSON form of every operator, and what is refused with which advice."""

from __future__ import annotations

import copy
import inspect
import json
import operator
import pickle
import re
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
    locals_of,
    new_local,
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


EXPRESSIONS: st.SearchStrategy[Expression] = st.recursive(
    st.sampled_from([COUNTER, RUNNING, OTHER]) | JSON_VALUES.map(literal),
    lambda inner: (
        st.builds(lambda name, a, b: BINARY[name](a, b), st.sampled_from([*BINARY]), inner, inner)
        | st.builds(operator.invert, inner)
        | st.builds(cond_expression, inner, inner, inner)
    ),
    max_leaves=10,
)


def pickled(expression: Expression) -> Any:
    return pickle.loads(pickle.dumps(expression))  # noqa: S301 - our own


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
        (lambda: list(COUNTER), "foreach(x, lambda item: text(item))"),
        (lambda: ", ".join(iter(COUNTER)), "x.join(', ')"),
        (lambda: 5 in COUNTER, "x.contains(item)"),
        (lambda: len(COUNTER), "x.length()"),
        (lambda: f"Count: {COUNTER:>10}", "a spec such as .2f"),
    ],
    ids=["loop", "join", "contains", "len", "format"],
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
        COUNTER._var = "other"  # type: ignore[misc]  # that it is refused is tested


def test_the_representation_is_the_json_form() -> None:
    assert repr(~RUNNING) == '<Calculation ["not", ["var", "state.my_task_state", "running"]]>'


def test_an_expression_stays_itself_where_one_is_wanted() -> None:
    assert as_expression(COUNTER) is COUNTER


# ---- Parts and methods ----


@pytest.mark.parametrize(
    ("expression", "form"),
    [
        (COUNTER[0], ["get", COUNTER_JSON, ["lit", 0]]),
        (COUNTER[RUNNING], ["get", COUNTER_JSON, RUNNING_JSON]),
        (COUNTER["length"], ["get", COUNTER_JSON, ["lit", "length"]]),
        (COUNTER.name, ["get", COUNTER_JSON, ["lit", "name"]]),
        (COUNTER[1:], ["slice", COUNTER_JSON, ["lit", 1], ["lit", None], ["lit", None]]),
        (COUNTER[:RUNNING:-1], ["slice", COUNTER_JSON, ["lit", None], RUNNING_JSON, ["lit", -1]]),
        (COUNTER.length(), ["length", COUNTER_JSON]),
        (COUNTER.contains(5), ["contains", COUNTER_JSON, FIVE_JSON]),
        (COUNTER.to_string(), ["text", COUNTER_JSON]),
        (COUNTER.split(), ["split", COUNTER_JSON, ["lit", None]]),
        (COUNTER.join(RUNNING), ["join", COUNTER_JSON, RUNNING_JSON]),
    ],
    ids=repr,
)
def test_parts_and_methods_are_forms_of_their_own(expression: Expression, form: Any) -> None:
    assert expression.to_json() == form


@pytest.mark.parametrize("expression", [COUNTER, literal([1]), COUNTER + 1, new_local()], ids=type)
def test_no_private_name_is_a_field(expression: Any) -> None:
    for name in ("_repr_html_", "__call__", "__len_hint__", "_x"):
        assert not hasattr(expression, name)
        with pytest.raises(AttributeError, match=name):
            getattr(expression, name)
    assert not callable(expression)
    assert inspect.unwrap(expression) is expression


@pytest.mark.parametrize("field", ["name", "value", "form", "operands", "state", "var"])
def test_what_an_expression_is_made_of_hides_no_field(field: str) -> None:
    for expression in (COUNTER, literal({}), COUNTER[0], new_local()):
        wanted = ["get", expression.to_json(), ["lit", field]]
        assert getattr(expression, field).to_json() == wanted


@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, pickled], ids=lambda one: one.__name__
)
def test_an_expression_can_be_copied_and_pickled(duplicate: Callable[[Any], Any]) -> None:
    expression = cond_expression(RUNNING, COUNTER.name, literal([1]))

    assert duplicate(expression).to_json() == expression.to_json()


# ---- f-strings ----


def test_an_f_string_holds_expressions() -> None:
    expression = literal(f"Count: {COUNTER + 1} of {OTHER!s}!")

    assert expression.to_json() == [
        "text",
        ["lit", "Count: "],
        ["+", COUNTER_JSON, ["lit", 1]],
        ["lit", " of "],
        OTHER.to_json(),
        ["lit", "!"],
    ]


@given(st.text(), st.text())
def test_the_text_around_an_expression_stays_what_it_is(before: str, after: str) -> None:
    form = as_expression(f"{before}{COUNTER}{after}").to_json()

    around = [["lit", one] for one in (before, after)]
    assert form == ["text", *[one for one in (around[0], COUNTER_JSON, around[1]) if one[-1]]]


@given(st.text())
def test_a_text_without_expressions_is_a_literal(text: str) -> None:
    assert literal(text).to_json() == ["lit", text]


@given(EXPRESSIONS)
def test_an_f_string_holds_any_expression(expression: Expression) -> None:
    assert as_expression(f"{expression}").to_json() == ["text", expression.to_json()]


@pytest.mark.parametrize(
    "hold",
    [str, "{}".format, lambda x: "%s" % x, lambda x: "".join([str(x)])],  # noqa: UP031
)
def test_all_ways_in_which_python_makes_text_hold_the_expression(
    hold: Callable[[Any], str],
) -> None:
    assert as_expression(hold(COUNTER)).to_json() == ["text", COUNTER_JSON]


def test_operators_and_choices_find_what_an_f_string_holds() -> None:
    held, f_string = ["text", COUNTER_JSON], f"{COUNTER}"

    assert (f"{COUNTER}" + OTHER).to_json() == ["+", held, OTHER.to_json()]
    assert (as_expression(OTHER) == f_string).to_json() == ["==", OTHER.to_json(), held]
    assert cond_expression(RUNNING, f"{COUNTER}", "x").to_json()[2] == held
    assert OTHER[f"{COUNTER}"].to_json() == ["get", OTHER.to_json(), held]


@pytest.mark.parametrize("spec", [".2f", ",.0f", ".1%", "d", "03d", ",", ",d", "08.3f", ".20f"])
def test_a_format_spec_that_a_browser_computes_is_kept(spec: str) -> None:
    expression = as_expression(f"{COUNTER:{spec}}")

    assert expression.to_json() == ["text", ["format", COUNTER_JSON, ["lit", spec]]]


@pytest.mark.parametrize(
    "spec", [">10", "10", "s", "e", ".2", "x", "_", ".21f", "00d", "+d", "0,d"]
)
def test_any_other_format_spec_is_refused(spec: str) -> None:
    message = refusal(lambda: f"{COUNTER:{spec}}")

    assert repr(spec) in message
    assert ".2f" in message


@pytest.mark.parametrize(
    "change",
    [str.upper, str.title, lambda x: x[:60], lambda x: x[:-3], repr],
    ids=["upper", "title", "cut", "cut end", "repr"],
)
def test_a_text_that_was_changed_after_it_was_given_an_expression_is_refused(
    change: Callable[[str], str],
) -> None:
    assert "was changed" in refusal(lambda: literal(change(f"of a long name: {COUNTER}")))


def test_lists_hold_no_f_strings_with_expressions() -> None:
    assert "at [0]" in refusal(lambda: literal([f"{COUNTER}"]))


def test_nobody_can_write_a_mark_of_his_own() -> None:
    forged = re.sub("[0-9a-f]{32}", "0" * 32, f"{COUNTER}")

    assert literal(forged).to_json() == ["lit", forged]


# ---- Locals ----


def test_each_local_is_another() -> None:
    first, second = new_local(), new_local()

    assert first.to_json() != second.to_json()
    assert first.dependencies() == frozenset()
    names = {str(one.to_json()[1]) for one in (first, second)}
    assert locals_of(cond_expression(first, f"{second}", COUNTER)) == names
    assert locals_of(literal(["local", "x"])) == frozenset()


def subexpressions(form: list[Any]) -> Iterator[list[Any]]:
    yield form
    if form[0] not in {"lit", "var"}:
        for operand in form[1:]:
            yield from subexpressions(operand)


@given(EXPRESSIONS)
def test_the_dependencies_are_the_vars_of_the_json_form(expression: Expression) -> None:
    found = {(one[1], one[2]) for one in subexpressions(expression.to_json()) if one[0] == "var"}

    assert expression.dependencies() == found


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (True, "True"),
        (False, "False"),
        (5, "5"),
        (3.0, "3"),
        (-0.0, "0"),
        (0.5, "0.5"),
        (1e-7, "1e-07"),
        (1e16, "1e+16"),
        ("a", "a"),
    ],
)
def test_a_plain_value_is_shown_as_a_browser_would(value: Any, text: str) -> None:
    assert shown_text(value) == text
