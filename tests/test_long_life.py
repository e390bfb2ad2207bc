"""A tab that lives long: nothing grows with what came and went."""

from __future__ import annotations

import gc
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import trio
from clients import Client
from trio.testing import MockClock, wait_all_tasks_blocked

from actorstate import App, State, background, console_log
from actorstate.actors.messages import Attach, Detach, Event

TOKEN = "tab"  # noqa: S105 - a name, to the library
TIMES = 1_000


class Root(State, root=True):
    pass


class Lasting(Root):
    value: int = 0

    def add(self) -> None:
        self.value += 1

    def fail(self) -> None:
        self.value += 1
        raise ValueError

    def start(self) -> Any:
        return [Lasting.work, console_log("started")]

    def on_connect(self) -> None:
        self.value += 1

    def on_disconnect(self) -> None:
        self.value += 1

    @background(resume=True)
    async def work(self) -> None:
        async with self:
            self.value += 1

    @background
    async def work_in_vain(self) -> AsyncIterator[None]:
        async with self:
            self.value += 1
            yield
            raise ValueError

    @background(overlap="queue", resume=True)
    async def wait(self) -> None:
        await trio.sleep_forever()


async def fire(app: App, method: str, instance: str = "") -> None:
    seq = 1 if instance else None
    event = Event(f"root.lasting.{method}", [], seq, instance)
    await app.directory.ref(TOKEN).ask(event, block=False)


async def add(app: App) -> None:
    async with app.modify_state(TOKEN) as state:
        state.get_substate(Lasting).value += 1


def add_in_thread(app: App) -> None:
    with app.modify_state_from_thread(TOKEN) as state:
        state.get_substate(Lasting).value += 1


# ---- what comes and goes ------------------------------------------------------------------------


async def a_page_that_is_soon_back(app: App, number: int) -> None:
    page, ref = Client(f"page {number}"), app.directory.ref(TOKEN)
    ref.tell(Attach(page))
    await fire(app, "start", page.instance)
    ref.tell(Detach(page))
    await trio.sleep(1)


async def a_page_that_is_gone_for_good(app: App, number: int) -> None:
    await a_page_that_is_soon_back(app, number)
    await trio.sleep(10)


async def an_event_of_a_page_that_was_never_shown(app: App, number: int) -> None:
    await fire(app, "add", f"page {number}")


async def a_turn(app: App, number: int) -> None:
    await add(app)


async def a_turn_of_a_thread(app: App, number: int) -> None:
    await trio.to_thread.run_sync(add_in_thread, app)


async def a_block_that_stops_waiting(app: App, number: int) -> None:
    held = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_hold, app, held)
        await wait_all_tasks_blocked()
        with trio.move_on_after(1):
            await add(app)
        held.set()


async def _hold(app: App, until: trio.Event) -> None:
    async with app.modify_state(TOKEN):
        await until.wait()


async def a_failing_handler(app: App, number: int) -> None:
    await fire(app, "fail")


async def a_background_task(app: App, number: int) -> None:
    await fire(app, "work")
    await wait_all_tasks_blocked()


async def a_failing_background_task(app: App, number: int) -> None:
    await fire(app, "work_in_vain")
    await wait_all_tasks_blocked()


async def tasks_that_are_cancelled_as_they_run_and_wait(app: App, number: int) -> None:
    for _ in range(3):
        await fire(app, "wait")
    await fire(app, "wait.cancel" if number % 2 else "add")
    for task in app.background_tasks:
        task.cancel()
    await wait_all_tasks_blocked()


async def a_task_of_ones_own(app: App, number: int) -> None:
    app.start_soon(add, app)
    await wait_all_tasks_blocked()


async def an_actor_that_is_stopped(app: App, number: int) -> None:
    await add(app)
    await app.directory.ref(TOKEN).stop(block=False)


Lasting.wait.cancel  # noqa: B018 - named, and so within reach

SHORT_LIVES: list[Callable[[App, int], Awaitable[None]]] = [
    a_page_that_is_soon_back,
    a_page_that_is_gone_for_good,
    an_event_of_a_page_that_was_never_shown,
    a_turn,
    a_block_that_stops_waiting,
    a_failing_handler,
    a_background_task,
    a_failing_background_task,
    tasks_that_are_cancelled_as_they_run_and_wait,
    a_task_of_ones_own,
    an_actor_that_is_stopped,
]


@pytest.mark.parametrize("live", SHORT_LIVES)
async def test_nothing_is_left_of_what_came_and_went(
    live: Callable[[App, int], Awaitable[None]],
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await _live_often(live, TIMES, caplog)


async def test_nothing_is_left_of_the_turns_of_threads(caplog: pytest.LogCaptureFixture) -> None:
    await _live_often(a_turn_of_a_thread, TIMES // 5, caplog)


async def _live_often(
    live: Callable[[App, int], Awaitable[None]], times: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)  # it keeps what it hears
    async with App(root=Root, slow_turn=1e9, turn_timeout=1e10) as app:
        for number in range(30):  # what is there for good, and what is bounded
            await live(app, number)
        before = await _objects()
        for number in range(times):
            await live(app, number + 30)
        assert await _objects() - before < times / 5


async def _objects() -> int:
    await wait_all_tasks_blocked()
    gc.collect()
    return len(gc.get_objects())
