"""Blocks in a real browser: rows come, go and move, and nothing else is touched."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import jsonpatch
import pytest
from browser import Server, eventually, record_touched, started_chromium
from hypothesis import given, settings, strategies as st
from playwright.sync_api import Browser, Page, expect
from stage import Stage

from actorstate import button, cond, el, foreach, fragment, input, match, vstack  # noqa: A004
from actorstate.state.expressions import StateVar
from actorstate.state.state import State
from actorstate.ui.elements import Child

ITEMS: Final[Any] = StateVar("state.list", "items")
SUFFIX: Final[Any] = StateVar("state.list", "suffix")
CHOSEN: Final[Any] = StateVar("state.list", "chosen")

Open = Callable[..., Stage]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with started_chromium() as browser:
        yield browser


@pytest.fixture
def show(chromium: Browser) -> Iterator[Open]:
    """Open a page on a stage; what it complains of fails the test."""
    stages: list[Stage] = []

    def show(body: Child, **values: Any) -> Stage:
        stages.append(Stage(chromium, body, {"state.list": values}))
        return stages[-1]

    yield show
    for stage in stages:
        stage.close()
        assert stage.complaints == []


def texts(stage: Stage, selector: str = "li") -> list[str]:
    return stage.page.locator(selector).all_text_contents()


def people(*names: str) -> list[dict[str, Any]]:
    return [{"id": name.lower(), "name": name, "done": False} for name in names]


def row(item: Any) -> Child:
    return el(
        "li",
        el("span", item.name, id=f"name-{item.id}"),
        el("i", SUFFIX, id=f"suffix-{item.id}"),
        el("b", item.done, id=f"done-{item.id}"),
        input(aria_label=item.name, id=f"field-{item.id}"),
        id=item.id,
    )


def people_list() -> Child:
    return el("ul", foreach(ITEMS, row, key=lambda item: item.id), id="list")


# ---- Rows come, go and move ---------------------------------------------------------------------


def test_each_item_has_a_row_that_knows_its_index(show: Open) -> None:
    stage = show(
        el("ol", foreach(ITEMS, lambda item, index: el("li", f"{index + 1}. {item}"))),
        items=["a", "b"],
    )

    assert texts(stage) == ["1. a", "2. b"]
    stage.replace("/state.list/items", ["b", None, "c"])
    assert texts(stage) == ["1. b", "2. None", "3. c"]
    stage.replace("/state.list/items", [])
    assert texts(stage) == []


def test_a_dict_gives_pairs(show: Open) -> None:
    stage = show(
        el("ul", foreach(ITEMS, lambda item: el("li", item[0], ": ", item[1]))),
        items={"a": 1, "b": 2},
    )
    stage.page.locator("li").nth(1).evaluate("node => { node.mine = true; }")

    assert texts(stage) == ["a: 1", "b: 2"]
    stage.patch(
        {"op": "remove", "path": "/state.list/items/a"},
        {"op": "add", "path": "/state.list/items/c", "value": 3},
    )
    assert texts(stage) == ["b: 2", "c: 3"]
    assert stage.page.locator("li").first.evaluate("node => node.mine")


def test_what_has_no_items_shows_no_rows(show: Open) -> None:
    stage = show(el("ul", foreach(ITEMS, lambda item: el("li", item))), items=None)

    assert texts(stage) == []
    stage.replace("/state.list/items", 5)
    assert texts(stage) == []
    assert ["number has no items to show" in one for one in stage.complaints] == [True]
    stage.complaints.clear()


APPEND: Final = {"op": "add", "path": "/state.list/items/2", "value": people("Cleo")[0]}
WHOLE: Final = {
    "op": "replace",
    "path": "/state.list/items",
    "value": people("Ada", "Bob", "Cleo"),
}


@pytest.mark.parametrize("keyed", [True, False])
@pytest.mark.parametrize("change", [APPEND, WHOLE], ids=["one operation", "the whole list"])
def test_appending_adds_one_row_and_touches_no_other(
    show: Open, change: dict[str, Any], keyed: bool
) -> None:
    key: Any = (lambda item: item.id) if keyed else None
    stage = show(
        el("ul", foreach(ITEMS, row, key=key), id="list"), items=people("Ada", "Bob"), suffix="!"
    )
    read_changes = record_changes(stage.page)

    stage.patch(change)

    assert read_changes() == ["list: + cleo"]
    assert texts(stage, "span") == ["Ada", "Bob", "Cleo"]


@pytest.mark.parametrize("whole", [False, True])
def test_removing_from_the_middle_removes_one_row(show: Open, whole: bool) -> None:
    stage = show(people_list(), items=people("Ada", "Bob", "Cleo"), suffix="!")
    read_changes = record_changes(stage.page)

    if whole:
        stage.replace("/state.list/items", people("Ada", "Cleo"))
    else:
        stage.patch({"op": "remove", "path": "/state.list/items/1"})

    assert read_changes() == ["list: - bob"]
    assert texts(stage, "span") == ["Ada", "Cleo"]


def test_a_changed_field_touches_only_what_shows_it(show: Open) -> None:
    stage = show(people_list(), items=people("Ada", "Bob", "Cleo"), suffix="!")
    read_touched = record_touched(stage.page)

    stage.replace("/state.list/items/1/done", True)

    assert read_touched() == ["done-bob"]
    assert texts(stage, "b") == ["False", "True", "False"]


def test_a_row_follows_vars_beside_its_item(show: Open) -> None:
    stage = show(people_list(), items=people("Ada", "Bob"), suffix="!")
    read_touched = record_touched(stage.page)

    stage.replace("/state.list/suffix", "?")
    assert read_touched() == ["suffix-ada", "suffix-bob"]

    stage.patch(
        {"op": "remove", "path": "/state.list/items/0"},
        {"op": "replace", "path": "/state.list/suffix", "value": "."},
        {"op": "add", "path": "/state.list/items/1", "value": people("Cleo")[0]},
        {"op": "replace", "path": "/state.list/items/1/name", "value": "Cléo"},
    )
    assert texts(stage, "i") == [".", "."]
    assert texts(stage, "span") == ["Bob", "Cléo"]


def test_reordering_moves_rows_with_what_was_typed_and_keeps_the_focus(show: Open) -> None:
    stage = show(people_list(), items=people("Ada", "Bob", "Cleo", "Dora"), suffix="!")
    for name in ("ada", "bob", "cleo", "dora"):
        stage.page.locator(f"#field-{name}").fill(f"typed for {name}")
    bob = stage.page.locator("#field-bob")
    bob.focus()
    bob.evaluate("node => node.setSelectionRange(2, 5)")
    read_changes = record_changes(stage.page)

    stage.replace("/state.list/items", people("Dora", "Cleo", "Bob", "Ada"))

    assert texts(stage, "span") == ["Dora", "Cleo", "Bob", "Ada"]
    for name in ("ada", "bob", "cleo", "dora"):
        expect(stage.page.locator(f"#field-{name}")).to_have_value(f"typed for {name}")
    expect(bob).to_be_focused()
    assert bob.evaluate("node => [node.selectionStart, node.selectionEnd]") == [2, 5]
    assert not any("bob" in change for change in read_changes())


def test_a_row_that_is_moved_stays_scrolled_as_it_was(show: Open) -> None:
    lines = foreach(
        ITEMS,
        lambda item: el("pre", "\n" * 99, id=item, style={"height": "2em", "overflow": "auto"}),
        key=lambda item: item,
    )
    stage = show(lines, items=["a", "b", "c"])
    stage.page.locator("#a").evaluate("node => { node.scrollTop = 40; }")

    stage.patch({"op": "move", "from": "/state.list/items/0", "path": "/state.list/items/2"})

    assert stage.page.eval_on_selector_all("pre", "nodes => nodes.map(one => one.id)") == [
        "b", "c", "a",
    ]  # fmt: skip
    assert stage.page.locator("#a").evaluate("node => node.scrollTop") == 40


def test_moving_one_row_moves_no_other(show: Open) -> None:
    stage = show(people_list(), items=people("Ada", "Bob", "Cleo", "Dora"), suffix="!")
    read_changes = record_changes(stage.page)

    stage.patch({"op": "move", "from": "/state.list/items/0", "path": "/state.list/items/3"})

    assert read_changes() == ["list: - ada", "list: + ada"]
    assert texts(stage, "span") == ["Bob", "Cleo", "Dora", "Ada"]


def test_two_rows_with_one_key_are_both_shown_and_complained_of(show: Open) -> None:
    stage = show(people_list(), items=people("Ada", "Ada"), suffix="!")
    assert texts(stage, "span") == ["Ada", "Ada"]

    stage.replace("/state.list/items", people("Bob", "Ada", "Ada", "Ada"))

    assert texts(stage, "span") == ["Bob", "Ada", "Ada", "Ada"]
    assert all("two rows have the key" in one for one in stage.complaints)
    assert stage.complaints
    stage.complaints.clear()


def test_one_of_many_rows_changes_without_the_others(show: Open) -> None:
    many = [{"id": n, "name": f"row {n}"} for n in range(5_000)]
    rows = foreach(ITEMS, lambda item: el("li", item.name, id=item.id), key=lambda item: item.id)
    stage = show(el("ul", rows), items=many)
    read_touched = record_touched(stage.page)

    stage.replace("/state.list/items/4999/name", "changed")

    assert read_touched() == ["4999"]
    assert texts(stage)[-1] == "changed"


LETTERS: Final = st.lists(st.sampled_from("abcdefgh"), unique=True)


@settings(max_examples=30)
@given(st.lists(LETTERS, min_size=2, max_size=5), st.booleans(), st.booleans())
def test_after_any_changes_the_rows_are_those_of_the_items(
    many: Stage, lists: list[list[str]], keyed: bool, whole: bool
) -> None:
    selector = "#keyed li" if keyed else "#placed li"
    for one in lists:
        old = many.page.evaluate("() => actorstate.state['state.list'].items")
        nodes = "nodes => Object.fromEntries(nodes.map(node => [node.textContent, node.mark]))"
        mark = "nodes => nodes.forEach(node => { node.mark = node.textContent; })"
        many.page.eval_on_selector_all(selector, mark)
        before = many.page.eval_on_selector_all(selector, nodes)

        if whole:
            many.replace("/state.list/items", one)
        else:
            many.patch(*difference(old, one, "/state.list/items"))

        assert texts(many, selector) == one
        after = many.page.eval_on_selector_all(selector, nodes)
        if keyed:
            assert {key: after[key] for key in before.keys() & after} == {
                key: key for key in before.keys() & after
            }


VALUES: Final = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["", "a", "/", "~1"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["", "a", "b", "a/b", "m~n", "__proto__"]), inner)
    ),
)


@settings(max_examples=40)
@given(VALUES, VALUES)
def test_a_patch_leads_to_the_state_that_it_describes(many: Stage, old: Any, new: Any) -> None:
    many.replace("/state.list/items", [old, old])

    many.patch(*difference([old, old], [new, old], "/state.list/items"))

    shown = many.page.evaluate("() => JSON.stringify(actorstate.state['state.list'].items)")
    assert json.loads(shown) == [new, old]
    many.replace("/state.list/items", [])
    many.complaints.clear()  # two rows had one key


def difference(old: Any, new: Any, pointer: str) -> list[dict[str, Any]]:
    """Give the operations that turn one value into the other, both lying at a pointer."""
    operations = jsonpatch.make_patch(old, new).patch
    places = ("path", "from")
    return [
        {name: pointer + part if name in places else part for name, part in one.items()}
        for one in operations
    ]


@pytest.fixture(scope="module")
def many(chromium: Browser) -> Iterator[Stage]:
    body = fragment(
        el("ul", foreach(ITEMS, lambda item: el("li", item), key=lambda item: item), id="keyed"),
        el("ul", foreach(ITEMS, lambda item: el("li", item)), id="placed"),
    )
    stage = Stage(chromium, body, {"state.list": {"items": []}})
    yield stage
    stage.close()
    assert stage.complaints == []


def record_changes(page: Page) -> Callable[[], list[str]]:
    """Record which elements come and go, as "parent: + id", and the ids of what else changes."""
    page.evaluate(
        """() => {
            window.changes = [];
            const note = ({ type, target, addedNodes, removedNodes }) => {
                const name = target.id ?? target.parentNode.id;
                if (type !== "childList") return window.changes.push(name);
                for (const node of removedNodes) window.changes.push(`${name}: - ${node.id}`);
                for (const node of addedNodes) window.changes.push(`${name}: + ${node.id}`);
            };
            new MutationObserver((records) => records.forEach(note)).observe(document, {
                attributes: true, childList: true, characterData: true, subtree: true,
            });
        }"""
    )
    return lambda: page.evaluate("() => window.changes")


# ---- Blocks in blocks ---------------------------------------------------------------------------


def nested() -> Child:
    return el(
        "ul",
        foreach(
            ITEMS,
            lambda group, n: fragment(
                el("li", f"{n}: {group.name}"),
                cond(
                    group.open,
                    foreach(
                        group.items,
                        lambda item, m: el("li", f"{n}.{m} {item} of {group.name}{SUFFIX}"),
                    ),
                    el("li", "closed"),
                ),
            ),
            key=lambda group: group.name,
        ),
    )


GROUPS: Final = [
    {"name": "A", "open": True, "items": ["x", "y"]},
    {"name": "B", "open": False, "items": ["z"]},
]


def test_blocks_stand_in_rows_and_rows_in_blocks(show: Open) -> None:
    stage = show(nested(), items=GROUPS, suffix="!")
    assert texts(stage) == ["0: A", "0.0 x of A!", "0.1 y of A!", "1: B", "closed"]

    stage.patch(
        {"op": "replace", "path": "/state.list/items/1/open", "value": True},
        {"op": "add", "path": "/state.list/items/0/items/0", "value": "w"},
    )
    assert texts(stage)[1:] == [
        "0.0 w of A!", "0.1 x of A!", "0.2 y of A!", "1: B", "1.0 z of B!",
    ]  # fmt: skip

    stage.patch({"op": "move", "from": "/state.list/items/1", "path": "/state.list/items/0"})
    stage.replace("/state.list/suffix", "?")
    assert texts(stage) == [
        "0: B", "0.0 z of B?", "1: A", "1.0 w of A?", "1.1 x of A?", "1.2 y of A?",
    ]  # fmt: skip


def test_what_is_gone_is_forgotten(show: Open) -> None:
    stage = show(cond(CHOSEN, nested(), "none"), items=GROUPS, suffix="!", chosen=False)
    nothing = stage.bindings

    stage.replace("/state.list/chosen", True)
    everything = stage.bindings
    stage.replace("/state.list/items", [*GROUPS, {"name": "C", "open": True, "items": ["u"] * 20}])
    assert stage.bindings > everything + 20
    stage.replace("/state.list/items", GROUPS)
    assert stage.bindings == everything
    stage.replace("/state.list/chosen", False)

    assert stage.bindings == nothing


def test_a_branch_with_nothing_in_it_keeps_its_place(show: Open) -> None:
    stage = show(
        el("ul", foreach(ITEMS, lambda item: cond(item.done, el("li", item.name)))),
        items=people("Ada", "Bob"),
    )
    assert texts(stage) == []

    stage.replace("/state.list/items/1/done", True)
    stage.replace("/state.list/items/0/done", True)
    assert texts(stage) == ["Ada", "Bob"]
    stage.patch({"op": "move", "from": "/state.list/items/0", "path": "/state.list/items/1"})
    assert texts(stage) == ["Bob", "Ada"]


def test_match_shows_the_first_case_that_is_equal(show: Open) -> None:
    stage = show(
        vstack(
            match(CHOSEN, (1, el("p", "one")), ("two", 2, el("p", "two")), el("p", "other")),
            el("b", match(CHOSEN, (1, f"1 of {SUFFIX}"), ("two", None))),
        ),
        chosen=1,
        suffix="x",
    )

    for chosen, shown, short in [
        (1, "one", "1 of x"), ("two", "two", ""), (2, "two", ""), (None, "other", ""),
        (True, "one", "1 of x"), ("1", "other", ""),
    ]:  # fmt: skip
        stage.replace("/state.list/chosen", chosen)
        assert (texts(stage, "p"), texts(stage, "b")) == ([shown], [short])


def test_a_choice_shows_its_value_as_soon_as_it_has_the_option(show: Open) -> None:
    stage = show(
        el("select", foreach(ITEMS, lambda item: el("option", item, value=item)), value=CHOSEN),
        items=["a", "b"],
        chosen="b",
    )
    choice = stage.page.locator("select")
    expect(choice).to_have_value("b")

    stage.replace("/state.list/chosen", "c")
    stage.patch({"op": "add", "path": "/state.list/items/0", "value": "c"})

    expect(choice).to_have_value("c")
    assert texts(stage, "option") == ["c", "a", "b"]


def test_rows_of_a_table_stand_in_its_body(show: Open) -> None:
    line = el("tr", foreach(["id", "name"], lambda name: el("th", name)))
    cells = foreach(ITEMS, lambda item: el("tr", el("td", item.id), el("td", item.name)))
    stage = show(el("table", el("tbody", line, cells)), items=people("Ada"))

    assert texts(stage, "tbody > tr > *") == ["id", "name", "ada", "Ada"]


# ---- Events of rows -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def handlers() -> Any:
    class BlockTestState(State):
        def remove(self, item_id: str, count: int = 0) -> None: ...

        def rename(self, name: str, item_id: str) -> None: ...

    return BlockTestState


def test_an_event_sends_what_its_arguments_are_at_that_moment(show: Open, handlers: Any) -> None:
    def with_button(item: Any, index: Any) -> Child:
        return cond(item.name, button(item.name, on_click=handlers.remove(item.id, index)))

    stage = show(foreach(ITEMS, with_button, key=lambda item: item.id), items=people("Ada", "Bob"))
    stage.page.get_by_text("Bob").click()
    stage.patch({"op": "remove", "path": "/state.list/items/0"})
    stage.page.get_by_text("Bob").click()

    eventually(stage.page, lambda: len(stage.events) == 2)
    assert [args for _, args in stage.events] == [["bob", 1], ["bob", 0]]


def test_a_function_puts_the_value_where_the_handler_wants_it(show: Open, handlers: Any) -> None:
    stage = show(
        foreach(
            ITEMS,
            lambda item: input(
                value=item.name,
                on_change=lambda value: handlers.rename(value.strip(), item.id),
                aria_label=item.id,
            ),
        ),
        items=people("Ada", "Bob"),
    )

    stage.page.get_by_label("bob").fill(" Rob ")

    eventually(stage.page, lambda: stage.events)
    assert [args for _, args in stage.events] == [["Rob", "bob"]]


TODO: Final = """
from actorstate import App, State, button, el, foreach, input, text, vstack
from dataclasses import dataclass


@dataclass
class Task:
    id: int
    name: str


class Todo(State):
    tasks: list[Task] = []
    last_id: int = 0

    def add(self, name: str):
        self.last_id += 1
        self.tasks = [*self.tasks, Task(self.last_id, name)]

    def remove(self, task_id: int):
        self.tasks = [task for task in self.tasks if task.id != task_id]


app = App()
app.add_page(
    vstack(
        el("input", on_change=lambda name: Todo.add(name), aria_label="New", type="date"),
        foreach(
            Todo.tasks,
            lambda task, n: text(
                f"{n + 1}. {task.name} ", button("x", on_click=Todo.remove(task.id))
            ),
            key=lambda task: task.id,
        ),
    )
)
"""


def test_rows_of_a_server_send_their_events_to_it(chromium: Browser, tmp_path: Path) -> None:
    (tmp_path / "todo.py").write_text(TODO)
    with Server(tmp_path / "todo.py", tmp_path) as server:
        page = chromium.new_page()
        page.goto(server.url)
        for name in ("2024-01-01", "2024-02-02"):
            page.get_by_label("New").fill(name)
            page.get_by_label("New").press("Tab")
        expect(page.locator("p")).to_have_text(["1. 2024-01-01 x", "2. 2024-02-02 x"])

        page.get_by_role("button").first.click()

        expect(page.locator("p")).to_have_text(["1. 2024-02-02 x"])
        page.close()
