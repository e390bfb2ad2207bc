"""The contract of a store (see ``stores/base.py``), over each of them.

A store is opened in a `Home`, which knows how another process would see the same tokens. What is
here is all that a store may be relied on for; what is a store's own is tested beside it.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Final, final

import attrs
import pytest
import trio
from redis_server import redis_server
from trio.testing import wait_all_tasks_blocked

from actorstate import LeaseLostError, MemoryStore, Store
from actorstate.state.commit import Commit
from actorstate.state.patch import Operation
from actorstate.state.snapshot import CallRecord, Snapshot, TaskRecord
from actorstate.stores.base import SIGNING_KEY_BYTES, Lease
from actorstate.stores.redis import RedisStore
from actorstate.stores.sqlite import SQLiteStore

TOKEN: Final = "a tab"  # noqa: S105 - a name, to a store


@final
@attrs.frozen
class Home:
    """Where a store is, for one test."""

    one: Store
    """A store that runs."""
    other: Store
    """The same, as another owner has it: where that is possible, as another process would."""
    reopen: Callable[[], AbstractAsyncContextManager[Store]]
    """Closes both, and opens it again, as a process that is started anew; once, as the last."""


@asynccontextmanager
async def memory(_: Path) -> AsyncGenerator[Home]:
    store = MemoryStore()

    @asynccontextmanager
    async def reopen() -> AsyncGenerator[Store]:
        yield store  # nothing is kept but by the process

    async with running(store):
        yield Home(store, store, reopen)


@asynccontextmanager
async def sqlite(path: Path) -> AsyncGenerator[Home]:
    file = path / "state.db"
    store = SQLiteStore(file)  # one process has the file, and so one store

    @asynccontextmanager
    async def reopen() -> AsyncGenerator[Store]:
        await store.aclose()
        again = SQLiteStore(file)
        yield again
        await again.aclose()

    async with running(store):
        yield Home(store, store, reopen)
    await store.aclose()


@asynccontextmanager
async def redis(_: Path) -> AsyncGenerator[Home]:
    with redis_server() as server:
        one, other, again = (
            RedisStore(server.url, lease_ttl=1, store_timeout=10) for _ in range(3)
        )
        scopes: list[trio.CancelScope] = []

        async def run(store: Store, owner: str) -> None:
            with trio.CancelScope() as scope:
                scopes.append(scope)
                await store.run(owner)

        @asynccontextmanager
        async def reopen() -> AsyncGenerator[Store]:
            for scope in scopes:
                scope.cancel()
            async with running(again):
                yield again

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, one, "app 0")
            nursery.start_soon(run, other, "app 1")
            await until_true(lambda: one.is_alive("app 1"))
            yield Home(one, other, reopen)
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def running(*stores: Store) -> AsyncGenerator[None]:
    """Let stores do what they do beside the calls, each under the name ``app N``."""
    async with trio.open_nursery() as nursery:
        for number, store in enumerate(stores):
            nursery.start_soon(store.run, f"app {number}")
        await wait_all_tasks_blocked()
        yield
        nursery.cancel_scope.cancel()


HOMES: Final[Mapping[str, Callable[[Path], AbstractAsyncContextManager[Home]]]] = {
    "memory": memory,
    "redis": redis,
    "sqlite": sqlite,
}


@pytest.fixture(params=HOMES)
async def home(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Home]:
    async with HOMES[request.param](tmp_path) as here:
        yield here


# ---- helpers -----------------------------------------------------------------------------------


def nobody() -> None:
    """Is told that a token is wanted, and does not care."""


async def own(store: Store, token: str = TOKEN) -> Lease:
    return (await store.load(token, nobody)).lease


def first(count: int = 1, **more: Any) -> Commit:
    """The first commit of a token."""
    return Commit(1, (Operation("add", "/root", {"count": count}),), (), schema="s1", **more)


def counts(version: int, count: int, **more: Any) -> Commit:
    return Commit(version, (Operation("replace", "/root/count", count),), (), **more)


async def two_at_once(home: Home) -> list[bytes]:
    """Ask for the signing key from two places in one moment."""
    keys: list[bytes] = []

    async def ask(store: Store) -> None:
        keys.append(await store.signing_key())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, home.one)
        nursery.start_soon(ask, home.other)
    return keys


async def count_in(store: Store, token: str = TOKEN) -> Any:
    snapshot = await store.peek(token)
    return None if snapshot is None else snapshot.values["root"]["count"]


# ---- load and commit ---------------------------------------------------------------------------


async def test_a_token_that_never_committed_has_no_snapshot(home: Home) -> None:
    loaded = await home.one.load(TOKEN, nobody)
    assert loaded.snapshot is None
    assert loaded.lease.token == TOKEN
    assert loaded.lease.is_certain()
    await home.one.release(loaded.lease)
    assert await home.other.peek(TOKEN) is None


async def test_what_was_committed_is_there_for_the_next_owner(home: Home) -> None:
    lease = await own(home.one)
    await home.one.commit(lease, first())
    await home.one.commit(lease, counts(2, 7))
    await home.one.release(lease)
    expected = Snapshot(2, {"root": {"count": 7}}, schema="s1")
    assert (await home.other.load(TOKEN, nobody)).snapshot == expected


async def test_what_was_committed_is_there_after_a_restart(home: Home) -> None:
    lease = await own(home.one)
    await home.one.commit(lease, first())
    async with home.reopen() as store:
        assert await count_in(store) == 1


async def test_a_store_that_is_opened_again_gives_higher_epochs(home: Home) -> None:
    lease = await own(home.one)
    await home.one.release(lease)
    async with home.reopen() as store:
        assert (await own(store)).epoch > lease.epoch


async def test_all_that_a_commit_says_is_in_the_snapshot(home: Home) -> None:
    task = TaskRecord("root.work", (1, [None, "ü"]), "2026-01-01T00:00:00+00:00", "app 0")
    call = CallRecord("1.1", "root.follow", ({"a": 1.5},), "page")
    later = CallRecord("1.2", "root.follow", ())
    lease = await own(home.one)
    await home.one.commit(lease, first(tasks=(task,), done=(("page", 3),), calls=(call, later),
                                       connected=("app 0",)))  # fmt: skip
    snapshot = await home.other.peek(TOKEN)
    assert snapshot == Snapshot(
        1, {"root": {"count": 1}}, (task,), {"page": 3}, (call, later), "s1", ("app 0",)
    )
    await home.one.commit(
        lease,
        Commit(1, (), (), tasks=(), done=(("page", 4), ("reload", 1)), ran=("1.1",), connected=()),
    )
    snapshot = await home.other.peek(TOKEN)
    done = {"page": 4, "reload": 1}
    assert snapshot == Snapshot(1, {"root": {"count": 1}}, (), done, (later,), "s1", ())


async def test_a_commit_that_changes_no_values_may_be_the_first(home: Home) -> None:
    lease = await own(home.one)
    await home.one.commit(lease, Commit(0, (), (), done=(("page", 1),), schema="s1"))
    await home.one.release(lease)
    snapshot = (await home.other.load(TOKEN, nobody)).snapshot
    assert snapshot == Snapshot(0, {}, done={"page": 1}, schema="s1")


async def test_values_come_back_as_they_were(home: Home) -> None:
    value = {"z": 1, "a": [1.0, 2**70, -0.5, 1e300, True, None, "\x00 \u2028 🎈 ~/", {}, []]}
    lease = await own(home.one)
    await home.one.commit(lease, Commit(1, (Operation("add", "/a~1b", {"c": value}),), ()))
    await home.one.release(lease)
    snapshot = (await home.other.load(TOKEN, nobody)).snapshot
    assert snapshot is not None
    assert repr(snapshot.values) == repr({"a/b": {"c": value}})  # in the same order, too


async def test_every_kind_of_operation_is_stored(home: Home) -> None:
    lease = await own(home.one)
    await home.one.commit(
        lease, Commit(1, (Operation("add", "/root", {"rows": [1, 2, 3], "by": {"a": 1}}),), ())
    )
    changes = (
        Operation("add", "/root/rows/1", 9),
        Operation("remove", "/root/rows/0"),
        Operation("replace", "/root/rows/2", [0]),
        Operation("remove", "/root/by/a"),
        Operation("add", "/root/by/b~1c", None),
    )
    await home.one.commit(lease, Commit(2, changes, ()))
    snapshot = await home.one.peek(TOKEN)
    assert snapshot is not None
    assert snapshot.values == {"root": {"rows": [9, 2, [0]], "by": {"b/c": None}}}


async def test_a_loaded_snapshot_is_a_copy(home: Home) -> None:
    lease = await own(home.one)
    await home.one.commit(lease, first())
    before = await home.one.peek(TOKEN)
    await home.one.commit(lease, counts(2, 2))
    assert before is not None
    assert before.values == {"root": {"count": 1}}


async def test_many_commits_of_one_token_are_all_there(home: Home) -> None:
    """More than a journal holds before it is written anew."""
    lease = await own(home.one)
    rows: list[str] = []
    first_rows = (Operation("add", "/root", {"rows": []}),)

    def whole() -> Snapshot:
        return Snapshot(len(rows), {"root": {"rows": list(rows)}}, schema="s1")

    for version in itertools.count(1):
        rows.append(f"{version:04}" * 20)
        add = Operation("add", f"/root/rows/{version - 1}", rows[-1])
        changes = (*first_rows, add) if version == 1 else (add,)
        schema = "s1" if version == 1 else None
        await home.one.commit(lease, Commit(version, changes, (), schema=schema, whole=whole))
        if version == 150:
            break
    await home.one.release(lease)
    assert (await home.other.load(TOKEN, nobody)).snapshot == whole()


async def test_tokens_know_nothing_of_each_other(home: Home) -> None:
    leases = [await own(home.one, f"{TOKEN}{number}") for number in range(20)]

    async def count(lease: Lease, number: int) -> None:
        await home.one.commit(lease, first(0))
        for version in range(2, 12):
            await home.one.commit(lease, counts(version, version * number))

    async with trio.open_nursery() as nursery:
        for number, lease in enumerate(leases):
            nursery.start_soon(count, lease, number)
    found = [await count_in(home.other, lease.token) for lease in leases]
    assert found == [11 * number for number in range(20)]
    assert {token async for token in home.other.tokens()} == {lease.token for lease in leases}


# ---- ownership ---------------------------------------------------------------------------------


async def test_who_loads_a_token_waits_until_its_owner_gives_it_up(home: Home) -> None:
    wanted: list[str] = []
    owner = (await home.one.load(TOKEN, lambda: wanted.append("one"))).lease
    await home.one.commit(owner, first(5))
    heirs: list[Lease] = []

    async def inherit() -> None:
        loaded = await home.other.load(TOKEN, lambda: wanted.append("other"))
        assert loaded.snapshot is not None
        assert loaded.snapshot.values == {"root": {"count": 5}}
        heirs.append(loaded.lease)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(inherit)
        await until(lambda: wanted == ["one"])
        assert heirs == []
        await home.one.commit(owner, counts(2, 5))  # it is the owner still
        await home.one.release(owner)
    [heir] = heirs
    assert heir.epoch > owner.epoch
    assert heir.is_certain()
    assert wanted == ["one"]


async def test_those_who_wait_come_in_their_order(home: Home) -> None:
    order: list[int] = []

    async def use(number: int, store: Store) -> None:
        asked = trio.Event()
        loaded = await store.load(TOKEN, asked.set)
        order.append(number)
        if number < 3:
            await asked.wait()  # those who wait already are heard, too
        await store.release(loaded.lease)

    async with trio.open_nursery() as nursery:
        for number, store in enumerate([home.one, home.other, home.one, home.other]):
            nursery.start_soon(use, number, store)
            await until_waiting()
    assert order == [0, 1, 2, 3]


async def test_a_lease_that_was_given_up_stores_nothing_any_more(home: Home) -> None:
    lease = await own(home.one)
    await home.one.commit(lease, first(1))
    await home.one.release(lease)
    await home.one.release(lease)  # without effect
    assert not lease.is_certain()
    with pytest.raises(LeaseLostError):
        await home.one.confirm(lease)
    with pytest.raises(LeaseLostError):
        await home.one.commit(lease, counts(2, 2))
    heir = await own(home.other)
    with pytest.raises(LeaseLostError):
        await home.one.commit(lease, counts(2, 3))
    await home.one.release(lease)
    await home.other.confirm(heir)
    await home.other.commit(heir, counts(2, 4))
    assert await count_in(home.one) == 4


async def test_an_app_is_alive_for_as_long_as_it_runs_the_store(home: Home) -> None:
    assert await home.other.is_alive("app 0")
    assert not await home.other.is_alive("another")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(home.one.run, "another")
        await until_true(lambda: home.other.is_alive("another"))
        nursery.cancel_scope.cancel()
    await until_true(lambda: is_gone(home.other, "another"))


async def is_gone(store: Store, owner: str) -> bool:
    return not await store.is_alive(owner)


# ---- delete, expire ----------------------------------------------------------------------------


async def test_a_token_that_is_deleted_is_gone(home: Home) -> None:
    lease = await own(home.one)
    await home.one.commit(lease, first())
    await home.one.release(lease)
    await home.other.delete(TOKEN)
    await home.other.delete(TOKEN)  # without effect
    assert await home.one.peek(TOKEN) is None
    assert (await home.one.load(TOKEN, nobody)).snapshot is None


async def test_who_owns_a_token_that_is_deleted_loses_its_lease(home: Home) -> None:
    lease = await own(home.one)
    await home.one.commit(lease, first())
    await home.one.delete(TOKEN)
    with pytest.raises(LeaseLostError):
        await home.one.commit(lease, counts(2, 2))
    assert await home.other.peek(TOKEN) is None
    heir = await home.other.load(TOKEN, nobody)
    assert heir.snapshot is None
    assert heir.lease.epoch > lease.epoch


async def test_what_is_old_and_not_owned_expires(home: Home) -> None:
    used = await own(home.one, "used")
    await home.one.commit(used, first())
    rests = await own(home.one, "rests")
    await home.one.commit(rests, first())
    await home.one.release(rests)
    assert await home.other.expire(3600) == 0
    assert await home.other.expire(0) == 1
    assert await home.one.peek("rests") is None
    assert await home.one.peek("used") is not None


# ---- cancellation ------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", range(8))
async def test_a_commit_that_is_cancelled_is_stored_whole_or_not_at_all(
    home: Home, steps: int
) -> None:
    lease = await own(home.one)
    await home.one.commit(lease, first(1))
    commit = Commit(2, (Operation("replace", "/root/count", 2),), (), done=(("page", 1),))
    await cancelled_after(steps, lambda: home.one.commit(lease, commit))
    await home.one.release(lease)
    loaded = await home.other.load(TOKEN, nobody)
    snapshot = loaded.snapshot
    assert snapshot is not None
    count: Any = snapshot.values["root"]["count"]
    assert (snapshot.version, count, dict(snapshot.done)) in [(1, 1, {}), (2, 2, {"page": 1})]
    await home.other.commit(loaded.lease, counts(snapshot.version + 1, 9))
    assert await count_in(home.one) == 9


@pytest.mark.parametrize("is_owned", [False, True])
@pytest.mark.parametrize("steps", range(8))
async def test_a_load_that_is_cancelled_leaves_the_token_to_others(
    home: Home, steps: int, is_owned: bool
) -> None:
    owner = await own(home.one) if is_owned else None
    loaded: list[Lease] = []

    async def load() -> None:
        loaded.append(await own(home.other))

    await cancelled_after(steps, load)
    for lease in loaded:
        await home.other.release(lease)
    if owner is not None:
        await home.one.release(owner)
    with trio.fail_after(60):
        heir = await own(home.one)
    await home.one.commit(heir, first(3))
    assert await count_in(home.other) == 3


@pytest.mark.parametrize("steps", range(6))
async def test_a_release_that_is_cancelled_does_no_harm(home: Home, steps: int) -> None:
    lease = await own(home.one)
    await home.one.commit(lease, first())
    await cancelled_after(steps, lambda: home.one.release(lease))
    await home.one.release(lease)
    with trio.fail_after(60):
        heir = await own(home.other)
    await home.other.commit(heir, counts(2, 2))
    assert await count_in(home.one) == 2


@pytest.mark.parametrize("steps", range(6))
async def test_a_confirmation_that_is_cancelled_does_no_harm(home: Home, steps: int) -> None:
    lease = await own(home.one)
    await home.one.commit(lease, first())
    await cancelled_after(steps, lambda: home.one.confirm(lease))
    await home.one.confirm(lease)
    await home.one.commit(lease, counts(2, 2))
    assert await count_in(home.other) == 2


@pytest.mark.parametrize("steps", range(6))
@pytest.mark.parametrize("forget", ["delete", "expire"])
async def test_a_token_whose_forgetting_is_cancelled_is_there_as_a_whole_or_gone(
    home: Home, steps: int, forget: str
) -> None:
    lease = await own(home.one)
    await home.one.commit(lease, first())
    await home.one.commit(lease, counts(2, 2))
    await home.one.release(lease)
    forgetting = {"delete": lambda: home.one.delete(TOKEN), "expire": lambda: home.one.expire(0)}
    await cancelled_after(steps, forgetting[forget])
    with trio.fail_after(60):
        loaded = await home.other.load(TOKEN, nobody)
    found = loaded.snapshot
    assert found is None or (found.version, dict(found.values["root"])) == (2, {"count": 2})
    version = 0 if found is None else 2
    await home.other.commit(loaded.lease, first() if found is None else counts(3, 1))
    assert await count_in(home.one) == 1
    snapshot = await home.one.peek(TOKEN)
    assert snapshot is not None
    assert snapshot.version == version + 1


@pytest.mark.parametrize("steps", range(6))
async def test_reading_that_is_cancelled_does_no_harm(home: Home, steps: int) -> None:
    lease = await own(home.one)
    await home.one.commit(lease, first())
    await cancelled_after(steps, lambda: home.one.peek(TOKEN))
    await cancelled_after(steps, home.one.signing_key)
    assert await count_in(home.one) == 1
    assert await home.one.signing_key() == await home.other.signing_key()
    await home.one.commit(lease, counts(2, 2))
    assert await count_in(home.other) == 2


async def cancelled_after(steps: int, async_fn: Callable[[], Awaitable[object]]) -> None:
    """Run something, and cancel it when it has gone to sleep so many times, or for long."""
    with trio.move_on_after(0.2) as scope:
        striker = Striker(trio.lowlevel.current_task(), steps, scope)
        trio.lowlevel.add_instrument(striker)
        try:
            await async_fn()
        finally:
            trio.lowlevel.remove_instrument(striker)


@final
class Striker(trio.abc.Instrument):
    """Cancels a scope when a task has gone to sleep so many times; at once if that is none."""

    def __init__(self, task: trio.lowlevel.Task, steps: int, scope: trio.CancelScope) -> None:
        self.task: Final = task
        self.steps = steps
        self.scope: Final = scope
        if steps == 0:
            scope.cancel()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self.task:
            self.steps -= 1
            if self.steps == 0:
                self.scope.cancel()


# ---- waiting -----------------------------------------------------------------------------------


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what a store does in its own time, perhaps in another thread or process."""
    with trio.fail_after(30):
        while not condition():  # noqa: ASYNC110 - nobody can tell
            await trio.sleep(0.005)


async def until_true(condition: Callable[[], Awaitable[bool]]) -> None:
    with trio.fail_after(30):
        while not await condition():  # noqa: ASYNC110 - nobody can tell
            await trio.sleep(0.005)


async def until_waiting() -> None:
    """Let those who were started come to where they wait."""
    await trio.sleep(0.05)
    await wait_all_tasks_blocked()


# ---- the key that tokens are signed with ---------------------------------------------------------


async def test_all_who_use_a_store_have_one_signing_key_from_the_first_moment_on(
    home: Home,
) -> None:
    first_of_all, second = await two_at_once(home)
    assert len(first_of_all) == SIGNING_KEY_BYTES
    assert first_of_all == second == await home.other.signing_key()


async def test_the_signing_key_outlasts_its_process_and_all_tokens(home: Home) -> None:
    key = await home.one.signing_key()
    lease = await own(home.one)
    await home.one.commit(lease, first())
    await home.one.release(lease)
    await home.one.delete(TOKEN)
    await home.one.expire(0)
    assert await home.one.signing_key() == key
    async with home.reopen() as again:
        assert await again.signing_key() == key


async def test_the_signing_key_is_no_token(home: Home) -> None:
    await home.one.signing_key()
    assert [token async for token in home.one.tokens()] == []


async def test_two_stores_have_two_signing_keys(home: Home) -> None:
    assert await home.one.signing_key() != await MemoryStore().signing_key()
