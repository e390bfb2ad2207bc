"""Whether a tab is connected, as the snapshot has it: across restarts, crashes and several apps.

What the hooks are told in one app alone is a law of its own (see ``test_programs_pages``).
"""

from __future__ import annotations

from typing import Any, Final

import pytest
import trio
from clients import Client
from hypothesis import event, example, given, settings, strategies as st
from programs import in_virtual_time
from programs_apps import AppsPlayer, Move, programs_of_apps
from stores import WrappedStore
from trio.testing import MockClock, wait_all_tasks_blocked

from actorstate import (
    App,
    LeaseLostError,
    MemoryStore,
    State,
    StoreError,
    StoreUnavailableError,
    background,
    console_log,
)
from actorstate.actors.messages import Attach, Detach, Event
from actorstate.state.commit import Commit
from actorstate.state.snapshot import TaskRecord

TOKEN: Final = "tab"  # noqa: S105 - a name, to the library


class Root(State, root=True):
    pass


class Seen(Root):
    log: list[str] = []
    ticks: int = 0

    def on_connect(self) -> None:
        self.log.append("connect")

    def on_disconnect(self) -> None:
        self.log.append("disconnect")

    @background(resume=True)
    async def begin(self) -> None:
        async with self:
            self.log.append("began")
        await trio.sleep(3)

    @background(resume=True, overlap="queue")
    async def note(self, name: str) -> None:
        async with self:
            self.log.append(name)

    @background(resume=True)
    async def endure(self) -> None:
        await trio.sleep_forever()

    @background(on_disconnect="cancel")
    async def follow(self) -> None:
        await trio.sleep_forever()

    @background(on_disconnect="cancel", resume=True)
    async def follow_on(self) -> None:
        await trio.sleep_forever()

    @background(on_disconnect="cancel")
    async def tick(self) -> None:
        while True:
            await trio.sleep(1)
            async with self:
                self.ticks += 1


class QuietRoot(State, root=True):
    pass


class Quiet(QuietRoot):
    def on_connect(self) -> Any:
        return console_log("hello")

    def on_disconnect(self) -> Any:
        raise ValueError("the hook")


class HooklessRoot(State, root=True):
    @background(on_disconnect="cancel")
    async def follow(self) -> None:
        await trio.sleep_forever()


class CarelessRoot(State, root=True):
    count: int = 0

    def add(self) -> None:
        self.count += 1


class Kept(WrappedStore):
    """Keeps the commits in mind, is not reached or full when told so, and thinks some dead."""

    def __init__(self, inner: MemoryStore | None = None) -> None:
        super().__init__()
        self.inner = inner or self.inner
        self.commits: list[Commit] = []
        self.dead: set[str] = set()
        self.loads = self.tried = 0
        self.is_away = self.is_full = False

    async def load(self, token: str, on_wanted: Any) -> Any:
        self._reach()
        self.loads += 1
        return await super().load(token, on_wanted)

    async def is_alive(self, owner: str) -> bool:
        self.tried += 1
        if self.is_away:
            raise StoreError("the store does not say")
        return owner not in self.dead and await super().is_alive(owner)

    async def commit(self, lease: Any, commit: Commit) -> None:
        self._reach()
        self.tried += 1
        if self.is_full:
            raise StoreError("the disk is full")
        whole = commit.whole() if commit.whole is not None else None
        await super().commit(lease, commit)
        assert whole is None or whole.connected == await connected(self)
        self.commits.append(commit)

    def _reach(self) -> None:
        if self.is_away:
            raise StoreUnavailableError("nobody answers")


class KeptAtOnce(Kept):
    """Never waits."""

    def commit_now(self, lease: Any, commit: Commit) -> None:
        self.inner.commit_now(lease, commit)
        self.commits.append(commit)


def join(app: App, name: str = "page") -> Client:
    client = Client(name)
    app.directory.ref(TOKEN).tell(Attach(client))
    return client


def leave(app: App, client: Client) -> None:
    app.directory.ref(TOKEN).tell(Detach(client))


def start(app: App) -> None:
    app.directory.ref(TOKEN).tell(Event("root.seen.tick"))


async def log_of(app: App) -> list[str]:
    async with app.modify_state(TOKEN) as state:
        return list(state.get_substate(Seen).log)


async def connected(store: Any) -> Any:
    snapshot = await store.peek(TOKEN)
    return None if snapshot is None else snapshot.connected


# ---- in one app after another ------------------------------------------------------------------


@pytest.mark.parametrize("store", [Kept(), KeptAtOnce()])
async def test_that_the_tab_is_connected_is_stored_with_the_call_of_the_hook(
    store: Kept, autojump_clock: MockClock
) -> None:
    async with App(root=Root, store=store) as app:
        page = join(app)
        await wait_all_tasks_blocked()
        leave(app, page)
        await trio.sleep(6)
    came, told_so, went, told_that = store.commits
    assert [call.id for call in came.calls] == list(told_so.ran)
    assert [call.id for call in went.calls] == list(told_that.ran)
    assert [len(commit.operations) for commit in store.commits] == [0, 1, 0, 1]
    assert (len(came.connected or ()), told_so.connected) == (1, None)
    assert (went.connected, told_that.connected) == ((), None)


@pytest.mark.parametrize("commits", [1, 2])
async def test_a_crash_of_all_is_an_absence_from_when_the_token_is_taken_up(
    autojump_clock: MockClock, commits: int
) -> None:
    """Wherever between the two commits, the program is told once."""
    crashed, store = Kept(), Kept()
    async with App(root=Root, store=crashed) as app:
        join(app)
        await wait_all_tasks_blocked()
        loaded = await store.load(TOKEN, lambda: None)
        for commit in crashed.commits[:commits]:
            await store.inner.commit(loaded.lease, commit)
        await store.release(loaded.lease)
    await trio.sleep(100)
    async with App(root=Root, store=store) as app:
        await log_of(app)
        await trio.sleep(4)
        assert await log_of(app) == ["connect"]
        page = join(app)
        await trio.sleep(2)
        assert await log_of(app) == ["connect"]
        leave(app, page)
        await trio.sleep(6)
        assert await log_of(app) == ["connect", "disconnect"]


@pytest.mark.parametrize("store", [MemoryStore(), Kept()])
async def test_hooks_that_change_nothing_or_fail_are_told_no_second_time(
    store: Any, autojump_clock: MockClock
) -> None:
    told: list[str] = []

    def on_error(error: BaseException, context: object) -> None:
        told.append(str(error))

    async with App(root=QuietRoot, store=store) as app:
        join(app)
        await wait_all_tasks_blocked()
    assert len(await connected(store)) == 1
    async with App(root=QuietRoot, store=store, on_error=on_error) as app:
        page = join(app)
        await wait_all_tasks_blocked()
        assert page.effects == []
        leave(app, page)
        await trio.sleep(6)
        assert (told, await connected(store)) == (["the hook"], ())
    async with App(root=QuietRoot, store=store, on_error=on_error) as app:
        async with app.modify_state(TOKEN):
            await trio.sleep(20)
        page = join(app)
        await wait_all_tasks_blocked()
        assert (told, len(page.effects)) == (["the hook"], 1)


async def test_where_nothing_depends_on_it_nothing_is_stored(autojump_clock: MockClock) -> None:
    store = Kept()
    # A program that minded once, and does no longer.
    loaded = await store.load(TOKEN, lambda: None)
    await store.inner.commit(loaded.lease, Commit(0, (), (), connected=("gone",), schema="s1"))
    await store.release(loaded.lease)
    async with App(root=CarelessRoot, store=store) as app:
        page = join(app)
        await wait_all_tasks_blocked()
        leave(app, page)
        await trio.sleep(6)
        assert store.commits == []
        app.directory.ref(TOKEN).tell(Event("careless_root.add"))
        await wait_all_tasks_blocked()
        [commit] = store.commits
        assert commit.connected is None
        join(app)
        await wait_all_tasks_blocked()
    assert len(store.commits) == 1
    assert await connected(store) == ("gone",)  # for others, that mind


async def test_a_tab_is_missed_though_the_store_is_not_reached_for_a_while(
    autojump_clock: MockClock,
) -> None:
    store = Kept()
    async with App(root=Root, store=store) as one, App(root=Root, store=store) as other:
        page = join(one)
        await wait_all_tasks_blocked()
        leave(one, page)
        await log_of(other)  # so the token is to be fetched
        store.is_away = True
        await trio.sleep(20)
        store.is_away = False
        await trio.sleep(6)
        assert await log_of(one) == ["connect", "disconnect"]


async def test_a_tab_that_never_came_is_not_missed(autojump_clock: MockClock) -> None:
    store = Kept()
    async with App(root=Root, store=store) as app:
        app.directory.ref(TOKEN).tell(Event("root.seen.endure"))
        await wait_all_tasks_blocked()
    async with App(root=Root, store=store) as app:
        assert await log_of(app) == []
        await trio.sleep(6)
        assert await log_of(app) == []
        assert len(app.background_tasks) == 1
        assert await connected(store) is None
        start(app)
        await trio.sleep(20)
        assert len(app.background_tasks) == 2
        join(app)
        await trio.sleep(1)
        assert await log_of(app) == ["connect"]


# ---- in two apps at once -----------------------------------------------------------------------


async def test_a_tab_with_pages_at_two_apps_is_connected_until_both_have_gone(
    autojump_clock: MockClock,
) -> None:
    store = MemoryStore()
    async with App(root=Root, store=store) as one, App(root=Root, store=store) as other:
        first = join(one)
        await trio.sleep(1)
        start(one)
        second = join(other, "second")
        await trio.sleep(1)
        leave(one, first)
        await trio.sleep(20)
        assert await log_of(other) == ["connect"]
        assert len(one.background_tasks) == 1  # for the page that is at the other app
        leave(other, second)
        await trio.sleep(20)
        assert await log_of(other) == ["connect", "disconnect"]
        assert len(one.background_tasks) == 0
        start(one)
        await trio.sleep(1)
        assert len(one.background_tasks) == 0
        join(other)
        await trio.sleep(1)
        assert await log_of(one) == ["connect", "disconnect", "connect"]
        start(one)
        await trio.sleep(1)
        assert len(one.background_tasks) == 1


async def test_a_page_that_moves_from_app_to_app_is_never_away(autojump_clock: MockClock) -> None:
    store = MemoryStore()
    apps = [App(root=Root, store=store) for _ in range(3)]
    async with apps[0], apps[1], apps[2]:
        for turn in range(9):
            page = join(apps[turn % 3])
            await trio.sleep(3)
            leave(apps[turn % 3], page)
            await trio.sleep(1)
        assert await log_of(apps[0]) == ["connect"]
        await trio.sleep(20)
        assert await log_of(apps[1]) == ["connect", "disconnect"]
        assert await connected(store) == ()


async def test_an_app_that_is_only_asked_does_not_miss_the_pages_of_another(
    autojump_clock: MockClock,
) -> None:
    store = MemoryStore()
    async with App(root=Root, store=store) as one, App(root=Root, store=store) as other:
        join(one)
        await trio.sleep(1)
        assert await log_of(other) == ["connect"]
        await trio.sleep(20)
        assert await log_of(other) == ["connect"]


async def test_the_pages_of_an_app_that_was_left_are_missed_by_the_next_owner(
    autojump_clock: MockClock,
) -> None:
    store = MemoryStore()
    async with App(root=Root, store=store) as other:
        async with App(root=Root, store=store) as one:
            join(one)
            join(other, "second")
            await trio.sleep(1)
        await trio.sleep(20)
        assert await log_of(other) == ["connect"]  # there is one here
        async with App(root=Root, store=store) as one:
            page = join(one)
            await trio.sleep(1)
            await log_of(other)
            leave(one, page)
            await trio.sleep(1)
        await trio.sleep(20)
        assert await log_of(other) == ["connect"]


async def test_the_last_page_to_go_asks_whether_the_other_apps_are_still_there(
    autojump_clock: MockClock,
) -> None:
    store = MemoryStore()
    async with App(root=Root, store=store) as other:
        async with App(root=Root, store=store) as one:
            join(one)
            page = join(other, "second")
            await trio.sleep(3)
        leave(other, page)
        await trio.sleep(12)
        assert await log_of(other) == ["connect", "disconnect"]


async def test_the_owner_of_the_token_notices_by_itself_that_the_last_app_with_a_page_has_ended(
    autojump_clock: MockClock,
) -> None:
    store = MemoryStore()
    async with App(root=Root, store=store) as one:
        async with App(root=Root, store=store) as other:
            page = join(one)
            await trio.sleep(1)
            start(one)
            join(other)
            await trio.sleep(1)
            leave(one, page)
            await trio.sleep(20)
        await trio.sleep(20)
        assert one.background_tasks == set()
        assert await log_of(one) == ["connect", "disconnect"]


@pytest.mark.parametrize("comes", [False, True])
async def test_an_owner_who_took_the_token_from_an_app_that_was_about_to_end_notices_the_end(
    autojump_clock: MockClock, comes: bool
) -> None:
    store = MemoryStore()
    async with App(root=Root, store=store) as one:
        async with App(root=Root, store=store) as other:
            page = join(other)
            await trio.sleep(1)
            leave(other, page)
            assert await log_of(one) == ["connect"]
        if comes:
            await trio.sleep(6)  # it has noticed by now
            page = join(one)
            await trio.sleep(5)
            assert await log_of(one) == ["connect"]
            leave(one, page)
        await trio.sleep(20)
        async with one.modify_state(TOKEN) as state:
            assert state.get_substate(Seen).log == ["connect", "disconnect"]


async def test_an_app_that_was_taken_for_dead_is_told_anew_that_its_page_is_connected(
    autojump_clock: MockClock,
) -> None:
    store = Kept()
    cut_off = Kept(store.inner)
    async with App(root=Root, store=cut_off) as one, App(root=Root, store=store) as other:
        join(one)
        await trio.sleep(1)
        names = await connected(store)
        store.dead, cut_off.is_away = set(names), True
        await log_of(other)
        await trio.sleep(12)
        assert await log_of(other) == ["connect", "disconnect"]
        cut_off.is_away = False
        store.dead.clear()
        await trio.sleep(2)
        assert await log_of(one) == ["connect", "disconnect", "connect"]
        await trio.sleep(20)
        assert await log_of(other) == ["connect", "disconnect", "connect"]
        assert await connected(store) == names


async def test_an_app_in_whose_absence_another_has_told_that_the_tab_is_gone_tells_nobody(
    autojump_clock: MockClock,
) -> None:
    store = Kept()
    one = App(root=Root, store=store, disconnect_grace=60)
    async with one, App(root=Root, store=store) as other:
        page = join(one)
        await trio.sleep(1)
        leave(one, page)
        await trio.sleep(1)
        store.dead = set(await connected(store))
        await log_of(other)
        await trio.sleep(6)
        store.dead.clear()
        assert await log_of(other) == ["connect", "disconnect"]
        await log_of(one)
        await trio.sleep(100)
        assert await log_of(one) == ["connect", "disconnect"]


async def test_what_cannot_be_stored_is_told_when_it_can(autojump_clock: MockClock) -> None:
    store = Kept()
    async with App(root=Root, store=store) as one, App(root=Root, store=store) as other:
        store.is_full = True
        page = join(one)
        await trio.sleep(1)
        assert (await log_of(one), store.commits) == ([], [])
        await log_of(other)
        store.is_full = False
        await trio.sleep(6)
        assert await log_of(one) == ["connect"]
        store.is_full = True
        leave(one, page)
        await trio.sleep(6)
        await log_of(other)
        assert len(await connected(store)) == 1
        store.is_full = False
        assert await log_of(one) == ["connect"]
        await trio.sleep(20)
        assert await log_of(other) == ["connect", "disconnect"]
        assert await connected(store) == ()


async def test_a_hook_that_could_not_be_stored_is_run_when_the_grace_is_over(
    autojump_clock: MockClock,
) -> None:
    store = Kept()
    async with App(root=Root, store=store) as app:
        store.is_full = True
        page = join(app)
        await trio.sleep(1)
        store.is_full = False
        assert await log_of(app) == []
        async with app.modify_state(TOKEN) as state:
            state.get_substate(Seen).ticks = 10
        assert await connected(store) is None
        await trio.sleep(5)
        assert await log_of(app) == ["connect"]
        leave(app, page)
        await trio.sleep(6)
        store.is_full = True
        join(app)
        start(app)  # who is here may see it, though it is not stored that anybody is
        await wait_all_tasks_blocked()
        assert len(app.background_tasks) == 1
        store.is_full = False
        await trio.sleep(6)
        assert await log_of(app) == ["connect", "disconnect", "connect"]


class TwoRoot(State, root=True):
    log: list[str] = []

    def on_connect(self) -> None:
        self.log.append("first")


class Two(TwoRoot):
    def on_connect(self) -> None:
        self.log.append("second")


@pytest.mark.parametrize("fails", [0, 1, 2, 3])
async def test_each_of_several_hooks_is_run_once_whichever_commit_is_lost(
    fails: int, autojump_clock: MockClock
) -> None:
    class Losing(Kept):
        async def commit(self, lease: Any, commit: Commit) -> None:
            if len(self.commits) == fails:
                self.commits.append(commit)
                await self.inner.release(lease)
                raise StoreUnavailableError("nobody answers")
            await super().commit(lease, commit)

    told: list[BaseException] = []
    store = Losing()
    async with App(root=TwoRoot, store=store, on_error=lambda error, _: told.append(error)) as app:
        join(app)
        await trio.sleep(10)
        async with app.modify_state(TOKEN) as state:
            assert state.get_substate([]).log == ["first", "second"]
    assert len(told) == (fails in (1, 2))  # the turn that was lost, and no turn without a token


async def test_a_task_is_not_begun_again_in_a_tab_that_is_gone(autojump_clock: MockClock) -> None:
    store = Kept()
    loaded = await store.load(TOKEN, lambda: None)
    task = TaskRecord("root.seen.follow_on", (), "2026-01-01T00:00:00+00:00", "gone")
    await store.inner.commit(loaded.lease, Commit(0, (), (), tasks=(task,), connected=()))
    await store.release(loaded.lease)
    async with App(root=Root, store=store) as app:
        assert await log_of(app) == []
        assert app.background_tasks == set()
    snapshot = await store.peek(TOKEN)
    assert snapshot is not None
    assert snapshot.tasks == ()


async def test_tasks_of_a_tab_that_is_gone_end_as_soon_as_their_app_hears_of_it(
    autojump_clock: MockClock,
) -> None:
    """Another one has taken the tab for gone, to which its own absence was not over."""
    store = Kept()
    async with App(root=Root, store=store, disconnect_grace=1000) as app:
        page = join(app)
        app.directory.ref(TOKEN).tell(Event("root.seen.follow"))
        await trio.sleep(1)
        leave(app, page)
        loaded = await store.load(TOKEN, lambda: None)
        await store.inner.commit(loaded.lease, Commit(1, (), (), connected=()))
        await store.release(loaded.lease)
        assert len(app.background_tasks) == 1
        await log_of(app)
        await wait_all_tasks_blocked()
        assert app.background_tasks == set()


async def test_a_token_without_pages_is_not_fetched_for_tasks_that_would_end_with_them(
    autojump_clock: MockClock,
) -> None:
    store = Kept()
    async with App(root=Root, store=store) as one, App(root=Root, store=store) as other:
        one.directory.ref(TOKEN).tell(Event("root.seen.follow"))
        await trio.sleep(1)
        await log_of(other)
        assert store.loads == 2
        await trio.sleep(60)
        assert store.loads == 2
        assert len(one.background_tasks) == 1


async def test_nobody_who_can_say_whether_an_app_is_there_ends_nothing(
    autojump_clock: MockClock,
) -> None:
    store = Kept()
    async with App(root=Root, store=store) as one, App(root=Root, store=store) as other:
        pages = join(one), join(other, "second")
        await trio.sleep(1)
        leave(one, pages[0])
        leave(other, pages[1])
        store.is_away = True
        await trio.sleep(20)
        assert (len(one.directory), len(other.directory)) == (1, 1)
        store.is_away = False
        await trio.sleep(20)
        assert await log_of(one) == ["connect", "disconnect"]


async def test_tasks_end_with_the_pages_also_where_no_page_is_and_the_token_is_not(
    autojump_clock: MockClock,
) -> None:
    store = MemoryStore()
    async with App(root=Root, store=store) as one, App(root=Root, store=store) as other:
        page = join(one)
        await trio.sleep(1)
        for name in ("follow", "follow_on"):  # which take no turn
            one.directory.ref(TOKEN).tell(Event(f"root.seen.{name}"))
        await trio.sleep(1)
        leave(one, page)
        page = join(other)
        await trio.sleep(30)
        assert len(one.background_tasks) == 2
        leave(other, page)
        await trio.sleep(20)
        assert len(one.background_tasks) == 0
        for app in (one, other, one):  # nor does one begin again
            assert await log_of(app) == ["connect", "disconnect"]
            await trio.sleep(1)
            assert len(one.background_tasks) + len(other.background_tasks) == 0
        snapshot = await store.peek(TOKEN)
        assert snapshot is not None
        assert snapshot.tasks == ()


async def test_pages_that_look_on_at_two_apps_cost_no_commits(autojump_clock: MockClock) -> None:
    store = Kept()
    async with App(root=Root, store=store) as one, App(root=Root, store=store) as other:
        join(one)
        join(other, "second")
        await trio.sleep(10)
        before = len(store.commits)
        await trio.sleep(1000)
        for _ in range(5):  # loads of a page, too
            page = join(one, "reloaded")
            await trio.sleep(1)
            leave(one, page)
        await trio.sleep(10)
        assert sum(bool(commit.connected) for commit in store.commits[before:]) == 0


async def test_the_pages_of_an_app_that_ends_have_as_long_to_come_as_any(
    autojump_clock: MockClock,
) -> None:
    store = MemoryStore()
    async with App(root=Root, store=store) as one:
        async with App(root=Root, store=store) as other:
            page = join(one)
            await trio.sleep(1)
            leave(one, page)
            await trio.sleep(0.5)
            join(other)
            await trio.sleep(4)
        await trio.sleep(1)  # the absence from the first app is over
        join(one)
        await trio.sleep(20)
        assert await log_of(one) == ["connect"]


# ---- what fails, or comes at a bad moment -------------------------------------------------------


async def test_tasks_that_end_with_the_pages_go_on_until_that_is_stored(
    autojump_clock: MockClock,
) -> None:
    store = Kept()
    async with App(root=Root, store=store) as app:
        page = join(app)
        for name in ("follow", "follow_on"):
            app.directory.ref(TOKEN).tell(Event(f"root.seen.{name}"))
        await trio.sleep(1)
        leave(app, page)
        await trio.sleep(4.5)
        store.is_full = True
        await trio.sleep(1)
        store.is_full = False
        page = join(app)
        await trio.sleep(20)
        assert (await log_of(app), len(app.background_tasks)) == (["connect"], 2)
        snapshot = await store.peek(TOKEN)
        assert snapshot is not None
        assert len(snapshot.tasks) == 1
        leave(app, page)
        await trio.sleep(20)
        assert app.background_tasks == set()
        [gone] = [commit for commit in store.commits if commit.connected == ()]
        assert gone.tasks == ()  # in the same commit: no crash brings them back


async def test_so_do_tasks_of_a_program_without_hooks(autojump_clock: MockClock) -> None:
    store = Kept()
    async with App(root=HooklessRoot, store=store) as app:
        page = join(app)
        app.directory.ref(TOKEN).tell(Event("hookless_root.follow"))
        await trio.sleep(1)
        leave(app, page)
        await trio.sleep(4.5)
        store.is_full = True
        await trio.sleep(1)
        assert len(app.background_tasks) == 1
        store.is_full = False
        await trio.sleep(10)
        assert app.background_tasks == set()


async def test_tasks_of_a_page_end_with_it_though_its_token_was_deleted(
    autojump_clock: MockClock,
) -> None:
    store = Kept()
    async with App(root=Root, store=store) as app:
        page = join(app)
        app.directory.ref(TOKEN).tell(Event("root.seen.follow"))
        await trio.sleep(1)
        leave(app, page)
        await trio.sleep(1)
        await store.delete(TOKEN)
        with pytest.raises(LeaseLostError):
            async with app.modify_state(TOKEN) as state:
                state.get_substate(Seen).ticks = 1
        assert await log_of(app) == []
        await trio.sleep(20)
        assert app.background_tasks == set()


async def test_a_token_that_cannot_be_had_back_is_told_to_the_program_once(
    autojump_clock: MockClock,
) -> None:
    told: list[str] = []
    store = Kept()
    one = App(root=Root, store=store, on_error=lambda _, context: told.append(context.during))
    async with one, App(root=Root, store=store) as other:
        await log_of(one)
        for outage in (1, 2):
            await log_of(other)
            store.is_away = True
            for _ in range(5):
                one.directory.ref(TOKEN).tell(Event("root.seen.follow"))
                await trio.sleep(3)
            store.is_away = False
            await trio.sleep(3)
            assert told == ["activation"] * outage
            await log_of(one)


async def test_tasks_begin_again_in_the_order_in_which_they_were_asked_for(
    autojump_clock: MockClock,
) -> None:
    """Whichever apps they ran at, which have ended."""
    store = Kept()
    loaded = await store.load(TOKEN, lambda: None)
    tasks = tuple(
        TaskRecord("root.seen.note", (name,), f"2026-01-01T00:00:0{second}+00:00", app)
        for name, second, app in [("b", 2, "app 1"), ("d", 4, "app 1"), ("a", 1, "app 2"),
                                  ("c", 3, "app 3")]
    )  # fmt: skip
    await store.inner.commit(loaded.lease, Commit(0, (), (), tasks=tasks))
    await store.release(loaded.lease)
    async with App(root=Root, store=store) as app:
        await log_of(app)
        await trio.sleep(1)
        assert await log_of(app) == ["a", "b", "c", "d"]


async def test_hooks_are_run_in_the_order_of_what_they_are_about(autojump_clock: MockClock) -> None:
    """The app crashed when it was stored that the tab is gone, and not told yet."""
    crashed, store = Kept(), Kept()
    async with App(root=Root, store=crashed) as app:
        page = join(app)
        await wait_all_tasks_blocked()
        leave(app, page)
        await trio.sleep(6)
        loaded = await store.load(TOKEN, lambda: None)
        for commit in crashed.commits[:3]:
            await store.inner.commit(loaded.lease, commit)
        await store.release(loaded.lease)
    async with App(root=Root, store=store) as app:
        join(app)
        await wait_all_tasks_blocked()
        assert await log_of(app) == ["connect", "disconnect", "connect"]


@pytest.mark.parametrize("how", ["elsewhere", "full"])
async def test_a_task_that_came_to_its_end_while_that_could_not_be_stored_is_not_begun_again(
    how: str, autojump_clock: MockClock
) -> None:
    store = Kept()
    async with App(root=Root, store=store) as one, App(root=Root, store=store) as other:
        one.directory.ref(TOKEN).tell(Event("root.seen.begin"))
        await trio.sleep(1)
        if how == "elsewhere":
            await log_of(other)
        store.is_full = how == "full"
        await trio.sleep(5)  # it ends
        store.is_full = False
        await log_of(other)
        await trio.sleep(1)
        for _ in range(2):
            assert "began" not in (await log_of(one))[1:]
            await trio.sleep(10)
        assert one.background_tasks == other.background_tasks == set()
        await log_of(other)
        snapshot = await store.peek(TOKEN)
        assert snapshot is not None
        assert snapshot.tasks == ()


async def test_an_actor_that_has_still_to_store_who_is_connected_does_not_rest(
    autojump_clock: MockClock,
) -> None:
    store = Kept()
    async with App(root=Root, store=store, idle_timeout=1) as one:
        page = join(one)
        async with App(root=Root, store=store) as other:
            join(other, "second")
            await trio.sleep(1)
            await log_of(one)
            leave(one, page)
            await trio.sleep(4.5)
            store.is_full = True
            await trio.sleep(4)
            store.is_full = False
            await trio.sleep(30)
            assert len(await connected(store)) == 1


@pytest.mark.parametrize("what", ["full", "tasks"])
async def test_without_a_grace_nothing_is_tried_without_a_pause(
    what: str, autojump_clock: MockClock
) -> None:
    store = Kept()
    one = App(root=Root, store=store, disconnect_grace=0)
    async with one, App(root=Root, store=store, disconnect_grace=0) as other:
        page = join(one)
        one.directory.ref(TOKEN).tell(Event("root.seen.follow"))
        await trio.sleep(1)
        if what == "tasks":
            join(other)
            await trio.sleep(1)
        tried = store.tried
        store.is_full = what == "full"
        leave(one, page)
        await trio.sleep(10)
        assert store.tried - tried < 30
        store.is_full = False


async def test_a_task_of_a_page_that_could_not_be_stored_ends_with_that(
    autojump_clock: MockClock,
) -> None:
    store = Kept()
    async with App(root=Root, store=store) as app:
        store.is_full = True
        page = join(app)
        await trio.sleep(0.5)
        store.is_full = False
        app.directory.ref(TOKEN).tell(Event("root.seen.follow"))
        await trio.sleep(1)
        assert len(app.background_tasks) == 1
        leave(app, page)
        await trio.sleep(20)
        assert app.background_tasks == set()


async def test_what_ends_while_the_app_is_left_is_no_absence(autojump_clock: MockClock) -> None:
    store = MemoryStore()
    async with App(root=Root, store=store) as app:
        page = join(app)
        await wait_all_tasks_blocked()
        leave(app, page)
        app.start_soon(hold, app, 7)
        await trio.sleep(1)
    async with App(root=Root, store=store) as app:
        join(app)
        await trio.sleep(1)
        assert await log_of(app) == ["connect"]


async def hold(app: App, seconds: float) -> None:
    async with app.modify_state(TOKEN):
        await trio.sleep(seconds)


# ---- a law -------------------------------------------------------------------------------------


COME, GO = Move(0, "come", 0), Move(0, "go", 0)
LOSING = (Move(0, "come", 1), Move(0, "go", 1), Move(0, "blink", 1), COME, GO)
"""That one of two apps is left by its page cannot be stored."""
ELSEWHERE = (Move(0, "start", 1), COME, GO)
"""Tasks run at one app, and the pages come and go at the other."""
SHARED = (COME, Move(0, "come", 1, 1), Move(0, "start", 0), Move(0, "start", 1))
"""Tasks that are resumed run at two apps."""
FAILING = (COME, Move(0, "restart", 0), Move(0, "blink", 0), COME)


@settings(max_examples=5 * settings().max_examples)
@given(programs_of_apps(), st.random_module())
@example(LOSING, None)
@example(ELSEWHERE, None)
@example(SHARED, None)
@example(FAILING, None)
def test_law_apps_tell_one_story_of_a_tab_whatever_ends_or_fails(
    program: tuple[Move, ...], schedule: object
) -> None:
    in_virtual_time(play, program)


async def play(program: tuple[Move, ...]) -> None:
    player = AppsPlayer()
    async with player.running():
        await player.play(program)
        await trio.sleep(60)
        await player.touch()
        await trio.sleep(60)
        outcome = await player.look()
        log, is_here = outcome.log, bool(player.here)
        assert log == ["connect", "disconnect"] * (len(log) // 2) + ["connect"] * is_here
        assert outcome.denied == 0 or any(move.kind == "blink" for move in program)
        if log and not is_here:
            assert (outcome.tasks, outcome.records) == (0, 0)
        before = player.commits
        await trio.sleep(100)
        assert player.commits == before
        event(f"{min(2, log.count('disconnect'))} disconnects")
