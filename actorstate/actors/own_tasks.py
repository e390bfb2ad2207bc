"""The tasks that a program starts under its app, beside those that handlers are."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, final

import trio

from actorstate.actors.blocks import giving_back_blocks
from actorstate.actors.errors import ErrorContext, Reporter
from actorstate.actors.flavor import Flavor
from actorstate.actors.runs import Run, current_run
from actorstate.actors.runtime import PASSING, Scope, unwrap
from actorstate.actors.task_scope import TaskScope

logger: Final = logging.getLogger("actorstate")


@final
class OwnTasks:
    """Those that run.

    Args:
        reporter: is told of those that fail.
        flavor: what they may await.
    """

    def __init__(self, reporter: Reporter, flavor: Flavor) -> None:
        self._reporter: Final = reporter
        self._flavor: Final = flavor
        self._running: Final[set[TaskScope]] = set()
        self._ended = trio.lowlevel.ParkingLot()
        self._is_stopping = False

    def __len__(self) -> int:
        return len(self._running)

    def start(
        self, scope: Scope, async_fn: Callable[..., Awaitable[object]], args: tuple[Any, ...]
    ) -> None:
        """Start one. What it raises ends there."""
        task_scope = TaskScope()
        scope.start_soon(self._run, task_scope, async_fn, args, name=repr(async_fn))
        self._running.add(task_scope)
        if self._is_stopping:  # it would begin others, and those would
            task_scope.stop()

    async def _run(
        self,
        task_scope: TaskScope,
        async_fn: Callable[..., Awaitable[object]],
        args: tuple[Any, ...],
    ) -> None:
        current_run.set(Run(scope=task_scope))
        try:
            with task_scope.cancel_scope as scope, giving_back_blocks():
                await self._flavor.runner(scope)(async_fn(*args))
        except* PASSING:
            raise
        except* BaseException as errors:
            error = unwrap(errors)
            self._flavor.explain(error)
            logger.exception("a task of the app failed: %r", async_fn, exc_info=error)
            self._reporter.report(error, ErrorContext("task", repr(async_fn)))
        finally:
            self._running.discard(task_scope)
            self._ended.unpark_all()

    async def stop(self) -> None:
        """Stop all of them between their turns, and wait until they have ended."""
        self._is_stopping = True
        while self._running:
            for one in self._running:
                one.stop()
            await self._ended.park()
