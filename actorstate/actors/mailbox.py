"""The mailbox of an actor: bounded, put into from any thread, and closed when the actor ends."""

from __future__ import annotations

import collections
import contextlib
import math
import threading
from typing import Any, Final, Protocol, final

import trio

from actorstate.actors.futures import Bell, TrioFuture
from actorstate.exceptions import ActorDeadError, MailboxFullError
from actorstate.state.record import Record

FAIR_SHARE: Final = 32
"""After so many messages or turns in a row others are let run: a mailbox that is never empty must
not starve the rest of the process. By count and not by clock, so a schedule can be replayed."""


@final
class Envelope(Record, frozen=True, eq=False):
    """A message in a mailbox: what pykka's own is, made in half the time."""

    message: Any
    reply_to: TrioFuture[Any] | None = None
    """Where the answer goes; None if nobody asked."""

    def answer(self, value: Any) -> None:
        """Tell who asked, if somebody did and was not told before."""
        if self.reply_to is not None and not self.reply_to.is_done:  # by `TrioActor.reply`
            self.reply_to.set(value)

    def refuse(self, error: Exception) -> None:
        """Tell who asked that it comes to nothing.

        Raises:
            Exception: the error itself, if nobody asked.
        """
        if self.reply_to is None:
            raise error
        self.reply_to.fail(error)


class Order(Protocol):
    """Decides which message of a mailbox is taken next, where that is not the first. For tests."""

    def arrived(self, mailbox: Mailbox, message: Any) -> None:
        """Note a message that was put into a mailbox, in the step of who put it."""
        ...

    async def choose(self, mailbox: Mailbox) -> int | None:
        """Wait until one of the messages of a mailbox is to be taken. Called by its actor.

        Returns:
            The message's place among those that lie there; None to look again whether to wait.
        """
        ...

    def closed(self, mailbox: Mailbox) -> None:
        """Note that a mailbox takes no more messages: `choose` is to give None there."""
        ...


@final
class Mailbox:
    """The bounded queue of an actor: any thread puts, the actor alone gets.

    Args:
        capacity: how many messages it holds.
    """

    def __init__(self, capacity: float = math.inf) -> None:
        self.capacity = capacity
        self.order: Order | None = None
        """What decides which message is next; None for the one that came first."""
        self._envelopes: collections.deque[Envelope] = collections.deque()
        self._lock = threading.Lock()
        self._closed: str | None = None
        self._bell: Bell | None = None
        self._room: trio.lowlevel.ParkingLot | None = None
        """Where those wait who would put a message; None as long as nobody had to."""
        self._streak = 0
        self.is_paused: bool = False
        """Whether no message is given out."""

    def __len__(self) -> int:
        return len(self._envelopes)

    def empty(self) -> bool:
        """Whether no message is waiting."""
        return not self._envelopes

    def waiting(self) -> list[Any]:
        """Give the messages that lie here, in the order in which they came."""
        with self._lock:  # a thread may put one meanwhile
            return [envelope.message for envelope in self._envelopes]

    def put(self, envelope: Envelope, /, *, always: bool = False) -> None:
        """Put a message at the end; from any thread, without waiting.

        Args:
            envelope: the message.
            always: put it whatever the capacity.

        Raises:
            MailboxFullError: it holds `capacity` messages.
            ActorDeadError: the actor has ended. If the envelope has a future to reply to, that
                gets the error instead.
        """
        with self._lock:
            closed = self._closed
            if closed is None:
                if len(self._envelopes) >= self.capacity and not always:
                    message = f"the mailbox holds {self.capacity} messages; wait until it has room"
                    raise MailboxFullError(message)
                self._envelopes.append(envelope)
        if closed is not None:
            envelope.refuse(ActorDeadError(closed))
            return
        if self._bell is not None and not self.is_paused:  # after the message is in; see `get`
            self._bell.ring()
        if self.order is not None:
            self.order.arrived(self, envelope.message)

    def post_always(self, message: Any) -> None:
        """Put a message that must neither be refused nor wait, whatever the capacity.

        For what follows from a message taken out of here (an actor that waited for room in its
        own mailbox would wait for itself), and for what frees something.

        Raises:
            ActorDeadError: the actor has ended.
        """
        self.put(Envelope(message), always=True)

    def withdraw(self, reply_to: TrioFuture[Any]) -> None:
        """Take back the message that was to be answered here. In the actor's trio thread only.

        Without effect if it lies here no more.
        """
        with self._lock:
            for place, envelope in enumerate(self._envelopes):
                if envelope.reply_to is reply_to:
                    del self._envelopes[place]
                    break
        if self._room is not None and self.has_room:
            self._room.unpark()

    def pause(self) -> None:
        """Give out no message until `go_on`: the actor is busy, though its loop is not."""
        self.is_paused = True

    def step_in(self) -> None:
        """Pause, to do a message in the place of an actor that is idle, as if that had been woken.

        Not even a cancellation reaches it until `step_out`.
        """
        assert self._bell is not None, "the actor is idle, and so waits"
        self.pause()
        self._bell.hold()

    def step_out(self, first: Any = None) -> None:
        """Go on after `step_in`, with a message before all others; None for no message.

        The actor takes it in any case, cancelled or not.
        """
        assert self._bell is not None, "somebody has stepped in"
        if first is not None:
            with self._lock:
                self._envelopes.appendleft(Envelope(first))
        self.go_on()
        self._bell.let_go()

    def go_on(self, *, always_wake: bool = False) -> None:
        """Give out messages again. In the actor's trio thread only.

        Args:
            always_wake: let the actor look up even if no message is there.
        """
        self.is_paused = False
        is_due = self._envelopes or always_wake  # a thread that puts looks after it has put
        if is_due and self._bell is not None:
            self._bell.ring()

    @property
    def is_idle(self) -> bool:
        """Whether nothing lies here, and the actor waits for that to change."""
        is_waited_for = self._bell is not None and self._bell.sleeps
        return is_waited_for and not self.is_paused and not self._envelopes

    @property
    def is_waited_for(self) -> bool:
        """Whether the actor sleeps until it is given a message, and has not been cancelled."""
        return self._bell is not None and self._bell.sleeps

    @property
    def has_room(self) -> bool:
        """Whether nobody has to wait to put a message; also true once it is closed, and empty."""
        return len(self._envelopes) < self.capacity

    async def post_when_room(self, message: Any) -> None:
        """Wait for room, then put a message at the end. In the actor's trio thread only.

        Waits, and is a checkpoint, only if there is no room. If cancelled, nothing was put.

        Raises:
            ActorDeadError: the actor has ended.
        """
        while True:
            while not self.has_room:
                self._room = self._room or trio.lowlevel.ParkingLot()
                await self._room.park()
            # Another thread may be faster between the look and the put.
            with contextlib.suppress(MailboxFullError):
                self.put(Envelope(message))
                return

    def take(self) -> Envelope | None:
        """Take out the next message, if nothing is to be waited for; else `get` has to.

        That gives no more than 32 messages in a row, so that who works them off lets others run.
        """
        is_due = self._streak < FAIR_SHARE and not self.is_paused and self.order is None
        if not (is_due and self._envelopes):
            return None
        self._streak += 1
        envelope = self._envelopes.popleft()
        if self._room is not None:
            self._room.unpark()
        return envelope

    async def get(self) -> Envelope | None:
        """Wait for the next message and take it out; give None if there is none after all.

        A checkpoint whenever it waits, and at least once in every 32 messages. If cancelled, no
        message was taken.
        """
        self._streak += 1
        if self._streak > FAIR_SHARE:
            self._streak = 0
            await trio.lowlevel.checkpoint()
            if not self._envelopes:  # the last was taken back: who waits for that shall look
                return None
        if self.order is not None:
            return await self._get_chosen(self.order)
        # The bell hangs before the look into the mailbox: a thread that puts after the look finds
        # it, and its ring is heard in this thread, after this task has gone to sleep.
        if self._bell is None:
            self._bell = Bell()
        if not self._envelopes or self.is_paused:
            if self._closed is not None:  # while this let others run
                return None
            self._streak = 0
            await self._bell.sleep()
            if not self._envelopes or self.is_paused:
                return None
        return self.get_nowait()

    @property
    def first(self) -> Any:
        """The next message; None if none is there."""
        return self._envelopes[0].message if self._envelopes else None

    def get_nowait(self) -> Envelope:
        """Take out the next message; there has to be one."""
        envelope = self._envelopes.popleft()
        if self._room is not None:
            self._room.unpark()
        return envelope

    async def _get_chosen(self, order: Order) -> Envelope | None:
        place = await order.choose(self)
        if place is None:
            return None
        envelope = self._envelopes[place]
        del self._envelopes[place]
        if self._room is not None:
            self._room.unpark()
        return envelope

    def close_if_empty(self, reason: str) -> bool:
        """Refuse messages from now on, unless one is there that has to be answered first.

        Returns:
            Whether it is closed.
        """
        with self._lock:
            if not self._envelopes:
                self._closed = reason
        if self._closed is not None and self._bell is not None:
            self._bell.ring()
        if self._closed is not None and self.order is not None:
            self.order.closed(self)
        return self._closed is not None

    def close(self, reason: str) -> list[Envelope]:
        """Refuse messages from now on, with `ActorDeadError`; give those that lie here."""
        with self._lock:
            self._closed = reason
            left, self._envelopes = self._envelopes, collections.deque()
        if self._room is not None:
            self._room.unpark_all()
        return list(left)
