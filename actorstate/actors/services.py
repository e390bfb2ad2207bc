"""What all token actors of an app share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import final

import attrs

from actorstate.actors.background_task import BackgroundTask
from actorstate.actors.conductor import Conductor
from actorstate.actors.errors import Reporter
from actorstate.actors.flavor import Flavor
from actorstate.actors.holding import TurnWatch
from actorstate.actors.limits import Limits
from actorstate.state.schema import Schema
from actorstate.stores.base import CommitNow, Store


@final
@attrs.frozen(eq=False)
class Services:
    """What all token actors of an app share."""

    schema: Schema
    store: Store
    commit_now: CommitNow | None
    """The store's, if it never waits."""
    owner: str
    """The name of the app at the store."""
    background_tasks: set[BackgroundTask]
    """The live set; a background task that ends is taken out."""
    watch: TurnWatch
    flavor: Flavor
    reporter: Reporter
    limits: Limits
    conductor: Conductor | None
    """Decides which message is next, in tests."""
    is_leaving: Callable[[], bool]
    """Tells whether the app is being left."""

    async def alive_of(self, apps: Iterable[str]) -> set[str]:
        """Give those apps that are there, other than this one.

        Raises:
            StoreError: as `Store.is_alive`.
        """
        is_alive = self.store.is_alive
        return {app for app in {*apps} - {"", self.owner} if await is_alive(app)}

    @property
    def is_immediate(self) -> bool:
        """Whether the store never waits. Such a one keeps everything whole, and no journal."""
        return self.commit_now is not None
