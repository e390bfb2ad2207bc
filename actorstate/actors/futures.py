"""Futures that are awaited in trio, or waited for in a thread; and the bell that wakes a task."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Awaitable, Callable, Generator
from types import TracebackType
from typing import Any, TypeVar, final

import pykka
import trio

T = TypeVar("T")

ExcInfo = tuple[type[BaseException] | None, BaseException | None, TracebackType | None]


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

    def fail(self, error: BaseException) -> None:
        """Set the exception that waiting raises."""
        self.set_exception((type(error), error, error.__traceback__))

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

    __slots__ = ("_is_cut_off", "_is_held", "_task", "_thread", "_trio", "sleeps")

    def __init__(self) -> None:
        self._task = trio.lowlevel.current_task()
        self._trio = trio.lowlevel.current_trio_token()
        self._thread = threading.get_ident()
        self._is_held = self._is_cut_off = False
        self.sleeps: bool = False
        """Whether the task sleeps; not if it is about to wake, by a ring or a cancellation."""

    def sleep(self) -> Awaitable[object]:
        """Sleep until somebody rings; await it at once. If cancelled, a ring comes to nothing.

        It may wake without need, by a ring from before; so look again at what it is about.
        """
        self.sleeps = True
        return trio.lowlevel.wait_task_rescheduled(self._abort)  # noqa: ASYNC105 - by the caller

    def hold(self) -> None:
        """Let no cancellation wake the task until `let_go`."""
        self._is_held = True

    def let_go(self) -> None:
        """Wake the task if it was cancelled meanwhile; its next checkpoint tells it so."""
        self._is_held = False
        if self._is_cut_off:
            self._is_cut_off = False
            self.ring()

    def _abort(self, _: object) -> trio.lowlevel.Abort:
        if self._is_held:
            self._is_cut_off = True
            return trio.lowlevel.Abort.FAILED
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
