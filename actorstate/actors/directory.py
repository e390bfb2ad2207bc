"""The directory: finds the actor of a token, activating it if it rests.

A dict, and not pykka's registry, which is a list with linear removal and one for the whole
process. Finding awaits nothing: an actor that is being activated takes messages already, and
comes to them once its snapshot is loaded.
"""

from __future__ import annotations

from typing import Final, final

from actorstate.actors.runtime import Scope, TrioActorRef
from actorstate.actors.token_actor import Services, TokenActor


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
        self._refs: Final[dict[str, TrioActorRef[TokenActor]]] = {}

    def __len__(self) -> int:
        return len(self._refs)

    def ref(self, token: str) -> TrioActorRef[TokenActor]:
        """Give the actor of a token, activating it if it rests."""
        ref = self._refs.get(token)
        if ref is None:
            # The entry goes when the actor closes its mailbox, in the same step: whoever finds a
            # reference here finds an actor that still takes messages.
            ref = TokenActor.start(
                self._scope, token, self._services, lambda: self._refs.pop(token, None)
            )
            self._refs[token] = ref
        return ref

    async def knows(self, token: str) -> bool:
        """Tell whether the token has a state tree, awake or at rest. Activates nothing."""
        return token in self._refs or await self._services.store.load(token) is not None
