"""The store in Redis, against real servers: what is its own, beside the contract of stores."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol

import pytest
import trio
from redis_proxy import proxy
from redis_server import RedisServer, redis_server

from actorstate import LeaseLostError, StoreError, StoreUnavailableError
from actorstate.state.commit import Commit
from actorstate.state.patch import Operation
from actorstate.state.snapshot import Snapshot
from actorstate.stores.base import Lease, Store
from actorstate.stores.redis import RedisStore
from actorstate.stores.urls import open_store

TAB: Final = "a tab"


@pytest.fixture(scope="module")
def the_server() -> Generator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture
def server(the_server: RedisServer) -> RedisServer:
    the_server.forget()
    return the_server


@pytest.fixture
def own_server() -> Generator[RedisServer]:
    """One to be mistreated."""
    with redis_server() as server:
        yield server


@asynccontextmanager
async def running(*stores: Store) -> AsyncGenerator[None]:
    async with trio.open_nursery() as nursery:
        for number, store in enumerate(stores):
            nursery.start_soon(store.run, f"app {number}")
        yield
        nursery.cancel_scope.cancel()


class HasUrl(Protocol):
    @property
    def url(self) -> str: ...


def hasty(where: HasUrl, *, ttl: float = 1.0, timeout: float = 1.0) -> RedisStore:
    return RedisStore(where.url, lease_ttl=ttl, store_timeout=timeout)


def nobody() -> None:
    """Is told that a token is wanted, and does not care."""


async def own(store: Store, token: str = TAB) -> Lease:
    return (await store.load(token, nobody)).lease


def first(count: int = 1) -> Commit:
    return Commit(1, (Operation("add", "/root", {"count": count}),), (), schema="s1")


def counts(version: int, count: int) -> Commit:
    return Commit(version, (Operation("replace", "/root/count", count),), ())


async def count_in(store: Store, token: str = TAB) -> Any:
    snapshot = await store.peek(token)
    return None if snapshot is None else snapshot.values["root"]["count"]


# ---- Redis is away -----------------------------------------------------------------------------


async def test_a_commit_waits_for_redis_until_it_is_back(own_server: RedisServer) -> None:
    store = hasty(own_server, timeout=20)
    async with running(store):
        lease = await own(store)
        await store.commit(lease, first())
        own_server.kill()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.commit, lease, counts(2, 2))
            await trio.to_thread.run_sync(own_server.start)
        assert await count_in(store) == 2


async def test_a_redis_that_stays_away_is_unavailable_and_works_again_when_it_is_back(
    own_server: RedisServer,
) -> None:
    store = hasty(own_server, timeout=0.3)
    async with running(store):
        lease = await own(store)
        await store.commit(lease, first())
        own_server.kill()
        with pytest.raises(StoreUnavailableError, match="did not answer within 0.3 s"):
            await store.commit(lease, counts(2, 2))
        with pytest.raises(LeaseLostError):  # it is not known what is stored: load it anew
            await store.commit(lease, counts(2, 2))
        assert not lease.is_certain()
        for ask in (store.peek, store.delete, store.is_alive, own_loaded(store)):
            with pytest.raises(StoreUnavailableError):
                await ask(TAB)
        await store.release(lease)
        await trio.to_thread.run_sync(own_server.start)
        loaded = await own_loaded(store, patience=20)(TAB)
        await store.commit(loaded, counts(2, 3))
        assert await count_in(store) == 3


def own_loaded(store: Store, patience: float = 0) -> Callable[[str], Any]:
    async def load(token: str) -> Lease:
        deadline = trio.current_time() + patience
        while True:
            try:
                return await own(store, token)
            except StoreUnavailableError:
                if trio.current_time() >= deadline:
                    raise

    return load


async def test_a_frozen_redis_is_unavailable_and_works_again(own_server: RedisServer) -> None:
    store = hasty(own_server, ttl=0.5, timeout=0.5)
    async with running(store):
        lease = await own(store)
        await store.commit(lease, first(1))
        own_server.freeze()
        with pytest.raises(StoreUnavailableError):
            await store.commit(lease, counts(2, 2))
        own_server.thaw()
        loaded = await store.load(TAB, nobody)
        assert loaded.snapshot is not None
        # What was under way when it froze may have been done when it thawed; or not.
        version = loaded.snapshot.version
        assert loaded.snapshot.values["root"]["count"] == version
        await store.commit(loaded.lease, counts(version + 1, 9))
        assert await count_in(store) == 9


async def test_connections_that_are_cut_all_the_time_are_made_anew(server: RedisServer) -> None:
    """Oftener than a pool of connections of coredis has room for those that died."""
    store = hasty(server, timeout=20)
    async with running(store):
        lease = await own(store)
        await store.commit(lease, first(0))
        for version in range(2, 82):
            server.cut_connections()
            await store.commit(lease, counts(version, version))
        assert await count_in(store) == 81


async def test_a_server_that_may_not_write_now_is_tried_again(server: RedisServer) -> None:
    store = hasty(server, timeout=20)
    async with running(store):
        lease = await own(store)
        await store.commit(lease, first())
        server.command("REPLICAOF", "127.0.0.1", "1")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.commit, lease, counts(2, 2))
            await trio.sleep(0.1)  # so that it has tried
            server.command("REPLICAOF", "NO", "ONE")
        assert await count_in(store) == 2


async def test_scripts_that_redis_has_forgotten_are_sent_again(server: RedisServer) -> None:
    store = hasty(server)
    async with running(store):
        lease = await own(store)
        for version in range(1, 4):
            server.command("SCRIPT", "FLUSH")
            await store.commit(lease, first() if version == 1 else counts(version, version))
        assert await count_in(store) == 3


async def test_what_redis_refuses_is_not_stored_and_the_lease_is_kept(server: RedisServer) -> None:
    store = hasty(server)
    async with running(store):
        lease = await own(store)
        await store.commit(lease, first())
        server.command("CONFIG", "SET", "maxmemory", "1")
        try:
            with pytest.raises(StoreError, match="OOM") as caught:
                await store.commit(lease, counts(2, 2))
        finally:
            server.command("CONFIG", "SET", "maxmemory", "0")
        assert type(caught.value) is StoreError
        assert await count_in(store) == 1
        await store.commit(lease, counts(2, 3))
        assert await count_in(store) == 3


async def test_the_log_says_once_that_redis_is_away_and_that_it_is_back(
    own_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "actorstate.stores")
    store = RedisStore(own_server.url.replace("://", "://:secret@"), store_timeout=1.5)
    own_server.kill()
    async with running(store):
        with pytest.raises(StoreUnavailableError):
            await store.peek(TAB)
        await trio.to_thread.run_sync(own_server.start)
        await store.peek(TAB)
    said = [record.getMessage() for record in caplog.records if record.name == "actorstate.stores"]
    where = own_server.url
    assert said[0].startswith(f"{where} is not reached, and tried again: ConnectionError(")
    assert said[1:] in ([], [f"{where} is reached again"])


# ---- answers and messages that get lost --------------------------------------------------------


async def test_a_commit_whose_answer_got_lost_is_stored_once(server: RedisServer) -> None:
    async with proxy(server.port) as between:
        store = hasty(between, timeout=20)
        async with running(store):
            lease = await own(store)
            await store.commit(lease, first(0))
            rows = Operation("add", "/root/rows", [])
            await store.commit(lease, Commit(2, (rows,), ()))
            async with trio.open_nursery() as nursery:
                between.hold_answers()
                add = Operation("add", "/root/rows/0", "x")
                nursery.start_soon(store.commit, lease, Commit(3, (add,), ()))
                await between.lost.wait()
                await between.cut()
            snapshot = await store.peek(TAB)
    assert snapshot is not None
    assert snapshot.values == {"root": {"count": 0, "rows": ["x"]}}


async def test_a_load_whose_answer_got_lost_is_the_owner_by_the_next(server: RedisServer) -> None:
    async with proxy(server.port) as between:
        store = hasty(between, ttl=600, timeout=20)
        async with running(store):
            await store.is_alive("anybody")  # connected, so that it is the next answer that is lost
            between.hold_answers()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(own, store)
                await between.lost.wait()
                await between.cut()


async def test_a_hand_over_does_not_depend_on_messages(server: RedisServer) -> None:
    one, other = hasty(server), hasty(server)
    streams = [f"actorstate:process:{store._process}" for store in (one, other)]
    for stream in streams:
        server.command("SET", stream, "no Stream, so nothing can be told by it")
    wanted = trio.Event()
    async with running(one, other):
        lease = (await one.load(TAB, wanted.set)).lease
        async with trio.open_nursery() as nursery:
            nursery.start_soon(own, other)
            with trio.fail_after(10):
                await wanted.wait()
            await one.release(lease)


async def test_a_commit_says_that_the_token_is_wanted(server: RedisServer) -> None:
    """However late the messages of its process are."""
    one, other = hasty(server, ttl=600), hasty(server, ttl=600)
    server.command("SET", f"actorstate:process:{one._process}", "no Stream")
    wanted = trio.Event()
    async with running(one, other):
        lease = (await one.load(TAB, wanted.set)).lease
        async with trio.open_nursery() as nursery:
            nursery.start_soon(own, other)
            version = 0
            with trio.fail_after(10):
                while not wanted.is_set():
                    version += 1
                    await one.commit(lease, counts(version, 0) if version > 1 else first(0))
            await one.release(lease)


# ---- owners that die, or pause -----------------------------------------------------------------


async def test_who_has_died_is_waited_for_no_longer_than_its_lease(server: RedisServer) -> None:
    one, other = hasty(server, ttl=0.3), hasty(server, ttl=0.3)
    async with running(other):
        async with running(one):
            await one.commit(await own(one), first(7))
        started = trio.current_time()
        loaded = await other.load(TAB, nobody)
        assert trio.current_time() - started < 2
    assert loaded.snapshot is not None
    assert loaded.snapshot.values == {"root": {"count": 7}}


async def test_who_paused_past_its_lease_is_certain_of_nothing_and_stores_nothing(
    server: RedisServer,
) -> None:
    """It pauses as a process that is stopped does: nothing of it runs, and its clock goes on."""
    one, other = hasty(server, ttl=0.3), hasty(server, ttl=0.3)
    async with running(other):
        paused = trio.CancelScope()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_until, paused, one)
            lease = await own(one)
            await one.commit(lease, first())
            paused.cancel()
        heir = await own(other)
        assert not lease.is_certain()
        assert heir.is_certain()
        await other.commit(heir, counts(2, 2))
        async with running(one):
            with pytest.raises(LeaseLostError):
                await one.commit(lease, counts(2, 3))
            with pytest.raises(LeaseLostError):
                await one.confirm(lease)
    async with running(one):
        assert await count_in(one) == 2


async def run_until(over: trio.CancelScope, store: Store) -> None:
    with over:
        await store.run("paused")


async def test_an_owner_learns_that_it_has_lost_its_lease_without_a_commit(
    server: RedisServer,
) -> None:
    store = hasty(server, ttl=0.3)
    seen = trio.Event()
    async with running(store):
        lease = (await store.load(TAB, seen.set)).lease
        await store.commit(lease, first())
        await store.delete(TAB)
        with trio.fail_after(10):
            await seen.wait()
        assert not lease.is_certain()


async def test_a_lease_that_is_not_used_is_renewed(server: RedisServer) -> None:
    one, other = hasty(server, ttl=0.3), hasty(server, ttl=0.3)
    wanted = trio.Event()
    async with running(one, other):
        lease = (await one.load(TAB, wanted.set)).lease
        with trio.move_on_after(1.0) as waited:
            await own(other)
        assert waited.cancelled_caught
        assert wanted.is_set()
        assert lease.is_certain()
        await one.commit(lease, first())


async def test_who_waits_and_dies_is_not_waited_for(server: RedisServer) -> None:
    one, dead, other = (hasty(server, ttl=0.4) for _ in range(3))
    async with running(one, other):
        lease = await own(one)
        dying = trio.CancelScope()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_until, dying, dead)
            nursery.start_soon(own, dead)
            await until(lambda: server.command("HGET", tree(), "waiters") is not None)
            server.command("HSET", tree(), "waiters", "dead.1 1")  # as if it was long ago
            dying.cancel()
            nursery.cancel_scope.cancel()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(own, other)
            await until(lambda: len(server.command("HGET", tree(), "waiters").split()) == 4)
            await one.release(lease)
        assert b"dead" not in server.command("HGET", tree(), "owner")


def tree(token: str = TAB) -> str:
    return f"actorstate:{{{token}}}"


async def until(is_so: Callable[[], bool]) -> None:
    with trio.fail_after(10):
        while not is_so():  # noqa: ASYNC110 - it is so in another process
            await trio.sleep(0.005)


async def test_what_redis_has_forgotten_is_not_built_upon(server: RedisServer) -> None:
    """As one that does not write to disk at once may have when it was restarted."""
    store = hasty(server)
    async with running(store):
        lease = await own(store)
        await store.commit(lease, first(1))
        earlier = server.command("DUMP", tree()), server.command("DUMP", f"{tree()}:journal")
        await store.commit(lease, counts(2, 2))
        for key, dump in zip((tree(), f"{tree()}:journal"), earlier, strict=True):
            server.command("RESTORE", key, 0, dump, "REPLACE")
        with pytest.raises(LeaseLostError):
            await store.commit(lease, counts(3, 3))
        assert await count_in(store) == 1


async def test_a_script_that_was_stopped_halfway_has_done_nothing(server: RedisServer) -> None:
    """The disk of Redis may fail between two writes of one script."""
    store = hasty(server)
    async with running(store):
        lease = await own(store)
        await store.commit(lease, first(1))
        server.command("APPEND", f"{tree()}:journal", '2 {"v":2,"ops":[["remove","/root"]]}\n')
        assert await count_in(store) == 1
        await store.commit(lease, counts(2, 2))
        await store.release(lease)
        loaded = await store.load(TAB, nobody)
        assert loaded.snapshot == Snapshot(2, {"root": {"count": 2}}, schema="s1")


# ---- what is asked for, and where --------------------------------------------------------------


@pytest.mark.parametrize("token", ["", "}", "a}b{", "%", "%7D", "*", "ü 🎈", "a b\n", "process:x"])
async def test_any_string_is_a_token(server: RedisServer, token: str) -> None:
    store = hasty(server)
    async with running(store):
        lease = await own(store, token)
        await store.commit(lease, first(3))
        await store.commit(lease, counts(2, 4))
        assert [one async for one in store.tokens()] == [token]
        assert await count_in(store, token) == 4
        await store.release(lease)
        assert await store.expire(0) == 1
    assert server.command("KEYS", "actorstate:{*") == []


async def test_a_token_that_never_committed_leaves_nothing(server: RedisServer) -> None:
    store = hasty(server)
    async with running(store):
        await store.release(await own(store))
    assert server.command("KEYS", "actorstate:{*") == []


async def test_many_commits_at_once_go_out_together(server: RedisServer) -> None:
    store = hasty(server, timeout=20)
    async with running(store):
        leases = [await own(store, f"{number}") for number in range(300)]
        server.command("CONFIG", "RESETSTAT")
        async with trio.open_nursery() as nursery:
            for lease in leases:
                nursery.start_soon(store.commit, lease, first())
        reads = int(info(server, "total_reads_processed"))
        assert {await count_in(store, lease.token) for lease in leases} == {1}
    assert reads < 30  # and not 300: what is asked of the server, and its own statistics


def info(server: RedisServer, name: str) -> str:
    lines = server.command("INFO").decode().splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)[name]


async def test_apps_may_share_a_store_and_leave_it_one_after_the_other(
    server: RedisServer,
) -> None:
    store = hasty(server)
    async with running(store):
        async with running(store):
            lease = await own(store)
            await store.commit(lease, first())
        await store.commit(lease, counts(2, 2))
        assert await count_in(store) == 2


async def test_a_store_that_nobody_runs_is_unavailable(server: RedisServer) -> None:
    store = hasty(server, timeout=0.3)
    async with running(store):
        lease = await own(store)
    with pytest.raises(StoreUnavailableError, match="nobody runs the store"):
        await store.commit(lease, first())
    await store.release(lease)
    with pytest.raises(StoreUnavailableError):
        await store.peek(TAB)


async def test_a_process_with_many_leases_keeps_them(server: RedisServer) -> None:
    store = hasty(server, ttl=0.5, timeout=5)
    async with running(store):
        leases = [await own(store, f"{number}") for number in range(250)]
        await trio.sleep(1.0)
        assert all(lease.is_certain() for lease in leases)


@pytest.mark.parametrize(
    "url",
    ["http://localhost", "redis://", "redis://a,b", "redis+cluster://a,", "redis://a?lease_ttl=0",
     "redis://a?store_timeout=x", "redis://a?lease_ttl=inf"],
)  # fmt: skip
def test_a_wrong_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError):
        RedisStore(url)


def test_a_url_on_the_command_line_names_the_store() -> None:
    store = open_store("redis://:secret@localhost/3?lease_ttl=2.5&store_timeout=1")
    assert isinstance(store, RedisStore)
    assert repr(store) == "<RedisStore at redis://localhost/3>"
    assert (store._ttl, store._timeout) == (2.5, 1)
