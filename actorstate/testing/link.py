"""A WebSocket in memory: what the server's connection has in the place of a real one.

Each message goes over whole, at once and in order, as those of a WebSocket do; there is no stream
of bytes beneath. Nothing here is a task: the other end is called when something comes for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, final

import trio
from trio_websocket import CloseReason, ConnectionClosed

_ABNORMAL: Final = 1006
"""The code of a connection that just ended (RFC 6455, section 7.4.1)."""


@final
class Link:
    """One connection, seen from the server as a `actorstate.web.connection.Socket`.

    Args:
        on_message: is given each message of the server, in the server's step. Must not raise.
        on_close: is told once that the link has ended, with the code.
    """

    def __init__(self, on_message: Callable[[str], None], on_close: Callable[[int], None]) -> None:
        self._on_message: Final = on_message
        self._on_close: Final = on_close
        self._to_server, self._from_client = trio.open_memory_channel[str](math.inf)
        self._stalled: trio.Event | None = None
        self.is_open: bool = True
        """Whether messages still get across."""

    # ---- the client's end ------------------------------------------------------------------

    def send(self, message: str) -> None:
        """Send a message to the server. Once the link has ended it is lost, as on a dead line."""
        if self.is_open:
            self._to_server.send_nowait(message)

    def cut(self, code: int = _ABNORMAL) -> None:
        """End it, as a line that breaks does: what is on its way to the server still arrives."""
        if self.is_open:
            self.is_open = False
            self._to_server.close()
            self._on_close(code)

    def stall(self) -> None:
        """Take nothing more of the server, which has to wait with the next message: `go_on`."""
        self._stalled = trio.Event()

    def go_on(self) -> None:
        """Take what comes again."""
        if self._stalled is not None:
            self._stalled.set()
            self._stalled = None

    # ---- the server's end ------------------------------------------------------------------

    async def get_message(self) -> str | bytes:
        """Wait for the next message of the client; see ``Socket``."""
        try:
            return await self._from_client.receive()
        except trio.EndOfChannel:
            raise ConnectionClosed(CloseReason(_ABNORMAL, None)) from None

    async def send_message(self, message: str, /) -> None:
        """Bring a message to the client; see ``Socket``.

        No checkpoint, but where the client takes nothing: it is there in the step in which it is
        sent, so that a client in memory keeps up with whatever a state does step by step.
        """
        if self._stalled is not None:
            await self._stalled.wait()
        if not self.is_open:
            raise ConnectionClosed(CloseReason(_ABNORMAL, None))
        self._on_message(message)

    async def aclose(self, code: int, /) -> None:
        """End it from the server's side; see ``Socket``."""
        self.cut(code)
        await trio.lowlevel.checkpoint()
