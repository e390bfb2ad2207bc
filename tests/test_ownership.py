"""Who owns a token: handing it over, losing it, taking it up again, and putting it to rest.

Two apps that share a memory store stand for two processes. Time is virtual, and schedules are
drawn, so what fails can be run again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Final, final

import attrs
import pytest
import trio
from clients import Client
from hypothesis import given, strategies as st
from programs import in_virtual_time
from stores import WrappedStore
from trio.testing import MockClock, wait_all_tasks_blocked

from actorstate import (
    App,
    Effect,
    LeaseLostError,
    MemoryStore,
    State,
    StoreError,
    StoreUnavailableError,
    background,
    console_log,
    current_app,
)
from actorstate.actors.messages import Attach, Detach, EffectRequest, Event, Origin, Welcome
from actorstate.state.commit import Commit
from actorstate.state.snapshot import CallRecord
from actorstate.stores.base import Lease, Loaded

TOKEN: Final = "tab"  # noqa: S105 - a name, to the library


class Root(State, root=True):
    pass


class Owned(Root):
    noted: ClassVar[list[App]] = []
    count: int = 0
    names: list[str] = []
    _hidden: int = 0
    began: list[str] = []

    def add(self) -> None:
        self.count += 1

    def look(self) -> Effect:
        return console_log("looked")

    def fail(self) -> None:
        self.count += 100
        raise ValueError("not today")

    def name(self, name: str) -> Any:
        self.names.append(name)
        if name.endswith("+"):
            return Owned.name(name[:-1])  # pyright: ignore
        return None

    def trigger(self) -> Any:
        self.count += 1
        return [Owned.name("first"), Owned.name("second++"), Owned.work]  # pyright: ignore

    async def add_slowly(self) -> None:
        self.count += 1
        await trio.sleep(5)

    def note_where(self) -> None:
        self.noted.append(current_app())

    async def note_where_later(self) -> Any:
        await trio.sleep(1)
        return Owned.note_where

    async def name_later(self, name: str) -> Any:
        await trio.sleep(1)
        return Owned.name(name)  # pyright: ignore

    async def add_in_stretches(self) -> Any:
        self.count += 1
        yield
        self.names.append("stretch")

    @background
    async def work(self) -> None:
        async with self:
            self.names.append("worked")

    @background
    async def climb(self, steps: int, seconds: float) -> None:
        for _ in range(steps):
            async with self:
                self.count += 1
            await trio.sleep(seconds)

    @background(resume=True)
    async def endure(self, name: str, seconds: float) -> None:
        async with self:
            self.began.append(name)
        await trio.sleep(seconds)
        async with self:
            self.began.append(f"{name} ended")


def owned(app: App, name: str, *args: Any, seq: int | None = None) -> None:
    instance = "page" if seq is not None else ""
    app.directory.ref(TOKEN).tell(Event(f"root.owned.{name}", list(args), seq, instance))


async def add(app: App, amount: int = 1) -> int:
    async with app.modify_state(TOKEN) as state:
        state.get_substate(Owned).count += amount
        return state.get_substate(Owned).count


def join(app: App, name: str = "page") -> Client:
    client = Client(name)
    app.directory.ref(TOKEN).tell(Attach(client))
    return client


async def stored(store: Any) -> Any:
    snapshot = await store.peek(TOKEN)
    return snapshot.values.get("root.owned", {}) if snapshot is not None else {}


# ---- handing over ------------------------------------------------------------------------------


async def test_an_owner_that_has_nothing_to_do_gives_the_token_up_at_once() -> None:
    store = MemoryStore()
    async with (
        App(root=Root, store=store, shutdown_timeout=0) as one,
        App(root=Root, store=store, shutdown_timeout=0) as other,
    ):
        await add(one)
        with trio.fail_after(5):
            assert await add(other) == 2


async def test_what_one_app_changes_the_page_of_the_other_sees(autojump_clock: MockClock) -> None:
    store = MemoryStore()
    async with App(root=Root, store=store) as one, App(root=Root, store=store) as other:
        page = join(one)
        assert await add(one) == 1
        assert await add(other) == 2
        await trio.sleep(3)
        assert page.state["root.owned"]["count"] == 2
        assert await add(one) == 3
        await trio.sleep(3)
        assert (page.state["root.owned"]["count"], page.version) == (3, 3)


async def test_a_token_that_is_wanted_while_it_is_taken_up_is_given_up_after_its_use() -> None:
    class Gated(WrappedStore):
        def __init__(self) -> None:
            super().__init__()
            self.gate = trio.Event()

        async def load(self, token: str, on_wanted: Callable[[], None]) -> Any:
            loaded = await super().load(token, on_wanted)
            await self.gate.wait()
            return loaded

    store = Gated()
    async with (
        App(root=Root, store=store, shutdown_timeout=0) as one,
        App(root=Root, store=store, shutdown_timeout=0) as other,
    ):
        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                for app in (one, other):
                    nursery.start_soon(add, app)
                    await wait_all_tasks_blocked()
                store.gate.set()
        assert (await stored(store))["count"] == 2


async def test_the_token_is_given_up_after_the_open_turn(autojump_clock: MockClock) -> None:
    store = MemoryStore()
    async with App(root=Root, store=store) as one, App(root=Root, store=store) as other:
        owned(one, "add_slowly")
        owned(one, "add")
        await trio.sleep(1)
        began = trio.current_time()
        assert await add(other) == 2  # before the second event, which waits in the mailbox
        assert trio.current_time() - began == pytest.approx(4, abs=0.1)
        assert await add(other) in (3, 4)
        await trio.sleep(1)
        assert (await stored(store))["count"] == 4


async def test_a_lent_turn_comes_to_its_end_first(autojump_clock: MockClock) -> None:
    store = MemoryStore()
    async with App(root=Root, store=store) as one, App(root=Root, store=store) as other:
        async with one.modify_state(TOKEN) as state:
            other.start_soon(add, other)
            await trio.sleep(5)
            state.get_substate(Owned).count += 10
        await trio.sleep(1)
        assert (await stored(store))["count"] == 11


async def test_two_idle_pages_do_not_play_ball_with_the_token(autojump_clock: MockClock) -> None:
    class Counting(WrappedStore):
        loads = 0

        async def load(self, token: str, on_wanted: Callable[[], None]) -> Any:
            self.loads += 1
            return await super().load(token, on_wanted)

    store = Counting()
    async with App(root=Root, store=store) as one, App(root=Root, store=store) as other:
        join(one)
        join(other)
        await trio.sleep(100)
        assert store.loads < 250


@given(
    st.lists(
        st.tuples(st.sampled_from([0, 1]), st.sampled_from(["turn", "event", "task", "wait"])),
        max_size=14,
    ),
    st.sampled_from([0.0, 0.01, 0.3]),
)
def test_law_two_apps_lose_no_update_and_both_pages_see_all(
    script: list[tuple[int, str]], latency: float
) -> None:
    in_virtual_time(play_with_two_apps, script, latency)


class Late(WrappedStore):
    """Takes its time with everything."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    async def load(self, token: str, on_wanted: Callable[[], None]) -> Any:
        loaded = await super().load(token, on_wanted)
        await trio.sleep(self.seconds)
        return loaded

    async def commit(self, lease: Any, commit: Commit) -> None:
        await trio.sleep(self.seconds)
        await super().commit(lease, commit)


async def play_with_two_apps(script: list[tuple[int, str]], latency: float) -> None:
    store = Late(latency) if latency else MemoryStore()
    expected, sent = 0, [0, 0]
    async with App(root=Root, store=store) as one, App(root=Root, store=store) as other:
        apps, pages = [one, other], [join(one, "page 0"), join(other, "page 1")]
        for number, kind in script:
            app = apps[number]
            if kind == "turn":
                app.start_soon(add, app)
                expected += 1
            elif kind == "event":
                sent[number] += 1
                event = Event("root.owned.add", [], sent[number], f"page {number}")
                app.directory.ref(TOKEN).tell(event)
                expected += 1
            elif kind == "task":
                owned(app, "climb", 3, 0.02)
                expected += 3
            else:
                await trio.sleep(0.05)
        await trio.sleep(200)
        for page, count in zip(pages, sent, strict=True):
            assert page.state["root.owned"]["count"] == expected
            assert (page.version, page.ack) == (expected, count)
            assert not page.closed
    assert (await stored(store)).get("count", 0) == expected


async def test_states_kept_from_before_are_those_of_now(autojump_clock: MockClock) -> None:
    store = MemoryStore()
    async with App(root=Root, store=store) as one, App(root=Root, store=store) as other:
        async with one.modify_state(TOKEN) as state:
            kept = state.get_substate(Owned)
            kept.names.append("a")
            names = kept.names
        async with other.modify_state(TOKEN) as state:
            state.get_substate(Owned).count = 7
        async with kept:
            assert kept.count == 7
            names.append("b")  # what the other did not touch is what it was
            assert kept.names == ["a", "b"]
        async with other.modify_state(TOKEN) as state:
            assert state.get_substate(Owned).names == ["a", "b"]


# ---- losing it ---------------------------------------------------------------------------------


async def test_another_state_of_the_same_version_is_not_taken_for_the_same(
    autojump_clock: MockClock,
) -> None:
    """Where a token begins anew, its versions come to the same numbers again."""
    store = MemoryStore()
    async with App(root=Root, store=store) as one, App(root=Root, store=store) as other:
        page = join(one)
        assert await add(one, 1) == 1
        await store.delete(TOKEN)
        assert await add(other, 5) == 5
        with pytest.raises(LeaseLostError):
            await add(one)
        await trio.sleep(3)
        assert (page.state["root.owned"]["count"], page.version) == (5, 1)
        assert await add(one) == 6
        assert await stored(store) == {"count": 6}
        assert page.state["root.owned"]["count"] == 6


@final
class Fault(WrappedStore):
    """Does with each commit what is drawn: takes it, or loses it, the lease, or the answer."""

    def __init__(self, schedule: list[str]) -> None:
        super().__init__()
        self.schedule = schedule
        self.shown: list[tuple[int, int]] = []

    async def commit(self, lease: Any, commit: Commit) -> None:
        await trio.lowlevel.checkpoint()
        fate = self.schedule.pop(0) if self.schedule else "fine"
        if fate == "lost":
            await self.inner.release(lease)
        elif fate == "refused":
            raise StoreError("full")
        elif fate == "unanswered":
            await super().commit(lease, commit)
            await self.inner.release(lease)
            raise StoreUnavailableError("no answer")
        elif fate == "unreached":
            await self.inner.release(lease)
            raise StoreUnavailableError("no way")
        await super().commit(lease, commit)


FATES: Final = ["fine", "lost", "refused", "unanswered", "unreached"]


@final
@attrs.define
class Tab:
    """A page that comes back when it is sent away, and sends again what was not acknowledged."""

    app: App
    sent: int = 0
    failed: int = 0
    client: Client = attrs.field(factory=Client)
    is_back: bool = True
    """Whether it has sent again what was not acknowledged: new events come behind it."""

    def connect(self) -> None:
        self.client = Client()
        self.app.directory.ref(TOKEN).tell(Attach(self.client))

    def send(self) -> None:
        self.sent += 1
        if self.is_back:
            self.post(self.sent)

    def post(self, seq: int) -> None:
        event = Event("root.owned.add", [], seq, "page")
        self.app.directory.ref(TOKEN).tell(event)

    async def stay(self) -> None:
        """Come back whenever it is closed."""
        while True:
            await trio.sleep(0.25)
            if self.client.closed:
                self.failed += len([f for f in self.client.failures if f.code == "handler_failed"])
                self.app.directory.ref(TOKEN).tell(Detach(self.client))
                self.connect()
                self.is_back = False
                while self.client.version < 0 and not self.client.closed:  # noqa: ASYNC110 - as a page
                    await trio.sleep(0.25)
                if not self.client.closed:
                    self.is_back = True
                    for seq in range(self.client.ack + 1, self.sent + 1):
                        self.post(seq)


@given(st.lists(st.sampled_from(FATES), max_size=12), st.integers(1, 12), st.booleans())
def test_law_every_event_counts_once_whatever_becomes_of_its_commit(
    schedule: list[str], events: int, in_a_burst: bool
) -> None:
    in_virtual_time(play_with_faults, schedule, events, in_a_burst)


async def play_with_faults(schedule: list[str], events: int, in_a_burst: bool) -> None:
    store = Fault(list(schedule))
    refused = schedule.count("refused")
    async with App(root=Root, store=store) as app, trio.open_nursery() as nursery:
        tab = Tab(app)
        tab.connect()
        nursery.start_soon(tab.stay)
        for _ in range(events):
            tab.send()
            if not in_a_burst:
                await trio.sleep(0.1)
        await trio.sleep(300)
        nursery.cancel_scope.cancel()
        count = tab.client.state["root.owned"]["count"]
        failed = tab.failed + len(tab.client.failures)
        # One that the store refused is told to its page as failed, and settled.
        assert count + failed == events
        assert failed <= refused
        assert tab.client.ack == events
    assert (await stored(store)).get("count", 0) == count


@pytest.mark.parametrize("fate", ["lost", "unanswered", "unreached"])
async def test_who_holds_a_turn_gets_the_error_and_nothing_false_is_left(
    fate: str, autojump_clock: MockClock
) -> None:
    store = Fault(["fine", fate])
    async with App(root=Root, store=store) as app:
        page = join(app)
        await add(app)
        with pytest.raises((LeaseLostError, StoreUnavailableError)):
            await add(app)
        await trio.sleep(2)
        expected = 2 if fate == "unanswered" else 1
        assert page.state["root.owned"]["count"] == expected
        assert await add(app) == expected + 1
        assert page.version == expected + 1


async def test_a_page_whose_event_may_be_stored_comes_back_with_it(
    autojump_clock: MockClock,
) -> None:
    store = Fault(["unanswered"])
    async with App(root=Root, store=store) as app:
        page = join(app)
        owned(app, "add", seq=1)
        owned(app, "add", seq=2)
        await trio.sleep(2)
        assert page.closed
        assert [failure.code for failure in page.failures] == ["unavailable"]
        assert page.failures[0].seq is None
        app.directory.ref(TOKEN).tell(Detach(page))
        again = join(app)
        await wait_all_tasks_blocked()
        # The first was stored, as it turned out; so there was no need to let the second wait.
        assert (again.ack, again.state["root.owned"]["count"]) == (2, 2)
        owned(app, "add", seq=1)
        owned(app, "add", seq=2)
        await wait_all_tasks_blocked()
        assert (again.ack, again.state["root.owned"]["count"]) == (2, 2)


async def test_no_event_overtakes_one_that_is_to_come_again(autojump_clock: MockClock) -> None:
    store = Fault(["unreached"])
    async with App(root=Root, store=store) as app:
        join(app)
        for seq in (1, 2, 3):
            owned(app, "add", seq=seq)
        await trio.sleep(2)
        again = join(app)
        await wait_all_tasks_blocked()
        assert (again.ack, again.state["root.owned"]["count"]) == (0, 0)
        owned(app, "add", seq=3)  # late, of the connection before
        for seq in (1, 2, 3):
            owned(app, "add", seq=seq)
        await wait_all_tasks_blocked()
        assert (again.ack, again.state["root.owned"]["count"]) == (3, 3)


async def test_a_page_may_come_back_without_the_event_for_which_it_was_sent_away(
    autojump_clock: MockClock,
) -> None:
    """Numbers may have gaps. Nothing comes from the old connection once it is detached."""
    store = Fault(["unreached"])
    async with App(root=Root, store=store) as app:
        page = join(app)
        owned(app, "add", seq=5)
        owned(app, "add", seq=7)  # what it has sent already comes to nothing
        await trio.sleep(2)
        assert page.closed
        app.directory.ref(TOKEN).tell(Detach(page))
        again = join(app)
        owned(app, "add", seq=9)
        await trio.sleep(2)
        assert (again.ack, again.state["root.owned"]["count"]) == (9, 1)


async def test_a_store_that_is_away_takes_no_actor_with_it(autojump_clock: MockClock) -> None:
    class Away(WrappedStore):
        is_away = False

        async def load(self, token: str, on_wanted: Callable[[], None]) -> Any:
            if self.is_away:
                await trio.sleep(5)
                raise StoreUnavailableError("away")
            return await super().load(token, on_wanted)

        async def commit(self, lease: Any, commit: Commit) -> None:
            if self.is_away:
                await trio.sleep(5)
                await self.inner.release(lease)
                raise StoreUnavailableError("away")
            await super().commit(lease, commit)

    store = Away()
    async with App(root=Root, store=store) as app:
        page, other = join(app), join(app, "other")
        await add(app)
        store.is_away = True
        owned(app, "add", seq=1)
        for _ in range(3):
            with pytest.raises(StoreUnavailableError):
                await add(app)
        assert page.closed
        assert not other.closed
        store.is_away = False
        await trio.sleep(10)
        assert other.state["root.owned"]["count"] == 1
        assert await add(app) == 2
        assert other.state["root.owned"]["count"] == 2


async def test_nothing_is_shown_without_a_commit_by_who_does_not_own_the_token(
    autojump_clock: MockClock,
) -> None:
    class Uncertain(WrappedStore):
        """Its leases are never certain, and every second one is lost when it is asked."""

        asked = 0

        async def load(self, token: str, on_wanted: Callable[[], None]) -> Any:
            loaded = await super().load(token, on_wanted)
            return Loaded(loaded.snapshot, UncertainLease(loaded.lease))

        async def commit(self, lease: Any, commit: Commit) -> None:
            await super().commit(lease.inner, commit)

        async def release(self, lease: Any) -> None:
            await super().release(lease.inner)

        async def confirm(self, lease: Any) -> None:
            self.asked += 1
            await trio.lowlevel.checkpoint()
            if self.asked % 2:
                await self.inner.release(lease.inner)
                raise LeaseLostError("taken over")

    store = Uncertain()
    async with App(root=Root, store=store) as app:
        client = join(app)
        await wait_all_tasks_blocked()
        assert client.closed
        assert client.version == -1
        again = join(app)
        await wait_all_tasks_blocked()
        assert again.version == 0
        owned(app, "look", seq=1)
        await wait_all_tasks_blocked()
        assert (again.effects, again.ack, again.closed) == ([], 0, True)


async def test_an_effect_outside_of_turns_waits_until_the_token_is_back(
    autojump_clock: MockClock,
) -> None:
    class Forgetful(WrappedStore):
        """Its leases are lost as soon as somebody asks for them."""

        losses = 2

        async def load(self, token: str, on_wanted: Callable[[], None]) -> Any:
            loaded = await super().load(token, on_wanted)
            return Loaded(loaded.snapshot, UncertainLease(loaded.lease))

        async def commit(self, lease: Any, commit: Commit) -> None:
            await super().commit(lease.inner, commit)

        async def release(self, lease: Any) -> None:
            await super().release(lease.inner)

        async def confirm(self, lease: Any) -> None:
            await trio.lowlevel.checkpoint()
            if confirms and self.losses:
                self.losses -= 1
                await self.inner.release(lease.inner)
                raise LeaseLostError("taken over")

    confirms = False
    async with App(root=Root, store=Forgetful()) as app:
        page = join(app)
        await wait_all_tasks_blocked()
        confirms = True
        mailbox = app.directory.ref(TOKEN).mailbox
        mailbox.post_always(EffectRequest(console_log("late"), Origin("page")))
        await trio.sleep(10)
        assert [effect.args for effect in page.effects] == [{"value": "late"}]
        assert not page.closed


@attrs.frozen
class UncertainLease:
    inner: Lease

    @property
    def token(self) -> str:
        return self.inner.token

    @property
    def epoch(self) -> int:
        return self.inner.epoch

    def is_certain(self) -> bool:
        return False


async def test_after_a_commit_that_was_cut_off_nothing_is_stored_that_knows_nothing_of_it(
    autojump_clock: MockClock,
) -> None:
    class Unheard(WrappedStore):
        """Takes what it is given, and in the end never says so."""

        is_heard = True

        async def commit(self, lease: Any, commit: Commit) -> None:
            await super().commit(lease, commit)
            if not self.is_heard:
                await trio.sleep_forever()

    store = Unheard()
    async with App(root=Root, store=store, shutdown_timeout=0) as app:
        join(app)
        owned(app, "look", seq=1)
        await wait_all_tasks_blocked()
        store.is_heard = False
        owned(app, "add", seq=2)
        await wait_all_tasks_blocked()
    snapshot = await store.peek(TOKEN)
    assert snapshot is not None
    assert (snapshot.version, snapshot.done) == (1, {"page": 2})


# ---- calls -------------------------------------------------------------------------------------


async def test_what_a_turn_asked_for_is_called_after_a_crash(autojump_clock: MockClock) -> None:
    class Crashing(WrappedStore):
        """Takes one commit, and then nothing any more."""

        left = 1

        async def commit(self, lease: Any, commit: Commit) -> None:
            if not self.left:
                await trio.sleep_forever()
            self.left -= 1
            await super().commit(lease, commit)

    store = Crashing()
    async with App(root=Root, store=store, shutdown_timeout=0) as app:
        owned(app, "trigger", seq=1)
        await trio.sleep(1)
    snapshot = await store.peek(TOKEN)
    assert snapshot is not None
    assert snapshot.done == {"page": 1}
    assert [(call.name, call.args) for call in snapshot.calls] == [
        ("root.owned.name", ("first",)),
        ("root.owned.name", ("second++",)),
        ("root.owned.work", ()),
    ]
    store.left = 1000
    async with App(root=Root, store=store) as app:
        owned(app, "trigger", seq=1)  # it is done
        await trio.sleep(1)
    names = (await stored(store))["names"]
    assert sorted(names) == ["first", "second", "second+", "second++", "worked"]
    assert [name for name in names if name != "worked"] == [
        "first", "second++", "second+", "second",
    ]  # fmt: skip
    snapshot = await store.peek(TOKEN)
    assert snapshot is not None
    assert snapshot.calls == ()


@given(st.lists(st.sampled_from(FATES), max_size=10))
def test_law_every_call_runs_once_whatever_becomes_of_its_commit(schedule: list[str]) -> None:
    in_virtual_time(call_with_faults, schedule)


async def call_with_faults(schedule: list[str]) -> None:
    store = Fault(["fine", *(fate for fate in schedule if fate != "refused")])
    async with App(root=Root, store=store) as app:
        owned(app, "name", "a+++")
        await trio.sleep(300)
        snapshot = await store.peek(TOKEN)
        assert snapshot is not None
        assert snapshot.values["root.owned"]["names"] == ["a+++", "a++", "a+", "a"]
        assert snapshot.calls == ()


@pytest.mark.parametrize("handovers", [0, 40])
async def test_a_call_is_run_where_it_was_asked_for_before_the_token_is_given_up(
    autojump_clock: MockClock, handovers: int
) -> None:
    Owned.noted, store = [], MemoryStore()
    async with App(root=Root, store=store) as one, App(root=Root, store=store) as other:
        for _ in range(handovers):
            await add(other)
            await add(one)
        owned(one, "note_where_later")
        await wait_all_tasks_blocked()
        async with other.modify_state(TOKEN):
            assert Owned.noted == [one]
    assert Owned.noted == [one]


async def test_calls_that_follow_from_calls_do_not_keep_the_token_from_others_for_ever(
    autojump_clock: MockClock,
) -> None:
    store = MemoryStore()
    async with App(root=Root, store=store) as one, App(root=Root, store=store) as other:
        owned(one, "name_later", 500 * "+")
        await wait_all_tasks_blocked()
        async with other.modify_state(TOKEN) as state:
            assert 0 < len(state.get_substate(Owned).names) < 250
    assert len((await stored(store))["names"]) == 501


async def leave_calls(store: Any, *names: str) -> None:
    """Let a store have calls as an owner leaves them that crashes before it comes to them."""
    loaded = await store.load(TOKEN, lambda: None)
    calls = [CallRecord(f"0.{number}", name, ()) for number, name in enumerate(names)]
    await store.commit(loaded.lease, Commit(0, (), (), calls=tuple(calls)))
    await store.release(loaded.lease)


async def test_a_call_left_by_a_crash_is_run_by_the_next_owner_before_it_gives_the_token_up(
    autojump_clock: MockClock,
) -> None:
    Owned.noted, store = [], MemoryStore()
    await leave_calls(store, "root.owned.note_where")
    async with App(root=Root, store=store) as one, App(root=Root, store=store) as other:
        owned(one, "add_slowly")
        await wait_all_tasks_blocked()
        async with other.modify_state(TOKEN):
            assert Owned.noted == [one]
    assert Owned.noted == [one]


async def test_a_call_whose_handler_is_no_more_is_forgotten(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    store = MemoryStore()
    await leave_calls(store, "root.owned.removed", "root.owned.add")
    async with App(root=Root, store=store) as app:
        await add(app)
    snapshot = await store.peek(TOKEN)
    assert snapshot is not None
    assert (snapshot.calls, snapshot.values["root.owned"]["count"]) == ((), 2)
    assert "root.owned.removed is not called any more" in caplog.text


async def test_a_handler_that_failed_is_not_called_again(autojump_clock: MockClock) -> None:
    class Failing(Root):
        def begin(self) -> Any:
            return [Failing.fail, Owned.add]

        def fail(self) -> None:
            raise ValueError("each time")

    store = WrappedStore()
    async with App(root=Root, store=store) as app:
        app.directory.ref(TOKEN).tell(Event("root.failing.begin"))
        await trio.sleep(1)
    snapshot = await store.peek(TOKEN)
    assert snapshot is not None
    assert snapshot.calls == ()
    assert (await stored(store))["count"] == 1


# ---- tasks that are resumed --------------------------------------------------------------------


async def test_a_task_that_runs_is_not_begun_again_by_the_next_owner(
    autojump_clock: MockClock,
) -> None:
    store = MemoryStore()
    async with App(root=Root, store=store) as one, App(root=Root, store=store) as other:
        owned(one, "endure", "a", 10.0)
        await trio.sleep(1)
        assert await add(other) == 1
        assert (len(one.background_tasks), len(other.background_tasks)) == (1, 0)
        await trio.sleep(20)
        assert (await stored(store))["began"] == ["a", "a ended"]
        snapshot = await store.peek(TOKEN)
        assert snapshot is not None
        assert snapshot.tasks == ()


async def test_a_task_is_begun_again_where_its_app_is_gone(autojump_clock: MockClock) -> None:
    store = MemoryStore()
    async with App(root=Root, store=store) as other:
        async with App(root=Root, store=store) as one:
            owned(one, "endure", "a", 10.0)
            await trio.sleep(1)
        assert await add(other) == 1
        assert len(other.background_tasks) == 1
        await trio.sleep(20)
        assert (await stored(store))["began"] == ["a", "a", "a ended"]


async def test_a_task_can_be_cancelled_from_another_app(autojump_clock: MockClock) -> None:
    _ = Owned.endure.cancel  # the program offers it
    store = MemoryStore()
    async with App(root=Root, store=store) as one, App(root=Root, store=store) as other:
        owned(one, "endure", "a", 1000.0)
        await trio.sleep(1)
        await add(other)
        owned(other, "endure.cancel")
        await trio.sleep(1)
        await add(one)
        await wait_all_tasks_blocked()
        assert len(one.background_tasks) == 0
        assert (await stored(store))["began"] == ["a"]


# ---- rest --------------------------------------------------------------------------------------


async def test_a_token_that_nobody_uses_goes_to_rest_and_comes_back(
    autojump_clock: MockClock,
) -> None:
    store = MemoryStore()
    async with App(root=Root, store=store, idle_timeout=10) as app:
        await add(app)
        await trio.sleep(9)
        assert len(app.directory) == 1
        await trio.sleep(5)
        assert len(app.directory) == 0
        assert await add(app) == 2


async def test_what_is_in_use_does_not_go_to_rest(autojump_clock: MockClock) -> None:
    async with App(root=Root, idle_timeout=1, disconnect_grace=20) as app:
        page = join(app)
        await trio.sleep(10)
        assert len(app.directory) == 1
        app.directory.ref(TOKEN).tell(Detach(page))
        await trio.sleep(15)
        assert len(app.directory) == 1  # it counts as connected for a while
        await trio.sleep(10)
        assert len(app.directory) == 0
        owned(app, "climb", 2, 10.0)
        await trio.sleep(15)
        assert len(app.directory) == 1
        await trio.sleep(10)
        assert len(app.directory) == 0
        async with app.modify_state(TOKEN):
            await trio.sleep(10)
            assert len(app.directory) == 1


async def test_events_that_changed_nothing_are_not_done_again_after_a_rest(
    autojump_clock: MockClock,
) -> None:
    store = MemoryStore()
    async with App(root=Root, store=store, idle_timeout=10, disconnect_grace=1) as app:
        page = join(app)
        owned(app, "look", seq=1)
        await wait_all_tasks_blocked()
        assert page.ack == 1
        app.directory.ref(TOKEN).tell(Detach(page))
        await trio.sleep(20)
        assert len(app.directory) == 0
        again = join(app)
        owned(app, "look", seq=1)
        await wait_all_tasks_blocked()
        assert (again.ack, again.effects) == (1, [])


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["event", "turn", "page", "thread"]),
            st.sampled_from([0.0, 0.2, 0.25, 0.999, 1.0, 1.001, 1.25, 1.5]),
        ),
        min_size=1,
        max_size=12,
    ),
    st.sampled_from([0.0, 0.25, 1.0]),
)
def test_law_no_message_is_lost_whenever_the_token_goes_to_rest(
    arrivals: list[tuple[str, float]], latency: float
) -> None:
    """Messages arrive in the same step as a rest begins, and just before and after it."""
    in_virtual_time(arrive_at_rests, arrivals, latency)


async def arrive_at_rests(arrivals: list[tuple[str, float]], latency: float) -> None:
    store = Late(latency) if latency else MemoryStore()
    expected, pages = 0, list[Client]()
    async with App(root=Root, store=store, idle_timeout=1, disconnect_grace=0.5) as app:
        for kind, pause in arrivals:
            await trio.sleep(pause)
            if kind == "event":
                owned(app, "add")
                expected += 1
            elif kind == "turn":
                app.start_soon(add, app)
                expected += 1
            elif kind == "thread":
                app.directory.ref(TOKEN).tell(Event("root.owned.add"))
                app.start_soon(add, app)
                expected += 2
            else:
                pages.append(join(app, f"page {len(pages)}"))
                app.directory.ref(TOKEN).tell(Detach(pages[-1]))
        await trio.sleep(20)
        assert len(app.directory) == 0
    assert all(page.version >= 0 for page in pages)
    assert (await stored(store)).get("count", 0) == expected


@pytest.mark.parametrize("steps", range(12))
@pytest.mark.parametrize("kind", ["event", "turn", "page"])
async def test_a_message_in_each_step_around_a_rest_is_handled(
    steps: int, kind: str, autojump_clock: MockClock
) -> None:
    """A rest begins, and so many scheduler steps later the message is there."""
    store = Late(0.0)
    async with App(root=Root, store=store, idle_timeout=1) as app:
        await add(app)
        with trio.fail_after(5):
            while len(app.directory):  # noqa: ASYNC110 - it is about the very step
                await trio.sleep(0.25)
        for _ in range(steps):
            await trio.lowlevel.checkpoint()
        if kind == "event":
            await app.directory.ref(TOKEN).ask(Event("root.owned.add"), block=False)
            assert await add(app) == 3
        elif kind == "turn":
            assert await add(app) == 2
        else:
            page = join(app)
            await trio.sleep(0.1)
            assert page.state["root.owned"]["count"] == 1


async def test_a_page_that_came_back_after_a_rest_is_not_new(autojump_clock: MockClock) -> None:
    invocation: Any = Owned.name("loaded")  # pyright: ignore
    page = Client()
    async with App(root=Root, idle_timeout=1, disconnect_grace=0) as app:
        for _ in range(2):
            page = Client()
            app.directory.ref(TOKEN).tell(Attach(page, (invocation.complete(),)))
            await trio.sleep(1)
            assert page.state["root.owned"]["names"] == ["loaded"]
            app.directory.ref(TOKEN).tell(Detach(page))
            await trio.sleep(5)
            assert len(app.directory) == 0
        assert not [notice for notice in page.notices[1:] if isinstance(notice, Welcome)]


# ---- what is seen of a token that was elsewhere, or is gone -------------------------------------


async def test_of_a_token_that_was_deleted_nothing_is_shown_that_changed_nothing(
    autojump_clock: MockClock,
) -> None:
    store = MemoryStore()
    async with App(root=Root, store=store) as app:
        page = join(app)
        await add(app)
        await store.delete(TOKEN)
        owned(app, "look", seq=1)
        await wait_all_tasks_blocked()
        assert (page.effects, page.ack, page.closed) == ([], 0, True)


async def test_what_a_deleted_token_had_is_not_there_any_more(autojump_clock: MockClock) -> None:
    store = MemoryStore()
    async with App(root=Root, store=store) as app:
        page = join(app)
        await add(app)
        await store.delete(TOKEN)
        with pytest.raises(LeaseLostError):
            await add(app)
        assert await add(app) == page.state["root.owned"]["count"] == 1


async def test_the_same_state_of_a_later_version_is_not_taken_for_the_same(
    autojump_clock: MockClock,
) -> None:
    store = MemoryStore()
    async with App(root=Root, store=store) as one, App(root=Root, store=store) as two:
        page = join(one)
        for app, amount in ((one, 1), (two, 1), (two, -1), (one, 1)):
            await add(app, amount)
        snapshot = await store.peek(TOKEN)
        assert snapshot is not None
        assert (snapshot.version, page.version) == (4, 4)


async def test_a_commit_pays_what_is_owed_from_before() -> None:
    store = MemoryStore()
    async with App(root=Root, store=store) as app:
        await add(app)
        join(app)
        owned(app, "look", seq=1)
        await add(app)
        snapshot = await store.peek(TOKEN)
        assert snapshot is not None
        assert snapshot.done == {"page": 1}
