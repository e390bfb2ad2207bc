"""`RedisStore`: keeps the snapshots of tokens in Redis, and owns those that are used here."""

from __future__ import annotations

import math
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from itertools import count
from typing import Final, cast, final

import trio
from coredis import Redis, RedisCluster
from coredis.exceptions import RedisError

from actorstate.exceptions import SnapshotError, StoreError, StoreUnavailableError
from actorstate.state.commit import Commit
from actorstate.state.labels import token_label
from actorstate.stores.base import SIGNING_KEY_BYTES, Lease, Loaded, Snapshot
from actorstate.stores.journal import Journal, decode_snapshot
from actorstate.stores.redis.addresses import Client, read_url
from actorstate.stores.redis.connections import Connections
from actorstate.stores.redis.leases import Leases, RedisLease
from actorstate.stores.redis.line import Line, Request
from actorstate.stores.redis.messages import WANTED, YOURS, Messages
from actorstate.stores.redis.scripts import (
    ACQUIRE,
    COMMIT,
    DELETE,
    DIE,
    EXPIRE,
    HAS,
    IS_ALIVE,
    LIVE,
    LOST,
    READ,
    RELEASE,
    SIGNING_KEY,
    Script,
    read_journal,
)

_TOGETHER: Final = 100
"""So many tokens are asked about at once, when it is about all; commits do not wait for more."""

_FAREWELL: Final = 1.0
"""For how long an app that is left tries to say so (seconds)."""


@final
class RedisStore:
    """Keeps snapshots in Redis; any number of processes may use the same one.

    A token has one owner at a time, by a lease, which is renewed while the token is used and handed
    over when another process asks for it. See docs/redis.md for what each failure leads to, and
    how Redis has to be set up.

    Args:
        url: ``redis://``, ``rediss://``, ``redis+cluster://`` or ``rediss+cluster://``; its query
            may give the other arguments, as in ``redis://localhost/0?lease_ttl=5``.
        lease_ttl: how long others wait for a process that has died or hangs (seconds). Is less
            than Redis may be away for without a token changing its owner.
        store_timeout: how long a commit waits for Redis before its turn is undone (seconds).

    Raises:
        ValueError: the URL is not one of these, or a time is not positive.
    """

    def __init__(
        self, url: str, *, lease_ttl: float | None = None, store_timeout: float | None = None
    ) -> None:
        self._address, options = read_url(url)
        self._ttl: Final = _seconds("lease_ttl", lease_ttl, options.get("lease_ttl"), 10.0)
        self._timeout: Final = _seconds(
            "store_timeout", store_timeout, options.get("store_timeout"), 5.0
        )
        self._process: Final = secrets.token_hex(8)
        self._numbers: Final = count(1)
        # Of a connection that is silent for half the time no more is expected: so that there is
        # time left for another one.
        self._connections: Final = Connections(self._address, self._timeout / 2)
        self._line: Final = Line(self._connections, self._timeout)
        self._leases: Final = Leases(self._line, self._ttl)
        self._messages: Final = Messages(
            self._connections, self._line, self._process, self._on_message
        )
        self._tries: Final[dict[str, trio.Event]] = {}
        self._work_lock: Final = trio.Lock()

    def __repr__(self) -> str:
        return f"<RedisStore at {self._address.label}>"

    # ---- owning ----------------------------------------------------------------------------

    async def load(self, token: str, on_wanted: Callable[[], None]) -> Loaded:
        """Become the owner of a token and read it; wait until its owner gives it up."""
        claim = f"{self._process}.{next(self._numbers)}"
        keys = _keys(token)
        try:
            request = await self._acquire(keys, claim)
            is_wanted, epoch, found = request.answer[1:]
            snapshot, revision, journal = _read(token, found)
        except BaseException:  # cancelled, too: it may have become the owner
            self._release(keys, claim)
            raise
        lease = RedisLease(
            token,
            keys,
            claim,
            int(epoch),
            self._ttl,
            revision,
            journal,
            on_wanted,
            renewed_at=request.sent_at,
        )
        self._leases.add(lease)
        if is_wanted:
            self._leases.want(claim)
        return Loaded(snapshot, lease)

    async def _acquire(self, keys: tuple[bytes, bytes], claim: str) -> Request:
        """Ask for a token until it is owned. Give the request that was granted."""
        self._tries[claim] = trio.Event()
        try:
            while True:
                request = Request(ACQUIRE, keys, (claim, _ms(self._ttl)))
                is_mine, *others = await self._line.ask(request)
                if is_mine:
                    return request
                await self._wait_for(others[0].decode(), others[1] / 1000, self._tries[claim])
        finally:
            del self._tries[claim]

    async def _wait_for(self, owner: str, rest: float, is_mine: trio.Event) -> None:
        """Tell the owner that its token is wanted; wait until it is ours, or it is time to ask.

        It is asked again, because what processes tell each other may get lost, and because who is
        not heard of for a while is taken for dead and waited for by nobody.
        """
        self._messages.tell(WANTED, owner)
        with trio.move_on_after(min(rest, self._ttl / 4) + 0.001):
            await is_mine.wait()

    def _on_message(self, message: str, claim: str) -> None:
        if message == WANTED:
            self._leases.want(claim)
        elif message == YOURS and claim in self._tries:
            self._tries[claim].set()

    async def confirm(self, lease: Lease) -> None:
        """Make sure that the token is still owned."""
        mine = _own(lease)
        mine.check()
        try:
            await self._line.ask(self._leases.renewal(mine))
        except StoreUnavailableError:
            self._doubt(mine)
            raise
        mine.check()

    async def release(self, lease: Lease) -> None:
        """Give a token up, to the first of those who wait for it."""
        mine = _own(lease)
        if self._leases.remove(mine):
            request = self._release(mine.keys, mine.claim)
            with suppress(StoreError):  # then it runs out by itself
                await self._line.answer(request)

    def _release(self, keys: tuple[bytes, bytes], claim: str) -> Request:
        """Give up what was, or may be, owned by a claim. It happens even if nobody waits for it."""
        request = Request(
            RELEASE,
            keys,
            (claim, _ms(self._ttl), _ms(self._ttl / 2)),
            self._tell_next_owner,
        )
        self._line.post(request)
        return request

    def _tell_next_owner(self, request: Request) -> None:
        if request.answer is not None:
            self._messages.tell(YOURS, request.answer.decode())

    # ---- storing ---------------------------------------------------------------------------

    async def commit(self, lease: Lease, commit: Commit) -> None:
        """Take what one turn changed, in one round trip that renews the lease, too."""
        mine = _own(lease)
        mine.check()
        entry = mine.journal.entry(commit)
        revision = mine.revision + 1
        kind = "whole" if entry.is_whole else "patch"
        args = (mine.claim, mine.epoch, _ms(self._ttl), revision, kind, entry.data)
        request = Request(COMMIT, mine.keys, args)
        try:
            await self._line.ask(request)
        except StoreUnavailableError:
            self._doubt(mine)
            raise
        except StoreError:  # nothing was stored
            raise
        except BaseException:
            self._doubt(mine)
            raise
        if request.answer == LOST:
            self._leases.remove(mine)
            mine.check()
        mine.revision = revision
        mine.journal.written(entry)
        self._leases.renewed(mine, request)

    def _doubt(self, lease: RedisLease) -> None:
        """Give up a lease of which it is not known what was stored by it.

        Whoever owns the token next, here or elsewhere, begins with what is there; by its epoch
        what may still be on its way is too late.
        """
        self._leases.remove(lease)
        self._release(lease.keys, lease.claim)

    # ---- without owning --------------------------------------------------------------------

    async def peek(self, token: str) -> Snapshot | None:
        """Read the last committed snapshot of a token, without owning it."""
        found = await self._line.ask(Request(READ, _keys(token)))
        return _read(token, found)[0]

    async def signing_key(self) -> bytes:
        """Give the secret with which tokens of tabs are signed, for all processes the same."""
        offered = secrets.token_bytes(SIGNING_KEY_BYTES)
        return await self._line.ask(Request(SIGNING_KEY, (_SIGNING_KEY,), (offered,)))

    async def delete(self, token: str) -> None:
        """Forget a token. Who owns it loses its lease."""
        await self._line.ask(Request(DELETE, _keys(token)))

    async def expire(self, older_than: float) -> int:
        """Forget all tokens whose last commit is so many seconds ago, but none that is owned."""
        answers = await self._ask_of_each(await self._scan(), EXPIRE, _ms(older_than))
        return sum(answers)

    async def tokens(self) -> AsyncIterator[str]:
        """Give the tokens that have a snapshot. Reads the names of all of them first."""
        tokens = await self._scan()
        for token, is_there in zip(tokens, await self._ask_of_each(tokens, HAS), strict=True):
            if is_there:
                yield token

    async def _ask_of_each(
        self, tokens: Sequence[str], script: Script, *args: int
    ) -> Sequence[int]:
        answers: list[int] = []
        for start in range(0, len(tokens), _TOGETHER):
            asked = tokens[start : start + _TOGETHER]
            requests = [Request(script, _keys(token), args) for token in asked]
            for request in requests:
                self._line.post(request)
            answers += [await self._line.answer(request) for request in requests]
        return answers

    async def _scan(self) -> list[str]:
        """Read the names of all tokens, over a connection of its own: it may take long."""
        found: set[bytes] = set()
        failure: BaseException | None = None
        try:
            async with self._connections.client() as client:
                await _scan_nodes(client, found)
        except* (RedisError, OSError) as errors:
            failure = errors
        if failure is not None:
            message = f"{self._address.label} does not tell its tokens"
            raise StoreUnavailableError(message) from failure
        return [_token_of(key) for key in found]

    # ---- in the background -----------------------------------------------------------------

    async def run(self, owner: str) -> None:
        """Speak with Redis, renew leases, hear from other processes, until cancelled.

        Several apps may share a store: one does the work for all, another goes on when it is left.
        """
        with self._line.open():
            async with trio.open_nursery() as nursery:
                work = trio.CancelScope(shield=True)
                nursery.start_soon(self._work, work)
                try:
                    await self._live(owner)
                finally:
                    with trio.move_on_after(_FAREWELL, shield=True), suppress(StoreError):
                        await self._line.ask(Request(DIE, (_app(owner),)))
                    work.cancel()

    async def _work(self, scope: trio.CancelScope) -> None:
        with scope:
            async with self._work_lock, trio.open_nursery() as nursery:
                nursery.start_soon(self._line.run)
                nursery.start_soon(self._messages.run)
                nursery.start_soon(self._leases.run)

    async def _live(self, owner: str) -> None:
        """Let others know that an app is there."""
        interval = self._ttl / 3
        while True:
            request = Request(LIVE, (_app(owner),), (_ms(self._ttl),), lasts=interval)
            self._line.post(request)
            await trio.sleep(interval)

    async def is_alive(self, owner: str) -> bool:
        """Tell whether an app was heard of within the last ``lease_ttl``."""
        return bool(await self._line.ask(Request(IS_ALIVE, (_app(owner),))))

    async def aclose(self) -> None:
        """Nothing is open but while `run` runs."""


def _own(lease: Lease) -> RedisLease:
    return cast("RedisLease", lease)


# ---- keys, and what is found there -------------------------------------------------------------

_PREFIX: Final = "actorstate:"
_SIGNING_KEY: Final = f"{_PREFIX}signing-key".encode()


def _keys(token: str) -> tuple[bytes, bytes]:
    """Give the keys of a token, with it as their hash tag.

    >>> _keys("a}b%")[0], _keys("")[1]
    (b'actorstate:{a%7Db%25}', b'actorstate:{%}:journal')
    """
    # A tag ends at the first brace, and an empty one is none.
    tag = token.replace("%", "%25").replace("}", "%7D") or "%"
    tree = f"{_PREFIX}{{{tag}}}".encode("utf-8", "surrogatepass")
    return tree, tree + b":journal"


def _token_of(key: bytes) -> str:
    """Give the token that a key is of.

    >>> _token_of(_keys("a}b%")[0]), _token_of(_keys("")[0])
    ('a}b%', '')
    """
    tag = key.decode("utf-8", "surrogatepass")[len(_PREFIX) + 1 : -1]
    return "" if tag == "%" else tag.replace("%7D", "}").replace("%25", "%")


def _app(owner: str) -> bytes:
    return f"{_PREFIX}app:{owner}".encode()


def _read(token: str, found: Sequence[bytes | None]) -> tuple[Snapshot | None, int, Journal]:
    """Give the snapshot of what `READ` gave; the number of the last commit; and what it weighs."""
    revision, base = int(found[0] or 0), int(found[1] or 0)
    whole, patches = found[2], read_journal(found[3] or b"", base, revision)
    journal = Journal(len(whole or b""), sum(map(len, patches)))
    if not revision:
        return None, 0, journal
    try:
        return decode_snapshot(whole, patches), revision, journal
    except SnapshotError as error:
        message = f"token {token_label(token)}: {error}"
        raise SnapshotError(message) from error


async def _scan_nodes(client: Client, found: set[bytes]) -> None:
    if isinstance(client, RedisCluster):
        for node in client.primaries:
            async with node:
                await _scan_node(node, found)
    else:
        await _scan_node(client, found)


async def _scan_node(client: Redis[bytes], found: set[bytes]) -> None:
    cursor: int | None = None
    while cursor != 0:
        cursor, keys = await client.scan(cursor, match=f"{_PREFIX}{{*}}", count=1000)
        found.update(keys)


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))


def _seconds(name: str, given: float | None, in_url: str | None, default: float) -> float:
    value = given if given is not None else float(in_url or default)
    if not 0 < value < math.inf:
        message = f"{name} has to be a positive number of seconds, got {value}"
        raise ValueError(message)
    return value
