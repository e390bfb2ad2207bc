"""Redis is killed, frozen and cut off, and so are processes that use it; nothing counts twice."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import trio
from persistent_page import UNHURRIED, PersistentPage, Rows
from redis_server import RedisServer, free_port, redis_server
from test_redis import running

from actorstate import App
from actorstate.stores.redis import RedisStore

PROCESS: Final = Path(__file__).with_name("redis_process.py")

LEASE: Final = 0.5  # seconds
TIMEOUT: Final = 0.4

Harm = Callable[[RedisServer, random.Random], Awaitable[None]]


# ---- harm to Redis -----------------------------------------------------------------------------


async def kill_and_restart(server: RedisServer, chance: random.Random) -> None:
    server.kill()
    await trio.sleep(chance.uniform(0, TIMEOUT))
    await trio.to_thread.run_sync(server.start)


async def freeze_past_the_lease(server: RedisServer, chance: random.Random) -> None:
    server.freeze()
    await trio.sleep(LEASE * chance.uniform(1.2, 1.6))
    server.thaw()


async def cut_all_connections(server: RedisServer, chance: random.Random) -> None:
    for _ in range(10):
        await trio.to_thread.run_sync(server.cut_connections)
        await trio.sleep(chance.uniform(0, 0.02))


@pytest.mark.parametrize(
    ("harm", "times"),
    [(kill_and_restart, 8), (freeze_past_the_lease, 4), (cut_all_connections, 15)],
)
async def test_under_load_every_event_counts_once_and_nothing_is_shown_that_is_not_stored(
    harm: Harm, times: int
) -> None:
    chance = chances(times)
    with redis_server() as server:
        store = RedisStore(server.url, lease_ttl=LEASE, store_timeout=TIMEOUT)
        async with (
            App(root=Rows, store=store, connections=UNHURRIED) as app,
            trio.open_nursery() as nursery,
        ):
            address = await nursery.start(app.serve, "127.0.0.1", 0)
            pages = [PersistentPage(address, f"page {n}") for n in range(4)]
            async with trio.open_nursery() as sending:
                for page in pages:
                    sending.start_soon(page.run)
                for page in pages:
                    await page.has_token.wait()
                for _ in range(times):
                    await trio.sleep(chance.uniform(0.05, 0.3))
                    await harm(server, chance)
                await trio.sleep(0.3)
                for page in pages:
                    page.finish()
            nursery.cancel_scope.cancel()
        await check(server, pages)


async def check(server: RedisServer, pages: Sequence[PersistentPage]) -> None:
    """Hold what pages were shown against what is stored, and that against what they sent."""
    store = RedisStore(server.url)
    async with running(store):
        for page in pages:
            assert page.token is not None
            snapshot = await store.peek(page.token)
            assert snapshot is not None
            rows: Any = snapshot.values["rows"]["rows"]
            assert rows == page.shown
            assert rows == [f"{page.instance} {number + 1}" for number in range(page.sent)]
            assert page.sent > 20


# ---- processes that are killed -----------------------------------------------------------------


@contextmanager
def process(*arguments: str) -> Generator[subprocess.Popen[bytes]]:
    command = [sys.executable, str(PROCESS), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        try:
            yield child
        finally:
            child.kill()


async def facts(child: subprocess.Popen[bytes]) -> dict[str, Any]:
    """Give the next line that a process says; nothing at its end."""
    assert child.stdout is not None
    line = await trio.to_thread.run_sync(child.stdout.readline)
    return json.loads(line) if line else {}


async def test_a_server_that_is_killed_at_any_moment_counts_every_event_once() -> None:
    chance = chances(6)
    port = str(free_port())
    with redis_server() as redis:
        url = f"{redis.url}?lease_ttl=0.2"
        pages = [PersistentPage(f"http://127.0.0.1:{port}", f"page {n}") for n in range(2)]
        async with trio.open_nursery() as nursery:
            for page in pages:
                nursery.start_soon(page.run)
            for _ in range(30):
                with process("serve", url, port):
                    for page in pages:
                        await page.next_answer()
                    await trio.sleep(chance.uniform(0, 0.15))
            await serve_until_done(url, port, pages)
        await check(redis, pages)


async def serve_until_done(url: str, port: str, pages: Sequence[PersistentPage]) -> None:
    with process("serve", url, port):
        for page in pages:
            page.finish()
        for page in pages:
            await page.done.wait()


def chances(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - to be the same each time


# ---- two processes, one token ------------------------------------------------------------------


async def test_two_processes_lose_no_update_of_one_token_even_if_one_is_stopped() -> None:
    """One of them is stopped for longer than its lease, now and then."""
    chance, each = chances(2), 2_000
    told: dict[str, Any] = {}
    with redis_server() as redis:
        url = f"{redis.url}?lease_ttl={LEASE}"
        with (
            process("append", url, "shared", "a", str(each)) as one,
            process("append", url, "shared", "b", str(each)) as other,
        ):
            assert await facts(one) == await facts(other) == {"ready": True}
            async with trio.open_nursery() as nursery:
                listen = trio.CancelScope()
                nursery.start_soon(collect, one, told)
                nursery.start_soon(stop_now_and_then, one, chance, listen)
                await collect(other, told)
                listen.cancel()
        store = RedisStore(redis.url)
        async with running(store):
            snapshot = await store.peek("shared")
    assert snapshot is not None
    rows: Any = snapshot.values["rows"]["rows"]
    assert len(told) == 2 * each
    assert max(Counter(rows).values()) == 1
    raised = {row: error for row, error in told.items() if error is not None}
    done = told.keys() - raised.keys()
    assert done <= set(rows)  # what was told to be done is
    assert set(rows) - done <= {  # and what is there besides was told to be unknown
        row for row, error in raised.items() if error == "StoreUnavailableError"
    }
    assert len(rows) == 2 * each - len(raised.keys() - set(rows))
    assert all(row.startswith("a") for row in raised), "only who was stopped may fail"
    for name in ("a", "b"):
        mine = [int(row.split()[1]) for row in rows if row.startswith(name)]
        assert mine == sorted(mine)


async def collect(child: subprocess.Popen[bytes], told: dict[str, Any]) -> None:
    while fact := await facts(child):
        told[fact["row"]] = fact["raised"]


async def stop_now_and_then(
    child: subprocess.Popen[bytes], chance: random.Random, until: trio.CancelScope
) -> None:
    with until:
        while child.poll() is None:
            await trio.sleep(chance.uniform(0.2, 0.6))
            child.send_signal(signal.SIGSTOP)
            try:
                await trio.sleep(LEASE * chance.uniform(1.1, 1.8))
            finally:
                child.send_signal(signal.SIGCONT)
