"""Handlers that await what is asyncio's as well as what is trio's.

A handler stays what it is, code in a trio task. Its coroutine is driven here: what it yields to
trio goes on to trio, and where it waits for a future of asyncio, the trio task waits for that. To
asyncio's code the handler is a task (`HandlerTask`), since half of asyncio asks for the running
one: ``asyncio.timeout``, ``TaskGroup``, every HTTP client. (trio-asyncio's own ``allow_asyncio``
has no such task, and lets asyncio's code see trio's ``Cancelled``, which it does not know.)

Cancellation crosses both ways, and arrives as what the waiting code knows:

    ==========================  ================================  ===========================
    cancelled by                waiting for a future of asyncio,  waiting for trio
                                or for a turn
    ==========================  ================================  ===========================
    the library (a task is      ``asyncio.CancelledError``, once  ``trio.Cancelled``, at
    cancelled, a turn takes     (*)                               every await, as always
    too long, the app is left)
    a scope of trio that the    ``trio.Cancelled``, for which     likewise
    handler has opened          the scope waits
    asyncio, as by              ``asyncio.CancelledError``, once  ``asyncio.CancelledError``,
    ``asyncio.timeout``                                           once
    ==========================  ================================  ===========================

(*) Code of asyncio cleans up by awaiting, and would not get far if each await was cancelled anew.
So it is let be after the first time; but for `CLEANING_UP` seconds alone, since others may wait.
"""

from __future__ import annotations

import asyncio
import math
import types
from asyncio.tasks import _enter_task, _leave_task  # documented, for tasks of other makes
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import ContextVar
from typing import Any, Final, TypeVar, cast, final

import outcome
import trio
import trio_asyncio  # pyright: ignore[reportMissingTypeStubs] - it has none

from actorstate.actors.holding import Holding
from actorstate.state.holders import held_turns

T = TypeVar("T")

# By this trio-asyncio knows which loop code of trio's is in.
_current_loop: Final = cast("ContextVar[Any]", trio_asyncio.current_loop)

CLEANING_UP: Final = 2.0
"""For how long code of asyncio that was cancelled may await what it needs to clean up (seconds)."""


@final
class HandlerTask(asyncio.Future[Any]):
    """The task of a handler, as asyncio's code finds it by ``asyncio.current_task()``.

    It has what such code asks of the running task, and is as good as a future that never is done:
    what becomes of a handler is the token actor's affair.

    Args:
        loop: the loop of asyncio that is awaited in.
        scope: what the handler is run in, and is cancelled by.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, scope: trio.CancelScope) -> None:
        super().__init__(loop=loop)
        self._scope: Final = scope
        self._name = trio.lowlevel.current_task().name
        self._cancels = 0
        self._must_cancel = False
        self._interrupt: Callable[[], object] | None = None
        """Ends the wait under way by a cancellation of asyncio's."""
        self._told: object = None
        """By what the code was cancelled that may clean up now."""
        self._cleans_up_until = math.inf

    # ---- what asyncio's code asks of the running task ----------------------------------------

    def get_name(self) -> str:
        """Give the name of the handler."""
        return self._name

    def cancel(self, msg: Any | None = None) -> bool:  # noqa: ARG002 - as asyncio has it
        """Cancel what it awaits, now or next; see ``asyncio.Task.cancel``."""
        self._cancels += 1
        if self._interrupt is None:
            self._must_cancel = True
        else:
            self._interrupt()
        return True

    def cancelling(self) -> int:
        """Tell how often it was cancelled; see ``asyncio.Task.cancelling``."""
        return self._cancels

    def uncancel(self) -> int:
        """Take back one cancellation; see ``asyncio.Task.uncancel``."""
        self._cancels = max(0, self._cancels - 1)
        if not self._cancels:
            self._must_cancel = False
        return self._cancels

    # ---- driving -----------------------------------------------------------------------------

    async def __call__(self, awaitable: Awaitable[T], /) -> T:
        """Run one step of the handler, or all of it."""
        loop = self.get_loop()
        if asyncio.current_task(loop) is not None:  # in the step of another one, which drives this
            return await awaitable
        outer = _current_loop.set(loop)
        try:
            return await self._drive(_as_coroutine(awaitable))
        except BaseException as error:
            if _is_of_cancellation(error):  # if it was trio that cancelled, say it in trio's words
                await trio.lowlevel.checkpoint_if_cancelled()
            elif isinstance(error, BaseExceptionGroup) and _is_cancelled():
                group = cast("BaseExceptionGroup[BaseException]", error)
                raise _without_cancellation(group) from group.__cause__
            raise
        finally:
            _current_loop.reset(outer)

    @types.coroutine
    def _drive(self, coroutine: Coroutine[Any, Any, T]) -> Generator[Any, Any, T]:
        loop = self.get_loop()
        value: Any = None
        error: BaseException | None = None
        while True:
            _enter_task(loop, self)  # pyright: ignore[reportArgumentType] - of another make
            try:
                awaited = coroutine.send(value) if error is None else coroutine.throw(error)
            except StopIteration as stop:
                return stop.value
            finally:
                _leave_task(loop, self)  # pyright: ignore[reportArgumentType] - likewise
            value = error = None
            try:
                if awaited is None:  # asyncio's way to let others run
                    pause = _soon(loop)
                    yield from self._wait_for(pause).__await__()
                    if pause.cancelled():  # the handler has no hold of it, to fetch this itself
                        raise asyncio.CancelledError  # noqa: TRY301 - goes to the handler, below
                elif isinstance(awaited, asyncio.Future):
                    future = cast("asyncio.Future[Any]", awaited)
                    yield from self._wait_for(future).__await__()
                elif (nursery := _nursery_that_is_left()) is not None:
                    value = yield from self._pass_on_of(nursery, awaited)
                else:
                    value = yield from self._pass_on(awaited)
            except BaseException as raised:  # noqa: BLE001 - not swallowed: it goes to the handler
                error = raised

    def _pass_on(self, trap: Any) -> Generator[Any, Any, Any]:
        """Let trio wait for what is trio's, but so that asyncio can cancel it."""
        with trio.CancelScope() as scope:
            if self._must_cancel:
                self._must_cancel = False
                scope.cancel()
            self._interrupt = scope.cancel
            try:
                result = yield trap
            finally:
                self._interrupt = None
            if isinstance(result, outcome.Error) and isinstance(result.error, trio.Cancelled):
                if scope.cancel_called:
                    result.unwrap()  # here, where the scope can tell whether it is of its making
                self._note_told()
            self._must_cancel = scope.cancel_called  # it came too late for this one
            return result
        raise asyncio.CancelledError

    def _pass_on_of(self, nursery: trio.Nursery, trap: Any) -> Generator[Any, Any, Any]:
        """Let trio wait until a nursery's tasks have ended, but so that asyncio can cancel them.

        Not in a scope: what is below an inner nursery of `trio.Nursery.start` is moved to the outer
        one while this waits, and a scope of ours would be moved along. The nursery has a scope of
        its own; the next wait raises what asyncio's code knows.
        """
        if self._must_cancel:
            nursery.cancel_scope.cancel()

        def interrupt() -> None:
            self._must_cancel = True
            nursery.cancel_scope.cancel()

        self._interrupt = interrupt
        try:
            return (yield trap)
        finally:
            self._interrupt = None

    async def _wait_for(self, future: asyncio.Future[Any]) -> None:
        """Wait until a future of asyncio is done: the handler fetches itself what came of it."""
        if future.get_loop() is not self.get_loop():
            message = f"{self._name} awaits {future!r}, which is attached to a different loop"
            raise RuntimeError(message)
        future._asyncio_future_blocking = False  # noqa: SLF001 - the mark of an await, as tasks take it off
        if self._must_cancel:
            self._must_cancel = False
            future.cancel()
        self._interrupt = future.cancel
        try:
            raise_cancelled = await self._until_done(future)
        finally:
            self._interrupt = None
        if raise_cancelled is not None and _was_cancelled(future) and not self._note_told():
            raise_cancelled()

    def translate(self, cancelled: trio.Cancelled) -> BaseException:
        """Give a cancellation that trio has raised in the handler as asyncio's, if it is."""
        return asyncio.CancelledError() if self._note_told() else cancelled

    def _note_told(self) -> bool:
        """Note that the handler learns of being cancelled; tell whether it is by the library.

        Else it is by a scope that the handler has opened.
        """
        cause = self._cancelled_by()
        if cause is not None and cause is not self._told:
            self._told = cause
            self._cleans_up_until = trio.current_time() + CLEANING_UP
        return cause is not None

    async def _until_done(self, future: asyncio.Future[Any]) -> Callable[[], None] | None:
        """Wait. If trio cancels meanwhile, cancel the future; give what raises ``Cancelled``."""
        if self._told is None or self._cancelled_by() is not self._told:
            return await _wait_until_done(future)
        # It was told already, and cleans up.
        with trio.CancelScope(deadline=self._cleans_up_until, shield=True):
            await _wait_until_done(future)
        return None

    def _cancelled_by(self) -> object:
        """Find out what has cancelled this trio task: None for a scope that the handler opened."""
        overdue = _overdue_holding()
        if overdue is not None:
            return overdue
        if self._scope.cancel_called or not _is_cancelled_within(self._scope):
            return self._scope
        return None


async def _as_coroutine(awaitable: Awaitable[T]) -> T:
    return await awaitable


def _is_of_cancellation(error: BaseException) -> bool:
    """Tell whether an error is nothing but the cancellation, as asyncio or a nursery tells it."""
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        return group.split((asyncio.CancelledError, trio.Cancelled))[1] is None
    return isinstance(error, asyncio.CancelledError)


def _is_cancelled() -> bool:
    return trio.current_effective_deadline() == -math.inf


def _without_cancellation(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Give what else is in a group than asyncio's cancellation, as trio's scopes do with theirs."""
    return group.split(asyncio.CancelledError)[1] or group


def _nursery_that_is_left() -> trio.Nursery | None:
    """Give the nursery for whose tasks the running one waits, if it waits for any."""
    nurseries = trio.lowlevel.current_task().child_nurseries
    if nurseries and nurseries[-1]._parent_waiting_in_aexit:  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - nothing else tells
        return nurseries[-1]
    return None


def _soon(loop: asyncio.AbstractEventLoop) -> asyncio.Future[None]:
    """Give a future that is done once the loop has done what is to be done before."""
    future: asyncio.Future[None] = loop.create_future()
    loop.call_soon(_finish, future)
    return future


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


async def _wait_until_done(future: asyncio.Future[Any]) -> Callable[[], None] | None:
    task = trio.lowlevel.current_task()
    raise_cancelled: Callable[[], None] | None = None

    def wake(_: object) -> None:
        trio.lowlevel.reschedule(task)

    def abort(raise_cancel: Callable[[], None]) -> trio.lowlevel.Abort:
        nonlocal raise_cancelled
        raise_cancelled = raise_cancel
        future.cancel()
        return trio.lowlevel.Abort.FAILED  # it wakes when the future is done, and not before

    future.add_done_callback(wake)
    await trio.lowlevel.wait_task_rescheduled(abort)
    return raise_cancelled


def _was_cancelled(future: asyncio.Future[Any]) -> bool:
    """Tell whether waiting for a future that is done raises the cancellation.

    That of ``gather`` is not cancelled then, but fails with it.
    """
    return future.cancelled() or isinstance(future.exception(), asyncio.CancelledError)


def _overdue_holding() -> Holding | None:
    """Give how the innermost turn is held that the running code holds, if for too long."""
    for turn in reversed(held_turns()):
        holding = turn.holding
        if isinstance(holding, Holding) and holding.is_overdue and not turn.has_ended:
            return holding
    return None


def _is_cancelled_within(scope: trio.CancelScope) -> bool:
    """Tell whether the running task is cancelled by a scope inside this one.

    Trio tells whether it is cancelled, and not by what. So the question is asked as if nothing
    reached it from outside.
    """
    before, scope.shield = scope.shield, True
    try:
        return _is_cancelled()
    finally:
        scope.shield = before
