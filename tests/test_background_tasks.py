"""Background tasks and turns for others, in one trio program and virtual time."""

from __future__ import annotations

import gc
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, suppress
from typing import Any, ClassVar

import pytest
import trio
from clients import Client
from stores import WrappedStore
from trio.testing import MockClock, wait_all_tasks_blocked

from actorstate import (
    ActorDeadError,
    App,
    ErrorContext,
    ImmutableStateError,
    MemoryStore,
    State,
    TurnTimeoutError,
    background,
    current_app,
)
from actorstate.actors.messages import Attach, Detach, Event, TurnRequest
from actorstate.actors.runtime import TrioActorRef
from actorstate.actors.token_actor import TokenActor
from actorstate.state.commit import Commit
from actorstate.state.handlers import as_invocation
from actorstate.stores.base import Store

TOKEN = "tab"  # noqa: S105 - a name, to the library


class Root(State, root=True):
    pass


class Counting(Root):
    counter: int = 0
    max_counter: int = 10
    running: bool = False
    log: list[str] = []
    _n_tasks: int = 0

    @background
    async def count(self) -> None:
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

    def toggle(self) -> Any:
        self.running = not self.running
        return Counting.count if self.running else None

    def clear(self) -> None:
        self.counter = 0

    def write(self, text: str) -> None:
        self.log = [*self.log, text]

    @background
    async def write_later(self, text: str) -> None:
        async with self:
            self.log = [*self.log, text]

    @background
    async def linger(self, text: str) -> None:
        await trio.sleep_forever()


class Misusing(Root):
    value: int = 0
    outcome: str = ""

    @background
    async def write_outside(self) -> None:
        try:
            self.value = 1
        except ImmutableStateError as error:
            await self._record(error)

    @background
    async def enter_twice(self) -> None:
        try:
            async with self, self:
                self.value = 1
        except ImmutableStateError as error:
            await self._record(error)

    @background
    async def call_directly(self) -> None:
        try:
            _ = self.write_outside()
        except RuntimeError as error:
            await self._record(error)

    async def enter_in_a_handler(self) -> None:
        try:
            async with self:
                self.value = 1
        except ImmutableStateError as error:
            self.outcome = f"{type(error).__name__}: {error}"

    async def modify_own_token(self) -> None:
        try:
            async with current_app().modify_state(self.get_token()):
                self.value = 1
        except ImmutableStateError as error:
            self.outcome = f"{type(error).__name__}: {error}"

    async def _record(self, error: BaseException) -> None:
        async with self:
            self.outcome = f"{type(error).__name__}: {error}"

    @background
    async def fail_in_the_block(self) -> None:
        async with self:
            self.value = 99
            raise ValueError("in the block")

    def fail(self) -> Any:
        self.value = 99
        raise ValueError("in the handler")

    def return_nonsense(self) -> Any:
        self.value = 99
        return 3


class Following(Root):
    gate: ClassVar[trio.Event]
    asked: list[int] = []
    followed: int = 0

    def follow(self) -> None:
        self.followed += 1

    def ask_for(self, count: int) -> Any:
        self.asked.append(count)
        return [Following.follow] * count

    def ask_in_halves(self, count: int) -> Any:
        yield self.ask_for(count)
        yield self.ask_for(count)

    @background
    async def ask_in_a_block(self, count: int) -> AsyncIterator[Any]:
        async with self:
            yield self.ask_for(count)

    @background
    async def ask_often(self, count: int) -> AsyncIterator[Any]:
        await self.gate.wait()
        for _ in range(count):
            yield Following.follow

    def double(self) -> Any:
        return [Following.double, Following.double]


class Generating(Root):
    steps: list[int] = []
    heard: list[str] = []

    def hear(self, what: str) -> None:
        self.heard = [*self.heard, what]

    def step(self) -> Any:
        for number in (1, 2):
            self.steps = [*self.steps, number]
            yield Generating.hear(f"after {number}")  # pyright: ignore
        self.steps = [*self.steps, 3]
        return Generating.hear("at the end")  # pyright: ignore

    async def step_async(self) -> AsyncIterator[Any]:
        for number in (1, 2):
            self.steps = [*self.steps, number]
            yield
            await trio.sleep(1)
        self.steps = [*self.steps, 3]

    def step_and_fail(self) -> Any:
        self.steps = [1]
        yield [Generating.hear("committed")]  # pyright: ignore
        self.steps = [1, 2]
        raise ValueError("after the first yield")

    @background
    async def step_in_background(self) -> AsyncIterator[Any]:
        yield Generating.hear("outside")  # pyright: ignore
        async with self:
            self.steps = [1]
            yield Generating.hear("inside")  # pyright: ignore
            await trio.sleep(1)
            self.steps = [1, 2]
            yield
            self.steps = [1, 2, 3]
        await trio.sleep(1)
        yield [Generating.hear("again"), Generating.hear("outside")]  # pyright: ignore

    @background
    async def chatter(self, times: int) -> AsyncIterator[Any]:
        for number in range(times):
            yield Generating.hear(str(number))  # pyright: ignore

    @background
    async def step_in_background_and_fail(self) -> AsyncIterator[Any]:
        async with self:
            self.steps = [1]
            yield
            self.steps = [1, 2]
            raise ValueError("after the first yield")

    @background
    async def return_an_event(self) -> Any:
        return Generating.hear("returned")  # pyright: ignore


@pytest.fixture
async def app() -> AsyncIterator[App]:
    async with App(root=Root) as app:
        yield app


@pytest.fixture
def ref(app: App) -> TrioActorRef[TokenActor]:
    return app.directory.ref(TOKEN)


@pytest.fixture
def client(ref: TrioActorRef[TokenActor]) -> Client:
    client = Client()
    ref.tell(Attach(client))
    return client


def event(handler: Any, args: Any = (), seq: int | None = None, instance: str = "page") -> Event:
    return Event(as_invocation(handler).name, args, seq, instance)


async def fire(ref: TrioActorRef[TokenActor], handler: Any, *args: Any) -> None:
    await ref.ask(event(handler, list(args)), block=False)


async def settle(app: App) -> None:
    """Wait until no background task runs and nothing else happens."""
    while app.background_tasks:
        await next(iter(app.background_tasks)).wait()
    await wait_all_tasks_blocked()


# ---- the example of the reference ---------------------------------------------------------------


async def test_the_counter_climbs_every_half_second_and_stops_at_its_limit(
    app: App, ref: TrioActorRef[TokenActor], client: Client, autojump_clock: MockClock
) -> None:
    await fire(ref, Counting.toggle)
    started = trio.current_time()
    await settle(app)
    assert trio.current_time() - started == pytest.approx(5.0)
    shown = client.state["root.counting"]
    assert (shown["counter"], shown["running"]) == (10, False)
    counters = [op.value for p in client.patches for op in p.ops if op.path.endswith("/counter")]
    assert counters == list(range(1, 11))


async def test_events_go_on_while_a_task_runs(
    app: App, ref: TrioActorRef[TokenActor], client: Client, autojump_clock: MockClock
) -> None:
    await fire(ref, Counting.toggle)
    await trio.sleep(1.1)
    await fire(ref, Counting.clear)
    assert client.state["root.counting"]["counter"] == 0
    await fire(ref, Counting.set_max_counter, "2")
    await settle(app)
    assert client.state["root.counting"]["counter"] == 2


async def test_a_stopped_task_starts_again_and_a_second_one_exits_early(
    app: App, ref: TrioActorRef[TokenActor], client: Client, autojump_clock: MockClock
) -> None:
    await fire(ref, Counting.toggle)
    await fire(ref, Counting.count)
    await wait_all_tasks_blocked()
    assert len(app.background_tasks) == 1
    await fire(ref, Counting.toggle)
    await settle(app)
    assert client.state["root.counting"]["counter"] == 1
    await fire(ref, Counting.toggle)
    await settle(app)
    assert client.state["root.counting"]["counter"] == 10


async def test_many_instances_run_at_once_and_are_in_background_tasks_while_they_run(
    app: App, ref: TrioActorRef[TokenActor], client: Client
) -> None:
    async with app.modify_state(TOKEN):
        for number in range(5):
            ref.tell(event(Counting.write_later, [str(number)]))
        ref.tell(event(Counting.write, ["event"]))
    await wait_all_tasks_blocked()
    assert app.background_tasks == set()
    log = client.state["root.counting"]["log"]
    assert log[0] == "event"  # it was in the mailbox before the tasks could ask for a turn
    assert sorted(log[1:]) == list("01234")


async def test_a_task_is_described_by_its_handle_and_cancelled_through_it(
    app: App, ref: TrioActorRef[TokenActor]
) -> None:
    await fire(ref, Counting.linger, "x")
    [task] = app.background_tasks
    assert (task.token, task.name, task.arguments) == (TOKEN, "Counting.linger", ("x",))
    assert task.started.tzinfo is not None
    task.cancel()
    await task.wait()
    assert app.background_tasks == set()


# ---- misuse -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("handler", "outcome"),
    [
        ("write_outside", "ImmutableStateError: Misusing.value was not changed"),
        ("enter_twice", "ImmutableStateError: the turn is yours already"),
        ("call_directly", "RuntimeError: Misusing.write_outside is a background task"),
        ("enter_in_a_handler", "ImmutableStateError: the turn is yours already, as Misusing.enter"),
        ("modify_own_token", "ImmutableStateError: the turn is yours already, as Misusing.modify"),
    ],
)
async def test_misuse_is_refused_and_changes_nothing(
    app: App, ref: TrioActorRef[TokenActor], client: Client, handler: str, outcome: str
) -> None:
    await fire(ref, getattr(Misusing, handler))
    await settle(app)
    shown = client.state["root.misusing"]
    assert shown["value"] == 0
    assert shown["outcome"].startswith(outcome)


async def test_a_task_that_raises_is_undone_and_logged_and_harms_nobody(
    app: App, ref: TrioActorRef[TokenActor], client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    await fire(ref, Misusing.fail_in_the_block)
    await settle(app)
    assert client.state["root.misusing"]["value"] == 0
    assert "Misusing.fail_in_the_block of token tab" in caplog.text
    assert "in the block" in caplog.text
    await fire(ref, Counting.write, "fine")
    assert client.state["root.counting"]["log"] == ["fine"]


@pytest.mark.parametrize("handler", ["fail", "return_nonsense"])
async def test_a_handler_that_raises_is_undone_and_the_client_learns_no_more_than_that(
    ref: TrioActorRef[TokenActor],
    client: Client,
    caplog: pytest.LogCaptureFixture,
    handler: str,
) -> None:
    name = f"root.misusing.{handler}"
    await ref.ask(Event(name, [], seq=1, instance="page"), block=False)
    [failure] = client.failures
    assert (failure.code, failure.seq, failure.message) == ("handler_failed", 1, f"{name} failed")
    assert client.ack == 1
    assert client.state["root.misusing"]["value"] == 0
    assert client.patches == []
    assert f"Misusing.{handler} failed for token tab" in caplog.text


# ---- yield --------------------------------------------------------------------------------------


async def test_yield_in_a_handler_commits_and_keeps_the_turn(
    ref: TrioActorRef[TokenActor], client: Client
) -> None:
    ref.tell(event(Generating.step))
    ref.tell(event(Generating.hear, ["from outside"]))
    await wait_all_tasks_blocked()
    steps = [op.value for p in client.patches for op in p.ops if op.path.endswith("/steps")]
    assert steps == [[1], [1, 2], [1, 2, 3]]
    assert client.state["root.generating"]["heard"] == [
        "from outside", "after 1", "after 2", "at the end",
    ]  # fmt: skip


async def test_an_event_that_comes_between_two_yields_waits_for_the_end_of_the_turn(
    ref: TrioActorRef[TokenActor], client: Client, autojump_clock: MockClock
) -> None:
    ref.tell(event(Generating.step_async))
    await trio.sleep(0.5)
    assert client.state["root.generating"]["steps"] == [1]
    await fire(ref, Generating.hear, "later")
    assert trio.current_time() == pytest.approx(2.0)
    assert [p.ops[0].path for p in client.patches][-1].endswith("/heard")


async def test_what_was_yielded_before_a_failure_stays(
    ref: TrioActorRef[TokenActor], client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    await fire(ref, Generating.step_and_fail)
    await wait_all_tasks_blocked()
    assert client.state["root.generating"] == {"steps": [1], "heard": ["committed"]}
    assert "after the first yield" in caplog.text


async def test_yield_inside_the_block_of_a_task_commits_and_keeps_the_turn(
    app: App, ref: TrioActorRef[TokenActor], client: Client, autojump_clock: MockClock
) -> None:
    await fire(ref, Generating.step_in_background)
    await settle(app)
    steps = [op.value for p in client.patches for op in p.ops if op.path.endswith("/steps")]
    assert steps == [[1], [1, 2], [1, 2, 3]]
    assert client.state["root.generating"]["heard"] == ["outside", "inside", "again", "outside"]
    paths = [op.path.rpartition("/")[2] for p in client.patches for op in p.ops]
    assert paths == ["heard", "steps", "steps", "steps", "heard", "heard", "heard"]


async def test_what_a_task_yielded_inside_its_block_before_a_failure_stays(
    app: App, ref: TrioActorRef[TokenActor], client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    await fire(ref, Generating.step_in_background_and_fail)
    await settle(app)
    assert client.state["root.generating"]["steps"] == [1]


async def test_a_task_may_return_an_event(
    app: App, ref: TrioActorRef[TokenActor], client: Client
) -> None:
    await fire(ref, Generating.return_an_event)
    await settle(app)
    assert client.state["root.generating"]["heard"] == ["returned"]


async def test_a_task_that_triggers_more_than_the_mailbox_holds_waits_for_room() -> None:
    async with App(root=Root, mailbox_capacity=2) as app:
        ref = app.directory.ref(TOKEN)
        await fire(ref, Generating.chatter, 10)
        async with app.modify_state(TOKEN) as state:
            await wait_all_tasks_blocked()
            assert len(ref.mailbox) == 2
            assert len(app.background_tasks) == 1
        await settle(app)
        assert state.get_substate(Generating).heard == [str(number) for number in range(10)]


@pytest.mark.parametrize("make_store", [MemoryStore, WrappedStore])
async def test_handlers_that_follow_from_a_turn_are_no_more_than_the_mailbox_holds(
    make_store: Callable[[], Any],
) -> None:
    told: list[str] = []

    def on_error(error: BaseException, context: ErrorContext) -> None:
        told.append(f"{type(error).__name__} in {context.name}")

    async with App(root=Root, store=make_store(), mailbox_capacity=3, on_error=on_error) as app:
        ref, page = app.directory.ref(TOKEN), Client()
        ref.tell(Attach(page))
        await wait_all_tasks_blocked()
        async with app.modify_state(TOKEN):  # events that wait are no reason
            ref.tell(Event("root.following.ask_for", [3], 1, "page"))
            ref.tell(Event("root.following.ask_for", [1], 2, "page"))
            ref.tell(Event("root.following.ask_for", [0], 3, "page"))
        await settle(app)
        # The second turn was undone, as three waited; then there was room.
        assert page.state["root.following"] == {"asked": [3, 0], "followed": 3}
        assert [failure.code for failure in page.failures] == ["handler_failed"]
        assert told == ["MailboxFullError in Following.ask_for"]
        ref.tell(Event("root.following.ask_for", [4], 4, "page"))
        ref.tell(Event("root.following.ask_in_halves", [2], 5, "page"))
        ref.tell(Event("root.following.ask_in_a_block", [4], 6, "page"))
        await settle(app)
        assert page.state["root.following"] == {"asked": [3, 0, 2], "followed": 5}
        assert told[1:] == [
            "MailboxFullError in Following.ask_for",
            "MailboxFullError in Following.ask_in_halves",
            "MailboxFullError in Following.ask_in_a_block",
        ]


async def test_what_a_task_triggers_leaves_room_for_what_follows_from_turns() -> None:
    """It waits for room, and so may have all there is."""
    told: list[BaseException] = []
    app = App(root=Root, mailbox_capacity=5, on_error=lambda error, _: told.append(error))
    async with app:
        ref, Following.gate = app.directory.ref(TOKEN), trio.Event()
        ref.tell(Event("root.following.ask_often", [20]))
        await wait_all_tasks_blocked()
        async with app.modify_state(TOKEN):
            ref.tell(Event("root.following.ask_for", [2]))
            Following.gate.set()
            await wait_all_tasks_blocked()
            assert len(ref.mailbox) == 5
        await settle(app)
        async with app.modify_state(TOKEN) as state:
            assert state.get_substate(Following).followed == 22
    assert told == []


async def test_a_handler_that_triggers_itself_twice_each_time_fills_no_memory(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.CRITICAL)
    async with App(root=Root, mailbox_capacity=100, shutdown_timeout=0) as app:
        app.directory.ref(TOKEN).tell(Event("root.following.double"))
        for _ in range(20):
            await trio.lowlevel.checkpoint()
        assert len(app.directory.ref(TOKEN).mailbox) in (99, 100)


# ---- turns for others ---------------------------------------------------------------------------


async def test_modify_state_gives_the_root_and_commits_at_the_end(app: App, client: Client) -> None:
    async with app.modify_state(TOKEN) as state:
        state.get_substate(["counting"]).counter = 5
        assert client.patches == []
    assert client.state["root.counting"]["counter"] == 5
    with pytest.raises(ImmutableStateError):
        state.get_substate(Counting).counter = 6


async def test_a_block_that_raises_leaves_nothing_behind_and_passes_the_exception_on(
    app: App, client: Client
) -> None:
    with pytest.raises(ValueError, match="on purpose"):  # noqa: PT012 - the block is the point
        async with app.modify_state(TOKEN) as state:
            state.get_substate(Counting).counter = 5
            raise ValueError("on purpose")
    async with app.modify_state(TOKEN) as state:
        assert state.get_substate(Counting).counter == 0
    assert client.patches == []


async def test_tasks_started_inside_the_block_may_write_until_it_ends(app: App) -> None:
    failures: list[BaseException] = []
    gate = trio.Event()

    async def write_twice(state: State) -> None:
        counting = state.get_substate(Counting)
        counting.counter += 1
        await gate.wait()
        try:
            counting.counter += 1
        except ImmutableStateError as error:
            failures.append(error)

    async with trio.open_nursery() as nursery:
        async with app.modify_state(TOKEN) as state:
            nursery.start_soon(write_twice, state)
            await wait_all_tasks_blocked()
        gate.set()
    assert len(failures) == 1
    assert state.get_substate(Counting).counter == 1


async def test_a_task_beside_the_holder_may_not_write(app: App) -> None:
    async with app.modify_state(TOKEN) as state:
        gate, done = trio.Event(), trio.Event()

        async def write() -> None:
            await gate.wait()
            with pytest.raises(ImmutableStateError):
                state.get_substate(Counting).counter = 1
            done.set()

    app.start_soon(write)
    async with app.modify_state(TOKEN):
        gate.set()
        await done.wait()


async def test_turns_of_two_tokens_are_held_at_once_and_do_not_mix(app: App) -> None:
    async with app.modify_state("one") as one, app.modify_state("two") as two:
        one.get_substate(Counting).counter = 1
        two.get_substate(Counting).counter = 2
    async with app.modify_state("one") as one:
        assert one.get_substate(Counting).counter == 1
        with pytest.raises(ImmutableStateError):
            two.get_substate(Counting).counter = 3


async def test_turns_are_granted_in_the_order_in_which_they_were_asked_for(app: App) -> None:
    order: list[int] = []

    async def take(number: int) -> None:
        async with app.modify_state(TOKEN):
            order.append(number)
            await trio.lowlevel.checkpoint()

    async with app.modify_state(TOKEN), trio.open_nursery() as nursery:
        for number in range(5):
            app.start_soon(take, number)
            await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    await wait_all_tasks_blocked()
    assert order == list(range(5))


async def test_turns_and_events_come_in_the_order_of_the_mailbox(
    app: App, ref: TrioActorRef[TokenActor]
) -> None:
    async def hear(what: str) -> None:
        async with app.modify_state(TOKEN) as state:
            state.get_substate(Generating).hear(what)

    async with trio.open_nursery() as nursery:
        async with app.modify_state(TOKEN):
            for what in ("turn 1", "event 2", "turn 3", "turn 4", "event 5", "event 6", "turn 7"):
                if what.startswith("turn"):
                    nursery.start_soon(hear, what)
                else:
                    ref.tell(event(Generating.hear, [what]))
                await wait_all_tasks_blocked()
        ref.tell(event(Generating.hear, ["event 8"]))
        await hear("turn 9")
    async with app.modify_state(TOKEN) as state:
        assert [what[-1] for what in state.get_substate(Generating).heard] == list("123456789")


async def test_a_turn_that_nothing_comes_before_is_there_at_once_and_others_run_now_and_then(
    app: App,
) -> None:
    steps = 0

    async def count_steps() -> None:
        nonlocal steps
        while True:
            await trio.lowlevel.checkpoint()
            steps += 1

    app.start_soon(count_steps)
    await app.directory.ref(TOKEN).ask(event(Generating.hear, [""]), block=False)
    steps = 0
    for number in range(200):
        before = steps
        with suppress(ValueError):
            async with app.modify_state(TOKEN):
                assert steps == before
                if number % 2:
                    raise ValueError("whether it is committed or not")
    assert steps >= 5  # after each 32 turns; who is first then is drawn


async def test_one_turn_of_each_of_many_tokens_lets_others_run_now_and_then(app: App) -> None:
    steps = 0

    async def count_steps() -> None:
        nonlocal steps
        while True:
            await trio.lowlevel.checkpoint()
            steps += 1

    tokens = [f"tab {number}" for number in range(300)]
    for token in tokens:
        await app.directory.ref(token).ask(event(Generating.hear, [""]), block=False)
    app.start_soon(count_steps)
    steps = 0
    for token in tokens:
        async with app.modify_state(token):
            pass
    assert steps >= 5  # as of the turns of one token


async def test_a_turn_leaves_nothing_for_the_garbage_collector(app: App) -> None:
    """Not the block that was left, which knows its turn, nor how a handler held its own."""
    ref, rounds = app.directory.ref(TOKEN), 20
    await ref.ask(event(Generating.step), block=False)
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            async with app.modify_state(TOKEN) as state:
                state.get_substate(Counting).counter += 1
            await ref.ask(event(Generating.step), block=False)
        assert gc.collect() < rounds
    finally:
        gc.enable()


async def test_who_is_cancelled_already_is_given_no_turn(app: App) -> None:
    await app.directory.ref(TOKEN).ask(event(Generating.hear, [""]), block=False)
    with trio.CancelScope() as scope:
        scope.cancel()
        async with app.modify_state(TOKEN):
            pytest.fail("it was given one")
    assert scope.cancelled_caught


async def test_a_token_is_not_put_to_rest_while_its_turn_is_held(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with App(root=Root, idle_timeout=1) as app:
        await app.directory.ref(TOKEN).ask(event(Counting.toggle), block=False)
        await settle(app)
        async with app.modify_state(TOKEN) as state:
            await trio.sleep(10)
            assert len(app.directory) == 1
            state.get_substate(Counting).counter += 7
        await trio.sleep(10)
        assert len(app.directory) == 0


async def test_who_is_cancelled_while_waiting_for_its_turn_leaves_the_mailbox_moving(
    app: App, client: Client
) -> None:
    holder = trio.Event()
    app.start_soon(_hold_until, app, holder)
    await wait_all_tasks_blocked()
    async with trio.open_nursery() as waiting:
        waiting.start_soon(_add, app, 10)
        await wait_all_tasks_blocked()
        app.start_soon(_add, app, 1)
        await wait_all_tasks_blocked()
        waiting.cancel_scope.cancel()
    holder.set()
    await wait_all_tasks_blocked()
    assert client.state["root.counting"]["counter"] == 1


async def _hold_until(app: App, event: trio.Event) -> None:
    async with app.modify_state(TOKEN):
        await event.wait()


async def _add(app: App, amount: int) -> None:
    async with app.modify_state(TOKEN) as state:
        state.get_substate(Counting).counter += amount


@pytest.mark.parametrize("make_store", [MemoryStore, WrappedStore])
async def test_a_block_that_a_nursery_of_its_own_outlives_is_undone_and_keeps_nobody_waiting(
    make_store: Callable[[], Store],
) -> None:
    async with App(root=Root, store=make_store()) as app:
        with pytest.RaisesGroup(pytest.RaisesExc(RuntimeError, match="stack corrupted")):
            await _outlive(app)
        with trio.fail_after(5):
            async with app.modify_state(TOKEN) as state:
                assert state.get_substate(Counting).counter == 0


async def _outlive(app: App) -> None:
    async with AsyncExitStack() as stack, app.modify_state(TOKEN) as state:
        state.get_substate(Counting).counter = 5
        await stack.enter_async_context(trio.open_nursery())


async def test_a_task_that_fails_in_a_block_it_never_leaves_keeps_nobody_waiting(
    app: App, client: Client
) -> None:
    app.directory.ref(TOKEN).tell(Event("root.lingering.enter_and_fail"))
    await wait_all_tasks_blocked()
    with trio.fail_after(5):
        async with app.modify_state(TOKEN) as state:
            assert state.get_substate(Lingering).value == 0


async def test_a_turn_that_nobody_waits_for_is_not_lent(app: App, client: Client) -> None:
    app.directory.ref(TOKEN).tell(TurnRequest("nobody"))
    with trio.fail_after(5):
        async with app.modify_state(TOKEN):
            pass


async def test_a_block_that_is_cancelled_leaves_nothing_behind(
    app: App, client: Client, autojump_clock: MockClock
) -> None:
    with trio.move_on_after(1):
        async with app.modify_state(TOKEN) as state:
            state.get_substate(Counting).counter = 5
            await trio.sleep_forever()
    await _add(app, 1)
    assert client.state["root.counting"]["counter"] == 1


async def test_a_task_that_a_handler_starts_elsewhere_waits_for_its_turn_as_anybody_does(
    app: App, client: Client, autojump_clock: MockClock
) -> None:
    """It has inherited the right to write; but nobody waits for it, and so it waits for nobody."""
    async with trio.open_nursery() as nursery:
        Elsewhere.nursery = nursery
        app.directory.ref(TOKEN).tell(event(Elsewhere.start))
        await trio.sleep(2)
    assert client.state["root.elsewhere"]["log"] == ["the handler", "the task"]


class Lingering(Root):
    value: int = 0

    @background
    async def enter_and_fail(self) -> None:
        await self.__aenter__()
        self.value = 5
        raise ValueError("never left")

    @background
    async def linger(self, how: str) -> None:
        await linger(current_app(), how, self.get_token())

    @background
    async def yield_and_linger(self, how: str) -> AsyncIterator[Any]:
        yield
        await linger(current_app(), how, self.get_token())


async def linger(app: App, how: str, *tokens: str) -> None:
    """Enter the blocks of two tokens, and leave neither."""
    for token in (*tokens, "another"):
        state = await app.modify_state(token).__aenter__()
        state.get_substate(Lingering).value = 5
    match how:
        case "fail":
            raise ValueError("never left")
        case "wait":
            await trio.sleep_forever()
        case "insist":
            try:
                await trio.sleep_forever()
            finally:
                raise ValueError("cut off")
        case _:
            return


class Elsewhere(Root):
    nursery: ClassVar[trio.Nursery]
    log: list[str] = []

    async def start(self) -> None:
        self.nursery.start_soon(_write_elsewhere, current_app(), self.get_token())
        await trio.sleep(1)
        self.log.append("the handler")


async def _write_elsewhere(app: App, token: str) -> None:
    async with app.modify_state(token) as state:
        state.get_substate(Elsewhere).log.append("the task")


@pytest.mark.parametrize("make_store", [MemoryStore, WrappedStore])
@pytest.mark.parametrize("who", ["own", "linger", "yield_and_linger"])
@pytest.mark.parametrize("how", ["return", "fail", "wait", "insist", "wait and be cancelled"])
async def test_blocks_that_are_never_left_are_undone_when_their_task_ends(
    who: str, how: str, make_store: Callable[[], Any], autojump_clock: MockClock
) -> None:
    told: list[BaseException] = []
    app = App(
        root=Root, store=make_store(), turn_timeout=5, on_error=lambda error, _: told.append(error)
    )
    async with app:
        if who == "own":
            app.start_soon(linger, app, how.partition(" ")[0], TOKEN)
        else:
            app.directory.ref(TOKEN).tell(Event(f"root.lingering.{who}", [how.partition(" ")[0]]))
        await wait_all_tasks_blocked()
        if how == "wait and be cancelled":
            for task in app.background_tasks:
                task.cancel()
        for token in (TOKEN, "another"):
            with trio.fail_after(6):
                async with app.modify_state(token) as state:
                    assert state.get_substate(Lingering).value == 0
        await wait_all_tasks_blocked()
        assert app.background_tasks == set()
    expected: dict[str, list[type[BaseException]]] = {
        "return": [], "fail": [ValueError], "wait": [TurnTimeoutError], "insist": [ValueError],
    }  # fmt: skip
    is_cancelled = how == "wait and be cancelled" and who != "own"
    assert [type(error) for error in told] == (
        [] if is_cancelled else expected[how.partition(" ")[0]]
    )


async def look_at_a_row(app: App) -> None:
    async for _ in rows_of_another(app):
        break


async def rows_of_another(app: App) -> AsyncIterator[int]:
    async with app.modify_state("another") as state:
        state.get_substate(Lingering).value = 5
        yield 1
        yield 2


@pytest.mark.filterwarnings("ignore::ResourceWarning")
async def test_a_block_of_a_generator_that_is_not_exhausted_is_undone_when_that_is_closed(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def look(app: App) -> None:
        await look_at_a_row(app)
        await trio.sleep_forever()

    async with App(root=Root, turn_timeout=5, shutdown_timeout=10) as app:
        app.start_soon(look, app)
        await wait_all_tasks_blocked()
        with trio.fail_after(1):
            async with app.modify_state("another") as state:
                assert state.get_substate(Lingering).value == 0
        await trio.sleep(10)
        assert "is held by" not in caplog.text
        began = trio.current_time()
    assert trio.current_time() == began  # no block is waited for


async def test_a_block_that_was_abandoned_twice_has_ended_once(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    kept: list[Any] = []

    async def begin(app: App) -> None:
        kept.append(rows_of_another(app))
        await anext(kept[0])

    async def look(app: App) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(begin, app)
        await trio.sleep_forever()

    async with App(root=Root, turn_timeout=5, shutdown_timeout=10) as app:
        app.start_soon(look, app)
        await trio.sleep(6)  # its task has ended, and so did its turn
        with pytest.raises(RuntimeError, match="by another task"):
            await kept[0].aclose()
        began = trio.current_time()
    assert trio.current_time() == began


async def test_a_block_whose_task_ended_without_leaving_it_is_undone_by_the_turn_timeout(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Where nobody else looks after a task, and trio complains of it."""
    caplog.set_level(logging.CRITICAL)
    async with App(root=Root, turn_timeout=5, shutdown_timeout=10) as app:

        async def children() -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(linger, app, "return")

        app.start_soon(children)
        with trio.fail_after(6):
            await wait_all_tasks_blocked()
            async with app.modify_state("another") as state:
                assert state.get_substate(Lingering).value == 0
        began = trio.current_time()
    assert trio.current_time() == began


async def test_an_app_that_is_entered_in_a_block_of_another_leaves_that_alone(app: App) -> None:
    async def nothing() -> None:
        await trio.lowlevel.checkpoint()

    async with app.modify_state(TOKEN) as state:
        async with App(root=Root) as inner:
            inner.start_soon(nothing)
            inner.directory.ref(TOKEN).tell(Event("root.generating.return_an_event"))
            await wait_all_tasks_blocked()
        state.get_substate(Counting).counter = 3
    async with app.modify_state(TOKEN) as state:
        assert state.get_substate(Counting).counter == 3


async def test_modify_state_that_is_left_by_another_task_is_left_alone(app: App) -> None:
    block = app.modify_state(TOKEN)

    async def leave() -> None:
        with pytest.raises(RuntimeError, match="by another task"):
            await block.__aexit__(None, None, None)

    async with block as state, trio.open_nursery() as nursery:
        nursery.start_soon(leave)
        await wait_all_tasks_blocked()
        state.get_substate(Counting).counter = 3
    async with app.modify_state(TOKEN) as state:
        assert state.get_substate(Counting).counter == 3


async def test_a_block_can_be_used_once(app: App) -> None:
    block = app.modify_state(TOKEN)
    async with block:
        pass
    with pytest.raises(RuntimeError, match="used already"):
        async with block:
            pass


async def test_leaving_the_app_undoes_open_turns_and_tells_their_holders() -> None:
    entered, gate, held = trio.Event(), trio.Event(), list[Counting]()

    async def hold(app: App) -> None:
        with pytest.raises(ActorDeadError, match="ended before its block did"):  # noqa: PT012
            async with app.modify_state(TOKEN) as state:
                state.get_substate(Counting).counter = 5
                entered.set()
                await gate.wait()
                with pytest.raises(ImmutableStateError):
                    state.get_substate(Counting).counter = 6
                held.append(state.get_substate(Counting))
        assert held[0].counter == 0

    async with trio.open_nursery() as nursery:
        async with App(root=Root, shutdown_timeout=0) as app:
            app.directory.ref("other").tell(event(Counting.toggle))
            nursery.start_soon(hold, app)
            await entered.wait()
            assert len(app.background_tasks) == 1
        assert app.background_tasks == set()
        gate.set()


async def test_who_waits_for_a_turn_when_the_app_is_left_is_told() -> None:
    async def wait(app: App) -> None:
        with pytest.raises(ActorDeadError):
            async with app.modify_state(TOKEN):
                pytest.fail("the turn was held by another")

    async with trio.open_nursery() as nursery, App(root=Root, shutdown_timeout=0) as app:
        app.start_soon(_hold_until, app, trio.Event())
        await wait_all_tasks_blocked()
        nursery.start_soon(wait, app)
        await wait_all_tasks_blocked()


# ---- what user code may do wrong, and ends alone ------------------------------------------------


class OtherRoot(State, root=True):
    @background
    async def elsewhere(self) -> None: ...


class Unruly(Root):
    value: int = 0

    async def yield_nonsense_in_a_nursery(self) -> AsyncIterator[Any]:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            self.value = 1
            yield 3

    @background
    async def yield_nonsense_in_a_task(self) -> AsyncIterator[Any]:
        async with trio.open_nursery() as nursery, self:
            nursery.start_soon(trio.sleep_forever)
            self.value = 1
            yield 3

    def exit(self) -> None:
        self.value = 1
        raise SystemExit(3)

    @background
    async def exit_in_a_task(self) -> None:
        raise SystemExit(3)

    def return_what_is_elsewhere(self) -> Any:
        return OtherRoot.elsewhere

    @background
    async def never_leave(self) -> None:
        await self.__aenter__()
        self.value = 1

    @background
    async def yield_under_modify_state(self) -> AsyncIterator[Any]:
        async with current_app().modify_state(self.get_token()):
            self.value = 1
            yield Counting.write("yielded")  # pyright: ignore
            self.value = 2
            raise ValueError("after the yield")


@pytest.mark.parametrize(
    "handler",
    [
        "yield_nonsense_in_a_nursery", "yield_nonsense_in_a_task", "exit", "exit_in_a_task",
        "return_what_is_elsewhere", "never_leave",
    ],
)  # fmt: skip
async def test_what_goes_wrong_in_one_handler_ends_there(
    app: App,
    ref: TrioActorRef[TokenActor],
    client: Client,
    caplog: pytest.LogCaptureFixture,
    handler: str,
) -> None:
    with trio.fail_after(5):
        await ref.ask(event(getattr(Unruly, handler), seq=1), block=False)
        await settle(app)
        assert client.ack == 1
        assert client.state["root.unruly"]["value"] == 0
        await fire(ref, Counting.write, "the next")
    assert client.state["root.counting"]["log"] == ["the next"]
    if handler == "never_leave":  # it is given back, and that is all
        assert caplog.text == ""
    else:
        assert handler.removeprefix("return_what_is_") in caplog.text


async def test_a_scope_of_the_handler_that_times_out_at_a_yield_cuts_no_commit(
    autojump_clock: MockClock,
) -> None:
    class Slow(WrappedStore):
        async def commit(self, lease: Any, commit: Commit) -> None:
            await trio.sleep(5)
            await super().commit(lease, commit)

    async with App(root=Root, store=Slow()) as app:
        client, ref = Client(), app.directory.ref(TOKEN)
        ref.tell(Attach(client))
        await ref.ask(event(Timing.yield_in_a_scope, seq=1), block=False)
        assert client.ack == 1
        assert client.state["root.timing"] == {"value": 1, "timed_out": True}


class Timing(Root):
    value: int = 0
    timed_out: bool = False

    async def yield_in_a_scope(self) -> AsyncIterator[Any]:
        with trio.move_on_after(1) as scope:
            self.value = 1
            yield
            await trio.lowlevel.checkpoint()
            self.value = 2
        self.timed_out = scope.cancelled_caught


async def test_a_yield_under_modify_state_commits_what_is_done_so_far(
    app: App, ref: TrioActorRef[TokenActor], client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    await fire(ref, Unruly.yield_under_modify_state)
    await settle(app)
    assert client.state["root.unruly"]["value"] == 1
    assert client.state["root.counting"]["log"] == ["yielded"]
    assert "after the yield" in caplog.text


async def test_a_connection_that_the_actor_did_not_come_to_is_closed(
    ref: TrioActorRef[TokenActor],
) -> None:
    stopped = ref.stop(block=False)
    client = Client()
    ref.mailbox.post_always(Attach(client))
    await stopped
    assert client.closed


# ---- connections --------------------------------------------------------------------------------


async def test_clients_see_every_turn_and_one_that_comes_later_starts_from_the_whole_state(
    app: App, ref: TrioActorRef[TokenActor], client: Client
) -> None:
    await fire(ref, Counting.write, "one")
    late = Client("another page")
    ref.tell(Attach(late))
    await fire(ref, Counting.write, "two")
    assert late.state == client.state
    ref.tell(Detach(late))
    await fire(ref, Counting.write, "three")
    assert late.state != client.state
    assert client.version == 3


async def test_an_event_that_comes_twice_is_done_once(
    ref: TrioActorRef[TokenActor], client: Client
) -> None:
    once = event(Counting.write, ["once"], seq=1)
    await ref.ask(once, block=False)
    await ref.ask(once, block=False)
    assert client.state["root.counting"]["log"] == ["once"]
    again = Client("page")
    ref.tell(Attach(again))
    await ref.ask(once, block=False)
    assert again.ack == 1
    await ref.ask(event(Counting.write, ["new page"], 1, "reloaded"), block=False)
    assert again.state["root.counting"]["log"] == ["once", "new page"]


async def test_failures_and_acknowledgements_go_to_the_page_that_sent_the_event(
    ref: TrioActorRef[TokenActor], client: Client
) -> None:
    other = Client("other page")
    ref.tell(Attach(other))
    await ref.ask(Event("root.nothing", [], 1, "page"), block=False)
    await ref.ask(event(Counting.write, [1], 2, "page"), block=False)
    assert [f.code for f in client.failures] == ["unknown_handler", "bad_arguments"]
    assert client.failures[1].where == "$.args[0]"
    assert (client.ack, other.ack, other.failures) == (2, 0, [])


async def test_connections_are_closed_when_their_actor_stops(
    ref: TrioActorRef[TokenActor], client: Client
) -> None:
    await ref.stop(block=False)
    await wait_all_tasks_blocked()
    assert client.closed
