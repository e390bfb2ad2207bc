"""One port for both: pages by HTTP, and a WebSocket for each tab.

A request head is parsed once, by h11. An upgrade goes on to trio-websocket, which is given the
same bytes to read again; anything else is answered by ``http``.
"""

from __future__ import annotations

import functools
import logging
import ssl
from collections.abc import Awaitable, Callable
from typing import Final, cast, final

import attrs
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_server_stream

from actorstate.web.admission import Refusal
from actorstate.web.answers import NO_SOCKET, OTHER_SITE, REFUSALS, Answer
from actorstate.web.connection import WRONG_PROTOCOL, SocketConnection
from actorstate.web.http import Upgrade, Visit
from actorstate.web.origins import Origins
from actorstate.web.peers import Peer, Proxies
from actorstate.web.protocol import SOCKET_PATH, SUBPROTOCOL, Handshake
from actorstate.web.site import Site
from actorstate.web.streams import Replayed

logger: Final = logging.getLogger("actorstate.web")

_HANDSHAKE_TIMEOUT: Final = 10.0  # seconds
_CLOSE_TIMEOUT: Final = 0.3  # seconds
# Frames that trio-websocket may hold between its reader and ours. None: what we have not asked
# for stays with the sender.
_READ_AHEAD: Final = 1


@final
@attrs.frozen(eq=False)
class Entrance:
    """One way in: what is believed of those who come by it."""

    site: Site
    origins: Origins
    proxies: Proxies = attrs.field(factory=Proxies)
    ssl_context: ssl.SSLContext | None = None
    """For TLS; None for none."""


async def serve(
    entrance: Entrance,
    host: str,
    port: int,
    work_off: Callable[[], Awaitable[None]],
    *,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve a site until cancelled, or until its admission is closed. Reports where it listens.

    Args:
        entrance: what is served, and to whom.
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
    scheme = "http" if entrance.ssl_context is None else "https"
    task_status.started(f"{scheme}://{name}:{bound}")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_accept, entrance, listeners, nursery)
        await entrance.site.admission.see_out(work_off)
        nursery.cancel_scope.cancel()


async def _accept(
    entrance: Entrance, listeners: list[trio.SocketListener], nursery: trio.Nursery
) -> None:
    """Accept connections into a nursery; when nobody is let in any more, listen no longer."""
    async with trio.open_nursery() as accepting:
        handler = functools.partial(_serve_stream, entrance)
        accepting.start_soon(
            functools.partial(trio.serve_listeners, handler, listeners, handler_nursery=nursery)
        )
        await entrance.site.admission.closed.wait()
        accepting.cancel_scope.cancel()


async def _serve_stream(entrance: Entrance, stream: trio.SocketStream) -> None:
    """Serve one TCP connection, if there is room. Whatever becomes of it, the server goes on."""
    address = _address_of(stream)
    # Of one that comes by a proxy its requests will tell from where.
    counted = None if entrance.proxies.trust(address) else address
    try:
        async with stream:
            with entrance.site.admission.connection(counted) as refusal:
                if refusal is None:
                    await _serve_peer(entrance, stream, address)
                else:
                    await _turn_away(entrance, stream, refusal)
    except* (
        trio.BrokenResourceError,
        trio.ClosedResourceError,
        trio.TooSlowError,
        ConnectionClosed,
    ):
        pass  # the peer is gone
    except* Exception:
        logger.exception("a connection failed; the server goes on")


async def _turn_away(entrance: Entrance, stream: trio.SocketStream, refusal: Refusal) -> None:
    """Say why, before anything is read. To say it by TLS would cost more than to serve."""
    with entrance.site.admission.turned_away() as has_time:
        if has_time and entrance.ssl_context is None:
            await Visit(stream, entrance.site).refuse(REFUSALS[refusal])


async def _serve_peer(entrance: Entrance, raw: trio.SocketStream, address: str) -> None:
    stream = await _secure(raw, entrance.ssl_context)
    opened = await _receive(entrance, stream, address)
    if opened is None:
        return await _close(stream)
    # What was read is gone by now: here only that is left which stays as long as the socket.
    replayed, handshake = opened
    if handshake.client_address == address:
        return await _serve_socket(entrance.site, replayed, handshake)
    with entrance.site.admission.address(handshake.client_address) as crowded:
        if crowded is None:
            return await _serve_socket(entrance.site, replayed, handshake)
    return await Visit(stream, entrance.site).refuse(REFUSALS[crowded])


async def _secure(raw: trio.SocketStream, context: ssl.SSLContext | None) -> trio.abc.Stream:
    if context is None:
        return raw
    stream = trio.SSLStream(raw, context, server_side=True)
    with trio.fail_after(_HANDSHAKE_TIMEOUT):
        await stream.do_handshake()
    return stream


async def _close(stream: trio.abc.Stream) -> None:
    """Close it, with the last word of TLS, if it takes that at once."""
    with trio.move_on_after(_CLOSE_TIMEOUT):
        await stream.aclose()


async def _receive(
    entrance: Entrance, stream: trio.abc.Stream, address: str
) -> tuple[Replayed, Handshake] | None:
    """Serve pages, until a socket is asked for that may be opened; None if none is."""
    visit = Visit(stream, entrance.site)
    upgrade = await visit.serve()
    if upgrade is None:
        return None
    scheme = None if entrance.ssl_context is None else "https"
    peer = entrance.proxies.peer(address, scheme, upgrade.headers)
    refusal = _refusal_of(entrance, upgrade, peer)
    if refusal is not None:
        return await visit.refuse(refusal)
    return Replayed(stream, upgrade.head()), Handshake(upgrade.headers, peer.address)


def _refusal_of(entrance: Entrance, upgrade: Upgrade, peer: Peer) -> Answer | None:
    """Tell why an upgrade is refused: the path, the page of another site, a server that stops."""
    headers = upgrade.headers
    if upgrade.path != SOCKET_PATH:
        return NO_SOCKET
    if not entrance.origins.allow(headers.get("origin"), headers.get("host", ""), peer.scheme):
        return OTHER_SITE
    return None if entrance.site.admission.is_open else REFUSALS[Refusal.STOPPING]


async def _serve_socket(site: Site, stream: Replayed, handshake: Handshake) -> None:
    async with trio.open_nursery() as nursery:
        socket = await _shake_hands(site, nursery, stream)
        if socket is not None:
            if socket.subprotocol == SUBPROTOCOL:
                connection = SocketConnection(socket, site, handshake)
                with site.admission.present(connection):
                    await connection.run()
            else:
                with trio.move_on_after(_HANDSHAKE_TIMEOUT):
                    await socket.aclose(WRONG_PROTOCOL, f"this server speaks {SUBPROTOCOL}")
        nursery.cancel_scope.cancel()


async def _shake_hands(
    site: Site, nursery: trio.Nursery, stream: Replayed
) -> WebSocketConnection | None:
    with trio.move_on_after(_HANDSHAKE_TIMEOUT):
        proposal = await wrap_server_stream(
            nursery,
            cast("trio.abc.Stream", stream),
            message_queue_size=_READ_AHEAD,
            # In characters; what has fewer and is too large all the same is found by us.
            max_message_size=site.limits.max_message_bytes,
        )
        offered = SUBPROTOCOL in proposal.proposed_subprotocols
        return await proposal.accept(subprotocol=SUBPROTOCOL if offered else None)
    return None


def _address_of(stream: trio.SocketStream) -> str:
    try:
        return stream.socket.getpeername()[0]
    except OSError:  # it is gone already
        return ""
