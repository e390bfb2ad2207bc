"""What the running code runs as: for whom, what stops it, and which background task it is."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final, final

import attrs

from actorstate.actors.background_task import BackgroundTask
from actorstate.actors.messages import NOBODY, Origin
from actorstate.actors.task_scope import TaskScope


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
