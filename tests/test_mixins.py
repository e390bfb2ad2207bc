"""Mixins, and what a state gives besides its vars: get_state, reset, the states beside it."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from clients import Client, NoDoor

from actorstate import (
    App,
    ImmutableStateError,
    State,
    StateDefinitionError,
    background,
    computed,
    event,
)
from actorstate.actors.messages import Attach, Event
from actorstate.state.holders import hold, release
from actorstate.state.schema import Schema
from actorstate.state.tree import StateTree


class Root(State, root=True):
    pass


class Counting(State, mixin=True):
    count: int = 0
    seen: list[str] = []
    _step: int = 1

    def add(self, times: int = 1) -> None:
        self.count += self._step * times

    @event
    def clear(self) -> None:
        self.count = 0

    @background
    async def add_later(self) -> None:
        async with self:
            self.count += 100

    @computed
    def double(self) -> int:
        return self.count * 2


class Naming(Counting, mixin=True):
    name: str = "nobody"

    def rename(self, name: str) -> None:
        self.name = name
        self.seen.append(name)


class First(Naming, Root):
    own: int = 5

    def add(self, times: int = 1) -> None:
        super().add(times)
        self.own += 1


class Second(Counting, Root):
    count: int = 7

    @computed
    def double(self) -> int:
        return super().double + 1


class Below(First):
    deep: int = 0


@pytest.fixture
def tree() -> StateTree:
    return StateTree(Schema.of(Root), "token", NoDoor())


def test_each_state_gets_vars_handlers_and_computed_vars_of_its_own(tree: StateTree) -> None:
    assert set(tree.schema.states) == {"root", "root.first", "root.first.below", "root.second"}
    assert tree.public()["root.first"] == {
        "count": 0, "seen": [], "name": "nobody", "own": 5, "double": 0,
    }  # fmt: skip
    assert tree.public()["root.second"] == {"count": 7, "seen": [], "double": 15}
    assert First.add.full_name == "root.first.add"  # pyright: ignore
    assert Second.add.full_name == "root.second.add"  # pyright: ignore
    assert First.count.to_json() == ["var", "root.first", "count"]  # pyright: ignore
    assert set(Second.definition().handlers) == {"add", "clear", "add_later"}


def test_a_method_of_a_mixin_is_reached_by_super(tree: StateTree) -> None:
    first = tree.state(First)
    turn = tree.open_turn("test")
    hold(turn)
    first.add(3)
    first.rename("somebody")
    tree.state(Below).add()
    release(turn)
    assert (first.count, first.own, first.name, first.seen) == (4, 7, "somebody", ["somebody"])
    assert (first.double, tree.state(Second).double) == (8, 15)
    turn.roll_back()


async def test_handlers_of_mixins_run_as_events_and_tasks() -> None:
    async with App(root=Root) as app:
        client = Client()
        ref = app.directory.ref("tab")
        await ref.ask(Attach(client), block=False)
        for name in ("first.add", "second.add_later", "second.set_count"):
            await ref.ask(Event(f"root.{name}"), block=False)
        while app.background_tasks:
            await next(iter(app.background_tasks)).wait()
        assert client.state["root.first"]["count"] == 1
        assert client.state["root.second"]["count"] == 107
        assert client.state["root.second"]["double"] == 215


def test_a_mixin_is_no_state_and_names_what_is_wrong_in_it() -> None:
    class Wrong(State, mixin=True):
        count: int = "x"  # pyright: ignore

    with pytest.raises(StateDefinitionError, match="Uses.count takes int, got 'x'"):

        class Uses(Wrong, Root):  # pyright: ignore
            pass

    with pytest.raises(AttributeError, match="Counting is a mixin and has no 'count' of its own"):
        _ = Counting.count

    class Missing(State, mixin=True):
        count: int

    with pytest.raises(StateDefinitionError, match=r"Missing.count has no default"):

        class UsesMissing(Missing, Root):  # pyright: ignore
            pass


# ---- get_state, reset ---------------------------------------------------------------------------


class Shop(State, root=True):
    open: bool = False


class Basket(Shop):
    items: list[str] = []
    _secret: int = 1

    async def look(self) -> None:
        other = await self.get_state(Till)
        other.total += len(self.items)

    def fill(self) -> None:
        self.items.append("pear")
        self.get_substate(Inner).depth = 3
        self._secret = 9
        self.open = True

    def start_over(self) -> None:
        self.reset()


class Inner(Basket):
    depth: int = 0


class Till(Shop):
    total: int = 0


async def test_a_handler_reaches_another_state_of_its_tab() -> None:
    async with App(root=Shop) as app:
        for name in ("fill", "look"):
            await app.directory.ref("tab").ask(Event(f"shop.basket.{name}"), block=False)
        async with app.modify_state("tab") as state:
            assert (await state.get_state(Till)).total == 1
            with pytest.raises(LookupError, match="First is not a state under Shop"):
                await state.get_state(First)


async def test_reset_gives_a_state_and_its_substates_their_defaults_and_parents_nothing() -> None:
    async with App(root=Shop) as app:
        client = Client()
        ref = app.directory.ref("tab")
        await ref.ask(Attach(client), block=False)
        await ref.ask(Event("shop.basket.fill"), block=False)
        assert client.state["shop.basket"]["items"] == ["pear"]
        await ref.ask(Event("shop.basket.start_over"), block=False)
        assert client.state["shop.basket"]["items"] == []
        assert client.state["shop.basket.inner"]["depth"] == 0
        assert client.state["shop"]["open"] is True
        async with app.modify_state("tab") as state:
            basket = state.get_substate(Basket)
            assert basket._secret == 1
            basket.items.append("apple")
            assert Basket.definition().vars["items"].default == []
        with pytest.raises(ImmutableStateError, match="Basket.items was not changed"):
            basket.reset()
        assert basket.items == ["apple"]


async def test_states_are_made_when_they_are_first_touched() -> None:
    made: dict[str, Any] = {"__module__": __name__}
    root = type(State)("Many", (State,), made, root=True)
    states = [
        type(State)(f"Part{n}", (root,), {**made, "__annotations__": {"n": int}, "n": n})
        for n in range(200)
    ]
    async with App(root=root) as app:
        client = Client()
        await app.directory.ref("tab").ask(Attach(client), block=False)
        assert client.state["many.part7"] == {"n": 7}
        async with app.modify_state("tab") as state:
            state.get_substate(states[3]).n = -1  # pyright: ignore
            tree = state._State__tree  # pyright: ignore
            assert [cls for cls in states if tree.is_touched(cls)] == [states[3]]
        await trio.lowlevel.checkpoint()
        assert client.state["many.part3"] == {"n": -1}
