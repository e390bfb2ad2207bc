"""A page on a stage: a real browser and the real client, with the test as their server.

The page is rendered here, and the test sends the frames. So a test decides what a patch is made
of, and in which order things arrive.
"""

from __future__ import annotations

import json
from typing import Any, Final, final

from browser import PATIENCE, eventually
from playwright.sync_api import Browser, ConsoleMessage, Page, Route, WebSocketRoute

from actorstate import ui
from actorstate.ui.elements import Child
from actorstate.web import answers

_ORIGIN: Final = "http://stage.test"


@final
class Stage:
    """One page, its state, and the events that it sent.

    Args:
        browser: where it is shown.
        body: what it shows.
        state: by full names of states; given away to the page as it is now.
    """

    def __init__(self, browser: Browser, body: Child, state: dict[str, Any]) -> None:
        self.events: Final[list[tuple[str, Any]]] = []
        self.complaints: Final[list[str]] = []
        self._document: Final = ui.render_page(body, title="Stage")
        self._state: Final = state
        self._version = 0
        self._socket: WebSocketRoute | None = None
        self.page: Final[Page] = browser.new_page()
        self.page.set_default_timeout(PATIENCE * 1000)
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.complaints.append(f"uncaught: {error}"))
        self.page.route("**/*", self._answer)
        self.page.route_web_socket("**/_actorstate/ws", self._welcome)
        self.page.goto(_ORIGIN)
        eventually(self.page, lambda: self.page.evaluate("() => actorstate.connected"))

    def patch(self, *ops: dict[str, Any]) -> None:
        """Send one patch, and wait until the page has it."""
        self._version += 1
        self._send({"t": "patch", "version": self._version, "ack": len(self.events), "ops": ops})
        reached = f"() => actorstate.version === {self._version}"
        eventually(self.page, lambda: self.page.evaluate(reached))

    def replace(self, pointer: str, value: Any) -> None:
        """Send a patch of one operation, the commonest."""
        self.patch({"op": "replace", "path": pointer, "value": value})

    @property
    def bindings(self) -> int:
        """How many bindings the page has."""
        return self.page.evaluate("() => actorstate.bindings")

    def close(self) -> None:
        self.page.close()

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def _answer(self, route: Route) -> None:
        answer = answers._FIXED.get(route.request.url.removeprefix(_ORIGIN))
        headers = {name.decode(): value.decode() for name, value in answers._SECURITY_HEADERS}
        if answer is None:
            return route.fulfill(body=self._document, headers=headers, content_type="text/html")
        content_type = answer.content_type.decode()
        return route.fulfill(body=answer.body, headers=headers, content_type=content_type)

    def _welcome(self, socket: WebSocketRoute) -> None:
        self._socket = socket
        socket.on_message(self._receive)

    def _receive(self, message: str | bytes) -> None:
        frame = json.loads(message)
        if frame["t"] == "hello":
            welcome = {"t": "welcome", "token": "t", "session": "s", "version": 0, "ack": 0}
            self._send({**welcome, "state": self._state})
        else:
            self.events.append((frame["name"], frame["args"]))
            self._send({"t": "ack", "ack": frame["seq"]})

    def _send(self, frame: dict[str, Any]) -> None:
        assert self._socket is not None
        self._socket.send(json.dumps(frame))
