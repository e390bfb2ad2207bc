"""pykka's actors on trio.

pykka names three hooks for new kinds of actors: the inbox, the future, the start of the loop.
This module overrides them, and is the only one that knows pykka's private names.

What differs from pykka's own kinds, and why:

- The loop is a trio task, in the nursery of its parent; children run in a nursery of the actor's
  own. Structure is supervision: an actor that ends takes its children along, and an actor that
  fails ends alone. (pykka's loop answers a BaseException by stopping *all* actors. To trio,
  ``Cancelled`` is one, and means no more than that this one shall end.)
- ``on_receive``, ``on_start`` and ``on_stop`` may be async.
- An actor may answer before it has done with a message (`TrioActor.reply`), as Erlang's
  ``gen_server:reply`` does: a turn is granted by the answer to its request, and goes on after it.
- Mailboxes are bounded, and closed when the actor ends. pykka checks that an actor lives and then
  puts, which leaves a gap in which a message is put and never answered.
- Nothing registers in pykka's global `ActorRegistry`: it removes by a linear search, and it is
  shared by all apps of a process.
"""

from __future__ import annotations

import collections
import contextlib
import contextvars
import inspect
import logging
import math
import sys
import threading
from collections.abc import Awaitable, Callable, Generator, Sequence
from types import CoroutineType, TracebackType
from typing import Any, Final, Literal, Protocol, Self, TypeVar, cast, final, overload

import attrs
import pykka
import trio
from pykka._actor import ActorInbox
from pykka.messages import (
    ProxyCall,
    ProxyGetAttr,
    ProxySetAttr,
    _ActorStop,  # pyright: ignore[reportPrivateUsage] - its public face is ref.stop()
)

from actorstate.exceptions import ActivationError, ActorDeadError, MailboxFullError
from actorstate.state.record import Record

T = TypeVar("T")

ExcInfo = tuple[type[BaseException] | None, BaseException | None, TracebackType | None]

logger: Final = logging.getLogger("actorstate.actors")

PASSING: Final = (trio.Cancelled, KeyboardInterrupt)
"""What is nobody's failure: it goes through handlers, tasks and actors to who sent it."""


def unwrap(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """Give the one exception of a group that ``except*`` made around it; else the group."""
    return errors.exceptions[0] if len(errors.exceptions) == 1 else errors


FAIR_SHARE: Final = 32
"""After so many messages or turns in a row others are let run: a mailbox that is never empty must
not starve the rest of the process. By count and not by clock, so a schedule can be replayed."""


@final
class Envelope(Record, frozen=True, eq=False):
    """A message in a mailbox: what pykka's own is, made in half the time."""

    message: Any
    reply_to: TrioFuture[Any] | None = None
    """Where the answer goes; None if nobody asked."""


@final
class Rest(Record, frozen=True, eq=False):
    """What is still to be awaited of a message that was begun in the step of who brought it."""

    work: Awaitable[Any]


@final
class TrioFuture(pykka.Future[T]):
    """A value that will be there: ``await`` it in trio, or ``get`` it in another thread.

    Any number may wait, in tasks and threads alike. Cancelling a waiter forgets that waiter and
    nothing else.
    """

    is_done: bool = False
    """Whether the value, or an exception, is there."""
    is_abandoned: bool = False
    """Whether nobody will fetch the value."""
    _value: Any = None
    _error: BaseException | None = None

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[], object]] = []

    def __repr__(self) -> str:
        done = self._value if self._error is None else self._error
        return f"<TrioFuture {repr(done) if self.is_done else 'pending'}>"

    def set(self, value: T | None = None) -> None:
        """Set the value, and wake who waits.

        Raises:
            RuntimeError: the future has its value already.
        """
        self._settle(value, None)

    def set_exception(self, exc_info: ExcInfo | None = None) -> None:
        """Set the exception that waiting raises: the given one, or the one being handled."""
        error = (exc_info or sys.exc_info())[1]
        assert error is not None, "no exception is being handled"
        self._settle(None, error)

    def offer(self, value: T) -> bool:
        """Set the value, unless whoever asked has abandoned the future.

        Returns:
            Whether the value was taken. If not, it is still yours to clean up.
        """
        return self._settle(value, None)

    def abandon(self) -> bool:
        """Say that nobody will fetch the value.

        Returns:
            False if the value was there already: it is yours, and so is cleaning it up.
        """
        with self._lock:
            self.is_abandoned = not self.is_done
            return self.is_abandoned

    def _settle(self, value: T | None, error: BaseException | None) -> bool:
        with self._lock:
            if self.is_abandoned:
                return False
            if self.is_done or self._get_hook is not None:
                message = "the future has its value already"
                raise RuntimeError(message)
            self._value, self._error = value, error
            self.is_done = True  # the last: others look without the lock
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()
        return True

    def when_done(self, callback: Callable[[], object]) -> None:
        """Call back once the value is there, in the thread that sets it; at once if it is."""
        if not self._remember(callback):
            callback()

    def _remember(self, callback: Callable[[], object]) -> bool:
        with self._lock:
            if not self.is_done:
                self._callbacks.append(callback)
            return not self.is_done

    def _forget(self, callback: Callable[[], object]) -> None:
        with self._lock:
            if callback in self._callbacks:
                self._callbacks.remove(callback)

    def get(self, *, timeout: float | None = None) -> T:
        """Wait for the value in a plain thread.

        Args:
            timeout: seconds to wait; None waits for ever.

        Raises:
            pykka.Timeout: the time is over.
            RuntimeError: called in the trio thread while the value is not there; the actor that
                should bring it could never run. ``await`` the future instead.
        """
        if self._get_hook is not None:
            return super().get(timeout=timeout)
        if not self.is_done:
            self._block(timeout)
        return self._result()

    def _result(self) -> T:
        if self._error is not None:
            raise self._error
        return self._value

    def _block(self, timeout: float | None) -> None:
        if trio.lowlevel.in_trio_run():
            message = (
                "waiting here would block the trio thread that has to bring the value; "
                "use `await ref.ask(message, block=False)`"
            )
            raise RuntimeError(message)
        done = threading.Event()
        self.when_done(done.set)
        if not done.wait(timeout):
            self._forget(done.set)
            message = f"no answer within {timeout} seconds"
            raise pykka.Timeout(message)

    def __await__(self) -> Generator[Any, None, T]:
        if self._get_hook is not None:
            return self._get_in_thread().__await__()
        return self._wait()

    async def _get_in_thread(self) -> T:
        """Wait for what a hook (of map, filter, join, reduce) gives, in which it may block."""
        return await trio.to_thread.run_sync(self.get, abandon_on_cancel=True)

    def _wait(self) -> Generator[Any, None, T]:
        if self.is_done:
            yield from trio.lowlevel.checkpoint().__await__()  # noqa: ASYNC105 - it is, by this
            return self._result()
        bell = Bell()
        if self._remember(bell.ring):
            try:
                # Another thread may ring before this sleeps; it is heard all the same, because
                # trio brings the ring to this thread, where the task has gone to sleep by then.
                yield from bell.sleep().__await__()
            except BaseException:
                self._forget(bell.ring)
                raise
        return self._result()


class Bell:
    """Wakes the task that made it, from any thread, if it sleeps on it."""

    __slots__ = ("_task", "_thread", "_trio", "sleeps")

    def __init__(self) -> None:
        self._task = trio.lowlevel.current_task()
        self._trio = trio.lowlevel.current_trio_token()
        self._thread = threading.get_ident()
        self.sleeps: bool = False
        """Whether the task sleeps; not if it is about to wake, by a ring or a cancellation."""

    def sleep(self) -> Awaitable[object]:
        """Sleep until somebody rings; await it at once. If cancelled, a ring comes to nothing.

        It may wake without need, by a ring from before; so look again at what it is about.
        """
        self.sleeps = True
        return trio.lowlevel.wait_task_rescheduled(self._abort)  # noqa: ASYNC105 - by the caller

    def _abort(self, _: object) -> trio.lowlevel.Abort:
        self.sleeps = False
        return trio.lowlevel.Abort.SUCCEEDED

    def ring(self) -> None:
        """Wake the task, now or, from another thread, as soon as trio comes to it."""
        if threading.get_ident() != self._thread:
            with contextlib.suppress(trio.RunFinishedError):  # and with the run the task
                self._trio.run_sync_soon(self.ring)
        elif self.sleeps:
            self.sleeps = False
            trio.lowlevel.reschedule(self._task)


class Order(Protocol):
    """Decides which message of a mailbox is taken next, where that is not the first. For tests."""

    def arrived(self, mailbox: Mailbox, message: Any) -> None:
        """Take note of a message that was put into a mailbox, in the step of who put it."""
        ...

    async def choose(self, mailbox: Mailbox) -> int | None:
        """Wait until one of the messages of a mailbox is to be taken. Called by its actor.

        Returns:
            The message's place among those that lie there; None to look again whether to wait.
        """
        ...

    def closed(self, mailbox: Mailbox) -> None:
        """Take note that a mailbox takes no more messages: `choose` is to give None there."""
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
        self._row = 0
        self.is_paused: bool = False
        """Whether no message is given out."""

    def __len__(self) -> int:
        return len(self._envelopes)

    def empty(self) -> bool:
        """Whether no message is waiting."""
        return not self._envelopes

    def waiting(self) -> list[Any]:
        """Give the messages that lie here, in the order in which they came."""
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
            _answer_dead(envelope, closed)
            return
        if self._bell is not None and not self.is_paused:  # after the message is in; see `get`
            self._bell.ring()
        if self.order is not None:
            self.order.arrived(self, envelope.message)

    def put_first(self, message: Any) -> None:
        """Put a message before all others, while it is paused: the actor takes it when it goes on.

        Whatever happens: an actor that is woken by a message takes it, cancelled or not.
        """
        assert self.is_paused, "the actor may have been woken by another message"
        with self._lock:
            self._envelopes.appendleft(Envelope(message))

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

    def pause_if_idle(self) -> bool:
        """Do so if the actor waits, and nothing lies here; tell whether."""
        if self.is_paused or self._envelopes or self._bell is None or not self._bell.sleeps:
            return False
        self.is_paused = True
        return True

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
        """Whether nobody has to wait to put a message; also true when none will be taken."""
        return len(self._envelopes) < self.capacity or self._closed is not None

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
        is_due = self._row < FAIR_SHARE and not self.is_paused and self.order is None
        if not (is_due and self._envelopes):
            return None
        self._row += 1
        envelope = self._envelopes.popleft()
        if self._room is not None:
            self._room.unpark()
        return envelope

    async def get(self) -> Envelope | None:
        """Wait for the next message and take it out; give None if there is none after all.

        A checkpoint whenever it waits, and at least once in every 32 messages. If cancelled, no
        message was taken.
        """
        self._row += 1
        if self._row > FAIR_SHARE:
            self._row = 0
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
            self._row = 0
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

    def close(self, reason: str) -> list[Any]:
        """Refuse messages from now on, and answer the waiting ones with `ActorDeadError`.

        Returns:
            The messages that nobody waits to be answered.
        """
        with self._lock:
            self._closed = reason
            left, self._envelopes = self._envelopes, collections.deque()
        if self._room is not None:
            self._room.unpark_all()
        for envelope in left:
            if isinstance(envelope.message, _ActorStop) and envelope.reply_to is not None:
                envelope.reply_to.set(None)
            elif envelope.reply_to is not None:
                _answer_dead(envelope, reason)
        return [envelope.message for envelope in left if envelope.reply_to is None]


async def _raise(error: BaseException) -> None:
    raise error


def _answer_dead(envelope: Envelope, reason: str) -> None:
    error = ActorDeadError(reason)
    if envelope.reply_to is None:
        raise error
    _answer_error(envelope.reply_to, error)


def _answer_error(reply_to: TrioFuture[Any], error: BaseException) -> None:
    reply_to.set_exception((type(error), error, error.__traceback__))


def _answer(reply_to: TrioFuture[Any], value: Any) -> None:
    if not reply_to.is_done:  # by `TrioActor.reply`
        reply_to.set(value)


def _answer_failure(envelope: Envelope, error: BaseException, actor: TrioActor) -> bool:
    """Tell who waits for an answer what came of it; tell whether that is the end of it."""
    reply_to = envelope.reply_to
    if reply_to is None or reply_to.is_done:
        return False
    if isinstance(error, Exception):
        _answer_error(reply_to, error)
        return True
    _answer_dead(envelope, f"{actor} was stopped while it handled the message")
    return False


@final
@attrs.frozen(eq=False)
class Scope:
    """Where actors are started: a nursery, and the context variables they begin with.

    An actor inherits nothing from whoever happened to wake it; above all, no turn.
    """

    nursery: trio.Nursery
    context: contextvars.Context = attrs.field(factory=contextvars.copy_context)

    def start_soon(self, async_fn: Callable[..., Awaitable[Any]], *args: Any, name: str) -> None:
        """Start a task in the nursery, in a copy of the context."""
        self.context.copy().run(lambda: self.nursery.start_soon(async_fn, *args, name=name))


AnyActor = TypeVar("AnyActor", bound="TrioActor")

_PYKKAS_OWN: Final = frozenset({_ActorStop, ProxyCall, ProxyGetAttr, ProxySetAttr})


@final
class TrioActorRef(pykka.ActorRef[AnyActor]):
    """A pykka reference whose ``stop`` can be awaited."""

    def __init__(self, actor: AnyActor) -> None:
        super().__init__(actor)
        self.mailbox: Final = actor.mailbox
        """The actor's mailbox, for those who would rather wait for room than be refused."""
        self.tell_at_once: Final = actor.handle_at_once
        """As `tell`, but in this step, and not at all if the actor is busy; says which it was."""

    def tell(self, message: Any) -> None:
        """Send a message, and wait for nothing.

        Raises:
            ActorDeadError: the actor has stopped.
            MailboxFullError: the mailbox has no room; the message was not sent.
        """
        self.mailbox.put(Envelope(message))

    @overload
    def ask(
        self, message: Any, *, block: Literal[False], timeout: float | None = None
    ) -> TrioFuture[Any]: ...

    @overload
    def ask(
        self, message: Any, *, block: Literal[True] = True, timeout: float | None = None
    ) -> Any: ...

    def ask(self, message: Any, *, block: bool = True, timeout: float | None = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride] - two of pykka's three overloads
        """Send a message; with ``block=False`` give a future of the answer, to be awaited.

        Args:
            message: any object; better a frozen one.
            block: whether to wait for the answer here, in a plain thread.
            timeout: seconds to wait, if blocking.

        Raises:
            ActorDeadError: the actor has stopped. Without blocking, waiting raises it.
            MailboxFullError: the mailbox has no room; the message was not sent.
            RuntimeError: blocking in the trio thread.
        """
        answer: TrioFuture[Any] = TrioFuture()
        self.mailbox.put(Envelope(message, answer))  # also if the actor has stopped
        return answer.get(timeout=timeout) if block else answer

    def ask_always(self, message: Any) -> TrioFuture[Any]:
        """Send a message whatever the capacity of the mailbox; give a future of the answer."""
        answer: TrioFuture[Any] = TrioFuture()
        self.mailbox.put(Envelope(message, answer), always=True)
        return answer

    def stop(self, *, block: bool = True, timeout: float | None = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride] - one signature for pykka's overloads
        """Ask the actor to stop after the messages before this one, and wait until it has.

        A full mailbox takes it all the same.

        Returns:
            True, or a future of it; False if the actor had stopped before.
        """
        asked, stopped = TrioFuture[None](), TrioFuture[bool]()
        asked.when_done(lambda: stopped.set(_was_alive(asked)))
        self.mailbox.put(Envelope(_ActorStop(), asked), always=True)
        return stopped.get(timeout=timeout) if block else stopped


def _was_alive(asked: TrioFuture[Any]) -> bool:
    try:
        asked.get()
    except ActorDeadError:
        return False
    return True


@final
class _Flag:
    """Whether an actor has stopped, in the place of pykka's `threading.Event`.

    Nobody waits for it: who stops an actor has a future for that. So it needs no lock and no queue
    of those who wait, which are 1 KB for each actor.
    """

    __slots__ = ("_is_set",)

    def __init__(self) -> None:
        self._is_set = False

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True


class TrioActor(pykka.Actor):
    """An actor whose loop is a trio task. Subclass it and override ``on_receive``.

    As in pykka, an exception in ``on_receive`` goes to the asker, if there is one, and the actor
    goes on; without an asker it is logged, ``on_failure`` is called and the actor ends.

    An actor that fails while it starts is started again, as often as its budget says, and the
    messages wait meanwhile. When the budget is spent, it answers them with `ActivationError` for
    a while, and ends then: who tries again does so at the pace of that pause.

    Args:
        scope: where it runs. Its end ends the actor.
        capacity: how many messages its mailbox holds.
        restarts: its budget of restarts, as the pauses before them (seconds).
        rest: how long it answers with the error once the budget is spent (seconds).
    """

    def __init__(
        self,
        scope: Scope,
        *,
        capacity: float = math.inf,
        restarts: Sequence[float] = (),
        rest: float = 0,
    ) -> None:
        super().__init__()
        self.actor_stopped: threading.Event = cast("threading.Event", _Flag())
        self.mailbox: Final = cast("Mailbox", self.actor_inbox)
        """The actor's mailbox."""
        self.mailbox.capacity = capacity
        self._actor_ref = TrioActorRef(self)
        self._scope: Final = scope
        self._restarts: Final = restarts
        self._rest: Final = rest
        self._envelope: Envelope | None = None
        self._stop_asked: list[TrioFuture[Any] | None] = []
        self._has_started = False
        self._context: contextvars.Context
        self._is_closed = False
        self.children: Scope

    @classmethod
    def start(cls, *args: Any, **kwargs: Any) -> TrioActorRef[Self]:  # pyright: ignore[reportIncompatibleMethodOverride] - a subclass; pykka's is invariant
        """Create the actor and start its loop, without touching pykka's registry."""
        actor = cls(*args, **kwargs)
        actor._start_actor_loop()
        return actor.actor_ref

    @property
    def actor_ref(self) -> TrioActorRef[Self]:  # pyright: ignore[reportIncompatibleMethodOverride] - likewise
        """The reference by which others reach the actor."""
        return cast("TrioActorRef[Self]", self._actor_ref)

    @staticmethod
    def _create_actor_inbox() -> ActorInbox:
        return cast("ActorInbox", Mailbox())

    @staticmethod
    def _create_future() -> TrioFuture[Any]:
        return TrioFuture()

    def _start_actor_loop(self) -> None:
        self._scope.start_soon(self._live, name=str(self))

    async def _live(self) -> None:
        # In one function: each time the actor wakes, Python goes down through all that it is in.
        try:
            async with trio.open_nursery() as nursery:
                self.children = Scope(nursery)
                try:
                    await self.work()
                except* PASSING:
                    raise
                except* BaseException as errors:  # noqa: BLE001 - supervision: logged, told to on_failure
                    # A failure of its own, or of user code that a cancellation met halfway. It ends
                    # here: the parent sees nothing of it but the cancellation, if there was one.
                    self._fail(errors)
                finally:
                    self._close()
                nursery.cancel_scope.cancel()
        finally:
            await self.on_exit()

    def _close(self) -> None:
        """Take no more messages. In the step of the last one, so that nobody finds it half dead."""
        if self._is_closed:
            return
        self._is_closed = True
        self.actor_stopped.set()
        left = self.mailbox.close(f"{self} has stopped; the message was not handled")
        self.on_ended(left)
        for reply_to in self._stop_asked:
            if reply_to is not None:
                reply_to.set(None)

    async def work(self) -> None:
        """The loop: one message at a time, until one stops the actor.

        An actor that is sent no messages overrides it, and ends with it.
        """
        self._context = trio.lowlevel.current_task().context
        await self._start()
        self._has_started = True
        await trio.lowlevel.checkpoint_if_cancelled()
        mailbox = self.mailbox
        while not self._is_closed:
            self._envelope = envelope = mailbox.take() or await mailbox.get()
            being_done = self._take(envelope) if envelope is not None else None
            if being_done is not None:
                await being_done
                # Messages that lie there are taken without waiting; a cancelled actor takes no
                # more. In the step of one that awaits nothing nobody else could cancel it; if it
                # did so itself, the actor ends with its fair share.
                await trio.lowlevel.checkpoint_if_cancelled()
            self._envelope = None
            if self._stop_asked and self.may_end:
                return

    def end_if_idle(self) -> bool:
        """End the actor now, if it waits for a message and none is there. From the trio thread.

        Whoever finds it in this step still finds it alive, and whoever looks after it, gone.

        Returns:
            Whether it has ended.
        """
        if not self.is_idle or not self.mailbox.close_if_empty(f"{self} was put to rest"):
            return False
        self._close()
        return True

    @property
    def is_idle(self) -> bool:
        """Whether it waits for a message, and none is there."""
        return self.mailbox.is_idle and self._has_started and not self._stop_asked

    def handle_at_once(self, message: Any) -> bool:
        """Handle a message that nobody waits to be answered, in the step of who brings it.

        It is as if the actor had been woken by it, and nothing had come in between: that is so if
        it waits, and nothing lies in its mailbox. In its own context, so what a message leaves
        there is there for the next. What is to be awaited the actor does itself, as the next thing.

        Returns:
            False if the actor is busy; the message was not taken.
        """
        mailbox = self.mailbox
        if self._stop_asked or not self._has_started or not mailbox.pause_if_idle():
            return False
        try:
            rest: Any = self._context.run(self.on_receive, message)
        except BaseException as error:  # noqa: BLE001 - it is the actor's, not that of who brings
            rest = _raise(error)
        if type(rest) is CoroutineType:
            mailbox.put_first(Rest(cast("CoroutineType[Any, Any, Any]", rest)))
        mailbox.go_on()
        return True

    async def _start(self) -> None:
        for pause in self._restarts:
            try:
                return await self._run_on_start()
            except Exception:
                logger.exception("%s failed to start; it is started again in %s s", self, pause)
                await trio.sleep(pause)
        try:
            return await self._run_on_start()
        except Exception as error:
            if self._rest:
                await self._refuse_all(error)
            raise

    async def _run_on_start(self) -> None:
        started: object = self.on_start()
        if inspect.iscoroutine(started):
            await started

    async def _refuse_all(self, cause: Exception) -> None:
        """Answer whatever comes with the error, for the length of the rest."""
        logger.error("%s failed to start, and rests for %s s", self, self._rest)
        self.on_start_failed(cause)
        refusal = ActivationError(f"{self} could not be started; the message was not handled")
        refusal.__cause__ = cause
        with trio.move_on_after(self._rest):
            while not self._stop_asked:
                envelope = await self.mailbox.get()
                if envelope is not None:
                    self._refuse(envelope, refusal)
        while not self.mailbox.empty():  # what came in the moment in which the rest was over
            self._refuse(self.mailbox.get_nowait(), refusal)

    def _refuse(self, envelope: Envelope, refusal: ActivationError) -> None:
        if isinstance(envelope.message, _ActorStop):
            self._stop_asked.append(envelope.reply_to)
        elif envelope.reply_to is None:
            self.on_refused(envelope.message, refusal)
        else:
            _answer_error(envelope.reply_to, refusal)

    def _take(self, envelope: Envelope) -> Awaitable[None] | None:
        """Handle a message and answer it; give what is still to be awaited for that."""
        message = envelope.message
        if type(message) is Rest:
            return message.work
        receive = self.on_receive
        if type(message) in _PYKKAS_OWN:  # its own look asks four questions of each message
            receive = self._handle_receive
            if isinstance(message, _ActorStop):
                self._stop_asked.append(envelope.reply_to)
                envelope = Envelope(message)  # it is answered when the actor has ended
        try:
            result: Any = receive(message)
        except BaseException as error:
            if not _answer_failure(envelope, error, self):
                raise
            return None
        if type(result) is CoroutineType:
            return self._await_result(envelope, cast("CoroutineType[Any, Any, Any]", result))
        if envelope.reply_to is not None:
            _answer(envelope.reply_to, result)
        return None

    async def _await_result(self, envelope: Envelope, result: Awaitable[Any]) -> None:
        try:
            answer = await result
        except BaseException as error:
            if not _answer_failure(envelope, error, self):
                raise
            return
        if envelope.reply_to is not None:
            _answer(envelope.reply_to, answer)

    def _stop(self) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride] - may be async
        """Stop: pykka's answer to the message of ``ref.stop``."""
        return self.on_stop()

    @property
    def is_told_to_stop(self) -> bool:
        """Whether it is to end when `may_end` says so."""
        return bool(self._stop_asked)

    @property
    def may_end(self) -> bool:
        """Whether the actor, told to stop, may end now. Asked each time that it has woken."""
        return True

    @property
    def is_asked(self) -> bool:
        """Whether somebody waits for the answer to the message being handled."""
        return self._envelope is not None and self._envelope.reply_to is not None

    def reply(self, value: Any) -> bool:
        """Answer the message being handled, and go on handling it.

        Returns:
            False if nobody asked, or whoever did has abandoned the question.
        """
        assert self._envelope is not None, "no message is being handled"
        reply_to = self._envelope.reply_to
        return reply_to is not None and reply_to.offer(value)

    def _fail(self, errors: BaseExceptionGroup[BaseException]) -> None:
        error = unwrap(errors)
        logger.error("%s failed and has stopped", self, exc_info=error)
        self.on_failure(type(error), error, error.__traceback__)

    def on_start(self) -> Any:
        """Run before the first message. May be async."""

    def on_stop(self) -> Any:
        """Run when the actor is told to stop, after the last message. May be async."""

    async def on_exit(self) -> None:
        """Run when it and its children have ended, as the last. Must shield what it awaits."""

    def on_start_failed(self, error: Exception) -> None:
        """Run when the budget of restarts is spent, before the first message is refused."""

    def on_refused(self, message: Any, error: ActivationError) -> None:
        """Run for a message without an asker that came when the actor could not be started."""

    def on_ended(self, left: Sequence[Any]) -> None:
        """Run once it takes no message any more, however it came to that. Must not raise.

        Its children are told to end after it.

        Args:
            left: the messages that it did not come to, and that nobody waits to be answered.
        """
