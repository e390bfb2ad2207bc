"""Handlers that block, in threads of their own."""

from __future__ import annotations

import contextvars
import functools
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any, ClassVar

import pytest
import trio
from clients import Client
from stores import WrappedStore
from trio.testing import MockClock, wait_all_tasks_blocked

from actorstate import (
    ActorDeadError,
    App,
    DeadlockError,
    ImmutableStateError,
    MailboxFullError,
    MemoryStore,
    State,
    TurnTimeoutError,
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
    def start_its_own(self) -> None:
        current_app().start_soon(_note, self.get_token(), "started from a thread")

    @event(thread=True)
    def modify_another(self, token: str) -> None:
        with current_app().modify_state_from_thread(token) as state:
            state.get_substate(Blocking).note("from another")
        self.note("to another")

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


async def _note(token: str, text: str) -> None:
    async with current_app().modify_state(token) as state:
        state.get_substate(Blocking).note(text)


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
    assert await store.peek(TOKEN) is None


async def test_a_thread_that_asks_whether_it_is_cancelled_ends_at_once() -> None:
    store = MemoryStore()
    with trio.fail_after(5):
        async with App(root=Root, store=store, shutdown_timeout=0) as app:
            join(app)
            app.directory.ref(TOKEN).tell(Event("root.blocking.wait_patiently", [], 1, "page"))
            await Blocking.entered.wait()
    assert not Blocking.gate.is_set()
    assert await store.peek(TOKEN) is None


async def test_a_handler_in_a_thread_may_start_a_task_of_the_apps(app: App) -> None:
    client = join(app)
    await fire(app, "start_its_own")
    await wait_all_tasks_blocked()
    assert client.state["root.blocking"]["notes"] == ["started from a thread"]


# ---- modify_state_from_thread -------------------------------------------------------------------


def write(app: App, text: str, token: str = TOKEN) -> str:
    with app.modify_state_from_thread(token) as state:
        state.get_substate(Blocking).note(text)
    return threading.current_thread().name


async def in_foreign_thread(function: Callable[..., Any], *args: Any) -> Any:
    """Call in a thread that trio knows nothing of, and wait for it as one waits for a file."""
    results: list[Any] = []

    def call() -> None:
        try:
            results.append(function(*args))
        except BaseException as error:  # noqa: BLE001 - raised below
            results.append(error)

    thread = threading.Thread(target=call, name="foreign")
    thread.start()
    await trio.to_thread.run_sync(thread.join)
    if isinstance(results[0], BaseException):
        raise results[0]
    return results[0]


in_any_thread = pytest.mark.parametrize("call", [trio.to_thread.run_sync, in_foreign_thread])


@in_any_thread
async def test_a_thread_takes_a_turn_by_a_plain_with(app: App, call: Any) -> None:
    client = join(app)
    with trio.fail_after(5):
        await call(write, app, "one")
        await call(write, app, "two")
    assert client.state["root.blocking"]["notes"] == ["one", "two"]
    assert client.version == 2


@in_any_thread
async def test_a_block_of_a_thread_that_raises_is_undone(app: App, call: Any) -> None:
    client = join(app)

    def fail() -> None:
        with app.modify_state_from_thread(TOKEN) as state:
            state.get_substate(Blocking).value = 99
            raise ValueError("in the thread")

    with trio.fail_after(5):
        with pytest.raises(ValueError, match="in the thread"):
            await call(fail)
        await fire(app, "note", "next")
    assert client.state["root.blocking"] == {"value": 0, "notes": ["next"]}


@in_any_thread
async def test_threads_and_tasks_get_their_turns_one_after_the_other(app: App, call: Any) -> None:
    def add(times: int) -> None:
        for _ in range(times):
            with app.modify_state_from_thread(TOKEN) as state:
                state.get_substate(Blocking).value += 1

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(call, add, 25)
            for seq in range(1, 101):
                await fire(app, "climb", seq=seq)
        while app.background_tasks:
            await trio.lowlevel.checkpoint()
        async with app.modify_state(TOKEN) as state:
            assert state.get_substate(Blocking).value == 200


@in_any_thread
async def test_a_thread_that_waits_for_its_own_turn_again_is_refused(app: App, call: Any) -> None:
    def enter_twice() -> None:
        with app.modify_state_from_thread(TOKEN):
            write(app, "never")

    with trio.fail_after(5), pytest.raises(ImmutableStateError, match="the turn is yours already"):
        await call(enter_twice)
    await call(write, app, "next")


@in_any_thread
async def test_threads_that_wait_for_each_other_are_not_left_waiting(app: App, call: Any) -> None:
    both_hold, refused = threading.Barrier(2), list[str]()

    def cross(mine: str, other: str) -> None:
        with app.modify_state_from_thread(mine) as state:
            state.get_substate(Blocking).note(mine)
            both_hold.wait(5)
            try:
                write(app, mine, other)
            except DeadlockError as error:
                refused.append(str(error))

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call, cross, "a", "b")
            nursery.start_soon(call, cross, "b", "a")
    assert len(refused) == 1
    assert "(token a)" in refused[0] or "(token b)" in refused[0]


@in_any_thread
async def test_threads_count_among_those_who_wait(call: Any) -> None:
    async with App(root=Root, max_waiters=1) as app:
        gate = trio.Event()
        async with trio.open_nursery() as nursery:
            entered = trio.Event()
            nursery.start_soon(_hold, app, entered, gate)
            await entered.wait()
            nursery.start_soon(call, write, app, "one")
            while app.directory.ref(TOKEN).mailbox.empty():
                await trio.lowlevel.checkpoint()
            with pytest.raises(MailboxFullError, match="1 wait for the turn"):
                await call(write, app, "one too many")
            gate.set()
        await call(write, app, "two")
        async with app.modify_state(TOKEN) as state:
            assert state.get_substate(Blocking).notes == ["one", "two"]


@in_any_thread
async def test_outside_its_block_a_thread_may_not_write(app: App, call: Any) -> None:
    def write_late() -> None:
        with app.modify_state_from_thread(TOKEN) as state:
            blocking = state.get_substate(Blocking)
            blocking.value = 1
        with pytest.raises(ImmutableStateError):
            blocking.value = 2

    with trio.fail_after(5):
        await call(write_late)


async def test_the_trio_thread_itself_is_sent_to_modify_state(app: App) -> None:
    with pytest.raises(RuntimeError, match="async with app.modify_state"):
        write(app, "x")


async def test_a_block_of_a_thread_is_for_one_use_and_for_strings(app: App) -> None:
    def twice() -> None:
        block = app.modify_state_from_thread(TOKEN)
        with block:
            pass
        with pytest.raises(RuntimeError, match="used already"):
            block.__enter__()

    await trio.to_thread.run_sync(twice)
    with pytest.raises(TypeError, match="a token is a string"):
        app.modify_state_from_thread(3)  # pyright: ignore


async def test_a_handler_in_a_thread_may_take_the_turn_of_another_token(app: App) -> None:
    client, other = join(app), join(app, "other")
    await fire(app, "modify_another", "other")
    assert client.state["root.blocking"]["notes"] == ["to another"]
    assert other.state["root.blocking"]["notes"] == ["from another"]
    await fire(app, "modify_another", TOKEN, seq=2)
    assert [failure.code for failure in client.failures] == ["handler_failed"]


async def test_a_thread_whose_task_is_cancelled_while_it_waits_is_told(app: App) -> None:
    outcomes: list[str] = []

    def wait() -> None:
        try:
            write(app, "never")
        except trio.Cancelled:
            outcomes.append("cancelled")
            raise

    entered, gate = trio.Event(), trio.Event()
    app.start_soon(_hold, app, entered, gate)
    await entered.wait()
    with trio.move_on_after(0.05):
        await trio.to_thread.run_sync(wait)
    gate.set()
    assert outcomes == ["cancelled"]
    assert app.directory.ref(TOKEN).mailbox.empty()


@pytest.mark.parametrize("make_store", [MemoryStore, WrappedStore])
async def test_a_thread_that_ended_without_leaving_its_block_is_undone_by_the_turn_timeout(
    make_store: Any, mock_clock: MockClock
) -> None:
    async with App(root=Root, store=make_store(), turn_timeout=10) as app:

        def enter() -> None:
            state = app.modify_state_from_thread(TOKEN).__enter__()
            state.get_substate(Blocking).value = 5

        thread = threading.Thread(target=enter)
        thread.start()
        await trio.to_thread.run_sync(thread.join)
        mock_clock.jump(11)
        await wait_all_tasks_blocked()
        with trio.fail_after(1):
            async with app.modify_state(TOKEN) as state:
                assert state.get_substate(Blocking).value == 0


@pytest.mark.parametrize("make_store", [MemoryStore, WrappedStore])
async def test_a_block_in_a_thread_that_was_abandoned_is_undone(make_store: Any) -> None:
    entered, ended = trio.Event(), trio.Event()
    gate, outcomes = threading.Event(), list[str]()
    token = trio.lowlevel.current_trio_token()

    def block(app: App) -> None:
        try:
            with app.modify_state_from_thread(TOKEN) as state:
                state.get_substate(Blocking).value = 5
                token.run_sync_soon(entered.set)
                assert gate.wait(10)
        except trio.Cancelled:
            outcomes.append("cancelled")
        finally:
            token.run_sync_soon(ended.set)

    async with App(root=Root, store=make_store()) as app:
        async with trio.open_nursery() as nursery:
            run = functools.partial(trio.to_thread.run_sync, abandon_on_cancel=True)
            nursery.start_soon(run, block, app)
            await entered.wait()
            nursery.cancel_scope.cancel()
        gate.set()
        await ended.wait()
        async with app.modify_state(TOKEN) as state:
            assert state.get_substate(Blocking).value == 0
    assert outcomes == ["cancelled"]


@pytest.mark.parametrize("make_store", [MemoryStore, WrappedStore])
async def test_a_block_in_the_thread_of_a_task_that_is_cancelled_is_undone(make_store: Any) -> None:
    entered, gate = trio.Event(), threading.Event()
    outcomes: list[str] = []

    def block(app: App) -> None:
        try:
            with app.modify_state_from_thread(TOKEN) as state:
                state.get_substate(Blocking).value = 5
                trio.from_thread.run_sync(entered.set)
                assert gate.wait(10)
        except trio.Cancelled:
            outcomes.append("cancelled")
            raise

    async def run(app: App, scope: trio.CancelScope) -> None:
        with scope:
            await trio.to_thread.run_sync(block, app)
        outcomes.append(f"caught: {scope.cancelled_caught}")

    scope = trio.CancelScope()
    async with App(root=Root, store=make_store()) as app, trio.open_nursery() as nursery:
        client = join(app)
        nursery.start_soon(run, app, scope)
        await entered.wait()
        scope.cancel()
        await wait_all_tasks_blocked()
        gate.set()
        async with app.modify_state(TOKEN) as state:
            assert state.get_substate(Blocking).value == 0
            state.get_substate(Blocking).value = 7
        await wait_all_tasks_blocked()
        assert client.state["root.blocking"]["value"] == 7
        assert client.version == 1
    assert outcomes == ["cancelled", "caught: True"]


async def test_a_foreign_thread_that_waits_when_the_app_is_left_is_told() -> None:
    entered = trio.Event()
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery, App(root=Root, shutdown_timeout=0) as app:
            app.start_soon(_hold, app, entered, trio.Event())
            await entered.wait()
            nursery.start_soon(_expect_dead, app)
            while app.directory.ref(TOKEN).mailbox.empty():
                await trio.lowlevel.checkpoint()


async def _hold(app: App, entered: trio.Event, gate: trio.Event) -> None:
    async with app.modify_state(TOKEN):
        entered.set()
        await gate.wait()


async def _expect_dead(app: App) -> None:
    with pytest.raises(ActorDeadError):
        await in_foreign_thread(write, app, "never")


@in_any_thread
@pytest.mark.parametrize("is_let_out", [False, True])
async def test_a_thread_that_holds_a_turn_when_the_app_is_left_undoes_it_itself(
    call: Any, is_let_out: bool
) -> None:
    """Nobody else could: it may be in the middle of a write."""
    store, entered, gate = MemoryStore(), trio.Event(), threading.Event()
    refused: list[str] = []

    def hold(app: App) -> None:
        with app.modify_state_from_thread(TOKEN) as state:
            blocking = state.get_substate(Blocking)
            blocking.value = 5
            trio.from_thread.run_sync(entered.set, trio_token=app_token)
            assert gate.wait(10)
            try:
                blocking.value = 6
            except ImmutableStateError as error:
                refused.append(str(error))
                if is_let_out:
                    raise
            assert blocking.value == 5

    async def run(app: App) -> None:
        with pytest.raises(ActorDeadError, match="nothing of it is left"):
            await call(hold, app)

    app_token = trio.lowlevel.current_trio_token()
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            async with App(root=Root, store=store, shutdown_timeout=0) as app:
                nursery.start_soon(run, app)
                await entered.wait()
            gate.set()
    [refusal] = refused
    assert "the turn was taken from" in refusal
    assert await store.peek(TOKEN) is None


@in_any_thread
async def test_a_thread_that_holds_its_turn_for_too_long_may_write_no_more(
    mock_clock: MockClock, call: Any
) -> None:
    entered, gate = trio.Event(), threading.Event()

    def hold(app: App, *, writes: bool) -> None:
        with app.modify_state_from_thread(TOKEN) as state:
            blocking = state.get_substate(Blocking)
            blocking.value = 5
            trio.from_thread.run_sync(entered.set, trio_token=app_token)
            assert gate.wait(10)
            if writes:
                blocking.value = 6

    app_token = trio.lowlevel.current_trio_token()
    async with App(root=Root, turn_timeout=10) as app:
        for writes in (False, True):
            entered = trio.Event()
            gate.clear()
            async with trio.open_nursery() as nursery:
                held = functools.partial(hold, writes=writes)
                nursery.start_soon(_expect_timeout, call, held, app)
                await entered.wait()
                mock_clock.jump(11)
                await wait_all_tasks_blocked()
                gate.set()
            async with app.modify_state(TOKEN) as state:
                assert state.get_substate(Blocking).value == 0


async def _expect_timeout(call: Any, function: Any, app: App) -> None:
    with pytest.raises(TurnTimeoutError):
        await call(function, app)


async def test_a_task_of_its_own_is_started_from_another_trio_run(app: App) -> None:
    started: list[trio.lowlevel.TrioToken] = []
    here, done = trio.lowlevel.current_trio_token(), trio.Event()

    async def note() -> None:
        await trio.lowlevel.checkpoint()
        started.append(trio.lowlevel.current_trio_token())
        done.set()

    async def start() -> None:
        await trio.lowlevel.checkpoint()
        app.start_soon(note)

    with trio.fail_after(5):
        await trio.to_thread.run_sync(trio.run, start)
        await done.wait()
    assert started == [here]


async def test_what_another_trio_run_starts_as_the_app_is_left_comes_to_nothing(
    autojump_clock: MockClock,
) -> None:
    """Its call comes in the step in which the last task of the app ends."""

    async def start() -> None:
        await trio.lowlevel.checkpoint()
        current_app().start_soon(pytest.fail, "it was begun")  # pyright: ignore[reportArgumentType]

    async def end_last() -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(1)
        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=(trio.run, start))
        thread.start()
        thread.join()

    async with App(root=Root, shutdown_timeout=0) as app:
        app.start_soon(end_last)
        await wait_all_tasks_blocked()
    await wait_all_tasks_blocked()
    assert not app.is_running


async def test_a_turn_is_refused_in_another_trio_run(app: App) -> None:
    async def modify() -> None:
        with pytest.raises(RuntimeError, match="in another trio run than the running code"):
            await app.modify_state(TOKEN).__aenter__()

    with trio.fail_after(5):
        await trio.to_thread.run_sync(trio.run, modify)
    async with app.modify_state(TOKEN) as state:
        assert state.get_substate(Blocking).notes == []


async def test_tell_and_ask_work_from_threads(app: App) -> None:
    ref = app.directory.ref(TOKEN)

    def send() -> None:
        ref.tell(Event("root.blocking.note", ["told"]))
        ref.ask(Event("root.blocking.note", ["asked"]), timeout=5)

    with trio.fail_after(5):
        await trio.to_thread.run_sync(send)
        await in_foreign_thread(send)
    async with app.modify_state(TOKEN) as state:
        assert state.get_substate(Blocking).notes == ["told", "asked"] * 2
