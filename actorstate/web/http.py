"""A small responder for GET: pages, the client, its stylesheet and ``/healthz``.

h11 parses; nothing here but the choice of an answer and its headers. What is an upgrade is not
answered but handed back.
"""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import formatdate
from importlib import resources
from typing import Final, final

import attrs
import h11
import trio

from actorstate.web.protocol import SOCKET_PATH

_HEAD_TIMEOUT: Final = 15.0  # seconds to send a request head, and to stay idle between two
_SEND_TIMEOUT: Final = 30.0  # seconds
_LINGER: Final = 1.0  # seconds
_MOST_HEAD_BYTES: Final = 16 * 1024
_RECEIVE_BYTES: Final = 8 * 1024

Headers = list[tuple[bytes, bytes]]

_SECURITY_HEADERS: Final[Headers] = [
    (
        b"Content-Security-Policy",
        (
            b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
            b"img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
        ),
    ),
    (b"X-Content-Type-Options", b"nosniff"),
    (b"Referrer-Policy", b"same-origin"),
]


@final
@attrs.frozen
class Answer:
    """What a request gets."""

    status: int
    body: bytes = b""
    content_type: bytes = b"text/plain; charset=utf-8"
    headers: tuple[tuple[bytes, bytes], ...] = ()


@final
@attrs.frozen
class Upgrade:
    """A request to turn the connection into a WebSocket."""

    request: h11.Request
    unread: bytes
    """What came after its head."""

    def head(self) -> bytes:
        """The bytes of the request, for who parses it next."""
        lines = [b"GET " + self.request.target + b" HTTP/1.1"]
        lines += [name + b": " + value for name, value in self.request.headers]
        return b"\r\n".join([*lines, b"", b""]) + self.unread


def _asset(package: str, name: str, content_type: bytes) -> Answer:
    body = resources.files(package).joinpath(name).read_bytes()
    return Answer(200, body, content_type)


_ASSETS: Final[Mapping[str, Answer]] = {
    "/_actorstate/client.js": _asset("actorstate.web", "client.js", b"text/javascript"),
    "/_actorstate/style.css": _asset("actorstate.ui", "style.css", b"text/css"),
    "/healthz": Answer(200, b"ok\n"),
}


def header(request: h11.Request, name: bytes) -> bytes:
    """Give the first header of a name (in lower case), or nothing."""
    return next((value for key, value in request.headers if key == name), b"")


def is_upgrade(request: h11.Request) -> bool:
    """Tell whether a request asks for a WebSocket (RFC 6455, section 4.1)."""
    return request.method == b"GET" and header(request, b"upgrade").lower() == b"websocket"


def choose_answer(request: h11.Request, pages: Mapping[str, bytes]) -> Answer:
    """Choose what a request gets."""
    if request.method not in (b"GET", b"HEAD"):
        allow = ((b"Allow", b"GET, HEAD"),)
        return Answer(405, b"only GET and HEAD are answered here\n", headers=allow)
    path = request.target.decode("ascii", "replace").partition("?")[0]
    if path in _ASSETS:
        return _ASSETS[path]
    if path == SOCKET_PATH:
        upgrade = ((b"Upgrade", b"websocket"), (b"Connection", b"Upgrade"))
        return Answer(426, b"this is a socket; ask for an upgrade\n", headers=upgrade)
    if path in pages:
        return Answer(200, pages[path], b"text/html; charset=utf-8")
    return Answer(404, b"there is no such page\n")


async def serve_requests(stream: trio.SocketStream, pages: Mapping[str, bytes]) -> Upgrade | None:
    """Answer the requests of one connection, until it ends or asks for an upgrade.

    Does not close the stream.
    """
    parser = h11.Connection(h11.SERVER, max_incomplete_event_size=_MOST_HEAD_BYTES)
    while True:
        try:
            request = await _read_head(stream, parser)
        except h11.RemoteProtocolError as error:
            if parser.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                message = b"the request is not HTTP\n"
                await _send(stream, parser, None, Answer(error.error_status_hint, message))
            return await _linger(stream)
        if request is None:
            return None
        if is_upgrade(request):
            return Upgrade(request, parser.trailing_data[0])
        await _send(stream, parser, request, choose_answer(request, pages))
        if parser.our_state is not h11.DONE or parser.their_state is not h11.DONE:
            return await _linger(stream)
        parser.start_next_cycle()


async def _read_head(stream: trio.SocketStream, parser: h11.Connection) -> h11.Request | None:
    """Read up to the end of a request; None if there will be none."""
    request: h11.Request | None = None
    with trio.move_on_after(_HEAD_TIMEOUT):
        while True:
            event = parser.next_event()
            if event is h11.NEED_DATA:
                parser.receive_data(await stream.receive_some(_RECEIVE_BYTES))
            elif isinstance(event, h11.Request):
                request = event
                if is_upgrade(request) or _has_body(request):
                    return request
            elif isinstance(event, h11.EndOfMessage):
                return request
            else:
                return None
    return None


async def _linger(stream: trio.SocketStream) -> None:
    """Let the peer read our answer before the connection is closed.

    Closing with bytes unread resets the connection, and with it the answer may be lost
    (RFC 9112, section 9.6). So the peer is told that nothing more comes, and read for a while.
    """
    with trio.move_on_after(_LINGER):
        await stream.send_eof()
        while await stream.receive_some(_RECEIVE_BYTES):
            pass


def _has_body(request: h11.Request) -> bool:
    """Tell whether a body follows: it is not read, and the connection is closed after it."""
    length = header(request, b"content-length")
    return bool(header(request, b"transfer-encoding")) or length not in (b"", b"0")


async def _send(
    stream: trio.SocketStream,
    parser: h11.Connection,
    request: h11.Request | None,
    answer: Answer,
) -> None:
    headers: Headers = [
        (b"Date", formatdate(usegmt=True).encode()),
        (b"Content-Type", answer.content_type),
        (b"Content-Length", str(len(answer.body)).encode()),
        (b"Cache-Control", b"no-cache"),
        *_SECURITY_HEADERS,
        *answer.headers,
    ]
    if request is None or _has_body(request):
        headers.append((b"Connection", b"close"))
    data = parser.send(h11.Response(status_code=answer.status, headers=headers)) or b""
    if request is None or request.method != b"HEAD":
        data += parser.send(h11.Data(data=answer.body)) or b""
    data += parser.send(h11.EndOfMessage()) or b""
    # One that reads nothing is not waited for: the half answer ends its connection.
    with trio.fail_after(_SEND_TIMEOUT):
        await stream.send_all(data)
