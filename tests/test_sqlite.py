"""The SQLite store, where it is its own: the file, the disk, the thread, the other process."""

from __future__ import annotations

import itertools
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import trio
from clients import Client
from trio.testing import wait_all_tasks_blocked

from actorstate import App, State, StoreError
from actorstate.actors.messages import Attach, Event
from actorstate.state.commit import Commit
from actorstate.state.patch import Operation
from actorstate.stores.sqlite import SQLiteStore

TOKEN: Final = "tab"  # noqa: S105 - a name, to a store


class Root(State, root=True):
    count: int = 0
    text: str = ""

    def add(self) -> None:
        self.count += 1

    def fill(self, size: int) -> None:
        self.text = "x" * size


@asynccontextmanager
async def opened(path: Path, **options: Any) -> AsyncGenerator[SQLiteStore]:
    store = SQLiteStore(path, **options)
    try:
        yield store
    finally:
        await store.aclose()


def nobody() -> None:
    """Does not care whether a token is wanted."""


def adds(version: int, size: int = 1) -> Commit:
    if version == 1:
        return Commit(1, (Operation("add", "/root", {"text": "x" * size}),), ())
    return Commit(version, (Operation("replace", "/root/text", "x" * size),), ())


# ---- the file ----------------------------------------------------------------------------------


def broken(path: Path) -> None:
    path.write_bytes(b"once upon a time, in a file far away" * 100)


def anothers(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE snapshot (token TEXT, data BLOB)")
    connection.close()


def newer(path: Path) -> None:
    trio.run(make, path)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("PRAGMA user_version = 2")
    connection.close()


async def make(path: Path) -> None:
    async with opened(path) as store:
        lease = (await store.load(TOKEN, nobody)).lease
        await store.commit(lease, adds(1))  # pyright: ignore


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (broken, "is no store of actorstate; it was left as it is"),
        (anothers, "is no store of actorstate; it was left as it is"),
        (newer, "newer version of actorstate .format 2; this one knows 1.; it was left as it is"),
    ],
)
@pytest.mark.parametrize("read_only", [False, True])
def test_a_file_that_is_none_of_ours_is_refused_and_left_as_it_is(
    tmp_path: Path, write: Callable[[Path], None], reason: str, read_only: bool
) -> None:
    path = tmp_path / "state.db"
    write(path)
    before = path.read_bytes()
    with pytest.raises(StoreError, match=reason):
        SQLiteStore(path, read_only=read_only)
    assert path.read_bytes() == before
    assert not path.with_name("state.db-wal").exists()


def test_a_directory_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"state\.db cannot be used: unable to open"):
        SQLiteStore(tmp_path / "gone" / "state.db")
    with pytest.raises(StoreError, match="there is no store"):
        SQLiteStore(tmp_path / "state.db", read_only=True)
    with pytest.raises(ValueError, match="'full' or 'relaxed', got 'none'"):
        SQLiteStore(tmp_path / "state.db", durability="none")  # pyright: ignore
    SQLiteStore(tmp_path / "state.db")  # what was refused holds nothing


async def test_a_second_process_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    program = f"from actorstate.stores.sqlite import SQLiteStore; SQLiteStore({str(path)!r})"
    command = [sys.executable, "-c", program]
    async with opened(path):
        with pytest.raises(StoreError, match="it is in use by another process"):
            SQLiteStore(path)
        result = await trio.run_process(
            command, capture_stderr=True, check=False, stdout=subprocess.DEVNULL
        )
        assert b"it is in use by another process" in result.stderr
    await trio.run_process(command)


async def test_a_file_in_use_can_be_looked_at(tmp_path: Path) -> None:
    async with opened(tmp_path / "state.db") as store:
        lease = (await store.load(TOKEN, nobody)).lease
        await store.commit(lease, adds(1))  # pyright: ignore
        async with opened(tmp_path / "state.db", read_only=True) as onlooker:
            assert await onlooker.peek(TOKEN) == await store.peek(TOKEN)
            assert [token async for token in onlooker.tokens()] == [TOKEN]
            with pytest.raises(StoreError, match="readonly"):
                await onlooker.delete(TOKEN)


@pytest.mark.parametrize(("durability", "synchronous"), [("full", 2), ("relaxed", 1)])
async def test_what_a_commit_waits_for(tmp_path: Path, durability: Any, synchronous: int) -> None:
    async with opened(tmp_path / "state.db", durability=durability) as store:
        for pragma, value in [("synchronous", synchronous), ("journal_mode", "wal")]:
            [found] = await store._do(lambda c, name=pragma: c.execute(f"PRAGMA {name}").fetchone())
            assert found == value


async def test_a_store_that_was_closed_says_so(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "state.db")
    before = threading.active_count()
    await store.aclose()
    await store.aclose()
    assert threading.active_count() < before
    with pytest.raises(StoreError, match="was closed"):
        await store.peek(TOKEN)


# ---- the disk ----------------------------------------------------------------------------------


async def limit(store: SQLiteStore) -> None:
    """Let the disk be full: SQLite takes a bound on the file for one."""
    pages = await store._do(lambda c: c.execute("PRAGMA page_count").fetchone()[0])
    await store._do(lambda c: c.execute(f"PRAGMA max_page_count = {pages + 2}").fetchone())


async def forbid(store: SQLiteStore) -> None:
    await store._do(lambda c: c.execute("PRAGMA query_only = 1").fetchone())


async def relieve(store: SQLiteStore) -> None:
    await store._do(lambda c: c.execute("PRAGMA max_page_count = 1000000").fetchone())
    await store._do(lambda c: c.execute("PRAGMA query_only = 0").fetchone())


@pytest.mark.parametrize("trouble", [limit, forbid])
async def test_a_file_that_takes_nothing_is_an_error_to_the_page_and_the_server_lives_on(
    tmp_path: Path, trouble: Callable[[SQLiteStore], Any], caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(tmp_path / "state.db") as store:
        async with App(root=Root, store=store) as app:
            page, ref = Client(), app.directory.ref(TOKEN)
            ref.tell(Attach(page))
            await ref.ask(Event("root.add", [], 1, "page"), block=False)
            await trouble(store)
            await ref.ask(Event("root.fill", [100_000], 2, "page"), block=False)
            assert [(failure.code, failure.seq) for failure in page.failures] == [
                ("handler_failed", 2)
            ]
            assert (page.state["root"], page.ack) == ({"count": 1, "text": ""}, 2)
            with pytest.raises(StoreError, match="the SQLite file refused.*nothing was stored"):
                async with app.modify_state(TOKEN) as state:
                    state.text = "y" * 100_000  # pyright: ignore
            await relieve(store)
            await ref.ask(Event("root.fill", [100_000], 3, "page"), block=False)
            assert len(page.state["root"]["text"]) == 100_000
            assert page.ack == 3
            assert not page.closed
        assert "StoreError" in caplog.text
        snapshot = await store.peek(TOKEN)
        assert snapshot is not None
        assert (snapshot.version, snapshot.done) == (2, {"page": 3})


async def test_of_those_written_together_only_the_one_that_does_not_fit_fails(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path / "state.db") as store:
        leases: list[Any] = [(await store.load(str(n), nobody)).lease for n in range(6)]
        await limit(store)
        hold = threading.Event()
        failed: list[int] = []

        async def commit(number: int) -> None:
            try:
                await store.commit(leases[number], adds(1, 500_000 if number == 3 else 10))
            except StoreError:
                failed.append(number)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(store._do, lambda _: hold.wait())
            await wait_all_tasks_blocked()
            for number in range(6):
                nursery.start_soon(commit, number)
            await wait_all_tasks_blocked()
            hold.set()
        assert failed == [3]
        assert sorted([token async for token in store.tokens()]) == ["0", "1", "2", "4", "5"]


async def test_what_comes_while_the_disk_is_busy_is_written_at_once(tmp_path: Path) -> None:
    async with opened(tmp_path / "state.db") as store:
        leases: list[Any] = [(await store.load(str(n), nobody)).lease for n in range(50)]
        begun: list[str] = []
        await store._do(lambda c: c.set_trace_callback(begun.append))
        hold = threading.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store._do, lambda _: hold.wait())
            await wait_all_tasks_blocked()
            begun.clear()
            for lease in leases:
                nursery.start_soon(store.commit, lease, adds(1))
            await wait_all_tasks_blocked()
            hold.set()
        assert begun.count("BEGIN") <= 2  # the one that was held up may be seen
        assert sum(statement.startswith("INSERT") for statement in begun) == 50


# ---- what a commit writes ----------------------------------------------------------------------


async def test_a_commit_writes_what_it_changed_and_the_whole_only_now_and_then(
    tmp_path: Path,
) -> None:
    class Large(State, root=True):
        rows: list[str] = ["x" * 100] * 10_000
        count: int = 0

    written: list[int] = []
    async with opened(tmp_path / "state.db") as store:
        commit = store.commit

        async def weigh(lease: Any, one: Commit) -> None:
            before = lease.journal._whole, lease.journal._patches
            await commit(lease, one)
            after = lease.journal._whole, lease.journal._patches
            written.append(after[0] if after[1] == 0 else after[1] - before[1])

        store.commit = weigh  # pyright: ignore
        async with App(root=Large, store=store) as app:
            for number in range(500):
                async with app.modify_state(TOKEN) as state:
                    state.count += 1  # pyright: ignore
                    state.rows[number] = "y"  # pyright: ignore
        assert written[0] > 1_000_000  # the list was never stored before
        assert max(written[1:]) < 200
        snapshot = await store.peek(TOKEN)
        assert snapshot is not None
        values: Any = snapshot.values["large"]
        assert (values["count"], values["rows"][499:501]) == (500, ["y", "x" * 100])


async def test_a_journal_is_written_anew_before_it_outweighs_the_state(tmp_path: Path) -> None:
    async with opened(tmp_path / "state.db") as store:
        async with App(root=Root, store=store) as app:
            for _ in range(1000):
                async with app.modify_state(TOKEN) as state:
                    state.count += 1  # pyright: ignore
        [[patches]] = await store._do(
            lambda c: c.execute("SELECT sum(length(data)) FROM patch").fetchall()
        )
        assert patches < 4200
        async with App(root=Root, store=store) as app, app.modify_state(TOKEN) as state:
            assert state.count == 1000  # pyright: ignore


# ---- a crash -----------------------------------------------------------------------------------


async def test_a_torn_write_ahead_log_gives_a_state_from_before(tmp_path: Path) -> None:
    """Whatever a crash of the machine leaves of the last writes, the file is whole."""
    path, torn = tmp_path / "state.db", tmp_path / "torn.db"
    async with opened(path) as store:
        lease: Any = (await store.load(TOKEN, nobody)).lease
        for version in range(1, 20):
            await store.commit(lease, adds(version, version))
        main, log = path.read_bytes(), path.with_name("state.db-wal").read_bytes()
    assert len(log) > 4096
    versions: list[int] = []
    for length in itertools.chain(range(0, len(log), len(log) // 23), [len(log)]):
        torn.write_bytes(main)
        torn.with_name("torn.db-wal").write_bytes(log[:length])
        async with opened(torn) as store:
            snapshot = await store.peek(TOKEN)
        versions.append(snapshot.version if snapshot is not None else 0)
        assert snapshot is None or snapshot.values == {"root": {"text": "x" * snapshot.version}}
    assert versions == sorted(versions)
    assert (versions[0], versions[-1]) == (0, 19)


async def test_a_file_from_before_there_were_keys_gets_one(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    async with opened(path) as store:
        lease = (await store.load(TOKEN, nobody)).lease
        await store.commit(lease, adds(1))  # pyright: ignore
    with sqlite3.connect(path) as connection:
        tables = connection.execute("SELECT name FROM sqlite_schema").fetchall()
    assert ("signing_key",) not in tables  # it is made when it is asked for
    async with opened(path) as store:
        key = await store.signing_key()
        assert await store.peek(TOKEN) is not None
    async with opened(path) as store:
        assert await store.signing_key() == key


async def test_a_key_that_cannot_be_stored_is_an_error(tmp_path: Path) -> None:
    async with opened(tmp_path / "state.db") as store:
        await forbid(store)
        with pytest.raises(StoreError, match="the SQLite file refused"):
            await store.signing_key()
        await relieve(store)
        assert await store.signing_key() == await store.signing_key()
