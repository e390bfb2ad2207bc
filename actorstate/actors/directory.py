"""The directory: finds the actor of a token, activating it if it rests.

A dict, and not pykka's registry, which is a list with linear removal and one for the whole
process. Finding awaits nothing: an actor that is being activated takes messages already, and
comes to them once its snapshot is loaded.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, final

import trio

from actorstate.actors.blocks import new_block
from actorstate.actors.door import TokenDoor
from actorstate.actors.runtime import Scope, TrioActorRef
from actorstate.actors.services import Services
from actorstate.actors.token_actor import TokenActor
from actorstate.exceptions import ActorDeadError

# So many rounds are made in the time after which an unused token is put to rest: each costs a look
# at every actor, and the rest begins late by one round at most.
_SWEEPS: Final = 4

_LEAST_PAUSE: Final = 0.001  # seconds between two rounds

_IN_A_ROW: Final = 1000  # looks at actors before others may run

# Room is made no more often (seconds): it is a look at every actor, and strangers may ask for it.
_BETWEEN_CLEARANCES: Final = 1.0


@final
class Directory:
    """The token actors of one app.

    Args:
        scope: where they run.
        services: what they share.
    """

    def __init__(self, scope: Scope, services: Services) -> None:
        self._scope: Final = scope
        self._services: Final = services
        self._doors: Final[dict[str, TokenDoor]] = {}
        self._may_enter: Callable[[], bool] | None = None
        self._is_cleared_until = -math.inf

    def __len__(self) -> int:
        return len(self._doors)

    def ref(self, token: str) -> TrioActorRef[TokenActor]:
        """Give the actor of a token, activating it if it rests.

        Raises:
            ActorDeadError: the app is being left.
        """
        return self.door(token).ref

    def is_awake(self, token: str) -> bool:
        """Tell whether the token has an actor now."""
        return token in self._doors

    def door(self, token: str) -> TokenDoor:
        """Give the door of a token's state tree, activating its actor if it rests.

        Raises:
            ActorDeadError: the app is being left.
        """
        if self._may_enter is not None and not self._may_enter():
            message = "the app is being left; nothing new begins"
            raise ActorDeadError(message)
        door = self._doors.get(token)
        return door if door is not None else self._activate(token)

    def _activate(self, token: str) -> TokenDoor:
        services = self._services
        door = TokenDoor(
            services.schema,
            token,
            watch=services.watch,
            max_waiters=services.limits.max_waiters,
            flavor=services.flavor,
            new_block=new_block,
        )
        # The entry goes when the actor closes its mailbox, in the same step: whoever finds a door
        # here finds an actor that still takes messages.
        TokenActor.start(self._scope, door, services, lambda: self._doors.pop(token, None))
        self._doors[token] = door
        return door

    async def run(self) -> None:
        """Put to rest, now and then, what nobody uses."""
        idle_timeout = self._services.limits.idle_timeout
        while idle_timeout < math.inf:
            await trio.sleep(max(idle_timeout / _SWEEPS, _LEAST_PAUSE))
            for number, door in enumerate(list(self._doors.values())):
                door.rest_if_unused(_SWEEPS)
                if number % _IN_A_ROW == 0:
                    await trio.lowlevel.checkpoint()

    def make_room(self) -> None:
        """Put to rest what nobody uses now, however short a time ago that was."""
        now = trio.current_time()
        if now >= self._is_cleared_until:
            self._is_cleared_until = now + _BETWEEN_CLEARANCES
            for door in list(self._doors.values()):
                door.rest_if_unused(0)

    def close(self, may_enter: Callable[[], bool]) -> None:
        """From now on let in only some.

        Args:
            may_enter: tells whether the running code is one of them.
        """
        self._may_enter = may_enter

    async def stop(self) -> None:
        """Stop all actors, once each has done what it has to do; wait until they have ended."""
        while self._doors:  # the last turns of one may activate another
            stopped = [door.ref.stop(block=False) for door in list(self._doors.values())]
            for one in stopped:
                await one
