"""One WebSocket, attached to a token.

Two tasks: one reads frames and posts them to the token actor, one owns the sending side. Only
the writer ever sends, because a send that is cancelled midway leaves half a frame in the stream;
then there is nothing left to do with the socket but to close it, and that is what happens.
"""

from __future__ import annotations

import logging
import secrets
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, Protocol, final

import trio
from trio_websocket import ConnectionClosed

from actorstate.actors.directory import Directory
from actorstate.actors.messages import Attach, Detach, Failure, Notice
from actorstate.actors.runtime import Bell, Mailbox
from actorstate.exceptions import ActorDeadError
from actorstate.state.handlers import Invocation
from actorstate.state.router import Router
from actorstate.web.protocol import (
    EventFrame,
    FrameError,
    Handshake,
    Hello,
    decode,
    encode,
    to_event,
    to_router,
)
from actorstate.web.tokens import Mint

logger: Final = logging.getLogger("actorstate.web")

GOING_AWAY: Final = 1001
"""The close code after which a client shall reconnect (RFC 6455, section 7.4.1)."""
POLICY_VIOLATION: Final = 1008
WRONG_PROTOCOL: Final = 4002

# A client that reads nothing for so many notices is cut off; it gets the whole state when it
# reconnects, so nothing is lost but patience.
_OUTBOX_CAPACITY: Final = 1000
_HELLO_TIMEOUT: Final = 10.0  # seconds
_CLOSE_TIMEOUT: Final = 0.3  # seconds to wait for the peer to answer our close


class Socket(Protocol):
    """What a connection needs of a WebSocket: one of trio-websocket, or a link in memory."""

    async def get_message(self) -> str | bytes:
        """Wait for the next message of the peer.

        Raises:
            ConnectionClosed: there will be none.
        """
        ...

    async def send_message(self, message: str, /) -> None:
        """Send one. If cancelled, half of it may be sent, and the socket is of no more use.

        Raises:
            ConnectionClosed: the peer gets nothing any more.
        """
        ...

    async def aclose(self, code: int, /) -> None:
        """Close it, and wait for the peer to agree."""
        ...


@final
class SocketConnection:
    """The life of one WebSocket, from its hello to its close.

    Args:
        socket: the accepted socket.
        directory: where the token actors are.
        handshake: what came with its request.
        on_load: what is run when a page is loaded, by its route.
        mint: makes the tokens of new tabs, and knows its own.
    """

    def __init__(
        self,
        socket: Socket,
        directory: Directory,
        handshake: Handshake,
        on_load: Mapping[str, tuple[Invocation, ...]],
        mint: Mint,
    ) -> None:
        self._socket: Final = socket
        self._directory: Final = directory
        self._handshake: Final = handshake
        self._on_load: Final = on_load
        self._mint: Final = mint
        self._session: Final = secrets.token_hex(8)
        self._outbox: Final[deque[Notice]] = deque()
        self._bell: Bell | None = None
        self._instance = ""
        self._router: Router | None = None
        self._scope: Final = trio.CancelScope()
        self._is_closing = False

    @property
    def instance(self) -> str:
        """The page load behind it."""
        return self._instance

    @property
    def router(self) -> Router:
        """Where that page load is."""
        assert self._router is not None, "there was no hello yet"
        return self._router

    @property
    def has_sent_all(self) -> bool:
        """Whether nothing is left in the outbox; what is on its way is so already."""
        return not self._outbox

    def send(self, notice: Notice) -> None:
        """Put a notice into the outbox; see `actorstate.actors.messages.Connection`."""
        if len(self._outbox) >= _OUTBOX_CAPACITY:
            logger.info("connection %s does not read; closing it", self._session)
            self._scope.cancel()
            return
        self._outbox.append(notice)
        if self._bell is not None:
            self._bell.ring()

    def close(self) -> None:
        """End the connection once what lies in the outbox is sent; its client reconnects."""
        self._is_closing = True
        if self._bell is None:
            self._scope.cancel()
        else:
            self._scope.deadline = trio.current_time() + _CLOSE_TIMEOUT
            self._bell.ring()

    async def run(self) -> None:
        """Serve the connection until it ends. Never raises for what the peer does."""
        code = GOING_AWAY
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._write)
                    code = await self._read()
                    nursery.cancel_scope.cancel()
        finally:
            with trio.move_on_after(_CLOSE_TIMEOUT, shield=True):
                await self._socket.aclose(code)

    async def _write(self) -> None:
        self._bell = Bell()
        try:
            while True:
                while self._outbox:
                    notice = self._outbox.popleft()
                    await self._socket.send_message(encode(notice, self._session))
                if self._is_closing:
                    break
                await self._bell.sleep()
        except ConnectionClosed:
            pass
        self._scope.cancel()

    async def _read(self) -> int:
        """Read until the end; give the code to close with."""
        try:
            hello = await self._read_hello()
            if hello is None:
                return POLICY_VIOLATION
            self._instance = hello.instance
            token = hello.token if hello.token is not None else self._mint.mint()
            self._router = to_router(hello, token, self._handshake, self._session)
            mailbox = self._directory.ref(token).mailbox
            # The path as the browser asked for the page by it, so that routes are the same here.
            on_load = self._on_load.get(self._router.path, ())
            await mailbox.post_when_room(Attach(self, on_load))
            try:
                await self._read_events(mailbox)
            finally:
                _detach(self, mailbox)
        except (ConnectionClosed, ActorDeadError):
            pass
        return GOING_AWAY

    async def _read_hello(self) -> Hello | None:
        with trio.move_on_after(_HELLO_TIMEOUT):
            while True:
                frame = self._decode(await self._socket.get_message())
                if isinstance(frame, Hello):
                    if frame.token is None or self._mint.is_ours(frame.token):
                        return frame
                    # Nothing is created for it, and nobody asked: the client may begin anew.
                    text = "this token was not given out here; say hello again without it"
                    self.send(Failure("bad_token", text, where="$.token"))
                elif frame is not None:
                    self.send(Failure("bad_frame", "expected a hello first", frame.seq, "$.t"))
        return None

    async def _read_events(self, mailbox: Mailbox) -> None:
        while True:
            frame = self._decode(await self._socket.get_message())
            if isinstance(frame, EventFrame):
                # Waiting here is the back pressure: a full mailbox stops the reading of the
                # socket, and TCP makes the sender wait.
                await mailbox.post_when_room(to_event(frame, self._instance))
            elif frame is not None:
                self.send(Failure("bad_frame", "there was a hello already", where="$.t"))

    def _decode(self, data: str | bytes) -> Hello | EventFrame | None:
        try:
            return decode(data)
        except FrameError as error:
            self.send(Failure("bad_frame", str(error), where=error.where))
            return None


def _detach(connection: SocketConnection, mailbox: Mailbox) -> None:
    with suppress(ActorDeadError):  # and its connections are gone with it
        mailbox.post_always(Detach(connection))
