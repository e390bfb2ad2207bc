"""Apps with asyncio: handlers that await either library, and blocks in asyncio's tasks."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any, ClassVar

import pytest
import trio
from stores import WrappedStore
from trio.testing import MockClock, wait_all_tasks_blocked

from actorstate import (
    App,
    BackgroundTask,
    ErrorContext,
    ImmutableStateError,
    MemoryStore,
    State,
    TurnTimeoutError,
    background,
    computed,
    current_app,
)
from actorstate.actors.asyncio_handlers import CLEANING_UP
from actorstate.actors.messages import Event
from actorstate.actors.runs import current_run
from actorstate.state.handlers import as_invocation

TOKEN = "tab"  # noqa: S105 - a name, to the library


class Root(State, root=True):
    pass


class Log(Root):
    """Runs what a test gives it, as a handler of each kind."""

    code: ClassVar[Any]
    lines: list[str] = []
    number: int = 0

    async def run_event(self) -> None:
        await self.code(self)

    async def run_steps(self) -> AsyncIterator[None]:
        async for _ in self.code(self):
            yield

    def run_plain(self) -> None:
        self.code(self)

    @background
    async def run_task(self) -> None:
        await self.code(self)

    @background
    async def run_steps_of_task(self) -> AsyncIterator[None]:
        async for _ in self.code(self):
            yield

    def note(self, line: str) -> None:
        self.lines = [*self.lines, line]


class World:
    """An app with asyncio, and what was reported to it."""

    def __init__(self, app: App, errors: list[tuple[BaseException, ErrorContext]]) -> None:
        self.app = app
        self.errors = errors

    async def run(self, kind: str, code: Callable[[Log], Any]) -> None:
        """Run code as a handler of a kind, up to its answer; of a task to its end."""
        Log.code = staticmethod(code)
        event = Event(as_invocation(getattr(Log, f"run_{kind}")).name)
        await self.app.directory.ref(TOKEN).ask(event, block=False)

    async def task(self, code: Callable[[Log], Any]) -> BackgroundTask:
        await self.run("task", code)
        return next(iter(self.app.background_tasks))

    async def end(self) -> None:
        for task in list(self.app.background_tasks):
            await task.wait()
        await wait_all_tasks_blocked()

    @property
    def raised(self) -> list[type[BaseException]]:
        return [type(error) for error, _ in self.errors]

    async def state(self) -> Log:
        async with self.app.modify_state(TOKEN) as state:
            return state.get_substate(Log)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    errors: list[tuple[BaseException, ErrorContext]] = []
    app = App(root=Root, asyncio=True, turn_timeout=50, on_error=lambda *told: errors.append(told))
    async with app:
        yield World(app, errors)


# ---- awaiting ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["event", "task"])
async def test_a_handler_awaits_what_is_asyncios_and_what_is_trios(
    world: World, autojump_clock: MockClock, kind: str
) -> None:
    seconds: list[float] = []

    async def code(log: Log) -> None:
        started = trio.current_time()
        await asyncio.sleep(1)
        await trio.sleep(1)
        await asyncio.sleep(0)
        assert await asyncio.gather(_later(1), _later(2)) == [1, 2]
        assert await asyncio.create_task(_later(3)) == 3
        assert await asyncio.wait_for(_later(4), 10) == 4
        await asyncio.shield(_later(1))
        queue: asyncio.Queue[int] = asyncio.Queue(1)
        asyncio.get_running_loop().call_later(1, queue.put_nowait, 6)
        assert await queue.get() == 6
        async with asyncio.Lock(), trio.Lock(), asyncio.TaskGroup() as group:
            one = group.create_task(_later(7))
        assert one.result() == 7
        seconds.append(trio.current_time() - started)

    await world.run(kind, code)
    await world.end()
    assert world.errors == []
    assert seconds == [pytest.approx(1 + 1 + 2 + 3 + 4 + 1 + 1 + 7)]


@pytest.mark.parametrize("kind", ["event", "task"])
async def test_a_nursery_in_a_handler_starts_a_task_that_goes_on(
    world: World, autojump_clock: MockClock, kind: str
) -> None:
    lines: list[str] = []

    async def child(task_status: trio.TaskStatus[str]) -> None:
        await trio.sleep(1)
        task_status.started("started")
        await trio.sleep(1)
        lines.append("ended")

    async def code(_: Log) -> None:
        async with trio.open_nursery() as nursery:
            lines.append(await nursery.start(child))
        await asyncio.sleep(1)
        lines.append("left")

    await world.run(kind, code)
    await world.end()
    assert lines == ["started", "ended", "left"]


async def test_a_handler_awaits_a_thread_of_asyncios(world: World) -> None:
    async def code(log: Log) -> None:
        log.number = await asyncio.to_thread(lambda: 5)

    await world.run("event", code)
    assert world.errors == []
    assert (await world.state()).number == 5


async def _later(number: int) -> int:
    await asyncio.sleep(number)
    return number


@pytest.mark.parametrize("kind", ["steps", "steps_of_task"])
async def test_a_handler_that_yields_awaits_what_is_asyncios_between(
    world: World, autojump_clock: MockClock, kind: str
) -> None:
    async def code(log: Log) -> AsyncIterator[None]:
        async with asyncio.timeout(100) as timeout:
            with trio.move_on_after(200):
                await asyncio.sleep(1)
                yield
                await trio.sleep(1)
                yield
                await asyncio.sleep(1)
        assert not timeout.expired()
        with suppress(TimeoutError):
            async with asyncio.timeout(1) as timeout:
                yield
                await trio.sleep(100)
        assert timeout.expired()
        done.append(trio.current_time() - started)

    done: list[float] = []
    started = trio.current_time()
    await world.run(kind, code)
    await world.end()
    assert world.errors == []
    assert done == [pytest.approx(4)]


async def test_computed_vars_tasks_of_the_app_and_on_error_may_await_what_is_asyncios(
    autojump_clock: MockClock,
) -> None:
    class Own(State, root=True):
        base: int = 1

        @computed
        async def doubled(self) -> int:
            await asyncio.sleep(1)
            return 2 * self.base

        async def fail(self) -> None:
            assert await self.doubled == 2
            raise ValueError("planned")

    heard: list[str] = []

    async def on_error(error: BaseException, context: ErrorContext) -> None:
        await asyncio.sleep(1)
        heard.append(str(error))

    async def own_task() -> None:
        async with asyncio.timeout(10):
            await asyncio.sleep(1)
            heard.append("own task")

    async with App(root=Own, asyncio=True, on_error=on_error) as app:
        await app.directory.ref(TOKEN).ask(Event("own.fail"), block=False)
        app.start_soon(own_task)
        async with app.modify_state(TOKEN) as state:  # a computed var is settled at its end
            state.base = 2
        await trio.sleep(5)
    assert sorted(heard) == ["own task", "planned"]


async def test_a_client_library_of_asyncio_works_in_a_background_task() -> None:
    aiohttp = pytest.importorskip("aiohttp")
    answered: list[str] = []

    async def answer(stream: trio.SocketStream) -> None:
        await stream.receive_some(10_000)
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")

    async def code(log: Log) -> None:
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            text = await response.text()
        async with log:
            log.note(text)
        answered.append(text)

    errors: list[Any] = []
    app = App(root=Root, asyncio=True, on_error=lambda *told: errors.append(told))
    async with trio.open_nursery() as nursery, app:
        listeners: Any = await nursery.start(trio.serve_tcp, answer, 0)
        url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}/"
        world = World(app, errors)
        await world.run("task", code)
        await world.end()
        assert (await world.state()).lines == ["hello"]
        nursery.cancel_scope.cancel()
    assert errors == []


# ---- blocks in tasks of asyncio's ----------------------------------------------------------------


async def test_coroutines_that_are_gathered_take_turns_one_after_the_other(
    world: World, autojump_clock: MockClock
) -> None:
    inside: list[int] = []

    async def add(log: Log) -> None:
        async with log:
            inside.append(1)
            before = log.number
            await asyncio.sleep(1)
            log.number = before + 1
            assert sum(inside) == 1
            inside.pop()
        await asyncio.sleep(1)

    async def code(log: Log) -> None:
        await asyncio.gather(*(add(log) for _ in range(20)))
        async with log:  # by the handler itself, in trio
            log.note("all")

    await world.run("task", code)
    await world.end()
    assert world.errors == []
    state = await world.state()
    assert (state.number, state.lines) == (20, ["all"])


async def test_a_plain_handler_starts_a_task_that_modifies_the_state_later(
    world: World, autojump_clock: MockClock
) -> None:
    tasks: set[asyncio.Task[None]] = set()

    async def fetch(app: App, token: str) -> None:
        await asyncio.sleep(1)
        async with app.modify_state(token) as state:
            state.get_substate(Log).note("fetched")

    def code(log: Log) -> None:
        task = asyncio.create_task(fetch(current_app(), log.get_token()))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        log.note("started")

    await world.run("plain", code)
    await trio.sleep(2)
    assert (await world.state()).lines == ["started", "fetched"]
    assert tasks == set()
    assert world.errors == []


class Plain(State, root=True):
    loops: ClassVar[list[asyncio.AbstractEventLoop]] = []
    tasks: ClassVar[list[asyncio.Task[None]]] = []
    count: int = 0

    def add_later(self) -> None:
        self.loops.append(asyncio.get_running_loop())
        self.tasks.append(asyncio.create_task(self._add()))

    async def _add(self) -> None:
        async with self:
            self.count += 1


@pytest.mark.parametrize("is_at_once", [False, True])
async def test_a_plain_handler_has_the_loop_of_its_app_whoever_brings_its_event(
    is_at_once: bool,
) -> None:
    """As where a server has the app in one task, and each connection in another."""
    Plain.loops.clear()
    async with trio.open_nursery() as nursery:
        entered = trio.Event()

        async def bring(app: App) -> None:
            await entered.wait()
            await wait_all_tasks_blocked()
            event = Event("plain.add_later", [], 1, "page")
            ref = app.directory.ref("tab")
            if is_at_once:
                assert ref.tell_at_once(event)
            else:
                ref.tell(event)

        apps = [App(root=Plain, asyncio=True) for _ in range(2)]
        for app in apps:
            nursery.start_soon(bring, app)
        async with apps[0], apps[1]:
            for app in apps:
                app.directory.ref("tab")
            entered.set()
            await wait_all_tasks_blocked(0.01)
            for app in apps:
                async with app.modify_state("tab") as state:
                    assert state.get_substate(Plain).count == 1
    assert len(set(Plain.loops)) == 2


async def test_a_task_may_write_under_the_turn_in_which_it_was_made_until_that_ends(
    world: World,
    autojump_clock: MockClock,
) -> None:
    late: list[str] = []

    async def write(log: Log, seconds: float) -> None:
        await asyncio.sleep(seconds)
        try:
            log.note(f"after {seconds} s")
        except ImmutableStateError:
            late.append(f"after {seconds} s")

    async def code(log: Log) -> None:
        async with log:
            asyncio.create_task(write(log, 3))  # noqa: RUF006 - the loop has it until it wakes
            await asyncio.gather(write(log, 1), write(log, 2))

    await world.run("task", code)
    await trio.sleep(5)
    assert (await world.state()).lines == ["after 1 s", "after 2 s"]
    assert late == ["after 3 s"]


async def test_entering_again_inside_the_block_is_refused_in_a_task_too(
    world: World, autojump_clock: MockClock
) -> None:
    async def enter_twice(log: Log) -> None:
        async with log:
            log.number = 1
            with pytest.raises(ImmutableStateError, match="yours already"):
                await log.__aenter__()
            log.number += 1

    async def code(log: Log) -> None:
        await asyncio.create_task(enter_twice(log))

    await world.run("task", code)
    await world.end()
    assert world.errors == []
    assert (await world.state()).number == 2


@pytest.mark.parametrize("store", [MemoryStore(), WrappedStore()])
async def test_a_block_whose_task_ended_without_leaving_it_is_undone_by_the_turn_timeout(
    store: Any, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)

    async def enter(app: App) -> None:
        state = await app.modify_state(TOKEN).__aenter__()
        state.get_substate(Log).number = 5

    async def code(app: App) -> None:
        await asyncio.create_task(enter(app))

    async with App(root=Root, store=store, asyncio=True, turn_timeout=5) as app:
        app.start_soon(code, app)
        await wait_all_tasks_blocked()
        with trio.fail_after(6):
            async with app.modify_state(TOKEN) as state:
                assert state.get_substate(Log).number == 0


async def test_a_block_that_is_left_by_another_task_is_left_alone(
    world: World, autojump_clock: MockClock
) -> None:
    async def code(log: Log) -> None:
        async with log:
            with pytest.raises(RuntimeError, match="by another task"):
                await asyncio.create_task(_exit(log))
            log.number = 1

    await world.run("task", code)
    await world.end()
    assert world.errors == []
    assert (await world.state()).number == 1


async def _exit(log: Log) -> None:
    await log.__aexit__(None, None, None)


async def test_a_block_in_a_task_that_raises_is_undone(
    world: World, autojump_clock: MockClock
) -> None:
    async def fail(log: Log) -> None:
        async with log:
            log.number = 1
            raise ValueError("planned")

    async def code(log: Log) -> None:
        results = await asyncio.gather(fail(log), _add(log), return_exceptions=True)
        assert [type(result) for result in results] == [ValueError, type(None)]

    await world.run("task", code)
    await world.end()
    assert world.errors == []
    assert (await world.state()).number == 10


async def _add(log: Log, seconds: float = 0) -> None:
    async with log:
        await asyncio.sleep(seconds)
        log.number += 10


async def test_what_nobody_awaits_and_fails_is_reported_and_harms_nobody(
    world: World, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail() -> None:
        raise ValueError("planned")

    def code(log: Log) -> None:
        asyncio.create_task(fail())  # noqa: RUF006 - it is to be forgotten

    await world.run("plain", code)
    await wait_all_tasks_blocked()
    import gc  # noqa: PLC0415 - asyncio tells when the task is collected

    gc.collect()
    await wait_all_tasks_blocked()
    [(error, context)] = world.errors
    assert str(error) == "planned"
    assert context.during == "task"
    assert "fail" in context.name
    await world.run("plain", lambda log: log.note("alive"))
    assert (await world.state()).lines == ["alive"]


# ---- cancellation, from trio to asyncio ----------------------------------------------------------


async def test_a_cancelled_task_meets_the_cancellation_that_its_code_knows(
    world: World, autojump_clock: MockClock
) -> None:
    seen: list[str] = []

    async def code(log: Log) -> None:
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            seen.append("asyncio")
            await asyncio.sleep(1)  # to clean up
            seen.append("cleaned up")
            raise

    task = await world.task(code)
    await wait_all_tasks_blocked()
    task.cancel()
    await task.wait()
    assert seen == ["asyncio", "cleaned up"]
    await wait_all_tasks_blocked()
    assert world.errors == []


@pytest.mark.parametrize("way", ["cancel", "scope"])
async def test_who_only_lets_others_run_is_cancelled_there_and_its_block_undone(
    world: World, way: str
) -> None:
    scope = trio.CancelScope()

    async def code(log: Log) -> None:
        with scope:
            async with log:
                log.note("undone")
                for _ in range(100_000):
                    await asyncio.sleep(0)

    with trio.fail_after(5):
        task = await world.task(code)
        await trio.sleep(0.01)
        (task if way == "cancel" else scope).cancel()
        await task.wait()
    assert (await world.state()).lines == []
    assert world.errors == []


async def test_asyncio_itself_cancels_who_only_lets_others_run(world: World) -> None:
    seen: list[str] = []

    async def code(log: Log) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            seen.append(f"cancelled, {task.uncancel()} to come")
        await asyncio.sleep(0)

    await world.run("event", code)
    assert seen == ["cancelled, 0 to come"]
    assert world.errors == []


async def test_what_goes_wrong_beside_a_cancellation_is_told_without_it(
    world: World, autojump_clock: MockClock
) -> None:
    async def fail_at_the_end() -> None:
        try:
            await trio.sleep(100)
        finally:
            raise ValueError("at the end")

    async def code(log: Log) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail_at_the_end)
            await asyncio.sleep(100)

    task = await world.task(code)
    await wait_all_tasks_blocked()
    task.cancel()
    await task.wait()
    await wait_all_tasks_blocked()
    assert world.raised == [ValueError]


async def test_a_task_cancelled_as_it_waits_for_its_turn_meets_it_as_well(
    world: World, autojump_clock: MockClock
) -> None:
    seen: list[str] = []

    async def code(log: Log) -> None:
        await asyncio.sleep(1)
        try:
            async with log:
                raise AssertionError
        except asyncio.CancelledError:
            seen.append("asyncio")
            await asyncio.sleep(1)
            seen.append("cleaned up")
            raise

    task = await world.task(code)
    async with world.app.modify_state(TOKEN):
        await trio.sleep(2)
        task.cancel()
        await task.wait()
    assert seen == ["asyncio", "cleaned up"]
    assert world.errors == []


async def test_what_trio_was_told_asyncio_is_not_told_again(
    world: World, autojump_clock: MockClock
) -> None:
    seen: list[str] = []

    async def code(log: Log) -> None:
        try:
            async with trio.open_nursery():
                await trio.sleep_forever()
        finally:
            await asyncio.sleep(1)
            seen.append("cleaned up")

    task = await world.task(code)
    await wait_all_tasks_blocked()
    task.cancel()
    await task.wait()
    assert seen == ["cleaned up"]
    assert world.errors == []


async def test_cleaning_up_has_its_time_and_no_more(
    world: World, autojump_clock: MockClock
) -> None:
    async def code(log: Log) -> None:
        while True:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(1000)
            ends.append(trio.current_time() - started)
            if len(ends) == 3:
                return

    ends: list[float] = []
    task = await world.task(code)
    await wait_all_tasks_blocked()
    started = trio.current_time()
    task.cancel()
    await task.wait()
    assert ends == [pytest.approx(0), pytest.approx(CLEANING_UP), pytest.approx(CLEANING_UP)]


async def test_a_cancelled_task_cancels_what_it_gathers_and_its_turns_are_undone(
    world: World,
    autojump_clock: MockClock,
) -> None:
    async def code(log: Log) -> None:
        await asyncio.gather(_add(log), _add(log, 100), _add(log))

    task = await world.task(code)
    await trio.sleep(1)
    task.cancel()
    await task.wait()
    await wait_all_tasks_blocked()
    assert (await world.state()).number == 10
    assert world.errors == []
    assert asyncio.all_tasks() == set()


async def test_a_task_group_ends_its_tasks_when_the_background_task_is_cancelled(
    world: World,
    autojump_clock: MockClock,
) -> None:
    ended: list[str] = []

    async def child() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            await asyncio.sleep(1)
            ended.append("child")

    async def code(log: Log) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(child())
            group.create_task(child())
        raise AssertionError

    task = await world.task(code)
    await wait_all_tasks_blocked()
    task.cancel()
    await task.wait()
    assert ended == ["child", "child"]
    await wait_all_tasks_blocked()
    assert world.errors == []


async def test_a_scope_of_trio_in_a_handler_cancels_what_is_asyncios(
    world: World, autojump_clock: MockClock
) -> None:
    async def code(log: Log) -> None:
        with trio.move_on_after(1) as scope:
            await asyncio.sleep(100)
        assert scope.cancelled_caught
        with trio.move_on_after(1) as scope:
            await asyncio.gather(_later(100), _later(200))
        assert scope.cancelled_caught
        with trio.move_on_after(5) as scope:
            await asyncio.sleep(1)
        assert not scope.cancelled_caught
        log.note(f"{trio.current_time() - started}")

    started = trio.current_time()
    await world.run("event", code)
    assert world.errors == []
    assert [float(line) for line in (await world.state()).lines] == [pytest.approx(3)]


@pytest.mark.parametrize("kind", ["event", "task"])
async def test_a_turn_that_waits_for_asyncio_too_long_is_ended(
    world: World, autojump_clock: MockClock, kind: str
) -> None:
    seen: list[str] = []

    async def code(log: Log) -> None:
        if kind == "task":
            async with log:
                await wait(log)
        else:
            await wait(log)

    async def wait(log: Log) -> None:
        log.number = 1
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    await world.run(kind, code)
    await world.end()
    assert world.raised == [TurnTimeoutError]
    assert seen == ["cancelled"]
    assert (await world.state()).number == 0


async def test_a_task_may_go_on_after_a_turn_that_took_too_long(
    world: World, autojump_clock: MockClock
) -> None:
    async def code(log: Log) -> None:
        with pytest.raises(TurnTimeoutError):
            await _add(log, 1000)
        await asyncio.sleep(1)
        async with log:
            log.note("went on")
        await asyncio.sleep(1000)

    task = await world.task(code)
    await trio.sleep(60)
    task.cancel()
    await task.wait()
    state = await world.state()
    assert (state.number, state.lines) == (0, ["went on"])
    assert world.errors == []


@pytest.mark.parametrize("cleans_up", [False, True])
async def test_a_turn_of_a_task_of_asyncio_that_takes_too_long_is_ended(
    world: World, autojump_clock: MockClock, cleans_up: bool
) -> None:
    async def hold(log: Log) -> str:
        try:
            async with log:
                log.number = 1
                try:
                    await asyncio.sleep(1000)
                finally:
                    if cleans_up:
                        await asyncio.sleep(1)
        except TurnTimeoutError as error:
            task = asyncio.current_task()
            assert task is not None
            assert task.cancelling() == 0
            await asyncio.sleep(1)  # it is not cancelled any more
            return str(error)
        raise AssertionError

    async def code(log: Log) -> None:
        text = await asyncio.create_task(hold(log), name="slow one")
        async with log:
            log.note(text)

    await world.run("task", code)
    await world.end()
    assert world.errors == []
    [line] = (await world.state()).lines
    assert "slow one" in line
    assert "longer than 50 s" in line


async def test_writing_when_the_turn_took_too_long_is_told_as_that(
    world: World, autojump_clock: MockClock
) -> None:
    async def hold(log: Log) -> None:
        async with log:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(1000)
            log.number = 1

    async def code(log: Log) -> None:
        with pytest.raises(TurnTimeoutError):
            await asyncio.create_task(hold(log))

    await world.run("task", code)
    await world.end()
    assert world.errors == []
    assert (await world.state()).number == 0


@pytest.mark.parametrize("make_store", [MemoryStore, WrappedStore])
async def test_a_block_that_ends_in_peace_when_its_turn_took_too_long_is_undone_and_told(
    autojump_clock: MockClock, make_store: Callable[[], Any]
) -> None:
    async def hold(log: Log) -> None:
        async with log:
            log.number = 1
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(1000)

    async def code(log: Log) -> None:
        with pytest.raises(TurnTimeoutError):
            await asyncio.create_task(hold(log))

    errors: list[Any] = []
    async with App(
        root=Root,
        asyncio=True,
        turn_timeout=50,
        store=make_store(),
        on_error=lambda *told: errors.append(told),
    ) as app:
        world = World(app, errors)
        await world.run("task", code)
        await world.end()
        assert (await world.state()).number == 0
    assert errors == []


# ---- cancellation, from asyncio to trio ----------------------------------------------------------


async def test_a_timeout_of_asyncio_ends_what_waits_in_trio_and_the_handler_goes_on(
    world: World,
    autojump_clock: MockClock,
) -> None:
    async def code(log: Log) -> None:
        for sleep in (trio.sleep, asyncio.sleep):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1):
                    await sleep(100)
        await trio.sleep(1)
        await asyncio.sleep(1)
        async with asyncio.timeout(10):
            await trio.sleep(1)
        log.note(f"{trio.current_time() - started}")

    started = trio.current_time()
    await world.run("event", code)
    assert world.errors == []
    assert [float(line) for line in (await world.state()).lines] == [pytest.approx(5)]


@pytest.mark.parametrize("kind", ["event", "task"])
async def test_a_timeout_of_asyncio_ends_the_tasks_of_a_nursery(
    world: World, autojump_clock: MockClock, kind: str
) -> None:
    ended: list[float] = []

    async def code(_: Log) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(trio.sleep, 5)
                await asyncio.sleep(5)
        ended.append(trio.current_time())

    began = trio.current_time()
    await world.run(kind, code)
    await world.end()
    assert ended == [began + 1]


async def test_a_timeout_of_asyncio_around_a_block_that_waits_for_its_turn(
    world: World, autojump_clock: MockClock
) -> None:
    async def code(log: Log) -> None:
        await asyncio.sleep(1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1), log:
                log.number = 1
        await asyncio.sleep(10)
        async with asyncio.timeout(1), log:
            log.number = 2

    await world.task(code)
    async with world.app.modify_state(TOKEN):
        await trio.sleep(5)
    await world.end()
    assert world.errors == []
    assert (await world.state()).number == 2


async def test_a_task_of_asyncio_that_is_cancelled_in_its_block_undoes_it(
    world: World, autojump_clock: MockClock
) -> None:
    async def code(log: Log) -> None:
        task = asyncio.create_task(_add(log, 100))
        await asyncio.sleep(1)
        assert log.number == 0
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await _add(log)

    await world.run("task", code)
    await world.end()
    assert world.errors == []
    assert (await world.state()).number == 10


class SlowStore(WrappedStore):
    async def commit(self, lease: Any, commit: Any) -> None:
        await trio.lowlevel.checkpoint()
        await super().commit(lease, commit)
        await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("new_store", [MemoryStore, SlowStore])
async def test_a_task_of_asyncio_cancelled_at_any_step_leaves_all_or_nothing(
    new_store: Callable[[], Any], autojump_clock: MockClock
) -> None:
    """The task is cancelled after each number of steps that its loop may have done, in turn."""
    outcomes = [await _cancel_after(steps, new_store()) for steps in range(60)]
    assert outcomes[0] == 0
    assert outcomes[-1] == 2


async def _cancel_after(steps: int, store: Any) -> int:
    async def add(log: Log) -> str:
        async with log:
            log.number += 1
            await asyncio.sleep(0)
            log.number += 1
        return "left"

    async def code(log: Log) -> None:
        task = asyncio.create_task(add(log))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        [result] = await asyncio.gather(task, return_exceptions=True)
        async with log:
            log.note(str(result))
        scope = current_run.get().scope
        assert scope is not None
        assert scope._open_turns == 0

    errors: list[Any] = []
    app = App(root=Root, asyncio=True, store=store, on_error=lambda *told: errors.append(told))
    async with app:
        world = World(app, errors)
        await world.run("task", code)
        await world.end()
        assert errors == []
        state = await world.state()
    assert state.number in (0, 2)
    assert state.number == 2 or state.lines != ["left"]
    return state.number


# ---- leaving the app -----------------------------------------------------------------------------


async def test_leaving_the_app_ends_tasks_of_asyncio_but_not_in_a_block(
    autojump_clock: MockClock,
) -> None:
    seen: list[str] = []

    async def add_twice(log: Log) -> None:
        try:
            await _add(log, 5)
            seen.append("came to its end")
            await asyncio.sleep(0)
            await _add(log, 5)
            seen.append("and began another")
        finally:
            seen.append("ended")

    async def sleep() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            seen.append("slept")

    def code(log: Log) -> None:
        seen_tasks.extend([asyncio.create_task(add_twice(log)), asyncio.create_task(sleep())])
        for task in seen_tasks:  # else asyncio says at some time that nobody has looked
            task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())

    seen_tasks: list[asyncio.Task[None]] = []
    store = WrappedStore()
    async with App(root=Root, store=store, asyncio=True) as app:
        await World(app, []).run("plain", code)
        await trio.sleep(1)
        left = trio.current_time()
    assert trio.current_time() - left == pytest.approx(4)
    assert sorted(seen) == ["came to its end", "ended", "slept"]
    assert all(task.done() for task in seen_tasks)
    snapshot = await store.peek(TOKEN)
    assert snapshot is not None
    assert snapshot.values["root.log"]["number"] == 10


async def test_leaving_the_app_does_not_wait_for_ever_for_a_turn_of_asyncio(
    autojump_clock: MockClock,
) -> None:
    def code(log: Log) -> None:
        tasks.append(asyncio.create_task(_add(log, 1000)))

    tasks: list[asyncio.Task[None]] = []
    store = WrappedStore()
    async with App(root=Root, store=store, asyncio=True, shutdown_timeout=3) as app:
        await World(app, []).run("plain", code)
        await trio.sleep(1)
        left = trio.current_time()
    assert trio.current_time() - left == pytest.approx(3)
    assert tasks[0].cancelled()
    assert await store.peek(TOKEN) is None


async def test_what_the_block_of_the_app_raises_leaves_it_as_it_is() -> None:
    with pytest.raises(KeyError, match="'planned'"):
        async with App(root=Root, asyncio=True):
            raise KeyError("planned")


async def test_an_app_that_is_cancelled_ends_with_its_loop(autojump_clock: MockClock) -> None:
    def code(log: Log) -> None:
        tasks.append(asyncio.create_task(_add(log, 1000)))

    tasks: list[asyncio.Task[None]] = []
    with trio.move_on_after(1) as scope:
        async with App(root=Root, asyncio=True) as app:
            await World(app, []).run("plain", code)
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert trio.current_time() == pytest.approx(1)
    assert tasks[0].cancelled()


async def test_generators_that_tasks_left_half_way_do_not_keep_the_app_from_ending(
    autojump_clock: MockClock,
) -> None:
    async def count() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            closed.append("closed")

    async def take_one() -> None:
        kept.append(count())
        await anext(kept[0])

    async def code(log: Log) -> None:
        await asyncio.create_task(take_one())

    kept: list[AsyncIterator[int]] = []
    closed: list[str] = []
    with trio.fail_after(100):
        async with App(root=Root, asyncio=True) as app:
            await World(app, []).run("event", code)
    assert closed == ["closed"]


async def test_two_apps_have_a_loop_each(autojump_clock: MockClock) -> None:
    loops: list[asyncio.AbstractEventLoop] = []

    async def code(log: Log) -> None:
        loops.append(asyncio.get_running_loop())
        await asyncio.sleep(1)

    async with App(root=Root, asyncio=True) as one, App(root=Root, asyncio=True) as other:
        for app in (one, other, one):
            await World(app, []).run("event", code)
    assert loops[0] is loops[2]
    assert loops[0] is not loops[1]


# ---- without asyncio -----------------------------------------------------------------------------


def _asyncio_mistakes() -> list[Callable[[], Awaitable[Any]]]:
    return [
        lambda: asyncio.sleep(1),
        lambda: asyncio.sleep(0),
        asyncio.Event().wait,
        lambda: asyncio.to_thread(print),
        lambda: asyncio.open_connection("127.0.0.1", 1),
        lambda: asyncio.get_running_loop().create_future(),
    ]


@pytest.mark.parametrize("mistake", range(len(_asyncio_mistakes())))
@pytest.mark.parametrize("kind", ["event", "task", "plain", "own"])
async def test_asyncio_without_support_says_what_to_install_and_what_to_set(
    kind: str, mistake: int, caplog: pytest.LogCaptureFixture
) -> None:
    errors: list[BaseException] = []
    async with App(root=Root, on_error=lambda error, _: errors.append(error)) as app:

        async def code(log: Log | None = None) -> None:
            await _asyncio_mistakes()[mistake]()

        def plain(log: Log) -> None:
            asyncio.get_running_loop()

        if kind == "own":
            app.start_soon(code)
        else:
            await World(app, []).run(kind, plain if kind == "plain" else code)
        await wait_all_tasks_blocked()
    [error] = errors
    [note] = error.__notes__
    assert "actorstate[asyncio]" in note
    assert "App(asyncio=True)" in note
    assert note in caplog.text


async def test_another_error_gets_no_advice_about_asyncio() -> None:
    async def code(log: Log) -> None:
        raise RuntimeError("of another kind")

    errors: list[BaseException] = []
    async with App(root=Root, on_error=lambda error, _: errors.append(error)) as app:
        await World(app, []).run("event", code)
    assert not hasattr(errors[0], "__notes__")


_WITHOUT = """
import sys
sys.modules["trio_asyncio"] = None  # as if it were not installed
import trio, actorstate
class Mine(actorstate.State, root=True):
    number: int = 0
async def main():
    async with actorstate.App(root=Mine) as app, app.modify_state("a") as state:
        state.number += 1
trio.run(main)
try:
    actorstate.App(root=Mine, asyncio=True)
except ModuleNotFoundError as error:
    print(error)
"""


def test_the_library_works_without_trio_asyncio_and_says_what_it_is_for() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == (
        "App(asyncio=True) needs trio-asyncio; install the extra actorstate[asyncio]"
    )


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
