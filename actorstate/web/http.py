"""Requests for pages by HTTP/1.1: read by h11, and answered as ``answers`` chooses.

What is an upgrade is not answered but handed back. Bodies are not read: nothing here takes one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, final

import attrs
import h11
import trio

from actorstate.web.answers import Answer, by_name, choose_answer
from actorstate.web.site import Site

_HEAD_TIMEOUT: Final = 15.0  # seconds to send a whole request head, and to stay idle between two
_SEND_TIMEOUT: Final = 30.0  # seconds
_LINGER: Final = 1.0  # seconds
_MOST_HEAD_BYTES: Final = 16 * 1024
_RECEIVE_BYTES: Final = 8 * 1024

_HANDSHAKE: Final = frozenset(
    (
        b"connection",
        b"upgrade",
        b"sec-websocket-key",
        b"sec-websocket-protocol",
        b"sec-websocket-version",
    )
)


@final
@attrs.frozen
class Upgrade:
    """A request to turn the connection into a WebSocket."""

    request: h11.Request
    unread: bytes
    """What came after its head."""
    headers: Mapping[str, str]
    """Its headers by name, in lower case."""

    def head(self) -> bytes:
        """The bytes of the request, for who parses it next: what makes it a handshake, in ASCII.

        wsproto raises UnicodeError at a header that is none, and at a host that is no IDNA.
        """
        lines = [b"GET " + self.request.target + b" HTTP/1.1", b"Host: _"]
        lines += [
            name + b": " + value.decode("ascii", "replace").encode("ascii", "replace")
            for name, value in self.request.headers
            if name in _HANDSHAKE
        ]
        return b"\r\n".join([*lines, b"", b""]) + self.unread

    @property
    def path(self) -> str:
        """Where it is asked for, without the query."""
        return self.request.target.decode("ascii", "replace").partition("?")[0]


@final
class Visit:
    """One TCP connection, for as long as it asks for pages. Does not close the stream.

    Args:
        stream: what was accepted.
        site: what is served.
    """

    def __init__(self, stream: trio.abc.Stream, site: Site) -> None:
        self._stream: Final = stream
        self._site: Final = site
        self._parser: Final = h11.Connection(h11.SERVER, max_incomplete_event_size=_MOST_HEAD_BYTES)
        self._head = trio.CancelScope()
        self._is_over = False

    async def serve(self) -> Upgrade | None:
        """Answer requests until the connection ends or asks for an upgrade.

        Raises:
            trio.TooSlowError: it does not take its answer.
            trio.BrokenResourceError: it is gone.
        """
        with self._site.admission.present(self):
            while True:
                try:
                    request = await self._next_request()
                except h11.RemoteProtocolError as error:
                    return await self._answer_nonsense(error)
                if request is None:
                    return None
                if _is_upgrade(request):
                    unread = self._parser.trailing_data[0]
                    return Upgrade(request, unread, by_name(request.headers))
                if not await self._answer(request):
                    return await self._linger()
                self._parser.start_next_cycle()

    async def refuse(self, answer: Answer) -> None:
        """Answer the upgrade that is asked for, or whatever was to come: there will be none.

        Raises:
            trio.TooSlowError: it does not take its answer.
            trio.BrokenResourceError: it is gone.
        """
        await self._send(answer, is_last=True, has_body=True)
        await self._linger()

    # ---- being seen out --------------------------------------------------------------------

    def stop_reading(self) -> None:
        """Go on: it may ask whether the server is ready."""

    def close(self) -> None:
        """End it between two requests, after the answer that is on its way."""
        self._is_over = True
        self._head.cancel()

    # ---- one request -----------------------------------------------------------------------

    async def _next_request(self) -> h11.Request | None:
        """Read up to the end of a request; None if there will be none.

        It has its time as a whole, however it is cut into bytes.
        """
        if self._is_over:
            return None
        self._head = trio.CancelScope(deadline=trio.current_time() + _HEAD_TIMEOUT)
        with self._head:
            return await self._read_head()
        return None

    async def _read_head(self) -> h11.Request | None:
        request: h11.Request | None = None
        while True:
            event = self._parser.next_event()
            if event is h11.NEED_DATA:
                self._parser.receive_data(bytes(await self._stream.receive_some(_RECEIVE_BYTES)))
            elif isinstance(event, h11.Request):
                request = event
                if _is_upgrade(request) or _has_body(request):
                    return request
            elif isinstance(event, h11.EndOfMessage):
                return request
            else:
                return None

    async def _answer(self, request: h11.Request) -> bool:
        """Answer a request; tell whether another may follow."""
        path = request.target.decode("ascii", "replace").partition("?")[0]
        answer = choose_answer(request.method.decode("ascii", "replace"), path, self._site)
        is_last = _has_body(request) or not self._site.admission.is_open
        await self._send(answer, is_last=is_last, has_body=request.method != b"HEAD")
        return self._parser.our_state is h11.DONE and self._parser.their_state is h11.DONE

    async def _answer_nonsense(self, error: h11.RemoteProtocolError) -> None:
        if self._parser.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            await self.refuse(Answer(error.error_status_hint, b"the request is not HTTP\n"))
        else:
            await self._linger()

    async def _send(self, answer: Answer, *, is_last: bool, has_body: bool) -> None:
        headers = answer.all_headers()
        if is_last:
            headers.append((b"Connection", b"close"))
        parser = self._parser
        data = parser.send(h11.Response(status_code=answer.status, headers=headers)) or b""
        if has_body:
            data += parser.send(h11.Data(data=answer.body)) or b""
        data += parser.send(h11.EndOfMessage()) or b""
        # One that reads nothing is not waited for: the half answer ends its connection.
        with trio.fail_after(_SEND_TIMEOUT):
            await self._stream.send_all(data)

    async def _linger(self) -> None:
        """Let the peer read our answer before the connection is closed.

        Closing with bytes unread resets the connection, and with it the answer may be lost
        (RFC 9112, section 9.6). So the peer is told that nothing more comes, and read for a while.
        """
        with trio.move_on_after(_LINGER):
            if isinstance(self._stream, trio.SocketStream):  # TLS has no half of its own to close
                await self._stream.send_eof()
            while await self._stream.receive_some(_RECEIVE_BYTES):
                pass


def _header(request: h11.Request, name: bytes) -> bytes:
    return next((value for key, value in request.headers if key == name), b"")


def _is_upgrade(request: h11.Request) -> bool:
    """Tell whether a request asks for a WebSocket (RFC 6455, section 4.1)."""
    return request.method == b"GET" and _header(request, b"upgrade").lower() == b"websocket"


def _has_body(request: h11.Request) -> bool:
    """Tell whether a body follows: it is not read, and the connection is closed after it."""
    length = _header(request, b"content-length")
    return bool(_header(request, b"transfer-encoding")) or length not in (b"", b"0")
