"""The way in by ASGI: the same pages and sockets inside another application, on another server.

It has to be a server that runs on trio, as Hypercorn's trio worker does. That server owns TCP, TLS
and what proxies say; here is what is left: which answer, who may open a socket, and the frames.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from typing import Any, Final, Protocol, final
from urllib.parse import quote

import trio
from trio_websocket import CloseReason, ConnectionClosed

from actorstate.web.admission import Refusal
from actorstate.web.answers import (
    NO_SOCKET,
    OTHER_SITE,
    REFUSALS,
    Answer,
    Headers,
    by_name,
    choose_answer,
)
from actorstate.web.connection import WRONG_PROTOCOL, SocketConnection
from actorstate.web.origins import Origins
from actorstate.web.protocol import SOCKET_PATH, SUBPROTOCOL, Handshake
from actorstate.web.site import Site

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

logger: Final = logging.getLogger("actorstate.web")

_ABNORMAL: Final = 1006

# What the server says of itself, or of its connection (HTTP/2 forbids it).
_OF_THE_SERVER: Final = frozenset({b"date", b"connection"})


class Host(AbstractAsyncContextManager[object], Protocol):
    """What is known here of the app: `actorstate.app.App`."""

    @property
    def is_running(self) -> bool:
        """Whether it is entered."""
        ...

    async def open_site(self) -> Site:
        """Give what it has for those who connect."""
        ...

    async def drain(self) -> None:
        """Let what has begun be done and shown, and all sockets be closed."""
        ...


@final
class AsgiEntrance:
    """An app as an ASGI application: `actorstate.App.asgi`.

    As the root application of a server it enters the app when that starts (``lifespan``), and
    drains and leaves it when that has stopped. Inside another application, that enters the app.

    Args:
        host: the app.
        origins: whose pages may open a socket.
    """

    def __init__(self, host: Host, origins: Origins) -> None:
        self._host: Final = host
        self._origins: Final = origins
        self._site: Site | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, or the life of the server.

        Raises:
            RuntimeError: it does not run on trio; or it is mounted elsewhere than at the root; or
                nobody has entered the app.
            ValueError: it is a kind of connection that is not known here.
        """
        if not trio.lowlevel.in_trio_run():
            message = "actorstate runs on trio; serve it with `hypercorn --worker-class trio`"
            raise RuntimeError(message)
        if scope["type"] == "lifespan":
            return await self._live(receive, send)
        if scope.get("root_path"):
            message = (
                f"app.asgi is mounted at {scope['root_path']!r}, and its pages ask for what they "
                f"need at the root; mount it there, after the routes that are not its own"
            )
            raise RuntimeError(message)
        site = await self._open_site()
        if scope["type"] == "http":
            return await _answer_request(site, scope, send)
        if scope["type"] == "websocket":
            return await _serve_socket(site, self._origins, scope, receive, send)
        message = f"a connection of the kind {scope['type']!r} is not known here"
        raise ValueError(message)

    # ---- the life of the server ------------------------------------------------------------

    async def _live(self, receive: Receive, send: Send) -> None:
        """Run the app for as long as the server runs, unless it runs already."""
        await receive()  # that the server starts
        async with AsyncExitStack() as stack:
            try:
                if not self._host.is_running:
                    await stack.enter_async_context(self._host)
                    stack.push_async_callback(self._host.drain)
                await self._open_site()
            except Exception as error:
                # Said so, the server stops; raised, it would go on without an app.
                logger.exception("the app cannot be entered")
                return await send({"type": "lifespan.startup.failed", "message": str(error)})
            await send({"type": "lifespan.startup.complete"})
            await receive()  # that it has stopped
        return await send({"type": "lifespan.shutdown.complete"})

    async def _open_site(self) -> Site:
        """Give the site of the app, once in each run of it: it asks the store.

        While the app stops, and after, it is that of the last run, which lets nobody in.
        """
        site = self._site
        if site is not None and (site.admission.is_open or not self._host.is_running):
            return site
        try:
            self._site = await self._host.open_site()
        except RuntimeError:  # it is being left, or was never entered
            if site is None:
                raise
            return site
        return self._site


# ---- pages --------------------------------------------------------------------------------------


async def _answer_request(site: Site, scope: Scope, send: Send) -> None:
    raw: bytes | None = scope.get("raw_path")
    path = quote(scope["path"]) if raw is None else raw.decode("ascii", "replace").partition("?")[0]
    answer = choose_answer(scope["method"], path, site)
    body = b"" if scope["method"] == "HEAD" else answer.body
    await send({
        "type": "http.response.start",
        "status": answer.status,
        "headers": _headers(answer, scope["http_version"]),
    })  # fmt: skip
    await send({"type": "http.response.body", "body": body})


def _headers(answer: Answer, http_version: str) -> Headers:
    """Give the headers as ASGI wants them, but for what the server says.

    HTTP/2 knows no headers that are about the connection, such as which upgrade it may take.
    """
    left_out = _OF_THE_SERVER if http_version.startswith("1") else _OF_THE_SERVER | {b"upgrade"}
    headers = [(name.lower(), value) for name, value in answer.all_headers()]
    return [(name, value) for name, value in headers if name not in left_out]


# ---- sockets ------------------------------------------------------------------------------------


async def _serve_socket(
    site: Site, origins: Origins, scope: Scope, receive: Receive, send: Send
) -> None:
    await receive()  # that somebody wants to connect
    client: Sequence[Any] | None = scope.get("client")  # None where there are no addresses
    address = str(client[0]) if client else ""
    headers = by_name(scope["headers"])
    with site.admission.connection(address or None) as crowded:
        refusal = _refusal_of(origins, scope, headers, crowded)
        if refusal is None:
            return await _attach(site, scope, receive, send, Handshake(headers, address))
    return await _refuse(refusal, scope, send)


def _refusal_of(
    origins: Origins, scope: Scope, headers: Mapping[str, str], crowded: Refusal | None
) -> Answer | None:
    """Tell why a socket is refused: the path, another site's page, no room, a server that stops."""
    if scope["path"] != SOCKET_PATH:
        return NO_SOCKET
    scheme = "https" if scope.get("scheme") == "wss" else None
    if not origins.allow(headers.get("origin"), headers.get("host", ""), scheme):
        return OTHER_SITE
    return None if crowded is None else REFUSALS[crowded]


async def _refuse(answer: Answer, scope: Scope, send: Send) -> None:
    """Say why, if the server can; else it says 403."""
    if "websocket.http.response" not in (scope.get("extensions") or {}):
        return await send({"type": "websocket.close"})
    await send({
        "type": "websocket.http.response.start",
        "status": answer.status,
        "headers": _headers(answer, scope["http_version"]),
    })  # fmt: skip
    return await send({"type": "websocket.http.response.body", "body": answer.body})


async def _attach(
    site: Site, scope: Scope, receive: Receive, send: Send, handshake: Handshake
) -> None:
    if SUBPROTOCOL not in scope.get("subprotocols", ()):
        await send({"type": "websocket.accept"})
        reason = f"this server speaks {SUBPROTOCOL}"
        return await send({"type": "websocket.close", "code": WRONG_PROTOCOL, "reason": reason})
    await send({"type": "websocket.accept", "subprotocol": SUBPROTOCOL})
    connection = SocketConnection(_AsgiSocket(receive, send), site, handshake)
    with site.admission.present(connection):
        return await connection.run()


@final
class _AsgiSocket:
    """A WebSocket of an ASGI server, as a `actorstate.web.connection.Socket`."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive: Final = receive
        self._send: Final = send
        self._is_closed = False

    async def get_message(self) -> str | bytes:
        """Wait for the next message of the peer; see ``Socket``."""
        message = await self._receive()
        if message["type"] == "websocket.disconnect":
            self._is_closed = True
            reason = CloseReason(message.get("code", _ABNORMAL), message.get("reason"))
            raise ConnectionClosed(reason)
        text: str | None = message.get("text")
        return message["bytes"] if text is None else text

    async def send_message(self, message: str, /) -> None:
        """Send one; see ``Socket``."""
        await self._tell({"type": "websocket.send", "text": message})

    async def aclose(self, code: int, /) -> None:
        """Close it, and wait for the peer to agree; see ``Socket``."""
        with suppress(ConnectionClosed):
            await self._tell({"type": "websocket.close", "code": code})
            while True:
                await self.get_message()

    async def _tell(self, message: Message) -> None:
        if self._is_closed:
            raise ConnectionClosed(None)
        try:
            await self._send(message)
        except OSError as error:  # the peer is gone (the ASGI specification, since 2.4)
            self._is_closed = True
            raise ConnectionClosed(None) from error
