"""Leaving the app: children first, turns to their end, then by force; nothing is left."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any, ClassVar

import pytest
import trio
import trio._core._run as trio_run
from clients import Client
from stores import WrappedStore
from trio.testing import MockClock, wait_all_tasks_blocked

from actorstate import (
    ActorDeadError,
    App,
    ErrorContext,
    MemoryStore,
    State,
    background,
    current_app,
    event,
)
from actorstate.actors.messages import Attach, Event
from actorstate.state.commit import Commit

TOKEN = "tab"  # noqa: S105 - a name, to the library


class Root(State, root=True):
    pass


class Living(Root):
    log: ClassVar[list[str]]
    gate: ClassVar[threading.Event]
    entered: ClassVar[trio.Event]
    value: int = 0

    def add(self) -> None:
        self.value += 1

    async def add_slowly(self, seconds: float) -> None:
        await trio.sleep(seconds)
        self.value += 1

    async def dawdle(self) -> None:
        self.value += 1
        await trio.sleep_forever()

    async def chain(self, times: int) -> Any:
        await trio.sleep(1)
        self.value += 1
        return Living.chain(times - 1) if times > 1 else None  # pyright: ignore

    def chain_for_ever(self) -> Any:
        self.value += 1
        return Living.chain_for_ever

    @background
    async def work(self, seconds: float = 1) -> None:
        try:
            while True:
                async with self:
                    self.value += 1
                    await trio.sleep(seconds)
                    self.value += 1
                await trio.sleep(seconds)
        finally:
            self.log.append("ended")

    @background
    async def clean_up(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(1)
                async with self:
                    self.value = 100
                async with current_app().modify_state("another") as state:
                    state.get_substate(Living).value = 100

    @background
    async def side_by_side(self) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(self._one_turn)

    async def _one_turn(self) -> None:
        async with self:
            await trio.sleep(1)
            self.value += 1

    @background
    async def leave_one_behind(self, seconds: float) -> None:
        """Hold the turn of another token, while one that a block here has left behind wants its."""
        async with trio.open_nursery() as nursery:
            async with self:
                self.value += 1
                nursery.start_soon(self._add_after, seconds)
            async with current_app().modify_state("another") as state:
                await trio.sleep(1)
                state.get_substate(Living).value += 1

    async def _add_after(self, seconds: float) -> None:
        await trio.sleep(seconds)
        async with self:
            self.value += 1

    @background
    async def add_there_too(self, token: str) -> None:
        async with self:
            self.value += 1
            await trio.sleep(1)
            async with current_app().modify_state(token) as state:
                state.get_substate(Living).value += 1

    @background
    async def never(self) -> None:
        self.log.append("begun")  # when the app was left already

    async def trigger_late(self) -> Any:
        await trio.sleep(1)
        return Living.never

    async def start_own(self, token: str) -> None:
        await trio.sleep(2)
        current_app().start_soon(_add_for_ever, token)

    async def start_to_clean_up(self, token: str) -> None:
        await trio.sleep(2)
        current_app().start_soon(_clean_up, token)

    async def fail_slowly(self) -> None:
        await trio.sleep(1)
        raise ValueError("at last")

    @event(thread=True)
    def hold_in_thread(self) -> None:
        self.value += 1
        trio.from_thread.run_sync(self.entered.set)
        assert self.gate.wait(10)
        self.value += 1


async def _add_for_ever(token: str) -> None:
    while True:
        async with current_app().modify_state(token) as state:
            await trio.sleep(1)
            state.get_substate(Living).value += 1


async def _clean_up(token: str) -> None:
    with trio.CancelScope(shield=True):
        await trio.sleep(1)
        async with current_app().modify_state(token) as state:
            state.get_substate(Living).value = 100


@pytest.fixture(autouse=True)
def _fresh() -> None:
    Living.log, Living.gate, Living.entered = [], threading.Event(), trio.Event()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


async def stored(store: MemoryStore | WrappedStore, token: str = TOKEN) -> Any:
    snapshot = await store.peek(token)
    return snapshot and snapshot.values["root.living"]["value"]


def tell(app: App, method: str, *args: Any, token: str = TOKEN) -> None:
    app.directory.ref(token).tell(Event(f"root.living.{method}", list(args)))


async def leave_with(
    store: MemoryStore, *events: tuple[Any, ...], after: float = 0.5, **options: Any
) -> float:
    """Send events, leave the app some seconds later, and give the seconds that leaving took."""
    async with App(root=Root, store=store, **options) as app:
        for method, *args in events:
            tell(app, method, *args)
        await wait_all_tasks_blocked()
        await trio.sleep(after)
        left = trio.current_time()
    assert app.background_tasks == set()
    return trio.current_time() - left


# ---- in good order ------------------------------------------------------------------------------


async def test_an_open_turn_comes_to_its_end(store: MemoryStore, autojump_clock: MockClock) -> None:
    assert await leave_with(store, ("add_slowly", 4)) == pytest.approx(3.5)
    assert await stored(store) == 1


async def test_what_lies_in_the_mailbox_is_worked_off(
    store: MemoryStore, autojump_clock: MockClock
) -> None:
    assert await leave_with(store, ("add_slowly", 2), ("add",), ("add_slowly", 1)) == 2.5
    assert await stored(store) == 3


async def test_handlers_that_committed_turns_have_triggered_are_run(
    store: MemoryStore, autojump_clock: MockClock
) -> None:
    assert await leave_with(store, ("chain", 5)) == pytest.approx(4.5)
    assert await stored(store) == 5


async def test_a_chain_without_an_end_is_cut_off_by_the_timeout(store: MemoryStore) -> None:
    with trio.fail_after(5):
        async with App(root=Root, store=store, shutdown_timeout=0.05) as app:
            tell(app, "chain_for_ever")
    assert await stored(store) > 1


@pytest.mark.parametrize(("after", "value"), [(0.5, 2), (1.5, 2), (2.5, 4), (3.5, 4)])
async def test_a_background_task_is_cancelled_between_its_turns_and_no_block_is_torn(
    store: MemoryStore, autojump_clock: MockClock, after: float, value: int
) -> None:
    seconds = await leave_with(store, ("work",), after=after)
    assert seconds == pytest.approx(0.5 if after in (0.5, 2.5) else 0)
    assert await stored(store) == value
    assert Living.log == ["ended"]


async def test_what_a_task_does_when_it_is_cancelled_can_still_be_done(
    store: MemoryStore, autojump_clock: MockClock
) -> None:
    assert await leave_with(store, ("clean_up",)) == pytest.approx(1)
    assert await stored(store) == 100
    assert await stored(store, "another") == 100


@pytest.mark.parametrize("count", [1, 2, 3])
async def test_what_tasks_do_at_the_end_is_done_also_behind_the_last_message_of_a_token(
    store: MemoryStore, autojump_clock: MockClock, count: int
) -> None:
    """The actor of "another" is told to stop before it comes to their requests."""

    async def clean_up(app: App) -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                async with app.modify_state("another") as state:
                    await trio.sleep(1)
                    state.get_substate(Living).value += 1

    async with App(root=Root, store=store) as app:
        for _ in range(count):
            app.start_soon(clean_up, app)
        tell(app, "add_slowly", 2, token="another")  # noqa: S106 - a name, to the library
        await wait_all_tasks_blocked()
        left = trio.current_time()
    assert trio.current_time() - left == pytest.approx(2 + count)
    assert await stored(store, "another") == 1 + count


async def test_of_many_turns_of_one_task_the_open_one_ends_and_the_others_never_begin(
    store: MemoryStore, autojump_clock: MockClock
) -> None:
    assert await leave_with(store, ("side_by_side",), after=1.5) == pytest.approx(0.5)
    assert await stored(store) == 2


@pytest.mark.parametrize("seconds", [0.25, 0.75])
async def test_what_a_block_has_left_behind_begins_no_turn_once_its_task_is_to_end(
    store: MemoryStore, autojump_clock: MockClock, seconds: float
) -> None:
    assert await leave_with(store, ("leave_one_behind", seconds)) == pytest.approx(0.5)
    assert await stored(store) == (2 if seconds < 0.5 else 1)
    assert await stored(store, "another") == 1


async def test_who_gets_a_turn_when_its_task_is_to_end_gives_it_back(
    store: MemoryStore, autojump_clock: MockClock
) -> None:
    async def hold(app: App) -> None:
        async with app.modify_state(TOKEN) as state:
            await trio.sleep(0.65)
            state.get_substate(Living).value += 10

    async with trio.open_nursery() as outside, App(root=Root, store=store) as app:
        tell(app, "leave_one_behind", 0.2)
        await trio.sleep(0.1)
        outside.start_soon(hold, app)  # to 0.75, and the task to 1.0
        await trio.sleep(0.4)
        left = trio.current_time()
    assert trio.current_time() - left == pytest.approx(0.5)
    assert await stored(store) == 11
    assert await stored(store, "another") == 1


async def test_a_block_that_has_begun_may_take_the_turn_of_another_token(
    store: MemoryStore, autojump_clock: MockClock
) -> None:
    assert await leave_with(store, ("add_there_too", "another")) == pytest.approx(0.5)
    assert await stored(store) == await stored(store, "another") == 1


def test_a_task_that_is_stopped_as_its_turn_is_granted_does_not_begin_it() -> None:
    """Stop it in each step of its life in turn: a block that begins comes to its end."""
    begun: list[int] = []

    class Stopped(State, root=True):
        value: int = 0

        @background
        async def work(self) -> None:
            stop.watch()
            async with self:
                begun.append(stop.steps)
                await trio.lowlevel.checkpoint()
                self.value += 1

    async def main() -> None:
        store = MemoryStore()
        async with App(root=Stopped, store=store) as app:
            stop.app = app
            app.directory.ref(TOKEN).tell(Event("stopped.work"))
            await wait_all_tasks_blocked()
            stop.app = None
        snapshot = await store.peek(TOKEN)
        assert (snapshot is not None) == (len(begun) > before)

    for steps in range(1, 8):
        for seed in range(4):  # who of those that can run comes first is drawn
            stop, before = StopAfter(steps), len(begun)
            trio_run._r.seed(seed)
            trio.run(main, instruments=[stop])
    assert begun


class StopAfter(trio.abc.Instrument):
    """Stops the background tasks when so many steps of any task have been taken."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.app: App | None = None
        self.is_watching = False

    def watch(self) -> None:
        self.is_watching = True

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if self.is_watching and self.app is not None:
            self.steps -= 1
            if self.steps == 0:
                for background_task in self.app.background_tasks:
                    background_task.stop()


async def test_a_background_task_that_is_triggered_meanwhile_is_not_begun(
    store: MemoryStore, autojump_clock: MockClock
) -> None:
    assert await leave_with(store, ("trigger_late",)) == pytest.approx(0.5)
    assert Living.log == []


async def test_a_background_task_whose_event_still_waits_is_not_begun(
    store: MemoryStore, autojump_clock: MockClock
) -> None:
    assert await leave_with(store, ("add_slowly", 2), ("never",), ("add",)) == pytest.approx(1.5)
    assert await stored(store) == 2
    assert Living.log == []


def test_a_background_task_that_waits_for_the_end_of_another_is_not_begun() -> None:
    begun: list[int] = []

    class Queued(State, root=True):
        @background(overlap="queue", resume=True)
        async def work(self, number: int) -> None:
            begun.append(number)
            await trio.sleep(10)

    async def main() -> None:
        store = MemoryStore()
        async with App(root=Queued, store=store) as app:
            for number in range(2):
                app.directory.ref(TOKEN).tell(Event("queued.work", [number]))
            await wait_all_tasks_blocked()
        snapshot = await store.peek(TOKEN)
        assert snapshot is not None
        assert [record.args for record in snapshot.tasks] == [(0,), (1,)]

    for seed in range(8):  # who of those that can run comes first is drawn
        trio_run._r.seed(seed)
        trio.run(main)
    assert begun == [0] * 8


async def test_tasks_of_ones_own_end_between_their_turns_too(
    store: MemoryStore, autojump_clock: MockClock
) -> None:
    ended: list[str] = []

    async def add_for_ever(app: App) -> None:
        try:
            while True:
                async with app.modify_state(TOKEN) as state:
                    await trio.sleep(1)
                    state.get_substate(Living).value += 1
        finally:
            ended.append("own")

    async with App(root=Root, store=store) as app:
        app.start_soon(add_for_ever, app)
        app.start_soon(trio.sleep_forever)
        await trio.sleep(2.5)
    assert (await stored(store), ended) == (3, ["own"])


async def test_a_task_that_the_last_handler_starts_ends_between_its_turns_as_well(
    store: MemoryStore, autojump_clock: MockClock
) -> None:
    assert await leave_with(store, ("start_own", "other"), after=1) == pytest.approx(1)
    assert await stored(store, "other") is None  # stopped before its first turn


async def test_what_such_a_task_does_in_its_cleanup_is_waited_for_as_well(
    store: MemoryStore, autojump_clock: MockClock
) -> None:
    assert await leave_with(store, ("start_to_clean_up", "other"), after=1) == pytest.approx(2)
    assert await stored(store, "other") == 100


async def test_what_fails_last_is_told_to_the_end(
    store: MemoryStore, autojump_clock: MockClock
) -> None:
    told: list[str] = []

    async def on_error(error: BaseException, context: ErrorContext) -> None:
        await trio.sleep(3)
        told.append(str(error))

    assert await leave_with(store, ("fail_slowly",), on_error=on_error) == pytest.approx(3.5)
    assert told == ["at last"]


async def test_a_block_outside_the_app_comes_to_its_end_as_well(
    store: MemoryStore, autojump_clock: MockClock
) -> None:
    async def hold(app: App) -> None:
        async with app.modify_state(TOKEN) as state:
            await trio.sleep(3)
            state.get_substate(Living).value = 7

    async with trio.open_nursery() as outside, App(root=Root, store=store) as app:
        outside.start_soon(hold, app)
        await trio.sleep(1)
    assert await stored(store) == 7


async def test_newcomers_are_refused_while_the_app_is_being_left(
    store: MemoryStore, autojump_clock: MockClock
) -> None:
    refused: list[str] = []

    async def come(app: App, directory: Any) -> None:
        await trio.sleep(1)
        for attempt in (app.modify_state(TOKEN).__aenter__, lambda: _ref(directory)):
            try:
                await attempt()
            except (RuntimeError, ActorDeadError) as error:
                refused.append(str(error))
        with pytest.raises(RuntimeError, match="being left"):
            app.start_soon(trio.sleep, 0)

    async def _ref(directory: Any) -> None:
        directory.ref(TOKEN)

    async with trio.open_nursery() as outside, App(root=Root, store=store) as app:
        outside.start_soon(come, app, app.directory)
        tell(app, "add_slowly", 3)
        await wait_all_tasks_blocked()
    assert ["being left" in text for text in refused] == [True, True]
    assert await stored(store) == 1


async def test_stopping_one_actor_goes_in_the_same_order(
    store: MemoryStore, autojump_clock: MockClock
) -> None:
    async with App(root=Root, store=store) as app:
        ref = app.directory.ref(TOKEN)
        tell(app, "work")
        tell(app, "chain", 2)
        await trio.sleep(0.5)
        assert await ref.stop(block=False)
        assert not ref.is_alive()
        assert app.background_tasks == set()
        # the task's turn, one second; the chain, one second each
        assert await stored(store) >= 2
        tell(app, "add")  # brings it to life again
        assert app.directory.ref(TOKEN) is not ref


async def test_stopping_all_actors_stops_those_too_that_their_last_turns_bring_to_life(
    store: MemoryStore, autojump_clock: MockClock
) -> None:
    async with App(root=Root, store=store) as app:
        tell(app, "add_there_too", "another")
        await wait_all_tasks_blocked()
        await app.directory.stop()
        assert len(app.directory) == 0
        assert await stored(store) == await stored(store, "another") == 1


# ---- by force -----------------------------------------------------------------------------------


async def test_what_has_not_ended_after_the_timeout_is_cancelled_and_undone(
    store: MemoryStore, autojump_clock: MockClock
) -> None:
    assert await leave_with(store, ("add",), ("add_slowly", 100), shutdown_timeout=3) == 3
    assert await stored(store) == 1


async def test_who_keeps_a_state_sees_nothing_of_a_turn_that_was_cut_off(
    store: MemoryStore, autojump_clock: MockClock
) -> None:
    async with App(root=Root, store=store, shutdown_timeout=0) as app:
        async with app.modify_state(TOKEN) as state:
            kept = state.get_substate(Living)
        tell(app, "dawdle")
        await wait_all_tasks_blocked()
        assert kept.value == 1
    assert kept.value == 0


async def test_an_actor_that_is_cancelled_takes_no_more_messages(
    autojump_clock: MockClock,
) -> None:
    class Shielding(WrappedStore):
        async def commit(self, lease: Any, commit: Commit) -> None:
            with trio.CancelScope(shield=True):
                await trio.sleep(1)
                await super().commit(lease, commit)

    shielding = Shielding()
    async with App(root=Root, store=shielding, shutdown_timeout=2) as app:
        for _ in range(30):
            tell(app, "add")
        await wait_all_tasks_blocked()
        left = trio.current_time()
    assert trio.current_time() - left == pytest.approx(2, abs=1)
    snapshot = await shielding.peek(TOKEN)
    assert snapshot is not None
    assert snapshot.version <= 3


async def test_a_task_that_shields_itself_for_ever_does_not_keep_the_others_from_ending(
    store: MemoryStore, autojump_clock: MockClock
) -> None:
    seconds = await leave_with(store, ("clean_up",), ("add",), shutdown_timeout=0.5)
    assert seconds == pytest.approx(1)  # what it shields, it shields
    assert await stored(store) == 1  # but its actor is gone by then


@pytest.mark.parametrize("interrupt", ["cancelled", "KeyboardInterrupt"])
async def test_who_is_interrupted_does_not_wait(
    store: MemoryStore, autojump_clock: MockClock, interrupt: str
) -> None:
    started = trio.current_time()
    with trio.move_on_after(1 if interrupt == "cancelled" else 100):
        try:
            async with App(root=Root, store=store) as app:
                tell(app, "add_slowly", 5)
                tell(app, "work")
                if interrupt == "KeyboardInterrupt":
                    await trio.sleep(1)
                    raise KeyboardInterrupt  # noqa: TRY301 - as the user does, at any point
                await trio.sleep_forever()
        except KeyboardInterrupt:
            pass
    assert trio.current_time() - started == pytest.approx(1)
    assert await stored(store) is None


async def test_a_cancellation_that_comes_while_the_app_is_being_left_ends_the_waiting(
    store: MemoryStore, autojump_clock: MockClock
) -> None:
    started = trio.current_time()
    with trio.move_on_after(2):
        async with App(root=Root, store=store) as app:
            tell(app, "add_slowly", 5)
            await wait_all_tasks_blocked()
    assert trio.current_time() - started == pytest.approx(2)
    assert await stored(store) is None


def test_a_block_that_ends_as_its_actor_is_cancelled_is_told() -> None:
    outcomes: list[str] = []

    async def hold(app: App, entered: trio.Event, gate: trio.Event) -> None:
        try:
            async with app.modify_state(TOKEN) as state:
                state.get_substate(Living).value = 5
                entered.set()
                await gate.wait()
            outcomes.append("stored")
        except ActorDeadError:
            outcomes.append("told")

    async def main() -> None:
        store, entered, gate = WrappedStore(), trio.Event(), trio.Event()
        with trio.fail_after(5):
            async with trio.open_nursery() as outside:
                with trio.CancelScope() as scope:
                    async with App(root=Root, store=store) as app:
                        outside.start_soon(hold, app, entered, gate)
                        await entered.wait()
                        await wait_all_tasks_blocked()
                        scope.cancel()
                        gate.set()  # so both wake, and either comes first
                        await trio.sleep_forever()
        assert await stored(store) == (5 if outcomes[-1] == "stored" else None)

    for seed in range(16):
        trio_run._r.seed(seed)
        trio.run(main)
    assert outcomes.count("told") == 16


async def test_an_exception_in_the_block_still_lets_turns_end(
    store: MemoryStore, autojump_clock: MockClock
) -> None:
    with pytest.raises(ValueError, match="mine"):  # noqa: PT012 - the block is the point
        async with App(root=Root, store=store) as app:
            tell(app, "add_slowly", 5)
            await wait_all_tasks_blocked()
            raise ValueError("mine")
    assert await stored(store) == 1


# ---- nothing is left ----------------------------------------------------------------------------


class GatedStore(WrappedStore):
    """One whose commits come to their end when the test lets them."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = trio.Event()

    async def commit(self, lease: Any, commit: Commit) -> None:
        await self.gate.wait()
        await super().commit(lease, commit)


async def test_no_task_thread_or_socket_is_left() -> None:
    """Whatever is going on when the app is left."""
    gate = threading.Event()

    def busy() -> None:
        assert gate.wait(10)

    async def visit(url: str) -> None:
        stream = await trio.open_tcp_stream("127.0.0.1", int(url.rpartition(":")[2]))
        async with stream:
            await stream.send_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            await stream.receive_some()
            await trio.sleep_forever()

    async def leave() -> None:
        async with App(root=Root, store=GatedStore(), shutdown_timeout=0) as app:
            app.add_page("a page")
            async with trio.open_nursery() as nursery:
                url = await nursery.start(app.serve, "127.0.0.1", 0)
                nursery.start_soon(visit, url)
                for number in range(20):
                    token = str(number)
                    app.directory.ref(token).tell(Attach(Client()))
                    for method in ("add", "add_slowly", "work", "chain"):
                        tell(app, method, *([] if method == "add" else [1]), token=token)
                tell(app, "hold_in_thread", token="thread")  # noqa: S106 - a name
                app.start_soon(trio.to_thread.run_sync, busy)
                await Living.entered.wait()
                await wait_all_tasks_blocked(0.01)
                gate.set()
                Living.gate.set()
                nursery.cancel_scope.cancel()

    await leave()  # once, for what is there for good
    Living.entered, tasks, sockets = trio.Event(), _tasks(), _sockets()
    gate.clear()
    Living.gate.clear()
    await leave()
    assert (_tasks(), _sockets()) == (tasks, sockets)
    assert trio.to_thread.current_default_thread_limiter().borrowed_tokens == 0


def _tasks() -> int:
    return trio.lowlevel.current_statistics().tasks_living


def _sockets() -> int:
    return sum(_target(file).startswith("socket:") for file in Path("/proc/self/fd").iterdir())


def _target(file: Path) -> str:
    try:
        return str(file.readlink())
    except OSError:  # it is closed by now, as that of the listing
        return ""


# ---- many times, at every moment ----------------------------------------------------------------


@pytest.mark.parametrize("shutdown_timeout", [0, 1, 100])
@pytest.mark.parametrize("moment", [0, 0.5, 1, 1.5, 2, 2.5, 3])
async def test_what_was_stored_is_whole_whenever_the_app_is_left(
    store: MemoryStore, autojump_clock: MockClock, moment: float, shutdown_timeout: float
) -> None:
    shown = Client()
    async with App(root=Root, store=store, shutdown_timeout=shutdown_timeout) as app:
        app.directory.ref(TOKEN).tell(Attach(shown))
        tell(app, "work")
        tell(app, "side_by_side")
        tell(app, "chain", 2)
        await trio.sleep(moment)
        left = trio.current_time()
    assert trio.current_time() - left <= shutdown_timeout
    assert shown.closed
    if shown.version > 0:
        assert shown.state["root.living"]["value"] == await stored(store)


async def test_the_app_says_nothing_in_the_log_when_all_is_well(
    store: MemoryStore, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "actorstate")
    await leave_with(store, ("work",), ("chain", 3), ("side_by_side",), ("clean_up",), slow_turn=10)
    assert caplog.text == ""


async def test_token_actors_share_the_names_of_their_attributes() -> None:
    """As Python lets them while there are fewer than 30; else each tab takes 1.3 KB more."""
    async with App(root=Root) as app:
        async with app.modify_state(TOKEN):
            pass
        actor: Any = app.directory.ref(TOKEN).tell_at_once
        assert 20 < len(vars(actor.__self__)) < 30
