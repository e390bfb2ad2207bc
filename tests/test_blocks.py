"""Blocks: rows, choices and groups, as records and as HTML; and where f-strings are found."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html import unescape
from typing import Any, Final

import pytest

from actorstate import ui
from actorstate.state.expressions import Expression, StateVar, literal
from actorstate.state.state import State
from actorstate.state.vars import FixedPlace

ITEMS: Final = StateVar("state.demo", "items")
COUNTER: Final = StateVar("state.demo", "counter")
COUNTER_JSON: Final = ["var", "state.demo", "counter"]
HELD: Final = ["text", ["lit", "n: "], COUNTER_JSON]


def refusal(act: Callable[[], object]) -> str:
    with pytest.raises(TypeError) as caught:
        act()
    return str(caught.value)


def bound(child: ui.Child, attribute: str) -> Any:
    """Give the first value of a data attribute in the HTML of a child."""
    found = re.search(f'{attribute}="([^"]*)"', ui.render(child))
    assert found is not None
    return json.loads(unescape(found[1]))


# ---- foreach ----


def test_a_row_is_made_once_with_what_stands_for_its_item_and_index() -> None:
    calls: list[Any] = []

    def row(item: Any, index: Any) -> ui.Child:
        calls.append((item, index))
        return ui.text(item.name, " ", index + 1)

    rows = ui.foreach(ITEMS, row, key=lambda item: item.id)

    [(item, index)] = calls
    assert bound(rows, "data-as-foreach") == {
        "items": ["var", "state.demo", "items"],
        "item": item.to_json()[1],
        "index": index.to_json()[1],
        "key": ["get", item.to_json(), ["lit", "id"]],
    }
    assert bound(rows, "data-as-text") == [
        "show",
        ["get", item.to_json(), ["lit", "name"]],
        ["lit", " "],
        ["+", index.to_json(), ["lit", 1]],
    ]
    assert ui.render(rows).startswith("<template ")


@pytest.mark.parametrize(
    ("row", "shown"),
    [
        (lambda item: item, "ab"),
        (lambda item, index: f"{index}{item}", "0a1b"),
        (lambda item, size="x": f"{item}{size}", "axbx"),
        (ui.text, "<p>a</p><p>b</p>"),
        (str.upper, "AB"),
        (lambda *parts: len(parts), "11"),
    ],
    ids=["item", "index", "default", "element", "method", "rest"],
)
def test_plain_items_are_shown_when_the_page_is_made(row: Any, shown: str) -> None:
    assert ui.render(ui.foreach(["a", "b"], row)) == shown
    assert ui.render(ui.foreach(iter("ab"), row)) == shown


def test_a_plain_dict_gives_pairs() -> None:
    rows = ui.foreach({"a": 1}, lambda item: f"{item[0]}={item[1]}")

    assert ui.render(rows) == "a=1"


def test_a_literal_list_has_rows_in_the_browser() -> None:
    rows = ui.foreach(literal([1, 2]), ui.text)

    assert bound(rows, "data-as-foreach")["items"] == ["lit", [1, 2]]


@pytest.mark.parametrize("items", ["text", 5, None])
def test_what_has_no_items_is_refused(items: Any) -> None:
    assert "foreach takes a list" in refusal(lambda: ui.foreach(items, ui.text))


def test_a_row_that_cannot_be_shown_is_refused() -> None:
    row: Any = lambda item: [item]  # noqa: E731 - as a user writes it
    assert "foreach cannot contain" in refusal(lambda: ui.foreach(ITEMS, row))
    assert "foreach cannot contain" in refusal(lambda: ui.foreach([1], row))


@pytest.mark.parametrize(
    "place",
    [
        ui.text,
        lambda item: ui.text("a", title=item),
        lambda item: ui.text("a", style={"color": item}),
        lambda item: ui.cond(item, ui.text("a")),
        lambda item: ui.fragment(f"{item}"),
        lambda item: ui.foreach(item, ui.text),
        lambda item: ui.foreach(ITEMS, ui.text, key=lambda _: item),
        lambda item: ui.foreach(ITEMS, lambda other: ui.text(other, item)),
    ],
)
def test_an_item_outside_of_its_rows_is_refused(place: Callable[[Any], ui.Child]) -> None:
    leaked: list[Any] = []
    ui.foreach(ITEMS, leaked.append)

    message = refusal(lambda: ui.render(ui.vstack(place(leaked[0]))))

    assert "where it is not known" in message
    assert '"local"' in message


def test_an_item_is_known_in_all_that_stands_in_its_rows() -> None:
    rows = ui.foreach(
        ITEMS,
        lambda group: ui.foreach(
            group.items,
            lambda item, n: ui.cond(item.open, ui.text(group.name, item, title=n)),
            key=lambda item: group.id + item.id,
        ),
    )

    assert "data-as-foreach" in ui.render(ui.cond(COUNTER, rows))


# ---- fragment, match ----


def test_a_fragment_leaves_no_trace_of_itself() -> None:
    group = ui.fragment("a", ui.fragment(1, ui.el("b", "c")), None)

    assert ui.render(group) == "a1<b>c</b>"
    assert ui.render(ui.text(group, "d")) == "<p>a1<b>c</b>d</p>"
    assert bound(ui.text(ui.fragment("a", COUNTER)), "data-as-text")[0] == "show"
    assert "fragment cannot contain" in refusal(lambda: ui.fragment([]))  # type: ignore[arg-type]


def test_match_of_texts_is_an_expression() -> None:
    chosen = ui.match(COUNTER, (1, "one"), (2, 3, f"n: {COUNTER}"), "many")

    assert isinstance(chosen, Expression)
    assert chosen.to_json() == [
        "cond",
        ["==", COUNTER_JSON, ["lit", 1]],
        ["lit", "one"],
        [
            "cond",
            ["or", ["==", COUNTER_JSON, ["lit", 2]], ["==", COUNTER_JSON, ["lit", 3]]],
            HELD,
            ["lit", "many"],
        ],
    ]


def test_match_with_an_element_is_a_block_whose_default_is_nothing() -> None:
    chosen = ui.match(COUNTER, (1, ui.text("one")), (2, "two"))

    assert isinstance(chosen, ui.Conditional)
    assert ui.render(chosen).count("data-as-cond") == 1  # the second branch is text alone


@pytest.mark.parametrize(
    ("branches", "fault"),
    [((), "takes pairs"), (("a",), "takes pairs"), (("a", (1, "b")), "'a'"), (((1,),), "(1,)")],
)
def test_match_without_a_case_and_its_child_is_refused(branches: Any, fault: str) -> None:
    assert fault in refusal(lambda: ui.match(COUNTER, *branches))


def test_match_takes_an_expression() -> None:
    assert "got 5" in refusal(lambda: ui.match(5, (5, "five")))
    assert "match takes" in refusal(lambda: ui.match(5, (5, "five")))
    assert "cond cannot contain" in refusal(lambda: ui.match(COUNTER, (1, [])))


# ---- Where f-strings are found ----


def test_an_f_string_may_stand_wherever_a_text_may() -> None:
    said = f"n: {COUNTER}"

    assert bound(ui.text(said), "data-as-text") == HELD
    assert bound(ui.text(said, ui.el("b")), "data-as-text") == HELD
    assert bound(ui.text("a", title=said), "data-as-attrs") == {"title": HELD}
    assert bound(ui.link("a", href=said), "data-as-attrs") == {"href": HELD}
    assert bound(ui.text("a", style={"color": said}), "data-as-style") == {"color": HELD}
    assert bound(ui.vstack(class_name=said), "data-as-attrs")["class"][1:] == [
        ["lit", "as-vstack n: "],
        COUNTER_JSON,
    ]
    assert bound(ui.cond(COUNTER, ui.el("b"), said), "data-as-text") == HELD
    assert bound(ui.cond(said, ui.el("b")), "data-as-cond") == HELD
    assert bound(ui.match(said, ("n: 1", ui.el("b"))), "data-as-cond")[1] == HELD
    assert bound(ui.fragment(said), "data-as-text") == HELD
    assert bound(ui.foreach(ITEMS, lambda _: said), "data-as-text") == HELD


@pytest.mark.parametrize("name", ["title", "language"])
def test_the_head_of_a_page_cannot_follow_a_var(name: str) -> None:
    given: Any = {"title": "a", name: f"n: {COUNTER}"}

    assert f"{name} of a page cannot follow a var" in refusal(lambda: ui.render_page("a", **given))


def test_a_page_may_be_an_f_string() -> None:
    assert bound_page(f"n: {COUNTER}") == HELD


def test_a_handler_that_means_the_class_where_it_means_itself_is_told() -> None:
    class MarkTestState(State):
        name: str = ""

    var = MarkTestState.definition().vars["name"]
    place = FixedPlace("it", "it is a test")
    message = refusal(lambda: var.own(f"Dear {MarkTestState.name}", place))

    assert "in a handler write self.name" in message


def bound_page(body: ui.Child) -> Any:
    found = re.search('data-as-text="([^"]*)"', ui.render_page(body, title="a"))
    assert found is not None
    return json.loads(unescape(found[1]))
