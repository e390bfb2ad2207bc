"""The task actor: runs one background task, as a child of its token actor."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, final

import attrs
import trio

from actorstate.actors.door import TokenDoor
from actorstate.actors.generators import finish
from actorstate.actors.messages import Call, EffectRequest, Origin
from actorstate.actors.runtime import Scope, TrioActor
from actorstate.actors.task_scope import Run, TaskScope, current_run
from actorstate.state.effects import Effect
from actorstate.state.handlers import Handler, as_follow_ups
from actorstate.state.labels import token_label
from actorstate.state.state import State


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
    _scope: TaskScope = attrs.field(factory=TaskScope, init=False, repr=False)
    _ended: trio.Event = attrs.field(factory=trio.Event, init=False, repr=False)
    _is_suspended: bool = attrs.field(default=False, init=False, repr=False)

    def cancel(self) -> None:
        """Cancel the task. What its open block changed is undone. Does not wait for its end."""
        self._is_suspended = False
        self._scope.cancel_scope.cancel()

    def stop(self) -> None:
        """Cancel the task as soon as it is in no block, and so undo nothing. Does not wait."""
        self._scope.stop()

    def suspend(self) -> None:
        """As `stop`; if it has ``resume=True``, it begins again when its token is activated again.

        So do all tasks end when the app is left.
        """
        # One that was cancelled before, and is still about to end, ends by that.
        if not self._scope.cancel_scope.cancel_called:
            self._is_suspended = True
        self._scope.stop()

    async def wait(self) -> None:
        """Wait until the task has ended, in whatever way. A cancellation ends the waiting alone.

        Not inside a turn of the task's own tab: its next block waits for that turn, and so for
        you, until ``turn_timeout`` ends it.
        """
        await self._ended.wait()


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
        *,
        handler: Handler,
        state: State,
        door: TokenDoor,
        origin: Origin,
        on_ended: Callable[[TaskEnd], None],
    ) -> None:
        super().__init__(scope)
        self._task: Final = task
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
        current_run.set(Run(self._origin, self._lifetime, self._task))
        try:
            with self._lifetime.cancel_scope:
                await self._run()
            self._has_ended = True
        except BaseException as error:
            self._door.flavor.explain(error)
            raise
        finally:
            self._door.give_back()

    async def _run(self) -> None:
        running = self._handler.function(self._state, *self._task.arguments)
        run = self._door.flavor.runner(self._lifetime.cancel_scope)
        if inspect.isasyncgen(running):
            await finish(running, self._trigger, run)
        else:
            returned = await run(running)
            self._door.give_back()  # a block that was never left was never ended
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
        if self._lifetime.cancel_scope.cancelled_caught:
            suspended = self._task._is_suspended  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - its own handle
        else:  # unless it came to its end, or failed, it was cancelled with its parents
            suspended = not self._has_ended and self._error is None
        self._tell_ended(TaskEnd(self._error, suspended))
        self._task._ended.set()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - its own handle

    @property
    def _lifetime(self) -> TaskScope:
        return self._task._scope  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - its own handle
