"""What users know of background tasks, promise by promise.

The page that users come with (of another framework; trio stands for asyncio here) promises
something in nearly each of its sentences. Each promise has a test here, named after it, and they
stand in the order of that page. `Counter` and `Quote` mean the same as its two examples.

What the library does beyond that page is tested elsewhere.
"""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Sequence
from typing import Any, ClassVar, Final, final

import pytest
import trio
from clients import Client
from trio.testing import MockClock, wait_all_tasks_blocked

from actorstate import (
    ActorDeadError,
    App,
    BackgroundTask,
    ImmutableStateError,
    MemoryStore,
    State,
    background,
    computed,
    console_log,
    current_app,
)
from actorstate.actors.messages import Attach, Event
from actorstate.state.handlers import as_invocation


class Root(State, root=True):
    pass


class Counter(Root):
    """The first example: a counter that a background task moves."""

    counter: int = 0
    max_counter: int = 10
    running: bool = False
    _n_tasks: int = 0

    @background
    async def my_task(self) -> None:
        async with self:
            if self._n_tasks > 0:
                return
            self._n_tasks += 1
        while True:
            async with self:
                if self.counter >= self.max_counter:
                    self.running = False
                if not self.running:
                    self._n_tasks -= 1
                    return
                self.counter += 1
            await trio.sleep(0.5)

    def toggle_running(self) -> Any:
        self.running = not self.running
        if self.running:
            return Counter.my_task
        return None

    def clear_counter(self) -> None:
        self.counter = 0


SLOWNESS: Final = 2.0  # seconds, of the service that is asked for a quote
ANSWER: Final = "Keep it logically awesome."


class Quote(Root):
    """The second example: a task of one's own, which no decorator made."""

    result: str = ""

    def fetch_data(self) -> None:
        app = current_app()
        app.start_soon(fetch_and_show, app, self.get_token())

    def fetch_data_elsewhere(self) -> None:
        Told.nursery.start_soon(fetch_and_show, current_app(), self.get_token())


async def fetch_and_show(app: App, token: str) -> None:
    await trio.sleep(SLOWNESS)
    async with app.modify_state(token) as state:
        substate = state.get_substate(Quote.get_full_name().split("."))
        substate.result = ANSWER


class Desk(Root):
    """What the sentences beside the examples are tried on."""

    number: int = 0
    limit: float = 0.0
    notes: list[str] = []
    lists: dict[str, list[int]] = {"a": [1]}
    _secret: int = 0

    @computed
    def doubled(self) -> int:
        return 2 * self.number

    def note(self, text: str) -> None:
        self.notes.append(text)

    async def note_slowly(self, text: str, seconds: float) -> None:
        await trio.sleep(seconds)
        self.notes.append(text)

    def put(self, number: int) -> None:
        self.number = number

    @background
    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)

    @background
    async def sleep_in_the_block(self, seconds: float) -> None:
        async with self:
            await trio.sleep(seconds)

    @background
    async def look_twice(self) -> None:
        outside = self.number
        await trio.sleep(1)
        async with self:
            self.notes = [f"outside {outside}", f"inside {self.number}"]

    @background
    async def look_without_a_block(self, seconds: float = 0) -> None:
        await trio.sleep(seconds)
        Told.seen.append(self.number)

    @background
    async def add_slowly(self) -> None:
        async with self:
            before = self.number
            await trio.sleep(1)
            self.number = before + 1

    @background
    async def write_outside(self, way: str) -> None:
        try:
            WAYS_TO_WRITE[way](self)
        except ImmutableStateError:
            Told.seen.append("refused")

    @background
    async def write_after_the_block(self, way: str) -> None:
        async with self:
            _ = self.number
        try:
            WAYS_TO_WRITE[way](self)
        except ImmutableStateError:
            Told.seen.append("refused")

    @background
    async def write_through_what_was_kept(self) -> None:
        async with self:
            notes, inner = self.notes, self.lists["a"]
        for kept in (notes, inner):
            try:
                kept.append("late")  # pyright: ignore
            except ImmutableStateError:
                Told.seen.append("refused")

    @background
    async def write_inside(self) -> None:
        async with self:
            for write in WAYS_TO_WRITE.values():
                write(self)

    @background
    async def raise_at_once(self) -> None:
        raise ValueError("on purpose")

    # ---- calling and triggering

    def call_from_a_handler(self) -> None:
        with pytest.raises(RuntimeError) as caught:
            self.sleep(1)
        Told.seen.append(str(caught.value))

    @background
    async def call_from_a_task(self) -> None:
        async with self:
            with pytest.raises(RuntimeError) as caught:
                self.sleep(1)
        Told.seen.append(str(caught.value))

    @background
    async def write_later(self, text: str, seconds: float = 1) -> None:
        await trio.sleep(seconds)
        async with self:
            self.notes.append(text)

    def return_one(self) -> Any:
        return Desk.write_later("one")  # pyright: ignore

    def return_a_list(self) -> Any:
        return [Desk.write_later("one"), [Desk.write_later(text="two", seconds=2)]]  # pyright: ignore

    def yield_them(self) -> Generator[Any]:
        yield Desk.write_later("one")  # pyright: ignore
        yield [Desk.write_later("two", 2)]  # pyright: ignore

    @background
    async def return_one_in_a_task(self) -> Any:
        return Desk.write_later("one")  # pyright: ignore

    @background
    async def return_a_list_in_a_task(self) -> Any:
        return self.return_a_list()

    @background
    async def yield_them_in_a_task(self) -> AsyncIterator[Any]:
        yield Desk.write_later("one")  # pyright: ignore
        async with self:
            yield [Desk.write_later("two", 2)]  # pyright: ignore

    @background
    async def do_what_handlers_do(self, text: str, times: int = 1) -> AsyncIterator[Any]:
        """Take arguments, call helpers, touch another state, trigger, and ask the browser."""
        async with self:
            for _ in range(times):
                self._write(text)
            self.number = times
            self.get_substate(Quote).result = f"twice {times} is {self.doubled}"
            yield [Desk.note("triggered"), console_log("asked")]  # pyright: ignore

    def _write(self, text: str) -> None:
        self.notes.append(text)

    # ---- the token, and references

    def tell_token(self) -> None:
        Told.seen.append(self.get_token())

    @background
    async def tell_token_in_a_task(self) -> None:
        Told.seen.append(self.get_token())

    def give_away_a_reference(self) -> None:
        Told.reference = self
        self.notes.append("mine")


class Told:
    """What states under test tell the tests, by the side of their vars."""

    seen: ClassVar[list[Any]] = []
    reference: ClassVar[Desk]
    nursery: ClassVar[trio.Nursery]


WAYS_TO_WRITE: Final[dict[str, Callable[[Desk], object]]] = {
    "assigning a var": lambda desk: setattr(desk, "number", 1),
    "adding to a var": lambda desk: setattr(desk, "limit", desk.limit + 1.5),
    "assigning a backend var": lambda desk: setattr(desk, "_secret", 1),
    "changing a list in place": lambda desk: desk.notes.append("x"),
    "changing a list in a dict": lambda desk: desk.lists["a"].clear(),
    "a helper method": lambda desk: desk._write("y"),
    "a handler, called as a method": lambda desk: desk.put(2),
    "writing to another state": lambda desk: setattr(desk.get_substate(Quote), "result", "z"),
    "resetting": lambda desk: desk.reset(),
}

UNTOUCHED: Final = {"number": 0, "limit": 0.0, "notes": [], "lists": {"a": [1]}, "doubled": 0}


@final
class Tab:
    """A browser tab, as far as a server can tell: it sends events and is shown a state."""

    def __init__(self, app: App, token: str) -> None:
        self.app: Final = app
        self.token: Final = token
        self.client: Final = Client()
        self._ref: Final = app.directory.ref(token)
        self._ref.tell(Attach(self.client))
        self._sent = 0

    def post(self, handler: Any, *args: Any) -> None:
        """Send an event."""
        self._ref.tell(self._event(handler, args))

    async def send(self, handler: Any, *args: Any) -> None:
        """Send an event, and wait until it is acknowledged and nothing else is left to do."""
        await self._ref.ask(self._event(handler, args), block=False)
        await wait_all_tasks_blocked()

    def _event(self, handler: Any, args: Sequence[Any]) -> Event:
        self._sent += 1
        return Event(as_invocation(handler).name, list(args), self._sent, "page")

    async def run(self, handler: Any, *args: Any) -> None:
        """Send an event, and wait until no background task runs."""
        await self.send(handler, *args)
        await self.wait()

    async def wait(self) -> None:
        while self.app.background_tasks:
            await next(iter(self.app.background_tasks)).wait()
            await wait_all_tasks_blocked()

    def shown(self, cls: type[State]) -> dict[str, Any]:
        return self.client.state[cls.get_full_name()]

    def history(self, var: str) -> list[Any]:
        """What was shown of a var, one after the other."""
        ops = [op for patch in self.client.patches for op in patch.ops]
        return [op.value for op in ops if op.path.endswith(f"/{var}")]


@pytest.fixture(autouse=True)
def _nothing_seen() -> None:
    Told.seen = []


@pytest.fixture
async def app() -> AsyncIterator[App]:
    async with App(root=Root) as app:
        yield app


@pytest.fixture
async def tab(app: App) -> Tab:
    return Tab(app, "tab")


async def start_counting(tab: Tab, limit: int) -> None:
    await tab.send(Counter.set_max_counter, str(limit))
    await tab.send(Counter.toggle_running)


def names(tasks: Any) -> list[str]:
    return sorted(task.name for task in tasks)


# ---- What a background task is ------------------------------------------------------------------


async def test_a_background_task_runs_beside_the_handlers(
    app: App, tab: Tab, autojump_clock: MockClock
) -> None:
    await tab.send(Desk.sleep, 10)
    await tab.send(Desk.note, "meanwhile")
    assert tab.shown(Desk)["notes"] == ["meanwhile"]
    assert names(app.background_tasks) == ["Desk.sleep"]


async def test_a_task_that_takes_long_does_not_keep_the_page_waiting(
    tab: Tab, autojump_clock: MockClock
) -> None:
    started = trio.current_time()
    await tab.send(Desk.sleep, 3600)
    await tab.send(Desk.note, "at once")
    assert trio.current_time() == started
    assert tab.client.ack == 2


async def test_it_is_defined_by_a_decorator_on_an_async_method_of_a_state() -> None:
    assert as_invocation(Counter.my_task).handler.is_background
    assert not as_invocation(Counter.clear_counter).handler.is_background


async def test_the_block_is_where_a_task_may_change_the_state(
    tab: Tab, autojump_clock: MockClock
) -> None:
    await tab.run(Desk.write_inside)
    assert tab.shown(Desk) == UNTOUCHED  # the last way is to reset
    assert tab.shown(Quote)["result"] == "z"
    assert tab.client.failures == []
    await tab.run(Desk.write_later, "written")
    assert tab.shown(Desk)["notes"] == ["written"]


async def test_entering_the_block_refreshes_the_state(tab: Tab, autojump_clock: MockClock) -> None:
    await tab.send(Desk.look_twice)
    await tab.send(Desk.put, 1)
    async with tab.app.modify_state(tab.token) as state:
        state.get_substate(Desk).number += 1
    await tab.wait()
    assert tab.shown(Desk)["notes"][1] == "inside 2"


async def test_the_block_keeps_other_tasks_from_changing_the_state(
    tab: Tab, autojump_clock: MockClock
) -> None:
    started = trio.current_time()
    for _ in range(5):
        await tab.send(Desk.add_slowly)
        await trio.sleep(0.1)
    await tab.wait()
    assert tab.shown(Desk)["number"] == 5  # none has read what another one then changed
    assert trio.current_time() - started == pytest.approx(5)


async def test_the_block_keeps_handlers_from_changing_the_state(
    tab: Tab, autojump_clock: MockClock
) -> None:
    started = trio.current_time()
    await tab.send(Desk.add_slowly)
    await tab.send(Desk.put, 10)
    assert trio.current_time() - started == pytest.approx(1)
    assert tab.history("number") == [1, 10]


async def test_a_handler_keeps_the_block_of_a_task_waiting_as_well(
    tab: Tab, autojump_clock: MockClock
) -> None:
    await tab.send(Desk.write_later, "by the task", 1)
    await tab.send(Desk.note_slowly, "by the handler", 5)
    await tab.wait()
    assert tab.shown(Desk)["notes"] == ["by the handler", "by the task"]


async def test_outside_the_block_what_was_read_may_be_stale(
    tab: Tab, autojump_clock: MockClock
) -> None:
    await tab.send(Desk.look_twice)
    await tab.send(Desk.put, 7)
    await tab.wait()
    assert tab.shown(Desk)["notes"] == ["outside 0", "inside 7"]


@pytest.mark.parametrize("way", WAYS_TO_WRITE)
@pytest.mark.parametrize("task", ["write_outside", "write_after_the_block"])
async def test_writing_outside_the_block_raises_and_changes_nothing(
    tab: Tab, task: str, way: str, autojump_clock: MockClock
) -> None:
    await tab.run(getattr(Desk, task), way)
    assert Told.seen == ["refused"]
    assert tab.shown(Desk) == UNTOUCHED
    assert tab.shown(Quote)["result"] == ""
    assert tab.client.patches == []
    async with tab.app.modify_state(tab.token) as state:
        assert state.get_substate(Desk)._secret == 0


# ---- The example of the counter -----------------------------------------------------------------


async def test_the_counter_is_moved_every_half_second(tab: Tab, autojump_clock: MockClock) -> None:
    await start_counting(tab, 1000)
    for expected in range(1, 8):
        assert tab.shown(Counter)["counter"] == expected
        await trio.sleep(0.49)
        assert tab.shown(Counter)["counter"] == expected
        await trio.sleep(0.01)
        await wait_all_tasks_blocked()


async def test_the_counter_stops_at_its_limit_and_is_shown_as_stopped(
    tab: Tab, autojump_clock: MockClock
) -> None:
    started = trio.current_time()
    await start_counting(tab, 4)
    await tab.wait()
    assert trio.current_time() - started == pytest.approx(2)
    assert tab.shown(Counter) == {"counter": 4, "max_counter": 4, "running": False}
    assert tab.history("counter") == [1, 2, 3, 4]
    assert tab.history("running") == [True, False]


async def test_a_counter_at_its_limit_stops_as_soon_as_it_is_started(
    tab: Tab, autojump_clock: MockClock
) -> None:
    await start_counting(tab, 1)
    await tab.wait()
    await tab.run(Counter.toggle_running)
    assert tab.history("counter") == [1]
    assert tab.history("running") == [True, False, True, False]


async def test_the_stop_button_ends_the_task(app: App, tab: Tab, autojump_clock: MockClock) -> None:
    await start_counting(tab, 1000)
    await trio.sleep(1.1)
    await tab.send(Counter.toggle_running)
    await tab.wait()
    await trio.sleep(10)
    assert tab.shown(Counter)["counter"] == 3
    assert app.background_tasks == set()


async def test_a_stopped_counter_goes_on_from_where_it_was(
    tab: Tab, autojump_clock: MockClock
) -> None:
    await start_counting(tab, 5)
    await trio.sleep(1.1)
    await tab.run(Counter.toggle_running)
    await tab.run(Counter.toggle_running)
    assert tab.history("counter") == [1, 2, 3, 4, 5]


async def test_a_reset_while_it_runs_lets_it_go_on_from_zero(
    tab: Tab, autojump_clock: MockClock
) -> None:
    await start_counting(tab, 3)
    await trio.sleep(0.6)
    await tab.send(Counter.clear_counter)
    assert tab.shown(Counter)["counter"] == 0
    await tab.wait()
    assert tab.history("counter") == [1, 2, 0, 1, 2, 3]


@pytest.mark.parametrize(
    ("limit", "end"), [("6", 6), ("3", 3), ("1", 3)], ids=["more", "less", "less than it is"]
)
async def test_a_limit_that_is_changed_while_it_runs_counts_from_then_on(
    tab: Tab, limit: str, end: int, autojump_clock: MockClock
) -> None:
    await start_counting(tab, 4)
    await trio.sleep(1.1)
    await tab.send(Counter.set_max_counter, limit)
    await tab.wait()
    assert tab.shown(Counter) == {"counter": end, "max_counter": int(limit), "running": False}


async def test_the_page_stays_responsive_while_the_counter_runs(
    tab: Tab, autojump_clock: MockClock
) -> None:
    await start_counting(tab, 1000)
    for step in range(20):
        before = trio.current_time()
        await tab.send(Desk.note, str(step))
        assert trio.current_time() == before
        await trio.sleep(0.1)
    assert tab.shown(Desk)["notes"] == [str(step) for step in range(20)]
    assert tab.shown(Counter)["counter"] == 5


async def test_a_wait_inside_the_block_would_keep_the_page_waiting(
    tab: Tab, autojump_clock: MockClock
) -> None:
    started = trio.current_time()
    await tab.send(Desk.sleep_in_the_block, 3)
    await tab.send(Desk.note, "late")
    assert trio.current_time() - started == pytest.approx(3)


# ---- The life of a task -------------------------------------------------------------------------


async def test_a_task_that_is_triggered_starts_at_once(tab: Tab, autojump_clock: MockClock) -> None:
    started = trio.current_time()
    await tab.send(Desk.look_without_a_block)
    assert Told.seen == [0]
    assert trio.current_time() == started


async def test_a_reference_to_the_task_is_kept_in_background_tasks(
    app: App, tab: Tab, autojump_clock: MockClock
) -> None:
    await tab.send(Desk.sleep, 5)
    [task] = app.background_tasks
    assert isinstance(task, BackgroundTask)
    assert (task.token, task.name, task.arguments) == ("tab", "Desk.sleep", (5.0,))


async def complete(_: BackgroundTask, tab: Tab) -> None:
    await tab.send(Counter.toggle_running)


async def cancel(task: BackgroundTask, _: Tab) -> None:
    task.cancel()


@pytest.mark.parametrize("end", [complete, cancel])
async def test_a_task_that_ends_is_removed_from_background_tasks(
    app: App,
    tab: Tab,
    end: Callable[[BackgroundTask, Tab], Awaitable[None]],
    autojump_clock: MockClock,
) -> None:
    await start_counting(tab, 1000)
    [task] = app.background_tasks
    await end(task, tab)
    await task.wait()
    assert app.background_tasks == set()


async def test_a_task_that_raises_is_removed_from_background_tasks(
    app: App, tab: Tab, caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    await tab.run(Desk.raise_at_once)
    assert app.background_tasks == set()
    assert "on purpose" in caplog.text


async def test_a_task_that_ends_with_the_app_is_removed_from_background_tasks(
    autojump_clock: MockClock,
) -> None:
    async with App(root=Root) as app:
        await Tab(app, "tab").send(Desk.sleep, 3600)
        assert len(app.background_tasks) == 1
    assert app.background_tasks == set()


async def test_only_the_task_that_ended_is_removed(
    app: App, tab: Tab, autojump_clock: MockClock
) -> None:
    await tab.send(Desk.sleep, 1)
    await tab.send(Desk.sleep, 3)
    await trio.sleep(2)
    assert [task.arguments for task in app.background_tasks] == [(3.0,)]


async def test_many_instances_of_one_task_may_run_at_once(
    app: App, tab: Tab, autojump_clock: MockClock
) -> None:
    started = trio.current_time()
    for number in range(50):
        await tab.send(Desk.write_later, str(number))
    assert names(app.background_tasks) == ["Desk.write_later"] * 50
    await tab.wait()
    assert trio.current_time() - started == pytest.approx(1)
    assert sorted(tab.shown(Desk)["notes"]) == sorted(str(number) for number in range(50))


async def test_nothing_keeps_duplicates_from_starting(
    app: App, tab: Tab, autojump_clock: MockClock
) -> None:
    for _ in range(3):
        await tab.send(Desk.sleep, 1)
    assert [task.arguments for task in app.background_tasks] == [(1.0,)] * 3


async def test_the_backend_var_of_the_developer_keeps_duplicates_out_of_the_loop(
    app: App, tab: Tab, autojump_clock: MockClock
) -> None:
    async with app.modify_state(tab.token):  # so that all of them come to the guard together
        for _ in range(5):
            tab.post(Counter.my_task)
        tab.post(Counter.toggle_running)
    await wait_all_tasks_blocked()
    assert names(app.background_tasks) == ["Counter.my_task"]
    await tab.wait()
    assert tab.history("counter") == list(range(1, 11))


async def test_stopped_and_started_within_a_step_it_is_still_one(
    app: App, tab: Tab, autojump_clock: MockClock
) -> None:
    await start_counting(tab, 10)
    for _ in range(6):  # an even number, so that it runs in the end
        await tab.send(Counter.toggle_running)
    assert len(app.background_tasks) == 1
    started = trio.current_time()
    await tab.wait()
    assert trio.current_time() - started == pytest.approx(5)


async def test_a_backend_var_is_as_good_as_any_and_never_shown(
    tab: Tab, autojump_clock: MockClock
) -> None:
    await start_counting(tab, 1000)
    async with tab.app.modify_state(tab.token) as state:
        assert state.get_substate(Counter)._n_tasks == 1
    await tab.send(Counter.toggle_running)
    await tab.wait()
    async with tab.app.modify_state(tab.token) as state:
        assert state.get_substate(Counter)._n_tasks == 0
    assert "_n_tasks" not in repr(tab.client.notices)
    assert "_secret" not in repr(tab.client.notices)


# ---- How it differs from a handler, and how it does not -----------------------------------------


async def test_otherwise_a_task_does_what_handlers_do(tab: Tab, autojump_clock: MockClock) -> None:
    await tab.run(Desk.do_what_handlers_do, "written", 2)
    assert tab.shown(Desk)["notes"] == ["written", "written", "triggered"]
    assert tab.shown(Quote)["result"] == "twice 2 is 4"
    assert tab.client.effects == [console_log("asked")]


async def test_arguments_of_another_type_are_refused_as_those_of_handlers_are(
    app: App, tab: Tab, autojump_clock: MockClock
) -> None:
    await tab.send(Desk.do_what_handlers_do, 3)
    [failure] = tab.client.failures
    assert (failure.code, failure.where) == ("bad_arguments", "$.args[0]")
    assert app.background_tasks == set()


async def test_a_task_has_to_be_async() -> None:
    def plain(self: Any) -> None: ...

    def generator(self: Any) -> Generator[None]:
        yield

    for function in (plain, generator):
        with pytest.raises(TypeError, match="needs an async function; write `async def`"):
            background(function)  # pyright: ignore


async def test_a_task_may_not_change_outside_what_it_kept_from_the_block(
    tab: Tab, autojump_clock: MockClock
) -> None:
    await tab.run(Desk.write_through_what_was_kept)
    assert Told.seen == ["refused", "refused"]
    assert tab.client.patches == []


async def test_a_task_may_read_outside_the_block_without_waiting(
    tab: Tab, autojump_clock: MockClock
) -> None:
    await tab.send(Desk.put, 5)
    await tab.send(Desk.look_without_a_block, 1)
    async with tab.app.modify_state(tab.token):
        await trio.sleep(2)
        assert Told.seen == [5]


@pytest.mark.parametrize("caller", ["call_from_a_handler", "call_from_a_task"])
async def test_a_task_cannot_be_called_directly(
    app: App, tab: Tab, caller: str, autojump_clock: MockClock
) -> None:
    await tab.run(getattr(Desk, caller))
    [message] = Told.seen
    assert "Desk.sleep is a background task and cannot be called" in message
    assert "`return Desk.sleep` or `yield Desk.sleep`" in message
    assert app.background_tasks == set()
    assert tab.client.failures == []


@pytest.mark.parametrize(
    ("caller", "written"),
    [
        ("return_one", ["one"]),
        ("return_one_in_a_task", ["one"]),
        ("return_a_list", ["one", "two"]),
        ("return_a_list_in_a_task", ["one", "two"]),
        ("yield_them", ["one", "two"]),
        ("yield_them_in_a_task", ["one", "two"]),
    ],
)
async def test_a_task_is_triggered_by_return_and_yield(
    app: App, tab: Tab, caller: str, written: list[str], autojump_clock: MockClock
) -> None:
    started = trio.current_time()
    await tab.send(getattr(Desk, caller))
    assert names(app.background_tasks) == ["Desk.write_later"] * len(written)
    await tab.wait()
    assert tab.shown(Desk)["notes"] == written
    assert trio.current_time() - started == pytest.approx(len(written))


# ---- The lower level ----------------------------------------------------------------------------


async def test_the_decorator_is_a_convenience_over_modify_state(
    app: App, tab: Tab, autojump_clock: MockClock
) -> None:
    """The same task in terms of `modify_state` does the same to the page."""

    async def count(token: str) -> None:
        while True:
            async with app.modify_state(token) as state:
                counter = state.get_substate(Counter)
                if counter.counter >= counter.max_counter:
                    return
                counter.counter += 1
            await trio.sleep(0.5)

    other = Tab(app, "other")
    await tab.send(Counter.toggle_running)
    app.start_soon(count, other.token)
    await tab.wait()
    await trio.sleep(1)
    assert tab.history("counter") == other.history("counter") == list(range(1, 11))


async def test_an_arbitrary_task_may_change_the_state_safely(
    app: App, tab: Tab, autojump_clock: MockClock
) -> None:
    async def add_slowly() -> None:
        async with app.modify_state(tab.token) as state:
            desk = state.get_substate(Desk)
            before = desk.number
            await trio.sleep(1)
            desk.number = before + 1

    async with trio.open_nursery() as nursery:  # which is none of the app's
        for _ in range(3):
            nursery.start_soon(add_slowly)
        await wait_all_tasks_blocked()
        await tab.send(Desk.add_slowly)
    await tab.wait()
    assert tab.history("number") == [1, 2, 3, 4]


@pytest.mark.parametrize("handler", ["tell_token", "tell_token_in_a_task"])
async def test_the_token_comes_from_the_state(
    tab: Tab, handler: str, autojump_clock: MockClock
) -> None:
    await tab.run(getattr(Desk, handler))
    assert Told.seen == [tab.token]


async def test_the_token_names_the_state_of_one_tab(
    app: App, tab: Tab, autojump_clock: MockClock
) -> None:
    other = Tab(app, "other")
    await tab.send(Desk.tell_token)
    await other.send(Desk.tell_token)
    mine, of_the_other = Told.seen
    assert mine != of_the_other
    async with app.modify_state(mine) as state:
        assert state.get_token() == state.get_substate(Desk).get_token() == mine
        state.get_substate(Desk).number = 3
    assert tab.shown(Desk)["number"] == 3
    assert other.shown(Desk)["number"] == 0
    assert other.client.patches == []


@pytest.mark.parametrize("way", WAYS_TO_WRITE)
async def test_a_reference_that_a_handler_gave_away_changes_nothing(
    tab: Tab, way: str, autojump_clock: MockClock
) -> None:
    await tab.send(Desk.give_away_a_reference)

    async def write() -> None:
        with pytest.raises(ImmutableStateError):
            WAYS_TO_WRITE[way](Told.reference)

    tab.app.start_soon(write)  # what it raises would be in the log
    await wait_all_tasks_blocked()
    await write()
    assert tab.shown(Desk) == {**UNTOUCHED, "notes": ["mine"]}
    assert tab.client.version == 1


async def test_such_a_reference_is_refused_while_another_holds_the_turn(
    tab: Tab, autojump_clock: MockClock
) -> None:
    await tab.send(Desk.give_away_a_reference)
    held, tried = trio.Event(), trio.Event()

    async def write() -> None:
        await held.wait()
        with pytest.raises(ImmutableStateError):
            Told.reference.number = 1
        tried.set()

    async with trio.open_nursery() as nursery:
        # Begun inside the block, a task would be the holder's. This one is begun before.
        nursery.start_soon(write)
        async with tab.app.modify_state(tab.token) as state:
            held.set()
            await tried.wait()
            state.get_substate(Desk).number += 2
    assert tab.shown(Desk)["number"] == 2


async def test_such_a_reference_is_refused_when_the_state_was_loaded_from_a_store(
    autojump_clock: MockClock,
) -> None:
    """As after a restart: the state is another object, and who has the old one has nothing."""
    store = MemoryStore()
    async with App(root=Root, store=store) as app:
        await Tab(app, "tab").send(Desk.give_away_a_reference)
    async with App(root=Root, store=store) as app:
        tab = Tab(app, "tab")
        await wait_all_tasks_blocked()
        assert tab.shown(Desk)["notes"] == ["mine"]
        async with app.modify_state("tab") as state:
            desk = state.get_substate(Desk)
            assert desk is not Told.reference
            for write in WAYS_TO_WRITE.values():
                with pytest.raises(ImmutableStateError):
                    write(Told.reference)
            desk.notes.append("in the block")
        with pytest.raises(ActorDeadError):
            async with Told.reference:
                pytest.fail("nobody is there to give it a turn")
        assert tab.shown(Desk) == {**UNTOUCHED, "notes": ["mine", "in the block"]}


# ---- The example of the fetched text ------------------------------------------------------------


async def test_what_an_arbitrary_task_fetched_is_shown(tab: Tab, autojump_clock: MockClock) -> None:
    started = trio.current_time()
    await tab.send(Quote.fetch_data)
    await tab.send(Desk.note, "meanwhile")
    assert trio.current_time() == started
    assert tab.shown(Quote)["result"] == ""
    await trio.sleep(SLOWNESS)
    await wait_all_tasks_blocked()
    assert tab.shown(Quote)["result"] == ANSWER
    assert tab.shown(Desk)["notes"] == ["meanwhile"]


async def test_a_handler_may_create_the_task_wherever_the_program_keeps_its_tasks(
    tab: Tab, autojump_clock: MockClock
) -> None:
    async with trio.open_nursery() as Told.nursery:
        await tab.send(Quote.fetch_data_elsewhere)
        assert tab.shown(Quote)["result"] == ""
    assert tab.shown(Quote)["result"] == ANSWER


async def test_what_two_tabs_fetch_goes_to_each_of_them(
    app: App, tab: Tab, autojump_clock: MockClock
) -> None:
    other, idle = Tab(app, "other"), Tab(app, "idle")
    await tab.send(Quote.fetch_data)
    await trio.sleep(1)
    await other.send(Quote.fetch_data)
    await trio.sleep(1.5)
    assert (tab.shown(Quote)["result"], other.shown(Quote)["result"]) == (ANSWER, "")
    await trio.sleep(1)
    assert other.shown(Quote)["result"] == ANSWER
    assert idle.shown(Quote)["result"] == ""


async def test_changes_go_to_the_page_when_the_block_ends(
    app: App, tab: Tab, autojump_clock: MockClock
) -> None:
    await wait_all_tasks_blocked()
    async with app.modify_state(tab.token) as state:
        state.get_substate(Quote).result = "half"
        await trio.sleep(1)
        state.get_substate(Quote).result = "done"
        state.get_substate(Desk).number = 1
        assert tab.client.patches == []
    [patch] = tab.client.patches
    assert {op.path.rpartition("/")[2]: op.value for op in patch.ops} == {
        "result": "done", "number": 1, "doubled": 2,
    }  # fmt: skip


async def test_nobody_has_to_save_a_reference_to_a_task_until_it_is_done(
    tab: Tab, autojump_clock: MockClock
) -> None:
    await tab.send(Quote.fetch_data)
    await tab.send(Desk.sleep, 1)
    gc.collect()
    await trio.sleep(SLOWNESS)
    await wait_all_tasks_blocked()
    assert tab.shown(Quote)["result"] == ANSWER
