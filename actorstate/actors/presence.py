"""Whether a tab counts as connected. One that comes back in time was never away.

The snapshot has it too, where the program minds: so a tab that comes back after a restart of the
server was not away either, and one that does not come is missed by whoever owns the token next.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
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
        owner: the app, by its name at the store.
        is_minded: whether anything depends on it, so that the snapshot is to have it.
    """

    __slots__ = (
        "_absence", "_actor", "_grace", "_is_minded", "_owner", "_was_noticed", "elsewhere",
        "is_connected", "is_saved",
    )  # fmt: skip

    def __init__(
        self, actor: TrioActor, grace: float, *, owner: str = "", is_minded: bool = True
    ) -> None:
        self._actor: Final = actor
        self._grace: Final = grace
        self._owner: Final = owner
        self._is_minded: Final = is_minded
        self._absence: trio.CancelScope | None = None
        self._was_noticed = False  # connected, or missed; here or elsewhere
        self.elsewhere: tuple[str, ...] = ()
        """The other apps at which the tab counts as connected, by what is known here."""
        self.is_connected: bool = False
        """Whether the tab counts as connected at this app."""
        self.is_saved: bool = True
        """Whether the snapshot has the record as it is."""

    @property
    def is_gone(self) -> bool:
        """Whether nobody has come for as long as a tab may be away; false if nobody ever came."""
        return self._was_noticed and not self._is_connected_anywhere

    @property
    def _is_connected_anywhere(self) -> bool:
        return self.is_connected or bool(self.elsewhere)

    # ---- coming and going ------------------------------------------------------------------

    def arrive(self) -> bool:
        """Note that somebody has come; tell whether the program is to be told of it."""
        self._end_absence()
        was_connected = self._is_connected_anywhere
        self._be(is_connected=True)
        return not was_connected

    def begin_absence(self) -> None:
        """Note that the last one has gone. If nobody comes, a `StillAway` says so to the actor."""
        self._end_absence()
        absence = self._absence = trio.CancelScope()
        name = f"return to {self._actor}"
        self._actor.children.start_soon(self._await_return, absence, name=name)

    async def _await_return(self, absence: trio.CancelScope) -> None:
        with absence:
            await trio.sleep(self._grace)
            with suppress(ActorDeadError):
                self._actor.mailbox.post_always(StillAway(absence))

    def _end_absence(self) -> None:
        if self._absence is not None:
            self._absence.cancel()

    def is_over(self, absence: object) -> bool:
        """Tell whether an absence is the last one, and has lasted to its end."""
        return absence is self._absence

    def depart(self, alive: Collection[str]) -> bool:
        """Note that nobody is here any more; tell whether the program is to be told of it.

        Args:
            alive: the other apps that are there, of those in the record.
        """
        was_connected = self._is_connected_anywhere
        self.elsewhere = tuple(app for app in self.elsewhere if app in alive)
        self._be(is_connected=False)
        return was_connected and self.is_gone

    def _be(self, *, is_connected: bool) -> None:
        if is_connected is not self.is_connected or not self._was_noticed:
            self.is_connected, self._was_noticed = is_connected, True
            self.is_saved = not self._is_minded

    # ---- in the snapshot -------------------------------------------------------------------

    def record(self) -> tuple[str, ...] | None:
        """Give what the snapshot has to have, see `Snapshot.connected`."""
        if not (self._was_noticed and self._is_minded):
            return None
        return (*self.elsewhere, self._owner) if self.is_connected else self.elsewhere

    def take_over(
        self, record: tuple[str, ...] | None, alive: Collection[str], *, is_anyone_here: bool
    ) -> bool:
        """Take over what the snapshot has, which another owner may have written.

        The pages of an app that is no longer there may come here, and have as long to do so as any
        that went.

        Args:
            record: that of the snapshot.
            alive: the apps in it that are there, other than this one.
            is_anyone_here: whether a page of the tab is at this app.

        Returns:
            Whether the program was told last that the tab is gone, and is to be told otherwise.
        """
        if not self._is_minded:
            return False
        self.elsewhere = tuple(app for app in record or () if app in alive)
        self._was_noticed = self._was_noticed or record is not None
        if record == ():  # by somebody to whom this app was not there any more, if it was
            self.is_connected = is_anyone_here
        elif not self.is_connected and self._is_orphan(record or (), alive):
            self.is_connected = True
            self.begin_absence()
        self.is_saved = self.record() == record
        return record == () and is_anyone_here

    def _is_orphan(self, record: Iterable[str], alive: Collection[str]) -> bool:
        return any(app != self._owner and app not in alive for app in record)
