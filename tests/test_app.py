"""The app as a library: lifetimes, stores, tasks of one's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio
from clients import Client
from stores import WrappedStore
from trio.testing import MockClock, wait_all_tasks_blocked

from actorstate import (
    ActivationError,
    App,
    MemoryStore,
    State,
    background,
    current_app,
)
from actorstate.actors.messages import Attach, Event
from actorstate.exceptions import MailboxFullError
from actorstate.state.commit import Commit
from actorstate.state.schema import Schema
from actorstate.state.snapshot import Snapshot
from actorstate.stores.base import Loaded

TOKEN = "tab"  # noqa: S105 - a name, to the library


class AppRoot(State, root=True):
    count: int = 0


class Deep(AppRoot):
    names: dict[str, list[str]] = {}
    _kept: int = 0

    def start_own(self) -> None:
        app = current_app()
        app.start_soon(add_later, app, self.get_token())

    def increment(self) -> None:
        self.count += 1

    def chain(self) -> Any:
        self.count += 1
        return [Deep.increment, Deep.increment]

    @background
    async def climb(self) -> None:
        async with self:
            self.count += 1


async def add_later(app: App, token: str) -> None:
    await trio.lowlevel.checkpoint()
    async with app.modify_state(token) as state:
        state.get_substate(AppRoot).count += 10


class FailingStore(WrappedStore):
    """Takes what a memory store takes, until it is told to fail."""

    def __init__(self, error: Exception | None = None, gate: trio.Event | None = None) -> None:
        super().__init__()
        self.error = error
        self.gate = gate
        self.log: list[str] = []

    async def load(self, token: str, on_wanted: Callable[[], None]) -> Loaded:
        if self.error is not None:
            raise self.error
        return await super().load(token, on_wanted)

    async def commit(self, lease: Any, commit: Commit) -> None:
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        await super().commit(lease, commit)
        self.log.append(f"stored {commit.version}")


# ---- lifetimes ----------------------------------------------------------------------------------


async def test_state_lasts_as_long_as_its_store() -> None:
    store = MemoryStore()
    for expected in (0, 1, 2):
        async with App(root=AppRoot, store=store) as app, app.modify_state(TOKEN) as state:
            deep = state.get_substate(Deep)
            assert (state.get_substate(AppRoot).count, deep._kept) == (expected, expected)
            state.get_substate(AppRoot).count += 1
            deep._kept += 1
            deep.names = {str(expected): ["x"]}
    snapshot = await store.peek(TOKEN)
    values = {"app_root": {"count": 3}, "app_root.deep": {"_kept": 3, "names": {"2": ["x"]}}}
    assert snapshot == Snapshot(3, values, schema=Schema.of(AppRoot).fingerprint)
    await store.delete(TOKEN)
    assert await store.peek(TOKEN) is None


async def test_an_actor_that_stopped_is_brought_back_from_its_snapshot() -> None:
    async with App(root=AppRoot) as app:
        async with app.modify_state(TOKEN) as state:
            state.get_substate(AppRoot).count = 5
        ref = app.directory.ref(TOKEN)
        await ref.stop(block=False)
        assert app.directory.ref(TOKEN) is not ref
        async with app.modify_state(TOKEN) as state:
            assert state.get_substate(AppRoot).count == 5


async def test_an_app_runs_once_at_a_time_and_may_run_again() -> None:
    app = App(root=AppRoot)
    with pytest.raises(RuntimeError, match="not running; enter it first"):
        _ = app.directory
    async with app:
        with pytest.raises(RuntimeError, match="running already"):
            await app.__aenter__()
        with pytest.raises(RuntimeError, match="leave it first"):
            app.use_store(MemoryStore())
    with pytest.raises(RuntimeError, match="not running"):
        app.start_soon(trio.sleep, 0)
    async with app:
        pass


async def test_the_exception_of_the_block_leaves_as_it_came() -> None:
    error = ValueError("mine")
    with pytest.raises(ValueError, match="mine") as caught:  # noqa: PT012 - the block is the point
        async with App(root=AppRoot) as app:
            app.directory.ref(TOKEN)
            app.start_soon(trio.sleep_forever)
            raise error
    assert caught.value is error


async def test_a_cancelled_block_ends_the_app() -> None:
    with trio.move_on_after(0) as scope:
        async with App(root=AppRoot) as app:
            app.directory.ref(TOKEN)
            await trio.sleep_forever()
    assert scope.cancelled_caught


async def test_nothing_is_left_when_the_app_is_left() -> None:
    before = trio.lowlevel.current_statistics().tasks_living
    async with App(root=AppRoot) as app:
        for number in range(5):
            ref = app.directory.ref(str(number))
            ref.tell(Event("app_root.deep.climb"))
            ref.tell(Attach(Client()))
        app.start_soon(trio.sleep_forever)
        await wait_all_tasks_blocked()
        assert trio.lowlevel.current_statistics().tasks_living > before + 5
    assert trio.lowlevel.current_statistics().tasks_living == before
    assert app.background_tasks == set()


async def test_two_apps_share_nothing() -> None:
    async with App(root=AppRoot) as one, App(root=AppRoot) as two:
        async with one.modify_state(TOKEN) as state:
            state.get_substate(AppRoot).count = 1
        async with two.modify_state(TOKEN) as state:
            assert state.get_substate(AppRoot).count == 0


# ---- tasks of one's own -------------------------------------------------------------------------


async def test_a_handler_may_start_a_task_that_uses_modify_state() -> None:
    async with App(root=AppRoot) as app:
        client, ref = Client(), app.directory.ref(TOKEN)
        ref.tell(Attach(client))
        await ref.ask(Event("app_root.deep.start_own"), block=False)
        await wait_all_tasks_blocked()
        assert client.state["app_root"]["count"] == 10


async def test_a_task_that_fails_is_logged_and_harms_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail() -> None:
        raise ValueError("on its own")

    async with App(root=AppRoot) as app:
        app.start_soon(fail)
        await wait_all_tasks_blocked()
        async with app.modify_state(TOKEN) as state:
            assert state.get_substate(AppRoot).count == 0
    assert "a task of the app failed" in caplog.text
    assert "on its own" in caplog.text


async def test_a_task_that_is_cancelled_with_its_app_has_not_failed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    told: list[Any] = []
    with trio.move_on_after(0):
        async with App(root=AppRoot, on_error=lambda *it: told.append(it)) as app:
            app.start_soon(trio.sleep_forever)
            await trio.sleep_forever()
    assert (told, caplog.text) == ([], "")


def test_an_interrupt_from_the_keyboard_that_strikes_in_a_task_ends_the_app() -> None:
    told: list[Any] = []

    async def interrupted() -> None:
        raise KeyboardInterrupt

    async def main() -> None:
        async with App(root=AppRoot, on_error=lambda *it: told.append(it)) as app:
            app.start_soon(interrupted)
            await trio.sleep_forever()

    with pytest.raises(BaseExceptionGroup) as caught:
        trio.run(main)
    assert caught.group_contains(KeyboardInterrupt)
    assert told == []


def test_outside_an_app_there_is_no_current_one() -> None:
    with pytest.raises(LookupError, match="no app is running here"):
        current_app()


async def test_the_current_app_is_that_of_the_handler_and_not_of_who_woke_it() -> None:
    seen: list[App] = []

    async def look() -> None:
        seen.append(current_app())

    async with App(root=AppRoot) as one, App(root=AppRoot) as two:
        one.start_soon(look)
        two.start_soon(look)
        await wait_all_tasks_blocked()
        with pytest.raises(LookupError):
            current_app()
    assert set(map(id, seen)) == {id(one), id(two)}


# ---- the output gate ----------------------------------------------------------------------------


async def test_nobody_is_told_before_the_store_has_the_commit() -> None:
    store = FailingStore(gate=trio.Event())
    async with App(root=AppRoot, store=store) as app:
        client, ref = Client(), app.directory.ref(TOKEN)
        ref.tell(Attach(client))
        ref.tell(Event("app_root.deep.chain", [], 1, "page"))
        await wait_all_tasks_blocked()
        assert (client.version, client.ack, store.log) == (0, 0, [])
        assert store.gate is not None
        store.gate.set()
        await wait_all_tasks_blocked()
        assert store.log == ["stored 1", "stored 2", "stored 3"]
        assert (client.version, client.ack, client.state["app_root"]["count"]) == (3, 1, 3)


async def test_a_commit_that_the_store_refuses_is_undone_and_reported() -> None:
    store = FailingStore()
    async with App(root=AppRoot, store=store) as app:
        client, ref = Client(), app.directory.ref(TOKEN)
        ref.tell(Attach(client))
        await wait_all_tasks_blocked()
        store.error = OSError("disk full")
        await ref.ask(Event("app_root.deep.chain", [], 1, "page"), block=False)
        with pytest.raises(OSError, match="disk full"):
            async with app.modify_state(TOKEN) as state:
                state.get_substate(AppRoot).count = 50
        store.error = None
        async with app.modify_state(TOKEN) as state:
            assert state.get_substate(AppRoot).count == 0
            state.get_substate(AppRoot).count = 1
        await wait_all_tasks_blocked()
        assert [failure.code for failure in client.failures] == ["handler_failed"]
        assert (client.version, client.state["app_root"]["count"]) == (1, 1)
        assert "disk full" not in repr(client.notices)


async def test_a_snapshot_that_cannot_be_loaded_is_an_error_to_who_asked_until_it_can(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    store, told = FailingStore(error=OSError("no such host")), list[Any]()
    async with App(root=AppRoot, store=store, on_error=lambda *it: told.append(it)) as app:
        client = Client()
        app.directory.ref(TOKEN).tell(Attach(client))
        with pytest.raises(ActivationError, match="token actor of tab could not") as caught:
            await modify(app, TOKEN)
        assert caught.value.__cause__ is store.error
        assert "no such host" in caplog.text
        # It was tried three times, and reported once.
        assert caplog.text.count("it is started again in") == 2
        assert [(error, context.during) for error, context in told] == [(store.error, "activation")]
        # The page is told that there is nothing to see, and no more.
        assert [failure.code for failure in client.failures] == ["unavailable"]
        assert client.closed
        assert "no such host" not in repr(client.notices)
        # Until its rest is over it answers at once, and asks the store no more.
        store.error = None
        with pytest.raises(ActivationError):
            await modify(app, TOKEN)
        await modify(app, "other")  # the others live on
        await trio.sleep(3)
        await modify(app, TOKEN)


async def test_who_comes_in_the_moment_in_which_the_rest_is_over_is_told_the_same(
    autojump_clock: MockClock,
) -> None:
    store = FailingStore(error=OSError("no such host"))
    async with App(root=AppRoot, store=store) as app:
        for number in range(8):  # who of two that wake at once comes first is drawn
            rest_is_over = trio.current_time() + 0.1 + 0.4 + 2
            for _ in range(2):
                with pytest.raises(ActivationError):
                    await modify(app, str(number))
                await trio.sleep_until(rest_is_over)


async def test_a_store_that_is_away_for_a_moment_is_waited_for(autojump_clock: MockClock) -> None:
    store = FailingStore(error=OSError("no such host"))
    async with App(root=AppRoot, store=store) as app, trio.open_nursery() as nursery:
        nursery.start_soon(modify, app, TOKEN)
        app.directory.ref(TOKEN).tell(Event("app_root.deep.increment"))
        await trio.sleep(0.3)
        store.error = None
        async with app.modify_state(TOKEN) as state:
            assert state.get_substate(AppRoot).count == 1


async def test_an_actor_that_rests_can_be_stopped(autojump_clock: MockClock) -> None:
    store = FailingStore(error=OSError("no such host"))
    started = trio.current_time()
    async with App(root=AppRoot, store=store) as app:
        with pytest.raises(ActivationError):
            await modify(app, TOKEN)
    assert trio.current_time() - started == pytest.approx(0.5)


@pytest.mark.parametrize("seconds", [0.5, 1])
async def test_a_commit_that_fails_when_its_block_was_cancelled_is_not_lost_in_silence(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, seconds: float
) -> None:
    class Failing(WrappedStore):
        async def commit(self, lease: Any, commit: Commit) -> None:
            await trio.sleep(1)
            raise OSError("disk full")

    said = ""
    async with App(root=AppRoot, store=Failing()) as app:
        try:
            with trio.move_on_after(seconds):
                async with app.modify_state(TOKEN) as state:
                    state.get_substate(AppRoot).count = 1
        except OSError as error:  # both came at once
            said = str(error)
        await trio.sleep(1)
        async with app.modify_state(TOKEN) as state:
            assert state.get_substate(AppRoot).count == 0
    assert "disk full" in said + caplog.text


async def modify(app: App, token: str) -> None:
    async with app.modify_state(token):
        pass


async def test_a_full_mailbox_refuses_events_and_takes_turn_requests() -> None:
    async with App(root=AppRoot, mailbox_capacity=2) as app:
        async with app.modify_state(TOKEN):
            for _ in range(3):
                app.start_soon(add_later, app, TOKEN)
            await wait_all_tasks_blocked()
            with pytest.raises(MailboxFullError, match="2 messages"):
                app.directory.ref(TOKEN).tell(Event("app_root.deep.increment"))
        await wait_all_tasks_blocked()
        async with app.modify_state(TOKEN) as state:
            assert state.get_substate(AppRoot).count == 30


@pytest.mark.parametrize("is_lent", [False, True])
async def test_a_store_made_of_the_memory_store_is_asked_for_its_own_commit(
    is_lent: bool,
) -> None:
    seen: list[int] = []

    class Counting(MemoryStore):  # pyright: ignore[reportGeneralTypeIssues] - final, to checkers
        async def commit(self, lease: Any, commit: Commit) -> None:
            seen.append(commit.version)
            await super().commit(lease, commit)

    async with App(root=AppRoot, store=Counting()) as app:
        if is_lent:
            await add_later(app, TOKEN)
        else:
            await app.directory.ref(TOKEN).ask(Event("app_root.deep.increment"), block=False)
    assert seen == [1]
