"""The handle of a running background task."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, final

import attrs
import trio

from actorstate.actors.task_scope import TaskScope
from actorstate.state.labels import token_label


@final
@attrs.define(eq=False)
class TaskLife:
    """What the handle of a background task has in common with the actor that runs it."""

    scope: TaskScope = attrs.field(factory=TaskScope)
    ended: trio.Event = attrs.field(factory=trio.Event)
    is_suspended: bool = False
    """Whether it is to begin again, if it ends by being cancelled."""


@final
@attrs.define(eq=False)
class BackgroundTask:
    """A running background task, as found in `App.background_tasks`. For the app's thread only."""

    token: str = attrs.field(repr=token_label)
    """The tab that it belongs to. A secret; see `State.get_token`."""
    name: str
    """Its handler: ``MyState.my_task``."""
    arguments: tuple[Any, ...] = ()
    """What it was called with."""
    started: datetime = attrs.field(factory=lambda: datetime.now(UTC))
    """When; in UTC."""
    _life: TaskLife = attrs.field(factory=TaskLife, repr=False, alias="life")

    def cancel(self) -> None:
        """Cancel the task. What its open block changed is undone. Does not wait for its end."""
        self._life.is_suspended = False
        self._life.scope.cancel_scope.cancel()

    def stop(self) -> None:
        """Cancel the task as soon as it is in no block, and so undo nothing. Does not wait."""
        self._life.is_suspended = False
        self._life.scope.stop()

    def suspend(self) -> None:
        """As `stop`; if it has ``resume=True``, it begins again when its token is activated again.

        So do all tasks end when the app is left.
        """
        # One that was cancelled or stopped before, and is still about to end, ends by that.
        is_ending = self._life.scope.is_stopping or self._life.scope.cancel_scope.cancel_called
        if not is_ending:
            self._life.is_suspended = True
        self._life.scope.stop()

    async def wait(self) -> None:
        """Wait until the task has ended, in whatever way. A cancellation ends the waiting alone.

        Not inside a turn of the task's own tab: its next block waits for that turn, and so for
        you, until ``turn_timeout`` ends it.
        """
        await self._life.ended.wait()
