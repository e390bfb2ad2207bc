"""What a commit to Redis costs beside a bare loop of ``SET``, in the same run of ``make bench``.

The server is a real one, on this machine, and does not write to disk: so that what is compared is
the work on the way, and not one disk. The bare loop is what coredis does for anybody: one ``SET``
after the other, of as many bytes as the commit has.
"""

from __future__ import annotations

import functools
import secrets
import statistics
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import coredis
import trio

from actorstate import App, State
from actorstate.actors.messages import Event
from actorstate.state.commit import Commit
from actorstate.state.patch import Operation
from actorstate.stores.base import Lease
from actorstate.stores.journal import encode_commit
from actorstate.stores.redis import RedisStore

sys.path.insert(0, str(Path(__file__).parent.parent))  # where the tests' servers are
from redis_server import RedisServer, redis_server

LEAST_SHARE = 0.7
"""How many of the bare loop's ``SET``s one token has to have in turns."""
LEAST_TIMES = 5
"""How many times of them a hundred tokens have to have in commits."""

SETS = 3_000
TURNS = 3_000
TOKENS = 100
EACH = 100
PAIRS = 7


class Bench(State, root=True):
    count: int = 0

    def increment(self) -> None:
        self.count += 1


def increments(version: int) -> Commit:
    return Commit(
        version,
        (Operation("replace", "/bench/count", version),),
        (),
        done=(("page", version),),
    )


async def bare(server: RedisServer) -> float:
    """Give the ``SET``s a second."""
    value = encode_commit(increments(1000))
    async with coredis.Redis(port=server.port) as client:
        await client.set("bare", value)
        started = time.perf_counter()
        for _ in range(SETS):
            await client.set("bare", value)
        return SETS / (time.perf_counter() - started)


async def turns(server: RedisServer) -> float:
    """Give the turns a second of one token: events, of which each waits for the one before."""
    async with App(root=Bench, store=RedisStore(server.url)) as app:
        token = secrets.token_hex(8)  # one that no round before has brought so far already
        ref = app.directory.ref(token)
        await ref.ask(Event("bench.increment", [], 1, "page"), block=False)
        started = time.perf_counter()
        for seq in range(2, TURNS + 2):
            await ref.ask(Event("bench.increment", [], seq, "page"), block=False)
        seconds = time.perf_counter() - started
        async with app.modify_state(token) as state:
            assert isinstance(state, Bench)
            assert state.count == TURNS + 1, "some events were taken for ones that are done"
        return TURNS / seconds


async def commits(server: RedisServer, tokens: int) -> float:
    """Give the commits a second of many tokens at once, each one after the other."""
    async with running(RedisStore(server.url)) as store:
        leases = [await begin(store, f"tab-{number}") for number in range(tokens)]
        each = TOKENS * EACH // max(tokens, 5)
        started = time.perf_counter()
        async with trio.open_nursery() as nursery:
            for lease in leases:
                nursery.start_soon(commit_many, store, lease, each)
        return tokens * each / (time.perf_counter() - started)


async def begin(store: RedisStore, token: str) -> Lease:
    await store.delete(token)
    lease = (await store.load(token, lambda: None)).lease
    first = Operation("add", "/bench", {"count": 1})
    await store.commit(lease, Commit(1, (first,), (), schema="s"))
    return lease


async def commit_many(store: RedisStore, lease: Lease, count: int) -> None:
    for version in range(2, count + 2):
        await store.commit(lease, increments(version))


@asynccontextmanager
async def running(store: RedisStore) -> AsyncGenerator[RedisStore]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.run, "bench")
        yield store
        nursery.cancel_scope.cancel()


def beside_bare(
    server: RedisServer, measure: Callable[[RedisServer], Awaitable[float]]
) -> tuple[float, float, float]:
    """Measure in turn, pair by pair; give the medians, and that of the ratios."""
    pairs = [(trio.run(measure, server), trio.run(bare, server)) for _ in range(PAIRS)]
    ours, theirs = zip(*pairs, strict=True)
    ratio = statistics.median(mine / other for mine, other in pairs)
    return statistics.median(ours), statistics.median(theirs), ratio


ROWS = [
    ("turns of one token", turns, LEAST_SHARE),
    ("commits of one token", functools.partial(commits, tokens=1), None),
    (f"commits of {TOKENS} tokens", functools.partial(commits, tokens=TOKENS), LEAST_TIMES),
]


def main() -> int:
    """Print what commits cost; tell whether that is within bounds."""
    print(f"{'Redis, each a second':<38}{'ours':>10}{'bare SET':>10}   times the bare loop")
    all_fine = True
    with redis_server("--appendonly", "no") as server:
        for title, measure, least in ROWS:
            ours, theirs, ratio = beside_bare(server, measure)
            fine = least is None or ratio >= least
            all_fine = all_fine and fine
            bound = "no bound" if least is None else f"at least {least}"
            missed = "" if fine else "  MISSED"
            print(f"  {title:<36}{ours:>10,.0f}{theirs:>10,.0f}   {ratio:.2f} ({bound}){missed}")
    return 0 if all_fine else 1


if __name__ == "__main__":
    sys.exit(main())
