"""Whether a tab counts as connected. One that comes back in time was never away."""

from __future__ import annotations

from contextlib import suppress
from typing import Final, final

import trio

from actorstate.actors.messages import StillAway
from actorstate.actors.runtime import TrioActor
from actorstate.exceptions import ActorDeadError


@final
class Presence:
    """Waits, while nobody is there, for somebody to come; then tells the token actor.

    Args:
        actor: the token actor.
        grace: how long (seconds) a tab may be away.
    """

    __slots__ = ("_absence", "_actor", "_grace", "is_connected", "is_gone")

    def __init__(self, actor: TrioActor, grace: float) -> None:
        self._actor: Final = actor
        self._grace: Final = grace
        self._absence: trio.CancelScope | None = None
        self.is_connected: bool = False
        """Whether the program was told so, by ``on_connect``, and not that it is no longer."""
        self.is_gone: bool = False
        """Whether nobody has come for as long as a tab may be away."""

    def arrive(self) -> bool:
        """Note that somebody has come; tell whether the program is to be told of it."""
        if self._absence is not None:
            self._absence.cancel()
        self.is_gone = False
        was_connected, self.is_connected = self.is_connected, True
        return not was_connected

    def begin_absence(self) -> None:
        """Note that the last one has gone. If nobody comes, a `StillAway` says so to the actor."""
        absence = self._absence = trio.CancelScope()
        name = f"return to {self._actor}"
        self._actor.children.start_soon(self._await_return, absence, name=name)

    async def _await_return(self, absence: trio.CancelScope) -> None:
        with absence:
            await trio.sleep(self._grace)
            with suppress(ActorDeadError):
                self._actor.mailbox.post_always(StillAway(absence))

    def is_over(self, absence: object) -> bool:
        """Tell whether an absence is the last one, and has lasted to its end."""
        return absence is self._absence

    def depart(self) -> bool:
        """Note that the tab is gone; tell whether the program is to be told of it."""
        self.is_gone = True
        was_connected, self.is_connected = self.is_connected, False
        return was_connected
