"""One port for both: pages by HTTP, and a WebSocket for each tab.

A request head is parsed once, by h11. An upgrade goes on to trio-websocket, which is given the
same bytes to read again; anything else is answered by ``http``.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Final, cast, final
from urllib.parse import urlsplit

import h11
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_server_stream

from actorstate.web.answers import GOING, Answer
from actorstate.web.connection import WRONG_PROTOCOL, SocketConnection
from actorstate.web.http import Upgrade, Visit, header
from actorstate.web.protocol import SOCKET_PATH, SUBPROTOCOL, Handshake
from actorstate.web.site import Site

logger: Final = logging.getLogger("actorstate.web")

_HANDSHAKE_TIMEOUT: Final = 10.0  # seconds
_MOST_MESSAGE_CHARACTERS: Final = 1024 * 1024
# Frames that trio-websocket may hold between its reader and ours. None: what we have not asked
# for stays with the sender.
_READ_AHEAD: Final = 1


async def serve(
    site: Site,
    host: str,
    port: int,
    work_off: Callable[[], Awaitable[None]],
    *,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve a site until cancelled, or until its admission is closed. Reports where it listens.

    Args:
        site: what is served.
        host: the address to listen on.
        port: the port; 0 for any free one.
        work_off: lets what was begun come to its end, once nobody is let in any more.
        task_status: for ``nursery.start``, which gets the URL.

    Raises:
        OSError: the address cannot be listened on.
    """
    listeners = await trio.open_tcp_listeners(port, host=host)
    bound = listeners[0].socket.getsockname()[1]
    name = f"[{host}]" if ":" in host else host
    task_status.started(f"http://{name}:{bound}")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_accept, site, listeners, nursery)
        await site.admission.see_out(work_off)
        nursery.cancel_scope.cancel()


async def _accept(site: Site, listeners: list[trio.SocketListener], nursery: trio.Nursery) -> None:
    """Accept connections into a nursery; when nobody is let in any more, listen no longer."""
    async with trio.open_nursery() as accepting:
        handler = functools.partial(_serve_stream, site)
        accepting.start_soon(
            functools.partial(trio.serve_listeners, handler, listeners, handler_nursery=nursery)
        )
        await site.admission.closed.wait()
        accepting.cancel_scope.cancel()


async def _serve_stream(site: Site, stream: trio.SocketStream) -> None:
    """Serve one TCP connection. Whatever becomes of it, the server goes on."""
    try:
        async with stream:
            upgrade = await Visit(stream, site).serve()
            if upgrade is not None:
                await _serve_upgrade(site, stream, upgrade)
    except* (
        trio.BrokenResourceError,
        trio.ClosedResourceError,
        trio.TooSlowError,
        ConnectionClosed,
    ):
        pass  # the peer is gone
    except* Exception:
        logger.exception("a connection failed; the server goes on")


async def _serve_upgrade(site: Site, stream: trio.SocketStream, upgrade: Upgrade) -> None:
    async with trio.open_nursery() as nursery:
        socket = await _shake_hands(site, nursery, stream, upgrade)
        if socket is not None:
            if socket.subprotocol == SUBPROTOCOL:
                handshake = Handshake(_headers(upgrade.request), _address_of(stream))
                connection = SocketConnection(socket, site, handshake)
                with site.admission.present(connection):
                    await connection.run()
            else:
                with trio.move_on_after(_HANDSHAKE_TIMEOUT):
                    await socket.aclose(WRONG_PROTOCOL, f"this server speaks {SUBPROTOCOL}")
        nursery.cancel_scope.cancel()


async def _shake_hands(
    site: Site, nursery: trio.Nursery, stream: trio.SocketStream, upgrade: Upgrade
) -> WebSocketConnection | None:
    with trio.move_on_after(_HANDSHAKE_TIMEOUT):
        proposal = await wrap_server_stream(
            nursery,
            cast("trio.abc.Stream", _Replayed(stream, upgrade.head())),
            message_queue_size=_READ_AHEAD,
            max_message_size=_MOST_MESSAGE_CHARACTERS,
        )
        refusal = _refusal_of(site, upgrade.request)
        if refusal is not None:
            await proposal.reject(
                refusal.status, extra_headers=[*refusal.headers], body=refusal.body
            )
            return None
        offered = SUBPROTOCOL in proposal.proposed_subprotocols
        return await proposal.accept(subprotocol=SUBPROTOCOL if offered else None)
    return None


def _refusal_of(site: Site, request: h11.Request) -> Answer | None:
    """Tell why an upgrade is refused: another path, the page of another site, a server that stops.

    A browser lets any page open a socket to any server and tells the server whose page it is
    (RFC 6455, section 10.2). Clients that are no browsers send no origin, and hold no token but
    their own.
    """
    if request.target.partition(b"?")[0] != SOCKET_PATH.encode():
        return Answer(404, b"there is no socket here\n")
    origin = header(request, b"origin")
    if origin and _netloc(origin) != header(request, b"host").lower():
        return Answer(403, b"pages of other sites may not open this socket\n")
    return None if site.admission.is_open else GOING


def _headers(request: h11.Request) -> Mapping[str, str]:
    """Give the headers by name. One that stands there twice is one list (RFC 9110, section 5.2)."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in request.headers:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        separator = "; " if name == "cookie" else ", "
        headers[name] = f"{headers[name]}{separator}{value}" if name in headers else value
    return MappingProxyType(headers)


def _address_of(stream: trio.SocketStream) -> str:
    try:
        return stream.socket.getpeername()[0]
    except OSError:  # it is gone already
        return ""


def _netloc(origin: bytes) -> bytes:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return b""  # no host that anyone is


@final
class _Replayed:
    """A stream that gives again what was read from it already; then it is the stream itself.

    Every frame goes through here, so nothing stands in between: the methods are the stream's own.
    """

    def __init__(self, stream: trio.SocketStream, read: bytes) -> None:
        self._stream: Final = stream
        self._read = read
        self.receive_some = self._replay
        self.send_all = stream.send_all
        self.wait_send_all_might_not_block = stream.wait_send_all_might_not_block
        self.aclose = stream.aclose

    async def _replay(self, max_bytes: int | None = None) -> bytes:
        await trio.lowlevel.checkpoint()
        some = self._read[:max_bytes]
        self._read = self._read[len(some) :]
        if not self._read:
            self.receive_some = self._stream.receive_some
        return some
