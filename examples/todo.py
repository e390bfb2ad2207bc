"""A list of things to do: python -m actorstate run examples/todo.py"""

from dataclasses import dataclass
from typing import Any

from actorstate import (
    App,
    State,
    button,
    checkbox,
    computed,
    foreach,
    form,
    heading,
    hstack,
    input,  # noqa: A004 - the word of HTML
    li,
    set_focus,
    text,
    ul,
    vstack,
)


@dataclass
class Item:
    number: int
    name: str
    done: bool = False


class TodoState(State):
    items: list[Item] = []
    _given: int = 0

    @computed
    def left(self) -> int:
        return sum(not item.done for item in self.items)

    @computed
    def summary(self) -> str:
        return f"{self.left} of {len(self.items)} left"

    def add(self, fields: dict[str, str]):
        name = fields["name"].strip()
        if name:
            self._given += 1
            self.items.append(Item(self._given, name))
        return set_focus("name")

    def toggle(self, index: int):
        item = self.items[index]
        item.done = not item.done

    def clear_done(self):
        self.items = [item for item in self.items if not item.done]


def row(item: Item, index: int):
    toggle: Any = TodoState.toggle
    return li(checkbox(item.name, checked=item.done, on_change=toggle(index)))


def page():
    return vstack(
        heading("To do"),
        form(
            hstack(input(name="name", id="name", aria_label="What"), button("Add", type="submit")),
            on_submit=TodoState.add,
            reset_on_submit=True,
        ),
        ul(foreach(TodoState.items, row, key=lambda item: item.number)),
        text(TodoState.summary),
        button("Clear done", on_click=TodoState.clear_done),
    )


app = App()
app.add_page(page, title="To do")
