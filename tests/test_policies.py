"""What becomes of background tasks beside others, without pages, after their end; and hooks."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any, ClassVar

import pytest
import trio
from clients import Client
from stores import WrappedStore
from trio.testing import MockClock, wait_all_tasks_blocked

from actorstate import (
    App,
    ErrorContext,
    State,
    TooManyTasksError,
    background,
    computed,
    console_log,
    event,
)
from actorstate.actors.messages import Attach, Detach, Event
from actorstate.state.commit import Commit
from actorstate.state.handlers import Invocation, as_invocation
from actorstate.state.snapshot import Snapshot, TaskRecord
from actorstate.stores.base import Store

TOKEN = "tab"  # noqa: S105 - a name, to the library


class Root(State, root=True):
    pass


class Working(Root):
    ran: ClassVar[list[str]]
    log: list[str] = []

    async def _work(self, name: str, seconds: float = 2) -> None:
        self.ran.append(f"{name} begins")
        try:
            await trio.sleep(seconds)
            async with self:
                self.log.append(name)
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(0.5)
            self.ran.append(f"{name} ends")

    @background
    async def allow(self, name: str) -> None:
        await self._work(name)

    @background(overlap="skip")
    async def skip(self, name: str) -> None:
        await self._work(name)

    @background(overlap="replace")
    async def replace(self, name: str) -> None:
        await self._work(name)

    @background(overlap="queue")
    async def queue(self, name: str) -> None:
        await self._work(name)

    @background(on_disconnect="cancel")
    async def while_seen(self, name: str) -> None:
        await self._work(name, 100)

    @background(on_disconnect="cancel", overlap="queue")
    async def queue_while_seen(self, name: str) -> None:
        await self._work(name, 100)

    @background
    async def prepare(self) -> Any:
        await trio.sleep(10)
        return [Working.while_seen("late"), Working.resume_while_seen("late")]  # pyright: ignore

    @background(on_disconnect="cancel", resume=True)
    async def resume_while_seen(self, name: str) -> None:
        await self._work(name, 100)

    @background
    async def whatever(self, name: str) -> None:
        await self._work(name, 100)

    @background(resume=True)
    async def resume(self, name: str, seconds: float = 2) -> None:
        await self._work(name, seconds)

    @background(resume=True, overlap="queue")
    async def resume_in_order(self, names: list[str]) -> None:
        names.append("changed while it runs")
        await self._work(names[0])

    @background(resume=True, overlap="replace")
    async def resume_newest(self, name: str) -> None:
        await self._work(name)

    @background(resume=True)
    async def resume_in_a_block(self) -> None:
        async with self:
            await trio.sleep(2)
        await trio.sleep(100)

    @background(resume=True)
    async def resume_and_fail(self) -> None:
        raise ValueError("at once")

    def trigger_and_fail(self) -> Any:
        return [Working.resume("triggered"), Working.resume(3)]  # pyright: ignore

    def trigger_many(self, count: int) -> Any:
        return [Working.allow(str(number)) for number in range(count)]  # pyright: ignore

    def trigger(self, name: str) -> Any:
        self.log.append(f"{name} triggered")
        return Working.resume(name, 5)

    async def dawdle(self, seconds: float, cancels: bool = False) -> Any:
        await trio.sleep(seconds)
        return [Working.pass_on] if cancels else None

    def pass_on(self) -> Any:
        return Working.resume_in_order.cancel

    def cancel_both(self) -> Any:
        return [Working.queue.cancel, Working.allow.cancel]


class Connected(Root):
    log: list[str] = []

    def on_connect(self) -> None:
        self.log.append(self.router.path)

    def write(self) -> None:
        self.log.append("written")


class HookRoot(State, root=True):
    pass


class Hooked(HookRoot):
    log: list[str] = []

    def on_connect(self) -> Any:
        self.log.append(f"connect {self.router.path}")
        return console_log("hello")

    async def on_disconnect(self) -> None:
        await trio.sleep(1)
        self.log.append("disconnect")

    def load(self, what: str) -> None:
        self.log.append(f"load {what}")

    def write(self, what: str) -> None:
        self.log.append(what)

    @background
    async def load_later(self) -> None:
        async with self:
            self.log.append("load later")


class HookedBelow(Hooked):
    ticks: int = 0

    @background(on_disconnect="cancel")
    async def on_connect(self) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        while True:
            await trio.sleep(1)
            async with self:
                self.ticks += 1


class Failing(Root):
    errors: list[str] = []

    async def on_background_error(self, error: BaseException) -> Any:
        await trio.lowlevel.checkpoint()
        self.errors.append(str(error))
        return console_log("failed")

    @background
    async def fail(self, text: str) -> None:
        async with self:
            self.errors.append("undone")
            raise ValueError(text)

    @background
    async def exit(self) -> None:
        raise SystemExit(3)


class FailingBelow(Failing):
    @background
    async def fail_below(self) -> None:
        raise ValueError("below")


class FailingTwice(Root):
    def on_background_error(self, error: BaseException) -> None:
        raise KeyError("the hook") from error

    @background
    async def fail(self) -> None:
        raise ValueError("the task")

    def fail_as_handler(self) -> None:
        raise ValueError("the handler")

    @event(thread=True)
    def fail_in_thread(self) -> None:
        raise ValueError("the thread")


class FlakyStore(WrappedStore):
    error: Exception | None = None

    async def commit(self, lease: Any, commit: Commit) -> None:
        if self.error is not None:
            raise self.error
        await super().commit(lease, commit)


class ShownRoot(State, root=True):
    pass


class Shown(ShownRoot):
    gone: ClassVar[list[float]] = []

    @computed
    def where(self) -> str:
        return self.router.path

    def on_disconnect(self) -> None:
        self.gone.append(trio.current_time())


Told = list[tuple[BaseException, ErrorContext]]


@pytest.fixture
def told() -> Told:
    return []


@pytest.fixture
def store() -> FlakyStore:
    return FlakyStore()


@pytest.fixture
async def app(told: Told, store: FlakyStore) -> AsyncIterator[App]:
    Working.ran = []
    async with App(
        root=Root,
        store=store,
        max_tasks=4,
        on_error=lambda error, context: told.append((error, context)),
    ) as app:
        yield app


def join(app: App, instance: str = "page", *on_load: Any) -> Client:
    client = Client(instance)
    invocations = tuple(as_invocation(one).complete() for one in on_load)
    app.directory.ref(TOKEN).tell(Attach(client, invocations))
    return client


def leave(app: App, client: Client) -> None:
    app.directory.ref(TOKEN).tell(Detach(client))


async def fire(app: App, handler: Any, *args: Any, seq: int | None = None) -> None:
    name = as_invocation(handler).name
    await app.directory.ref(TOKEN).ask(Event(name, list(args), seq, "page"), block=False)


async def end_of_tasks(app: App) -> None:
    await wait_all_tasks_blocked()
    while app.background_tasks:
        await next(iter(app.background_tasks)).wait()
        await wait_all_tasks_blocked()  # the one that waited for it begins


async def log_of(app: App) -> list[str]:
    async with app.modify_state(TOKEN) as state:
        return list(state.get_substate(Working).log)


def began() -> list[str]:
    return [entry.removesuffix(" begins") for entry in Working.ran if entry.endswith("begins")]


# ---- overlap ------------------------------------------------------------------------------------


async def test_allow_runs_them_side_by_side(app: App, autojump_clock: MockClock) -> None:
    for name in "abc":
        await fire(app, Working.allow, name)
    assert len(app.background_tasks) == 3
    await end_of_tasks(app)
    assert sorted(await log_of(app)) == ["a", "b", "c"]
    assert sorted(Working.ran[:3]) == ["a begins", "b begins", "c begins"]


async def test_skip_lets_the_running_one_run_and_drops_the_others(
    app: App, autojump_clock: MockClock
) -> None:
    client = join(app)
    await fire(app, Working.skip, "a", seq=1)
    await fire(app, Working.skip, "b", seq=2)
    assert (client.ack, client.failures) == (2, [])
    await end_of_tasks(app)
    await fire(app, Working.skip, "c")
    await end_of_tasks(app)
    assert Working.ran == ["a begins", "a ends", "c begins", "c ends"]


async def test_replace_cancels_the_running_one_and_begins_when_that_has_ended(
    app: App, autojump_clock: MockClock
) -> None:
    for name in "abc":
        await fire(app, Working.replace, name)
        await trio.sleep(0.1)
    await end_of_tasks(app)
    assert Working.ran == ["a begins", "a ends", "c begins", "c ends"]
    assert await log_of(app) == ["c"]


async def test_queue_runs_them_one_after_the_other_in_order(
    app: App, autojump_clock: MockClock
) -> None:
    for name in "abc":
        await fire(app, Working.queue, name)
    assert [task.arguments for task in app.background_tasks] == [("a",)]
    await end_of_tasks(app)
    assert await log_of(app) == ["a", "b", "c"]
    assert [entry.partition(" ")[0] for entry in Working.ran] == list("aabbcc")


async def test_overlap_is_between_tasks_of_one_handler_of_one_token(
    app: App, autojump_clock: MockClock
) -> None:
    await fire(app, Working.queue, "a")
    await fire(app, Working.skip, "b")
    other = Event(as_invocation(Working.queue).name, ["c"])
    await app.directory.ref("other").ask(other, block=False)
    await wait_all_tasks_blocked()
    assert sorted(began()) == ["a", "b", "c"]


async def test_a_task_that_raises_or_is_cancelled_lets_the_next_one_begin(
    app: App, autojump_clock: MockClock
) -> None:
    await fire(app, Working.queue, "a")
    await fire(app, Working.queue, "b")
    next(iter(app.background_tasks)).cancel()
    await end_of_tasks(app)
    assert await log_of(app) == ["b"]


# ---- how many -----------------------------------------------------------------------------------


async def test_beyond_max_tasks_one_is_not_started_and_its_page_is_told(
    app: App, told: Told, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    client = join(app)
    for seq, name in enumerate("abcde", 1):
        await fire(app, Working.allow, name, seq=seq)
    assert len(app.background_tasks) == 4
    [failure] = client.failures
    assert (failure.code, failure.seq) == ("too_many_tasks", 5)
    assert failure.message == "root.working.allow was not started: too many run"
    assert client.ack == 5
    [(error, context)] = told
    assert isinstance(error, TooManyTasksError)
    assert (context.during, context.name, context.arguments) == (
        "background task", "Working.allow", ("e",),
    )  # fmt: skip
    assert "Working.allow was not started: its token has 4 background tasks" in caplog.text
    await end_of_tasks(app)
    await fire(app, Working.allow, "f", seq=6)
    await end_of_tasks(app)
    assert sorted(await log_of(app)) == ["a", "b", "c", "d", "f"]


async def test_a_page_is_told_also_if_its_event_has_triggered_the_one_too_many(
    app: App, autojump_clock: MockClock
) -> None:
    client, other = join(app), join(app, "other")
    await fire(app, Working.trigger_many, 6, seq=1)
    await wait_all_tasks_blocked()
    assert [(failure.code, failure.seq) for failure in client.failures] == [
        ("too_many_tasks", None), ("too_many_tasks", None),
    ]  # fmt: skip
    assert client.ack == 1
    assert other.failures == []


async def test_those_that_wait_count_and_one_that_replaces_does_not(
    app: App, told: Told, autojump_clock: MockClock
) -> None:
    for name in "abc":
        await fire(app, Working.queue, name)
    await fire(app, Working.replace, "d")
    await fire(app, Working.replace, "e")
    assert told == []
    await fire(app, Working.queue, "f")
    assert [type(error) for error, _ in told] == [TooManyTasksError]
    await end_of_tasks(app)
    assert sorted(await log_of(app)) == ["a", "b", "c", "e"]


# ---- cancellation as an event -------------------------------------------------------------------


async def test_cancel_is_an_event_for_all_that_run_and_wait(
    app: App, autojump_clock: MockClock
) -> None:
    client = join(app)
    for name in "abc":
        await fire(app, Working.queue, name)
    await fire(app, Working.allow, "d")
    await fire(app, Working.queue.cancel, seq=1)
    assert client.ack == 1
    await end_of_tasks(app)
    assert await log_of(app) == ["d"]
    assert sorted(began()) == ["a", "d"]


async def test_a_handler_may_return_cancellations(app: App, autojump_clock: MockClock) -> None:
    await fire(app, Working.queue, "a")
    await fire(app, Working.allow, "b")
    await fire(app, Working.cancel_both)
    await end_of_tasks(app)
    assert await log_of(app) == []


async def test_cancelling_what_does_not_run_is_no_failure(app: App) -> None:
    client = join(app)
    await fire(app, Working.allow.cancel, seq=1)
    assert (client.ack, client.failures) == (1, [])


# ---- pages that leave ---------------------------------------------------------------------------


async def test_a_task_for_those_who_look_on_is_cancelled_when_nobody_does(
    app: App, autojump_clock: MockClock
) -> None:
    client = join(app)
    await fire(app, Working.while_seen, "a")
    await fire(app, Working.queue_while_seen, "b")
    await fire(app, Working.queue_while_seen, "c")
    await fire(app, Working.whatever, "d")
    leave(app, client)
    await trio.sleep(4.9)
    assert len(app.background_tasks) == 3
    await trio.sleep(1)
    assert [task.arguments for task in app.background_tasks] == [("d",)]
    assert sorted(began()) == ["a", "b", "d"]


async def test_a_tab_that_comes_back_within_the_grace_was_never_gone(
    app: App, autojump_clock: MockClock
) -> None:
    client = join(app)
    await fire(app, Working.while_seen, "a")
    for _ in range(5):
        leave(app, client)
        await trio.sleep(4)
        client = join(app)
        await trio.sleep(2)
    assert len(app.background_tasks) == 1
    async with app.modify_state(TOKEN) as state:
        assert state.get_substate(Connected).log == ["/page"]


async def test_a_task_for_those_who_look_on_does_not_begin_when_nobody_does(
    app: App, store: FlakyStore, autojump_clock: MockClock
) -> None:
    client = join(app)
    await fire(app, Working.prepare)
    leave(app, client)
    await trio.sleep(20)
    assert app.background_tasks == set()
    assert await records(store) == []
    join(app)
    await fire(app, Working.while_seen, "a")
    assert len(app.background_tasks) == 1


async def test_a_task_that_is_resumed_for_a_page_that_does_not_come_is_cancelled(
    store: FlakyStore, autojump_clock: MockClock
) -> None:
    Working.ran = []
    async with App(root=Root, store=store) as app:
        join(app)
        await fire(app, Working.resume_while_seen, "a")
        await wait_all_tasks_blocked()
    async with App(root=Root, store=store) as app:
        app.directory.ref(TOKEN)
        await trio.sleep(1)
        assert len(app.background_tasks) == 1
        await trio.sleep(10)
        assert app.background_tasks == set()
        async with app.modify_state(TOKEN) as state:
            assert state.get_substate(Connected).log == ["/page"]
    assert await records(store) == []


async def test_another_page_of_the_tab_is_enough_to_keep_it_connected(
    app: App, autojump_clock: MockClock
) -> None:
    client, _ = join(app), join(app, "another")
    await fire(app, Working.while_seen, "a")
    leave(app, client)
    await trio.sleep(20)
    assert len(app.background_tasks) == 1


async def test_a_token_that_never_had_a_page_is_not_disconnected(
    app: App, autojump_clock: MockClock
) -> None:
    await fire(app, Working.while_seen, "a")
    await trio.sleep(20)
    assert len(app.background_tasks) == 1


async def test_a_page_that_comes_while_its_absence_is_being_noticed_is_in_time(
    app: App, autojump_clock: MockClock
) -> None:
    client = join(app)
    await fire(app, Working.while_seen, "a")
    leave(app, client)
    await trio.sleep(4)
    async with app.modify_state(TOKEN):  # nothing is noticed meanwhile
        join(app)
        await trio.sleep(4)
    await wait_all_tasks_blocked()
    assert len(app.background_tasks) == 1
    async with app.modify_state(TOKEN) as state:
        assert state.get_substate(Connected).log == ["/page"]


# ---- hooks --------------------------------------------------------------------------------------


@pytest.fixture
async def hooked() -> AsyncIterator[App]:
    async with App(root=HookRoot) as app:
        yield app


async def test_on_connect_and_on_disconnect_run_as_turns(
    hooked: App, autojump_clock: MockClock
) -> None:
    app = hooked
    client = join(app)
    await wait_all_tasks_blocked()
    assert client.state["hook_root.hooked"]["log"] == ["connect /page"]
    assert [effect.args["value"] for effect in client.effects] == ["hello"]
    await trio.sleep(3.5)
    leave(app, client)
    await trio.sleep(7)
    again = join(app, "another")
    await wait_all_tasks_blocked()
    assert again.state["hook_root.hooked"]["log"] == [
        "connect /page", "disconnect", "connect /another",
    ]  # fmt: skip
    # It ticked until nobody had been there for five seconds, and ticks again.
    assert again.state["hook_root.hooked.hooked_below"]["ticks"] == 8
    await trio.sleep(1.5)
    assert again.state["hook_root.hooked.hooked_below"]["ticks"] == 9


async def test_on_load_runs_once_for_each_page_load_after_the_welcome_and_before_its_events(
    hooked: App, autojump_clock: MockClock
) -> None:
    app = hooked
    client = join(app, "page", Hooked.load("orders"), Hooked.load_later)  # pyright: ignore
    app.directory.ref(TOKEN).tell(Event("hook_root.hooked.write", ["event"], 1, "page"))
    await wait_all_tasks_blocked()
    assert client.state["hook_root.hooked"]["log"] == [
        "connect /page", "load orders", "event", "load later",
    ]  # fmt: skip
    leave(app, client)
    client = join(app, "page", Hooked.load("orders"))  # pyright: ignore
    reloaded = join(app, "reloaded", Hooked.load("again"))  # pyright: ignore
    await wait_all_tasks_blocked()
    assert reloaded.state["hook_root.hooked"]["log"][4:] == ["load again"]
    assert client.state == reloaded.state


def test_hooks_cannot_be_reached_from_a_browser() -> None:
    assert "on_connect" not in Hooked.definition().handlers
    assert isinstance(as_invocation(Hooked.load), Invocation)


# ---- errors -------------------------------------------------------------------------------------


async def test_on_background_error_is_a_turn_of_the_state_that_has_it(
    app: App, told: Told, caplog: pytest.LogCaptureFixture
) -> None:
    client = join(app)
    await fire(app, Failing.fail, "first")
    await end_of_tasks(app)
    await fire(app, FailingBelow.fail_below)
    await end_of_tasks(app)
    await fire(app, Failing.exit)
    await end_of_tasks(app)
    assert client.state["root.failing"]["errors"] == ["first", "below", "3"]
    assert [effect.args["value"] for effect in client.effects] == ["failed"] * 3
    assert [(str(error), context.name) for error, context in told] == [
        ("first", "Failing.fail"), ("below", "FailingBelow.fail_below"), ("3", "Failing.exit"),
    ]  # fmt: skip
    assert {context.during for _, context in told} == {"background task"}
    assert "background task Failing.fail of token tab failed" in caplog.text


async def test_a_hook_that_raises_ends_there(app: App, told: Told) -> None:
    await fire(app, FailingTwice.fail)
    await end_of_tasks(app)
    assert [(type(error), context.name) for error, context in told] == [
        (ValueError, "FailingTwice.fail"), (KeyError, "FailingTwice.on_background_error"),
    ]  # fmt: skip


async def test_on_error_is_told_of_handlers_and_of_tasks_of_ones_own(app: App, told: Told) -> None:
    async def fail() -> None:
        raise KeyError("own")

    join(app)
    await fire(app, FailingTwice.fail_as_handler, seq=1)
    await fire(app, FailingTwice.fail_in_thread, seq=2)
    app.start_soon(fail)
    await wait_all_tasks_blocked()
    assert [(context.during, str(error)) for error, context in told] == [
        ("handler", "the handler"), ("handler", "the thread"), ("task", "'own'"),
    ]  # fmt: skip
    assert told[0][1] == ErrorContext("handler", "FailingTwice.fail_as_handler", TOKEN, ())


@pytest.mark.parametrize("is_async", [False, True])
async def test_on_error_that_exits_ends_nothing(is_async: bool) -> None:
    def exit_at_once(error: BaseException, context: ErrorContext) -> None:
        raise SystemExit(1)

    async def exit_later(error: BaseException, context: ErrorContext) -> None:
        raise SystemExit(1)

    async with App(root=Root, on_error=exit_later if is_async else exit_at_once) as app:
        client = join(app)
        for _ in range(2):
            await fire(app, FailingTwice.fail_as_handler)
            await wait_all_tasks_blocked()
        assert not client.closed


async def test_on_error_may_be_async_and_may_fail(caplog: pytest.LogCaptureFixture) -> None:
    told: list[str] = []

    async def on_error(error: BaseException, context: ErrorContext) -> None:
        await trio.lowlevel.checkpoint()
        told.append(str(error))
        raise KeyError("async on_error")

    async with App(root=Root, on_error=on_error) as app:
        await fire(app, FailingTwice.fail_as_handler)
        await wait_all_tasks_blocked()
        await fire(app, FailingTwice.fail_as_handler)
    assert told[0] == "the handler"
    assert "on_error failed when it was told of ValueError('the handler')" in caplog.text

    def fail_at_once(error: BaseException, context: ErrorContext) -> None:
        raise KeyError("plain on_error")

    async with App(root=Root, on_error=fail_at_once) as app:
        await fire(app, FailingTwice.fail_as_handler)
    assert "plain on_error" in caplog.text


# ---- resume -------------------------------------------------------------------------------------


async def records(store: Store) -> list[tuple[str, Any]]:
    snapshot = await store.peek(TOKEN)
    return [(task.name, list(task.args)) for task in (snapshot.tasks if snapshot else ())]


async def test_a_running_task_is_in_the_snapshot_until_it_has_ended(
    app: App, store: FlakyStore, autojump_clock: MockClock
) -> None:
    client = join(app)
    await fire(app, Working.resume, "a", seq=1)
    assert await records(store) == [("root.working.resume", ["a", 2.0])]
    await fire(app, Working.allow, "b")
    assert client.ack == 1
    await end_of_tasks(app)
    assert await records(store) == []
    assert json.dumps(await records(store))


@pytest.mark.parametrize("how", ["cancel", "stop", "event", "raise"])
async def test_a_task_that_ended_in_any_way_is_not_resumed(
    app: App, store: FlakyStore, autojump_clock: MockClock, how: str
) -> None:
    if how == "raise":
        await fire(app, Working.resume_and_fail)
    else:
        await fire(app, Working.resume, "a", 100.0)
        assert len(await records(store)) == 1
        [task] = app.background_tasks
        {"cancel": task.cancel, "stop": task.stop}.get(how, lambda: None)()
        if how == "event":
            await fire(app, Working.resume.cancel)
    await end_of_tasks(app)
    assert await records(store) == []


async def test_what_ran_when_the_app_was_left_runs_again_with_its_arguments_as_they_were(
    store: FlakyStore, autojump_clock: MockClock
) -> None:
    Working.ran = []
    async with App(root=Root, store=store) as app:
        await fire(app, Working.resume, "a", 5.0)
        await fire(app, Working.resume_in_order, ["b"])
        await fire(app, Working.resume_in_order, ["c"])
        await fire(app, Working.whatever, "d")
        await trio.sleep(1)
    assert [name for name, _ in await records(store)] == [
        "root.working.resume", "root.working.resume_in_order", "root.working.resume_in_order",
    ]  # fmt: skip
    Working.ran = []
    async with App(root=Root, store=store) as app:
        await fire(app, Working.allow.cancel)  # brings the token to life
        assert len(app.background_tasks) == 2
        await end_of_tasks(app)
        assert sorted(await log_of(app)) == ["a", "b", "c"]
        assert sorted(began()) == ["a", "b", "c"]
    assert await records(store) == []


@pytest.mark.parametrize("seconds", [1, 3])
async def test_one_that_would_replace_another_replaces_nothing_while_the_app_is_left(
    store: FlakyStore, autojump_clock: MockClock, seconds: float
) -> None:
    async with App(root=Root, store=store) as app:
        await fire(app, Working.resume_newest, "a")
        app.directory.ref(TOKEN).tell(Event("root.working.dawdle", [seconds]))
        app.directory.ref(TOKEN).tell(Event("root.working.resume_newest", ["b"]))
    assert [args for _, args in await records(store)] == [["a"], ["b"]]
    Working.ran = []
    async with App(root=Root, store=store) as app:
        await fire(app, Working.allow.cancel)  # brings the token to life
        await end_of_tasks(app)
        assert began() == ["b"]
    assert await records(store) == []


async def test_one_that_was_stopped_in_its_block_is_not_resumed(
    store: FlakyStore, autojump_clock: MockClock
) -> None:
    async with App(root=Root, store=store) as app:
        await fire(app, Working.resume_in_a_block)
        await trio.sleep(1)
        [task] = app.background_tasks
        task.stop()
    assert await records(store) == []


async def test_one_that_waits_is_cancelled_also_while_the_app_is_left(
    store: FlakyStore, autojump_clock: MockClock
) -> None:
    async with App(root=Root, store=store) as app:
        await fire(app, Working.resume_in_order, ["a"])
        await fire(app, Working.resume_in_order, ["b"])
        app.directory.ref(TOKEN).tell(Event("root.working.dawdle", [3, True]))
    assert await records(store) == []


async def test_what_a_turn_triggers_is_in_the_snapshot_with_that_turn() -> None:
    seen: list[Commit] = []

    class Recording(WrappedStore):
        async def commit(self, lease: Any, commit: Commit) -> None:
            seen.append(commit)
            await super().commit(lease, commit)

    Working.ran = []
    async with App(root=Root, store=Recording(), shutdown_timeout=0) as app:
        await fire(app, Working.trigger, "a")
    first = seen[0]
    assert first.version == 1
    assert first.operations
    assert [task.args for task in first.tasks or ()] == [("a", 5.0)]
    assert len(seen) == 1  # its start had nothing to add


async def test_a_turn_that_is_undone_triggers_nothing_and_leaves_no_record(
    app: App, store: FlakyStore, autojump_clock: MockClock
) -> None:
    await fire(app, Working.trigger_and_fail)
    store.error = OSError("full")
    await fire(app, Working.trigger, "a")
    store.error = None
    await fire(app, Connected.write)
    await wait_all_tasks_blocked()
    assert await records(store) == []
    assert began() == []


async def test_so_it_is_in_a_store_that_never_waits() -> None:
    class Failing(WrappedStore):
        error: Exception | None = None

        def commit_now(self, lease: Any, commit: Commit) -> None:
            if self.error is not None:
                raise self.error
            self.inner.commit_now(lease, commit)

    failing = Failing()
    failing.error = OSError("full")
    async with App(root=Root, store=failing) as app:
        await fire(app, Working.trigger, "a")
        failing.error = None
        await fire(app, Connected.write)
        assert await records(failing) == []


async def test_a_task_whose_record_cannot_be_stored_is_not_begun(
    app: App, store: FlakyStore, told: Told
) -> None:
    client = join(app)
    await wait_all_tasks_blocked()
    store.error = OSError("full")
    await fire(app, Working.resume, "a", seq=1)
    assert [failure.code for failure in client.failures] == ["handler_failed"]
    assert [type(error) for error, _ in told] == [OSError]
    assert began() == []
    store.error = None
    await fire(app, Connected.write)
    assert await records(store) == []


async def test_an_end_that_cannot_be_stored_is_stored_with_the_next_commit(
    app: App, store: FlakyStore, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    await fire(app, Working.resume, "a")
    await trio.sleep(2.2)
    store.error = OSError("full")
    await end_of_tasks(app)
    store.error = None
    assert "token tab: the snapshot does not know yet what has ended" in caplog.text
    assert len(await records(store)) == 1
    await fire(app, Connected.write)
    assert await records(store) == []


@pytest.mark.parametrize("how", ["cancel", "replace", "event"])
async def test_a_task_that_still_cleans_up_when_the_app_is_left_was_cancelled_all_the_same(
    store: FlakyStore, autojump_clock: MockClock, how: str
) -> None:
    Working.ran = []
    async with App(root=Root, store=store) as app:
        await fire(app, Working.resume_newest, "a")
        [task] = app.background_tasks
        await wait_all_tasks_blocked()
        if how == "cancel":
            task.cancel()
        elif how == "replace":
            await fire(app, Working.resume_newest, "b")
        else:
            await fire(app, Working.resume_newest.cancel)
        await trio.sleep(0.1)
    kept = [("root.working.resume_newest", ["b"])] if how == "replace" else []
    assert await records(store) == kept


@pytest.mark.parametrize("how", ["replace", "event"])
async def test_who_was_told_that_a_task_is_cancelled_will_not_see_it_again_after_a_crash(
    app: App, store: FlakyStore, autojump_clock: MockClock, how: str
) -> None:
    await fire(app, Working.resume_newest, "a")
    await wait_all_tasks_blocked()
    await fire(app, Working.resume_newest, "b")
    if how == "event":
        await fire(app, Working.resume_newest.cancel)
    assert began() == ["a"]  # which still cleans up
    left = [("root.working.resume_newest", ["b"])] if how == "replace" else []
    assert await records(store) == left


async def test_a_task_that_is_cancelled_while_it_is_suspended_is_not_resumed(
    app: App, store: FlakyStore, autojump_clock: MockClock
) -> None:
    await fire(app, Working.resume, "a")
    await wait_all_tasks_blocked()
    [task] = app.background_tasks
    task.suspend()
    task.cancel()
    await end_of_tasks(app)
    assert await records(store) == []


async def test_a_task_that_is_refused_leaves_no_record(
    store: FlakyStore, autojump_clock: MockClock
) -> None:
    async with App(root=Root, store=store, max_tasks=0) as app:
        await fire(app, Working.trigger, "a")
        await wait_all_tasks_blocked()
        assert await records(store) == []


async def test_a_store_that_fails_when_tasks_are_cancelled_harms_nobody(
    app: App, store: FlakyStore, autojump_clock: MockClock
) -> None:
    client = join(app)
    for name in "ab":
        await fire(app, Working.resume_in_order, [name])
    store.error = OSError("full")
    cancel = as_invocation(Working.resume_in_order.cancel).name
    app.directory.ref(TOKEN).tell(Event(cancel, [], 1, "page"))
    await end_of_tasks(app)
    assert (client.ack, client.closed) == (1, False)
    store.error = None
    await fire(app, Connected.write)
    assert await records(store) == []


async def test_a_task_that_is_cancelled_with_the_app_while_a_commit_is_on_its_way_is_resumed(
    autojump_clock: MockClock,
) -> None:
    class Shielding(WrappedStore):
        seconds: float = 0

        async def commit(self, lease: Any, commit: Commit) -> None:
            with trio.CancelScope(shield=True):
                await trio.sleep(self.seconds)
                await super().commit(lease, commit)

    shielding, Working.ran = Shielding(), []
    with trio.move_on_after(1):
        async with App(root=Root, store=shielding) as app:
            await fire(app, Working.resume, "a", 100.0)
            shielding.seconds = 3
            app.directory.ref(TOKEN).tell(Event("root.connected.write"))
            await trio.sleep_forever()
    assert await records(shielding) == [("root.working.resume", ["a", 100.0])]


async def test_a_task_that_cannot_replace_another_leaves_it_alone(
    app: App, store: FlakyStore, autojump_clock: MockClock
) -> None:
    await fire(app, Working.resume_newest, "a")
    store.error = OSError("full")
    await fire(app, Working.resume_newest, "b")
    store.error = None
    await end_of_tasks(app)
    assert await log_of(app) == ["a"]
    assert await records(store) == []


async def test_a_page_that_cannot_be_shown_does_not_prolong_the_grace(
    store: FlakyStore, autojump_clock: MockClock
) -> None:
    Working.ran = []
    async with App(root=ShownRoot, store=store) as app:
        client = join(app)
        await trio.sleep(1)
        leave(app, client)
        for number in range(4):
            await trio.sleep(2)
            store.error = OSError("full")
            client = join(app, f"try {number}")
            await wait_all_tasks_blocked()
            leave(app, client)
            store.error = None
            assert [failure.code for failure in client.failures] == ["unavailable"]
            assert client.closed
        assert Shown.gone == [6]


async def test_a_record_that_no_handler_fits_is_dropped_and_told(
    store: FlakyStore, told: Told, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    Working.ran = []
    async with App(root=Root, store=store) as app:
        await fire(app, Working.resume, "a")
        await wait_all_tasks_blocked()
    snapshot = await store.peek(TOKEN)
    assert snapshot is not None
    [task] = snapshot.tasks
    for wrong, args in (
        ("root.working.gone", task.args),
        ("root.working.resume", (1, 2, 3)),
        ("root.working.allow", ("a",)),  # a background task, and not to be resumed any more
        ("root.connected.write", ()),  # no background task any more
    ):
        lease = (await store.load(TOKEN, lambda: None)).lease
        record = TaskRecord(wrong, args, task.asked)
        await store.commit(lease, Commit(snapshot.version, (), (), (record,)))
        await store.release(lease)
        async with App(root=Root, store=store, on_error=lambda *args: told.append(args)) as app:
            await fire(app, Connected.write)
        assert f"{wrong} is not resumed" in caplog.text
        assert told.pop()[1] == ErrorContext("background task", wrong, TOKEN, args)
        assert await records(store) == []
    assert told == []
    assert isinstance(snapshot, Snapshot)


async def test_tasks_beyond_a_lowered_bound_are_not_resumed_and_the_program_is_told(
    store: FlakyStore, told: Told, autojump_clock: MockClock
) -> None:
    Working.ran = []
    async with App(root=Root, store=store) as app:
        for name in ("a", "b", "c"):
            await fire(app, Working.resume, name, 100.0)
        await wait_all_tasks_blocked()
    app = App(root=Root, store=store, max_tasks=2, on_error=lambda *args: told.append(args))
    async with app:
        await fire(app, Connected.write)
        assert {task.arguments[0] for task in app.background_tasks} == {"a", "b"}
    [(error, context)] = told
    assert isinstance(error, TooManyTasksError)
    assert context.arguments == ("c", 100.0)
    assert [args[0] for _, args in await records(store)] == ["a", "b"]
