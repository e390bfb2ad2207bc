"""The store of the command line by default: one SQLite file, for one process.

One thread has the file, and does what it is asked for in the order in which it is asked. What
comes while it writes is written with the next transaction (group commit), so that a hundred tabs
wait for one sync of the disk and not for a hundred. Who waits does so in trio, and may be
cancelled: then the work is done all the same, and in its place.
"""

from __future__ import annotations

import queue
import secrets
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Generic, Literal, TypeVar, cast, final

import attrs
import trio

from actorstate.exceptions import SnapshotError, StoreError
from actorstate.state.commit import Commit
from actorstate.state.snapshot import Snapshot
from actorstate.stores.base import SIGNING_KEY_BYTES, Loaded
from actorstate.stores.journal import Entry, Journal, decode_snapshot
from actorstate.stores.owners import LocalLease, Owners

T = TypeVar("T")

Work = Callable[[sqlite3.Connection], T]

_APPLICATION_ID: Final = 0x61637374  # "acst"; SQLite keeps such a number for each file
_FORMAT: Final = 1

_SCHEMA: Final = (
    "CREATE TABLE epoch (number INTEGER NOT NULL)",
    "INSERT INTO epoch VALUES (0)",
    "CREATE TABLE snapshot (token TEXT PRIMARY KEY, written REAL NOT NULL, data BLOB NOT NULL)",
    """CREATE TABLE patch (
        token TEXT, number INTEGER, written REAL NOT NULL, data BLOB NOT NULL,
        PRIMARY KEY (token, number)
    ) WITHOUT ROWID""",
    f"PRAGMA application_id = {_APPLICATION_ID}",
    f"PRAGMA user_version = {_FORMAT}",
)

# Made when the key is first asked for, and not with the schema: so it needs no new format. A file
# from before there were keys gets one then, and an older version never looks for it.
_SIGNING_KEY: Final = "CREATE TABLE IF NOT EXISTS signing_key (key BLOB NOT NULL)"

_MOST_AT_ONCE: Final = 500  # pieces of work in one transaction
_PAGE: Final = 1000  # tokens that are listed at once

_WRITTEN: Final = "(SELECT token, written FROM snapshot UNION ALL SELECT token, written FROM patch)"


# ---- the thread that has the file --------------------------------------------------------------


@final
class _Job(Generic[T]):
    """One piece of work, and who waits for it."""

    __slots__ = ("_done", "_error", "_result", "trio_token", "work")

    def __init__(self, work: Work[T]) -> None:
        self.work: Final = work
        self.trio_token: Final = trio.lowlevel.current_trio_token()
        self._done: Final = trio.Event()
        self._result: T | None = None
        self._error: Exception | None = None

    def run(self, connection: sqlite3.Connection) -> None:
        """Do the work, in the thread. What it raises for what is stored is its own affair."""
        self._error = None
        try:
            self._result = self.work(connection)
        except SnapshotError as error:
            self._error = error

    def fail(self, error: sqlite3.Error) -> None:
        """Note that it was not done."""
        self._error = error

    def tell(self) -> None:
        """Let the waiting one know. In trio's thread."""
        self._done.set()

    async def wait(self) -> T:
        """Wait until it is done.

        Raises:
            StoreError: the file did not take it, or give it.
            SnapshotError: what it gave is no snapshot.
        """
        await self._done.wait()
        if isinstance(self._error, sqlite3.Error):
            message = f"the SQLite file refused: {self._error}; nothing was stored"
            raise StoreError(message) from self._error
        if self._error is not None:
            raise self._error
        return cast("T", self._result)


@final
class _Worker:
    """The thread. It ends when it is told to, with all done that it was given.

    Args:
        connection: the file; the thread alone uses it from now on.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection: Final = connection
        self._jobs: Final[queue.SimpleQueue[_Job[Any] | None]] = queue.SimpleQueue()
        self._thread: Final = threading.Thread(target=self._run, name="SQLite", daemon=True)
        self._thread.start()

    def put(self, work: Work[T]) -> _Job[T]:
        """Let something be done after all that was put before. From trio's thread."""
        job = _Job(work)
        self._jobs.put(job)
        return job

    async def stop(self) -> None:
        """End the thread, and close the file."""
        self._jobs.put(None)
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(self._thread.join)

    def _run(self) -> None:
        goes_on = True
        while goes_on:
            jobs, goes_on = self._take()
            self._do(jobs)
            _tell(jobs)
        self._connection.close()

    def _take(self) -> tuple[list[_Job[Any]], bool]:
        """Wait for work; give what there is, and whether more may come."""
        jobs: list[_Job[Any]] = []
        job = self._jobs.get()
        while job is not None:
            jobs.append(job)
            if len(jobs) == _MOST_AT_ONCE or self._jobs.empty():
                return jobs, True
            job = self._jobs.get()
        return jobs, False

    def _do(self, jobs: Sequence[_Job[Any]]) -> None:
        """Do all in one transaction; if that fails, each in its own, to see which it is."""
        try:
            self._in_transaction(jobs)
        except sqlite3.Error:
            for job in jobs:
                try:
                    self._in_transaction([job])
                except sqlite3.Error as error:
                    job.fail(error)

    def _in_transaction(self, jobs: Sequence[_Job[Any]]) -> None:
        try:
            self._connection.execute("BEGIN")
            for job in jobs:
                job.run(self._connection)
            self._connection.execute("COMMIT")
        except sqlite3.Error:
            with suppress(sqlite3.Error):  # SQLite has done it itself, where it could not go on
                self._connection.execute("ROLLBACK")
            raise


def _tell(jobs: Sequence[_Job[Any]]) -> None:
    by_run: dict[trio.lowlevel.TrioToken, list[_Job[Any]]] = {}
    for job in jobs:
        by_run.setdefault(job.trio_token, []).append(job)
    for trio_token, those in by_run.items():
        with suppress(trio.RunFinishedError):  # then nobody waits any more
            trio_token.run_sync_soon(_tell_all, those)


def _tell_all(jobs: Sequence[_Job[Any]]) -> None:
    for job in jobs:
        job.tell()


# ---- the store ---------------------------------------------------------------------------------


@final
@attrs.define(eq=False)
class SQLiteLease:
    """The ownership of a token, with what its next commit needs to know."""

    local: LocalLease
    journal: Journal = attrs.field(factory=Journal)
    number: int = 0
    """That of the last patch."""

    @property
    def token(self) -> str:
        """Whose state tree is owned."""
        return self.local.token

    @property
    def epoch(self) -> int:
        """The fencing number."""
        return self.local.epoch

    def is_certain(self) -> bool:
        """Tell whether nobody else can own the token now."""
        return self.local.is_certain()


@final
class SQLiteStore:
    """Keeps snapshots in a file. They outlast the process, and a crash of the machine.

    One process has the file at a time; another one is refused. A file that SQLite did not write,
    or another program, or a newer version of this one, is refused and left as it is.

    Args:
        path: the file; it is made if it is not there, its directory is not.
        durability: ``full`` waits with each commit until the disk has it. ``relaxed`` waits until
            the operating system has it: what was committed survives the end of the process, but
            not that of the machine, which may lose the last seconds, and no more than these.
        token_ttl: seconds after its last commit when a token is forgotten; None for never.
        read_only: look at a file, which another process may be using. Nothing can be owned then.

    Opening reads and writes the file here and now; all else is done in a thread of its own.

    Raises:
        StoreError: the file cannot be used; the message says why.
        ValueError: ``durability`` is neither of its words.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        durability: Literal["full", "relaxed"] = "full",
        token_ttl: float | None = None,
        read_only: bool = False,
    ) -> None:
        self.path: Final = Path(path).resolve()
        self._token_ttl: Final = token_ttl
        self._lock: Final = None if read_only else _lock(self.path)
        try:
            connection = _open(self.path, durability, read_only=read_only)
            epoch = 0 if read_only else _next_epoch(connection)
        except BaseException:
            if self._lock is not None:
                self._lock.close()
            raise
        # Each opening of the file has its own range of epochs, above all that were before.
        self._owners: Final = Owners(epoch << 32)
        self._worker: Final = _Worker(connection)
        self._is_closed = False

    async def run(self, owner: str) -> None:
        """Forget what is too old, now and then."""
        with self._owners.alive(owner):
            while self._token_ttl is not None:
                await self.expire(self._token_ttl)
                await trio.sleep(self._token_ttl / 4)
            await trio.sleep_forever()

    async def is_alive(self, owner: str) -> bool:
        """Tell whether an app is there: one that uses this very object, as no other can."""
        return self._owners.is_alive(owner)

    async def load(self, token: str, on_wanted: Callable[[], None]) -> Loaded:
        """Become the owner of a token and read it; wait until its owner gives it up."""
        lease = SQLiteLease(await self._owners.acquire(token, on_wanted))
        try:
            stored = await self._do(lambda connection: _read(connection, token))
        except BaseException:
            self._owners.release(lease.local)
            raise
        lease.journal, lease.number = stored.journal, stored.number
        return Loaded(stored.snapshot, lease)

    async def commit(self, lease: SQLiteLease, commit: Commit) -> None:
        """Take what one turn changed. If cancelled, it is taken all the same.

        Raises:
            LeaseLostError: the token was given up, or deleted. Nothing was stored.
            StoreError: the file did not take it, for want of room perhaps. Nothing was stored.
        """
        lease.local.check()
        entry = lease.journal.entry(commit)
        lease.number += 1
        token, number = lease.token, lease.number
        await self._do(lambda connection: _write(connection, token, number, entry))
        lease.journal.written(entry)

    async def confirm(self, lease: SQLiteLease) -> None:
        """Make sure that the token is still owned.

        Raises:
            LeaseLostError: it is not.
        """
        lease.local.check()

    async def release(self, lease: SQLiteLease) -> None:
        """Give a token up. Without effect if the lease is lost."""
        self._owners.release(lease.local)

    async def peek(self, token: str) -> Snapshot | None:
        """Read the last committed snapshot of a token, without owning it."""
        return (await self._do(lambda connection: _read(connection, token))).snapshot

    async def signing_key(self) -> bytes:
        """Give the secret with which tokens of tabs are signed.

        Raises:
            StoreError: the file did not take it, or give it.
        """
        return await self._do(_signing_key)

    async def delete(self, token: str) -> None:
        """Forget a token, without effect if it is not there. Who owns it loses its lease.

        Raises:
            StoreError: the file did not take it.
        """
        self._owners.revoke(token)
        await self._do(lambda connection: _delete(connection, [token]))

    async def expire(self, older_than: float) -> int:
        """Forget all tokens whose last commit is so many seconds ago, but none that is owned.

        Raises:
            StoreError: the file did not take it.
        """
        before = time.time() - older_than
        old = await self._do(lambda connection: _older(connection, before))
        # Who acquires one of these from here on reads it after it was deleted: work is done in
        # the order in which it is asked for.
        left = [token for token in old if not self._owners.is_owned(token)]
        await self._do(lambda connection: _delete(connection, left))
        return len(left)

    async def tokens(self) -> AsyncIterator[str]:
        """Give the tokens that have a snapshot."""
        last = ""
        while page := await self._do(lambda connection, after=last: _tokens(connection, after)):
            for token in page:
                yield token
            last = page[-1]

    async def aclose(self) -> None:
        """Do what is still to be done, and close the file. Without effect the second time."""
        if not self._is_closed:
            self._is_closed = True
            await self._worker.stop()
            if self._lock is not None:
                self._lock.close()

    async def _do(self, work: Work[T]) -> T:
        if self._is_closed:
            message = f"the store {self.path} was closed"
            raise StoreError(message)
        return await self._worker.put(work).wait()


# ---- opening -----------------------------------------------------------------------------------


def _lock(path: Path) -> sqlite3.Connection:
    """Become the only process that has the file, until this is closed or the process ends.

    By a transaction on a file beside it that never ends: SQLite knows for each system how to lock
    a file. Not on the file itself, which others may read.
    """
    try:
        lock = sqlite3.connect(f"{path}-owner", timeout=0, check_same_thread=False)
        lock.isolation_level = None
        lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error as error:
        is_taken = "locked" in str(error)
        reason = "it is in use by another process" if is_taken else f"{error}"
        message = f"the store {path} cannot be used: {reason}"
        raise StoreError(message) from error
    return lock


def _open(path: Path, durability: str, *, read_only: bool) -> sqlite3.Connection:
    if durability not in ("full", "relaxed"):
        message = f"durability is 'full' or 'relaxed', got {durability!r}"
        raise ValueError(message)
    _check_header(path, read_only=read_only)
    mode = "ro" if read_only else "rwc"
    try:
        connection = sqlite3.connect(
            f"{path.as_uri()}?mode={mode}", uri=True, check_same_thread=False
        )
        connection.isolation_level = None
        if not read_only:
            _prepare(connection, durability)
    except sqlite3.Error as error:
        message = f"the store {path} cannot be used: {error}"
        raise StoreError(message) from error
    return connection


def _check_header(path: Path, *, read_only: bool) -> None:
    """Refuse a file that is not ours, before SQLite touches it."""
    try:
        with path.open("rb") as file:
            header = file.read(100)
    except FileNotFoundError:
        if not read_only:
            return
        message = f"there is no store {path}"
        raise StoreError(message) from None
    except OSError as error:
        message = f"the store {path} cannot be used: {error.strerror}"
        raise StoreError(message) from error
    if not header and not read_only:
        return
    # https://www.sqlite.org/fileformat2.html#the_database_header
    written_by, file_format = _number_at(header, 68), _number_at(header, 60)
    if header[:16] != b"SQLite format 3\x00" or written_by != _APPLICATION_ID:
        message = f"{path} is no store of actorstate; it was left as it is. Choose another file"
        raise StoreError(message)
    if file_format > _FORMAT:
        message = (
            f"the store {path} was written by a newer version of actorstate (format {file_format}; "
            f"this one knows {_FORMAT}); it was left as it is. Install that version"
        )
        raise StoreError(message)


def _number_at(header: bytes, place: int) -> int:
    return int.from_bytes(header[place : place + 4], "big")


def _prepare(connection: sqlite3.Connection, durability: str) -> None:
    if not connection.execute("PRAGMA user_version").fetchone()[0]:
        connection.execute("BEGIN EXCLUSIVE")
        for statement in _SCHEMA:
            connection.execute(statement)
        connection.execute("COMMIT")  # into the file itself, where the header is looked at
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {'FULL' if durability == 'full' else 'NORMAL'}")


def _next_epoch(connection: sqlite3.Connection) -> int:
    try:
        connection.execute("UPDATE epoch SET number = number + 1")
        return connection.execute("SELECT number FROM epoch").fetchone()[0]
    except sqlite3.Error as error:
        connection.close()
        message = f"the store cannot be written: {error}"
        raise StoreError(message) from error


# ---- work, in the thread -----------------------------------------------------------------------


@final
@attrs.frozen
class _Stored:
    """What the file has of one token."""

    snapshot: Snapshot | None
    journal: Journal
    number: int


def _read(connection: sqlite3.Connection, token: str) -> _Stored:
    whole = connection.execute("SELECT data FROM snapshot WHERE token = ?", [token]).fetchone()
    patches = connection.execute(
        "SELECT number, data FROM patch WHERE token = ? ORDER BY number", [token]
    ).fetchall()
    if whole is None and not patches:
        return _Stored(None, Journal(), 0)
    base: bytes | None = whole[0] if whole is not None else None
    journal = Journal(len(base or b""), sum(len(data) for _, data in patches))
    snapshot = decode_snapshot(base, [data for _, data in patches])
    return _Stored(snapshot, journal, patches[-1][0] if patches else 0)


def _signing_key(connection: sqlite3.Connection) -> bytes:
    """Give the key, or make it: in one transaction, in the one thread that writes."""
    connection.execute(_SIGNING_KEY)
    found = connection.execute("SELECT key FROM signing_key").fetchone()
    if found is not None:
        return found[0]
    key = secrets.token_bytes(SIGNING_KEY_BYTES)
    connection.execute("INSERT INTO signing_key VALUES (?)", [key])
    return key


def _write(connection: sqlite3.Connection, token: str, number: int, entry: Entry) -> None:
    now = time.time()
    if not entry.is_whole:
        connection.execute(
            "INSERT INTO patch VALUES (?, ?, ?, ?)", [token, number, now, entry.data]
        )
        return
    connection.execute("INSERT OR REPLACE INTO snapshot VALUES (?, ?, ?)", [token, now, entry.data])
    connection.execute("DELETE FROM patch WHERE token = ?", [token])


def _delete(connection: sqlite3.Connection, tokens: Sequence[str]) -> None:
    for token in tokens:
        connection.execute("DELETE FROM snapshot WHERE token = ?", [token])
        connection.execute("DELETE FROM patch WHERE token = ?", [token])


def _older(connection: sqlite3.Connection, before: float) -> list[str]:
    found = connection.execute(
        f"SELECT token FROM {_WRITTEN} GROUP BY token HAVING max(written) <= ?",  # noqa: S608 - a constant
        [before],
    )
    return [token for (token,) in found]


def _tokens(connection: sqlite3.Connection, after: str) -> list[str]:
    found = connection.execute(
        f"SELECT DISTINCT token FROM {_WRITTEN} WHERE token > ? ORDER BY token LIMIT ?",  # noqa: S608 - a constant
        [after, _PAGE],
    )
    return [token for (token,) in found]
