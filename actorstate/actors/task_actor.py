"""The task actor: runs one background task, as a child of its token actor."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Final, final

import attrs

from actorstate.actors.background_task import BackgroundTask, TaskLife
from actorstate.actors.blocks import giving_back_blocks
from actorstate.actors.door import TokenDoor
from actorstate.actors.generators import finish
from actorstate.actors.messages import Call, EffectRequest, Origin
from actorstate.actors.runs import Run, current_run
from actorstate.actors.runtime import Scope, TrioActor
from actorstate.state.effects import Effect
from actorstate.state.handlers import Handler, as_follow_ups
from actorstate.state.labels import token_label
from actorstate.state.state import State


@final
@attrs.frozen
class TaskEnd:
    """How a background task ended."""

    error: BaseException | None = None
    """What it raised."""
    is_suspended: bool = False
    """Whether it was suspended before it was done."""


@final
class TaskActor(TrioActor):
    """Runs one background task, and ends with it.

    Args:
        scope: the children of the token actor.
        task: its handle.
        life: what it has in common with that.
        handler: the handler to run.
        state: the state that it is a method of.
        door: how the task's blocks get their turns.
        origin: for whom the handlers are that it triggers, and the effects it asks for.
        on_ended: called when it has ended, in whatever way.
    """

    def __init__(  # noqa: PLR0913 - a child is told everything it needs, once
        self,
        scope: Scope,
        task: BackgroundTask,
        life: TaskLife,
        *,
        handler: Handler,
        state: State,
        door: TokenDoor,
        origin: Origin,
        on_ended: Callable[[TaskEnd], None],
    ) -> None:
        super().__init__(scope)
        self._task: Final = task
        self._life: Final = life
        self._handler: Final = handler
        self._state: Final = state
        self._door: Final = door
        self._origin: Final = origin
        self._tell_ended: Final = on_ended
        self._error: BaseException | None = None
        self._has_ended = False

    def __str__(self) -> str:
        return f"background task {self._handler} of token {token_label(self._task.token)}"

    async def work(self) -> None:
        """Run the task; then there is nothing left to do."""
        current_run.set(Run(self._origin, self._life.scope, self._task))
        try:
            with self._life.scope.cancel_scope:
                await self._run()
            self._has_ended = True
        except BaseException as error:
            self._door.flavor.explain(error)
            raise

    async def _run(self) -> None:
        running = self._handler.function(self._state, *self._task.arguments)
        run = self._door.flavor.runner(self._life.scope.cancel_scope)
        if inspect.isasyncgen(running):
            with giving_back_blocks():
                await finish(running, self._trigger, run)
        else:
            with giving_back_blocks():
                returned = await run(running)
            await self._trigger(returned)

    async def _trigger(self, value: object) -> None:
        """Let follow what shall: inside a block with what it has done so far, outside at once."""
        follow_ups = as_follow_ups(value)
        block = self._door.current_block()
        if block is not None:
            await block.checkpoint(follow_ups)
            return
        for one in follow_ups:
            is_effect = isinstance(one, Effect)
            message = EffectRequest(one, self._origin) if is_effect else Call(one, self._origin)
            await self._door.ref.mailbox.post_when_room(message)

    def on_failure(
        self,
        exception_type: type[BaseException] | None,  # noqa: ARG002 - the value knows
        exception_value: BaseException | None,
        traceback: TracebackType | None,  # noqa: ARG002 - likewise
    ) -> None:
        """Keep what the task raised, to tell."""
        self._error = exception_value

    def on_ended(self, left: Sequence[Any]) -> None:  # noqa: ARG002 - a task is sent nothing
        """Tell that the task is no longer running."""
        if self._life.scope.cancel_scope.cancelled_caught:
            suspended = self._life.is_suspended
        else:  # unless it came to its end, or failed, it was cancelled with its parents
            suspended = not self._has_ended and self._error is None
        self._tell_ended(TaskEnd(self._error, suspended))
        self._life.ended.set()
