"""What stores cost: turns that are stored, of one token and of many, and tokens that rest.

Turns go the whole way: ``async with app.modify_state(token)``, a handler's worth of change, and the
store's answer before the block ends. SQLite waits for the disk, so its figures are as much the
disk's; the bare line is a loop of commits of one row each by the same library, on the same disk.
"""

from __future__ import annotations

import gc
import sqlite3
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import trio
import trio.testing

from actorstate import App, MemoryStore, State, Store
from actorstate.state.commit import Commit
from actorstate.stores.journal import Entry, Journal
from actorstate.stores.sqlite import SQLiteStore

TOKENS = 100
SECONDS = 1.0
ROUNDS = 3
RESTING = 1_000
LARGE = 10_000  # rows of 100 bytes: 1 MB

MakeStore = Callable[[Path], Store]


class Stored(State, root=True):
    count: int = 0
    rows: list[str] = []
    note: str = ""


STORES: list[tuple[str, MakeStore]] = [
    ("memory", lambda _: MemoryStore()),
    ("SQLite", lambda path: SQLiteStore(path / "full.db")),
    ("SQLite, relaxed", lambda path: SQLiteStore(path / "relaxed.db", durability="relaxed")),
]


async def turns(app: App, tokens: int, seconds: float = SECONDS) -> float:
    """Give the turns a second of so many tokens, each of which takes one after the other."""
    done = 0

    async def take(token: str) -> None:
        nonlocal done
        while True:
            async with app.modify_state(token) as state:
                state.count += 1  # pyright: ignore
            done += 1

    started = time.perf_counter()
    with trio.move_on_after(seconds):
        async with trio.open_nursery() as nursery:
            for number in range(tokens):
                nursery.start_soon(take, f"tab {number}")
    return done / (time.perf_counter() - started)


async def with_store(make: MakeStore, measure: Callable[[App, Store], Awaitable[float]]) -> float:
    """Measure in an app with a new store."""
    with tempfile.TemporaryDirectory() as folder:
        store = make(Path(folder))
        async with App(root=Stored, store=store, slow_turn=60) as app:
            figure = await measure(app, store)
        await store.aclose()
    return figure


async def activation(app: App, store: Store, rows: int) -> float:
    """Give the seconds from asking for a token that rests to having its turn."""
    async with app.modify_state("large") as state:
        state.rows = ["x" * 98] * rows  # pyright: ignore
    figures: list[float] = []
    for _ in range(7):
        await app.directory.ref("large").stop(block=False)
        started = time.perf_counter()
        async with app.modify_state("large"):
            figures.append(time.perf_counter() - started)
    return statistics.median(figures)


def bytes_a_commit(rows: int) -> float:
    """Give the bytes of journal for a turn that changes one number, the median and what is whole.

    Of a hundred turns, on a state of so many rows; the same in every store that keeps bytes.
    """
    written: list[int] = []

    class Weighing(MemoryStore):  # pyright: ignore[reportGeneralTypeIssues] - final, but here
        journal = Journal()

        async def commit(self, lease: Any, commit: Commit) -> None:
            entry: Entry = self.journal.entry(commit)
            self.journal.written(entry)
            written.append(len(entry.data))
            await super().commit(lease, commit)

    async def main() -> None:
        async with App(root=Stored, store=Weighing()) as app:
            async with app.modify_state("tab") as state:
                state.rows = ["x" * 98] * rows  # pyright: ignore
            written.clear()
            for _ in range(2_000):
                async with app.modify_state("tab") as state:
                    state.count += 1  # pyright: ignore

    trio.run(main)
    return sum(written) / len(written)


async def bytes_at_rest() -> float:
    """Give the bytes of memory of a token that rests in the memory store."""
    store = MemoryStore()
    async with App(root=Stored, store=store) as app:

        async def use(number: int) -> None:
            async with app.modify_state(f"tab {number}") as state:
                state.note = f"{number}"  # pyright: ignore
            await app.directory.ref(f"tab {number}").stop(block=False)

        await use(0)
        await trio.testing.wait_all_tasks_blocked()
        gc.collect()
        tracemalloc.start()
        for number in range(1, RESTING + 1):
            await use(number)
        await trio.testing.wait_all_tasks_blocked()
        gc.collect()
        used, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return used / RESTING


def bare(synchronous: str) -> float:
    """Give the commits a second of a loop that does nothing but write one row each."""
    with tempfile.TemporaryDirectory() as folder:
        connection = sqlite3.connect(Path(folder) / "bare.db", isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        connection.execute("CREATE TABLE patch (data BLOB)")
        started, done = time.perf_counter(), 0
        while time.perf_counter() - started < SECONDS:
            connection.execute("INSERT INTO patch VALUES (?)", [b"x" * 80])
            done += 1
        connection.close()
    return done / SECONDS


def best(make: MakeStore, tokens: int) -> float:
    """Give the median of some rounds."""
    return statistics.median(
        trio.run(with_store, make, lambda app, _: turns(app, tokens)) for _ in range(ROUNDS)
    )


def main() -> None:
    print(f"{'turns/s, stored':<38}{'1 token':>10}{f'{TOKENS} tokens':>12}")
    for name, make in STORES:
        print(f"  {name:<36}{best(make, 1):>10,.0f}{best(make, TOKENS):>12,.0f}")
    for name, synchronous in [("bare SQLite", "FULL"), ("bare SQLite, relaxed", "NORMAL")]:
        print(f"  {name:<36}{bare(synchronous):>10,.0f}")
    print(f"{'bytes written a turn that counts':<38}{'small':>10}{'1 MB':>12}")
    print(f"  {'any store that keeps bytes':<36}{bytes_a_commit(0):>10,.0f}"
          f"{bytes_a_commit(LARGE):>12,.0f}")  # fmt: skip
    print(f"{'activation, ms':<38}{'small':>10}{'1 MB':>12}")
    for name, make in STORES[:2]:
        small, large = (
            1000 * trio.run(with_store, make, lambda app, store, n=n: activation(app, store, n))
            for n in (0, LARGE)
        )
        print(f"  {name:<36}{small:>10.2f}{large:>12.2f}")
    print(f"{'bytes of a token at rest in memory':<38}{trio.run(bytes_at_rest):>10,.0f}")


if __name__ == "__main__":
    main()
