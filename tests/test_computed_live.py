"""Computed vars of a running app: what awaits is awaited before pages are told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import attrs
import pytest
import trio
from clients import Client
from trio.testing import wait_all_tasks_blocked

from actorstate import App, Router, State, background, computed
from actorstate.actors.messages import Attach, Detach, Event


class Live(State, root=True):
    word: str = "a"
    gate: ClassVar[dict[str, trio.Event]] = {}
    begun: ClassVar[list[str]] = []

    @computed
    async def echo(self) -> str:
        word = self.word
        self.begun.append(word)
        if word in self.gate:
            await self.gate[word].wait()
        return word + "!"

    @computed
    def where(self) -> str:
        return self.router.path

    def say(self, word: str) -> None:
        self.word = word

    async def say_and_read(self, word: str) -> None:
        self.word = word
        self.word = await self.echo

    def say_twice(self) -> Iterator[None]:
        self.word = "one"
        yield
        self.word = "two"

    @background
    async def say_later(self, word: str) -> None:
        async with self:
            self.word = word

    def fail(self) -> None:
        self.word = "never"
        raise ValueError


@pytest.fixture(autouse=True)
def _forget() -> None:
    Live.gate.clear()
    Live.begun.clear()


async def fire(app: App, name: str, *args: object) -> None:
    await app.directory.ref("tab").ask(Event(f"live.{name}", list(args)), block=False)


async def attached(app: App, client: Client) -> Client:
    await app.directory.ref("tab").ask(Attach(client), block=False)
    return client


async def test_a_welcome_has_it_and_every_patch_that_changes_what_it_read() -> None:
    async with App(root=Live) as app:
        client = await attached(app, Client())
        assert client.state["live"] == {"word": "a", "echo": "a!", "where": "/page"}
        await fire(app, "say", "b")
        assert client.state["live"]["echo"] == "b!"
        assert [len(patch.ops) for patch in client.patches] == [2]
        await fire(app, "say", "b")
        assert client.version == 1
        await fire(app, "say_and_read", "c")
        assert client.state["live"]["word"] == "c!"
        assert client.state["live"]["echo"] == "c!!"


async def test_a_checkpoint_and_a_block_wait_for_it_too() -> None:
    async with App(root=Live) as app:
        client = await attached(app, Client())
        await fire(app, "say_twice")
        echoes = [op.value for patch in client.patches for op in patch.ops if "echo" in op.path]
        assert echoes == ["one!", "two!"]
        await fire(app, "say_later", "three")
        await wait_all_tasks_blocked()
        assert client.state["live"]["echo"] == "three!"


async def test_it_holds_the_turn_while_it_awaits_and_nobody_sees_the_middle() -> None:
    async with App(root=Live) as app:
        client = await attached(app, Client())
        Live.gate["b"] = trio.Event()
        for word in ("b", "c"):
            app.directory.ref("tab").tell(Event("live.say", [word]))
        await wait_all_tasks_blocked()
        assert client.patches == []
        Live.gate["b"].set()
        await wait_all_tasks_blocked()
        assert client.state["live"]["echo"] == "c!"
        assert [patch.version for patch in client.patches] == [1, 2]


async def test_a_block_that_is_cancelled_while_it_awaits_is_undone() -> None:
    async with App(root=Live) as app:
        client = await attached(app, Client())
        Live.gate["b"] = trio.Event()
        await fire(app, "say_later", "b")
        await wait_all_tasks_blocked()
        [task] = app.background_tasks
        task.cancel()
        await wait_all_tasks_blocked()
        async with app.modify_state("tab") as state:
            live = state.get_substate(Live)
            assert (live.word, await live.echo) == ("a", "a!")
        assert client.state["live"]["word"] == "a"
        assert client.version == 0


async def test_a_turn_that_fails_leaves_it_as_it_was() -> None:
    async with App(root=Live) as app:
        client = await attached(app, Client())
        await fire(app, "fail")
        await fire(app, "say", "z")
        assert client.state["live"]["echo"] == "z!"
        assert client.version == 1


async def test_a_page_that_connects_from_elsewhere_is_told_to_those_that_are_here() -> None:
    async with App(root=Live) as app:
        first = await attached(app, Client("one"))
        second = await attached(app, Client("two", attrs.evolve(Router("tab"), path="/orders")))
        assert first.state["live"]["where"] == second.state["live"]["where"] == "/orders"
        assert first.version == second.version == 1


async def test_a_page_whose_welcome_waits_is_closed_when_the_app_is_left() -> None:
    Live.gate["a"] = trio.Event()
    client = Client()
    async with App(root=Live, shutdown_timeout=0) as app:
        app.directory.ref("tab").tell(Attach(client))
        await wait_all_tasks_blocked()
        assert Live.begun == ["a"]
        assert client.notices == []
    assert client.closed


async def test_a_page_that_leaves_before_its_welcome_is_ready_is_not_attached() -> None:
    Live.gate["a"] = trio.Event()
    client = Client()
    async with App(root=Live) as app:
        app.directory.ref("tab").tell(Attach(client))
        app.directory.ref("tab").tell(Detach(client))
        await wait_all_tasks_blocked()
        Live.gate["a"].set()
        await fire(app, "say", "b")
        assert client.patches == []
