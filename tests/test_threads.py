"""Handlers that block, in threads of their own."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any, ClassVar

import pytest
import trio
from clients import Client
from trio.testing import wait_all_tasks_blocked

from actorstate import (
    App,
    ImmutableStateError,
    MemoryStore,
    State,
    background,
    console_log,
    current_app,
    event,
)
from actorstate.actors.messages import Attach, Event

TOKEN = "tab"  # noqa: S105 - a name, to the library


class Root(State, root=True):
    total: int = 0


class Blocking(Root):
    entered: ClassVar[trio.Event]
    gate: ClassVar[threading.Event]
    late: ClassVar[list[Callable[[], None]]]
    value: int = 0
    notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes = [*self.notes, text]

    @background
    async def climb(self) -> None:
        async with self:
            self.value += 1

    @event(thread=True)
    def wait(self, text: str = "waited") -> Any:
        self.value += 1
        trio.from_thread.run_sync(self.entered.set)
        assert self.gate.wait(10)
        self.note(text)
        return [console_log(text), Blocking.note("afterwards")]  # pyright: ignore

    @event(thread=True)
    def wait_patiently(self) -> None:
        self.value = 5
        trio.from_thread.run_sync(self.entered.set)
        while not self.gate.wait(0.001):
            trio.from_thread.check_cancelled()

    @event(thread=True)
    def tell_about_itself(self) -> None:
        in_trio = trio.from_thread.run_sync(threading.get_ident)
        self.note(f"in the thread of the event loop: {threading.get_ident() == in_trio}")
        self.note(f"background tasks of its app: {len(current_app().background_tasks)}")
        self.get_substate(Root).total = self.total + 1

    @event(thread=True)
    def ask_for_its_own_turn(self) -> None:
        trio.from_thread.run(_take_turn, self.get_token())

    @event(thread=True)
    def fail(self) -> None:
        self.value = 99
        raise ValueError("in the thread")

    @event(thread=True)
    def keep_a_context(self) -> None:
        self.value = 1
        context = contextvars.copy_context()

        def write() -> None:
            context.run(setattr, self, "value", 2)

        self.late.append(write)


async def _take_turn(token: str) -> None:
    async with current_app().modify_state(token):
        pytest.fail("the turn is held by the handler")


@pytest.fixture(autouse=True)
def _fresh() -> None:
    Blocking.entered, Blocking.gate, Blocking.late = trio.Event(), threading.Event(), []


@pytest.fixture
async def app() -> AsyncIterator[App]:
    async with App(root=Root) as app:
        yield app


def join(app: App, token: str = TOKEN) -> Client:
    client = Client()
    app.directory.ref(token).tell(Attach(client))
    return client


async def fire(app: App, method: str, *args: Any, seq: int = 1, token: str = TOKEN) -> None:
    sent = Event(f"root.blocking.{method}", list(args), seq, "page")
    with trio.fail_after(5):
        await app.directory.ref(token).ask(sent, block=False)


async def test_a_handler_in_a_thread_holds_its_turn_there(app: App) -> None:
    client = join(app)
    await fire(app, "tell_about_itself")
    assert client.state["root.blocking"]["notes"] == [
        "in the thread of the event loop: False",
        "background tasks of its app: 0",
    ]
    assert client.state["root"]["total"] == 1
    assert (client.ack, client.version) == (1, 1)


async def test_a_blocking_handler_stops_its_own_token_and_no_other(app: App) -> None:
    client, other = join(app), join(app, "other")
    app.directory.ref(TOKEN).tell(Event("root.blocking.wait", [], 1, "page"))
    app.directory.ref(TOKEN).tell(Event("root.blocking.note", ["behind"], 2, "page"))
    with trio.fail_after(5):
        await Blocking.entered.wait()
    await fire(app, "note", "meanwhile", token="other")  # noqa: S106 - a name
    await fire(app, "climb", seq=2, token="other")  # noqa: S106 - a name
    assert other.state["root.blocking"]["notes"] == ["meanwhile"]
    await wait_all_tasks_blocked()
    assert (client.patches, client.ack) == ([], 0)
    Blocking.gate.set()
    await fire(app, "note", "then", seq=3)  # before or after what the thread returned
    await fire(app, "note", "last", seq=4)
    first, second, *others, last = client.state["root.blocking"]["notes"]
    assert (first, second, sorted(others), last) == (
        "waited", "behind", ["afterwards", "then"], "last",
    )  # fmt: skip
    assert [effect.args["value"] for effect in client.effects] == ["waited"]


async def test_a_handler_in_a_thread_that_raises_is_undone_and_reported(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    client = join(app)
    await fire(app, "fail")
    assert [failure.code for failure in client.failures] == ["handler_failed"]
    assert client.state["root.blocking"]["value"] == 0
    assert "Blocking.fail failed for token tab" in caplog.text
    assert "in the thread" in caplog.text


async def test_a_handler_in_a_thread_that_waits_for_its_own_turn_is_refused(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    client = join(app)
    await fire(app, "ask_for_its_own_turn")
    assert [failure.code for failure in client.failures] == ["handler_failed"]
    assert "the turn is yours already, as Blocking.ask_for_its_own_turn" in caplog.text


async def test_what_goes_on_after_the_end_of_the_handler_may_not_write(app: App) -> None:
    client = join(app)
    await fire(app, "keep_a_context")
    [write] = Blocking.late
    with pytest.raises(ImmutableStateError, match="Blocking.value was not changed"):
        await trio.to_thread.run_sync(write)
    assert client.state["root.blocking"]["value"] == 1


async def test_leaving_the_app_waits_for_the_thread_and_undoes_what_it_did() -> None:
    store, left = MemoryStore(), trio.Event()

    async def run() -> None:
        async with App(root=Root, store=store, shutdown_timeout=0) as app:
            client = join(app)
            app.directory.ref(TOKEN).tell(Event("root.blocking.wait", [], 1, "page"))
            await Blocking.entered.wait()
        assert client.patches == []
        assert client.effects == []
        left.set()

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            await Blocking.entered.wait()
            await wait_all_tasks_blocked()
            assert not left.is_set()
            Blocking.gate.set()
    assert left.is_set()
    assert await store.load(TOKEN) is None


async def test_a_thread_that_asks_whether_it_is_cancelled_ends_at_once() -> None:
    store = MemoryStore()
    with trio.fail_after(5):
        async with App(root=Root, store=store, shutdown_timeout=0) as app:
            join(app)
            app.directory.ref(TOKEN).tell(Event("root.blocking.wait_patiently", [], 1, "page"))
            await Blocking.entered.wait()
    assert not Blocking.gate.is_set()
    assert await store.load(TOKEN) is None
