"""The lifetime of a task that takes turns: it can be cancelled at once, or between two turns."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final, final

import attrs
import trio

from actorstate.actors.messages import NOBODY, Origin

if TYPE_CHECKING:
    from actorstate.actors.task_actor import BackgroundTask


@final
class TaskScope:
    """A cancel scope that knows how many turns are open under it.

    Args:
        cancel: cancels a task that is not trio's, and does not run in the cancel scope.
        outer: of the task that it belongs to; a turn that is open here is open there as well.
    """

    __slots__ = ("_cancel", "_cancelled", "_open_turns", "_outer", "cancel_scope", "is_stopping")

    def __init__(
        self, cancel: Callable[[], object] | None = None, outer: TaskScope | None = None
    ) -> None:
        self.cancel_scope: Final = trio.CancelScope()
        self._cancel: Final = cancel or self.cancel_scope.cancel
        self._outer: Final = outer
        self.is_stopping: bool = False
        """Whether it is to be cancelled as soon as no turn is open."""
        self._open_turns = 0
        self._cancelled: Final = trio.Event()

    def stop(self) -> None:
        """Cancel as soon as no turn is open: what has begun comes to its end, and no more begins.

        Who waits for a turn has not begun.
        """
        self.is_stopping = True
        if not self._open_turns and not self._cancelled.is_set():
            self._cancelled.set()
            self._cancel()

    async def wait_cancelled(self) -> None:
        """Wait for the cancellation, which strikes here unless it is shielded."""
        await self._cancelled.wait()
        await trio.lowlevel.checkpoint()

    def entered(self) -> None:
        """Note that a turn was granted to code in here."""
        self._open_turns += 1
        if self._outer is not None:
            self._outer.entered()

    def left(self) -> None:
        """Note that such a turn has ended, and that its holder knows."""
        self._open_turns -= 1
        if self.is_stopping:
            self.stop()
        if self._outer is not None:
            self._outer.left()


@final
@attrs.frozen(eq=False)
class Run:
    """What the running code runs as."""

    origin: Origin = NOBODY
    """For whom: effects go there."""
    scope: TaskScope | None = None
    """What stops it; None for what is not one of the app's own tasks."""
    task: BackgroundTask | None = None
    """The background task, where it is one."""

    def entered(self) -> None:
        """Note that a turn was granted to it."""
        if self.scope is not None:
            self.scope.entered()

    def left(self) -> None:
        """Note that such a turn has ended, and that its holder knows."""
        if self.scope is not None:
            self.scope.left()


current_run: Final[ContextVar[Run]] = ContextVar("actorstate.run", default=Run())  # noqa: B039 - frozen
