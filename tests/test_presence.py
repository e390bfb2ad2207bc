"""Whether a tab is connected, as the snapshot has it: across restarts, crashes and several apps.

What the hooks are told in one app alone is a law of its own (see ``test_programs_pages``).
"""

from __future__ import annotations

from typing import Any, Final

import pytest
import trio
from clients import Client
from stores import WrappedStore
from trio.testing import MockClock, wait_all_tasks_blocked

from actorstate import (
    App,
    MemoryStore,
    State,
    StoreError,
    StoreUnavailableError,
    background,
    console_log,
)
from actorstate.actors.messages import Attach, Detach, Event
from actorstate.state.commit import Commit

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
    async def endure(self) -> None:
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


class CarelessRoot(State, root=True):
    count: int = 0

    def add(self) -> None:
        self.count += 1


class Kept(WrappedStore):
    """Keeps the commits in mind, is not reached or full when told so, and thinks some dead."""

    def __init__(self) -> None:
        super().__init__()
        self.commits: list[Commit] = []
        self.dead: set[str] = set()
        self.is_away = self.is_full = False
        self.is_careless = False
        """Whether the program does not mind, and so may forget what an earlier one minded."""

    async def load(self, token: str, on_wanted: Any) -> Any:
        self._reach()
        return await super().load(token, on_wanted)

    async def is_alive(self, owner: str) -> bool:
        self._reach()
        return owner not in self.dead and await super().is_alive(owner)

    async def commit(self, lease: Any, commit: Commit) -> None:
        if self.is_full:
            raise StoreError("the disk is full")
        whole = commit.whole() if commit.whole is not None else None
        await super().commit(lease, commit)
        forgets = self.is_careless and whole is not None and whole.connected is None
        assert whole is None or forgets or whole.connected == await connected(self)
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
async def test_what_a_hook_changed_and_that_it_was_told_is_one_commit(
    store: Kept, autojump_clock: MockClock
) -> None:
    async with App(root=Root, store=store) as app:
        page = join(app)
        await wait_all_tasks_blocked()
        leave(app, page)
        await trio.sleep(6)
    assert [len(commit.operations) for commit in store.commits] == [1, 1]
    came, went = (commit.connected for commit in store.commits)
    assert (len(came or ()), went) == (1, ())


async def test_a_crash_of_all_is_an_absence_from_when_the_token_is_taken_up(
    autojump_clock: MockClock,
) -> None:
    crashed, store = Kept(), Kept()
    async with App(root=Root, store=crashed) as app:
        join(app)
        await wait_all_tasks_blocked()
        loaded = await store.load(TOKEN, lambda: None)
        await store.inner.commit(loaded.lease, crashed.commits[0])
        await store.release(loaded.lease)
    await trio.sleep(100)
    async with App(root=Root, store=store) as app:
        assert await log_of(app) == ["connect"]
        await trio.sleep(4)
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
    store.is_careless = True
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


async def test_a_tab_that_never_came_is_missed_and_nobody_told(autojump_clock: MockClock) -> None:
    store = Kept()
    async with App(root=Root, store=store) as app:
        app.directory.ref(TOKEN).tell(Event("root.seen.endure"))
        await wait_all_tasks_blocked()
    async with App(root=Root, store=store) as app:
        assert await log_of(app) == []
        await trio.sleep(6)
        assert await log_of(app) == []
        assert len(app.background_tasks) == 1
        start(app)
        await trio.sleep(1)
        assert len(app.background_tasks) == 1
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
        await trio.sleep(6)
        assert await log_of(other) == ["connect", "disconnect"]


async def test_an_app_that_was_taken_for_dead_is_told_anew_that_its_page_is_connected(
    autojump_clock: MockClock,
) -> None:
    store = Kept()
    async with App(root=Root, store=store) as one, App(root=Root, store=store) as other:
        join(one)
        await trio.sleep(1)
        names = await connected(store)
        store.dead = set(names)
        await log_of(other)
        await trio.sleep(8)
        store.dead.clear()
        assert await log_of(one) == ["connect", "disconnect", "connect"]
        await trio.sleep(20)
        assert await log_of(other) == ["connect", "disconnect", "connect"]
        assert await connected(store) == names


async def test_an_app_in_whose_absence_another_has_told_that_the_tab_is_gone_tells_nobody(
    autojump_clock: MockClock,
) -> None:
    store = Kept()
    async with (
        App(root=Root, store=store, disconnect_grace=60) as one,
        App(root=Root, store=store) as other,
    ):
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


async def test_what_could_not_be_stored_when_the_token_was_given_up_is_stored_later(
    autojump_clock: MockClock,
) -> None:
    store = Kept()
    async with App(root=Root, store=store) as one, App(root=Root, store=store) as other:
        page = join(one)
        await trio.sleep(1)
        store.is_full = True
        leave(one, page)
        await trio.sleep(6)  # and the hook was told, but in a turn that was undone
        await log_of(other)
        store.is_full = False
        assert len(await connected(store)) == 1
        assert await log_of(one) == ["connect"]
        await trio.sleep(20)
        await log_of(other)
        assert await connected(store) == ()
        assert await log_of(one) == ["connect"]
