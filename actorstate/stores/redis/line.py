"""The line to Redis: scripts go there in batches, and again until they are answered.

One task owns the line. What it is given while a batch is under way goes out together as the next
one. So a commit that is alone waits for nothing, and a hundred at once cost one round trip and
hardly more work than one.

A script whose answer did not come is sent again, over a new connection: after a pause that grows
with each try, and is never quite as long as for others who wait for the same Redis. It may have
been run before; the scripts see that themselves.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Protocol, final

import attrs
import trio
from coredis import RedisCluster
from coredis.commands import CommandRequest
from coredis.connection import BaseConnection
from coredis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    ConnectionError as RedisConnectionError,
    MovedError,
    NoScriptError,
    ReadOnlyError,
    RedisClusterError,
    TryAgainError,
)

from actorstate.exceptions import StoreError, StoreUnavailableError
from actorstate.stores.redis.addresses import Client
from actorstate.stores.redis.connections import Connections
from actorstate.stores.redis.scripts import Script

_AWAY: Final = (
    AuthenticationError,  # a server that is being set up, or a password that is being changed
    BusyLoadingError,
    ClusterDownError,
    MovedError,
    OSError,
    ReadOnlyError,
    RedisClusterError,
    RedisConnectionError,
    TimeoutError,
    TryAgainError,
)
"""What goes by: Redis is not reached, or is not ready."""

_BATCH: Final = 500
"""So many scripts go out together. More would hardly be cheaper each, and let the first wait."""


@final
@attrs.define(eq=False)
class Request:
    """A script that is to be run, until it is answered."""

    script: Script
    keys: tuple[bytes, ...]
    args: tuple[str | bytes | int, ...] = ()
    on_answer: Callable[[Request], None] | None = None
    """Is called with this, in the task of the line, when the script has given an answer."""
    lasts: float = math.inf
    """For how long it is worth sending, if for less than the line's timeout (seconds)."""
    deadline: float = 0.0
    """When it is not sent any more."""
    sent_at: float = -math.inf
    """When that was sent which was answered."""
    is_unknown_there: bool = False
    """Whether the script itself has to be sent, not just its name."""
    answer: Any = None
    """What the script gave, or an error in its place."""
    is_answered: trio.Event = attrs.field(factory=trio.Event)

    def resolve(self, answer: Any) -> None:
        """Let who waits for it go on."""
        self.answer = answer
        if self.on_answer is not None and not isinstance(answer, Exception):
            self.on_answer(self)
        self.is_answered.set()

    def withdraw(self) -> None:
        """Send it no more. It may have been sent, and may be run yet."""
        self.deadline = -math.inf


@final
class Line:
    """Takes requests to Redis and brings the answers.

    Args:
        connections: to where Redis is.
        timeout: how long an answer is waited for (seconds).
    """

    def __init__(self, connections: Connections, timeout: float) -> None:
        self._connections: Final = connections
        self._timeout: Final = timeout
        self._label: Final = connections.address.label
        self._waiting: list[Request] = []
        self._under_way: Sequence[Request] = ()
        self._is_asked = trio.Event()
        self._users = 0

    @contextmanager
    def open(self) -> Generator[None]:
        """Be a user: when the last one leaves, what was asked for is answered by an error."""
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            if not self._users:
                for request in self._waiting:
                    self._refuse(request)

    # ---- asking ----------------------------------------------------------------------------

    def post(self, request: Request) -> None:
        """Send a request with the next batch. Nobody has to wait for its answer."""
        request.deadline = time.monotonic() + min(self._timeout, request.lasts)
        self._waiting.append(request)
        self._is_asked.set()

    async def ask(self, request: Request) -> Any:
        """Send a request and wait for the answer. If cancelled, it is not known whether it ran.

        Raises:
            StoreUnavailableError: there was no answer in time. It is not known whether it ran.
            StoreError: Redis has refused it, and has done nothing.
        """
        self.post(request)
        try:
            return await self.answer(request)
        except trio.Cancelled:
            request.withdraw()
            raise

    async def answer(self, request: Request) -> Any:
        """Wait for the answer to a request that was posted. Raises what `ask` does."""
        if self._users:
            await request.is_answered.wait()
        else:
            await self._wait_unwatched(request)
        if isinstance(request.answer, StoreError):
            raise request.answer
        if isinstance(request.answer, Exception):
            message = f"{self._label} has refused: {request.answer}"
            raise StoreError(message) from request.answer
        return request.answer

    async def _wait_unwatched(self, request: Request) -> None:
        """Wait for an answer though nobody sends anything now; somebody may be about to."""
        with trio.move_on_after(self._timeout):
            await request.is_answered.wait()
        if not request.is_answered.is_set():
            self._refuse(request)

    # ---- the tasks -------------------------------------------------------------------------

    async def run(self) -> None:
        """Send what is asked for, until cancelled. What is asked for by then can be sent later."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch)
            await self._connections.keep(self._serve)

    async def _watch(self) -> None:
        """Give up what has waited for too long.

        One task for all: a timeout for each would be a sixth of what a commit costs here.
        """
        while True:
            await trio.sleep(self._timeout / 20)
            now = time.monotonic()
            for request in (*self._under_way, *self._waiting):
                if request.deadline <= now and not request.is_answered.is_set():
                    self._give_up(request)

    def _give_up(self, request: Request) -> None:
        message = f"{self._label} did not answer within {self._timeout:g} s"
        request.resolve(StoreUnavailableError(message))

    def _refuse(self, request: Request) -> None:
        request.withdraw()
        message = f"nobody runs the store at {self._label}, as an app does while it is entered"
        request.resolve(StoreUnavailableError(message))

    async def _serve(self, client: Client, answered: Callable[[], None]) -> None:
        """Send batches over one connection, until that fails."""
        await self._is_asked.wait()
        link = await _link(client)
        while True:
            await self._is_asked.wait()
            self._under_way = self._next_batch()
            if self._under_way:
                await self._exchange(link, self._under_way)
                answered()

    def _next_batch(self) -> Sequence[Request]:
        now = time.monotonic()
        batch, self._waiting = self._waiting[:_BATCH], self._waiting[_BATCH:]
        if not self._waiting:
            self._is_asked = trio.Event()
        return [request for request in batch if request.deadline > now]

    async def _exchange(self, link: _Link, batch: Sequence[Request]) -> None:
        sent_at, away, unknown = time.monotonic(), None, set[Script]()
        try:
            for request, answer in zip(batch, await link.send(batch), strict=True):
                if isinstance(answer, NoScriptError):
                    # The first brings the script, and is followed by those that only name it.
                    request.is_unknown_there = request.script not in unknown
                    unknown.add(request.script)
                elif isinstance(answer, _AWAY):
                    away = answer
                else:
                    request.sent_at = sent_at
                    request.resolve(answer)
        finally:  # whatever has come between: what has no answer is still to be sent
            self._under_way = ()
            self._waiting[:0] = [one for one in batch if not one.is_answered.is_set()]
            if self._waiting:
                self._is_asked.set()
        if away is not None:
            raise away


# ---- one server, or a cluster ------------------------------------------------------------------


class _Link(Protocol):
    """Something that is connected."""

    async def send(self, batch: Sequence[Request]) -> Sequence[Any]:
        """Give an answer, or an exception, for each request."""
        ...


async def _link(client: Client) -> _Link:
    if isinstance(client, RedisCluster):
        return _ClusterLink(client)
    return _ServerLink(await client.connection_pool.get_connection())


@final
@attrs.frozen
class _ServerLink:
    """One connection to one server.

    The commands of the client, and its pipelines, do much for each command that is not needed here:
    through them a commit takes twice as long, and a batch of a hundred four times.
    """

    _connection: BaseConnection

    async def send(self, batch: Sequence[Request]) -> Sequence[Any]:
        return await self._connection.create_request_batch([_command(one) for one in batch])


def _command(request: Request) -> CommandRequest[Any]:
    script, keys = request.script, request.keys
    name, text = (b"EVAL", script.source) if request.is_unknown_there else (b"EVALSHA", script.sha)
    return CommandRequest(
        name, text, len(keys), *keys, *request.args, callback=_as_it_is, execution_parameters={}
    )


def _as_it_is(answer: Any) -> Any:
    return answer


@final
@attrs.frozen
class _ClusterLink:
    """The nodes of a cluster. The client knows which key is where, and follows those that move."""

    _client: RedisCluster[bytes]

    async def send(self, batch: Sequence[Request]) -> Sequence[Any]:
        async with self._client.pipeline(raise_on_error=False) as pipeline:
            for one in batch:
                if one.is_unknown_there:
                    pipeline.eval(one.script.source, one.keys, one.args)
                else:
                    pipeline.evalsha(one.script.sha, one.keys, one.args)
        results = pipeline.results
        assert results is not None
        return results
