"""Whether a tab counts as connected, as its token actor knows it, and as the snapshot has it.

A tab that comes back in time was never away. The snapshot has the apps at which it counts as
connected, where the program minds: so a restart of the server is no absence, and what one app
begins another can end. What follows from it is decided in ``attendance``.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from typing import Final, final

import trio

from actorstate.actors.messages import StillAway
from actorstate.actors.runtime import TrioActor
from actorstate.exceptions import ActorDeadError

# So many seconds at least lie between two looks that nobody asked for, however short the grace is.
_LEAST_PAUSE: Final = 1.0


@final
class Presence:
    """Whether the tab of a token actor counts as connected; and a timer, for as long as it may not.

    Args:
        actor: the token actor.
        grace: how long (seconds) a tab may be away.
        owner: the app, by its name at the store.
        is_minded: whether anything depends on it, so that the snapshot is to have it.
    """

    __slots__ = (
        "_absence", "_actor", "_grace", "_has_come", "_is_recorded", "_kept", "_owner", "elsewhere",
        "is_counted", "is_minded", "is_saved",
    )  # fmt: skip

    def __init__(self, actor: TrioActor, grace: float, *, owner: str, is_minded: bool) -> None:
        self._actor: Final = actor
        self._grace: Final = grace
        self._owner: Final = owner
        self._absence: trio.CancelScope | None = None
        self._has_come = False  # somebody, ever, to whatever app
        self._is_recorded = False
        self._kept: tuple[str, ...] | None = None  # for others, that mind
        self.is_minded: Final = is_minded
        """Whether anything depends on it."""
        self.elsewhere: frozenset[str] = frozenset()
        """The other apps that do, by what is known here."""
        self.is_counted: bool = False
        """Whether this app counts the tab as connected."""
        self.is_saved: bool = True
        """Whether the snapshot has the record as it is."""

    @property
    def is_gone(self) -> bool:
        """Whether nobody has come for as long as a tab may be away; false if nobody ever came."""
        return self._has_come and not self._is_connected

    @property
    def _is_connected(self) -> bool:
        return self.is_counted or bool(self.elsewhere)

    # ---- coming and going ------------------------------------------------------------------

    def arrive(self) -> bool:
        """Note that somebody is here; tell whether the program is to be told of it."""
        self.end_absence()
        was_connected = self._is_connected
        if not self.is_counted:
            self._count(is_counted=True)
        return not was_connected

    def depart(self) -> bool:
        """Note that nobody is here any more; tell whether the program is to be told of it."""
        was_counted = self.is_counted
        if was_counted:
            self._count(is_counted=False)
        return was_counted and self.is_gone

    def take_back(self) -> None:
        """Take back the last `arrive` or `depart`, of which the program could not be told."""
        self.is_counted = not self.is_counted
        self.is_saved = True

    def _count(self, *, is_counted: bool) -> None:
        self.is_counted, self._has_come = is_counted, True
        self.is_saved = not self.is_minded

    # ---- the time --------------------------------------------------------------------------

    def begin_absence(self) -> None:
        """Let a `StillAway` come to the actor when the grace is over, unless somebody comes."""
        self._let_come_after(self._grace)

    def look_later(self) -> None:
        """Let a `StillAway` come after a while: others may end, or the store be back by then."""
        self._let_come_after(max(self._grace, _LEAST_PAUSE))

    def _let_come_after(self, seconds: float) -> None:
        self.end_absence()
        absence = self._absence = trio.CancelScope()
        name = f"return to {self._actor}"
        self._actor.children.start_soon(self._await_return, absence, seconds, name=name)

    async def _await_return(self, absence: trio.CancelScope, seconds: float) -> None:
        with absence:
            await trio.sleep(seconds)
            with suppress(ActorDeadError):
                self._actor.mailbox.post_always(StillAway(absence))

    def end_absence(self) -> None:
        """Let none come."""
        if self._absence is not None:
            self._absence.cancel()
            self._absence = None

    @property
    def is_timed(self) -> bool:
        """Whether a `StillAway` is to come."""
        return self._absence is not None

    def is_over(self, absence: object) -> bool:
        """Tell whether an absence is the last one, and has lasted to its end."""
        return absence is self._absence

    # ---- in the snapshot -------------------------------------------------------------------

    def record(self) -> tuple[str, ...] | None:
        """Give what the snapshot has to have, see `Snapshot.connected`."""
        if not self.is_minded:
            return self._kept
        if self.is_saved and not self._is_recorded:
            return None
        here = {self._owner} if self.is_counted else set[str]()
        return tuple(sorted(self.elsewhere | here))  # the same, whoever owns the token

    def take_over(
        self, record: tuple[str, ...] | None, alive: Collection[str], *, is_anyone_here: bool
    ) -> None:
        """Be as the snapshot is, which another owner may have written.

        Args:
            record: what it has.
            alive: the apps in it that are there, other than this one.
            is_anyone_here: whether a page of the tab is at this app.
        """
        if not self.is_minded:
            self._kept = record
            return
        was_counted, apps = self.is_counted, frozenset(record or ())
        self._is_recorded = record is not None
        self._has_come = self._has_come or self._is_recorded
        self.is_counted = self._owner in apps
        self.elsewhere = apps - {self._owner}
        self.is_saved = True
        # Where the tab was counted here, its absence runs, or is being looked into.
        is_news = bool(apps) and not was_counted and not self.is_timed
        if (self.lose_all_but(alive) or is_news) and not is_anyone_here:
            self.begin_absence()

    def note_saved(self) -> None:
        """Note that the snapshot has the record as it is."""
        self.is_saved = self._is_recorded = True

    def lose_all_but(self, alive: Collection[str]) -> bool:
        """Note which of the other apps are still there.

        The pages of one that is not may come here, and have as long to do so as any that went.

        Returns:
            Whether there are any to be waited for.
        """
        is_lost = not self.elsewhere.issubset(alive)
        self.elsewhere &= frozenset(alive)
        if is_lost:  # it is counted here as long as they are waited for
            self._count(is_counted=True)
        return is_lost
