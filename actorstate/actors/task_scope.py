"""The lifetime of a task that takes turns: it can be cancelled at once, or between two turns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, final

import trio


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
