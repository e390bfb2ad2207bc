"""A page that does not give up: it sends numbered events, and again until they are acknowledged.

Its tab keeps all numbers in a list, in the order in which they counted. So what a page is shown can
be held against what is stored: it has to be the beginning of it.
"""

from __future__ import annotations

import json
from typing import Any, Final, final

import jsonpatch
import trio
from trio_websocket import ConnectionClosed, HandshakeError, WebSocketConnection, open_websocket_url

from actorstate import State
from actorstate.web.protocol import SUBPROTOCOL

_AWAY: Final = (OSError, HandshakeError, ConnectionClosed)


class Rows(State, root=True):
    rows: list[str] = []

    def append(self, row: str) -> None:
        self.rows.append(row)


@final
class PersistentPage:
    """One load of a page.

    Args:
        address: of the server, such as ``ws://127.0.0.1:8000``.
        instance: its name. Each of its rows begins with it.
        events: how many it sends.
        token: of the tab that it is of; none for a new one.
    """

    WINDOW: Final = 8
    """So many events are sent before the first of them has to be acknowledged."""

    def __init__(self, address: str, instance: str, events: int, token: str | None = None) -> None:
        self.address = address
        self.instance: Final = instance
        self.events: Final = events
        self.token = token
        self.has_token = trio.Event()
        self.acknowledged = 0
        self.connections = 0
        self.failed: dict[int, str] = {}
        """What was said of the events that failed; they may be sent again."""
        self.shown: list[str] = []
        self._state: Any = None
        self._sent = 0

    async def run(self) -> None:
        """Send everything; come back when all is acknowledged."""
        while self.acknowledged < self.events:
            try:
                async with open_websocket_url(
                    f"{self.address}/_actorstate/ws", subprotocols=[SUBPROTOCOL]
                ) as socket:
                    await self._use(socket)
            except* _AWAY:
                await trio.sleep(0.02)  # as a browser does, but for less long

    async def _use(self, socket: WebSocketConnection) -> None:
        hello = {"t": "hello", "token": self.token, "instance": self.instance, "version": None,
                 "path": "/"}  # fmt: skip
        await socket.send_message(json.dumps(hello))
        while self.acknowledged < self.events:
            self._take(json.loads(await socket.get_message()))
            await self._send_more(socket)

    def _take(self, frame: dict[str, Any]) -> None:
        match frame["t"]:
            case "welcome":
                self.token, self._state = frame["token"], frame["state"]
                self._sent = frame["ack"]
                self.connections += 1
                self.has_token.set()
            case "patch":
                operations = frame["ops"]
                self._state = jsonpatch.apply_patch(self._state, operations, in_place=True)
            case "error" if "seq" in frame:
                self.failed[frame["seq"]] = frame["code"]
            case _:
                pass
        self.acknowledged = max(self.acknowledged, frame.get("ack", 0))
        self._look()

    def _look(self) -> None:
        rows = self._state["rows"]["rows"]
        assert rows[: len(self.shown)] == self.shown, "what was shown is not there any more"
        self.shown.extend(rows[len(self.shown) :])

    async def _send_more(self, socket: WebSocketConnection) -> None:
        while self._sent < min(self.acknowledged + self.WINDOW, self.events):
            self._sent += 1
            event = {"t": "event", "seq": self._sent, "name": "rows.append",
                     "args": [f"{self.instance} {self._sent}"]}  # fmt: skip
            await socket.send_message(json.dumps(event))
