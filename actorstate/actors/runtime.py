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

import contextvars
import inspect
import logging
import math
import threading
from collections.abc import Awaitable, Callable, Sequence
from types import CoroutineType
from typing import Any, Final, Literal, Self, TypeVar, cast, final, overload

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

from actorstate.actors.futures import TrioFuture
from actorstate.actors.mailbox import Envelope, Mailbox
from actorstate.exceptions import ActivationError, ActorDeadError
from actorstate.state.record import Record

logger: Final = logging.getLogger("actorstate.actors")

PASSING: Final = (trio.Cancelled, KeyboardInterrupt)
"""What is nobody's failure: it goes through handlers, tasks and actors to who sent it."""


def unwrap(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """Give the one exception of a group that ``except*`` made around it; else the group."""
    return errors.exceptions[0] if len(errors.exceptions) == 1 else errors


@final
class Begun(Record, frozen=True, eq=False):
    """What is still to be awaited of a message that was begun in the step of who brought it."""

    work: Awaitable[Any]


async def _raise(error: BaseException) -> None:
    raise error


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
    a while, and ends then: who tries again does so at the pace of that cooldown.

    Args:
        scope: where it runs. Its end ends the actor.
        capacity: how many messages its mailbox holds.
        restarts: its budget of restarts, as the pauses before them (seconds).
        cooldown: how long it answers with the error once the budget is spent (seconds).
    """

    def __init__(
        self,
        scope: Scope,
        *,
        capacity: float = math.inf,
        restarts: Sequence[float] = (),
        cooldown: float = 0,
    ) -> None:
        super().__init__()
        self.actor_stopped: threading.Event = cast("threading.Event", _Flag())
        self.mailbox: Final = cast("Mailbox", self.actor_inbox)
        """The actor's mailbox."""
        self.mailbox.capacity = capacity
        self._actor_ref = TrioActorRef(self)
        self._scope: Final = scope
        self._restarts: Final = restarts
        self._cooldown: Final = cooldown
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
        reason = f"{self} has stopped; the message was not handled"
        left = self.mailbox.close(reason)
        for envelope in left:
            if isinstance(envelope.message, _ActorStop):
                self._stop_asked.append(envelope.reply_to)
            elif envelope.reply_to is not None:
                envelope.reply_to.fail(ActorDeadError(reason))
        self.on_ended([envelope.message for envelope in left if envelope.reply_to is None])
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
        Only to trio the running task is that of who brings the message, and so is what belongs to
        a task, such as a `trio.Lock` that was taken without waiting.

        Returns:
            False if the actor is busy; the message was not taken.
        """
        if not self.is_idle:
            return False
        self.mailbox.step_in()
        task = trio.lowlevel.current_task()
        # The context of the task, too: trio-asyncio looks for its loop there.
        own, task.context = task.context, self._context
        try:
            result: Any = self._context.run(self.on_receive, message)
        except BaseException as error:  # noqa: BLE001 - it is the actor's, not that of who brings
            result = _raise(error)
        finally:
            task.context = own
        is_begun = type(result) is CoroutineType
        self.mailbox.step_out(Begun(cast("Awaitable[Any]", result)) if is_begun else None)
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
            if self._cooldown:
                await self._refuse_all(error)
            raise

    async def _run_on_start(self) -> None:
        started: object = self.on_start()
        if inspect.iscoroutine(started):
            await started

    async def _refuse_all(self, cause: Exception) -> None:
        """Answer whatever comes with the error, for the length of the cooldown."""
        logger.error("%s failed to start, and refuses what comes for %s s", self, self._cooldown)
        self.on_start_failed(cause)
        refusal = ActivationError(f"{self} could not be started; the message was not handled")
        refusal.__cause__ = cause
        with trio.move_on_after(self._cooldown):
            while not self._stop_asked:
                envelope = await self.mailbox.get()
                if envelope is not None:
                    self._refuse(envelope, refusal)
        while not self.mailbox.empty():  # what came in the moment in which it was over
            self._refuse(self.mailbox.get_nowait(), refusal)

    def _refuse(self, envelope: Envelope, refusal: ActivationError) -> None:
        if isinstance(envelope.message, _ActorStop):
            self._stop_asked.append(envelope.reply_to)
        elif envelope.reply_to is None:
            self.on_refused(envelope.message, refusal)
        else:
            envelope.reply_to.fail(refusal)

    def _take(self, envelope: Envelope) -> Awaitable[None] | None:
        """Handle a message and answer it; give what is still to be awaited for that."""
        message = envelope.message
        if type(message) is Begun:
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
            if not self._tell_failure(envelope, error):
                raise
            return None
        if type(result) is CoroutineType:
            return self._await_result(envelope, cast("CoroutineType[Any, Any, Any]", result))
        envelope.answer(result)
        return None

    async def _await_result(self, envelope: Envelope, result: Awaitable[Any]) -> None:
        try:
            answer = await result
        except BaseException as error:
            if not self._tell_failure(envelope, error):
                raise
            return
        envelope.answer(answer)

    def _tell_failure(self, envelope: Envelope, error: BaseException) -> bool:
        """Tell who waits for an answer what came of it; tell whether that is the end of it."""
        reply_to = envelope.reply_to
        if reply_to is None or reply_to.is_done:
            return False
        if isinstance(error, Exception):
            reply_to.fail(error)
            return True
        reply_to.fail(ActorDeadError(f"{self} was stopped while it handled the message"))
        return False

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
