"""A page that does not give up: it sends numbered events, and again until they are acknowledged.

Its tab keeps all numbers in a list, in the order in which they counted. So what a page is shown can
be held against what is stored: it has to be the beginning of it.
"""

from __future__ import annotations

import json
import math
from typing import Any, Final, final

import jsonpatch
import trio
from trio_websocket import ConnectionClosed, HandshakeError, WebSocketConnection, wrap_client_stream

from actorstate import ConnectionLimits, State
from actorstate.web.protocol import SUBPROTOCOL

_AWAY: Final = (OSError, HandshakeError, ConnectionClosed)


class Rows(State, root=True):
    rows: list[str] = []

    def append(self, row: str) -> None:
        self.rows.append(row)


UNHURRIED: Final = ConnectionLimits(rate_limit=math.inf)
"""The limits for pages that send as fast as they get answers."""


@final
class PersistentPage:
    """One load of a page.

    Args:
        address: of the server, such as ``http://127.0.0.1:8000``.
        instance: its name. Each of its rows begins with it.
        events: how many it sends; without end, until `finish`, if not given.
    """

    WINDOW: Final = 8
    """So many events are sent before the first of them has to be acknowledged."""

    def __init__(self, address: str, instance: str, events: float = math.inf) -> None:
        host, _, port = address.removeprefix("http://").partition(":")
        self.host: Final = host
        self.port: Final = int(port)
        self.instance: Final = instance
        self.events = events
        self.token: str | None = None
        self.has_token = trio.Event()
        self.acknowledged = 0
        self.connections = 0
        self.failed: dict[int, str] = {}
        """What was said of the events that failed; they may be sent again."""
        self.shown: list[str] = []
        self.sent = 0
        """The number of the last event that was sent, if ever so long ago."""
        self._state: Any = None
        self._last = 0
        self._over = trio.CancelScope()
        self.done = trio.Event()
        """Set when all is acknowledged."""
        self._answered = trio.Event()

    @property
    def is_done(self) -> bool:
        return self.acknowledged >= self.events

    def finish(self) -> None:
        """Begin nothing more; what was sent is sent to its end."""
        self.events = self.sent
        if self.is_done:
            self._over.cancel()

    async def next_answer(self) -> None:
        """Wait until the next event is acknowledged."""
        before = self.acknowledged
        while self.acknowledged == before:
            await self._answered.wait()

    async def run(self) -> None:
        """Send everything; come back when all is acknowledged."""
        with self._over:
            while not self.is_done:
                try:
                    await self._connect()
                except* _AWAY:
                    await trio.sleep(0.02)  # as a browser does, but for less long
        self.done.set()

    async def _connect(self) -> None:
        # The stream is ours to close: where the server closes first, trio-websocket leaves it open.
        async with (
            await trio.open_tcp_stream(self.host, self.port) as stream,
            trio.open_nursery() as nursery,
        ):
            socket = await wrap_client_stream(
                nursery, stream, self.host, "/_actorstate/ws", subprotocols=[SUBPROTOCOL]
            )
            await self._use(socket)
            nursery.cancel_scope.cancel()

    async def _use(self, socket: WebSocketConnection) -> None:
        hello = {"t": "hello", "token": self.token, "instance": self.instance, "version": None,
                 "path": "/"}  # fmt: skip
        await socket.send_message(json.dumps(hello))
        while not self.is_done:
            frame = json.loads(await socket.get_message())
            if frame["t"] == "ping":
                await socket.send_message('{"t":"pong"}')
            self._take(frame)
            await self._send_more(socket)

    def _take(self, frame: dict[str, Any]) -> None:
        match frame["t"]:
            case "welcome":
                self.token, self._state = frame["token"], frame["state"]
                self._last = frame["ack"]
                self.connections += 1
                self.has_token.set()
            case "patch":
                operations = frame["ops"]
                self._state = jsonpatch.apply_patch(self._state, operations, in_place=True)
            case "error" if "seq" in frame:
                assert frame["code"] != "rate_limited", "it would not be done, ever"
                self.failed[frame["seq"]] = frame["code"]
            case _:
                pass
        if frame.get("ack", 0) > self.acknowledged:
            self.acknowledged = frame["ack"]
            self._answered.set()
            self._answered = trio.Event()
        self._look()

    def _look(self) -> None:
        rows = self._state["rows"]["rows"]
        assert rows[: len(self.shown)] == self.shown, "what was shown is not there any more"
        self.shown.extend(rows[len(self.shown) :])

    async def _send_more(self, socket: WebSocketConnection) -> None:
        while self._last < min(self.acknowledged + self.WINDOW, self.events):
            self._last += 1
            self.sent = max(self.sent, self._last)
            event = {"t": "event", "seq": self._last, "name": "rows.append",
                     "args": [f"{self.instance} {self._last}"]}  # fmt: skip
            await socket.send_message(json.dumps(event))
