"""One WebSocket, attached to a token.

Two tasks: one reads frames and posts them to the token actor, one owns the sending side. Only
the writer ever sends, because a send that is cancelled midway leaves half a frame in the stream;
then there is nothing left to do with the socket but to close it, and that is what happens.

The reader also looks after the time (see ``pulse``), since most of its own it waits: what it waits
for is cut off when something falls due, and begun anew.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, NoReturn, Protocol, TypeVar, final

import trio
from trio_websocket import ConnectionClosed

from actorstate.actors.futures import Bell
from actorstate.actors.mailbox import Mailbox
from actorstate.actors.messages import (
    Ack,
    Attach,
    Connection,
    Detach,
    Event,
    Failure,
    Notice,
    Patch,
    Refresh,
    Welcome,
)
from actorstate.actors.runtime import TrioActorRef
from actorstate.actors.token_actor import TokenActor
from actorstate.exceptions import ActorDeadError
from actorstate.state.router import Router
from actorstate.web.in_flight import InFlight, is_small
from actorstate.web.outbox import Outbox
from actorstate.web.protocol import (
    EventFrame,
    Frame,
    FrameError,
    Handshake,
    Hello,
    Ping,
    Pong,
    decode,
    encode,
    to_router,
)
from actorstate.web.pulse import Due, Pulse
from actorstate.web.rate import Allowance
from actorstate.web.site import Site

GOING_AWAY: Final = 1001
"""The close code after which a client shall reconnect (RFC 6455, section 7.4.1)."""
POLICY_VIOLATION: Final = 1008
TRY_AGAIN_LATER: Final = 1013
TOO_LARGE: Final = 1009
REPLACED: Final = 4001
WRONG_PROTOCOL: Final = 4002

T = TypeVar("T")

_WITH_ACK: Final = (Patch, Ack, Welcome)

_FAULTS: Final = {
    Due.NO_TAKER: "connection %s takes nothing; closing it",
    Due.SILENCE: "connection %s is silent; closing it",
}

_HELLO_TIMEOUT: Final = 10.0  # seconds
_CLOSE_TIMEOUT: Final = 0.3  # seconds to wait for the peer to answer our close

# How long another page load with the same token has to say that it is there (seconds). If it does,
# who comes is a duplicate of that tab; if not, it is that tab, loaded again.
_DUPLICATE_WAIT: Final = 1.0


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
        self._next: Notice | Ping | None = None
        self._token_actor: TrioActorRef[TokenActor] | None = None
        self._event: Event | None = None
        self._size = 0  # of the message that was read last
        self._in_flight: Final = InFlight(site.limits.max_message_bytes)
        self._landed: trio.Event | None = None
        self._contest: _Contest | None = None
        self._sign: trio.Event | None = None
        self._is_over = False
        now = trio.current_time()
        self._pulse: Final = Pulse(site.limits, now)
        self._allowance: Final = Allowance(site.limits.rate_limit, site.limits.rate_burst, now)
        self.instance: str = ""
        """The page load behind it."""
        self._router: Router | None = None
        self._scope: trio.CancelScope | None = None
        self._watch: trio.CancelScope | None = None
        self._is_stopped = False
        self._is_closing = False
        self._code = GOING_AWAY

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
        if self._contest is not None and isinstance(notice, Welcome):
            self._contest.decided.set()
        if isinstance(notice, _WITH_ACK):
            self._land(notice.ack)
        if not self._outbox.put(notice):
            self._site.admission.log.info("connection %s is too slow; closing it", self._session)
            self._end()
        self._wake_writer()

    def _land(self, ack: int) -> None:
        """Let the reader go on that waited until events are done."""
        self._in_flight.note_done(ack)
        if self._landed is not None:
            self._landed.set()

    def _wake_writer(self) -> None:
        if self._bell is not None and self._bell.sleeps:
            # On its way from here on, so that nothing is merged for a client that keeps up.
            self._next = self._outbox.take()
            self._bell.ring()

    def close(self, code: int = GOING_AWAY) -> None:
        """End the connection once what lies in the outbox is sent; its client reconnects."""
        self._is_closing, self._code = True, code
        if self._scope is not None:
            self._scope.deadline = trio.current_time() + _CLOSE_TIMEOUT
        if self._bell is not None:  # else the writer will see, when it begins
            self._bell.ring()

    def _end(self) -> None:
        """End the connection at once."""
        assert self._scope is not None, "it runs"
        self._scope.cancel()

    def replace(self) -> None:
        """End the connection: another one has come in its place."""
        self.close(REPLACED)

    def contest(self, rivals: tuple[Connection, ...], *, was_here: bool) -> None:
        """Note that it was not attached; see `actorstate.actors.messages.Connection`."""
        assert self._contest is not None, "it was to be attached whoever is here"
        self._contest.rivals, self._contest.was_here = rivals, was_here
        self._contest.decided.set()

    async def gives_sign(self, within: float) -> bool:
        """Ask the page load for a sign, and tell whether there is one in time.

        A pong is one. What else comes may have been sent before the page was left.
        """
        if self._is_over:
            return False
        sign = self._sign = trio.Event() if self._sign is None else self._sign
        self._ask()
        with trio.move_on_after(within):
            await sign.wait()
        return sign.is_set() and not self._is_over

    def stop_reading(self) -> None:
        """Take no more frames, and go on to send: the server stops once all is done and shown.

        What was read and not handed over is as if it had not come; nobody was told that it is done.
        """
        self._is_stopped = True
        if self._watch is not None:
            self._watch.cancel()

    async def run(self) -> None:
        """Serve the connection until it ends. Never raises for what the peer does."""
        try:
            async with trio.open_nursery() as nursery:
                self._scope = nursery.cancel_scope
                nursery.start_soon(self._write)
                await self._read()
                nursery.cancel_scope.cancel()
        finally:
            self._is_over = True
            self._give_sign()  # to who waits for one: there will be none
            with trio.move_on_after(_CLOSE_TIMEOUT, shield=True):
                await self._socket.aclose(self._code)

    async def _write(self) -> None:
        self._bell = Bell()
        silence = self._site.limits.longest_silence
        try:
            while True:
                while (notice := self._next or self._outbox.take()) is not None:
                    self._next = None
                    self._pulse.sends(trio.current_time())
                    await self._socket.send_message(encode(notice, self._session, silence))
                    self._pulse.sent()
                if self._is_closing:
                    break
                if self._token_actor is not None and self._outbox.claim_welcome():
                    self._token_actor.mailbox.post_always(Refresh(self))
                await self._bell.sleep()
        except ConnectionClosed:
            pass
        self._end()

    async def _read(self) -> None:
        try:
            with suppress(_Stopped):
                token_actor = await self._say_hello()
                await self._restarted_when_due(lambda: self._read_events(token_actor))
            if self._token_actor is not None:
                await self._look_on()
        except (ConnectionClosed, ActorDeadError):
            pass
        finally:
            if self._token_actor is not None:
                _detach(self, self._token_actor.mailbox)

    async def _say_hello(self) -> TrioActorRef[TokenActor]:
        """Wait for the hello, and be attached to what it asks for; give who takes the events."""
        hello = await self._read_hello()
        self.instance = hello.instance
        if hello.token is None or not await self._come_back(hello, hello.token):
            await self._attach(hello, self._site.mint.mint(), None)
        assert self._token_actor is not None, "it has been attached"
        return self._token_actor

    async def _attach(
        self, hello: Hello, token: str, instead_of: tuple[Connection, ...] | None
    ) -> None:
        """Ask to see a tab."""
        if not self._site.has_room_for(token):
            self.send(Failure("unavailable", "there are too many tabs at the moment"))
            await self._hang_up(TRY_AGAIN_LATER)
        self._router = to_router(hello, token, self._handshake, self._session)
        token_actor = self._site.directory.ref(token)
        # The path as the browser asked for the page by it, so that routes are the same here.
        on_load = self._site.on_load.get(self._router.path, ())
        attach = Attach(self, on_load, hello.shown, hello.nth, instead_of)
        await self._restarted_when_due(lambda: token_actor.mailbox.post_when_room(attach))
        self._token_actor = token_actor

    async def _come_back(self, hello: Hello, token: str) -> bool:
        """Get a tab back; tell whether it was not somebody else's, who is alive.

        No event is read before it is known for which tab it is.
        """
        gone: tuple[Connection, ...] = ()
        while True:
            contest = self._contest = _Contest()
            await self._attach(hello, token, gone)
            await self._restarted_when_due(contest.decided.wait)
            self._contest = None
            if not contest.rivals:
                return True
            if await _is_anyone_there(contest.rivals):
                break
            gone += contest.rivals
        if contest.was_here:  # the page load that others have replaced
            await self._hang_up(REPLACED)
        return False

    async def _hang_up(self, code: int) -> NoReturn:
        self._is_stopped = True  # also if this is cut off, to look after the time
        self.close(code)
        await trio.sleep_forever()  # until the writer has told what there is, and ends this

    async def _read_hello(self) -> Hello:
        with trio.move_on_after(_HELLO_TIMEOUT) as self._watch:
            while not self._is_stopped:
                frame = await self._receive()
                if isinstance(frame, Hello):
                    if frame.token is None or self._site.mint.is_ours(frame.token):
                        return frame
                    # Nothing is created for it, and nobody asked: the client may begin anew.
                    text = "this token was not given out here; say hello again without it"
                    self.send(Failure("bad_token", text, where="$.token"))
                elif frame is not None:
                    seq = frame.seq if isinstance(frame, EventFrame) else None
                    self.send(Failure("bad_frame", "expected a hello first", seq, "$.t"))
        if self._is_stopped:
            raise _Stopped
        return await self._hang_up(POLICY_VIOLATION)

    async def _read_events(self, token_actor: TrioActorRef[TokenActor]) -> NoReturn:
        """Read events for ever. May be cut off and begun anew; no event is lost by that."""
        while True:
            if self._event is not None:
                await self._hand_over(self._event, token_actor.mailbox)
                self._event = None
                self._pulse.heard(trio.current_time())  # nobody has listened meanwhile
            frame = await self._receive()
            if isinstance(frame, EventFrame):
                event = Event(frame.name, frame.args, frame.seq, self.instance)
                if not (is_small(self._size) and token_actor.tell_at_once(event)):
                    self._event = event
            elif isinstance(frame, Pong):
                self._give_sign()
            elif isinstance(frame, Hello):
                self.send(Failure("bad_frame", "there was a hello already", where="$.t"))

    async def _hand_over(self, event: Event, mailbox: Mailbox) -> None:
        """Post an event. Waiting here is the back pressure: TCP makes the sender wait.

        For room in the mailbox, and until large events that came before are done.
        """
        while not self._in_flight.has_room_for(self._size):
            self._landed = trio.Event()
            await self._landed.wait()
        await mailbox.post_when_room(event)
        self._in_flight.add(event.seq or 0, self._size)

    def _give_sign(self) -> None:
        if self._sign is not None:
            self._sign.set()
            self._sign = None

    async def _receive(self) -> Frame | None:
        """Wait for the next frame; None for one that comes to nothing."""
        try:
            data = await self._socket.get_message()
        except ConnectionClosed as closed:
            if closed.reason is not None and closed.reason.code == TOO_LARGE:
                self._tell_too_large()  # so much that it was not even read
            raise
        now = trio.current_time()
        self._pulse.heard(now)
        self._size = len(data)
        if _is_larger(data, self._site.limits.max_message_bytes):
            await self._refuse_large()
        is_allowed = self._allowance.take(now)
        try:
            frame = decode(data)
        except FrameError as error:
            frame = None
            self.send(Failure("bad_frame", str(error), where=error.where))
        return frame if is_allowed else await self._refuse(frame)

    async def _refuse_large(self) -> NoReturn:
        self._tell_too_large()
        self.send(Failure("too_large", "this message is too large for the server"))
        await self._hang_up(TOO_LARGE)

    def _tell_too_large(self) -> None:
        most = self._site.limits.max_message_bytes
        self._site.admission.log.warning(
            "a client sends more than max_message_bytes=%d at once, and is sent away", most
        )

    async def _refuse(self, frame: Frame | None) -> None:
        """Let a frame come to nothing that came too fast; an event is settled by that."""
        limit = self._site.limits.rate_limit
        self._site.admission.log.warning(
            "a client sends more than rate_limit=%g frames a second, and is refused", limit
        )
        if isinstance(frame, EventFrame):
            self.send(Failure("rate_limited", "this page sends too much at once", frame.seq))
        elif not isinstance(frame, Pong):  # nobody sends others so often who means well
            await self._hang_up(POLICY_VIOLATION)

    # ---- what is due -----------------------------------------------------------------------

    async def _restarted_when_due(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do what may be cut off and begun anew, and look after the connection meanwhile.

        Raises:
            _Stopped: it was cut off because no more is to be read.
        """
        while not self._is_stopped:
            with trio.CancelScope(deadline=self._do_what_is_due()) as self._watch:
                return await work()
        raise _Stopped

    async def _look_on(self) -> NoReturn:
        """Look after the connection, and do no more: the actor closes it when it has ended."""
        while True:  # noqa: ASYNC110 - it is time that it waits for
            await trio.sleep_until(self._do_what_is_due())

    def _do_what_is_due(self) -> float:
        """Do what is due, and tell when to look again."""
        now = trio.current_time()
        if self._event is not None or self._contest is not None or self._is_stopped:
            self._pulse.heard(now)  # nobody listens
        due = self._pulse.due(now)
        if due in _FAULTS:
            self._site.admission.log.info(_FAULTS[due], self._session)
            self._end()
            return math.inf
        if due is Due.ASK:
            self._ask()
        return self._pulse.next_look(now)

    def _ask(self) -> None:
        """Ask the client for a sign, which is one for the client, too."""
        self._pulse.asked(trio.current_time())
        self._outbox.ping()
        self._wake_writer()


class _Stopped(Exception):  # noqa: N818 - nothing is wrong
    """No more frames are to be read."""


@final
class _Contest:
    """What is found of a connection that wants a tab back."""

    __slots__ = ("decided", "rivals", "was_here")

    def __init__(self) -> None:
        self.decided: Final = trio.Event()
        self.rivals: tuple[Connection, ...] = ()
        """Those that have the tab; none if the connection was attached."""
        self.was_here = False


async def _is_anyone_there(rivals: tuple[Connection, ...]) -> bool:
    for rival in rivals:
        if await rival.gives_sign(_DUPLICATE_WAIT):
            return True
    return False


def _is_larger(data: str | bytes, most: int) -> bool:
    """Tell whether a message has more bytes on the wire than it may have."""
    if isinstance(data, bytes):
        return len(data) > most
    return 4 * len(data) > most and len(data.encode(errors="surrogatepass")) > most


def _detach(connection: SocketConnection, mailbox: Mailbox) -> None:
    with suppress(ActorDeadError):  # and its connections are gone with it
        mailbox.post_always(Detach(connection))
