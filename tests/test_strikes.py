"""Something strikes after each step in turn, of whatever task: also as two messages cross.

`test_cancellation` strikes where a holder waits. Here it is any moment: as the grant is on its way
and nobody has taken it, as the actor comes to an end that is there already, as the app is entered.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio._core._run as trio_run
from clients import Client
from stores import WrappedStore
from test_cancellation import EXPECTED_PHASES, OUTCOMES, TOKEN, Root, Struck, add_one, until_idle
from trio.testing import MockClock

from actorstate import App, MemoryStore, State, background
from actorstate.actors.messages import Attach, Detach, Event
from actorstate.state.commit import Commit
from actorstate.state.snapshot import Snapshot
from actorstate.stores.base import Loaded, Store

NOTHING, HALF, ALL = [], ["begun"], ["begun", "ended"]
SEEDS = range(2)  # who of those that can run comes first is drawn


class WaitingStore(WrappedStore):
    """Its commits take some steps; and are not torn, as the contract says."""

    async def commit(self, lease: Any, commit: Commit) -> None:
        await trio.lowlevel.checkpoint()
        await super().commit(lease, commit)
        await trio.lowlevel.cancel_shielded_checkpoint()


class StrikeAfter(trio.abc.Instrument):
    """Strikes when so many steps were taken since it was armed."""

    def __init__(self, steps: int) -> None:
        self.left = steps
        self.scope = trio.CancelScope()
        self._strike: Callable[[], object] | None = None

    def arm(self, strike: Callable[[], object]) -> None:
        self._strike = strike

    def disarm(self) -> bool:
        """Strike no more; tell whether it has."""
        self._strike = None
        return self.left <= 0

    def watch(self) -> trio.CancelScope:
        """Give the scope around the path, as `Struck` wants it."""
        return self.scope

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if self._strike is not None:
            self.left -= 1
            if self.left == 0:
                self._strike()


def strike_everywhere(run: Callable[..., Any], *args: Any) -> int:
    """Run something again and again, struck one step later each time, until it gets through."""
    steps, has_struck = 0, True
    while has_struck:
        steps += 1
        assert steps < 1_000
        has_struck = False
        for seed in SEEDS:
            Struck.phases, Struck.cancel = ["waiting"], StrikeAfter(steps)  # pyright: ignore
            trio_run._r.seed(seed)
            has_struck |= trio.run(
                run,
                Struck.cancel,
                *args,
                instruments=[Struck.cancel],
                clock=MockClock(autojump_threshold=0),
            )
    return steps


# But for the one through a thread, which takes its steps when it likes.
every_path = pytest.mark.parametrize("path", [path for path in EXPECTED_PHASES if path != "thread"])
every_store = pytest.mark.parametrize("make_store", [MemoryStore, WaitingStore])


def begin(app: App, page: Client, path: str) -> None:
    """Let everybody want the turn."""
    ref = app.directory.ref(TOKEN)
    ref.tell(Attach(page))
    ref.tell(Event(f"root.struck.{path}"))
    for _ in range(3):
        ref.tell(Event("root.struck.add"))
        app.start_soon(add_one, app)


async def stored(store: Store, token: str = TOKEN) -> tuple[list[str], int]:
    """Give the steps and the others that the store has."""
    snapshot = await store.peek(token)
    values: Any = snapshot.values.get("root.struck", {}) if snapshot is not None else {}
    return values.get("steps", []), values.get("others", 0)


# ---- at a task, while the app goes on -----------------------------------------------------------


@every_path
@every_store
@pytest.mark.parametrize("how", ["scope", "cancel", "stop"])
def test_a_task_that_is_struck_at_any_step_leaves_the_state_whole_and_the_mailbox_moving(
    path: str, make_store: Callable[[], Store], how: str
) -> None:
    assert strike_everywhere(strike_a_task, path, make_store, how) > len(EXPECTED_PHASES[path])


async def strike_a_task(
    strike: StrikeAfter, path: str, make_store: Callable[[], Store], how: str
) -> bool:
    store, page = make_store(), Client()
    async with App(root=Root, store=store) as app:
        with trio.fail_after(5):
            begin(app, page, path)
            strike.arm(strike.scope.cancel if how == "scope" else lambda: end_tasks(app, how))
            await until_idle(app)
            has_struck = strike.disarm()
            await add_one(app)
        async with app.modify_state(TOKEN) as state:
            steps = list(state.get_substate(Struck).steps)
            assert state.get_substate(Struck).others == 7
        if how == "stop":  # what has begun comes to its end
            assert steps == (ALL if "inside" in Struck.phases else NOTHING)
        else:
            assert steps in OUTCOMES[Struck.phases[-1]]
        assert (page.state["root.struck"]["steps"], 7) == await stored(store) == (steps, 7)
        assert not app.directory.door(TOKEN)._waiting
    return has_struck


def end_tasks(app: App, how: str) -> None:
    for task in app.background_tasks:
        getattr(task, how)()


# ---- at the app ---------------------------------------------------------------------------------


@every_path
@every_store
def test_leaving_the_app_at_any_step_lets_what_has_begun_come_to_its_end(
    path: str, make_store: Callable[[], Store]
) -> None:
    assert strike_everywhere(leave, path, make_store) > len(EXPECTED_PHASES[path])


async def leave(strike: StrikeAfter, path: str, make_store: Callable[[], Store]) -> bool:
    store, page, told = make_store(), Client(), trio.Event()
    with trio.fail_after(5):
        async with App(root=Root, store=store) as app:
            begin(app, page, path)
            strike.arm(told.set)
            with trio.move_on_after(1):
                await told.wait()
            has_struck = strike.disarm()
    steps, others = await stored(store)
    assert steps == (ALL if "inside" in Struck.phases else NOTHING)
    assert 3 <= others <= 6  # every event, and those of the others that had begun
    if path == "two_tokens":
        assert (await stored(store, "other"))[0] == (["there"] if steps else [])
    check_left(app, page, steps)
    return has_struck


@every_path
@every_store
def test_an_app_that_is_cancelled_at_any_step_leaves_in_the_store_what_it_showed(
    path: str, make_store: Callable[[], Store]
) -> None:
    assert strike_everywhere(break_off, path, make_store) > len(EXPECTED_PHASES[path])


async def break_off(strike: StrikeAfter, path: str, make_store: Callable[[], Store]) -> bool:
    store, page = make_store(), Client()
    app = App(root=Root, store=store)
    with trio.fail_after(5), trio.CancelScope() as scope:
        async with app:
            begin(app, page, path)
            strike.arm(scope.cancel)
            await trio.sleep(1)
            strike.disarm()
    strike.disarm()
    steps, _ = await stored(store)
    assert steps in (NOTHING, ALL) or (path == "block_with_yield" and steps == HALF)
    if path == "two_tokens" and steps:
        assert (await stored(store, "other"))[0] == ["there"]
    check_left(app, page, steps)
    async with App(root=Root, store=store) as app:  # and goes on from there
        await add_one(app)
        async with app.modify_state(TOKEN) as state:
            assert list(state.get_substate(Struck).steps) == steps
    return scope.cancelled_caught


def check_left(app: App, page: Client, steps: list[str]) -> None:
    assert app.background_tasks == set()
    assert page.closed
    assert page.version < 0 or page.state["root.struck"]["steps"] == steps


# ---- at the app, while a tab comes and goes -----------------------------------------------------


class TabRoot(State, root=True):
    log: list[str] = []
    touched: int = 0

    async def on_connect(self) -> None:
        self.log.append("connect")
        await trio.lowlevel.checkpoint()

    def on_disconnect(self) -> None:
        self.log.append("disconnect")

    @background(on_disconnect="cancel", resume=True)
    async def follow(self) -> None:
        await trio.sleep_forever()


class TabBelow(TabRoot):
    def on_connect(self) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        self.log.append("connect below")

    async def on_disconnect(self) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        await trio.lowlevel.checkpoint()
        self.log.append("disconnect below")


@every_store
@pytest.mark.parametrize("how", ["cancel", "leave"])
def test_each_hook_is_run_once_and_in_order_at_whatever_step_the_app_ends(
    make_store: Callable[[], Store], how: str
) -> None:
    assert strike_everywhere(come_and_go, make_store, how) > 10


async def come_and_go(strike: StrikeAfter, make_store: Callable[[], Store], how: str) -> bool:
    store, page, scope = make_store(), Client(), trio.CancelScope()
    app, told = App(root=TabRoot, store=store), trio.Event()
    with trio.fail_after(20), scope:
        async with app:
            strike.arm(scope.cancel if how == "cancel" else told.set)
            ref = app.directory.ref(TOKEN)
            ref.tell(Attach(page))
            ref.tell(Event("tab_root.follow"))
            with trio.move_on_after(1):
                await told.wait()
            if not told.is_set():
                ref.tell(Detach(page))
                with trio.move_on_after(10):
                    await told.wait()
    has_struck = strike.disarm()
    async with App(root=TabRoot, store=store) as app:  # and nobody comes back
        await touch(app)
        await trio.sleep(10)
        log = await touch(app)
        assert app.background_tasks == set()
    whole = ["connect", "connect below", "disconnect", "disconnect below"]
    assert log == (whole if log else [])
    assert log or has_struck
    return has_struck


class SlowStore(WaitingStore):
    """Takes a step for whatever it is asked."""

    async def load(self, token: str, on_wanted: Callable[[], None]) -> Loaded:
        await trio.lowlevel.checkpoint()
        return await super().load(token, on_wanted)

    async def is_alive(self, owner: str) -> bool:
        await trio.lowlevel.checkpoint()
        return await super().is_alive(owner)

    async def peek(self, token: str) -> Snapshot | None:
        await trio.lowlevel.checkpoint()
        return await super().peek(token)


@pytest.mark.parametrize("make_store", [MemoryStore, SlowStore])
@pytest.mark.parametrize("how", ["cancel", "leave"])
def test_one_story_is_told_of_a_tab_that_moves_at_whatever_step_its_first_app_ends(
    make_store: Callable[[], Store], how: str
) -> None:
    assert strike_everywhere(move_and_go, make_store, how) > 10


async def move_and_go(strike: StrikeAfter, make_store: Callable[[], Store], how: str) -> bool:
    """The token and the page are now here and now there; tasks of pages run at the first app."""
    store, scope, told = make_store(), trio.CancelScope(), trio.Event()
    app, page, second = App(root=TabRoot, store=store), Client(), Client("second")

    async def first() -> None:
        with scope:
            async with app:
                strike.arm(scope.cancel if how == "cancel" else told.set)
                ref = app.directory.ref(TOKEN)
                ref.tell(Attach(page))
                ref.tell(Event("tab_root.follow"))
                with trio.move_on_after(2):
                    await told.wait()
                if not told.is_set():
                    ref.tell(Detach(page))
                    with trio.move_on_after(28):
                        await told.wait()

    with trio.fail_after(100):
        async with trio.open_nursery() as nursery, App(root=TabRoot, store=store) as other:
            nursery.start_soon(first)
            await trio.sleep(1)
            ref = other.directory.ref(TOKEN)
            ref.tell(Attach(second))
            await trio.sleep(9)
            ref.tell(Detach(second))
            await trio.sleep(12)
            await touch(other)
            await trio.sleep(20)
            has_struck = strike.disarm()
            log = await touch(other)
            assert other.background_tasks == app.background_tasks == set()
    assert log == ["connect", "connect below", "disconnect", "disconnect below"]
    return has_struck


async def touch(app: App) -> list[str]:
    async with app.modify_state(TOKEN) as state:
        assert isinstance(state, TabRoot)
        state.touched += 1
        return list(state.log)
