"""A link between a store and its redis-server that can lose what goes over it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import Final, final

import trio
from redis_server import free_port

_AWAY: Final = (trio.BrokenResourceError, trio.ClosedResourceError)


@final
class Proxy:
    """Passes bytes on to a redis-server, and its answers back; for now."""

    def __init__(self, port: int) -> None:
        self.port: Final = free_port()
        self._server_port: Final = port
        self._streams: Final[set[trio.SocketStream]] = set()
        self._may_answer = trio.Event()
        self._may_answer.set()
        self.lost = trio.Event()
        """Set when an answer was held back."""

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def hold_answers(self) -> None:
        """Let the server do what it is asked for, and nobody hear of it."""
        self._may_answer, self.lost = trio.Event(), trio.Event()

    async def cut(self) -> None:
        """Close all connections; what was held back is lost. New ones work again."""
        for stream in list(self._streams):
            await stream.aclose()
        self._may_answer.set()

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        async with trio.open_nursery() as nursery:
            serve = partial(trio.serve_tcp, host="127.0.0.1")
            await nursery.start(serve, self._pass_on, self.port)
            task_status.started()

    async def _pass_on(self, client: trio.SocketStream) -> None:
        server = await trio.open_tcp_stream("127.0.0.1", self._server_port)
        self._streams.update((client, server))
        async with client, server, trio.open_nursery() as nursery:
            nursery.start_soon(self._copy, client, server, nursery.cancel_scope, False)
            nursery.start_soon(self._copy, server, client, nursery.cancel_scope, True)
        self._streams.difference_update((client, server))

    async def _copy(
        self,
        here: trio.SocketStream,
        there: trio.SocketStream,
        over: trio.CancelScope,
        is_answers: bool,
    ) -> None:
        try:
            async for data in here:
                if is_answers and not self._may_answer.is_set():
                    self.lost.set()
                    await self._may_answer.wait()
                await there.send_all(data)
        except _AWAY:
            pass
        over.cancel()


@asynccontextmanager
async def proxy(port: int) -> AsyncGenerator[Proxy]:
    between = Proxy(port)
    async with trio.open_nursery() as nursery:
        await nursery.start(between.run)
        yield between
        nursery.cancel_scope.cancel()
