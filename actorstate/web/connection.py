"""One WebSocket, attached to a token.

Two tasks: one reads frames and posts them to the token actor, one owns the sending side. Only
the writer ever sends, because a send that is cancelled midway leaves half a frame in the stream;
then there is nothing left to do with the socket but to close it, and that is what happens.

The reader also looks after the time, since most of its own it waits: what it waits for is cut off
when something falls due, and begun anew. No frame costs a timer, as all that is due gets due later
with what happens, and never earlier: who looks when the first is due, and finds what happened
since, knows when to look again.
"""

from __future__ import annotations

import logging
import math
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, NoReturn, Protocol, TypeVar, final

import trio
from trio_websocket import ConnectionClosed

from actorstate.actors.messages import Attach, Detach, Event, Failure, Notice, Refresh
from actorstate.actors.runtime import Bell, Mailbox
from actorstate.exceptions import ActorDeadError
from actorstate.state.router import Router
from actorstate.web.outbox import Outbox
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
from actorstate.web.site import Site

logger: Final = logging.getLogger("actorstate.web")

GOING_AWAY: Final = 1001
"""The close code after which a client shall reconnect (RFC 6455, section 7.4.1)."""
POLICY_VIOLATION: Final = 1008
TRY_AGAIN_LATER: Final = 1013
WRONG_PROTOCOL: Final = 4002

T = TypeVar("T")

_HELLO_TIMEOUT: Final = 10.0  # seconds
_CLOSE_TIMEOUT: Final = 0.3  # seconds to wait for the peer to answer our close


class Socket(Protocol):
    """What a connection needs of a WebSocket: one of trio-websocket, or a link in memory."""

    async def get_message(self) -> str | bytes:
        """Wait for the next message of the peer. If cancelled, none is lost.

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
        site: what the app has for those who connect.
        handshake: what came with its request.
    """

    def __init__(self, socket: Socket, site: Site, handshake: Handshake) -> None:
        self._socket: Final = socket
        self._site: Final = site
        self._handshake: Final = handshake
        self._session: Final = secrets.token_hex(8)
        self._outbox: Final = Outbox()
        self._bell: Bell | None = None
        self._next: Notice | None = None
        self._mailbox: Mailbox | None = None
        self._event: Event | None = None
        self._sends_since: float | None = None
        self._instance = ""
        self._router: Router | None = None
        self._scope: Final = trio.CancelScope()
        self._reading: Final = trio.CancelScope()
        self._is_closing = False
        self._code = GOING_AWAY

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
        return self._next is None and self._outbox.is_empty

    def send(self, notice: Notice) -> None:
        """Put a notice into the outbox; see `actorstate.actors.messages.Connection`."""
        if not self._outbox.put(notice):
            logger.info("connection %s does not read; closing it", self._session)
            self._scope.cancel()
        if self._bell is not None and self._bell.sleeps:
            # On its way from here on, so that nothing is merged for a client that keeps up.
            self._next = self._outbox.take()
            self._bell.ring()

    def close(self) -> None:
        """End the connection once what lies in the outbox is sent; its client reconnects."""
        self._is_closing = True
        if self._bell is None:
            self._scope.cancel()
        else:
            self._scope.deadline = trio.current_time() + _CLOSE_TIMEOUT
            self._bell.ring()

    def stop_reading(self) -> None:
        """Take no more frames, and go on to send: the server stops once all is done and shown.

        What was read and not handed over is as if it had not come; nobody was told that it is done.
        """
        self._reading.cancel()

    async def run(self) -> None:
        """Serve the connection until it ends. Never raises for what the peer does."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._write)
                    self._code = await self._read()
                    nursery.cancel_scope.cancel()
        finally:
            with trio.move_on_after(_CLOSE_TIMEOUT, shield=True):
                await self._socket.aclose(self._code)

    async def _write(self) -> None:
        self._bell = Bell()
        try:
            while True:
                while (notice := self._next or self._outbox.take()) is not None:
                    self._next = None
                    self._sends_since = trio.current_time()
                    await self._socket.send_message(encode(notice, self._session))
                    self._sends_since = None
                if self._is_closing:
                    break
                if self._outbox.wants_welcome() and self._mailbox is not None:
                    self._mailbox.post_always(Refresh(self))
                await self._bell.sleep()
        except (ConnectionClosed, ActorDeadError):
            pass
        self._scope.cancel()

    async def _read(self) -> int:
        """Read until the end; give the code to close with."""
        try:
            with self._reading:
                return await self._read_frames()
            if self._mailbox is not None:
                await self._watched(trio.sleep_forever)  # the actor closes this when it has ended
        except (ConnectionClosed, ActorDeadError):
            pass
        finally:
            if self._mailbox is not None:
                _detach(self, self._mailbox)
        return GOING_AWAY

    async def _read_frames(self) -> int:
        hello = await self._read_hello()
        if hello is None:
            return POLICY_VIOLATION
        self._instance = hello.instance
        token = hello.token if hello.token is not None else self._site.mint.mint()
        if not self._site.has_room_for(token):
            return await self._turn_away()
        self._router = to_router(hello, token, self._handshake, self._session)
        mailbox = self._site.directory.ref(token).mailbox
        # The path as the browser asked for the page by it, so that routes are the same here.
        on_load = self._site.on_load.get(self._router.path, ())
        await mailbox.post_when_room(Attach(self, on_load))
        self._mailbox = mailbox
        return await self._watched(lambda: self._read_events(mailbox))

    async def _turn_away(self) -> NoReturn:
        """Let the tab come again later: there are as many in memory as may be."""
        self.send(Failure("unavailable", "there are too many tabs at the moment"))
        self._code = TRY_AGAIN_LATER
        self.close()
        await trio.sleep_forever()  # until the writer has told, and ends this

    async def _read_hello(self) -> Hello | None:
        with trio.move_on_after(_HELLO_TIMEOUT):
            while True:
                frame = self._decode(await self._socket.get_message())
                if isinstance(frame, Hello):
                    if frame.token is None or self._site.mint.is_ours(frame.token):
                        return frame
                    # Nothing is created for it, and nobody asked: the client may begin anew.
                    text = "this token was not given out here; say hello again without it"
                    self.send(Failure("bad_token", text, where="$.token"))
                elif frame is not None:
                    self.send(Failure("bad_frame", "expected a hello first", frame.seq, "$.t"))
        return None

    async def _read_events(self, mailbox: Mailbox) -> NoReturn:
        """Read events for ever. May be cut off and begun anew; no event is lost by that."""
        while True:
            if self._event is not None:
                # Waiting here is the back pressure: a full mailbox stops the reading of the
                # socket, and TCP makes the sender wait.
                await mailbox.post_when_room(self._event)
                self._event = None
            frame = self._decode(await self._socket.get_message())
            if isinstance(frame, EventFrame):
                self._event = to_event(frame, self._instance)
            elif frame is not None:
                self.send(Failure("bad_frame", "there was a hello already", where="$.t"))

    def _decode(self, data: str | bytes) -> Hello | EventFrame | None:
        try:
            return decode(data)
        except FrameError as error:
            self.send(Failure("bad_frame", str(error), where=error.where))
            return None

    # ---- what is due -----------------------------------------------------------------------

    async def _watched(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do what may be cut off and begun anew, and look after the connection meanwhile."""
        while True:
            with trio.CancelScope(deadline=self._look()):
                return await work()

    def _look(self) -> float:
        """Do what is due, and tell when to look again."""
        now = trio.current_time()
        send_timeout = self._site.limits.send_timeout
        since = now if self._sends_since is None else self._sends_since
        if since + send_timeout <= now:
            logger.info("connection %s took nothing for %g s", self._session, send_timeout)
            self._scope.cancel()
            return math.inf
        return since + send_timeout


def _detach(connection: SocketConnection, mailbox: Mailbox) -> None:
    with suppress(ActorDeadError):  # and its connections are gone with it
        mailbox.post_always(Detach(connection))
