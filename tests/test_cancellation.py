"""A holder that is cancelled at each of its checkpoints in turn, on every path it can take.

A path is run again and again, cancelled one step later each time, until it gets through. Whatever
the step: the mailbox moves on, others get their turns, and the state is that of a serial history,
the same in memory, in the store and on the page.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, ClassVar

import pytest
import trio
from clients import Client
from stores import WrappedStore
from trio.testing import MockClock

from actorstate import App, MemoryStore, State, background, console_log, current_app
from actorstate.actors.messages import Attach, Event
from actorstate.state.commit import Commit
from actorstate.stores.base import Store

TOKEN = "tab"  # noqa: S105 - a name, to the library


class CancelAfter(trio.abc.Instrument):
    """Cancels a task when it has run for so many steps, while it waits for whatever it does."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.task: trio.lowlevel.Task | None = None
        self.scope = trio.CancelScope()

    def watch(self) -> trio.CancelScope:
        self.task = trio.lowlevel.current_task()
        return self.scope

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self.task:
            self.steps -= 1
            if self.steps == 0:
                self.scope.cancel()


class WaitingStore(WrappedStore):
    """Its commits take some steps."""

    async def commit(self, lease: Any, commit: Commit) -> None:
        await trio.lowlevel.checkpoint()
        await super().commit(lease, commit)
        await trio.lowlevel.checkpoint()


class Root(State, root=True):
    pass


class Struck(Root):
    cancel: ClassVar[CancelAfter]
    phases: ClassVar[list[str]]
    steps: list[str] = []
    others: int = 0

    async def add(self) -> None:
        await trio.lowlevel.checkpoint()  # so that whoever asks for the turn meanwhile has to wait
        self.others += 1

    @background
    async def block(self) -> None:
        with self.cancel.watch():
            await self._block()

    async def _block(self) -> None:
        self.phases.append("waiting")
        async with self:
            self.phases.append("inside")
            self.steps.append("begun")
            await trio.lowlevel.checkpoint()
            self.steps.append("ended")
            self.phases.append("ending")
        self.phases.append("through")

    @background
    async def block_with_yield(self) -> AsyncIterator[Any]:
        with self.cancel.watch():
            self.phases.append("waiting")
            async with self:
                self.phases.append("inside")
                self.steps.append("begun")
                await trio.lowlevel.checkpoint()
                self.phases.append("yielding")
                yield console_log("begun")
                self.phases.append("inside again")
                await trio.lowlevel.checkpoint()
                self.steps.append("ended")
                self.phases.append("ending")
            self.phases.append("through")

    @background
    async def block_with_children(self) -> None:
        with self.cancel.watch():
            self.phases.append("waiting")
            async with self:
                self.phases.append("inside")
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._write_in_a_child)
                self.steps.append("ended")
                self.phases.append("ending")
            self.phases.append("through")

    async def _write_in_a_child(self) -> None:
        self.steps.append("begun")
        await trio.lowlevel.checkpoint()

    @background
    async def two_tokens(self) -> None:
        with self.cancel.watch():
            self.phases.append("waiting")
            async with self:
                self.phases.append("inside")
                self.steps.append("begun")
                async with current_app().modify_state("other") as other:
                    self.phases.append("inside both")
                    other.get_substate(Struck).steps.append("there")
                    await trio.lowlevel.checkpoint()
                self.steps.append("ended")
                self.phases.append("ending")
            self.phases.append("through")

    @background
    async def low_level(self) -> None:
        with self.cancel.watch():
            self.phases.append("waiting")
            async with current_app().modify_state(self.get_token()) as state:
                self.phases.append("inside")
                struck = state.get_substate(Struck)
                struck.steps.append("begun")
                await trio.lowlevel.checkpoint()
                struck.steps.append("ended")
                self.phases.append("ending")
            self.phases.append("through")

    @background
    async def thread(self) -> None:
        with self.cancel.watch():
            await trio.to_thread.run_sync(self._block_in_thread, current_app(), self.get_token())
            self.phases.append("through")

    def _block_in_thread(self, app: App, token: str) -> None:
        self.phases.append("waiting")
        with app.modify_state_from_thread(token) as state:
            self.phases.append("inside")
            struck = state.get_substate(Struck)
            struck.steps.append("begun")
            trio.from_thread.run(trio.lowlevel.checkpoint)
            struck.steps.append("ended")
            self.phases.append("ending in a thread")


# What may be there when the last phase that was reached is this.
NOTHING, ALL, HALF = [], ["begun", "ended"], ["begun"]
OUTCOMES: dict[str, list[list[str]]] = {
    "waiting": [NOTHING],
    "inside": [NOTHING],
    "inside both": [NOTHING],
    "yielding": [HALF],  # the commit is not cut in two; the cancellation strikes after it
    "inside again": [HALF],
    "ending": [ALL],  # the block is over, and who stops waiting for its end undoes nothing
    "ending in a thread": [NOTHING, ALL],  # struck as the end was on its way, or being concluded
    "through": [ALL],
}
EXPECTED_PHASES = {
    "block": ["waiting", "inside", "ending", "through"],
    "block_with_yield": ["waiting", "inside", "yielding", "inside again", "ending", "through"],
    "block_with_children": ["waiting", "inside", "ending", "through"],
    "two_tokens": ["waiting", "inside", "inside both", "ending", "through"],
    "low_level": ["waiting", "inside", "ending", "through"],
    "thread": ["waiting", "inside", "ending in a thread", "through"],
}


@pytest.mark.parametrize("path", list(EXPECTED_PHASES))
@pytest.mark.parametrize("crowded", [False, True])
@pytest.mark.parametrize("make_store", [MemoryStore, WaitingStore])
def test_a_holder_cancelled_at_any_checkpoint_leaves_the_state_whole_and_the_mailbox_moving(
    path: str, make_store: Callable[[], Store], crowded: bool
) -> None:
    seen: list[str] = []
    while not seen or seen[-1] != "through":
        Struck.phases, Struck.cancel = [], CancelAfter(len(seen) + 1)
        seen.append(
            trio.run(
                strike,
                path,
                make_store(),
                crowded,
                instruments=[Struck.cancel],
                # A thread is not seen by a clock that jumps when nobody has anything to do.
                clock=MockClock(autojump_threshold=0) if path != "thread" else None,
            )
        )
        assert len(seen) < 60
    # Every phase in which it waits was struck. For a store that never waits, it does not either.
    waits = set(EXPECTED_PHASES[path])
    if make_store is MemoryStore:
        waits -= {"ending"} if crowded else {"ending", "waiting"}
    assert set(seen) >= waits


async def strike(path: str, store: Store, crowded: bool) -> str:
    """Run a path that is cancelled somewhere; give the phase that it came to."""
    async with App(root=Root, store=store) as app:
        page, ref = Client(), app.directory.ref(TOKEN)
        ref.tell(Attach(page))
        with trio.fail_after(5):
            ref.tell(Event(f"root.struck.{path}"))
            if crowded:
                for _ in range(3):
                    ref.tell(Event("root.struck.add"))
                    app.start_soon(add_one, app)
            await until_idle(app)
            Struck.cancel.task = None
            await add_one(app)
        phase = Struck.phases[-1]
        async with app.modify_state(TOKEN) as state:
            struck = state.get_substate(Struck)
            assert list(struck.steps) in OUTCOMES[phase], phase
            assert struck.others == (7 if crowded else 1)
        assert page.state["root.struck"]["steps"] == await stored_steps(store, TOKEN)
        if path == "two_tokens":
            there = await stored_steps(store, "other")
            assert (
                there == (["there"] if phase in ("ending", "through") else [])
                or phase == "inside both"
            )
    return phase


async def until_idle(app: App) -> None:
    await trio.testing.wait_all_tasks_blocked()
    while app.background_tasks:
        await next(iter(app.background_tasks)).wait()
    await trio.testing.wait_all_tasks_blocked()


async def add_one(app: App) -> None:
    async with app.modify_state(TOKEN) as state:
        state.get_substate(Struck).others += 1


async def stored_steps(store: Store, token: str) -> Any:
    snapshot = await store.peek(token)
    values: Any = snapshot.values.get("root.struck", {}) if snapshot is not None else {}
    return values.get("steps", [])


@pytest.mark.parametrize("make_store", [MemoryStore, WaitingStore])
def test_a_handler_that_does_nothing_but_yield_can_be_cancelled(
    make_store: Callable[[], Store],
) -> None:
    class Endless(State, root=True):
        value: int = 0

        async def go_on(self) -> AsyncIterator[None]:
            while True:
                self.value += 1
                yield

        def go_on_plainly(self) -> Any:
            while True:
                self.value += 1
                yield

    async def main(method: str) -> None:
        async with App(root=Endless, store=make_store(), shutdown_timeout=0.01) as app:
            app.directory.ref(TOKEN).tell(Event(f"endless.{method}"))
            await trio.sleep(0.01)

    for method in ("go_on", "go_on_plainly"):
        trio.run(main, method)
