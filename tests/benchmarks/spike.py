"""The spike: the least that does the job, on the library's own mailbox, actor and future.

A state that notes what is set; a version and a patch a turn, into an outbox; a turn is lent by
request, grant and end. There is no store, and so no acknowledgement of an end either; no rollback,
no types, no computed vars, no effects, no limits, one kind of state. The bounds on what a turn of
ours costs beside it (see ``run``) say what all that may cost.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, NamedTuple

from actorstate.actors.futures import TrioFuture
from actorstate.actors.runtime import Scope, TrioActor


class Increment(NamedTuple):
    """An event."""

    name: str = "increment"
    args: tuple[Any, ...] = ()


class TurnRequest:
    """Asks for the turn. The answer is the future by which it is ended."""


class Patch(NamedTuple):
    """What a turn changed."""

    version: int
    ops: list[dict[str, Any]]


class Count:
    """The state."""

    count: int
    changes: dict[str, Any]

    def __init__(self) -> None:
        object.__setattr__(self, "changes", {})
        object.__setattr__(self, "count", 0)

    def __setattr__(self, name: str, value: Any) -> None:
        self.changes[name] = value
        object.__setattr__(self, name, value)

    def increment(self) -> None:
        self.count += 1


HANDLERS = {"increment": Count.increment}


class CountActor(TrioActor):
    """The actor of one state."""

    def __init__(self, scope: Scope) -> None:
        super().__init__(scope)
        self.state = Count()
        self.version = 0
        self.outbox: list[Patch] = []

    def run(self) -> None:
        self._start_actor_loop()

    def on_receive(self, message: Any) -> Any:
        if isinstance(message, Increment):
            HANDLERS[message.name](self.state, *message.args)
            self.commit()
            return None
        if isinstance(message, TurnRequest):
            return self.lend()
        return super().on_receive(message)

    async def lend(self) -> None:
        """Lend the turn, and do nothing else until it is given back."""
        end = TrioFuture[None]()
        self.reply(end)
        await end
        self.commit()

    def commit(self) -> None:
        changes = self.state.changes
        if changes:
            self.version += 1
            ops = [
                {"op": "replace", "path": f"/count/{name}", "value": value}
                for name, value in changes.items()
            ]
            changes.clear()
            self.outbox.append(Patch(self.version, ops))


class Lent:
    """The block of one turn: ``async with Lent(actor) as state``."""

    def __init__(self, actor: CountActor) -> None:
        self.actor = actor

    async def __aenter__(self) -> Count:
        self.end: TrioFuture[None] = await self.actor.actor_ref.ask(TurnRequest(), block=False)
        return self.actor.state

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.end.set()
