"""Turns that are held too long, and turns that wait for each other; all in virtual time."""

from __future__ import annotations

import contextvars
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import Any, ClassVar

import pytest
import trio
from clients import Client
from hypothesis import given, strategies as st
from stores import WrappedStore
from trio.testing import MockClock, wait_all_tasks_blocked

from actorstate import (
    App,
    DeadlockError,
    ErrorContext,
    ImmutableStateError,
    MailboxFullError,
    State,
    TurnTimeoutError,
    background,
    computed,
    current_app,
    event,
)
from actorstate.actors.messages import Attach, Event
from actorstate.state.commit import Commit

TOKEN = "tab"  # noqa: S105 - a name, to the library


class Root(State, root=True):
    pass


class Held(Root):
    gate: ClassVar[threading.Event]
    entered: ClassVar[trio.Event]
    writes_on: ClassVar[bool]
    noted: ClassVar[list[type[BaseException]]] = []
    value: int = 0
    seen: list[str] = []

    def add(self, amount: int = 1) -> None:
        self.value += amount

    async def hold(self, seconds: float) -> None:
        self.value = 99
        await trio.sleep(seconds)

    async def hold_in_pieces(self, pieces: int) -> AsyncIterator[None]:
        for _ in range(pieces):
            self.value += 1
            yield
            await trio.sleep(3)

    def jump(self, seconds: float) -> None:
        clock = trio.lowlevel.current_clock()
        assert isinstance(clock, MockClock)
        clock.jump(seconds)

    @event(thread=True)
    def hold_in_thread(self) -> None:
        self.value = 99
        trio.from_thread.run_sync(self.entered.set)
        while not self.gate.wait(0.001):
            if self.writes_on:
                self.value += 1
            else:
                trio.from_thread.check_cancelled()

    async def hold_shielded(self) -> None:
        self.value = 99
        with trio.CancelScope(shield=True):
            await trio.sleep(20)

    async def yield_after_a_shield(self) -> AsyncIterator[None]:
        await self.hold_shielded()
        yield

    async def yield_in_a_shield(self) -> AsyncIterator[None]:
        self.value = 99
        with trio.CancelScope(shield=True), suppress(TurnTimeoutError):
            await trio.sleep(20)
            yield

    async def swallow_the_cancellation(self) -> None:
        self.value = 99
        with suppress(trio.Cancelled):
            await trio.sleep_forever()

    @background
    async def hold_a_block(self, seconds: float) -> None:
        try:
            async with self:
                self.value = 99
                await trio.sleep(seconds)
        except TurnTimeoutError as error:
            async with self:
                self.seen.append(type(error).__name__)

    @background
    async def hold_a_shielded_block(self, seconds: float) -> None:
        try:
            async with self:
                with trio.CancelScope(shield=True):
                    self.value = 99
                    await trio.sleep(seconds)
        except TurnTimeoutError as error:
            async with self:
                self.seen.append(type(error).__name__)

    @background
    async def yield_in_a_block(self, seconds: float) -> AsyncIterator[None]:
        async with self:
            self.value = 1
            yield
            self.value = 99
            await trio.sleep(seconds)
            yield

    @background
    async def note_at_a_yield(self) -> AsyncIterator[None]:
        async with self:
            self.value = 1
            try:
                yield
            except BaseException as error:
                self.noted.append(type(error))
                raise

    async def catch_at_a_yield(self) -> AsyncIterator[None]:
        self.value = 1
        with suppress(OSError):
            yield
        await trio.sleep(1)

    def note_at_a_plain_yield(self) -> Iterator[None]:
        self.value = 1
        try:
            yield
        except BaseException as error:
            self.noted.append(type(error))
            raise

    @background
    async def catch_at_a_yield_in_a_block(self) -> AsyncIterator[None]:
        async with self:
            self.value = 1
            with suppress(OSError):
                yield
            await trio.sleep(1)

    @background
    async def raise_while_overdue(self) -> None:
        async with self:
            self.value = 99
            try:
                await trio.sleep_forever()
            finally:
                raise KeyError("instead")


class Slowly(Root):
    value: int = 0

    @computed
    async def hanging(self) -> int:
        if self.value:
            await trio.sleep_forever()
        return 0

    def touch(self) -> None:
        self.value = 1


class SlowStore(WrappedStore):
    seconds: float = 0

    async def commit(self, lease: Any, commit: Commit) -> None:
        await trio.sleep(self.seconds)
        await super().commit(lease, commit)


class FailingStore(WrappedStore):
    error: OSError | None = None

    async def commit(self, lease: Any, commit: Commit) -> None:
        if self.error is not None:
            raise self.error
        await super().commit(lease, commit)


@pytest.fixture
def told() -> list[tuple[BaseException, ErrorContext]]:
    return []


@pytest.fixture
async def app(told: list[Any]) -> AsyncIterator[App]:
    async with App(
        root=Root,
        slow_turn=2,
        turn_timeout=10,
        on_error=lambda error, context: told.append((error, context)),
    ) as app:
        yield app


def join(app: App, token: str = TOKEN) -> Client:
    client = Client()
    app.directory.ref(token).tell(Attach(client))
    return client


async def fire(app: App, method: str, *args: Any, token: str = TOKEN) -> None:
    sent = Event(f"root.{method}", list(args))
    await app.directory.ref(token).ask(sent, block=False)


async def value_of(app: App, token: str = TOKEN) -> int:
    async with app.modify_state(token) as state:
        return state.get_substate(Held).value


async def end_of_tasks(app: App) -> None:
    while app.background_tasks:
        await next(iter(app.background_tasks)).wait()


# ---- held for long ------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["hold", "hold_a_block"])
async def test_a_slow_turn_is_logged_with_its_holder_while_it_is_held(
    app: App, caplog: pytest.LogCaptureFixture, method: str, autojump_clock: MockClock
) -> None:
    app.directory.ref(TOKEN).tell(Event(f"root.held.{method}", [5]))
    await trio.sleep(1.9)
    assert caplog.text == ""
    await trio.sleep(0.2)
    assert f"the turn of token tab is held by {_holder(method)} (open) for 2 s" in caplog.text
    await end_of_tasks(app)
    assert await value_of(app) == 99
    assert caplog.text.count("is held by") == 1


def _holder(method: str) -> str:
    name = f"Held.{method}"
    return f"background task {name} of token tab" if "block" in method else name


async def test_each_turn_is_looked_after_by_itself(
    app: App, caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    for start, token in enumerate("abc"):
        app.directory.ref(token).tell(Event("root.held.hold", [100]))
        await trio.sleep(0.5 + start)
    app.directory.ref("d").tell(Event("root.held.hold", [0]))
    await trio.sleep(30)
    seen = [record.getMessage() for record in caplog.records if "held by" in record.message]
    assert [(text.split()[4], "ending it" in text) for text in seen] == [
        ("a", False), ("b", False), ("c", False), ("a", True), ("b", True), ("c", True),
    ]  # fmt: skip


@pytest.mark.parametrize(("slow_turn", "turn_timeout"), [(10, 3), (3, 3), (100, 3)])
async def test_a_turn_may_be_over_before_it_would_be_slow(
    slow_turn: float, turn_timeout: float, autojump_clock: MockClock
) -> None:
    async with App(root=Root, slow_turn=slow_turn, turn_timeout=turn_timeout) as app:
        for _ in range(3):
            started = trio.current_time()
            app.directory.ref("other").tell(Event("root.held.hold", [2]))
            await fire(app, "held.hold", 100)
            assert trio.current_time() - started == pytest.approx(3)
            await trio.sleep(1)


async def test_limits_may_be_switched_off(autojump_clock: MockClock) -> None:
    inf = float("inf")
    async with App(root=Root, slow_turn=inf, turn_timeout=inf) as app:
        await fire(app, "held.hold", 10_000)
        assert await value_of(app) == 99


async def test_a_handler_that_blocks_the_whole_process_is_logged_when_it_is_over(
    app: App, caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    await fire(app, "held.jump", 3)
    assert "held by Held.jump (open), 3.0 s, in which nothing else ran" in caplog.text


async def test_a_turn_of_usual_length_is_not_logged(
    app: App, caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    for _ in range(30):
        await fire(app, "held.hold", 1)
        await fire(app, "held.add")
    assert caplog.text == ""


async def test_a_handler_that_holds_its_turn_for_too_long_is_cancelled_and_undone(
    app: App, told: list[Any], caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    client, started = join(app), trio.current_time()
    sent = Event("root.held.hold", [1000], seq=1, instance="page")
    app.directory.ref(TOKEN).tell(sent)
    await fire(app, "held.add")
    assert trio.current_time() - started == pytest.approx(10)
    assert client.state["root.held"]["value"] == 1
    assert [failure.code for failure in client.failures] == ["handler_failed"]
    [(error, context)] = told
    assert isinstance(error, TurnTimeoutError)
    assert "Held.hold held the turn of token tab for longer than 10 s" in str(error)
    assert (context.name, context.token, context.arguments) == ("Held.hold", TOKEN, (1000,))
    assert "ending it" in caplog.text


@pytest.mark.parametrize(
    "method",
    ["hold_shielded", "swallow_the_cancellation", "yield_after_a_shield", "yield_in_a_shield"],
)
async def test_a_handler_that_does_not_let_itself_be_cancelled_is_undone_at_its_end(
    app: App, told: list[Any], autojump_clock: MockClock, method: str
) -> None:
    await fire(app, f"held.{method}")
    assert [type(error) for error, _ in told] == [TurnTimeoutError]
    assert await value_of(app) == 0


async def test_what_a_handler_yielded_before_its_time_was_over_stays(
    app: App, autojump_clock: MockClock
) -> None:
    await fire(app, "held.hold_in_pieces", 1000)
    assert await value_of(app) == 4  # after 0, 3, 6 and 9 s


@pytest.mark.parametrize("method", ["hold_a_block", "hold_a_shielded_block"])
async def test_a_block_that_is_held_for_too_long_is_undone_and_raises_turn_timeout_error(
    app: App, method: str, autojump_clock: MockClock
) -> None:
    started = trio.current_time()
    await fire(app, f"held.{method}", 50)
    await wait_all_tasks_blocked()
    await fire(app, "held.add")
    is_shielded = method == "hold_a_shielded_block"  # it lets go when it comes to its end
    assert trio.current_time() - started == pytest.approx(50 if is_shielded else 10)
    assert await value_of(app) == 1
    await end_of_tasks(app)
    async with app.modify_state(TOKEN) as state:
        assert state.get_substate(Held).seen == ["TurnTimeoutError"]


@pytest.mark.parametrize("method", ["hold_a_block", "hold_a_shielded_block"])
async def test_who_gets_the_turn_after_one_that_was_held_for_too_long_has_it_alone(
    app: App, method: str, autojump_clock: MockClock
) -> None:
    async def hold_next() -> None:
        async with app.modify_state(TOKEN) as state:
            held = state.get_substate(Held)
            await trio.sleep(1)
            assert held.value == 0, "somebody else had the turn meanwhile"
            held.value = 10

    await fire(app, f"held.{method}", 20)
    await wait_all_tasks_blocked()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hold_next)
        await wait_all_tasks_blocked()
        await fire(app, "held.add")
    assert await value_of(app) == 11


async def test_a_block_is_undone_to_its_last_yield_when_it_is_held_for_too_long(
    app: App, told: list[Any], autojump_clock: MockClock
) -> None:
    await fire(app, "held.yield_in_a_block", 1000)
    await end_of_tasks(app)
    assert await value_of(app) == 1
    assert [type(error) for error, _ in told] == [TurnTimeoutError]


async def test_a_holder_that_raises_something_else_when_its_time_is_over_raises_that(
    app: App, told: list[Any], autojump_clock: MockClock
) -> None:
    await fire(app, "held.raise_while_overdue")
    await end_of_tasks(app)
    assert await value_of(app) == 0
    assert [type(error) for error, _ in told] == [KeyError]


async def test_outside_the_scope_that_was_ended_nothing_is_cancelled(
    app: App, autojump_clock: MockClock
) -> None:
    held: list[Held] = []
    with pytest.raises(TurnTimeoutError):  # noqa: PT012 - the block is the point
        async with app.modify_state(TOKEN) as state:
            held.append(state.get_substate(Held))
            held[0].value = 99
            await trio.sleep_forever()
    await trio.sleep(1)
    with pytest.raises(ImmutableStateError):
        held[0].value = 1
    assert await value_of(app) == 0


@pytest.mark.parametrize("writes_on", [False, True])
async def test_a_handler_in_a_thread_is_told_and_undone_when_it_comes_to_its_end(
    mock_clock: MockClock, told: list[Any], writes_on: bool
) -> None:
    Held.gate, Held.entered, Held.writes_on = threading.Event(), trio.Event(), writes_on
    async with App(root=Root, turn_timeout=10, on_error=lambda *it: told.append(it)) as app:
        app.directory.ref(TOKEN).tell(Event("root.held.hold_in_thread"))
        await Held.entered.wait()
        mock_clock.jump(11)
        await fire(app, "held.add")
        assert await value_of(app) == 1
        assert [type(error) for error, _ in told] == [TurnTimeoutError]


async def test_a_turn_is_not_undone_under_a_thread_that_writes_in_its_block(
    mock_clock: MockClock,
) -> None:
    entered, gate = trio.Event(), threading.Event()
    refused: list[ImmutableStateError] = []

    def write(held: Held) -> None:
        held.value = 99
        trio.from_thread.run_sync(entered.set)
        assert gate.wait(10)
        assert held.value == 99  # as it was left: nobody touches it meanwhile
        try:
            held.value = 100
        except ImmutableStateError as error:
            refused.append(error)

    async def hold(app: App) -> None:
        with pytest.raises(TurnTimeoutError):
            async with app.modify_state(TOKEN) as state:
                await trio.to_thread.run_sync(write, state.get_substate(Held))

    async with App(root=Root, turn_timeout=10) as app:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hold, app)
            await entered.wait()
            mock_clock.jump(11)
            await wait_all_tasks_blocked()
            gate.set()
        assert len(refused) == 1
        assert await value_of(app) == 0


async def test_an_error_of_the_store_that_is_caught_at_a_yield_is_raised_at_the_end(
    told: list[Any], autojump_clock: MockClock
) -> None:
    store = FailingStore()
    async with App(root=Root, store=store, on_error=lambda *it: told.append(it)) as app:
        for method in ("catch_at_a_yield", "catch_at_a_yield_in_a_block"):
            store.error = OSError("full")
            app.directory.ref(TOKEN).tell(Event(f"root.held.{method}"))
            await trio.sleep(0.5)
            store.error = None
            await trio.sleep(1)
            assert await value_of(app) == 0
    assert [str(error) for error, _ in told] == ["full", "full"]


async def test_what_goes_wrong_at_the_yield_of_a_plain_handler_is_raised_there(
    told: list[Any],
) -> None:
    Held.noted = []
    store = FailingStore()
    store.error = OSError("full")
    async with App(root=Root, store=store, on_error=lambda *it: told.append(it)) as app:
        await fire(app, "held.note_at_a_plain_yield")
        assert Held.noted == [OSError]
        assert [str(error) for error, _ in told] == ["full"]
        assert await value_of(app) == 0


async def test_a_block_whose_time_is_over_while_its_yield_is_stored_is_told_at_the_yield(
    autojump_clock: MockClock,
) -> None:
    Held.noted = []
    store = SlowStore()
    store.seconds = 20
    async with App(root=Root, store=store, turn_timeout=10) as app:
        await fire(app, "held.note_at_a_yield")
        await end_of_tasks(app)
        assert Held.noted == [TurnTimeoutError]
        assert await value_of(app) == 1


async def test_a_computed_var_that_never_comes_is_ended_with_the_turn_that_waits_for_it(
    app: App, told: list[Any], autojump_clock: MockClock
) -> None:
    join(app)
    await fire(app, "slowly.touch")
    assert [type(error) for error, _ in told] == [TurnTimeoutError]
    async with app.modify_state(TOKEN) as state:
        assert state.get_substate(Slowly).value == 0


def test_a_commit_that_is_on_its_way_is_not_undone_when_the_time_is_over() -> None:
    async def main() -> None:
        store = SlowStore()
        async with App(root=Root, store=store, turn_timeout=10, slow_turn=1) as app:
            client = join(app)
            store.seconds = 15
            with pytest.raises(TurnTimeoutError):  # noqa: PT012 - the block is the point
                async with app.modify_state(TOKEN) as state:
                    state.get_substate(Held).value = 1
                    await _checkpoint(state)
                    pytest.fail("the time was over")
            store.seconds = 0
            assert await value_of(app) == 1
            assert client.state["root.held"]["value"] == 1

    trio.run(main, clock=MockClock(autojump_threshold=0))


async def _checkpoint(state: State) -> None:
    """Do what a ``yield`` in the block of a background task does."""
    block = state._State__tree.door.current_block()  # pyright: ignore
    await block.checkpoint(())


# ---- circles ------------------------------------------------------------------------------------


class Crossing(Root):
    value: int = 0
    errors: ClassVar[list[BaseException]]

    async def modify(self, tokens: list[str]) -> None:
        self.value += 1
        await trio.sleep(1)
        await self._modify(tokens)

    @background
    async def modify_later(self, tokens: list[str]) -> None:
        async with self:
            self.value += 1
            await trio.sleep(1)
            await self._modify(tokens)

    async def _modify(self, tokens: list[str]) -> None:
        try:
            await add_to(current_app(), tokens)
        except DeadlockError as error:
            self.errors.append(error)
            raise

    @event(thread=True)
    def modify_in_thread(self, token: str) -> None:
        try:
            with current_app().modify_state_from_thread(token) as state:
                state.get_substate(Crossing).value += 1
        except DeadlockError as error:
            self.errors.append(error)
            raise


async def add_to(app: App, tokens: list[str]) -> None:
    """Take the turns of all of them, one inside the other, and add one to each."""
    if tokens:
        async with app.modify_state(tokens[0]) as state:
            state.get_substate(Crossing).value += 1
            await trio.lowlevel.checkpoint()
            await add_to(app, tokens[1:])


async def values(app: App, tokens: str) -> list[int]:
    found: list[int] = []
    for token in tokens:
        async with app.modify_state(token) as state:
            found.append(state.get_substate(Crossing).value)
    return found


@pytest.mark.parametrize("first", ["modify", "modify_later"])
@pytest.mark.parametrize("second", ["modify", "modify_later"])
async def test_a_circle_of_two_turns_raises_deadlock_error_in_the_one_that_closes_it(
    app: App, told: list[Any], first: str, second: str, autojump_clock: MockClock
) -> None:
    Crossing.errors = []
    started = trio.current_time()
    app.directory.ref("a").tell(Event(f"root.crossing.{first}", [["b"]]))
    app.directory.ref("b").tell(Event(f"root.crossing.{second}", [["a"]]))
    await trio.sleep(1.5)
    await end_of_tasks(app)
    assert sum(await values(app, "ab")) == 2  # one is done, in both tokens; the other is undone
    assert trio.current_time() - started == pytest.approx(1.5)
    [error] = Crossing.errors
    assert "Crossing.modify" in str(error)
    assert "(token a)" in str(error) or "(token b)" in str(error)
    assert [type(error) for error, _ in told] == [DeadlockError]


async def test_a_circle_of_three_is_named_in_full(app: App, autojump_clock: MockClock) -> None:
    Crossing.errors = []
    for token, other in ("ab", "bc", "ca"):
        app.directory.ref(token).tell(Event("root.crossing.modify", [[other]]))
    await trio.sleep(3)
    [error] = Crossing.errors
    assert str(error).count(", which waits for Crossing.modify") == 2
    assert sorted(await values(app, "abc")) == [1, 1, 2]


async def test_a_thread_may_close_a_circle_too(app: App, mock_clock: MockClock) -> None:
    Crossing.errors = []
    async with app.modify_state("b") as state:
        app.directory.ref("a").tell(Event("root.crossing.modify_in_thread", ["b"]))
        waiting = Crossing.errors
        while not _waits(app, "b"):
            await trio.lowlevel.checkpoint()
        with pytest.raises(DeadlockError, match=r"held by Crossing.modify_in_thread \(token a\)"):
            await add_to(app, ["a"])
        state.get_substate(Crossing).value += 1
        assert waiting == []
    assert await values(app, "ab") == [0, 2]


def _waits(app: App, token: str) -> bool:
    return not app.directory.ref(token).mailbox.empty()


async def test_who_waits_in_the_block_in_a_task_of_its_own_closes_the_circle_as_well(
    app: App, autojump_clock: MockClock
) -> None:
    async def cross(mine: str, other: str) -> None:
        async with app.modify_state(mine) as state:
            state.get_substate(Crossing).value += 1
            await trio.sleep(1)
            async with trio.open_nursery() as inner:
                inner.start_soon(add_to, app, [other])

    with pytest.RaisesGroup(DeadlockError, flatten_subgroups=True):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cross, "a", "b")
            nursery.start_soon(cross, "b", "a")
    assert await values(app, "ab") == [0, 0]


@pytest.mark.parametrize("patience", [0.5, 5])
async def test_who_waits_no_longer_is_in_no_circle(
    app: App, patience: float, autojump_clock: MockClock
) -> None:
    """It has waited for a turn, got it or given up, and holds its own still."""

    async def wait_for_a_while() -> None:
        async with app.modify_state("a"):
            with trio.move_on_after(patience):
                await add_to(app, ["b"])
            await trio.sleep(3)

    async with trio.open_nursery() as nursery:
        async with app.modify_state("b"):
            nursery.start_soon(wait_for_a_while)
            await trio.sleep(1)
        await wait_all_tasks_blocked()
        await add_to(app, ["b", "a"])
    assert await values(app, "ab") == [1, 1 if patience < 1 else 2]


async def test_a_task_that_the_block_does_not_wait_for_closes_no_circle(
    app: App, autojump_clock: MockClock
) -> None:
    async def hold_other(opened: trio.Event) -> None:
        async with app.modify_state("b"):
            opened.set()
            await trio.sleep(1)
            await add_to(app, ["a"])  # waits for the end of the block below, which ends

    opened = trio.Event()
    async with trio.open_nursery() as outer:
        app.start_soon(hold_other, opened)
        await opened.wait()
        async with app.modify_state("a"):
            outer.start_soon(add_to, app, ["b"])  # with the right to write "a", for now
            await trio.sleep(2)
    await wait_all_tasks_blocked()
    assert await values(app, "ab") == [1, 1]


@given(
    st.lists(st.lists(st.sampled_from("abcd"), min_size=1, max_size=3, unique=True), max_size=6),
    st.random_module(),
)
def test_law_turns_of_many_tokens_are_all_done_or_refused_and_never_hang(
    wanted: list[list[str]], schedule: object
) -> None:
    done: list[list[str]] = []
    refused: list[list[str]] = []

    async def follow(app: App, tokens: list[str]) -> None:
        try:
            await add_to(app, tokens)
        except DeadlockError:
            refused.append(tokens)
        else:
            done.append(tokens)

    async def main() -> list[int]:
        started = trio.current_time()
        async with App(root=Root) as app:
            async with trio.open_nursery() as nursery:
                for tokens in wanted:
                    nursery.start_soon(follow, app, tokens)
            assert trio.current_time() == started  # no timeout had to help
            return await values(app, "abcd")

    counts = trio.run(main, clock=MockClock(autojump_threshold=0))
    # Inner blocks are committed when they end, whatever becomes of the outer ones.
    least = [sum(token in tokens for tokens in done) for token in "abcd"]
    most = [sum(token in tokens for tokens in done + refused) for token in "abcd"]
    assert all(low <= count <= high for low, count, high in zip(least, counts, most, strict=True))
    if all(tokens == sorted(tokens) for tokens in wanted):
        assert refused == []  # taken in one order everywhere, there is no circle


class Computing(Root):
    other: str = ""

    @computed
    async def there(self) -> int:
        other = self.other
        if not other:
            return 0
        async with current_app().modify_state(other) as state:
            return state.get_substate(Crossing).value

    def look(self, other: str) -> None:
        self.other = other

    @background
    async def look_later(self, other: str) -> None:
        async with self:
            self.other = other


@pytest.mark.parametrize("method", ["look", "look_later"])
async def test_what_is_computed_at_the_end_of_a_turn_cannot_wait_for_that_turn(
    app: App, caplog: pytest.LogCaptureFixture, autojump_clock: MockClock, method: str
) -> None:
    client, started = join(app), trio.current_time()
    await fire(app, f"computing.{method}", "other")
    await end_of_tasks(app)
    assert client.state["root.computing"]["there"] == 0  # of another token it may be computed
    await fire(app, f"computing.{method}", TOKEN)
    await end_of_tasks(app)
    assert trio.current_time() == started
    assert "the turn is yours already" in caplog.text


async def test_a_chain_of_those_who_wait_may_be_long(app: App, autojump_clock: MockClock) -> None:
    length = 1_100  # longer than Python's stack is deep

    async def wait_for_the_next(number: int, entered: trio.Event) -> None:
        async with app.modify_state(str(number)):
            entered.set()
            await trio.sleep(1 - number / length)  # the last ones first
            await add_to(app, [str(number + 1)])

    async with app.modify_state(str(length)):
        for number in range(length):
            entered = trio.Event()
            app.start_soon(wait_for_the_next, number, entered)
            await entered.wait()
        await trio.sleep(2)
    await wait_all_tasks_blocked()
    assert await values(app, [str(length)]) == [1]  # pyright: ignore[reportArgumentType]


# ---- many who wait ------------------------------------------------------------------------------


async def test_beyond_max_waiters_a_block_is_refused_and_the_others_get_their_turn() -> None:
    async with App(root=Root, max_waiters=2, mailbox_capacity=1) as app:
        async with app.modify_state(TOKEN), trio.open_nursery() as nursery:
            for _ in range(2):
                app.start_soon(add_to, app, [TOKEN])
            await wait_all_tasks_blocked()
            with pytest.raises(MailboxFullError, match="2 wait for the turn of token tab already"):
                await _elsewhere(nursery, add_to, app, [TOKEN])
        await wait_all_tasks_blocked()
        assert await values(app, [TOKEN]) == [2]  # pyright: ignore[reportArgumentType]


async def _elsewhere(nursery: trio.Nursery, async_fn: Callable[..., Any], *args: Any) -> None:
    """Await something without the right to the turn that is held here."""
    failures: list[BaseException] = []

    async def run() -> None:
        try:
            await async_fn(*args)
        except MailboxFullError as error:
            failures.append(error)

    contextvars.Context().run(nursery.start_soon, run)
    await wait_all_tasks_blocked()
    if failures:
        raise failures[0]


async def test_who_stops_waiting_leaves_nothing_in_the_mailbox(
    app: App, autojump_clock: MockClock
) -> None:
    async with app.modify_state("b"):
        pass
    held = trio.Event()
    app.start_soon(_hold, app, held)
    await wait_all_tasks_blocked()
    for _ in range(50):
        with trio.move_on_after(0.1):
            await add_to(app, [TOKEN])
    assert app.directory.ref(TOKEN).mailbox.empty()
    held.set()
    assert await value_of(app) == 0


async def _hold(app: App, until: trio.Event) -> None:
    async with app.modify_state(TOKEN):
        await until.wait()


def test_options_out_of_range_are_refused() -> None:
    for wrong in ({"max_tasks": -1}, {"turn_timeout": float("nan")}, {"mailbox_capacity": 0}):
        with pytest.raises(ValueError, match="has to be at least"):
            App(**wrong)  # pyright: ignore[reportArgumentType]


def test_the_log_of_the_library_is_quiet_by_itself() -> None:
    assert not logging.getLogger("actorstate").handlers
