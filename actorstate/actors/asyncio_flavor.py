"""The flavor of an app that has asyncio beside trio. What an app without it never imports.

A loop of trio-asyncio runs for as long as the app does. Handlers are driven by
``asyncio_handlers``, so that they may await either library's things. The tasks that a program makes
with ``asyncio.create_task`` are asyncio's own; in these, nothing of trio can be awaited, but for
``async with self`` and ``app.modify_state``, which find out where they are and do their waiting in
a trio task (`AsyncioTask`; see ``foreign_blocks``).

Such a task is to the app what one of `App.start_soon` is: it is stopped when the app is left, but
in no block, and what it raises, if nobody awaits it, is told to ``on_error``.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Protocol, Self, TypeVar, cast, final

import attrs
import trio
import trio_asyncio  # pyright: ignore[reportMissingTypeStubs] - it has none

from actorstate.actors.asyncio_handlers import HandlerTask
from actorstate.actors.errors import ErrorContext, Reporter
from actorstate.actors.flavor import ForeignTask, Runner
from actorstate.actors.runs import Run, current_run
from actorstate.actors.task_scope import TaskScope

T = TypeVar("T")

logger: Final = logging.getLogger("actorstate")


class _TrioLoop(Protocol):
    """What is used of a loop of trio-asyncio's beside what all loops have."""

    def trio_as_future(
        self, proc: Callable[..., Awaitable[T]], /, *args: object
    ) -> asyncio.Future[T]: ...


@final
@attrs.frozen
class AsyncioTask:
    """A task of asyncio's, for a block that is entered in it; see `ForeignTask`."""

    _task: asyncio.Task[Any]

    @property
    def name(self) -> str:
        """What it is called, for logs."""
        return _name(self._task)

    def in_trio(self, async_fn: Callable[..., Awaitable[T]], *args: Any) -> Awaitable[T]:
        """Call what is trio's in a trio task; see `ForeignTask.in_trio`."""
        loop = cast("_TrioLoop", self._task.get_loop())
        return loop.trio_as_future(async_fn, *args)

    def cancel(self) -> None:
        """Cancel it."""
        self._task.cancel()

    @property
    def has_ended(self) -> bool:
        """Whether it runs no more."""
        return self._task.done()

    def uncancel(self) -> bool:
        """Take back that it was cancelled; tell whether nobody else has cancelled it as well."""
        return not self._task.uncancel()


def _name(task: asyncio.Task[Any]) -> str:
    return f"{task.get_name()} of asyncio ({getattr(task.get_coro(), '__qualname__', '?')})"


@final
class AsyncioFlavor:
    """What an app with asyncio lets its program's code await. A block, around the app's own.

    Args:
        reporter: is told of tasks that fail.
    """

    def __init__(self, reporter: Reporter) -> None:
        self._reporter: Final = reporter
        self._opened: Final = cast(
            "AbstractAsyncContextManager[asyncio.AbstractEventLoop]",
            trio_asyncio.open_loop(),  # pyright: ignore[reportUnknownMemberType] - as above
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: Final[dict[asyncio.Task[Any], TaskScope]] = {}
        self._ended: Final = trio.lowlevel.ParkingLot()
        self._is_stopping = False

    async def __aenter__(self) -> Self:
        self._loop = await self._opened.__aenter__()
        self._loop.set_exception_handler(self._on_error)
        self._loop.set_task_factory(cast("Any", self._new_task))
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Cancel what still runs, and close the loop.

        The error of the block does not pass through the loop, which would put it into a group.
        """
        assert self._loop is not None, "it was not entered"
        self._loop.set_task_factory(None)  # what closes the loop is no task of the program's
        await self._opened.__aexit__(None, None, None)

    # ---- the code of the program ---------------------------------------------------------------

    def runner(self, scope: trio.CancelScope) -> Runner:
        """Give what runs one handler; see `Flavor.runner`."""
        assert self._loop is not None, "it was not entered"
        return HandlerTask(self._loop, scope)

    def foreign_task(self) -> ForeignTask | None:
        """Give the running task of asyncio, if it is no handler."""
        try:
            task = asyncio.current_task()
        except RuntimeError:  # no loop of asyncio runs here
            return None
        return AsyncioTask(task) if isinstance(task, asyncio.Task) else None

    def translate(self, cancelled: trio.Cancelled) -> BaseException:
        """Give it in asyncio's words to a handler; see ``asyncio_handlers``."""
        task = cast("object", asyncio.current_task(self._loop))
        return task.translate(cancelled) if isinstance(task, HandlerTask) else cancelled

    def explain(self, error: BaseException) -> None:
        """Add nothing: what could be missing is there."""

    # ---- tasks of asyncio's own ------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._tasks)

    def _new_task(
        self,
        loop: asyncio.AbstractEventLoop,
        coroutine: Coroutine[Any, Any, T],
        *,
        context: contextvars.Context | None = None,
        **options: Any,
    ) -> asyncio.Task[T]:
        """Make a task that is to the app what its own are; called by asyncio."""
        own = contextvars.copy_context() if context is None else context
        run = own.get(current_run, Run())
        task = asyncio.Task(coroutine, loop=loop, context=own, **options)
        scope = TaskScope(task.cancel, run.scope)
        if context is None:  # a context that is shared says who runs in it
            own.run(current_run.set, Run(run.origin, scope, run.task))
        self._tasks[task] = scope
        task.add_done_callback(self._forget)
        if self._is_stopping:
            scope.stop()
        return task

    def _forget(self, task: asyncio.Task[Any]) -> None:
        del self._tasks[task]
        self._ended.unpark_all()

    def _on_error(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Log what went wrong where nobody awaits it; called by asyncio.

        trio-asyncio's own handler ends the loop, and with it the app.
        """
        error = context.get("exception")
        logger.error("asyncio: %s", context["message"], exc_info=error)
        if error is not None:
            name = repr(context.get("task") or context.get("future") or context["message"])
            self._reporter.report(error, ErrorContext("task", name))

    async def stop(self) -> None:
        """Stop all of them between their turns, and wait until they have ended."""
        self._is_stopping = True
        while self._tasks:
            for scope in list(self._tasks.values()):
                scope.stop()
            await self._ended.park()
